"""train.train and eval.evaluate as functions: in one process, on a network of three layers and a few drawn faces."""

import json

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import tiny_run
from configs import common, quickstart
from eval import evaluate
from h3r_jax import load_predictor, models
from h3r_jax.errors import UserError, sentences
from h3r_jax.run import Run, flatten
from h3r_jax.training import loop
from tests.training import tiny
from train import train

STEPS = 6
METRICS = {"nme", "fr@8", "auc@8", "fr@10", "auc@10"}


@pytest.fixture(scope="module", autouse=True)
def three_layers():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.BACKBONES, "three_layers", tiny.TinyBackbone)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of faces, and of the data that is prepared from them."""
    place = tmp_path_factory.mktemp("train")
    tiny_run.write_data(place)
    return place


def config_of(place, **changes):
    config = quickstart.get_config()
    fields = tiny_run.fields(place, total_steps=STEPS) | {"model.name": "three_layers"} | changes
    config.update_from_flattened_dict(fields)
    return config


@pytest.fixture(scope="module")
def trained(place):
    """The workdir of a run, its configuration, and the state that `train` returned."""
    workdir, config = place / "trained", config_of(place)
    return workdir, config, train(config, workdir)


def test_it_trains_and_goes_on_where_it_was(place, trained, capsys):
    workdir, config, state = trained
    assert int(state.step) == STEPS and Run(workdir).steps()[-1] == STEPS
    for picture in ("augmented.png", "targets.png", "mirrored.png"):
        assert (workdir / picture).stat().st_size > 10_000
    assert list((workdir / "tensorboard").iterdir())
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(1, STEPS + 1))
    assert [line["step"] for line in lines if "validation/nme" in line] == [STEPS / 2, STEPS]

    again = train(config, workdir)
    assert "weights     checkpoint of step 6" in (printed := capsys.readouterr().out)
    assert "40 examples" in printed and "6 -> 6 of batch 8" in printed and "The run is complete" in printed
    np.testing.assert_array_equal(again.variables["params"]["head"]["predict"]["kernel"],
                                  state.variables["params"]["head"]["predict"]["kernel"])  # fmt: skip
    with pytest.raises(UserError, match=r"is of another run \(seed: 0 there, 1 here\)"):
        train(config_of(place, seed=1), workdir)


def test_it_evaluates(trained, capsys):
    workdir, config, _ = trained
    metrics = evaluate(config, workdir)
    table = capsys.readouterr().out
    rows = [line.split("  ")[0] for line in table.splitlines()]
    assert rows[3:7] == ["argmax", "quarter shift", "k=4", "k=9"], table
    assert f"moving average of the parameters at step {STEPS}" in table and "flip test off" in table
    result = json.loads((workdir / "eval" / f"faces-val-step{STEPS}.json").read_text())
    assert result["count"] == 9 and result["differs_from_run"] == {} and set(result["metrics"]) == METRICS
    assert result["metrics"] == metrics
    for picture in ("curve", "overlays", "heatmaps"):
        assert (workdir / "eval" / f"faces-val-step{STEPS}-{picture}.png").stat().st_size > 10_000


def test_a_protocol_that_is_not_the_runs_is_named_and_a_network_refused(place, trained, capsys):
    workdir, config, _ = trained
    config = config_of(place, **{"eval.k": 4, "data.box_scale": 1.5, "eval.activation": "sigmoid"})
    metrics = evaluate(config, workdir)
    table = capsys.readouterr().out
    for field in (
        "data.box_scale is 1.5, the run has 1.25",
        "eval.k is 4, the run has 0",
        "eval.activation is sigmoid",
    ):
        assert field in table
    assert "sigmoid of the maps (softmax belongs to the loss)" in table and "\nk=4 sigmoid " in table
    name = f"faces-val-step{STEPS}-box_scale=1.5-k=4-activation=sigmoid"
    result = json.loads((workdir / "eval" / f"{name}.json").read_text())
    assert result["differs_from_run"] == {
        "eval.k": [0, 4],
        "data.box_scale": [1.25, 1.5],
        "eval.activation": ["", "sigmoid"],
    }
    assert result["metrics"] == metrics
    for changes, field in (
        ({"model.input_size": (64, 64)}, r"model.input_size: \[32, 32\] there, \[64, 64\] here"),
        (
            {"loss.name": "binary_cross_entropy"},
            "loss.name: 'spatial_cross_entropy' there, 'binary_cross_entropy' here",
        ),
    ):
        with pytest.raises(UserError, match=field):
            evaluate(config_of(place, **changes), workdir)


@pytest.mark.slow
def test_maps_too_small_for_a_decoder_of_the_table_are_evaluated(place, capsys):
    config = config_of(place, **{"model.stride": 16, "eval.k": 4, "data.validation_split": ""})
    train(config, place / "small")
    assert "none; the last checkpoint counts" in capsys.readouterr().out
    assert set(evaluate(config, place / "small")) == METRICS
    assert "k=9" not in capsys.readouterr().out


def test_prediction_takes_the_run(trained):
    predictor = load_predictor(trained[0])
    found = predictor(np.zeros((50, 40, 3), np.uint8), [5, 5, 30, 40])
    assert found.landmarks.shape == (1, 23, 2) and predictor.network.k == 9


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"data_dir": "nowhere"}, FileNotFoundError, "nowhere/faces holds none of train.csv, val.csv, test.csv"),
        ({"loss.name": "mse"}, UserError, "unknown loss 'mse'; known are spatial_cross_entropy, binary_cross_entropy"),
        ({"data.train_split": "test"}, UserError, "has no split 'test'; it has train, val"),
        ({"eval.k": 1000}, UserError, "k=1000 cells cannot be chosen from a map of 8x8"),
        ({"data.box": "dataset"}, UserError, 'has no size; set config.data.box="landmarks"'),
        ({"train.batch_size": 9}, UserError, "batch_size=9 must be a positive multiple of the 8 devices"),
    ],
)
def test_wrong_input_ends_in_one_sentence_before_anything_is_written(place, tmp_path, changes, error, sentence):
    with pytest.raises(error, match=sentence):
        train(config_of(place, **changes), tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()
    with pytest.raises(SystemExit, match=f"error: .*{sentence}"), sentences():
        train(config_of(place, **changes), tmp_path / "wrong")


@pytest.mark.trial("B1")
@pytest.mark.parametrize(
    "mistake",
    [
        {"init_from": "nowhere.safetensors"},
        {"init_from": "."},
        {"train.learning_rate": float("nan")},
        {"train.batch_size": 9},
        {"eval.k": 1000},
    ],
)
def test_a_command_that_failed_does_not_stand_in_the_way_of_the_corrected_one(place, tmp_path, mistake):
    with pytest.raises((UserError, OSError)):
        train(config_of(place, **mistake), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.trial("B1")
def test_a_configuration_of_a_run_that_saved_nothing_is_replaced(place, tmp_path, capsys, monkeypatch):
    def stop(*_, **__):
        raise UserError("stopped before the first step")

    monkeypatch.setattr(loop, "fit", stop)
    for seed in (1, 0):
        with pytest.raises(UserError, match="before the first step"):
            train(config_of(place, seed=seed), tmp_path)
    printed = capsys.readouterr().out
    assert "config.json is replaced (seed: 1 there, 0 here); the run that it was of saved no step" in printed
    assert Run(tmp_path).config()["seed"] == 0


LATER = {"eval.k": 4, "eval.flip": "coordinates", "eval.thresholds": (0.05,), "log.every_steps": 2}


@pytest.fixture(scope="module")
def restarted(place, trained):
    """The configuration of the run after it was started again with other fields of evaluation."""
    workdir, config, _ = trained
    train(config_of(place, **LATER), workdir)
    stored = flatten(Run(workdir).config())
    Run(workdir).write_config(json.loads(config.to_json()))  # for the other tests
    return stored


@pytest.mark.trial("C8")
@pytest.mark.parametrize("field", LATER)
def test_the_configuration_is_that_of_the_last_start(restarted, field):
    value = LATER[field]
    assert restarted[field] == (list(value) if isinstance(value, tuple) else value)


class Misshapen(tiny.TinyBackbone):
    """A backbone with a mistake of its author."""

    @nn.compact
    def __call__(self, images, train):
        return super().__call__(images, train) @ jnp.ones((3, 8))


def test_a_mistake_in_ones_own_network_keeps_its_traceback(place, tmp_path, monkeypatch):
    monkeypatch.setitem(models.BACKBONES, "misshapen", Misshapen)
    with pytest.raises(TypeError, match="contracting dimensions") as caught, sentences():
        train(config_of(place, **{"model.name": "misshapen"}), tmp_path)
    assert any("test_train" in str(entry.path) for entry in caught.traceback[-8:]), "the place of the mistake is told"


class Recorder:
    """A configuration that notes which of its fields are read one by one."""

    def __init__(self, config, seen, prefix=""):
        self._config, self._seen, self._prefix = config, seen, prefix

    def __getitem__(self, name):
        value = self._config[name]
        if hasattr(value, "items"):
            return Recorder(value, self._seen, f"{self._prefix}{name}.")
        self._seen.add(self._prefix + name)
        return value

    def __getattr__(self, name):
        return self[name]

    def keys(self):
        return self._config.keys()

    def to_json(self):
        return self._config.to_json()


def test_every_field_is_read(place):
    def leaves(config, prefix=""):
        for name, value in config.items():
            yield from leaves(value, f"{prefix}{name}.") if hasattr(value, "items") else [prefix + name]

    seen, workdir = set(), place / "recorded"
    changes = {"data.test_name": "csv", "data.test_folder": "faces"}
    train(Recorder(config_of(place, **changes), seen), workdir)
    evaluate(Recorder(config_of(place, **changes), seen), workdir)
    assert set(leaves(common.get_config())) == seen
