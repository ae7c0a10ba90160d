"""The networks that ship, and what else a name may mean."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest

import h3r_jax
from h3r_jax import convert
from h3r_jax.convert.values import halved
from h3r_jax.errors import UserError
from h3r_jax.landmarks import SCHEMES
from h3r_jax.predict import __main__ as command

MIB = 2**20
PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def test_each_network_is_what_its_description_says():
    models = h3r_jax.list_models()
    assert sum(model.path.stat().st_size for model in models.values()) < 10 * MIB
    for name, model in models.items():
        predictor = h3r_jax.load_predictor(name)
        assert predictor.network.scheme == SCHEMES[model.scheme]
        height, width = predictor.network.shape
        assert f"{height}x{width}" in model.network and model.license
        assert predictor.description == str(model) and f"NME {model.nme:.3f}" in str(model)


def test_one_command_finds_a_face_and_its_landmarks(tmp_path):
    command.main([str(PORTRAIT), f"--out={tmp_path / 'found'}"])
    (line,) = (tmp_path / "found" / "landmarks.jsonl").read_text().splitlines()
    points = np.array(json.loads(line)["landmarks"])
    right, left, nose, mouth = (
        points[part].mean(axis=0) for part in (range(36, 42), range(42, 48), [30], range(48, 60))
    )
    # As anyone sees them on the photograph of 512x600 pixels.
    for found, seen in ((right, (223, 190)), (left, (304, 189)), (nose, (264, 242)), (mouth, (268, 281))):
        np.testing.assert_allclose(found, seen, atol=15)
    assert (tmp_path / "found" / "grace_hopper.jpg.png").exists()


def test_a_name_that_is_no_network_lists_the_networks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"faces is no file or folder, and no network that ships with h3r_jax \(faces68\)"
    ):
        h3r_jax.load_predictor("faces")
    with pytest.raises(UserError, match="a path is empty"):
        h3r_jax.load_predictor("")


def test_a_file_or_folder_of_that_name_is_taken_for_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("faces68").mkdir()
    with pytest.raises(UserError, match="faces68 is neither a converted model nor a step of a run"):
        h3r_jax.load_predictor("faces68")


def test_the_file_holds_kernels_in_float16_and_its_configuration():
    path = h3r_jax.list_models()["faces68"].path
    tensors = convert.load_torch(path)
    assert {array.dtype for array in tensors.values() if array.ndim > 1} == {np.dtype(np.float16)}
    assert {array.dtype for name, array in tensors.items() if name.endswith("running_var")} == {np.dtype(np.float32)}
    config = convert.files.stored_config(path)
    assert (config["data_dir"], config["prepared_dir"]) == ("~/h3r_data", "")


def test_values_beyond_float16_are_refused():
    kernel = np.full((3, 3), 7e4, np.float32)
    with pytest.raises(UserError, match="range of float16, which ends at 65504: a.weight; leave out --half"):
        halved({"a.weight": kernel, "a.bias": np.full(3, 7e4, np.float32)})
