"""Random changes of a training example, on the device, keyed: the same key gives the same example.

The host delivers a canvas: a part of the image around the object, shrunk if it is finer than
the network needs, deterministic and cacheable. Each function here is written for one example and batched by `jax.vmap`.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from h3r_jax import geometry, ranges

# Canvas pixels per input pixel, at most. The bilinear warp of the canvas must stay within 2/255 of a one-step
# antialiased warp of the original on average (tests/data/test_input_path.py). Photographs came out at 1.1 with 1.25, at
# 1.8 with 1.0; fine texture everywhere, such as grass, is the worst case, at 3.
CANVAS_DENSITY = 1.25


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes; each field is also a field of `config.augment`.

    rotation: largest angle, degrees, uniform to both sides.
    scale: the crop's side is multiplied by a factor within `[1 / (1 + scale), 1 + scale]`, uniform in its logarithm.
    shift: largest move of the crop's centre, as a fraction of its sides, uniform per axis.
    mirror: probability of a left-right mirror.
    color: largest relative change of brightness, contrast, saturation and of each channel, uniform.
    blur: largest standard deviation of a Gaussian blur, input pixels, uniform; applied to half of the examples.
    occlusion: probability of a rectangle of one random colour, each side 10 to 40 % of the crop's.
    half_body: probability that a person is shown by the upper or the lower half; those crops want pixels of the
      original image, so the input pipeline makes them.

    Raises:
      ValueError: a number is out of its range (`h3r_jax.ranges`).
    """

    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    mirror: float = 0.0
    color: float = 0.0
    blur: float = 0.0
    occlusion: float = 0.0
    half_body: float = 0.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            ranges.check(f"augment.{field.name}", getattr(self, field.name))


def canvas_shape(augmentation: Augmentation, shape: tuple[int, int]) -> tuple[int, int]:
    """`(H', W')`, canvas pixels, of the largest canvas: it holds every crop which `augmentation` can take.

    `shape` is `(H, W)` of the network's input.
    """
    height, width = shape
    angle = math.radians(min(augmentation.rotation, 90.0))
    # The extent of a rotated rectangle is greatest within the range of angles or at its end.
    angles = np.linspace(0, angle, 91)
    wide = (width * np.cos(angles) + height * np.sin(angles)).max()
    high = (height * np.cos(angles) + width * np.sin(angles)).max()
    grow, move = 1 + augmentation.scale, 2 * augmentation.shift
    sides = high * grow + height * move, wide * grow + width * move
    return math.ceil(CANVAS_DENSITY * sides[0]), math.ceil(CANVAS_DENSITY * sides[1])


def _crop_to_canvas(shape: tuple[int, int], canvas: tuple[int, int]) -> np.ndarray:
    """From pixels of the plain crop to pixels of a canvas around it, of the greatest density; `float64[2, 3]`."""
    offset = [(canvas[axis] - 1) / 2 - CANVAS_DENSITY * (shape[axis] - 1) / 2 for axis in (1, 0)]
    return np.array([[CANVAS_DENSITY, 0, offset[0]], [0, CANVAS_DENSITY, offset[1]]])


def central_crops(count: int, shape: tuple[int, int], canvas: tuple[int, int]) -> dict[str, np.ndarray]:
    """What goes with canvases that have the plain crop in their middle, at `CANVAS_DENSITY`, and image everywhere.

    Args:
      count: of canvases.
      shape: `(H, W)` of the plain crop.
      canvas: `(H', W')`.

    Returns:
      {"matrix" `float32[count, 2, 3]`, "edges" `float32[count, 4]`}, as `augment_example` takes them.
    """
    matrix = geometry.invert(_crop_to_canvas(shape, canvas)).astype(np.float32)
    edges = np.array([-0.5, -0.5, canvas[1] - 0.5, canvas[0] - 0.5], np.float32)
    return {"matrix": np.tile(matrix, (count, 1, 1)), "edges": np.tile(edges, (count, 1))}


def place_canvases(crops: np.ndarray, shape: tuple[int, int], canvas: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The maps from image pixels to canvas pixels, and the sizes of the canvases.

    An image that is coarser than `canvas` is not enlarged: its canvas is a part of the image as it is, and smaller.

    Args:
      crops: `float64[..., 2, 3]`, from image pixels to pixels of the plain crop (`geometry.crop_matrix`).
      shape: `(H, W)` of the plain crop.
      canvas: `(H', W')`, of `canvas_shape`.

    Returns:
      `float64[..., 2, 3]`, and `int[..., 2]`, height and width, at most `canvas`.
    """
    finest = geometry.compose(_crop_to_canvas(shape, canvas), crops)
    middle, scale = (np.array(canvas[::-1]) - 1) / 2, finest[..., :1, 0]
    # Two pixels more, because the canvas begins at a whole pixel of the image.
    sizes = np.ceil((np.array(canvas) - 1) / scale).astype(int) + 2
    coarse = (sizes <= canvas).all(axis=-1)
    center = (middle - finest[..., 2]) / scale  # of the canvas, in the image
    copied = finest.copy()
    copied[..., :2] = np.eye(2)
    copied[..., 2] = np.round((sizes[..., ::-1] - 1) / 2 - center)
    return np.where(coarse[..., None, None], copied, finest), np.where(coarse[..., None], sizes, canvas)


def random_matrix(key: jax.Array, augmentation: Augmentation, shape: tuple[int, int]) -> jax.Array:
    """A random rotation, scale and shift about the crop's centre; `shape` is `(H, W)` of the network's input.

    Returns:
      `float32[2, 3]`, from pixels of the plain crop to pixels of the augmented one.
    """
    key_angle, key_scale, key_shift = jax.random.split(key, 3)
    angle = jnp.deg2rad(augmentation.rotation) * jax.random.uniform(key_angle, minval=-1.0)
    zoom = jnp.exp(-math.log1p(augmentation.scale) * jax.random.uniform(key_scale, minval=-1.0))
    size = jnp.asarray([shape[1], shape[0]], jnp.float32)
    move = augmentation.shift * size * jax.random.uniform(key_shift, (2,), minval=-1.0)
    cos, sin = zoom * jnp.cos(angle), zoom * jnp.sin(angle)
    linear = jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])
    center = (size - 1) / 2
    return jnp.concatenate([linear, (center - (linear * (center + move)[None]).sum(axis=1))[:, None]], axis=1)


def change_color(key: jax.Array, image: jax.Array, strength: float) -> jax.Array:
    """Scales brightness, contrast, saturation and channels of `[H, W, 3]` (0 to 255) by factors in `1 -+ strength`."""
    factors = 1 + strength * jax.random.uniform(key, (6,), minval=-1.0)
    grey = image.mean(axis=-1, keepdims=True)
    image = grey + factors[0] * (image - grey)
    mean = image.mean()
    image = mean + factors[1] * (image - mean)
    return jnp.clip(image * factors[2] * factors[None, None, 3:], 0.0, 255.0)


def gaussian_blur(image: jax.Array, sigma: ArrayLike, reach: int) -> jax.Array:
    """A Gaussian blur of `[H, W, C]` with border pixels repeated; `sigma` and the kernel's `reach` in pixels."""
    kernel = jnp.exp(-0.5 * (jnp.arange(-reach, reach + 1) / jnp.maximum(sigma, 1e-3)) ** 2)
    kernel = kernel / kernel.sum()
    for axis in (0, 1):
        pad = [(reach, reach) if i == axis else (0, 0) for i in range(3)]
        padded = jnp.pad(image, pad, mode="edge")
        size = image.shape[axis]
        moved = (jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(2 * reach + 1))
        image = sum(weight * each for weight, each in zip(kernel, moved))
    return image


def occlude(key: jax.Array, image: jax.Array) -> jax.Array:
    """A rectangle of one random colour over `[H, W, 3]`, each side 10 to 40 % of the image's."""
    key_size, key_place, key_color = jax.random.split(key, 3)
    shape = jnp.asarray(image.shape[:2], jnp.float32)
    half = shape * jax.random.uniform(key_size, (2,), minval=0.05, maxval=0.2)
    center = shape * jax.random.uniform(key_place, (2,))
    rows, columns = (jnp.abs(jnp.arange(n) - c) <= h for n, c, h in zip(image.shape, center, half))
    color = 255.0 * jax.random.uniform(key_color, (3,))
    return jnp.where((rows[:, None] & columns[None, :])[..., None], color, image)


def augment_example(
    key: jax.Array,
    canvas: jax.Array,
    matrix: jax.Array,
    edges: jax.Array,
    landmarks: jax.Array,
    weight: jax.Array,
    *,
    augmentation: Augmentation,
    shape: tuple[int, int],
    mirror_order: Sequence[int],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One random training example out of a canvas.

    Args:
      key: a PRNG key.
      canvas: `uint8[H', W', 3]`, large enough for every crop that `augmentation` can take.
      matrix: `[2, 3]`, from canvas pixels to pixels of the plain crop.
      edges: `[4]`, x0, y0, x1, y1: the edges of the original image, canvas pixels; see `geometry.warp_image`.
      landmarks: `[K, 2]`, canvas pixels.
      weight: `[K]`.
      augmentation: Augmentation.
      shape: `(H, W)` of the network's input.
      mirror_order: `K` indices (`LandmarkScheme.mirror`).

    Returns:
      image `float32[H, W, 3]` (0 to 255), landmarks `float32[K, 2]` (pixels of that image), weight `[K]`.
    """
    key_matrix, key_mirror, key_color, key_blur, key_occlusion = jax.random.split(key, 5)
    matrix = geometry.compose(random_matrix(key_matrix, augmentation, shape), matrix.astype(jnp.float32))
    mirrored = jax.random.bernoulli(key_mirror, augmentation.mirror)
    mirror = jnp.where(mirrored, geometry.mirror_matrix(shape[1]), np.eye(2, 3)).astype(jnp.float32)
    matrix = geometry.compose(mirror, matrix)
    order = jnp.where(mirrored, jnp.asarray(mirror_order), jnp.arange(len(mirror_order)))
    landmarks = geometry.transform_points(matrix, landmarks.astype(jnp.float32))[order]
    image = geometry.warp_image(canvas, matrix, shape, edges)
    if augmentation.blur:
        key_on, key_sigma = jax.random.split(key_blur)
        sigma = augmentation.blur * jax.random.uniform(key_sigma) * jax.random.bernoulli(key_on, 0.5)
        image = gaussian_blur(image, sigma, reach=math.ceil(3 * augmentation.blur))
    if augmentation.occlusion:
        key_on, key_rectangle = jax.random.split(key_occlusion)
        image = jnp.where(jax.random.bernoulli(key_on, augmentation.occlusion), occlude(key_rectangle, image), image)
    if augmentation.color:
        image = change_color(key_color, image, augmentation.color)
    return image, landmarks, weight[order]
