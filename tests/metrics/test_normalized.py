"""Metrics against loops and closed forms."""

import numpy as np
import pytest

from h3r_jax.metrics import NormalizedErrors, nme_per_example


def sample(count=157, seed=0):
    return NormalizedErrors(np.random.default_rng(seed).gamma(3.0, 0.02, count))


def test_nme_is_the_mean_distance_over_the_unit():
    rng = np.random.default_rng(1)
    predictions, landmarks = rng.uniform(0, 100, (2, 9, 5, 2))
    weight = rng.integers(0, 2, (9, 5)) * rng.uniform(0.1, 3, (9, 5))  # weights count as labelled, all alike
    weight[:, 0] = 1
    distance = rng.uniform(5, 50, 9)
    predictions[0, weight[0] == 0] = np.nan  # not labelled, so it does not matter
    result = nme_per_example(predictions.astype(np.float32), landmarks, weight, distance)
    assert result.dtype == np.float64
    for n in range(9):
        errors = []
        for k in range(5):
            if weight[n, k] > 0:
                x, y = np.float64(np.float32(predictions[n, k]))
                errors.append(((x - landmarks[n, k, 0]) ** 2 + (y - landmarks[n, k, 1]) ** 2) ** 0.5)
        assert result[n] == pytest.approx(sum(errors) / len(errors) / distance[n], rel=1e-12)


@pytest.mark.parametrize("distance", [0.0, -1.0, np.nan, np.inf])
def test_an_example_without_a_unit_is_named(distance):
    zeros = np.zeros((3, 2, 2))
    with pytest.raises(ValueError, match="example 1: .*distance"):
        nme_per_example(zeros, zeros, np.ones((3, 2)), [1.0, distance, 1.0])


def test_an_example_without_a_label_is_named():
    zeros = np.zeros((3, 2, 2))
    with pytest.raises(ValueError, match="example 2: 0 labelled"):
        nme_per_example(zeros, zeros, [[1, 0], [0, 1], [0, 0]], np.ones(3))


def test_a_missing_prediction_is_a_failure_and_not_an_average():
    result = nme_per_example(np.full((1, 2, 2), np.nan), np.zeros((1, 2, 2)), np.ones((1, 2)), [1.0])
    assert np.isnan(result).all()
    errors = NormalizedErrors(np.array([0.01, np.nan, 0.02, 0.09]))
    assert errors.failure_rate(0.08) == 50
    assert np.isnan(errors.nme())
    assert errors.cumulative(0.08)[1][-1] == 0.5
    assert errors.auc(0.08) == pytest.approx((0.07 + 0.06) / 4 / 0.08, abs=1e-3)


def test_failure_is_strictly_above_the_threshold_and_one_minus_the_curve():
    errors = NormalizedErrors(np.array([0.05, 0.08, np.nextafter(0.08, 1), 0.2]))
    assert errors.failure_rate(0.08) == 50
    assert errors.cumulative(0.08)[1][-1] == 0.5  # an error of just the threshold is within it
    assert NormalizedErrors(np.array([0.0, 1.0])).cumulative(0.1)[1].tolist() == [0.5] * 1001
    for threshold in (0.05, 0.07, 0.08, 0.1):
        assert sample().failure_rate(threshold) == pytest.approx(100 * (1 - sample().cumulative(threshold)[1][-1]))


def simpson(values, step):
    """The composite rule, an even number of intervals."""
    assert len(values) % 2 == 1
    total = 0.0
    for i in range(0, len(values) - 2, 2):
        total += step / 3 * (values[i] + 4 * values[i + 1] + values[i + 2])
    return total


@pytest.mark.parametrize("threshold", [0.05, 0.07, 0.08, 0.10])
def test_auc_is_simpsons_rule_on_a_grid_of_a_ten_thousandth(threshold):
    errors = sample()
    count = round(threshold / 1e-4)
    shares = []
    for i in range(count + 1):
        shares.append(sum(value <= i * threshold / count for value in errors.values) / len(errors.values))
    assert errors.auc(threshold) == pytest.approx(simpson(shares, threshold / count) / threshold, abs=1e-12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.0], 1.0),
        ([0.5, 0.1000001], 0.0),
        ([0.05], 0.5),
        (np.linspace(0, 0.1, 100001), 0.5),
        (0.1 * np.sqrt(np.linspace(0, 1, 100001)), 1 / 3),
    ],
    ids=["perfect", "hopeless", "one step", "uniform", "linear density"],
)
def test_auc_of_known_curves(values, expected):
    # One step of the curve falls between grid points: Simpson's rule is off by less than one interval of 1,000.
    assert NormalizedErrors(np.asarray(values)).auc(0.10) == pytest.approx(expected, abs=1e-3)


def test_parts_merge_to_the_whole_in_any_order():
    whole = sample(100)
    parts = [NormalizedErrors(part) for part in np.split(whole.values, [1, 40, 40])]
    forward = backward = NormalizedErrors()
    for part in parts:
        forward, backward = forward.merge(part), part.merge(backward)
    assert forward.count == backward.count == 100
    expected = whole.summary((0.08, 0.10))
    assert list(expected) == ["nme", "fr@8", "auc@8", "fr@10", "auc@10"]
    assert forward.summary((0.08, 0.10)) == expected
    assert backward.summary((0.08, 0.10)) == pytest.approx(expected, rel=1e-12)
    assert expected["nme"] == pytest.approx(100 * whole.values.mean())


@pytest.mark.parametrize(
    "read", [lambda e: e.nme(), lambda e: e.failure_rate(0.1), lambda e: e.auc(0.1), lambda e: e.summary(())]
)
def test_no_examples_have_no_metric(read):
    with pytest.raises(ValueError, match="no examples"):
        read(NormalizedErrors())
