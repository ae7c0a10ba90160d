"""Files of kinds that cameras, scanners and printers write, from the file to the overlay."""

import numpy as np
import pytest
from PIL import Image

from h3r_jax import visualize
from tests.predict import dots

SIZE = (160, 200)
CENTERS = np.array([[80.3, 60.8], [120.6, 71.1], [97.2, 103.4]])
BOX = np.array([60.0, 40.0, 139.0, 119.0])


@pytest.fixture(scope="module")
def predictor():
    return dots.predictor()


def check(predictor, path, box, centers, tolerance):
    """Landmarks within a tolerance, pixels; and drawn upon them in the overlay."""
    ((pixels, prediction),) = predictor.stream([(path, box)])
    np.testing.assert_allclose(prediction.landmarks[0], centers, atol=tolerance)
    drawn = visualize.to_pixels(visualize.overlay(pixels, prediction, predictor.network.scheme))
    zoom = max(drawn.shape) / max(pixels.shape)
    x, y = np.round((prediction.landmarks[0] + 0.5) * zoom - 0.5).astype(int).T
    colors = 255 * visualize.part_colors(predictor.network.scheme, len(x))
    assert np.abs(drawn[y, x][:, None] - colors).max(axis=-1).min(axis=1).max() < 40
    return drawn.shape


def test_four_inks(predictor, tmp_path):
    image = Image.fromarray(dots.picture(SIZE, CENTERS, 3.0)).convert("CMYK")
    image.save(tmp_path / "print.jpg", quality=95, subsampling=0)
    image.save(tmp_path / "print.tif")
    for name in ("print.jpg", "print.tif"):
        check(predictor, tmp_path / name, BOX, CENTERS, 0.2)


def test_16_bits(predictor, tmp_path):
    grey = dots.picture(SIZE, CENTERS[[1, 1, 1]], 3.0)[..., 0]
    for name in ("scan.png", "scan.tif"):
        Image.fromarray(grey.astype(np.uint16) * 256 + 200).save(tmp_path / name)
        check(predictor, tmp_path / name, BOX, CENTERS[[1, 1, 1]], 0.1)  # all three colours are the grey


def test_50_megapixels(predictor, tmp_path):
    """The same picture, ten times as large, in a corner of a photograph."""
    corner, centers = np.array([5000, 3000]), 10 * CENTERS + 4.5
    pixels = np.zeros((5774, 8660, 3), np.uint8)
    pixels[3000:4600, 5000:7000] = dots.picture((1600, 2000), centers, 30.0)
    Image.fromarray(pixels).save(tmp_path / "large.png", compress_level=1)
    # A crop pixel is 15.6 image pixels.
    box = [*(10 * BOX[:2] + corner), *(10 * BOX[2:] + 9 + corner)]
    assert check(predictor, tmp_path / "large.png", box, centers + corner, 0.5) == (1280, 1920, 3)
