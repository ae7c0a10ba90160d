"""The crop of the released H3R code: whole pixels, antialiased resize, no half-pixel terms.

For parity with networks that were trained or evaluated with it (baoshengyu/H3R, `torchalign`). The image is
cut along the rectangle rounded to whole pixels, but points are taken through the rectangle as it was: up to
half an image pixel apart. And the centre of the crop's first pixel is taken for the centre of the
rectangle's first: a shift of `(p - 1) / 2` image pixels where p of them make one of the crop.
`geometry.crop_matrix` has neither.
"""

import numpy as np

from h3r_jax.errors import UserError


def _corner_and_side(box, scale):
    """Left and top edge and side of the squares that the reference cuts, un-rounded, for boxes `[..., 4]`."""
    box = np.asarray(box, np.float64)
    extent = box[..., 2:] - box[..., :2] + 1
    bad = ~(np.isfinite(box).all(axis=-1) & (extent >= 1).all(axis=-1))
    if bad.any():
        raise UserError(f"box {box[bad][0].tolist()} has no size: want finite x0 <= x1 and y0 <= y1")
    side = scale * extent.max(axis=-1)
    return (box[..., :2] + box[..., 2:] - side[..., None] + 1) / 2, side


def reference_matrix(boxes, size, scale=1.25):
    """The maps of points that the reference uses with its crops.

    Args:
      boxes: `[..., 4]`, x0, y0, x1, y1; image pixels.
      size: of the square crop, pixels.
      scale: growth of the box's longer side, both border pixels included.

    Returns:
      `float64[..., 2, 3]`, image pixels to pixels of the crop.

    Raises:
      ValueError: a box is not finite, or x1 < x0 or y1 < y0.
    """
    corner, side = _corner_and_side(boxes, scale)
    ratio = (size / side)[..., None, None]
    return np.concatenate([np.eye(2) * ratio, -corner[..., None] * ratio], axis=-1)


def reference_crop(image, box, size, scale=1.25):
    """One crop of an image around a box.

    Args:
      image: `uint8[H, W, 3]`.
      box: x0, y0, x1, y1; image pixels.
      size, scale: as `reference_matrix`.

    Returns:
      `uint8[size, size, 3]`, black beyond the image.

    Raises:
      ValueError: as `reference_matrix`.
    """
    from PIL import Image

    (left, top), side = _corner_and_side(box, scale)
    # Half a pixel goes to the even neighbour, as in PIL's own crop.
    rectangle = [round(float(edge)) for edge in (left, top, left + side, top + side)]
    cut = Image.fromarray(np.asarray(image)).crop(rectangle)
    return np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR))
