"""The normalised mean error, failure rate and AUC."""

import dataclasses
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from h3r_jax.codec.arguments import number, positive

GRID_STEP = 1e-4  # and the least threshold of an area
GREATEST_THRESHOLD = 100.0  # a million steps


def nme_per_example(predictions: ArrayLike, landmarks: ArrayLike, weight: ArrayLike, distance: ArrayLike) -> np.ndarray:
    """Normalised mean error of each example.

    Args:
      predictions: `[N, K, 2]`, pixels of the original image.
      landmarks: `[N, K, 2]`, likewise.
      weight: `[N, K]`; landmarks at zero do not count.
      distance: `[N]`, the unit of each example, pixels (`LandmarkScheme.normalizing_distance`).

    Returns:
      `float64[N]`, as a fraction: the mean over the labelled landmarks of the distance, over the unit.

    Raises:
      ValueError: an example has no labelled landmark, or its unit is not positive and finite; names its index.
    """
    counts = np.asarray(weight) > 0
    distance = np.asarray(distance, np.float64)
    bad = ~counts.any(axis=1) | ~((distance > 0) & np.isfinite(distance))
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"example {first}: {int(counts[first].sum())} labelled landmarks, normalising distance {distance[first]}"
        )
    errors = np.linalg.norm(np.asarray(predictions, np.float64) - np.asarray(landmarks, np.float64), axis=-1)
    return np.where(counts, errors, 0.0).sum(axis=1) / counts.sum(axis=1) / distance


@dataclasses.dataclass(frozen=True)
class NormalizedErrors:
    """The normalised errors of examples, `float64[N]` as fractions.

    Start with none, merge, then read; of no examples there is nothing to read, and a
    metric raises ValueError, as it does for a threshold that is not positive and finite
    (of an area: not within [1e-4, 100]).
    """

    values: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))

    def merge(self, other: "NormalizedErrors") -> "NormalizedErrors":
        """Both sets of examples together."""
        return NormalizedErrors(np.concatenate([self.values, other.values]))

    @property
    def count(self) -> int:
        return len(self.values)

    def _some(self) -> np.ndarray:
        if not self.count:
            raise ValueError("there are no examples to take a metric of; evaluate a split with at least one image")
        return self.values

    def nme(self) -> float:
        """Mean over examples, percent; NaN if one of them is."""
        return float(np.mean(self._some())) * 100

    def failure_rate(self, threshold: float) -> float:
        """Examples with an error above `threshold` (a positive fraction, strict), percent; a NaN is a failure."""
        threshold = positive("threshold", threshold)
        return float(np.mean(~(self._some() <= threshold))) * 100

    def auc(self, threshold: float) -> float:
        """Area under the cumulative error curve up to `threshold`, as a fraction of it.

        Simpson's rule on `linspace(0, threshold, round(threshold / 1e-4) + 1)`: the
        protocol of PIPNet, STAR and FaRL without the float error of their end point.
        """
        threshold = number("threshold", threshold, GRID_STEP, GREATEST_THRESHOLD)
        from scipy import integrate  # here, as it takes long to import

        grid, curve = self.cumulative(threshold)
        return float(integrate.simpson(curve, x=grid)) / threshold

    def cumulative(self, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """`(grid, share)`: for a grid of errors from 0 to `threshold`, the share of examples up to each of them."""
        threshold = number("threshold", threshold, GRID_STEP, GREATEST_THRESHOLD)
        grid = np.linspace(0.0, threshold, round(threshold / GRID_STEP) + 1)
        return grid, np.searchsorted(np.sort(self._some()), grid, side="right") / self.count

    def summary(self, thresholds: Iterable[float]) -> dict[str, float]:
        """Every metric under its name in logs and files; thresholds as fractions."""
        result = {"nme": self.nme()}
        for threshold in thresholds:
            result[f"fr@{threshold * 100:g}"] = self.failure_rate(threshold)
            result[f"auc@{threshold * 100:g}"] = self.auc(threshold)
        return result
