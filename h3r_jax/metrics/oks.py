"""Object keypoint similarity and COCO's average precision, with the rescoring and suppression of HRNet's protocol."""

import contextlib
import io
import json
import os
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from h3r_jax.codec.arguments import number, positive
from h3r_jax.errors import UserError

PERSON = 1  # category
CONFIDENT = 0.2  # a joint's confidence above which it counts in a person's score
DUPLICATE = 0.9  # similarity above which the weaker of two people of an image is suppressed
# Of pycocotools' statistics for keypoints, in their order.
NAMES = ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50", "ar75", "ar_medium", "ar_large")


def keypoint_similarity(
    predictions: ArrayLike, landmarks: ArrayLike, weight: ArrayLike, area: ArrayLike, sigmas: ArrayLike
) -> np.ndarray:
    """OKS of people: the mean of `exp(-d^2 / (2 (2 sigma)^2 area))` over the labelled joints.

    Args:
      predictions, landmarks: `[..., K, 2]`, pixels.
      weight: `[..., K]`; joints at zero do not count.
      area: `[...]`, square pixels: of the person's segment, in COCO (`Annotations.object_size` squared).
      sigmas: `[K]` (`LandmarkScheme.sigmas`).

    Returns:
      `float64[...]`, 0 to 1; NaN without a labelled joint.

    Raises:
      ValueError: a sigma that is not positive and finite.
    """
    counts, sigmas = np.asarray(weight) > 0, _positive(sigmas)
    squares = ((np.asarray(predictions, np.float64) - np.asarray(landmarks, np.float64)) ** 2).sum(axis=-1)
    unit = 2 * (2 * sigmas) ** 2 * (np.asarray(area, np.float64)[..., None] + np.spacing(1))
    likeness = np.where(counts, np.exp(-squares / unit), 0.0).sum(axis=-1)
    number = counts.sum(axis=-1)
    return np.where(number > 0, likeness / np.maximum(number, 1), np.nan)


def _positive(sigmas: ArrayLike) -> np.ndarray:
    return np.array([positive("a sigma", sigma) for sigma in np.asarray(sigmas)])


def rescore(scores: ArrayLike, confidences: ArrayLike, *, threshold: float = CONFIDENT) -> np.ndarray:
    """Scores of people: that of the box times the mean confidence of the joints above `threshold`, 0 if there is none.

    Args:
      scores: `[N]`, of the detector; NaN for a labelled box, which counts as 1.
      confidences: `[N, K]`, of the joints.
      threshold: of confidence, within [0, 1].

    Returns:
      `float64[N]`.

    Raises:
      ValueError: a threshold outside [0, 1].
    """
    threshold = number("threshold", threshold, 0.0, 1.0)
    scores, confidences = np.asarray(scores, np.float64), np.asarray(confidences, np.float64)
    counts = confidences > threshold
    means = np.where(counts, confidences, 0.0).sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    return np.where(np.isnan(scores), 1.0, scores) * means


def suppress(
    predictions: ArrayLike,
    scores: ArrayLike,
    areas: ArrayLike,
    image_ids: ArrayLike,
    sigmas: ArrayLike,
    *,
    threshold: float = DUPLICATE,
) -> np.ndarray:
    """Which people are kept when, in each image, the best suppresses all that are much like it, then the next best.

    Args:
      predictions: `[N, K, 2]`, pixels.
      scores: `[N]`; of equal ones the later goes first, as HRNet sorts.
      areas: `[N]`, square pixels: of the crop. The similarity of two people has the mean of theirs.
      image_ids: `[N]`; people of different images do not suppress each other.
      sigmas: `[K]`.
      threshold: similarity within [0, 1] above which (strict) a person is suppressed.

    Returns:
      `int64[M]`, indices of those kept: image by image in the order of their ids, from the best person on.

    Raises:
      ValueError: a threshold outside [0, 1], or a sigma that is not positive and finite.
    """
    threshold = number("threshold", threshold, 0.0, 1.0)
    predictions, areas = np.asarray(predictions, np.float64), np.asarray(areas, np.float64)
    image_ids, seen = np.asarray(image_ids), np.ones(np.shape(predictions)[1])
    kept = []
    for image in np.unique(image_ids):
        members = np.flatnonzero(image_ids == image)
        members = members[np.argsort(np.asarray(scores)[members], kind="stable")[::-1]]
        while len(members):
            best, members = members[0], members[1:]
            kept.append(best)
            area = (areas[best] + areas[members]) / 2
            alike = keypoint_similarity(predictions[members], predictions[best], seen, area, sigmas)
            members = members[alike <= threshold]
    return np.array(kept, np.int64)


def person_results(
    predictions: ArrayLike,
    confidences: ArrayLike,
    *,
    score: ArrayLike,
    image_id: Sequence[int] | np.ndarray,
    areas: ArrayLike,
    sigmas: Sequence[float],
) -> list[dict[str, Any]]:
    """What COCO's evaluation takes: people rescored (`rescore`), duplicates suppressed (`suppress`).

    Args:
      predictions: `[N, K, 2]`, pixels of the original image.
      confidences: `[N, K]`, of the joints.
      score, image_id: `[N]`, of data.source.Annotations.
      areas: `[N]`, square image pixels that each crop covers.
      sigmas: `[K]` (`LandmarkScheme.sigmas`).

    Returns:
      A list of `{"image_id", "category_id", "keypoints", "score"}`, for JSON or for `average_precision`.

    Raises:
      ValueError: a prediction or confidence that is not finite, or sigmas of another number of joints; names the index.
    """
    predictions, confidences = np.asarray(predictions, np.float64), np.asarray(confidences, np.float64)
    if len(sigmas) != predictions.shape[1]:
        raise UserError(
            f"{len(sigmas)} sigmas for {predictions.shape[1]} joints; the landmark scheme must have one for each"
        )
    keypoints = np.concatenate([predictions, confidences[..., None]], axis=-1)
    bad = ~np.isfinite(keypoints).all(axis=(1, 2))
    if bad.any():
        first = int(np.argmax(bad))
        joint = int(np.argmax(~np.isfinite(keypoints[first]).all(axis=1)))
        raise UserError(
            f"example {first}: joint {joint} is predicted at {predictions[first, joint].tolist()} with confidence "
            f"{confidences[first, joint]}; average precision needs finite numbers"
        )
    scores = rescore(score, confidences)
    return [
        {
            "image_id": int(image_id[i]),
            "category_id": PERSON,
            "keypoints": keypoints[i].ravel().tolist(),
            "score": float(scores[i]),
        }
        for i in suppress(predictions, scores, areas, image_id, sigmas)
    ]


def _people_of(content: dict[str, Any]) -> dict[str, Any]:
    """COCO's JSON with the objects that have landmarks, as one category. What other programs leave out is filled in.

    The objects are numbered from 1: pycocotools takes the id 0 of a match for no match.
    """
    wanted = {each["id"] for each in content.get("categories", ()) if each.get("keypoints")} or {PERSON}
    people = [entry for entry in content["annotations"] if entry["category_id"] in wanted]
    for i, person in enumerate(people):
        points = person["keypoints"]
        labelled = [(x, y) for x, y, visible in zip(points[::3], points[1::3], points[2::3]) if visible > 0]
        low, high = ([end(values) for values in zip(*labelled)] or [0, 0] for end in (min, max))
        person |= {"id": i + 1, "category_id": PERSON}
        person.setdefault("num_keypoints", len(labelled))
        person.setdefault("iscrowd", 0)
        if not person.get("bbox"):
            person["bbox"] = [*low, *(last - first + 1 for first, last in zip(low, high))]
        if not person.get("area"):
            person["area"] = person["bbox"][2] * person["bbox"][3]
    return {"images": content["images"], "annotations": people, "categories": [{"id": PERSON, "name": "person"}]}


def average_precision(
    results: list[dict[str, Any]],
    annotation_file: str | os.PathLike[str],
    *,
    sigmas: ArrayLike,
    image_ids: Collection[int] | None = None,
) -> dict[str, float]:
    """COCO's average precision and recall over similarities 0.50 to 0.95, by pycocotools.

    Args:
      results: of `person_results`.
      annotation_file: path of COCO's JSON with the labelled people.
      sigmas: `[K]` (`LandmarkScheme.sigmas`).
      image_ids: the images to score; results of others do not count. None for all that the file lists.

    Returns:
      name in `NAMES` -> percent; NaN where no person counts, as for a size that does not occur.

    Raises:
      ValueError: no results, or an image that the annotation file does not list; names it.
    """
    from etils import epath
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not results:
        raise UserError("there are no examples to take a metric of; evaluate a split with at least one image")
    with contextlib.redirect_stdout(io.StringIO()):  # progress and a table
        truth = COCO()
        truth.dataset = _people_of(json.loads(epath.Path(annotation_file).read_bytes()))
        truth.createIndex()
        unknown = ({result["image_id"] for result in results} | set(image_ids or ())) - set(truth.imgs)
        if unknown:
            raise UserError(
                f"{annotation_file}: there is no image {min(unknown)}; is it the file of the split that was predicted?"
            )
        found = truth.loadRes([dict(result) for result in results])  # which writes into them
        evaluation = COCOeval(truth, found, "keypoints")
        evaluation.params.kpt_oks_sigmas = _positive(sigmas)
        if image_ids is not None:
            evaluation.params.imgIds = sorted(set(image_ids))
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: 100 * float(value) if value > -1 else float("nan") for name, value in zip(NAMES, evaluation.stats)}
