"""What every recipe loses by itself: nothing. The truth goes through its crop, codec and metric and comes back."""

import re
import types

import numpy as np
import pytest

from benchmarks import oracle
from configs import variants
from h3r_jax import geometry
from h3r_jax.evaluation.protocols import Protocol
from h3r_jax.inference import make_network, settings_of
from tests.data.bodies import CocoFolder

HERE = {  # recipe -> examples and landmarks inside of the copies in ../shared/data
    "wflw:hrnet_w18_256_p1": (4, 392),
    "wflw:mobilenet_v2_128_p2": (4, 392),
    "w300:hrnet_w18_256_p1": (5, 340),
    "cofw:hrnet_w18_256": (2, 58),
    "lapa:hrnet_w18_256": (2, 212),
    "aflw2000:hrnet_w18_128": (16, 1088),
    "mpii:hrnet_w32_256": (5, 76),
    "coco:hrnet_w32_256x192": (12, 181),
}


# What a metric is of the truth, and by how much the rounding of float32 may change it. The least error above zero costs
# the AUC a third of one step of its grid, 1e-4 / 3 of thresholds from 0.07 on.
PERFECT = {"nme": (0, 1e-3), "fr": (0, 0), "auc": (1, 5e-4), "pckh": (100, 0)}


def made_up_split(network, count=60):
    """Objects of all sizes and places, delivered with boxes that cut some landmarks off."""
    rng = np.random.default_rng(0)
    size = np.exp(rng.uniform(3, 7, (count, 1, 1)))
    shape = rng.uniform(-0.5, 0.5, (count, network.scheme.num_landmarks, 2))
    landmarks = shape * size + rng.uniform(0, 2000, (count, 1, 2))
    # Of faces every landmark is labelled: units are distances of landmarks.
    weight = (rng.random(shape.shape[:2]) < (0.9 if network.scheme.upper_body else 1.0)).astype(np.float32)
    landmarks[weight == 0] = np.nan
    box = geometry.landmark_box(landmarks, weight)
    box[::3, 2] -= 0.4 * size[::3, 0, 0]
    annotations = types.SimpleNamespace(
        landmarks=landmarks.astype(np.float32).astype(np.float64),  # as stored
        weight=weight,
        box=box,
        object_size=size[:, 0, 0],
        subsets=(frozenset(),) * count,
        name=tuple(map(str, range(count))),
    )
    matrices = geometry.crop_matrix(box, shape=network.shape)
    return types.SimpleNamespace(annotations=annotations, matrices=matrices, shape=network.shape)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A COCO folder, since COCO's score is taken from the official file, and where it is prepared."""
    place = tmp_path_factory.mktemp("people")
    CocoFolder(place / "coco", images=True)
    return place


def decides(config):
    """All that the oracle's answer depends on."""
    scoring = {name: config.eval[name] for name in ("metric", "normalizers", "thresholds")}
    return str((config.landmarks.to_dict(), config.model.input_size, scoring))


RECIPES = variants.all_recipes()
DIFFERENT = {decides(config): name for name, config in RECIPES.items()}.values()
COCO = [name for name in DIFFERENT if RECIPES[name].eval.metric == "coco"]


@pytest.mark.parametrize("name", [name for name in DIFFERENT if name not in COCO])
def test_no_recipe_loses_anything_of_made_up_objects(name):
    config = RECIPES[name]
    network = make_network(**settings_of(config))
    split = made_up_split(network)
    result = oracle.score_truth(split, network, Protocol.from_config(config, network.scheme))
    assert result["outside"] > 20 and result["inside"] > 400
    assert result["inside"] + result["outside"] == (split.annotations.weight > 0).sum()
    assert result["error"] < 1e-3
    assert result["metrics"]
    for metric, value in result["metrics"].items():
        perfect, tolerance = PERFECT[re.match("[a-z]+", metric)[0]]
        assert abs(value - perfect) <= tolerance, metric


@pytest.mark.parametrize("name", COCO)
def test_no_coco_recipe_loses_anything_of_made_up_people(name, people):
    config = RECIPES[name].copy_and_resolve_references()
    config.data_dir, config.prepared_dir, config.data.test_split = str(people), str(people / "prepared"), "val"
    result = oracle.oracle(config)
    assert (result["examples"], result["inside"], result["outside"]) == (3, 34, 0)
    assert result["error"] < 1e-3
    scores = result["metrics"]
    unknown = {name for name, value in scores.items() if np.isnan(value)}
    assert unknown == {"ap_medium", "ar_medium"}, "these people are large"
    assert all(value == pytest.approx(100, abs=1e-9) for value in scores.values() if not np.isnan(value))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Where real data sets are prepared, each once."""
    return tmp_path_factory.mktemp("prepared")


@pytest.mark.parametrize(("name", "expected"), HERE.items(), ids=HERE)
def test_no_recipe_loses_anything_of_real_ones(name, expected, shared_data, prepared):
    config = RECIPES[name].copy_and_resolve_references()
    config.data_dir, config.prepared_dir = str(shared_data), str(prepared)
    if config.eval.metric == "coco":
        config.data.test_split = "val"
    result = oracle.oracle(config)
    assert (result["examples"], result["inside"]) == expected
    assert result["error"] < 1e-3
    assert all(abs(result["metrics"][name] - 100) < 1e-9 for name in ("ap", "pckh@0.1") if name in result["metrics"])
    assert result["metrics"].get("nme", 0) < 1e-4
