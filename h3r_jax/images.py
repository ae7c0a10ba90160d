"""Image files on the host, with PIL: pixels in, crops out.

Pixels are those of the upright image: an EXIF orientation is applied, as every viewer does, so that boxes and
landmarks count from the corner that a person sees as the upper left.
"""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageOps, UnidentifiedImageError

from h3r_jax import geometry, reference_crop
from h3r_jax.errors import UserError
from h3r_jax.image_files import load, open_image

EXTENSIONS = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def read_image(source: str | os.PathLike | Image.Image | ArrayLike, name: str | None = None) -> np.ndarray:
    """The upright pixels of an image.

    Args:
      source: path of a file, a PIL image, or `uint8[H, W, 3]`, `uint8[H, W, 1]` or `uint8[H, W]`. Of an animation, the
        first picture.
      name: what a message calls it; by default the path.

    Returns:
      `uint8[H, W, 3]`. 16 bits keep the higher 8; transparency is laid on black.

    Raises:
      ValueError: the file is missing, damaged or not an image, its pixels have no known white, or the array is none of
        these; names it.
    """
    if isinstance(source, (str, os.PathLike)):
        name = name or os.fspath(source)
        try:
            with open_image(source) as image:
                return np.asarray(to_rgb(ImageOps.exif_transpose(image)))
        except FileNotFoundError:
            raise UserError(f"{name}: there is no such file") from None
        except UnidentifiedImageError:
            raise UserError(f"{name} is not an image of a known format") from None
        except Exception as error:  # noqa: BLE001 - whatever a decoder makes of broken bytes
            raise UserError(f"{name} is not a readable image ({error})") from None
    if isinstance(source, Image.Image):
        return np.asarray(to_rgb(ImageOps.exif_transpose(load(source))))
    pixels = np.asarray(source)
    grey = pixels.ndim == 2 or pixels.shape[2:] == (1,)
    if pixels.dtype != np.uint8 or not pixels.size or not (grey or pixels.shape[2:] == (3,)):
        raise UserError(f"{name or 'the image'} is {pixels.dtype}{list(pixels.shape)}; want uint8 [H, W, 3] or [H, W]")
    return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2) if grey else pixels


def to_rgb(image: Image.Image) -> Image.Image:
    """A PIL image in 8-bit RGB; 16-bit grey keeps its high byte, transparency is laid on black.

    `image_files.open_image` makes sure that 16 bits are used.

    Raises:
      ValueError: pixels have 32 bits.
    """
    if image.mode in ("I", "F"):
        raise UserError("32 bits a pixel; store 8 or 16")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    return image.convert("RGB")


def crop_image(pixels: np.ndarray, matrix: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """An image through an axis-parallel affine map, antialiased when it shrinks, zero beyond its border.

    The crop that evaluation makes (`data.pipeline.render_canvas`), by PIL's triangle filter.

    Args:
      pixels: `uint8[H, W, 3]`.
      matrix: `float64[2, 3]`, image to crop pixels, without rotation and with equal scales (`geometry.crop_matrix`).
      shape: `(H', W')` of the crop.

    Returns:
      `uint8[H', W', 3]`.

    Raises:
      ValueError: the whole image would fall into less than one pixel of the crop.
    """
    pixel = 1 / matrix[0, 0]  # image pixels per pixel of the crop
    if pixel > max(pixels.shape[:2]):
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise UserError(f"a crop with {pixel:.3g} image pixels to a pixel shows nothing of an image of {size} pixels")
    # In edge coordinates the image covers [0, size] and the crop [0, shape]; this is where the crop begins.
    start = 0.5 - pixel * (matrix[::-1, 2] + 0.5)
    # Pixels of the crop whose centres lie on the image; the rest stays zero.
    first = np.clip(np.ceil(-start / pixel - 0.5), 0, shape).astype(int)
    last = np.clip(np.floor((pixels.shape[:2] - start) / pixel - 0.5) + 1, first, shape).astype(int)
    crop = np.zeros((*shape, 3), np.uint8)
    if not (last > first).all():
        return crop
    low, high = start + pixel * first, start + pixel * last
    # What lies within the reach of the filter.
    window = [slice(max(0, int(a - pixel) - 2), max(1, int(b + pixel) + 2)) for a, b in zip(low, high)]
    seen = pixels[window[0], window[1]]
    origin = np.array([axis.start for axis in window])
    size = last - first
    if (low >= 0).all() and (high <= pixels.shape[:2]).all():
        part = _resize(seen, low - origin, high - origin, size)
    else:
        # The outermost pixels look over the border: into black, and then divided by the share of the filter within.
        margin = int(pixel) + 2
        low, high = low - origin + margin, high - origin + margin
        rows, columns = (np.pad(np.ones((count, 1), np.float32), ((margin,) * 2, (0, 0))) for count in seen.shape[:2])
        rows = _resize(rows, (low[0], 0), (high[0], 1), (size[0], 1))
        columns = _resize(columns, (low[1], 0), (high[1], 1), (size[1], 1))
        seen = np.pad(seen, ((margin, margin), (margin, margin), (0, 0)))
        part = _resize(seen, low, high, size) / (rows * columns.T)[..., None]
        part = np.minimum(np.round(part), 255).astype(np.uint8)
    crop[first[0] : last[0], first[1] : last[1]] = part
    return crop


class Crop(NamedTuple):
    """A way to cut crops of `shape` (H, W) out of images, around boxes (x0, y0, x1, y1; image pixels) grown by `scale`.

    matrix: function(boxes `[..., 4]`, shape, scale) -> `float64[..., 2, 3]`, from image pixels to pixels of the crop.
    cut: function(pixels `uint8[H', W', 3]`, box `[4]`, shape, scale) -> `uint8[H, W, 3]`, black beyond the image.

    Both raise ValueError for a box without a size, and for a shape that the crop cannot have.
    """

    matrix: Callable[[ArrayLike, Sequence[int], float], np.ndarray]
    cut: Callable[[np.ndarray, ArrayLike, Sequence[int], float], np.ndarray]


def _exact_matrix(boxes: ArrayLike, shape: Sequence[int], scale: float) -> np.ndarray:
    return geometry.crop_matrix(boxes, shape=shape, scale=scale)


def _exact_cut(pixels: np.ndarray, box: ArrayLike, shape: Sequence[int], scale: float) -> np.ndarray:
    return crop_image(pixels, _exact_matrix(box, shape, scale), shape)


CROPS = {  # by the name in a configuration, config.eval.crop
    "exact": Crop(_exact_matrix, _exact_cut),
    "reference": Crop(reference_crop.matrix, reference_crop.cut),  # as the released H3R code, square
}


def _resize(pixels: np.ndarray, start: Sequence[float], stop: Sequence[float], shape: Sequence[int]) -> np.ndarray:
    box = (start[1], start[0], stop[1], stop[0])
    resized = Image.fromarray(pixels).resize((int(shape[1]), int(shape[0])), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized)
