"""Recipes: unknown names and bad numbers are refused, and a workdir keeps its run, also one of an older version."""

import json

import pytest

from configs import common, variants
from h3r_jax import run as runs
from h3r_jax.errors import UserError
from h3r_jax.inference import scheme_of
from h3r_jax.run import Run
from h3r_jax.training import same_run
from h3r_jax.training.recipe import Durations, Recipe, check_config, check_memory, steps_of
from h3r_jax.training.state import make_schedule

RECIPES = variants.all_recipes()


def fields(config):
    return json.loads(config.to_json())


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_build(name):
    config = RECIPES[name]
    check_config(fields(config))
    recipe = Recipe.from_config(config)
    assert recipe == Recipe.from_config(fields(config)), "a configuration reads the same from JSON"
    assert hash(recipe) == hash(Recipe.from_config(config))


def test_durations():
    config = common.get_config()
    config.train.batch_size, config.train.epochs, config.train.warmup_epochs = 8, 2.0, 0.0
    assert [steps_of(epochs, 100, 8) for epochs in (0.0, 0.01, 2.0)] == [0, 1, 25]
    assert Durations.from_config(config, 100) == Durations(total=25, warmup=0, evaluate=62, save=12, log=50)
    config.train.steps = 7
    assert Durations.from_config(config, 100).total == 7
    schedule = make_schedule(learning_rate=0.1, warmup_steps=0, total_steps=20)
    assert float(schedule(0)) == pytest.approx(0.1) and float(schedule(20)) == pytest.approx(0, abs=1e-9)


@pytest.mark.trial("C9")
@pytest.mark.parametrize(
    ("epochs", "steps", "warmup_epochs", "words"),
    [
        (1.0, 0, 1.0, "takes 25 steps and the run has 25"),
        (0.5, 0, 1.0, "takes 25 steps and the run has 12"),
        (60.0, 3, 1.0, "takes 25 steps and the run has 3"),
        (2.0, 0, 1e4, "takes 250000 steps and the run has 50"),
        (2.0, 0, 1.0, ""),
        (60.0, 26, 1.0, ""),
        (1.0, 1, 0.0, ""),
    ],
)
def test_a_warm_up_that_never_ends_is_said(epochs, steps, warmup_epochs, words):
    config = common.get_config()
    config.train.update({"batch_size": 4, "epochs": epochs, "steps": steps, "warmup_epochs": warmup_epochs})
    durations = Durations.from_config(config, 100)
    assert words in durations.warning() and bool(durations.warning()) == bool(words)
    schedule = make_schedule(learning_rate=0.5, warmup_steps=durations.warmup, total_steps=durations.total)
    assert (max(map(float, map(schedule, range(durations.total)))) == 0.5) == (not words)


@pytest.mark.trial("D")
@pytest.mark.parametrize(("field", "value"), [("epochs", 1e9), ("epochs", 1e38), ("warmup_epochs", 1e38)])
def test_more_steps_than_can_be_counted(field, value):
    config = common.get_config()
    config.train[field] = value
    with pytest.raises(UserError, match=rf"^config\.train\.{field} is 1[^,]*, .* steps; want fewer than 2\*\*31$"):
        Durations.from_config(config, 100)


@pytest.mark.trial("D")
@pytest.mark.parametrize(("batch_size", "shape"), [(2**20, (4096, 4096)), (10**9, (96, 96)), (1, (10**7, 10**7))])
def test_a_batch_beyond_memory(batch_size, shape):
    with pytest.raises(UserError, match=rf"^config.eval.batch_size is {batch_size}: .* GiB .*; want a smaller batch$"):
        check_memory("eval.batch_size", batch_size, shape)
    check_memory("train.batch_size", 64, (256, 256))


def test_unknown_names_and_fields():
    config = common.get_config()
    config.landmarks.mirror = (1, 0)
    assert scheme_of(config).normalizer() == "box"

    def refused(section, name, value, sentence):
        changed = fields(config)
        changed[section][name] = value
        with pytest.raises(UserError, match=sentence):
            Recipe.from_config(changed)

    refused("eval", "activation", "relu", "unknown activation 'relu'; known are 'softmax', 'sigmoid', 'identity'")
    refused(
        "eval", "activation", "sigmoid", "'sigmoid', and 'softmax' belongs to the loss spatial_cross_entropy; train"
    )
    refused("loss", "sigma", -1.0, "config.loss.sigma is -1.0; want a finite number from 0 to 1000")
    refused("loss", "target", "coordinate", "want a Gaussian around it, such as config.loss.sigma=1.5")
    refused("eval", "flip", "maps", "unknown flip 'maps'; known are '', 'coordinates', 'heatmaps'")
    refused("eval", "k", 10_000, "k=10000 cells cannot be chosen from a map of 32x32")
    refused("eval", "selection", "best", "unknown selection 'best'; known are 'top_k', 'neighbours'")
    refused("model", "name", "resnet", "unknown model 'resnet'; known: mobilenet_v2")
    refused("model", "input_size", (30, 32), "not a multiple of stride 4")
    refused("loss", "name", "mse", "unknown loss 'mse'; known are spatial_cross_entropy")
    refused("loss", "target", "all", "unknown target 'all'; known are expected, sampled")
    refused("train", "nonfinite", "go", "unknown nonfinite 'go'; known are stop, skip")
    refused("augment", "mirror", 1.5, "config.augment.mirror is 1.5; want a finite number from 0 to 1")
    refused("landmarks", "scheme", "ibug68", "has the scheme 'ibug68', and mirror as well")
    refused("landmarks", "mirror", (), "needs a scheme, or a mirror order")
    config.landmarks.mirror = ()
    refused("landmarks", "scheme", "ibug70", "unknown landmark scheme 'ibug70'; known are wflw98, ibug68")
    with config.unlocked():
        config.model.nmae = "x"
    with pytest.raises(UserError, match="there is no field config.model.nmae; did you mean config.model.name?"):
        check_config(fields(config))


def test_a_workdir_belongs_to_one_run(tmp_path):
    config, run = common.get_config(), Run(tmp_path)
    run.write_config(fields(config))
    config.data_dir = "elsewhere"
    config.log.every_steps = 7
    config.eval.flip = "coordinates"
    assert same_run.check(run, fields(config)) == ""
    config.train.learning_rate = 0.5
    assert "train.learning_rate: 0.008 there, 0.5 here); the run that it was of saved no" in same_run.check(
        run, fields(config)
    )
    (run.checkpoints / "20").mkdir(parents=True)
    with pytest.raises(UserError, match=r"train.learning_rate: 0.008 there, 0.5 here.*another --workdir"):
        same_run.check(run, fields(config))


def test_an_evaluation_is_of_the_runs_own_network(tmp_path):
    config, run = common.get_config(), Run(tmp_path)
    run.write_config(fields(config))
    assert same_run.check_evaluation(run, fields(config)) == {}
    config.eval.k, config.data.box_scale, config.train.learning_rate, config.eval.batch_size = 4, 1.5, 0.5, 7
    assert same_run.check_evaluation(run, fields(config)) == {"eval.k": (0, 4), "data.box_scale": (1.25, 1.5)}
    for section, name, value in (("model", "input_size", (64, 64)), ("loss", "name", "binary_cross_entropy")):
        changed = config.copy_and_resolve_references()
        changed[section][name] = value
        with pytest.raises(UserError, match=rf"not that of the run in .*\({section}.{name}: .* there, .* here\)"):
            same_run.check_evaluation(run, fields(changed))


def test_configurations_of_older_runs_are_read_or_refused(tmp_path):
    """The fields of the first version, and of the one before `data.on_error` went."""
    new, run = fields(common.get_config()), Run(tmp_path)
    new["train"]["optimizer"] = "adamw"  # as all of them were trained
    first = json.loads(json.dumps(new))
    for field in runs.ADDED:
        section, _, name = field.rpartition(".")
        del (first[section] if section else first)[name]
    for flip, meaning in ((False, ""), (True, "coordinates")):
        first["eval"]["flip"], new["eval"]["flip"] = flip, meaning
        run.write_config(first)
        assert run.config() == new
        assert same_run.check(run, new) == ""
    new["data"]["on_error"] = "stop"
    run.write_config(new)
    assert "on_error" not in run.config()["data"]
    new["data"]["on_error"] = "skip"
    run.write_config(new)
    with pytest.raises(UserError, match=r"config.json is of an older version: this one has no config.data.on_error; "):
        run.config()
    for content in ("", "[]", '{"model": 3}'):
        run.config_file.write_text(content)
        with pytest.raises(UserError, match=r"config.json is damaged: it is "):
            run.config()
