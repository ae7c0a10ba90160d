"""Images on the host, with PIL: pixels in, crops out.

One function cuts, `crop_image`: the canvases of training, the crops of evaluation and of prediction. The same bytes,
matrix and shape give the same pixels, whoever asks.

Pixels are those of the upright image: an EXIF orientation is applied, as every viewer does, so that boxes and
landmarks count from the corner that a person sees as the upper left.
"""

import contextlib
import functools
import io
import os
from collections.abc import Callable, Iterator, Sequence
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageOps, UnidentifiedImageError

from h3r_jax import geometry, reference_crop
from h3r_jax.errors import UserError
from h3r_jax.image_files import EXIF_ORIENTATION, load, open_image, opened

EXTENSIONS = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
REDUCTIONS = (8, 4, 2)  # of the sides of a JPEG, which save its decoder a part of the work
# An image is decoded at a part of its size if its pixels are still that many times as fine as those of the crop. On
# photographs the crop then differs by 0.4 to 0.8 of 255 on average, at most by 1.4; without a margin by up to 4.4.
LEAST_FINENESS = 1.5

Source = str | os.PathLike | bytes | Image.Image | ArrayLike


class Decoded(NamedTuple):
    """A decoded image.

    image: in RGB, of PIL or `uint8[h, w, 3]`.
    reduction: the side of a pixel, in pixels of the whole image.
    extent: `float64[2]`, height and width that are covered, in pixels of `image`. If the reduction does not divide the
      size, the last row or column lies partly beyond.
    """

    image: Image.Image | np.ndarray
    reduction: int
    extent: np.ndarray

    @property
    def shape(self) -> np.ndarray:
        """`int[2]`, h and w."""
        return np.ceil(self.extent).astype(int)

    def window(self, first: np.ndarray, last: np.ndarray) -> Image.Image:
        """The rows and columns from `first` to before `last` (y, x) of the image, black beyond it."""
        image = self.image
        if isinstance(image, np.ndarray):
            low, high = np.clip(first, 0, self.shape - 1), np.clip(last, 1, self.shape)
            image = Image.fromarray(image[low[0] : high[0], low[1] : high[1]])
            first, last = first - low, last - low
        return image.crop((*first[::-1].tolist(), *last[::-1].tolist()))


class LazyImage:
    """An image that is decoded when its pixels are needed, and no finer than they are needed.

    source: path of a file, its bytes, a PIL image, or `uint8[H, W, 3]`, `uint8[H, W, 1]` or `uint8[H, W]`. Of an
      animation, the first picture.
    name: for messages; by default the path.
    turned: whether an EXIF orientation turns the image. If not, its pixels are as they are stored.

    Raises, in part not before the image is decoded:
      UserError: the file is missing, damaged or not an image, its pixels have no known white, or the array is none of
        these; names it.
    """

    def __init__(self, source: Source, name: str | None = None, *, turned: bool = True):
        self._turned, self._decoded = turned, dict[int, Decoded]()
        self._name = name or (os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the image")
        self.file: str | os.PathLike | bytes | None = None
        if isinstance(source, (str, os.PathLike, bytes)):
            self.file = source
        elif isinstance(source, Image.Image):
            self._decoded[1] = self._whole(load(source))
        else:
            pixels = _three_channels(np.asarray(source), self._name)
            self._decoded[1] = Decoded(pixels, 1, np.array(pixels.shape[:2], np.float64))

    @property
    def pixels(self) -> np.ndarray:
        """`uint8[H, W, 3]`. 16 bits keep the higher 8; transparency is laid on black."""
        decoded = self.decoded()
        pixels = np.asarray(decoded.image)
        self._decoded[1] = decoded._replace(image=pixels)
        return pixels

    @property
    def size(self) -> tuple[int, int]:
        """`(H, W)`. It decodes the image if nothing of it is decoded yet."""
        _, reduction, extent = next(iter(self._decoded.values()), None) or self.decoded()
        height, width = (reduction * extent).round().astype(int).tolist()
        return height, width

    def decoded(self, pixel: float = 1.0) -> Decoded:
        """The image, decoded: whole, or smaller if it is a JPEG that stands upright.

        pixel: the side of a pixel of the crop, in pixels of the whole image.
        """
        with self._naming():
            fits = (each for each in REDUCTIONS if each * LEAST_FINENESS <= pixel and each <= min(self._reducible))
            reduction = next(fits, 1)
            if reduction not in self._decoded:
                self._decoded[reduction] = self._read(reduction)
        return self._decoded[reduction]

    @functools.cached_property
    def _reducible(self) -> tuple[int, int]:
        """`(H, W)` of a JPEG that can be decoded at a part of its size; zeros of every other image."""
        if self.file is not None:
            with opened(_open(self.file)) as image:
                if image.format == "JPEG" and image.mode in ("RGB", "L") and not self._is_turned(image):
                    return image.height, image.width
        return 0, 0

    def _read(self, reduction: int) -> Decoded:
        assert self.file is not None
        with open_image(_open(self.file), reduction) as image:
            if reduction > 1:
                return Decoded(to_rgb(image), reduction, np.array(self._reducible) / reduction)
            return self._whole(image)

    def _whole(self, image: Image.Image) -> Decoded:
        image = to_rgb(ImageOps.exif_transpose(image) if self._is_turned(image) else image)
        return Decoded(image, 1, np.array([image.height, image.width], np.float64))

    def _is_turned(self, image: Image.Image) -> bool:
        return self._turned and image.getexif().get(EXIF_ORIENTATION, 1) != 1

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except MemoryError:
            raise
        except FileNotFoundError:
            raise UserError(f"{self._name}: there is no such file") from None
        except UnidentifiedImageError:
            raise UserError(f"{self._name} is not an image of a known format") from None
        except Exception as error:  # noqa: BLE001 - whatever a decoder makes of broken bytes
            if isinstance(error, OSError) and error.errno is not None:  # of the system, such as too many open files
                raise UserError(f"{self._name} cannot be read: {error.strerror}") from None
            raise UserError(f"{self._name} is not a readable image ({error})") from None


def _open(file: str | os.PathLike | bytes) -> str | os.PathLike | IO[bytes]:
    return io.BytesIO(file) if isinstance(file, bytes) else file


def lazy(image: LazyImage | Source) -> LazyImage:
    """A LazyImage of what can make one."""
    return image if isinstance(image, LazyImage) else LazyImage(image)


def read_image(source: Source, name: str | None = None) -> np.ndarray:
    """The upright pixels `uint8[H, W, 3]` of an image; arguments and errors as `LazyImage`."""
    return LazyImage(source, name).pixels


def _three_channels(pixels: np.ndarray, name: str) -> np.ndarray:
    grey = pixels.ndim == 2 or pixels.shape[2:] == (1,)
    if pixels.dtype != np.uint8 or not pixels.size or not (grey or pixels.shape[2:] == (3,)):
        raise UserError(f"{name} is {pixels.dtype}{list(pixels.shape)}; want uint8 [H, W, 3] or [H, W]")
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
    return image if image.mode == "RGB" else image.convert("RGB")


def crop_image(image: LazyImage | Source, matrix: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """An image through an axis-parallel affine map, antialiased when it shrinks, zero beyond its border.

    By PIL's triangle filter. If the image shrinks much, a JPEG is decoded at a part of its size.

    Args:
      image: LazyImage, or what makes one.
      matrix: `float64[2, 3]`, image to crop pixels, without rotation and with equal scales (`geometry.crop_matrix`).
      shape: `(H', W')` of the crop.

    Returns:
      `uint8[H', W', 3]`; black if the whole image would fall into less than a pixel.

    Raises:
      UserError: as LazyImage.
    """
    pixel = 1 / matrix[0, 0]  # image pixels per pixel of the crop; below, pixels of the decoded image
    decoded = lazy(image).decoded(pixel)
    reduction, extent = decoded.reduction, decoded.extent
    if pixel == 1 and not (matrix[:, 2] % 1).any():  # nothing to resample, as for most canvases of faces
        corner = np.clip(-matrix[::-1, 2], np.negative(shape), decoded.shape).astype(int)
        return np.array(decoded.window(corner, corner + shape))
    pixel /= reduction
    # In edge coordinates the image covers [0, extent] and the crop [0, shape]; this is where the crop begins.
    start = 0.5 / reduction - pixel * (matrix[::-1, 2] + 0.5)
    # Pixels of the crop whose centres lie on the image; the rest stays zero.
    first = np.clip(np.ceil(-start / pixel - 0.5), 0, shape).astype(int)
    last = np.clip(np.floor((extent - start) / pixel - 0.5) + 1, first, shape).astype(int)
    crop = np.zeros((*shape, 3), np.uint8)
    if (last > first).all() and pixel <= extent.max():
        part = _resized(decoded, start + pixel * first, start + pixel * last, last - first)
        crop[first[0] : last[0], first[1] : last[1]] = part
    return crop


def _resized(decoded: Decoded, low: np.ndarray, high: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The part of an image from `low` to `high` (y, x; edge coordinates), resized to `uint8[*size, 3]`.

    The part reaches over the border by at most half a pixel of the result.
    """
    reach = int(((high - low) / size).max()) + 2  # of the filter
    first, last = np.floor(low).astype(int) - reach, np.ceil(high).astype(int) + reach
    inside = (low >= 0).all() and (high <= decoded.shape).all()
    if inside:  # PIL's filter ends at the border
        first, last = np.maximum(first, 0), np.minimum(last, decoded.shape)
    low, high = low - first, high - first
    part = _resize(decoded.window(first, last), low, high, size)
    if inside:
        return part
    # The outermost pixels look over the border: into black, and then divided by the share of the filter within.
    shares = []
    for axis in (0, 1):
        line = np.arange(first[axis], last[axis])
        line = ((line >= 0) & (line < decoded.shape[axis])).astype(np.float32)
        shares.append(_resize(Image.fromarray(line[:, None]), (low[axis], 0), (high[axis], 1), (size[axis], 1))[:, 0])
    scale, part = shares[0][:, None, None] * shares[1][:, None], part.copy()
    rows, columns = ((share < 1 - 1e-6).nonzero()[0] for share in shares)  # few
    original = part[:, columns]
    part[rows] = np.minimum(np.round(part[rows] / scale[rows]), 255)
    part[:, columns] = np.minimum(np.round(original / scale[:, columns]), 255)
    return part


def _resize(image: Image.Image, low: ArrayLike, high: ArrayLike, size: ArrayLike) -> np.ndarray:
    (top, left), (bottom, right), (height, width) = np.asarray(low), np.asarray(high), np.asarray(size).tolist()
    box = (left, top, right, bottom)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=box))


class Crop(NamedTuple):
    """A way to cut crops of `shape` (H, W) out of images, around boxes (x0, y0, x1, y1; image pixels) grown by `scale`.

    matrix: function(boxes `[..., 4]`, shape, scale) -> `float64[..., 2, 3]`, from image pixels to pixels of the crop.
    cut: function(image, box `[4]`, shape, scale) -> `uint8[H, W, 3]`, black beyond the image.

    Both raise ValueError for a box without a size, and for a shape that the crop cannot have.
    """

    matrix: Callable[[ArrayLike, Sequence[int], float], np.ndarray]
    cut: Callable[[LazyImage, ArrayLike, Sequence[int], float], np.ndarray]


def _exact_matrix(boxes: ArrayLike, shape: Sequence[int], scale: float) -> np.ndarray:
    return geometry.crop_matrix(boxes, shape=shape, scale=scale)


def _exact_cut(image: LazyImage, box: ArrayLike, shape: Sequence[int], scale: float) -> np.ndarray:
    return crop_image(image, _exact_matrix(box, shape, scale), shape)


def _reference_cut(image: LazyImage, box: ArrayLike, shape: Sequence[int], scale: float) -> np.ndarray:
    return reference_crop.cut(image.pixels, box, shape, scale)


CROPS = {  # by the name in a configuration, config.eval.crop
    "exact": Crop(_exact_matrix, _exact_cut),
    "reference": Crop(reference_crop.matrix, _reference_cut),  # as the released H3R code, square
}
