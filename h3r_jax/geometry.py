"""Boxes, crops, and affine maps of points and images.

Pixel centres lie at integers: an image of width W covers x from -1/2 to W - 1/2.
An affine map is a matrix `[..., 2, 3]` that takes `(x, y)` to
`matrix[..., :2] @ (x, y) + matrix[..., 2]`. The host computes in numpy float64;
functions marked "either" take numpy or JAX arrays alike. No coordinate goes through
a matrix product of the accelerator: those round their inputs by default, on a TPU to
bfloat16, which moves a point at 200 pixels by half a pixel.
"""

import functools
from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from h3r_jax.codec.arguments import number, permutation, positive, shape_of_map, whole

Either = TypeVar("Either", np.ndarray, jax.Array)

# Half a body is cropped if the whole has so many joints and the half so many (HRNet: more than 8, more than 2),
HALF_BODY_LEAST, HALF_LEAST = 9, 3
# and by 1.5 times its box where a whole person is by 1.25 times (HRNet).
HALF_BODY_GROWTH = 1.5 / 1.25


def landmark_box(landmarks: ArrayLike, weight: ArrayLike | None = None) -> np.ndarray:
    """The smallest box around landmarks (protocol P1 of the reference).

    Args:
      landmarks: `[..., K, 2]`, pixels; numpy.
      weight: `[..., K]`; landmarks at zero, or NaN, do not count. None for all.

    Returns:
      `float64[..., 4]`: x0, y0, x1, y1; NaN if no landmark counts.

    Raises:
      ValueError: landmarks of another shape.
    """
    landmarks = np.asarray(landmarks, np.float64)
    if landmarks.ndim < 2 or landmarks.shape[-1] != 2:
        raise ValueError(f"landmarks must be [..., K, 2], got {list(landmarks.shape)}")
    counts = np.isfinite(landmarks).all(axis=-1)
    if weight is not None:
        counts = counts & (np.asarray(weight) > 0)
    low = np.where(counts[..., None], landmarks, np.inf).min(axis=-2, initial=np.inf)
    high = np.where(counts[..., None], landmarks, -np.inf).max(axis=-2, initial=-np.inf)
    box = np.concatenate([low, high], axis=-1)
    return np.where(counts.any(axis=-1, keepdims=True), box, np.nan)


def half_body_boxes(landmarks: ArrayLike, weight: ArrayLike, upper_body: Sequence[int]) -> np.ndarray:
    """Boxes around the upper and the lower half of bodies, for the scale that crops whole people.

    Args:
      landmarks: `[..., K, 2]`, pixels; numpy.
      weight: `[..., K]`; landmarks at zero do not count.
      upper_body: indices of the upper half; the other landmarks are the lower.

    Returns:
      `float64[..., 2, 4]`: x0, y0, x1, y1 of the upper and of the lower half, grown by `HALF_BODY_GROWTH`; NaN for a
      half of fewer than `HALF_LEAST` landmarks or of a body of fewer than `HALF_BODY_LEAST`.

    Raises:
      ValueError: an index that is none of a landmark.
    """
    counts = np.asarray(weight) > 0
    upper_body = [whole("an index of upper_body", each, 0, counts.shape[-1] - 1) for each in upper_body]
    upper = np.isin(np.arange(counts.shape[-1]), upper_body)
    halves = counts[..., None, :] & np.stack([upper, ~upper])
    enough = (halves.sum(axis=-1) >= HALF_LEAST) & (counts.sum(axis=-1, keepdims=True) >= HALF_BODY_LEAST)
    boxes = landmark_box(np.asarray(landmarks, np.float64)[..., None, :, :], halves)
    growth = (HALF_BODY_GROWTH - 1) / 2 * (boxes[..., 2:] - boxes[..., :2] + 1)
    boxes = np.concatenate([boxes[..., :2] - growth, boxes[..., 2:] + growth], axis=-1)
    return np.where(enough[..., None], boxes, np.nan)


def crop_matrix(boxes: ArrayLike, *, shape: Sequence[int], scale: float = 1.25) -> np.ndarray:
    """The map from image pixels to the pixels of a crop around each box.

    The crop shares the box's centre and has the aspect of `shape`: the box, both
    border pixels included, is grown along its shorter side, then by `scale` (the
    reference: `scale * max(x1 - x0 + 1, y1 - y0 + 1)`, square). The half-pixel
    terms are part of the matrix: the crop's edges, not its first and last pixel
    centres, lie on the grown box.

    Args:
      boxes: `[..., 4]`, x0, y0, x1, y1 in image pixels; numpy.
      shape: `(H, W)` of the crop.
      scale: growth of the box.

    Returns:
      `float64[..., 2, 3]`.

    Raises:
      ValueError: boxes of another shape; a box is not finite, or x1 < x0 or y1 < y0 (names the first); the scale is not
        positive and finite; the shape is not of two positive whole numbers.
    """
    scale, (height, width) = positive("scale", scale), _size(shape)
    boxes = np.asarray(boxes, np.float64)
    if boxes.shape[-1:] != (4,):
        raise ValueError(f"boxes must be [..., 4], got {list(boxes.shape)}")
    extent = boxes[..., 2:] - boxes[..., :2] + 1
    bad = ~(np.isfinite(boxes).all(axis=-1) & (extent >= 1).all(axis=-1))
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        which = f"box {first}" if first else "box"
        raise ValueError(f"{which} = {boxes[first].tolist()} has no size: want finite x0 <= x1 and y0 <= y1")
    size = np.array([width, height], np.float64)
    pixel = scale * (extent / size).max(axis=-1)  # image pixels per crop pixel
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    offset = (size - 1) / 2 - center / pixel[..., None]
    return np.concatenate([np.eye(2) / pixel[..., None, None], offset[..., None]], axis=-1)


def compose(outer: Either, inner: Either) -> Either:
    """The map that applies `inner` first, then `outer`; `[..., 2, 3]` each, either."""
    linear = _product(outer[..., :2], inner[..., :2])
    offset = _product(outer[..., :2], inner[..., 2:]) + outer[..., 2:]
    xp = np if isinstance(linear, np.ndarray) else jnp
    return xp.concatenate([linear, offset], axis=-1)


def invert(matrix: Either) -> Either:
    """The inverse map, `[..., 2, 3]` (either). The determinant must not be zero."""
    xp = np if isinstance(matrix, np.ndarray) else jnp
    a, b, c, d = (matrix[..., i, j] for i in (0, 1) for j in (0, 1))
    linear = xp.stack([xp.stack([d, -b], -1), xp.stack([-c, a], -1)], -2) / (a * d - b * c)[..., None, None]
    return xp.concatenate([linear, -_product(linear, matrix[..., 2:])], axis=-1)


def transform_points(matrix: Either, points: Either) -> Either:
    """Points `[..., K, 2]` under maps `[..., 2, 3]`; either."""
    return (matrix[..., None, :, :2] * points[..., None, :]).sum(axis=-1) + matrix[..., None, :, 2]


def _size(shape: Sequence[int]) -> tuple[int, int]:
    sizes = shape_of_map(shape, "shape")
    if len(sizes) != 2:
        raise ValueError(f"shape must be (H, W), got {sizes}")
    return sizes


def _product(a: Either, b: Either) -> Either:
    """`a @ b` for `[..., 2, 2]` and `[..., 2, n]`, by multiplications and sums in the precision of the arrays."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(axis=-2)


def mirror_matrix(width: int) -> np.ndarray:
    """The left-right mirror of an image of `width` pixels, `x -> width - 1 - x`; `float64[2, 3]`.

    Raises ValueError for a width that is no whole number of at least 1.
    """
    return np.array([[-1.0, 0.0, whole("width", width) - 1], [0.0, 1.0, 0.0]])


def mirror_landmarks(landmarks: Either, width: int, order: Sequence[int]) -> Either:
    """Landmarks of the mirrored image: coordinates mirrored, left and right exchanged; either.

    Args:
      landmarks: `[..., K, 2]`, pixels.
      width: of the image, pixels.
      order: `K` indices; entry i names the landmark that becomes landmark i (`LandmarkScheme.mirror`).

    Returns:
      `[..., K, 2]`; floats, also of whole numbers.

    Raises:
      ValueError: a width that is no whole number of at least 1; an order that does not name each landmark once.
    """
    indices, width = permutation("order", order, landmarks.shape[-2]), whole("width", width)
    xp = np if isinstance(landmarks, np.ndarray) else jnp
    if not jnp.issubdtype(landmarks.dtype, jnp.floating):  # some have no numbers below zero, or none as large as widths
        landmarks = landmarks.astype(np.float64 if xp is np else np.float32)
    x, y = landmarks[..., 0], landmarks[..., 1]
    return xp.stack([width - 1 - x, y], axis=-1)[..., indices, :]


def mirror_heatmaps(heatmaps: jax.Array, stride: float, order: Sequence[int]) -> jax.Array:
    """Heatmaps of the image from those of its mirror image, every cell's mass where it belongs.

    Cell j of the mirrored map stands at pixel `stride * j` there, which is `width - 1 - stride * j` here: turned
    round, the map is `1 - 1 / stride` cells too far left. It is moved by that by linear interpolation, under which
    a mean moves exactly. What is moved beyond the last cell is lost: no cell stands for those pixels.

    Args:
      heatmaps: `[..., H, W, K]`, of probabilities, on which interpolation is mixture; not of logits.
      stride: input pixels per cell, along x; at least 1.
      order: `K` indices (`LandmarkScheme.mirror`).

    Returns:
      `[..., H, W, K]`.

    Raises:
      ValueError: a stride below 1; an order that does not name each landmark once.
    """
    stride, indices = number("stride", stride, 1.0), permutation("order", order, heatmaps.shape[-1])
    turned = heatmaps[..., ::-1, :][..., indices]
    before = jnp.concatenate([jnp.zeros_like(turned[..., :1, :]), turned[..., :-1, :]], axis=-2)
    shift = 1 - 1 / stride
    return (1 - shift) * turned + shift * before


def warp_image(image: jax.Array, matrix: jax.Array, shape: Sequence[int], edges: jax.Array | None = None) -> jax.Array:
    """An image seen through an affine map, by bilinear interpolation; zero beyond its border.

    Meant for maps that keep sizes or shrink by less than two: there is no
    low-pass filter here (the host's resize has one).

    Args:
      image: `[H, W, C]`, any dtype.
      matrix: `[2, 3]`, from pixels of `image` to pixels of the result.
      shape: `(H', W')` of the result.
      edges: `[4]`, x0, y0, x1, y1, pixels of `image`: only what lies between them is seen, and the pixels next to them
        are repeated up to them. An edge is one pixel of the result wide. Without edges, the outermost pixels of `image`
        fade over one of them.

    Returns:
      `float32[H', W', C]`.

    Raises:
      ValueError: the shape is not of two positive whole numbers; an image, a matrix or edges of another shape.
    """
    shape = _size(shape)
    if image.ndim != 3 or np.shape(matrix) != (2, 3):
        raise ValueError(f"want an image [H, W, C] and a matrix [2, 3], got {image.shape} and {np.shape(matrix)}")
    if edges is not None and np.shape(edges) != (4,):
        raise ValueError(f"want edges [4], got {np.shape(edges)}")
    inverse = invert(jnp.asarray(matrix, jnp.float32))
    x, y = jnp.meshgrid(jnp.arange(shape[1], dtype=jnp.float32), jnp.arange(shape[0], dtype=jnp.float32))
    source = transform_points(inverse, jnp.stack([x.ravel(), y.ravel()], axis=-1))
    if edges is not None:
        low, high = jnp.asarray(edges, jnp.float32).reshape(2, 1, 2)
        # A hard edge would let the rounding of positions decide about whole pixels.
        pixel = jnp.sqrt(inverse[None, :, 0] ** 2 + inverse[None, :, 1] ** 2)  # of the result, across each edge
        cover = jax.lax.clamp(np.float32(0), jnp.minimum(source - low, high - source) / pixel + 0.5, np.float32(1))
        source = jnp.clip(source, jnp.ceil(low), jnp.floor(high))
    corner = jnp.floor(source)
    fx, fy = (source - corner).T
    left, top = corner.astype(jnp.int32).T
    if image.dtype == jnp.uint8:
        taps = jax.lax.platform_dependent(image, left, top, cpu=_four_gathers, default=_one_gather)
    else:
        taps = _four_gathers(image, left, top)
    weights = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    first, *others = (
        pixels.astype(jnp.float32) * jnp.where(within, weight, 0.0)[:, None]
        for (pixels, within), weight in zip(taps, weights)
    )
    result = sum(others, first)
    if edges is not None:
        result = result * cover[:, :1] * cover[:, 1:]
    return result.reshape(*shape, image.shape[2])


Tap = tuple[jax.Array, jax.Array]  # pixels `[N, C]`, and `bool[N]`: which of them count


def _four_gathers(image: jax.Array, left: jax.Array, top: jax.Array) -> list[Tap]:
    """The pixels at `(left, top)`, to the right, below, and below to the right; beyond the border none counts."""
    height, width, channels = image.shape
    flat = image.reshape(height * width, channels)

    def tap(dx: int, dy: int) -> Tap:
        column, row = left + dx, top + dy
        within = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        index = jnp.clip(row, 0, height - 1) * width + jnp.clip(column, 0, width - 1)
        return flat[index], within

    return [tap(0, 0), tap(1, 0), tap(0, 1), tap(1, 1)]


def _one_gather(image: jax.Array, left: jax.Array, top: jax.Array) -> list[Tap]:
    """`_four_gathers` of bytes by one gather of words, each of which holds four neighbours.

    By the compiler's estimates for a TPU, a gather costs by the rows that it takes, and not by the bytes in them.
    """
    height, width, channels = image.shape
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
    blocks = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]  # in the order of `_four_gathers`
    words = functools.reduce(jnp.bitwise_or, (block.astype(jnp.uint32) << 8 * i for i, block in enumerate(blocks)))
    within = (left >= -1) & (left < width) & (top >= -1) & (top < height)
    index = jnp.clip(top + 1, 0, height) * (width + 1) + jnp.clip(left + 1, 0, width)
    word = words.reshape(-1, channels)[index]
    return [((word >> 8 * i & 255).astype(jnp.uint8), within) for i in range(4)]
