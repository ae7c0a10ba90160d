"""Pictures are written, not empty, and show what they were given."""

import io

import numpy as np
import pytest
from etils import epath
from PIL import Image

from h3r_jax import visualize
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.metrics import NormalizedErrors

SCHEME = LandmarkScheme("three", 3, (1, 0, 2), (0, 1), connections=((0, 1), (1, 2)))


def pixels(figure):
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return np.asarray(Image.open(content).convert("RGB")).astype(int)


def test_sheet_of_images_of_several_sizes_is_saved_as_png(tmp_path):
    images = [np.full((20, 30, 3), 255.0), np.zeros((16, 16, 3), np.uint8), np.full((8, 40, 3), 300.0)]
    landmarks = np.random.default_rng(0).uniform(0, 16, (3, 3, 2))
    landmarks[1, 2] = np.nan  # not labelled
    figure = visualize.landmark_sheet(
        images,
        landmarks,
        visibility=[[1, 1, 1], [1, 0, 0], [0, 0, 0]],
        truth=landmarks + 1,
        scheme=SCHEME,
        titles=["a", "b", "c"],
        columns=2,
    )
    path = epath.Path(tmp_path) / "made" / "sheet.png"
    visualize.save(figure, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        width, height = image.size
        assert width > 300 and height > 300  # two columns, two rows
        assert len(image.convert("RGB").getcolors(1 << 20)) > 10


def test_a_landmark_is_drawn_where_it_is():
    image = np.zeros((10, 10, 3), np.uint8)
    places = []
    for x, y in ((1, 1), (8, 1), (1, 8)):
        drawn = pixels(visualize.landmark_sheet([image], np.array([[[x, y]]], float)))
        colour = np.array([int(visualize.PREDICTED[i : i + 2], 16) for i in (1, 3, 5)])
        rows, columns = np.nonzero(np.abs(drawn - colour).sum(axis=-1) < 60)
        places.append((columns.mean(), rows.mean()))
    origin, right, below = np.array(places)
    side = right[0] - origin[0]
    assert side > 50
    np.testing.assert_allclose(right - origin, [side, 0], atol=1.5)
    np.testing.assert_allclose(below - origin, [0, side], atol=1.5)  # y points down


def test_a_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        visualize.landmark_sheet([], np.zeros((0, 3, 2)))


def test_cumulative_error_curves_are_drawn():
    errors = {"k=9": NormalizedErrors(np.linspace(0, 0.1, 50)), "argmax": NormalizedErrors(np.linspace(0.02, 0.2, 50))}
    figure = visualize.cumulative_error_curve(errors, 0.1)
    (axes,) = figure.axes
    assert [line.get_xydata()[-1].round(3).tolist() for line in axes.lines] == [[10, 1], [10, 0.44]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["k=9 (NME 5.00)", "argmax (NME 11.00)"]
    assert len(np.unique(pixels(figure).reshape(-1, 3), axis=0)) > 10
