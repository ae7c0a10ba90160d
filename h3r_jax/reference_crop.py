"""The crop of the released H3R code: whole pixels, antialiased resize, no half-pixel terms.

For parity with networks that were trained or evaluated with it (baoshengyu/H3R, `torchalign`). The image is
cut along the rectangle rounded to whole pixels, but points are taken through the rectangle as it was: up to
half an image pixel apart. And the centre of the crop's first pixel is taken for the centre of the
rectangle's first: a shift of `(p - 1) / 2` image pixels where p of them make one of the crop.
`geometry.crop_matrix` has neither.
"""

import numpy as np


def reference_crop(image, box, size, scale=1.25):
    """One crop of an image around a box, and the map of points that the reference uses with it.

    Args:
      image: `uint8[H, W, 3]`.
      box: x0, y0, x1, y1; image pixels.
      size: of the square crop, pixels.
      scale: growth of the box's longer side, both border pixels included.

    Returns:
      crop `uint8[size, size, 3]`, black beyond the image, and `float64[2, 3]`, which takes image pixels
      to pixels of the crop.

    Raises:
      ValueError: the box is not finite, or x1 < x0 or y1 < y0.
    """
    from PIL import Image

    x0, y0, x1, y1 = np.asarray(box, np.float64)
    if not (np.isfinite([x0, y0, x1, y1]).all() and x1 >= x0 and y1 >= y0):
        raise ValueError(f"box {[x0, y0, x1, y1]} has no size: want finite x0 <= x1 and y0 <= y1")
    side = scale * max(x1 - x0 + 1, y1 - y0 + 1)
    left, top = (x0 + x1 - side + 1) / 2, (y0 + y1 - side + 1) / 2
    # Half a pixel goes to the even neighbour, as in PIL's own crop.
    rectangle = [round(edge) for edge in (left, top, left + side, top + side)]
    cut = Image.fromarray(np.asarray(image)).crop(rectangle)
    crop = np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR))
    ratio = size / side
    return crop, np.array([[ratio, 0.0, -left * ratio], [0.0, ratio, -top * ratio]])
