"""Recipes: each file has its variants, a default among them, and the commands for it."""

import importlib

import pytest
from absl import flags
from ml_collections import config_flags

from configs import variants
from h3r_jax.errors import UserError
from tests.pages import ROOT

RECIPES = variants.all_recipes()
FILES = sorted({name.partition(":")[0] for name in RECIPES})
WITH_VARIANTS = sorted({name.partition(":")[0] for name in RECIPES if ":" in name})


@pytest.mark.parametrize("name", RECIPES)
def test_commands_take_every_recipe(name):
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", None, "", flag_values=values)
    file, colon, variant = name.partition(":")
    values(["train.py", f"--config={ROOT}/configs/{file}.py{colon}{variant}"])
    assert config.value.to_dict() == RECIPES[name].to_dict()


@pytest.mark.parametrize("file", WITH_VARIANTS)
def test_the_default_is_the_first_variant_and_an_unknown_one_is_refused(file):
    module = importlib.import_module(f"configs.{file}")
    assert module.get_config().to_dict() == RECIPES[f"{file}:{next(iter(module.VARIANTS))}"].to_dict()
    known = ", ".join(module.VARIANTS)
    with pytest.raises(UserError, match=f"^unknown variant 'resnet'; known are {known}$"):
        module.get_config("resnet")


@pytest.mark.parametrize("file", FILES)
def test_a_file_names_its_commands(file):
    """That these are right is tested with the documentation's."""
    words = importlib.import_module(f"configs.{file}").__doc__.split()
    train = words.index("train.py")
    config, workdir = words[train + 1 : train + 3]
    assert config.startswith(f"--config=configs/{file}.py") and workdir == f"--workdir=runs/{file}"
    assert words[words.index("eval.py") + 1] == workdir
