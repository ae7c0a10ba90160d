"""Odd image files come in right or end in an error that names them; crops are those of the input pipeline."""

import errno
import io
import os

import numpy as np
import pytest
from PIL import Image

from h3r_jax import geometry
from h3r_jax.errors import UserError
from h3r_jax.images import LazyImage, crop_image, read_image
from tests.data.made_up import texture, warp

SHAPE = (48, 64)


def test_crops_are_a_one_step_antialiased_warp():
    rng = np.random.default_rng(0)
    beyond = 0
    for seed in range(12):
        height, width = rng.integers(20, 200, 2)
        pixels = np.maximum(texture(seed, height, width), 1)
        center, side = rng.uniform(-10, [width + 10, height + 10]), rng.uniform(3, 1.5 * max(height, width), 2)
        matrix = geometry.crop_matrix([*(center - side / 2), *(center + side / 2)], shape=SHAPE)
        beyond += check_warp(pixels, pixels, matrix)
    assert beyond > 3  # some of the boxes reached over the border


def check_warp(image, pixels, matrix, most=0.35):
    """Compares the crop of an image of known pixels with a warp; whether some of it is black."""
    expected, crop = warp(pixels, matrix, SHAPE), crop_image(image, matrix, SHAPE)
    black = (expected == 0).all(axis=-1)
    np.testing.assert_array_equal((crop == 0).all(axis=-1), black)
    difference = np.abs(crop - expected)
    # PIL rounds after each axis: 0.33 on average, 1 at most but for pixels that are divided at the border.
    assert difference.mean() < most and np.quantile(difference, 0.99) < 3 * most, difference.mean()
    return black.any()


@pytest.mark.parametrize("suffix", ["PNG", "JPEG"])
@pytest.mark.parametrize("color", [True, False], ids=["colour", "grey"])
@pytest.mark.parametrize("scale", [0.11, 0.6, 1.0, 2.7])
def test_a_crop_of_a_file(suffix, color, scale):
    """It is the warp of the whole pixels, also where less is decoded than the whole."""
    pixels, content = np.maximum(texture(5, 121, 150), 40), io.BytesIO()  # black is beyond the border
    Image.fromarray(pixels if color else pixels[..., 1]).save(content, suffix, quality=95)
    content = content.getvalue()
    most = 1.5 if suffix == "JPEG" and scale == 0.11 else 0.35
    for x, y in ((3.3, 2.2), (-20.4, 4.0), (scale * -100, scale * -80), (500.0, 0.0), (0.0, -2000.0)):
        check_warp(content, read_image(content), np.array([[scale, 0, x], [0, scale, y]]), most)


def dot(shape, center, sigma):
    y, x = np.mgrid[: shape[0], : shape[1]]
    spot = 255 * np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * sigma**2))
    return np.repeat(spot.round().astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("side", [30.0, 52.7, 180.0, 400.0])
@pytest.mark.parametrize(
    "corner", [(101.3, 90.6), (-7.2, -3.9), (40.5, 60.25)], ids=["inside", "beyond the border", "middle"]
)
def test_a_dot_arrives_where_the_matrix_says(side, corner):
    matrix = geometry.crop_matrix([*corner, corner[0] + side, corner[1] + side], shape=SHAPE)
    pixel = 1 / matrix[0, 0]
    sigma = 2 * max(1.0, pixel)
    center = np.array([corner[0] + 0.6 * side, corner[1] + 0.55 * side])
    crop = crop_image(dot((600, 620), center, sigma), matrix, SHAPE).astype(float).sum(axis=-1)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    found = np.array([(crop * x).sum(), (crop * y).sum()]) / crop.sum()
    np.testing.assert_allclose(found, geometry.transform_points(matrix, center[None])[0], atol=0.05)


@pytest.mark.parametrize("pixel", [3.0, 7.1, 15.7])
def test_a_dot_in_a_jpeg_arrives_there_too(pixel):
    """Decoded at a half, a quarter and an eighth of its size, whose sides are no multiples of these."""
    center, content, size = np.array([712.3, 655.6]), io.BytesIO(), int(1500 / pixel)
    Image.fromarray(dot((1501, 1603), center, 3 * pixel)).save(content, "JPEG", quality=90)
    image, matrix = LazyImage(content.getvalue()), np.array([[1 / pixel, 0, -0.31], [0, 1 / pixel, 0.27]])
    crop = crop_image(image, matrix, (size, size)).astype(float).sum(axis=-1)
    assert image.decoded(pixel).reduction == {3.0: 2, 7.1: 4, 15.7: 8}[pixel] and image.size == (1501, 1603)
    crop[crop < 30] = 0  # what JPEG adds around the dot
    y, x = np.mgrid[:size, :size]
    found = np.array([(crop * x).sum(), (crop * y).sum()]) / crop.sum()
    np.testing.assert_allclose(found, geometry.transform_points(matrix, center[None])[0], atol=0.05)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_crop_of_the_same_scale_has_the_pixels_of_the_image(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(texture(3, 40, 50)).save(path)
    pixels = read_image(path)
    crop = crop_image(path, np.array([[1.0, 0, -7], [0, 1, 12]]), (60, 30))
    np.testing.assert_array_equal(crop[12:52], pixels[:, 7:37])
    assert not crop[:12].any() and not crop[52:].any()


def test_a_crop_that_shows_nothing():
    pixels = texture(0, 20, 30)
    far = geometry.crop_matrix([500, 500, 520, 520], shape=SHAPE)
    assert not crop_image(pixels, far, SHAPE).any()
    assert not crop_image(pixels, geometry.crop_matrix([-1e7, -1e7, 1e7, 1e7], shape=SHAPE), SHAPE).any()


def save(path, image, **options):
    image.save(path, **options)
    return path


def test_kinds_of_pixels(tmp_path):
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 256, (6, 9), np.uint8)
    color = rng.integers(0, 256, (6, 9, 3), np.uint8)
    expected_grey = np.repeat(grey[..., None], 3, axis=2)

    np.testing.assert_array_equal(read_image(save(tmp_path / "grey.png", Image.fromarray(grey))), expected_grey)
    deep = Image.fromarray(grey.astype(np.uint16) * 256 + 77)
    np.testing.assert_array_equal(read_image(save(tmp_path / "deep.png", deep)), expected_grey)
    palette = Image.fromarray(color).quantize(54)
    np.testing.assert_array_equal(
        read_image(save(tmp_path / "palette.png", palette)), np.asarray(palette.convert("RGB"))
    )
    seen = Image.fromarray(np.dstack([color, np.where(np.arange(9) < 4, 255, 0) * np.ones((6, 1))]).astype(np.uint8))
    read = read_image(save(tmp_path / "transparent.png", seen))
    np.testing.assert_array_equal(read, np.where(np.arange(9)[:, None] < 4, color, 0))
    ink = Image.new("CMYK", (9, 6), (255, 0, 0, 0))
    read = read_image(save(tmp_path / "print.jpg", ink)).astype(int)
    assert read.shape == (6, 9, 3) and (np.abs(read - [0, 255, 255]) < 4).all()
    for array in (grey, grey[..., None], Image.fromarray(grey)):
        np.testing.assert_array_equal(read_image(array), expected_grey)
    assert read_image(save(tmp_path / "one.png", Image.fromarray(color[:1, :1]))).shape == (1, 1, 3)


def test_twelve_bits_in_sixteen(tmp_path):
    """Its high byte is black; scaled to sixteen bits it is what it should be, and black stays black."""
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    for name in ("scan.png", "scan.tif"):
        with pytest.raises(
            ValueError, match=f"{name} is not a .* the greatest value is 4095; want values that use the range to 65535"
        ):
            read_image(save(tmp_path / name, Image.fromarray(values)))
        scaled = read_image(save(tmp_path / name, Image.fromarray(values * 16)))
        np.testing.assert_array_equal(scaled[..., 0], values >> 4)
        assert not read_image(save(tmp_path / name, Image.fromarray(values * 0))).any()


def test_a_turned_photograph_comes_upright(tmp_path):
    upright = texture(2, 40, 60)
    tag = Image.Exif()
    tag[0x0112] = 6  # stored turned by 90 degrees against the clock
    stored = Image.fromarray(np.rot90(upright))
    path = save(tmp_path / "turned.png", stored, exif=tag)
    np.testing.assert_array_equal(read_image(path), upright)


def test_fifty_megapixels(tmp_path):
    pixels = np.zeros((7000, 7200), np.uint8)
    pixels[6999, 7199] = 200
    path = save(tmp_path / "large.png", Image.fromarray(pixels), compress_level=1)
    read = read_image(path)
    assert read.shape == (7000, 7200, 3) and read[6999, 7199, 0] == 200


def test_broken_files_are_named(tmp_path):
    whole = save(tmp_path / "whole.jpg", Image.fromarray(texture(3, 80, 80))).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    save(tmp_path / "float.tif", Image.fromarray(np.zeros((4, 4), np.float32)))
    for name, reason in {
        "cut.jpg": "truncated",
        "text.png": "not an image of a known format",
        "empty.png": "not an image of a known format",
        "float.tif": "32 bits a pixel; store 8 or 16",
        "absent.jpg": "there is no such file",
    }.items():
        with pytest.raises(ValueError, match=f"{name}.*{reason}"):
            read_image(tmp_path / name)
    with pytest.raises(ValueError, match="the image is float64"):
        read_image(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match=r"frame 3 is uint8\[4, 4, 2\]"):
        read_image(np.zeros((4, 4, 2), np.uint8), "frame 3")


def test_what_the_system_refuses_is_no_fault_of_the_image(tmp_path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")

    def too_many(*_, **__):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Image, "open", too_many)
    with pytest.raises(UserError, match=r"a\.png cannot be read: Too many open files$"):
        read_image(tmp_path / "a.png")
