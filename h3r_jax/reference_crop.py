"""The crop of the released H3R code: whole pixels, antialiased resize, no half-pixel terms.

For parity with networks that were trained or evaluated with it (baoshengyu/H3R, `torchalign`). The image is cut along
the rectangle rounded to whole pixels, but points are taken through the rectangle as it was: up to half an image pixel
apart. And the centre of the crop's first pixel is taken for the centre of the rectangle's first: a shift of
`(p - 1) / 2` image pixels where p of them make one of the crop. `geometry.crop_matrix` has neither.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from h3r_jax.errors import UserError


def _corners_and_sides(boxes: ArrayLike, shape: Sequence[int], scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Left upper corners `[..., 2]` and sides `[...]` of the squares that the reference cuts, not yet rounded."""
    if shape[0] != shape[1]:
        size = f"{shape[0]}x{shape[1]}"
        raise UserError(f'the crop "reference" is square, but the input is {size}; want the crop "exact"')
    boxes = np.asarray(boxes, np.float64)
    extent = boxes[..., 2:] - boxes[..., :2] + 1
    bad = ~(np.isfinite(boxes).all(axis=-1) & (extent >= 1).all(axis=-1))
    if bad.any():
        raise UserError(f"box {boxes[bad][0].tolist()} has no size: want finite x0 <= x1 and y0 <= y1")
    side = scale * extent.max(axis=-1)
    return (boxes[..., :2] + boxes[..., 2:] - side[..., None] + 1) / 2, side


def matrix(boxes: ArrayLike, shape: Sequence[int], scale: float = 1.25) -> np.ndarray:
    """The maps of points that the reference uses with its crops: `float64[..., 2, 3]`, image to crop pixels.

    Args:
      boxes: `[..., 4]`, x0, y0, x1, y1; image pixels.
      shape: `(H, W)` of the crop, which is square.
      scale: growth of the box's longer side, both border pixels included.

    Raises:
      ValueError: the shape is not square, a box is not finite, or x1 < x0 or y1 < y0.
    """
    corner, side = _corners_and_sides(boxes, shape, scale)
    ratio = (shape[0] / side)[..., None, None]
    return np.concatenate([np.eye(2) * ratio, -corner[..., None] * ratio], axis=-1)


def cut(pixels: np.ndarray, box: ArrayLike, shape: Sequence[int], scale: float = 1.25) -> np.ndarray:
    """One crop of an image around a box: `uint8[*shape, 3]`, black beyond the image.

    Args:
      pixels: `uint8[H, W, 3]`.
      box: `[4]`, x0, y0, x1, y1; image pixels.
      shape, scale: as `matrix`.

    Raises:
      ValueError: as `matrix`; or the crop has more image pixels than PIL allows.
    """
    (left, top), side = _corners_and_sides(box, shape, scale)
    # Half a pixel goes to the even neighbour, as in PIL's own crop.
    rectangle = (round(float(left)), round(float(top)), round(float(left + side)), round(float(top + side)))
    try:
        part = Image.fromarray(np.asarray(pixels)).crop(rectangle)
    except Image.DecompressionBombError as error:
        name = type(error).__name__
        raise UserError(f"box {np.asarray(box).tolist()} could not be cropped ({name}: {error})") from None
    return np.asarray(part.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))
