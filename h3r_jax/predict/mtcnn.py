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
from collections.abc import Sequence

import jax
import numpy as np
import scipy.sparse

from h3r_jax.predict.mtcnn_networks import network

SMALLEST = 20  # side of the smallest face that is looked for, pixels
FACTOR = 0.709  # from one scale to the next
WINDOW, STEP = 12, 2  # of the first network: side of the square that it sees at once, and the distance of two squares
TILE = 64  # side of a tile of the first network, pixels; it tells of SQUARES x SQUARES squares
SQUARES = (TILE - WINDOW) // STEP + 1
CHUNK = 16  # tiles or patches that a network sees at once
ROWS = 256  # boxes that are compared with all others at once
PROPOSED, REFINED, FOUND = 0.6, 0.7, 0.8  # least score after each network
ALIKE_AT_A_SCALE, ALIKE = 0.5, 0.7  # overlap from which the weaker one of two boxes is dropped


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


def _in_chunks(name: str, *arrays: np.ndarray) -> list[np.ndarray]:
    """The scores and changes of a network for all rows of arrays `[n, ...]`."""
    see, count, waiting = network(name), len(arrays[0]), []
    for start in range(0, count, CHUNK):
        rows = [array[start : start + CHUNK] for array in arrays]
        waiting.append(see(*(np.pad(a, [(0, CHUNK - len(a))] + [(0, 0)] * (a.ndim - 1)) for a in rows)))
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
    rows, columns = first_row + y, first_column + x
    # The order of the package: of boxes with the same score, it decides which one is kept.
    order = np.lexsort((columns, rows, scale, image))
    which, y, x, image, scale = (each[order] for each in (which, y, x, image, scale))
    corner = STEP * np.stack([columns, rows], axis=1)[order] + 1.0
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
        first, second = (np.take(flat, start + x[:, None, :], axis=0) for x in (left, right))
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
    boxes = boxes[np.argsort(boxes[:, 4])[::-1]]
    x0, y0, x1, y1 = boxes[:, :4].T.copy()
    area, kept = (x1 - x0) * (y1 - y0), np.ones(len(boxes), bool)
    for start in range(0, len(boxes), ROWS):  # pairs of all boxes at once would not fit into memory
        rows = slice(start, start + ROWS)
        width = np.minimum(x1[rows, None], x1[: rows.stop]) - np.maximum(x0[rows, None], x0[: rows.stop])
        height = np.minimum(y1[rows, None], y1[: rows.stop]) - np.maximum(y0[rows, None], y0[: rows.stop])
        both, mine, surer = width.clip(0) * height.clip(0), area[rows, None], area[: rows.stop]
        other = np.minimum(mine, surer) if of_smaller else mine + surer - both
        kept[rows] = ~np.tril(both > most * other, start - 1).any(axis=1)
    return boxes[kept]
