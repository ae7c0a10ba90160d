"""Weights, exported networks and results on a full disk, and flipped bits over all that convert reads."""

import json
import os
import types

import jax
import numpy as np
import pytest
from etils import epath
from matplotlib.figure import Figure

from configs import common
from h3r_jax import convert, export, models
from h3r_jax.convert import __main__ as command
from h3r_jax.convert import files
from h3r_jax.evaluation import report
from h3r_jax.evaluation.protocols import Scores

pytest.importorskip("torch")
from tests.conftest import file_system
from tests.converting import flips, save_torch, state, tiny_backbones  # noqa: F401  (a fixture)

PAGE = 4096  # a file system in memory gives room by the page


@pytest.fixture
def disk(tmp_path):
    """A file system of 20 MB."""
    with file_system(tmp_path / "disk", "20m") as place:
        yield place


def fill(disk, room):
    """Leaves so many bytes."""
    free = os.statvfs(disk)
    (disk / "fill").write_bytes(bytes(free.f_bavail * free.f_frsize - room))


def names(place):
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


@pytest.mark.trial("D")
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("room", [0, 2 * PAGE, 40 * PAGE, 150 * PAGE])
@pytest.mark.parametrize("form", ["b", "b.safetensors"])
def test_convert_on_a_full_disk(tmp_path, disk, form, room, overwrite):
    source = save_torch(tmp_path / "a.pth", state("pose"))
    if overwrite:
        command.main([str(source), str(disk / form)])
    fill(disk, room)
    before = names(disk)
    with pytest.raises(SystemExit) as stop:
        command.main([str(source), str(disk / form), *["--overwrite"] * overwrite])
    assert stop.value.code == f"error: {disk / form} cannot be written: the disk is full"
    assert names(disk) == before
    if overwrite:
        jax.tree.map(np.testing.assert_array_equal, convert.read(disk / form)[0], convert.read(source)[0])


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A converted MobileNetV2."""
    path = tmp_path_factory.mktemp("network") / "converted"
    variables = jax.tree.map(
        np.asarray, models.initialize(models.build("mobilenet_v2", 5, head="heatmap"), 0, (64, 64, 3))
    )
    files.write_directory(
        path, variables, convert.Spec("mobilenet_v2", "heatmap", 5, "h3r"), "made up", convert.Report((), {})
    )
    return path


@pytest.mark.trial("D")
@pytest.mark.parametrize("room", [0, 10 * PAGE, 300 * PAGE])
@pytest.mark.parametrize("form", ["stablehlo", "savedmodel"])
def test_export_on_a_full_disk(network, disk, form, room):
    if form == "savedmodel":
        pytest.importorskip("tensorflow")
        if jax.__version_info__ >= (0, 11):
            pytest.skip("TensorFlow cannot read what this JAX writes")
    fill(disk, room)
    with pytest.raises(SystemExit) as stop:
        export.main([str(network), str(disk / "out"), f"--format={form}", "--input_size=64"])
    assert stop.value.code == f"error: {disk / 'out'} cannot be written: the disk is full"
    assert names(disk) == ["fill"]


@pytest.mark.trial("A4")
@pytest.mark.parametrize("room", [0, PAGE, 3 * PAGE, 20 * PAGE])
def test_results_on_a_full_disk(disk, monkeypatch, room):
    """The older result stays; of the new one, what is there is whole."""
    figure = Figure(figsize=(8, 8), dpi=200)
    figure.subplots().imshow(np.random.default_rng(0).random((500, 500)))
    monkeypatch.setattr(report, "sheets", lambda *_: {"overlays": figure})
    evaluator = types.SimpleNamespace(split=types.SimpleNamespace(num_examples=3, official_count=None))
    about = {"dataset": "faces", "folder": "", "split": "test", "protocol": "nme", "differs_from_run": {}}

    def write(value):
        evaluation = types.SimpleNamespace(scores={"": Scores({"nme": value}, {}, np.zeros(3), None)})
        return report.write(report.prepare(disk), evaluation, evaluator, {"a": np.zeros(3)}, about, "step1")

    paths = [epath.Path(path) for path in write(1.0)]
    before = [path.read_bytes() for path in paths]
    fill(disk, room)
    there = names(disk)
    with pytest.raises(OSError, match=r"eval.* cannot be written: the disk is full"):
        write(2.0)
    assert paths[0].read_bytes() in (before[0], before[0].replace(b"1.0", b"2.0"))
    assert paths[1].read_bytes() == before[1] and names(disk) == there


@pytest.mark.trial("A3")
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("form", ["a.pth", "a.safetensors", "a"])
def test_a_thousand_flipped_bits(tmp_path, form, seed):
    variables, spec, made = convert.read(save_torch(tmp_path / "a.pth", state("pose")))
    config = json.loads(common.get_config().to_json())
    files.write_directory(tmp_path / "a", variables, spec, "a run", made, config)
    files.write_safetensors(tmp_path / "a.safetensors", convert.to_torch(variables, spec), spec, config)
    refused, same = flips(tmp_path / form, 1000, seed)
    assert refused + same == 1000
    print(f"{form}: {refused} refused, {same} change nothing that is read")
