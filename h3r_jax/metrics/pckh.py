"""PCKh of MPII: the share of joints closer to the truth than a fraction of the head's size, as HRNet computes it.

Both sides count pixels from 0 here; HRNet adds 1 to predictions because its truth
counts from 1. An error of just the threshold is a hit.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from h3r_jax.codec.arguments import positive

NUM_JOINTS = 16
# name -> joints, of the right and the left side; neither pelvis (6) nor thorax (7) is in one or in the mean. The upper
# neck (8) is in the mean alone.
GROUPS = {
    "head": (9,),
    "shoulder": (12, 13),
    "elbow": (11, 14),
    "wrist": (10, 15),
    "hip": (2, 3),
    "knee": (1, 4),
    "ankle": (0, 5),
}
IN_MEAN = ~np.isin(np.arange(NUM_JOINTS), (6, 7))


@dataclasses.dataclass(frozen=True)
class HeadErrors:
    """The errors of joints in units of the head's size, of examples.

    errors: `float64[N, 16]`; what is not labelled does not matter.
    labelled: `bool[N, 16]`.

    Start with none, merge, then read; of no examples there is nothing to read, and a
    metric raises ValueError, as it does for a threshold that is not positive and finite.
    """

    errors: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, NUM_JOINTS)))
    labelled: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, NUM_JOINTS), bool))

    def merge(self, other: "HeadErrors") -> "HeadErrors":
        """Both sets of examples together."""
        return HeadErrors(np.concatenate([self.errors, other.errors]), np.concatenate([self.labelled, other.labelled]))

    @property
    def count(self) -> int:
        return len(self.errors)

    def _hits(self, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Labelled joints within `threshold`, and all labelled joints, `int64[16]` each; a NaN is no hit."""
        if not self.count:
            raise ValueError("there are no examples to take a metric of; evaluate a split with at least one image")
        threshold = positive("threshold", threshold)
        return (self.labelled & (self.errors <= threshold)).sum(axis=0), self.labelled.sum(axis=0)

    def pckh(self, threshold: float) -> float:
        """All joints but pelvis and thorax, each weighted by how often it is labelled, percent; NaN if none is."""
        hits, labelled = self._hits(threshold)
        return _percent(hits[IN_MEAN].sum(), labelled[IN_MEAN].sum())

    def groups(self, threshold: float) -> dict[str, float]:
        """name in `GROUPS` -> mean of the right and the left joint, percent; NaN if one of them is never labelled."""
        hits, labelled = self._hits(threshold)
        return {
            name: float(np.mean([_percent(hits[i], labelled[i]) for i in joints])) for name, joints in GROUPS.items()
        }

    def summary(self, thresholds: Sequence[float]) -> dict[str, float]:
        """Every metric under its name in logs and files, for `thresholds` in head sizes; groups at the first one."""
        result = {f"pckh@{threshold:g}": self.pckh(threshold) for threshold in thresholds}
        for name, value in self.groups(thresholds[0]).items():
            result[f"pckh@{thresholds[0]:g}/{name}"] = value
        return result


def _percent(part: float, whole: float) -> float:
    return 100.0 * float(part) / float(whole) if whole else float("nan")


def head_errors(predictions: ArrayLike, landmarks: ArrayLike, weight: ArrayLike, head_size: ArrayLike) -> HeadErrors:
    """The HeadErrors of examples.

    Args:
      predictions: `[N, 16, 2]`, pixels of the original image, from 0.
      landmarks: `[N, 16, 2]`, likewise; may be NaN where not labelled.
      weight: `[N, 16]`; landmarks at zero do not count.
      head_size: `[N]`, pixels (`Annotations.object_size` of MPII's `valid`).

    Raises:
      ValueError: another number of joints, or a head size that is not positive and finite; names the example's index.
    """
    predictions, landmarks = np.asarray(predictions, np.float64), np.asarray(landmarks, np.float64)
    if predictions.shape != landmarks.shape or landmarks.shape[1:] != (NUM_JOINTS, 2):
        raise ValueError(
            f"PCKh is of {NUM_JOINTS} joints, got predictions {predictions.shape} and landmarks {landmarks.shape}"
        )
    head_size = np.asarray(head_size, np.float64)
    bad = ~((head_size > 0) & np.isfinite(head_size))
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"example {first}: the head size is {head_size[first]}; PCKh needs MPII's valid split, which has them"
        )
    errors = np.linalg.norm(predictions - landmarks, axis=-1) / head_size[:, None]
    return HeadErrors(errors, np.asarray(weight) > 0)
