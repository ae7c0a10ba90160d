"""Pages of commands, followed to the letter in one place, as a newcomer types them."""

import json
import os
import subprocess
import sys

import pytest

from tests.pages import ROOT, command_blocks, python_blocks

OWN_DATA, CONTRIBUTING, CODEC = (ROOT / "docs" / f"{name}.md" for name in ("own_data", "contributing", "codec"))

pytestmark = pytest.mark.slow


def type_in(place, block):
    """What a block of commands prints, run as it stands."""
    environment = os.environ | {
        "PATH": os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"])),
        "PYTHONPATH": os.fspath(ROOT),
        "H3R_DATA": os.fspath(place),
        "H3R_PREPARED": os.fspath(place / "prepared"),
    }
    result = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=place, env=environment, check=False, capture_output=True, text=True)
    assert result.returncode == 0, f"{block}\n{result.stdout[-2000:]}\n{result.stderr[-3000:]}"
    return result.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with the repository's files, in which the pages may write."""
    place = tmp_path_factory.mktemp("newcomer")
    for name in ("train.py", "eval.py", "configs", "data", "h3r_jax", "benchmarks", "examples"):
        (place / name).symlink_to(ROOT / name)
    return place


@pytest.fixture(scope="module")
def trained(place):
    """What the page about one's own data printed."""
    (making,) = python_blocks(OWN_DATA)
    subprocess.run([sys.executable, "-c", making], cwd=place, check=True)
    (block,) = command_blocks(OWN_DATA)
    return type_in(place, block)


def test_own_data(place, trained):
    (scores,) = (place / "runs" / "triangles" / "eval").glob("*.json")
    assert "k=9" in trained and json.loads(scores.read_text())["metrics"]["nme"] < 3


def test_codec(place):
    (block,) = command_blocks(CODEC)
    printed = type_in(place, block)
    assert "pixels" in printed and "voxels" in printed, printed


def test_what_contributors_run_is_what_ci_runs():
    making, checking = command_blocks(CONTRIBUTING)
    ci = (ROOT / ".ci" / "run").read_text()
    for line in (making + checking).splitlines():
        words = line.replace(".venv-test/bin/", "").split()
        assert all(word in ci for word in words if not word.startswith(".venv")), line
