"""The face detector MTCNN (Zhang et al., "Joint Face Detection and Alignment using Multitask Cascaded Convolutional
Networks", 2016), in JAX, with the weights of the package `mtcnn`.

The first network sees every place of an image at every scale. Each next one sees the squares that the one before took
for faces. A network always sees a chunk of one shape, of tiles of the image or of patches around squares, so that a
photograph of any size compiles nothing new. A chunk may hold those of several images. Scales, thresholds and the
rounding of sizes are those of the package, and so are the boxes, to a pixel.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from h3r_jax.predict import mtcnn_weights

SMALLEST = 20  # side of the smallest face that is looked for, pixels
FACTOR = 0.709  # from one scale to the next
WINDOW, STEP = 12, 2  # of the first network: side of the square that it sees at once, and the distance of two squares
TILE = 64  # side of a tile of the first network, pixels; it tells of SQUARES x SQUARES squares
SQUARES = (TILE - WINDOW) // STEP + 1
CHUNK = 16  # tiles or patches that a network sees at once
ROWS = 256  # boxes that are compared with all others at once
PROPOSED, REFINED, FOUND = 0.6, 0.7, 0.8  # least score after each network
ALIKE_AT_A_SCALE, ALIKE = 0.5, 0.7  # overlap from which the weaker one of two boxes is dropped

EXACT = jax.lax.Precision.HIGHEST  # accelerators would round the factors of products

Layers = list[jax.Array]


def detect(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Faces in images.

    Args:
      images: of `uint8[H, W, 3]`, of any sizes.

    Returns:
      `float64[n, 5]` for each image: x0, y0, x1, y1 in pixels, and a score from 0 to 1; the surest first.

    Raises:
      UserError: the package with the weights is not installed, or damaged.
    """
    # As the networks were trained: grey is 0.
    scaled = [(image.astype(np.float32) - 127.5) / 128 for image in images]
    boxes = _propose(scaled)
    boxes = [_square(_drop(_sure(found, REFINED), ALIKE)) for found in _look(scaled, boxes, "rnet", 24)]
    return [_drop(_sure(found, FOUND), ALIKE, of_smaller=True) for found in _look(scaled, boxes, "onet", 48)]


# The three networks. Images are [n, H, W, 3], and layers the arrays of the package's files in their order.


def _pnet(layers: Layers, tiles: jax.Array, inside: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scores `[n, SQUARES, SQUARES]` and changes `[..., 4]` of the squares in tiles.

    Args:
      inside: `int32[n, 2]`, how many rows and columns of a tile the image fills.
    """
    kernel, bias, slope, *others = layers
    # The first layer and the 2x2 windows of its pooling in one: the four values of a window are channels.
    kernels = [jnp.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0))) for i in (0, 1) for j in (0, 1)]
    windows = _cross_correlate(tiles, jnp.concatenate(kernels, axis=-1), 2)
    a, b, c, d = (_prelu(part + _of_channels(bias, part), iter([slope])) for part in jnp.split(windows, 4, axis=-1))
    # The image's border may cut a window: then the second row or column is no part of it.
    second = 2 * jnp.arange(a.shape[1]) + 1
    row, column = (second[None] < inside[:, axis, None] - 2 for axis in (0, 1))
    b, d = (jnp.where(column[:, None, :, None], part, -jnp.inf) for part in (b, d))
    below = jnp.where(row[:, :, None, None], jnp.maximum(c, d), -jnp.inf)
    maps = jnp.maximum(jnp.maximum(a, b), below)
    rest = iter(others)
    maps = _prelu(_convolve(maps, rest), rest)
    maps = _prelu(_convolve(maps, rest), rest)
    changes, scores = _convolve(maps, rest), _convolve(maps, rest)
    return jax.nn.softmax(scores)[..., 1], changes


def _rnet(layers: Layers, patches: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scores `[n]` and changes `[n, 4]` of patches of 24x24."""
    rest = iter(layers)
    maps = _pool(_prelu(_convolve(patches, rest), rest), 3)
    maps = _pool(_prelu(_convolve(maps, rest), rest), 3, "VALID")
    maps = _prelu(_convolve(maps, rest), rest)
    features = _prelu(_dense(_flat(maps), rest), rest)
    changes, scores = _dense(features, rest), _dense(features, rest)
    return jax.nn.softmax(scores)[:, 1], changes


def _onet(layers: Layers, patches: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scores `[n]` and changes `[n, 4]` of patches of 48x48."""
    rest = iter(layers)
    maps = _pool(_prelu(_convolve(patches, rest), rest), 3)
    maps = _pool(_prelu(_convolve(maps, rest), rest), 3, "VALID")
    maps = _pool(_prelu(_convolve(maps, rest), rest), 2)
    maps = _prelu(_convolve(maps, rest), rest)
    features = _prelu(_dense(_flat(maps), rest), rest)
    changes, _, scores = _dense(features, rest), _dense(features, rest), _dense(features, rest)  # _: five landmarks
    return jax.nn.softmax(scores)[:, 1], changes


def _convolve(maps: jax.Array, rest: Iterator[jax.Array]) -> jax.Array:
    sums = _cross_correlate(maps, next(rest), 1)
    return sums + _of_channels(next(rest), sums)


def _cross_correlate(maps: jax.Array, kernel: jax.Array, step: int) -> jax.Array:
    form = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(maps, kernel, (step, step), "VALID", dimension_numbers=form, precision=EXACT)


def _dense(features: jax.Array, rest: Iterator[jax.Array]) -> jax.Array:
    sums = jnp.matmul(features, next(rest), precision=EXACT)
    return sums + _of_channels(next(rest), sums)


def _prelu(values: jax.Array, rest: Iterator[jax.Array]) -> jax.Array:
    return jnp.maximum(values, 0) + _of_channels(next(rest), values) * jnp.minimum(values, 0)


def _of_channels(vector: jax.Array, values: jax.Array) -> jax.Array:
    """A number for each channel, in a shape that goes with values `[..., channels]`."""
    return vector.reshape((1,) * (values.ndim - 1) + (-1,))


def _pool(maps: jax.Array, side: int, padding: str = "SAME") -> jax.Array:
    return jax.lax.reduce_window(maps, -jnp.inf, jax.lax.max, (1, side, side, 1), (1, 2, 2, 1), padding)


def _flat(maps: jax.Array) -> jax.Array:
    return maps.swapaxes(1, 2).reshape(len(maps), -1)  # columns first, as these weights want them


NETWORKS: dict[str, Callable[..., tuple[jax.Array, jax.Array]]] = {"pnet": _pnet, "rnet": _rnet, "onet": _onet}


@functools.cache
def _network(name: str) -> Callable[..., Any]:
    layers = [jnp.asarray(array) for array in mtcnn_weights.read(name)]
    return functools.partial(jax.jit(NETWORKS[name]), layers)


def _in_chunks(name: str, *arrays: np.ndarray) -> list[np.ndarray]:
    """The scores and changes of a network for all rows of arrays `[n, ...]`."""
    network, count = _network(name), len(arrays[0])
    waiting = []
    for start in range(0, count, CHUNK):
        rows = [array[start : start + CHUNK] for array in arrays]
        waiting.append(network(*(np.pad(a, [(0, CHUNK - len(a))] + [(0, 0)] * (a.ndim - 1)) for a in rows)))
    return [np.concatenate(parts)[:count] for parts in zip(*jax.device_get(waiting))]


# The first network, over all scales.


def _scales(height: int, width: int) -> np.ndarray:
    count = round(-(np.log(min(height, width) / WINDOW) / np.log(FACTOR) + 1))
    return WINDOW / SMALLEST * FACTOR ** np.arange(count)


def _propose(images: list[np.ndarray]) -> list[np.ndarray]:
    """Squares `float64[n, 5]` of each image, with scores, that may be faces."""
    tiles, inside, origins = [], [], []  # an origin: image, scale, first row and first column of squares
    levels = [[_shrink(image, scale) for scale in _scales(*image.shape[:2])] for image in images]
    for index, pyramid in enumerate(levels):
        for number, level in enumerate(pyramid):
            for y, x in np.ndindex(*(math.ceil(_squares(side) / SQUARES) for side in level.shape[:2])):
                origin = y * SQUARES, x * SQUARES
                part = level[STEP * origin[0] :, STEP * origin[1] :][:TILE, :TILE]
                tile = np.zeros((TILE, TILE, 3), np.float32)
                tile[: part.shape[0], : part.shape[1]] = part
                tiles.append(tile)
                inside.append(part.shape[:2])
                origins.append((index, number, *origin))
    proposals: list[list[np.ndarray]] = [[] for _ in images]
    if not tiles:
        return [np.zeros((0, 5)) for _ in images]
    scores, changes = _in_chunks("pnet", np.stack(tiles), np.array(inside, np.int32))
    sizes = np.maximum(np.array([[_squares(side) for side in sides] for sides in inside]), 0)
    row, column = (np.arange(SQUARES)[None] < sizes[:, axis, None] for axis in (0, 1))
    which, y, x = np.nonzero((scores > PROPOSED) & row[:, :, None] & column[:, None, :])
    image, scale, first_row, first_column = np.array(origins)[which].T
    corner = STEP * np.stack([first_column + x, first_row + y], axis=1) + 1.0
    side = WINDOW - 1
    boxes = np.concatenate([corner, corner + side], axis=1) + side * changes[which, y, x].astype(np.float64)
    for index, one in enumerate(images):
        for number, ratio in enumerate(_scales(*one.shape[:2])):
            chosen = (image == index) & (scale == number)
            found = np.column_stack([boxes[chosen] / ratio, scores[which, y, x][chosen]])
            proposals[index].append(_drop(found, ALIKE_AT_A_SCALE))
    return [_square(_drop(np.concatenate(found or [np.zeros((0, 5))]), ALIKE)) for found in proposals]


def _squares(side: int) -> int:
    """How many squares of the first network begin along a side of an image: the last one may reach over its end."""
    return -(-(side - 2) // STEP) - 4


def _shrink(image: np.ndarray, scale: float) -> np.ndarray:
    """An image `float32[H, W, 3]` at a scale below one; each pixel is the mean over its area."""
    rows, columns = (_means(side, int(side * scale)) for side in image.shape[:2])
    height, width = rows.shape[0], image.shape[1]
    less = (rows @ image.reshape(len(image), -1)).reshape(height, width, 3)
    turned = less.transpose(1, 0, 2).reshape(width, -1)
    return (columns @ turned).reshape(-1, height, 3).transpose(1, 0, 2)


@functools.lru_cache(maxsize=256)
def _means(before: int, after: int) -> scipy.sparse.csr_array:
    """The matrix `[after, before]` that takes means over areas."""
    ends = np.arange(after + 1) * (before / after)
    row = np.arange(after)
    most = math.ceil(before / after) + 1
    place = np.floor(ends[:-1]).astype(np.int64)[:, None] + np.arange(most)
    covered = np.minimum(place + 1, ends[1:, None]) - np.maximum(place, ends[:-1, None])
    weights = np.clip(covered, 0, None) * (after / before)
    kept = (weights > 0) & (place < before)
    indices = (np.broadcast_to(row[:, None], place.shape)[kept], place[kept])
    return scipy.sparse.csr_array((weights[kept].astype(np.float32), indices), shape=(after, before))


# The two others, on patches around boxes [n, 5]: x0, y0, x1, y1, score.


def _look(images: list[np.ndarray], boxes: list[np.ndarray], name: str, side: int) -> list[np.ndarray]:
    """Boxes of each image as a network sees and scores them."""
    counts = [len(found) for found in boxes]
    if not sum(counts):
        return boxes
    patches = np.concatenate([_patches(image, found, side) for image, found in zip(images, boxes)])
    scores, changes = _in_chunks(name, patches)
    before = np.concatenate(boxes)
    sides = before[:, 2:4] - before[:, :2] + 1
    after = np.column_stack([before[:, :4] + changes * np.tile(sides, 2), scores])
    return np.split(after, np.cumsum(counts)[:-1])


def _patches(image: np.ndarray, boxes: np.ndarray, side: int) -> np.ndarray:
    """What is in boxes, `float32[n, side, side, 3]`, between the pixels interpolated; grey outside of the image."""

    def places(axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        last = image.shape[1 - axis] - 1
        low, high = boxes[:, axis] * last / (last + 1), boxes[:, axis + 2] * last / (last + 1)
        place = low[:, None] + np.arange(side) * ((high - low) / (side - 1))[:, None]
        within = (place >= 0) & (place <= last)
        before = np.clip(np.floor(place), 0, last).astype(np.int64)
        share = np.clip(place - before, 0, 1).astype(np.float32)
        return before, np.minimum(before + 1, last), share, within

    (left, right, across, in_x), (above, below, down, in_y) = places(0), places(1)
    flat, width = image.reshape(-1, 3), image.shape[1]

    def row(y: np.ndarray) -> np.ndarray:
        start = y[:, :, None] * width
        first, second = flat[start + left[:, None, :]], flat[start + right[:, None, :]]
        return first + across[:, None, :, None] * (second - first)

    upper = row(above)
    values = upper + down[:, :, None, None] * (row(below) - upper)
    return np.where((in_y[:, :, None] & in_x[:, None, :])[..., None], values, np.float32(0))


def _sure(boxes: np.ndarray, least: float) -> np.ndarray:
    return boxes[boxes[:, 4] > least]


def _square(boxes: np.ndarray) -> np.ndarray:
    """Squares with the centre and the longer side of boxes."""
    sides = boxes[:, 2:4] - boxes[:, :2]
    longer = sides.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + (sides - longer) / 2
    return np.concatenate([corner, corner + longer, boxes[:, 4:]], axis=1)


def _drop(boxes: np.ndarray, most: float, *, of_smaller: bool = False) -> np.ndarray:
    """Boxes, the surest first, without those that overlap a surer one too much, even one that is dropped itself.

    Args:
      most: intersection over union that is allowed; over the smaller one's area with `of_smaller`.
    """
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    corners, area = boxes[:, :4], np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1)
    kept = np.ones(len(boxes), bool)
    for start in range(0, len(boxes), ROWS):  # pairs of all boxes at once would not fit into memory
        rows = slice(start, start + ROWS)
        low = np.maximum(corners[rows, None, :2], corners[None, : rows.stop, :2])
        high = np.minimum(corners[rows, None, 2:], corners[None, : rows.stop, 2:])
        both = np.prod(np.maximum(high - low, 0), axis=2)
        mine, surer = area[rows, None], area[None, : rows.stop]
        other = np.minimum(mine, surer) if of_smaller else mine + surer - both
        kept[rows] = ~np.tril(both > most * other, start - 1).any(axis=1)
    return boxes[kept]
