"""The notebook runs from its first cell to its last, but for the one that installs. Its trainings are made shorter."""

import json
import os
import subprocess
import sys

import pytest

from tests.pages import ROOT

FEWER_FACES = "from data.phantom import builder\nbuilder.COUNTS = dict.fromkeys(builder.COUNTS, 20)"
SHORTER = {"config.train.steps = 100": "config.train.steps = 3", "config.train.steps = 60": "config.train.steps = 3"}


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    cells = json.loads((ROOT / "notebooks" / "tour.ipynb").read_text())["cells"]
    install, path, *sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert install.startswith("%pip install") and not any(cell.get("outputs") for cell in cells)
    program = "\n".join([path, FEWER_FACES, *sources])
    for length, shorter in SHORTER.items():
        assert program.count(length) == 1
        program = program.replace(length, shorter)
    (tmp_path / "tour.py").write_text(program + "\nassert 0 < scores['nme'] < 100\n")
    environment = os.environ | {"TMPDIR": os.fspath(tmp_path)}
    del environment["XLA_FLAGS"]  # the notebook chooses its own
    command, place = [sys.executable, tmp_path / "tour.py"], ROOT / "notebooks"
    result = subprocess.run(command, cwd=place, env=environment, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
