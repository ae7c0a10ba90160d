"""What an installation consists of."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import h3r_jax

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that the build backend makes of a copy of the files, so that no build directory is left here."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("h3r_jax", "data", "configs", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    code = f"from setuptools import build_meta; build_meta.build_wheel({os.fspath(out)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, check=True)
    (path,) = out.iterdir()
    with zipfile.ZipFile(path) as archive:
        yield path, archive


def test_the_wheel_holds_the_library_and_nothing_else(wheel):
    path, archive = wheel
    assert path.name == f"h3r_jax-{h3r_jax.__version__}-py3-none-any.whl"
    library = {file.relative_to(ROOT).as_posix() for file in (ROOT / "h3r_jax").rglob("*.py")} | {"h3r_jax/py.typed"}
    library |= {f"h3r_jax/weights/{model.path.name}" for model in h3r_jax.list_models().values()}
    described = {name for name in archive.namelist() if ".dist-info/" in name}
    assert set(archive.namelist()) - described == library
    assert any(name.endswith("licenses/LICENSE") for name in described)


def test_the_codec_needs_jax_alone(wheel):
    _, archive = wheel
    (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("METADATA"))
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: ") and "extra ==" not in line]
    assert needed == ["Requires-Dist: jax>=0.10"]


@pytest.mark.slow
def test_it_is_installed_into_an_empty_environment(tmp_path):
    """`pip install .` as the pages say it; then the codec, and with an extra the predictor, elsewhere."""
    source, python = tmp_path / "source", tmp_path / "environment" / "bin" / "python"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "__pycache__", "runs"))
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "environment"], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PIP_NO_COMPILE"] = "1"  # modules are compiled when they are imported; most never are

    def run(*words, cwd=tmp_path):
        result = subprocess.run([python, *words], cwd=cwd, env=environment, check=False, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-3000:]
        return result.stdout

    run("-m", "pip", "install", "-q", ".", cwd=source)
    run("-m", "pip", "check")
    code = """
import jax.numpy as jnp
from h3r_jax import codec
maps = codec.expected_heatmap(jnp.array([[[13.7, 42.2]]]), heatmap_shape=(64, 64))
print(codec.decode(maps, k=4, activation="identity"))
"""
    assert "13.7" in run("-c", code)
    installed = run("-m", "pip", "list")
    assert not re.search("(?i)^(flax|tensorflow|torch)", installed, re.MULTILINE)

    run("-m", "pip", "install", "-q", ".[predict]", cwd=source)
    run("-m", "pip", "check")
    assert "usage" in run("-m", "h3r_jax.predict", "--help")


def test_the_changelog_ends_at_this_version():
    headings = re.findall(r"^## \[(.+?)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0][0] == h3r_jax.__version__
