"""Exported networks in processes of their own, which have the runtime and nothing else."""

import hashlib
import json
import os
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest
from jax import export as jax_export

from configs import common
from h3r_jax import digests, export, load_predictor
from h3r_jax.convert import Report, files
from h3r_jax.convert.naming import NAMING_OF_HEAD, Spec
from h3r_jax.run import Run
from h3r_jax.training import checkpoints
from h3r_jax.training import state as training_state
from h3r_jax.training.recipe import Recipe
from tests import pages
from tests.exporting import IMAGES, SHAPE, TOLERANCE, more_backbones, variables_of  # noqa: F401  (a fixture)

RUN_STABLEHLO, RUN_SAVEDMODEL, _ = pages.python_blocks(pages.EXPORT)
NO_JAX = """
import sys
sys.modules["jax"] = None  # TensorFlow imports it where it can
"""
COMPARE = """
import sys
import numpy
data = numpy.load("expected.npz")
for count in (1, len(data["images"])):
    found = find_landmarks(data["images"][:count])
    for name in ("landmarks", "confidence"):
        assert found[name].shape == data[name][:count].shape
        difference = numpy.abs(numpy.asarray(found[name]) - data[name][:count]).max()
        assert difference < {tolerance}, (name, count, difference)
absent = {{{absent}}} & {{name.split(".")[0] for name in sys.modules}}
assert not absent, absent
"""


def directory(path, name="small", head="heatmap", landmarks=6):
    files.write_directory(
        path,
        variables_of(name, landmarks, head),
        Spec(name, head, landmarks, NAMING_OF_HEAD[head]),
        "made up",
        Report((), {}),
    )
    return path


def run_elsewhere(folder, source, code, absent):
    """Writes what the network of `source` says here, and has `code` say the same in a fresh interpreter in `folder`."""
    predictor = load_predictor(source, input_size=SHAPE)
    decoded = jax.jit(predictor.network.decode)(jax.tree.map(np.asarray, predictor.variables), IMAGES)
    expected = {"landmarks": decoded.coordinates, "confidence": decoded.confidence}
    assert float(np.std(expected["landmarks"])) > 4, "the landmarks must differ for the comparison to mean something"
    np.savez(folder / "expected.npz", images=IMAGES, **expected)
    code += COMPARE.format(tolerance=TOLERANCE, absent=", ".join(map(repr, absent)))
    environment = {
        name: value for name, value in os.environ.items() if name != "XLA_FLAGS"
    }  # TensorFlow's XLA has other flags
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]


def test_stablehlo_runs_with_jax_alone(tmp_path, capsys):
    source = directory(tmp_path / "converted")
    export.main([str(source), str(tmp_path / "network.stablehlo"), "--input_size=64,32"])
    digest = hashlib.sha256((tmp_path / "network.stablehlo").read_bytes()).hexdigest()
    assert f"\nSHA-256 {digest}\n" in capsys.readouterr().out
    run_elsewhere(tmp_path, source, RUN_STABLEHLO, ["h3r_jax", "flax", "orbax", "tensorflow", "torch"])


def test_savedmodel_runs_with_tensorflow_alone(tmp_path):
    source = directory(tmp_path / "converted")
    try:
        export.main([str(source), str(tmp_path / "network.savedmodel"), "--input_size=64,32", "--format=savedmodel"])
    except SystemExit as stop:  # from jax 0.11 on
        assert jax.__version_info__ >= (0, 11) and not (tmp_path / "network.savedmodel").exists()
        assert f"cannot read what JAX {jax.__version__} writes; want --format=stablehlo" in str(stop)
        pytest.skip(str(stop))
    assert digests.present(tmp_path / "network.savedmodel") and not digests.faults(tmp_path / "network.savedmodel")
    run_elsewhere(tmp_path, source, NO_JAX + RUN_SAVEDMODEL, ["h3r_jax", "flax", "orbax", "torch"])


@pytest.mark.parametrize(("name", "head"), [("mobilenet_v2", "binary"), ("tiny_hrnet", "facial")])
def test_one_artifact_is_lowered_for_every_platform(tmp_path, name, head):
    source = directory(tmp_path / "converted", name, head)
    export.main([str(source), str(tmp_path / "network"), "--input_size=64"])
    exported = jax_export.deserialize((tmp_path / "network").read_bytes())
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert [str(aval) for aval in exported.in_avals] == ["uint8[b,64,64,3]"]
    assert [str(aval) for aval in exported.out_avals] == ["float32[b,6]", "float32[b,6,2]"]
    assert not exported.has_vjp()


def test_a_run_is_exported_as_it_is_evaluated(tmp_path):
    run = common.get_config()
    run.landmarks.mirror = (1, 0, 2)
    run.model.name, run.model.head, run.model.input_size, run.model.stride = "small", "binary", (96, 64), 8
    run.loss.name = "binary_cross_entropy"
    run.eval.k, run.eval.selection, run.eval.flip = 5, "neighbours", "coordinates"
    workdir = tmp_path / "run"
    Run(workdir).write_config(json.loads(run.to_json()))
    variables = variables_of("small", 3, "binary")
    saved = checkpoints.Checkpoints(Run(workdir), keep=1)
    saved.save(training_state.create_state(variables, optax.sgd(0.1), keep_average=False))
    saved.close()
    export.main([str(workdir), str(tmp_path / "network")])

    images = np.resize(IMAGES, (2, 96, 64, 3))
    network = Recipe.from_config(run).network
    expected = jax.jit(network.decode)(variables, images).coordinates
    found = jax_export.deserialize((tmp_path / "network").read_bytes()).call(images)
    np.testing.assert_allclose(found["landmarks"], expected, atol=TOLERANCE)

    export.main([str(workdir), str(tmp_path / "other"), "--input_size=64,64", "--k=9", "--flip="])
    assert "uint8[b,64,64,3]" in str(jax_export.deserialize((tmp_path / "other").read_bytes()).in_avals)


def test_mistakes_end_in_one_sentence_and_leave_nothing(tmp_path, capsys):
    source, mobilenet = directory(tmp_path / "converted"), directory(tmp_path / "mobilenet", "mobilenet_v2")
    (tmp_path / "taken").write_text("mine")
    backbone = {name: {"backbone": tree["backbone"]} for name, tree in variables_of("small", 3, "heatmap").items()}
    files.write_directory(
        tmp_path / "backbone", backbone, Spec("small", None, 0, "imagenet"), "made up", Report((), {})
    )
    before = sorted(tmp_path.iterdir())
    for arguments, sentence in [
        ([source, "taken"], "taken exists already; choose another destination, or give --overwrite to replace it"),
        (["nowhere", "new"], "nowhere is no file or folder, and no network that ships with h3r_jax (faces68)"),
        (["backbone", "new"], "the backbone alone; want a network with a head for landmarks"),
        ([source, "new", "--k=1000", "--input_size=64,32"], "k=1000 cells cannot be chosen from a map of 16x8"),
        ([mobilenet, "new", "--input_size=60,32"], "multiples of 16"),
        ([mobilenet, "new", "--format=savedmodel", "--input_size=60,32"], "multiples of 16"),
    ]:
        paths = [str(tmp_path / argument) for argument in arguments[:2]]
        with pytest.raises(SystemExit) as stop:
            export.main([*paths, *arguments[2:]])
        message = str(stop.value)
        assert message.startswith("error: ") and sentence in message and "\n" not in message
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "taken").read_text() == "mine"
    assert "Wrote" not in capsys.readouterr().out
