"""What the mean shape of the objects tells of a mistake: a wrong mirror order, landmarks in another order in one split.

The mean shape is the mean over objects of the landmarks, in units of the object's size about its centre.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from data.source import Annotations

LEAST = 20  # objects of a mean shape
FAR = 0.15  # sizes of the object; a landmark that is so far from its place may be another one
TIMES = 4.0  # another order must fit so many times as well
SHOWN = 3  # landmarks that a sentence names


def mean_shape(annotations: Annotations) -> np.ndarray | None:
    """The mean shape `float64[K, 2]`; NaN for a landmark that fewer than `LEAST` objects have.

    Objects with all landmarks in one place do not count. None if fewer than `LEAST` are left, or for fewer than three
    landmarks, whose shape tells nothing.
    """
    counts = (annotations.weight > 0) & np.isfinite(annotations.landmarks).all(axis=-1)
    counts &= counts.sum(axis=1, keepdims=True) > 1
    landmarks = np.where(counts[..., None], annotations.landmarks, np.nan)[counts.any(axis=1)]
    if len(landmarks) < LEAST or landmarks.shape[1] < 3:
        return None
    low, high = np.nanmin(landmarks, axis=1), np.nanmax(landmarks, axis=1)
    size = np.sqrt(((high - low) ** 2).sum(axis=1))
    if (size > 0).sum() < LEAST:
        return None
    shapes = ((landmarks - (low + high)[:, None] / 2)[size > 0]) / size[size > 0, None, None]
    enough = np.isfinite(shapes[..., 0]).sum(axis=0) >= LEAST
    return np.where(enough[:, None], np.nanmean(np.where(enough[:, None], shapes, 0), axis=0), np.nan)


def better_order(shape: np.ndarray, other: np.ndarray, order: Sequence[int]) -> dict[int, int]:
    """`{landmark: better}` where `other[order]` is far from `shape`, and another order of `other` fits it well.

    Args:
      shape, other: mean shapes `[K, 2]`.
      order: K indices into `other`.

    Returns:
      Empty where the order fits, or no other one fits much better.
    """
    known = np.flatnonzero(np.isfinite(shape).all(axis=1) & np.isfinite(other[list(order)]).all(axis=1))
    distance = np.linalg.norm(shape[known, None] - other[list(order)][None, known], axis=-1)
    rows, best = linear_sum_assignment(distance)
    given, fitting = np.diagonal(distance), distance[rows, best]
    changed = (given > FAR) & (best != rows)
    if not changed.any() or given[changed].mean() < TIMES * fitting[changed].mean():
        return {}
    return {int(known[i]): int(order[known[best[i]]]) for i in np.flatnonzero(changed)}


def mirror_doubt(annotations: Annotations, mirror: Sequence[int]) -> list[str]:
    """A sentence if mirrored objects have another shape than objects under this mirror order, and not under another."""
    shape = mean_shape(annotations)
    better = better_order(shape, shape * [-1, 1], mirror) if shape is not None else {}
    if not better:
        return []
    pairs = "; ".join(f"{i} becomes {mirror[i]}, and {other} would fit" for i, other in list(better.items())[:SHOWN])
    found = f"the mirror order does not fit {len(better)} of {len(mirror)} landmarks by their mean places"
    remedy = "want another config.landmarks.mirror, or config.augment.mirror=0"
    return [f"{found}: in a mirrored image landmark {pairs}; {remedy}"]


def order_doubt(annotations: Annotations, other: Annotations, name: str) -> list[str]:
    """A sentence if the landmarks of the split `other`, called `name`, seem to be the same ones in another order."""
    shape, theirs = mean_shape(annotations), mean_shape(other)
    if shape is None or theirs is None:
        return []
    better = better_order(shape, theirs, range(len(shape)))
    if not better:
        return []
    pairs = "; ".join(f"{i} lies where {name} has {place}" for i, place in list(better.items())[:SHOWN])
    found = f"{len(better)} of {len(shape)} landmarks seem to be in another order than those of {name}"
    return [f"{found}: by their mean places {pairs}"]
