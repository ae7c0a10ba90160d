"""The notebook runs from its first cell to its last, but for the one that installs."""

import json
import os
import subprocess
import sys

import pytest

from tests.pages import ROOT


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    cells = json.loads((ROOT / "notebooks" / "tour.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert sources[0].startswith("%pip install") and not any(cell.get("outputs") for cell in cells)
    (tmp_path / "tour.py").write_text("\n".join(sources[1:]) + "\nassert scores['nme'] < 20\n")
    environment = os.environ | {"TMPDIR": os.fspath(tmp_path)}
    del environment["XLA_FLAGS"]  # the notebook chooses its own
    command, place = [sys.executable, tmp_path / "tour.py"], ROOT / "notebooks"
    result = subprocess.run(command, cwd=place, env=environment, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
