"""Similarity, suppression and average precision against loops, pycocotools on its own, and cases worked out by hand."""

import contextlib
import io
import json
import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from h3r_jax.metrics import average_precision, keypoint_similarity, person_results
from h3r_jax.metrics.oks import NAMES, rescore, suppress

SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062,
    0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
)  # fmt: skip


def similarity(prediction, truth, visible, area):
    """OKS of one person, in Python's own numbers."""
    values = []
    for (x, y), (u, v), seen, sigma in zip(prediction.tolist(), truth.tolist(), visible, SIGMAS):
        if seen > 0:
            values.append(math.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * (2 * sigma) ** 2 * area)))
    return sum(values) / len(values)


class Crowd:
    """A made-up annotation file of people of all sizes, some without a labelled joint, some crowds; and detections."""

    def __init__(self, path, images=12, seed=0):
        rng = np.random.default_rng(seed)
        self.path = path
        annotations, detections = [], []
        for image in range(1, images + 1):
            for _ in range(rng.integers(1, 5)):
                side = float(rng.choice([20, 60, 200]))
                corner = rng.uniform(0, 400, 2)
                joints = corner + side * rng.uniform(0, 1, (17, 2))
                visible = rng.choice([0, 1, 2], 17, p=[0.3, 0.2, 0.5]) * (rng.uniform() < 0.85)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image,
                        "category_id": 1,
                        "iscrowd": int(rng.uniform() < 0.1),
                        "area": side**2 * 0.6,
                        "bbox": [*corner, side, side],
                        "num_keypoints": int((visible > 0).sum()),
                        "keypoints": np.column_stack([np.where(visible[:, None], joints, 0), visible]).ravel().tolist(),
                    }
                )
                for _ in range(rng.integers(0, 4)):
                    shift = 0 if rng.uniform() < 0.3 else side * rng.normal(0, 0.05, (17, 2))
                    detections.append((image, joints + shift, side**2, rng.uniform()))
        content = {
            "images": [
                {"id": image, "width": 640, "height": 640} for image in range(1, images + 2)
            ],  # the last has no people
            "annotations": annotations,
            "categories": [{"id": 1, "name": "person"}],
        }
        path.write_text(json.dumps(content))
        self.annotations = annotations
        ids, predictions, areas, score = zip(*detections)
        self.image_id, self.areas, self.score = np.array(ids), np.array(areas), np.array(score)
        self.predictions = np.array(predictions)
        self.confidences = rng.uniform(0, 1, self.predictions.shape[:2])

    def results(self):
        return person_results(
            self.predictions,
            self.confidences,
            score=self.score,
            image_id=self.image_id,
            areas=self.areas,
            sigmas=SIGMAS,
        )


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    return Crowd(tmp_path_factory.mktemp("coco") / "people.json")


def test_similarity_is_that_of_a_loop():
    rng = np.random.default_rng(1)
    truth = rng.uniform(0, 100, (30, 17, 2))
    predictions = truth + rng.normal(0, 6, truth.shape)
    weight = rng.integers(0, 2, (30, 17)) * rng.uniform(0.5, 2, (30, 17))
    weight[:, 3], weight[0] = 1, 0
    truth[weight == 0] = np.nan
    area = rng.uniform(500, 9000, 30)
    result = keypoint_similarity(predictions, truth, weight, area, SIGMAS)
    assert result.dtype == np.float64 and np.isnan(result[0])
    expected = [similarity(*person) for person in zip(predictions[1:], truth[1:], weight[1:], area[1:])]
    np.testing.assert_allclose(result[1:], expected, rtol=1e-12)
    assert 0.3 < np.median(expected) < 0.95
    # One joint at distance d: exp(-d^2 / (2 (2 sigma)^2 area)).
    alone = np.arange(17) == 5
    moved = np.where(alone[:, None], [0.158, 0.0], 0.0)
    assert keypoint_similarity(moved, np.zeros((17, 2)), alone, 1.0, SIGMAS) == pytest.approx(math.exp(-0.5))


def test_a_score_is_that_of_the_box_times_the_mean_of_confident_joints():
    confidences = np.array([[0.1, 0.2, 0.3, 0.9], [0.2, 0.1, 0.0, 0.2], [1.0, 1.0, 1.0, 1.0]])  # above 0.2, not at it
    np.testing.assert_allclose(rescore([0.5, 0.5, np.nan], confidences), [0.5 * 0.6, 0.0, 1.0])


def test_suppression_is_that_of_a_loop():
    rng = np.random.default_rng(2)
    centers = rng.uniform(0, 300, (6, 17, 2))[rng.integers(0, 6, 60)]
    predictions = centers + rng.normal(0, 1, centers.shape) * rng.choice([0.5, 2, 6], 60)[:, None, None]
    scores, areas, image_ids = rng.uniform(size=60), rng.uniform(2000, 6000, 60), rng.choice([7, 3, 12], 60)
    kept = suppress(predictions, scores, areas, image_ids, SIGMAS)
    expected = []
    for i in sorted(range(60), key=lambda i: (image_ids[i], -scores[i])):
        for j in expected:
            area = (areas[i] + areas[j]) / 2
            if image_ids[i] == image_ids[j] and similarity(predictions[i], predictions[j], np.ones(17), area) > 0.9:
                break
        else:
            expected.append(i)
    assert kept.tolist() == expected and 15 < len(expected) < 50
    assert suppress(predictions[:0], scores[:0], areas[:0], image_ids[:0], SIGMAS).tolist() == []


def test_average_precision_is_that_of_pycocotools_on_the_written_file(crowd, tmp_path, capsys):
    results = crowd.results()
    assert len(results) < len(crowd.predictions)
    before = json.dumps(results)
    metrics = average_precision(results, crowd.path, sigmas=SIGMAS)
    assert capsys.readouterr().out == "" and json.dumps(results) == before
    (tmp_path / "results.json").write_text(before)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(crowd.path))
        evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "results.json")), "keypoints")
        for step in (evaluation.evaluate, evaluation.accumulate, evaluation.summarize):
            step()
    assert tuple(metrics) == NAMES
    np.testing.assert_allclose(list(metrics.values()), 100 * evaluation.stats, rtol=1e-12)
    assert 5 < metrics["ap"] < metrics["ap50"] < 95 and 5 < metrics["ap_medium"] != metrics["ap_large"] > 5


def test_the_truth_scores_100(crowd):
    people = [person for person in crowd.annotations if person["num_keypoints"] and not person["iscrowd"]]
    joints = np.array([person["keypoints"] for person in people]).reshape(-1, 17, 3)
    results = person_results(
        joints[..., :2],
        np.ones(joints.shape[:2]),
        score=np.full(len(people), np.nan),
        image_id=[person["image_id"] for person in people],
        areas=[person["area"] for person in people],
        sigmas=SIGMAS,
    )
    assert {result["score"] for result in results} == {1.0}
    assert list(average_precision(results, crowd.path, sigmas=SIGMAS).values()) == pytest.approx([100] * len(NAMES))


def test_precision_worked_out_by_hand(tmp_path):
    """Two people of one size, one found exactly, one not at all: precision 1 up to recall 1/2, 51 of 101 places."""
    crowd = Crowd(tmp_path / "people.json", images=2)
    keypoints = np.column_stack([np.arange(34).reshape(17, 2) * 10.0, np.full(17, 2)]).ravel().tolist()
    person = {**crowd.annotations[0], "iscrowd": 0, "area": 2000.0, "num_keypoints": 17, "keypoints": keypoints}
    content = json.loads(crowd.path.read_text())
    content["annotations"] = [person, {**person, "id": 2, "image_id": 2}]
    crowd.path.write_text(json.dumps(content))
    found = {"image_id": 1, "category_id": 1, "keypoints": keypoints, "score": 0.5}
    metrics = average_precision([found], crowd.path, sigmas=SIGMAS)
    for name in ("ap", "ap50", "ap75", "ap_medium"):
        assert metrics[name] == pytest.approx(100 * 51 / 101)
    assert metrics["ar"] == metrics["ar_medium"] == 50
    assert np.isnan(metrics["ap_large"]) and np.isnan(metrics["ar_large"])  # nobody is so large
    assert average_precision([found], crowd.path, sigmas=SIGMAS, image_ids=[1])["ap"] == pytest.approx(100)
    # A better-scored mistake in the same image: precision 1/2 at every recall that is reached.
    wrong = {**found, "keypoints": [value + 500 for value in keypoints], "score": 0.9}
    assert average_precision([found, wrong], crowd.path, sigmas=SIGMAS)["ap"] == pytest.approx(50 * 51 / 101)
    # Every joint off by d with exp(-d^2 / (2 (2 sigma)^2 area)) just above 0.7: a hit at 0.50, 0.55, ... 0.70.
    distance = 2 * np.sqrt(-2 * np.log(0.7 + 1e-9) * 2000) * np.array(SIGMAS)
    off = np.array(keypoints).reshape(17, 3) + np.column_stack([distance, np.zeros((17, 2))])
    metrics = average_precision(
        [{**found, "keypoints": off.ravel().tolist()}], crowd.path, sigmas=SIGMAS, image_ids=[1]
    )
    assert (metrics["ap50"], metrics["ap75"], metrics["ar"]) == pytest.approx((100, 0, 50))


def test_what_cannot_be_scored_is_named(crowd):
    with pytest.raises(ValueError, match="no examples"):
        average_precision([], crowd.path, sigmas=SIGMAS)
    stranger = [{**crowd.results()[0], "image_id": 99}]
    with pytest.raises(ValueError, match=r"people.json: there is no image 99; is it the file of the split"):
        average_precision(stranger, crowd.path, sigmas=SIGMAS)
    with pytest.raises(ValueError, match="no image 77"):
        average_precision(crowd.results(), crowd.path, sigmas=SIGMAS, image_ids=[1, 77])
    with pytest.raises(ValueError, match="16 sigmas for 17 joints"):
        person_results(
            crowd.predictions,
            crowd.confidences,
            score=crowd.score,
            image_id=crowd.image_id,
            areas=crowd.areas,
            sigmas=SIGMAS[1:],
        )
    crowd = Crowd(crowd.path)
    crowd.predictions[4, 11, 0] = np.nan
    with pytest.raises(ValueError, match=r"example 4: joint 11 is predicted at \[nan, .*finite"):
        crowd.results()
