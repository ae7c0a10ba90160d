"""Command lines and recipe files that train.py and eval.py refuse in one sentence."""

import pytest

from h3r_jax.errors import UserError
from h3r_jax.training import command
from tests.test_ranges import JSON, parsed


@pytest.mark.trial("D")
@pytest.mark.parametrize(
    ("arguments", "stray"),
    [
        (["--config.eval.averaged", "false"], "false"),
        (["--config.model.input_size=64,", "64"], "64"),
        (["--config.seed=1", "config.train.steps=5"], "config.train.steps=5"),
        (["--config.seed=1", "—config.train.steps=5"], "—config.train.steps=5"),
        (["--", "--config.train.steps=5"], "--config.train.steps=5"),
    ],
)
def test_what_is_no_flag_is_not_passed_over(monkeypatch, arguments, stray):
    with pytest.raises(SystemExit, match=f"^error: '{stray}' is no flag; want --flag=value, without spaces"):
        parsed(monkeypatch, *arguments)


RECIPES = {
    "a config.json": ("config.json", JSON, "config.json' does not end in .py; want a recipe, such as"),
    "no Python": ("a.py", "def get_config(:", "a.py line 1 is no Python: invalid syntax"),
    "binary": ("a.py", "\0\1", "is no Python: source code string cannot contain null bytes"),
    "no function": ("a.py", "get_config = 5", "a.py has no function get_config; configs/common.py shows a recipe"),
    "nothing returned": (
        "a.py",
        "def get_config(): pass",
        "get_config of .*a.py returns a NoneType; want a ConfigDict",
    ),
    "a dict": ("a.py", "def get_config(): return {}", "get_config of .*a.py returns a dict; want a ConfigDict"),
    "variants": ("a.py", "def get_config(variant): pass", "a.py has variants; want --config=.*a.py:VARIANT"),
}


@pytest.mark.trial("D")
@pytest.mark.parametrize(("name", "content", "sentence"), RECIPES.values(), ids=RECIPES)
def test_a_file_that_is_no_recipe(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=rf"^--config: .*{sentence}[^\n]*$"):
        command.load_recipe(str(tmp_path / name))
