"""Protocols: units, subsets, and what each refuses, against plain loops."""

import types

import numpy as np
import pytest

from h3r_jax.evaluation.protocols import Protocol
from h3r_jax.landmarks import LandmarkScheme

SCHEME = LandmarkScheme("mine", 3, (1, 0, 2), (("pair", (0, 1)), ("box", "box"), ("size", "object_size")))


def split(count=20, seed=0):
    rng = np.random.default_rng(seed)
    subsets = [frozenset({"odd"} if i % 2 else {"even", "low"} if i < 4 else {"even"}) for i in range(count)]
    annotations = types.SimpleNamespace(
        landmarks=rng.uniform(0, 100, (count, 3, 2)),
        weight=np.ones((count, 3), np.float32),
        box=np.full((count, 4), np.nan),
        object_size=rng.uniform(20, 30, count),
        subsets=tuple(subsets),
        name=tuple(f"record {i}" for i in range(count)),
    )
    return types.SimpleNamespace(annotations=annotations)


def protocol(**fields):
    defaults = {"metric": "nme", "normalizers": (), "thresholds": (0.08, 0.1), "subsets": ()}
    return Protocol(SCHEME, **(defaults | fields))


def test_units_and_subsets_are_those_of_a_plain_loop():
    made = split()
    annotations = made.annotations
    predictions = annotations.landmarks + np.random.default_rng(1).normal(size=(20, 3, 2))
    scores = protocol(normalizers=("pair", "size"), subsets=("even", "odd", "low", "blur")).score(
        predictions, None, made
    )
    values = {"pair": [], "size": []}
    for i in range(20):
        error = sum(np.hypot(*(predictions[i, j] - annotations.landmarks[i, j])) for j in range(3)) / 3
        values["pair"].append(error / np.hypot(*(annotations.landmarks[i, 0] - annotations.landmarks[i, 1])))
        values["size"].append(error / annotations.object_size[i])
    assert scores.metrics["nme"] == pytest.approx(100 * sum(values["pair"]) / 20, rel=1e-12)
    assert scores.metrics["nme_size"] == pytest.approx(100 * sum(values["size"]) / 20, rel=1e-12)
    assert scores.metrics["nme/low"] == pytest.approx(100 * (values["pair"][0] + values["pair"][2]) / 2, rel=1e-12)
    assert scores.metrics["nme_size/odd"] == pytest.approx(100 * sum(values["size"][1::2]) / 10, rel=1e-12)
    assert scores.metrics["fr@8/even"] == 100 * sum(value > 0.08 for value in values["pair"][::2]) / 10
    assert scores.counts == {"even": 10, "odd": 10, "low": 2, "blur": 0}
    assert not any(name.endswith("/blur") for name in scores.metrics), "nothing is said of a subset without examples"
    np.testing.assert_allclose(scores.per_example, values["pair"])


def test_a_record_without_its_unit_is_named():
    made = split()
    annotations = made.annotations
    annotations.landmarks[3, 1] = annotations.landmarks[3, 0]
    annotations.object_size[5] = np.nan
    for name, record in (("pair", 3), ("size", 5)):
        with pytest.raises(
            ValueError, match=f"record {record}: the normalising distance .* correct that record or choose"
        ):
            protocol(normalizers=(name,)).score(annotations.landmarks, None, made)


def test_the_box_needs_no_unlabelled_landmarks():
    made = split()
    annotations = made.annotations
    annotations.landmarks[:, 2] = np.nan
    annotations.weight[:, 2] = 0
    predictions = np.nan_to_num(annotations.landmarks, nan=7.0)
    assert protocol(normalizers=("box",)).score(predictions, None, made).metrics["nme"] == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "pck"}, "unknown metric 'pck'; known are nme, pckh, coco"),
        ({"normalizers": ("pupils",)}, "has no normaliser 'pupils'; it has pair, box, size"),
        (
            {"thresholds": (8,)},
            r"eval.thresholds is \(8,\); want a tuple, each value a finite number above 1e-06 and below 1",
        ),
        ({"thresholds": 0.08}, "eval.thresholds is 0.08; want a tuple"),
        ({"subsets": ("",)}, "eval.subsets is .*; want a tuple, each value a name"),
        ({"thresholds": ()}, "eval.metric=nme: want at least one"),
        ({"metric": "pckh", "thresholds": ()}, "eval.metric=pckh: want at least one"),
        ({"metric": "coco"}, r"eval.metric=coco: want none, its thresholds are COCO's: set \(\), got \(0.08, 0.1\)"),
        ({"metric": "pckh", "subsets": ("head",)}, r"eval.subsets \('head',\) are for eval.metric=nme"),
    ],
)
def test_unknown_names_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        protocol(**fields)
