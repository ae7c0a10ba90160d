"""Images of every kind become 8-bit RGB as their makers meant them, or stop with a clear sentence."""

import io

import numpy as np
import pytest
from PIL import Image

from data.features import read_image, stored_image
from tests.data.faces import turned

RNG = np.random.default_rng(0)
SMOOTH = (np.add.outer(np.arange(24), np.arange(40))[..., None] * [2, 3, 4]).astype(np.uint8)
NOISE = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)


def stored(tmp_path, image, name, **options):
    """What is stored of an image that is saved under a name: its bytes, decoded, and the file's own bytes."""
    path = tmp_path / name
    image.save(path, **options)
    content, size = read_image(path, "row 7")
    pixels = stored_image(content).pixels
    assert pixels.dtype == np.uint8 and pixels.shape == (*size, 3) == (24, 40, 3)
    return content, pixels, path.read_bytes()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp", "a.tif", "a.gif", "a.ppm"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_formats_arrive_as_pil_decodes_them(tmp_path, name, mode):
    options = {"lossless": True} if name.endswith("webp") else {}
    content, pixels, original = stored(tmp_path, Image.fromarray(SMOOTH).convert(mode), name, **options)
    with Image.open(tmp_path / name) as image:
        np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))
    assert (content == original) == name.endswith(("png", "jpg")), (
        "JPEG and PNG are kept as they are, the rest become PNG"
    )


def test_sixteen_bit_grey_keeps_its_high_byte(tmp_path):
    values = RNG.integers(0, 65536, (24, 40), dtype=np.uint16)
    _, pixels, _ = stored(tmp_path, Image.fromarray(values), "grey16.png")
    np.testing.assert_array_equal(pixels, np.repeat((values >> 8)[..., None], 3, axis=2))


def test_thirty_two_bit_pixels_have_no_known_white_and_are_refused(tmp_path):
    for dtype in (np.int32, np.float32):
        Image.fromarray(np.zeros((4, 4), dtype)).save(tmp_path / "deep.tif")
        with pytest.raises(
            ValueError, match=r"row 7: .*deep.tif is not a readable image \(32 bits a pixel; store 8 or 16\)"
        ):
            read_image(tmp_path / "deep.tif", "row 7")


def test_palettes_are_looked_up(tmp_path):
    image = Image.fromarray(SMOOTH).quantize(16)
    _, pixels, _ = stored(tmp_path, image, "palette.png")
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 8


def test_transparency_is_laid_on_black(tmp_path):
    alpha = RNG.integers(0, 256, (24, 40, 1), dtype=np.uint8)
    _, pixels, _ = stored(tmp_path, Image.fromarray(np.concatenate([NOISE, alpha], axis=2)), "alpha.png")
    np.testing.assert_allclose(pixels, NOISE * (alpha / 255.0), atol=1)
    grey = Image.fromarray(np.concatenate([NOISE[..., :1], alpha], axis=2))
    _, pixels, _ = stored(tmp_path, grey, "grey_alpha.png")
    np.testing.assert_allclose(pixels, np.repeat(NOISE[..., :1] * (alpha / 255.0), 3, axis=2), atol=1)


def test_a_transparent_colour_is_black_in_every_mode(tmp_path):
    """A PNG may name one colour transparent without an alpha channel."""
    image = Image.fromarray(SMOOTH)
    key = tuple(int(value) for value in SMOOTH[5, 5])
    _, pixels, _ = stored(tmp_path, image, "keyed.png", transparency=key)
    keyed = (key == SMOOTH).all(axis=-1)
    assert keyed.any() and not pixels[keyed].any()
    np.testing.assert_array_equal(pixels[~keyed], SMOOTH[~keyed])


def test_cmyk_jpeg_is_converted(tmp_path):
    _, pixels, _ = stored(tmp_path, Image.fromarray(SMOOTH).convert("CMYK"), "print.jpg", quality=95)
    assert np.abs(pixels.astype(int) - SMOOTH).mean() < 4


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}])
def test_jpeg_decodes_to_the_bit_as_libjpeg_does(tmp_path, options):
    _, pixels, _ = stored(tmp_path, Image.fromarray(SMOOTH), "a.jpg", **options)
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(tmp_path / "a.jpg")))


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_images_that_ask_to_be_rotated_are_refused(tmp_path, orientation, suffix):
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(SMOOTH).save(path, exif=turned(orientation))
    with pytest.raises(
        ValueError, match=rf"row 7: .*turned.{suffix} carries EXIF orientation {orientation}.* store the pixels upright"
    ):
        read_image(path, "row 7")
    content, size = read_image(path, "row 7", stored_pixels=True)  # as stored, not turned
    assert size == (24, 40) and stored_image(content).pixels.shape == (24, 40, 3)


def test_an_upright_exif_image_is_kept(tmp_path):
    content, _, original = stored(tmp_path, Image.fromarray(SMOOTH), "upright.jpg", exif=turned(1))
    assert content == original


def test_a_missing_file_and_a_directory_are_named(tmp_path):
    for path in (tmp_path / "nothing.png", tmp_path, tmp_path / "a.txt" / "x.png"):
        (tmp_path / "a.txt").write_text("text")
        with pytest.raises(ValueError, match="row 7: there is no image .*; correct the path or remove the row"):
            read_image(path, "row 7")


@pytest.mark.parametrize(("suffix", "seed"), [("PNG", 0), ("JPEG", 1)])
def test_what_passes_decodes_in_training_and_damage_is_one_sentence(tmp_path, suffix, seed):
    """Cut, changed and shortened files: either training reads what is stored, or the message names the row."""
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, suffix)
    good, rng, path = buffer.getvalue(), np.random.default_rng(seed), tmp_path / "damaged"
    refused = 0
    for trial in range(240):
        content, place = bytearray(good), int(rng.integers(len(good)))
        if trial % 3 == 0:
            content = content[:place]
        elif trial % 3 == 1:
            content[place] = (content[place] + int(rng.integers(1, 256))) % 256
        else:
            del content[place : place + int(rng.integers(1, 30))]
        path.write_bytes(bytes(content))
        try:
            result, size = read_image(path, "row 7")
        except ValueError as error:
            refused += 1
            assert str(error).startswith("row 7: ") and str(error).endswith("replace it or remove the row"), error
            assert "\n" not in str(error)
        else:
            assert stored_image(result).pixels.shape == (*size, 3)
    assert refused > 100
