"""How predictions are scored. A configuration states the protocol, and it is printed beside every figure."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from h3r_jax import ranges
from h3r_jax.errors import UserError, of_the_user
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.metrics import (
    NormalizedErrors,
    average_precision,
    head_errors,
    keypoint_similarity,
    nme_per_example,
    person_results,
)


class Scores(NamedTuple):
    """What a protocol says about the predictions of a split.

    metrics: name -> number: `nme`, `fr@10`, `auc@10`, `pckh@0.5`, `ap`; `nme/pose` for a subset.
    counts: subset -> number of its examples; a subset without examples has no metrics.
    per_example: `float64[N]`, greater is worse; it chooses what a picture shows.
    errors: metrics.NormalizedErrors for the cumulative error curve, None where the protocol has none.
    """

    metrics: dict[str, float]
    counts: dict[str, int]
    per_example: np.ndarray
    errors: NormalizedErrors | None


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The part of a protocol that scores. The input decides the boxes and crops.

    scheme: LandmarkScheme.
    metric: key of `METRICS`.
    normalizers: names of the scheme's normalisers. The first is the unit of `nme`, failure rate and AUC; each
      further one gives a `nme_NAME`.
    thresholds: of failure rate and AUC, or of PCKh; fractions of the unit. With PCKh the first chooses the best
      checkpoint. COCO has its own thresholds, so that they must be empty.
    subsets: names of subsets of the split that are also scored alone; for `nme` only.
    """

    scheme: LandmarkScheme
    metric: str = "nme"
    normalizers: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = (0.08, 0.10)
    subsets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise UserError(f"unknown metric {self.metric!r}; known are {', '.join(METRICS)}")
        with of_the_user():
            for field in ("eval.normalizers", "eval.thresholds", "eval.subsets"):
                ranges.check(field, getattr(self, field.removeprefix("eval.")), field)
        for name in self.normalizers:
            self.scheme.normalizer(name)  # which names the known ones
        if bool(self.thresholds) != METRICS[self.metric].has_thresholds:
            wanted = (
                "at least one" if METRICS[self.metric].has_thresholds else "none, its thresholds are COCO's: set ()"
            )
            raise UserError(f"eval.thresholds of eval.metric={self.metric}: want {wanted}, got {self.thresholds}")
        if self.subsets and self.metric != "nme":
            raise UserError(f"eval.subsets {self.subsets} are for eval.metric=nme; set () with {self.metric}")

    @classmethod
    def from_config(cls, config: Mapping[str, Any], scheme: LandmarkScheme) -> Self:
        """The protocol of the section "eval" of a configuration (nested mappings); errors as those of the class."""
        evaluation = config["eval"]
        lists = {name: tuple(evaluation[name]) for name in ("normalizers", "thresholds", "subsets")}
        return cls(scheme, metric=evaluation["metric"], **lists)

    @property
    def best(self) -> tuple[str, bool]:
        """The metric that chooses the best checkpoint, and whether a lower one is better."""
        metric = METRICS[self.metric]
        return metric.best.format(*self.thresholds), metric.lower_is_better

    def check(self, split: Any) -> None:
        """UserError if a split cannot be scored by this protocol; names the record. It needs no predictions.

        `split` is a data.pipeline.EvalInput, or anything with its fields.
        """
        METRICS[self.metric].check(self, split)

    def score(self, predictions: np.ndarray, confidence: np.ndarray, split: Any) -> Scores:
        """Scores of predictions.

        Args:
          predictions: `float64[N, K, 2]`, image pixels.
          confidence: `float[N, K]`, of each landmark.
          split: as `check` takes it.

        Returns:
          Scores.

        Raises:
          UserError: as `check`.
        """
        self.check(split)
        return METRICS[self.metric].score(self, predictions, confidence, split)


def units(protocol: Protocol, annotations: Any, normalizer: str) -> np.ndarray:
    """The unit of the error of each record, `float64[N]` image pixels; UserError names a record that has none."""
    distances = protocol.scheme.normalizing_distance(
        annotations.landmarks,
        annotations.weight,
        normalizer=normalizer,
        box=annotations.box,
        object_size=annotations.object_size,
    )
    bad = ~((distances > 0) & np.isfinite(distances))
    if bad.any():
        first = int(np.argmax(bad))
        unit = protocol.scheme.normalizer(normalizer)
        raise UserError(
            f"{annotations.name[first]}: the normalising distance ({unit}) is {distances[first]}; "
            "correct that record or choose another normaliser"
        )
    return distances


def check_units(protocol: Protocol, split: Any) -> None:
    """UserError names a record that lacks one of the protocol's units, or has no labelled landmark."""
    unlabelled = ~(np.asarray(split.annotations.weight) > 0).any(axis=1)
    if unlabelled.any():
        name = split.annotations.name[int(np.argmax(unlabelled))]
        raise UserError(f"{name}: none of its landmarks is labelled, so it has no error; remove it from the split")
    for name in protocol.normalizers or ("",):
        units(protocol, split.annotations, name)


def members(protocol: Protocol, annotations: Any) -> dict[str, np.ndarray]:
    """subset -> `bool[N]`, for each subset of the protocol."""
    return {name: np.array([name in subsets for subsets in annotations.subsets]) for name in protocol.subsets}


def score_nme(protocol: Protocol, predictions: np.ndarray, confidence: np.ndarray, split: Any) -> Scores:
    """Normalised mean error, failure rate and AUC, of all and of each subset."""
    del confidence
    annotations = split.annotations
    first, *others = protocol.normalizers or ("",)
    errors = {
        name: nme_per_example(
            predictions, annotations.landmarks, annotations.weight, units(protocol, annotations, name)
        )
        for name in (first, *others)
    }
    metrics = {}
    subsets = members(protocol, annotations)
    everything = np.ones(len(errors[first]), bool)
    for subset, chosen in {"": everything, **subsets}.items():
        suffix = f"/{subset}" if subset else ""
        if subset and not chosen.any():
            continue
        for name, value in NormalizedErrors(errors[first][chosen]).summary(protocol.thresholds).items():
            metrics[name + suffix] = value
        for name in others:
            metrics[f"nme_{name}{suffix}"] = NormalizedErrors(errors[name][chosen]).nme()
    counts = {name: int(chosen.sum()) for name, chosen in subsets.items()}
    return Scores(metrics, counts, errors[first], NormalizedErrors(errors[first]))


def score_pckh(protocol: Protocol, predictions: np.ndarray, confidence: np.ndarray, split: Any) -> Scores:
    """PCKh of MPII, of all joints and by groups of them."""
    del confidence
    annotations = split.annotations
    errors = head_errors(predictions, annotations.landmarks, annotations.weight, annotations.object_size)
    counted = np.where(errors.labelled, errors.errors, 0.0).sum(axis=1) / np.maximum(errors.labelled.sum(axis=1), 1)
    return Scores(errors.summary(protocol.thresholds), {}, counted, None)


def check_head_size(protocol: Protocol, split: Any) -> None:
    """UserError names a record without a head size; MPII's training split has none at all."""
    sizes = split.annotations.object_size
    bad = ~((sizes > 0) & np.isfinite(sizes))
    if bad.any():
        first = int(np.argmax(bad))
        raise UserError(
            f"{split.annotations.name[first]}: its head size is {sizes[first]}, and {protocol.metric} needs one; "
            "want a split that has them, or none for validation (--config.data.validation_split=)"
        )


def check_truth(protocol: Protocol, split: Any) -> None:
    """UserError if there is no official file to score against, no sigmas, or no image whose people are all there."""
    if split.truth_file is None:
        wanted = "want coco_keypoints, or coco_file with one annotation file for the split"
        raise UserError(f"{split.name} has no file that eval.metric=coco scores against; {wanted}")
    if not protocol.scheme.sigmas:
        raise UserError(
            f"scheme {protocol.scheme.name} has no sigmas of object keypoint similarity, which eval.metric=coco needs"
        )
    if not split.whole and not scored_images(split):
        raise UserError(
            f"{split.name}: of no image are all people in it, so that none can be scored; take a larger part"
        )


def scored_images(split: Any) -> set[int]:
    """The images whose people are all in the part of the split. In other images some people would count as missed."""
    return set(split.annotations.image_id.tolist()) - split.divided_images


def score_coco(protocol: Protocol, predictions: np.ndarray, confidence: np.ndarray, split: Any) -> Scores:
    """AP and AR of COCO. A whole split is scored over all images of the official file, a part over `scored_images`."""
    annotations = split.annotations
    height, width = split.shape
    results = person_results(
        predictions,
        confidence,
        score=annotations.score,
        image_id=annotations.image_id,
        areas=height * width / np.linalg.det(split.matrices[:, :, :2]),
        sigmas=protocol.scheme.sigmas,
    )
    images = None if split.whole else scored_images(split)
    metrics = average_precision(results, split.truth_file, sigmas=protocol.scheme.sigmas, image_ids=images)
    similarity = keypoint_similarity(
        predictions, annotations.landmarks, annotations.weight, annotations.object_size**2, protocol.scheme.sigmas
    )
    likeness = np.where(
        np.isnan(similarity), confidence.mean(axis=1), similarity
    )  # a detection has no true joints, only a confidence
    return Scores(metrics, {}, 1 - likeness, None)


class Metric(NamedTuple):
    """A way to score.

    check: function of a protocol and a split; UserError if the split cannot be scored.
    score: as `Protocol.score`, with the protocol first.
    best, lower_is_better: the number that chooses the best checkpoint, and its direction.
    has_thresholds: whether `Protocol.thresholds` belong to it.
    """

    check: Callable[[Protocol, Any], None]
    score: Callable[[Protocol, np.ndarray, np.ndarray, Any], Scores]
    best: str
    lower_is_better: bool
    has_thresholds: bool


METRICS = {
    "nme": Metric(check_units, score_nme, "nme", True, True),
    "pckh": Metric(check_head_size, score_pckh, "pckh@{:g}", False, True),
    "coco": Metric(check_truth, score_coco, "ap", False, False),
}
