"""What eval.py will need is looked at before a training: the test split, its subsets, the units of its records."""

import functools
import types
from typing import ClassVar

import jax
import numpy as np
import pytest

from configs import common
from data import inputs, prepare
from data.builder import LandmarkBuilder, Record, make_builder
from data.source import Source
from h3r_jax.errors import UserError
from h3r_jax.evaluation import report
from h3r_jax.evaluation.protocols import Protocol
from h3r_jax.inference import make_network, settings_of

PIXELS = np.zeros((20, 20, 3), np.uint8)


class Made(LandmarkBuilder):
    """Two people: the first without a head size, and only in the split `train`."""

    NUM_LANDMARKS = 3
    OFFICIAL_COUNTS: ClassVar = {"train": 2, "late": 9}

    @classmethod
    def read_splits(cls, folder):
        points = np.array([[2.0, 3.0], [15.0, 4.0], [9.0, 17.0]])
        records = [
            Record("first", PIXELS, points, subsets=("odd", "low")),
            Record("second", PIXELS, points + 1, subsets=("even",), object_size=7.0, box=np.array([1.0, 2, 18, 19])),
        ]
        return {"train": records, "test": records[1:], "bare": [Record("third", PIXELS, points)]}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture(autouse=True)
def made(monkeypatch):
    monkeypatch.setitem(prepare.DATASETS, "made", functools.partial(make_builder, Made))


def config_of(place, **changes):
    config = common.get_config()
    fields = {"data_dir": str(place), "data.name": "made", "data.test_split": "test", "data.validation_split": ""}
    fields |= {"landmarks.mirror": (1, 0, 2), "landmarks.normalizer": (0, 1), "model.input_size": (32, 32)}
    config.update_from_flattened_dict(fields | changes)
    return config


def check(place, **changes):
    """What a training does before it begins."""
    config = config_of(place, **changes)
    network = make_network(**settings_of(config))
    return inputs.check_test(config, network, Protocol.from_config(config, network.scheme))[1]


@pytest.mark.trial("B2")
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"eval.flip": "maps"}, "unknown flip 'maps'; known are"),
        ({"eval.crop": "square"}, "unknown crop 'square'; known are"),
        ({"eval.crop": "reference", "model.input_size": (32, 64)}, 'want the crop "exact"'),
        ({"eval.selection": "best"}, "unknown selection 'best'; known are"),
        ({"eval.activation": "relu"}, "unknown activation 'relu'; known are"),
        ({"eval.metric": "pck"}, "unknown metric 'pck'; known are"),
        ({"eval.k": 100}, "k=100 cells cannot be chosen from a map of 8x8"),
        ({"eval.k": 6, "eval.selection": "neighbours"}, "k=6 is no neighbourhood"),
        ({"eval.normalizers": ("pupils",)}, "has no normaliser 'pupils'; it has custom"),
        ({"eval.thresholds": ()}, "eval.metric=nme: want at least one"),
        ({"eval.metric": "coco", "eval.thresholds": ()}, "has no file that eval.metric=coco scores against"),
        ({"eval.metric": "pckh", "eval.thresholds": (0.5,), "data.test_split": "train"}, "first: its head size is nan"),
        ({"eval.subsets": ("pose",)}, "has 'pose', and no record of .* test is in it; its subsets are even"),
        ({"eval.subsets": ("even", "odd")}, "has 'odd', and no record of .* test is in it; its subsets are even"),
        ({"eval.subsets": ("odd",), "data.test_split": "bare"}, "it has no subsets"),
        ({"data.test_split": "tset"}, "has no split 'tset'; it has bare, test, train"),
        ({"data.test_split": "test[:x%]"}, "is no split or part of one"),
        ({"data.test_split": ""}, "has no split ''; it has bare, test, train"),
        ({"data.test_name": "mode"}, "unknown data set 'mode'; known are"),
        ({"data.test_name": "aflw"}, "aflw has 19 landmarks, but the landmark scheme has 3"),
        ({"data.test_folder": "other"}, "config.data.test_folder is 'other', but config.data.test_name is empty"),
        ({"data.box": "dataset", "data.test_split": "bare"}, 'has no size; set config.data.box="landmarks"'),
    ],
)
def test_what_cannot_be_evaluated_is_not_trained(place, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        check(place, **changes)


def test_what_can_be_evaluated(place):
    assert check(place) == ""
    assert check(place, **{"eval.subsets": ("even", "odd"), "data.test_split": "train"}) == ""
    assert check(place, **{"eval.metric": "pckh", "eval.thresholds": (0.5,)}) == ""


def test_test_data_that_is_not_there_yet_is_said(place):
    """People train before they have fetched it."""
    assert "cannot be checked before eval.py scores it: made/" in check(place, **{"data.test_split": "late[:5]"})
    sentence = check(place, **{"data.test_name": "csv", "data.test_folder": "later"})
    assert "cannot be checked before eval.py scores it" in sentence and "later holds none of train.csv" in sentence


@pytest.mark.trial("B2")
@pytest.mark.parametrize(
    ("shape", "k", "rows"),
    [
        ((16, 16), 1, ["argmax", "quarter shift"]),  # a map of one cell
        ((16, 32), 2, ["argmax", "quarter shift"]),
        ((32, 32), 3, ["argmax", "quarter shift", "k=4"]),
        ((48, 48), 9, ["argmax", "quarter shift", "k=4"]),
        ((48, 64), 5, ["argmax", "quarter shift", "k=4", "k=9"]),
    ],
)
def test_rows_of_the_table_that_a_small_map_does_not_allow_are_left_out(shape, k, rows):
    network = make_network("mobilenet_v2", "ibug68", input_size=shape, stride=16, k=k)
    others = report.decoders(network)
    assert list(others) == rows
    for decode in others.values():
        assert jax.eval_shape(decode, np.zeros((1, *network.heatmap_shape, 68), np.float32)).shape == (1, 68, 2)


@pytest.mark.trial("C9")
@pytest.mark.parametrize(
    ("validation", "test", "expected"),
    [
        ("test", "test", ["validation: 1 of 1 records show an image that train has as well"]),
        ("test", "bare", ["validation: 1 of 1 ", "test: 1 of 1 records show an image that train", "test: 1 of 1 "]),
        (None, "train", ["test: 2 of 2 records show an image that train has as well"]),
        (None, None, []),
    ],
)
def test_the_splits_of_a_training_are_held_together(place, validation, test, expected):
    """All records of `Made` show one image."""
    builder = inputs._builder(config_of(place), make_network(**settings_of(config_of(place))).scheme, "made", "")

    def part(name):
        source = Source(builder, name)
        return types.SimpleNamespace(name=source.name, annotations=source.annotations(), divided_images=set())

    splits = [name and part(name) for name in (validation, test)]
    found = inputs.findings(part("train"), *splits)
    assert len(found) == len(expected) and all(map(str.startswith, found, expected)), found


@pytest.mark.trial("C13")
@pytest.mark.parametrize("points", [np.full((3, 2), 0.5), [[0.1, 0.2], [0.7, 0.9], [0.3, 0.4]], np.full((3, 2), 50.0)])
def test_what_no_image_can_have_is_refused_before_training(place, monkeypatch, points):
    records = [Record("first", PIXELS, np.array(points))]
    monkeypatch.setattr(Made, "read_splits", classmethod(lambda cls, folder: {"test": records}))
    with pytest.raises(UserError, match="first and (the )?others: .*; want pixels"):
        check(place / str(np.sum(points)))
