"""Configurations: every field is read, unknown ones are named, and a workdir keeps its run."""

import re
from pathlib import Path

import pytest

from configs import common, variants
from h3r_jax.training import config as run_config
from h3r_jax.training.state import make_schedule

ROOT = Path(__file__).parents[2]
RECIPES = variants.all_recipes()


def leaves(config, prefix=""):
    for key, value in config.items():
        yield from leaves(value, f"{prefix}{key}.") if hasattr(value, "items") else [f"{prefix}{key}"]


def test_every_field_is_read_somewhere():
    files = [*ROOT.glob("*.py"), *(ROOT / "h3r_jax").rglob("*.py"), *(ROOT / "data").rglob("*.py")]
    code = "\n".join(path.read_text() for path in files)
    for field in leaves(common.get_config()):
        if field.startswith("augment."):  # passed whole to Augmentation, which has no other fields
            continue
        assert re.search(rf"config\.{re.escape(field)}\b", code), f"nothing reads config.{field}"


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_build(name):
    config = RECIPES[name]
    run_config.check_fields(config, common.get_config())
    recipe = run_config.make_recipe(config, run_config.make_scheme(config))
    run_config.make_decoder(config, recipe)


def test_lengths_and_intervals():
    config = common.get_config()
    config.train.warmup_epochs = 0.0
    run_config.check_numbers(config)
    assert [run_config.steps_of(epochs, 100, 8) for epochs in (0.0, 0.01, 2.0)] == [0, 1, 25]
    schedule = make_schedule(learning_rate=0.1, warmup_steps=0, total_steps=20)
    assert float(schedule(0)) == pytest.approx(0.1) and float(schedule(20)) == pytest.approx(0, abs=1e-9)
    for section, name in (("train", "epochs"), ("log", "every_steps"), ("log", "keep_checkpoints")):
        changed = config.copy_and_resolve_references()
        changed[section][name] = type(changed[section][name])(0)
        with pytest.raises(ValueError, match=f"config.{section}.{name} must be positive, got 0"):
            run_config.check_numbers(changed)
    config.train.warmup_epochs = -1.0
    with pytest.raises(ValueError, match="config.train.warmup_epochs must not be negative, got -1"):
        run_config.check_numbers(config)


def test_unknown_names_and_fields():
    config = common.get_config()
    config.landmarks.mirror = (1, 0)
    scheme = run_config.make_scheme(config)
    assert scheme.normalizer() == "box"
    config.eval.activation = "relu"
    with pytest.raises(ValueError, match="unknown eval.activation 'relu'; known are '', softmax, sigmoid, identity"):
        run_config.make_recipe(config, scheme)
    config.model.name = "resnet"
    with pytest.raises(ValueError, match="unknown model 'resnet'; known: mobilenet_v2"):
        run_config.make_recipe(config, scheme)
    config.landmarks.scheme = "ibug68"
    with pytest.raises(ValueError, match="has the scheme 'ibug68', and a mirror order or normaliser as well"):
        run_config.make_scheme(config)
    config.landmarks.scheme, config.landmarks.mirror = "ibug70", ()
    with pytest.raises(ValueError, match="unknown landmark scheme 'ibug70'; known are wflw98, ibug68"):
        run_config.make_scheme(config)
    with config.unlocked():
        config.model.nmae = "x"
    with pytest.raises(ValueError, match="unknown field config.model.nmae; known are .*model.name"):
        run_config.check_fields(config, common.get_config())
    with pytest.raises(ValueError, match="needs a scheme, or a mirror order"):
        run_config.make_scheme(common.get_config())


def test_a_workdir_belongs_to_one_run(tmp_path):
    config = common.get_config()
    run_config.check_same_run(config, tmp_path)
    config.data_dir = "elsewhere"
    config.log.every_steps = 7
    config.eval.flip = "coordinates"
    run_config.check_same_run(config, tmp_path)
    config.train.learning_rate = 0.5
    with pytest.raises(ValueError, match=r"train.learning_rate: 0.004 there, 0.5 here.*another --workdir"):
        run_config.check_same_run(config, tmp_path)
