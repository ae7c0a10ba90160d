"""Every data set from official files to a score, by `train` and `evaluate` on the copies in ../shared/data.

The recipes are those of configs, made small: three layers, 64 pixels, two steps. Scores of such networks say nothing;
that there are all of them, over the right number of examples, says that nothing is missing on the way.
"""

import json
import math
from typing import NamedTuple

import pytest

from configs import variants
from eval import evaluate
from h3r_jax import models
from tests.training import tiny
from train import train

pytestmark = pytest.mark.slow

RECIPES = variants.all_recipes()
FACES = ("nme", "fr@8", "auc@8", "fr@10", "auc@10")
YAWS = ("yaw_0_30", "yaw_30_60", "yaw_60_90")
JOINTS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
HALVES = {
    "data.train_split": "train[:50%]",
    "data.validation_split": "train[50%:]",
}  # as the recipes hold two per cent out
SMALL = {
    "model.name": "three_layers",
    "model.input_size": (64, 64),
    "model.dtype": "float32",
    "train.batch_size": 8,
    "train.steps": 2,
    "eval.batch_size": 8,
    "log.every_steps": 1,
}


class Case(NamedTuple):
    """A recipe, its changes, what it is tested on, how many examples that has, and the metrics of its protocol."""

    recipe: str
    changes: dict
    dataset: str
    split: str
    count: int
    metrics: tuple


CASES = (
    Case("wflw:mobilenet_v2_128_p2", HALVES, "wflw", "test", 4, FACES),  # its subsets are unknown here
    Case("w300:hrnet_w18_256_p1", HALVES, "w300", "test", 5, (*FACES, *(f"{m}/common" for m in FACES))),
    Case("cofw:hrnet_w18_256", HALVES, "cofw", "test", 2, (*FACES, "nme_inter_pupil")),
    Case(
        "aflw:hrnet_w18_256",
        # There are fewer faces than the official training set has, and its subsets are of the test set.
        HALVES | {"data.test_split": "train", "eval.subsets": ()},
        "aflw",
        "train",
        2,
        (*FACES, "nme_box_diagonal"),
    ),
    Case(
        "lapa:mobilenet_v2_128", {"data.train_split": "test", "data.validation_split": "test"}, "lapa", "test", 2, FACES
    ),
    Case(
        "aflw2000:mobilenet_v2_128",
        {
            "data.name": "aflw2000",
            "data.train_split": "test[:8]",
            "data.validation_split": "test[8:]",
        },  # in place of 300W-LP
        "aflw2000",
        "test",
        16,
        (*FACES, *(f"{m}/{yaw}" for yaw in YAWS for m in FACES)),
    ),
    Case(
        "mpii:hrnet_w32_256",
        {},
        "mpii",
        "valid",
        5,
        ("pckh@0.5", "pckh@0.1", "pckh@0.11", *(f"pckh@0.5/{joint}" for joint in JOINTS)),
    ),
    Case(
        "coco:hrnet_w32_128x96",
        {"data.train_split": "val[:6]", "data.validation_split": "val[6:]", "model.input_size": (64, 48)},
        "coco_keypoints",
        "val_detections",
        118,
        tuple(f"{kind}{part}" for kind in ("ap", "ar") for part in ("", "50", "75", "_medium", "_large")),
    ),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """What the runs share: prepared data."""
    return tmp_path_factory.mktemp("recipes")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.dataset)
def test_it_trains_and_evaluates(case, shared_data, place, monkeypatch):
    monkeypatch.setitem(models.BACKBONES, "three_layers", tiny.TinyBackbone)
    config, workdir = RECIPES[case.recipe], place / case.dataset
    places = {"data_dir": str(shared_data), "prepared_dir": str(place / "prepared")}
    config.update_from_flattened_dict(SMALL | places | case.changes)
    train(config, workdir)
    metrics = evaluate(config, workdir)
    result = json.loads((workdir / "eval" / f"{case.dataset}-{case.split}-step2.json").read_text())
    assert (result["dataset"], result["split"], result["count"]) == (case.dataset, case.split, case.count)
    assert result["metrics"] == metrics and set(metrics) == set(case.metrics)
    assert all(math.isfinite(value) for value in metrics.values())
