"""PCKh against a loop over people and joints, counting from 1 as the official evaluation does."""

import numpy as np
import pytest

from h3r_jax.metrics import HeadErrors, head_errors


def sample(count=40, seed=0):
    rng = np.random.default_rng(seed)
    landmarks = rng.uniform(0, 300, (count, 16, 2))
    predictions = landmarks + rng.normal(0, 12, (count, 16, 2)) * rng.uniform(0, 2, (1, 16, 1))
    weight = (rng.uniform(size=(count, 16)) < 0.8).astype(np.float32)
    weight[0] = 1
    landmarks[weight == 0] = np.nan
    return predictions, landmarks, weight, rng.uniform(15, 60, count)


def share(people, joint, threshold):
    """Hits and labelled people of a joint."""
    hits = labelled = 0
    for prediction, truth, visible, head in zip(*people):
        if visible[joint] == 1:
            labelled += 1
            dx, dy = (prediction[joint] + 1) - (truth[joint] + 1)
            hits += (dx * dx + dy * dy) ** 0.5 / head <= threshold
    return hits, labelled


def test_every_number_is_that_of_a_loop():
    people = sample()
    metrics = head_errors(*people).summary((0.5, 0.1, 0.11))
    joints = {
        "head": [9],
        "shoulder": [13, 12],
        "elbow": [14, 11],
        "wrist": [15, 10],
        "hip": [3, 2],
        "knee": [4, 1],
        "ankle": [5, 0],
    }
    assert list(metrics) == ["pckh@0.5", "pckh@0.1", "pckh@0.11", *(f"pckh@0.5/{name}" for name in joints)]
    for threshold in (0.5, 0.1, 0.11):
        shares = [share(people, joint, threshold) for joint in range(16)]
        total = sum(labelled for joint, (_, labelled) in enumerate(shares) if joint not in (6, 7))
        weighted = sum(
            100 * hits / labelled * labelled / total
            for joint, (hits, labelled) in enumerate(shares)
            if joint not in (6, 7)
        )
        assert metrics[f"pckh@{threshold}"] == pytest.approx(weighted, abs=1e-9)
        for name, members in joints.items():
            sides = [100 * hits / labelled for hits, labelled in (shares[joint] for joint in members)]
            assert head_errors(*people).groups(threshold)[name] == pytest.approx(sum(sides) / len(sides), abs=1e-9)
    assert 20 < metrics["pckh@0.1"] < metrics["pckh@0.11"] < metrics["pckh@0.5"] < 99


def test_the_truth_scores_100_and_pelvis_and_thorax_do_not_count():
    _, landmarks, weight, head = sample()
    assert set(head_errors(landmarks, landmarks, weight, head).summary((0.5, 0.1, 0.11)).values()) == {100.0}
    predictions = landmarks.copy()
    predictions[:, 6:8] += 1e4
    assert head_errors(predictions, landmarks, weight, head).pckh(0.5) == 100
    predictions[:, 8] += 1e4
    assert head_errors(predictions, landmarks, weight, head).pckh(0.5) < 95
    assert head_errors(predictions, landmarks, weight, head).groups(0.5)["head"] == 100


def test_an_error_of_the_threshold_is_a_hit_and_a_missing_prediction_is_none():
    landmarks = np.zeros((1, 16, 2))
    predictions = np.zeros((1, 16, 2))
    predictions[0, 9] = [0, 5]
    groups = head_errors(predictions, landmarks, np.ones((1, 16)), [10.0]).groups
    assert groups(0.5)["head"] == 100 and groups(0.4999)["head"] == 0
    predictions[0, 9] = np.nan
    assert head_errors(predictions, landmarks, np.ones((1, 16)), [10.0]).groups(0.5)["head"] == 0


def test_a_joint_that_is_never_labelled_has_no_number_and_no_weight():
    predictions, landmarks, weight, head = sample()
    weight[:, 0] = 0
    errors = head_errors(predictions, landmarks, weight, head)
    assert np.isnan(errors.groups(0.5)["ankle"]) and np.isfinite(errors.pckh(0.5))
    nobody = head_errors(predictions, landmarks, np.zeros_like(weight), head)
    assert np.isnan(nobody.pckh(0.5))


def test_parts_merge_to_the_whole():
    people = sample()
    whole, merged = head_errors(*people), HeadErrors()
    for rows in (slice(0, 1), slice(1, 1), slice(1, None)):
        merged = merged.merge(head_errors(*(column[rows] for column in people)))
    assert merged.count == 40 and merged.summary((0.5, 0.1, 0.11)) == whole.summary((0.5, 0.1, 0.11))
    with pytest.raises(ValueError, match="no examples"):
        HeadErrors().pckh(0.5)


@pytest.mark.parametrize("size", [0.0, -3.0, np.nan, np.inf])
def test_an_example_without_a_head_is_named(size):
    predictions, landmarks, weight, head = sample()
    head[7] = size
    with pytest.raises(ValueError, match="example 7: the head size is .*valid split"):
        head_errors(predictions, landmarks, weight, head)


def test_other_joints_than_those_of_mpii_are_refused():
    with pytest.raises(ValueError, match=r"16 joints, got predictions \(2, 17, 2\)"):
        head_errors(np.zeros((2, 17, 2)), np.zeros((2, 17, 2)), np.ones((2, 17)), np.ones(2))
