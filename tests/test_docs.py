"""The documentation does what it says: Python blocks run, and commands name what there is."""

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from configs import common, variants
from h3r_jax import predict
from tests.pages import BLOCK, CODEC, EXPORT, FROM_PYTHON, PAGES, PREDICT, ROOT, command_blocks, python_blocks
from tests.predict import dots

PYTHON = re.compile(r"(?:^|/)python3?$")
PLACEHOLDER = re.compile(r"\b(NAME|DIR|FOLDER|PATH)\b")
SETTING = re.compile(r"config\.(.+)")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def commands(page):
    """The words of each shell command that runs Python: in fenced blocks without language, indented, or in code marks.

    `page` is a page of the documentation, or a Python file, whose docstring is taken.
    """
    text = page.read_text()
    if page.suffix == ".py":
        text = ast.get_docstring(ast.parse(text), clean=False) or ""
    blocks = [source for language, source in BLOCK.findall(text) if language in ("", "sh", "bash")]
    text = BLOCK.sub("", text)
    blocks += re.findall(r"^    ((?:.*\\\n)*.*)$", text, re.MULTILINE) + re.findall(r"`(python [^`]+)`", text)
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            if "python" in line:
                for command in re.split(r"&&|\|", line):
                    words = shlex.split(command, comments=True)
                    start = next((i for i, word in enumerate(words) if PYTHON.search(word)), None)
                    if start is not None:
                        yield words[start + 1 :]


WITH_PYTHON = [
    pytest.param(page, marks=pytest.mark.slow if page in (CODEC, FROM_PYTHON) else ())
    for page in PAGES
    if python_blocks(page) and page not in (EXPORT, PREDICT)
]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_python_blocks_run(page, tmp_path):
    environment = os.environ | {"PYTHONPATH": os.fspath(ROOT)}
    code = "\n".join(python_blocks(page))
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]


def test_blocks_about_prediction_run(tmp_path, monkeypatch):
    """With a network of the tests in place of the run that the page has trained."""
    network = dots.network()
    monkeypatch.setattr(predict, "load_predictor", lambda path: predict.Predictor(network, dots.VARIABLES, path))
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (400, 400)).save("photo.jpg")
    found = {}
    for block in python_blocks(PREDICT):
        exec(compile(block, PREDICT, "exec"), found)  # noqa: S102  (the page is ours)
    assert found["prediction"].landmarks.shape == (1, network.scheme.num_landmarks, 2)
    assert len(found["predictions"]) == 2


def source_of(words):
    """The text of the program that a command runs, None if it is not the project's; and its arguments."""
    if words[0] == "-":  # the program stands in the block itself, and test_walkthrough runs it
        return None, words[1:]
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file(), f"there is no {words[0]}"
        return (ROOT / words[0]).read_text(), words[1:]
    spec = importlib.util.find_spec(words[1])
    assert spec is not None, f"there is no module {words[1]}"
    if spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{words[1]}.__main__")
        assert spec is not None, f"{words[1]} cannot be run"
    path = Path(spec.origin)
    return (path.read_text() if path.is_relative_to(ROOT) else None), words[2:]


def check_setting(field):
    config = common.get_config()
    for part in field.split("."):
        assert part in config, f"there is no field config.{field}"
        config = config[part]


def check_recipe(value):
    path, _, variant = value.partition(":")
    assert (ROOT / path).is_file(), f"there is no {path}"
    name = Path(path).stem
    assert not variant or f"{name}:{variant}" in variants.all_recipes(), f"{path} has no variant {variant}"


WITH_COMMANDS = [page for page in (*PAGES, *sorted((ROOT / "configs").glob("*.py"))) if list(commands(page))]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_of)
def test_commands_name_what_there_is(page):
    for words in commands(page):
        source, arguments = source_of(words)
        for argument in arguments if source is not None else []:
            if not argument.startswith("--"):
                continue
            flag, _, value = argument.removeprefix("--").partition("=")
            if setting := SETTING.fullmatch(flag):
                assert '"config"' in source or "command.main(" in source, f"{words}: no {flag}"
                check_setting(setting[1])
            else:
                if "command.main(" in source:
                    source += (ROOT / "h3r_jax" / "training" / "command.py").read_text()
                if "add_network(" in source:
                    source += (ROOT / "h3r_jax" / "predict" / "options.py").read_text()
                defined = rf'(DEFINE_\w+\(|add_argument\()\s*"(--)?{re.escape(flag)}"'
                assert re.search(defined, source), f"{' '.join(words)}: no flag --{flag}"
            if flag == "config" and not PLACEHOLDER.search(value):
                check_recipe(value)


def test_scripts_for_clusters_can_be_read():
    """Those that no test can run: the shell and the YAML of the page about scaling."""
    text = (ROOT / "docs" / "scaling.md").read_text()
    blocks = [
        re.sub("^    ", "", block, flags=re.MULTILINE) for block in re.findall(r"((?:^    .*\n)+)", text, re.MULTILINE)
    ]
    shell = [block for block in blocks if "apiVersion" not in block]
    (manifest,) = (yaml.safe_load(block) for block in blocks if "apiVersion" in block)
    assert len(shell) > 5 and manifest["kind"] == "JobSet"
    for block in shell:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


def test_files_that_are_named_in_tables_and_text_exist():
    """`configs/quickstart.py`, `docs/method.md` and the like, in code marks."""
    known = "configs|data|docs|benchmarks|examples|h3r_jax|tests"
    for page in PAGES:
        for path in re.findall(rf"`((?:{known})/[\w/.-]*)`", page.read_text()):
            assert (ROOT / path).exists(), f"{name_of(page)} names {path}, which does not exist"


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    there = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert listed == there


def test_contributors_and_ci_run_the_same_checks():
    _, checks = command_blocks(ROOT / "docs" / "contributing.md")
    documented = [line.removeprefix(".venv-test/bin/").split() for line in checks.splitlines()]
    script = (ROOT / ".ci" / "run").read_text()
    found = re.findall(r'^"\$bin/(ruff|mypy|mkdocs|python)"(.*)$', script, re.MULTILINE)
    ci = [[program, *options.split()] for program, options in found]

    def starts(line, words):
        return line[: len(words)] == words

    for words in documented:
        assert any(starts(line, words) for line in ci), f".ci/run lacks {' '.join(words)}"
    for line in ci:
        assert any(starts(line, words) for words in documented), f"docs/contributing.md lacks {' '.join(line)}"
