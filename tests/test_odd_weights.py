"""Containers, storage and names in PyTorch's files that are not as usual."""

import json

import jax
import numpy as np
import pytest

from h3r_jax import convert

torch = pytest.importorskip("torch")
from tests.converting import refused, save_torch, state, tiny_backbones  # noqa: F401  (a fixture)

WEIGHT, WIDTH = "final_layer.weight", "stage2.0.branches.0.0.conv1.weight"


def pose(**changes):
    return {**{name: torch.from_numpy(np.array(tensor)) for name, tensor in state("pose").items()}, **changes}


def cyclic():
    content = {"state_dict": pose()}
    content["again"] = [content, content["state_dict"]]
    content["state_dict"]["itself"] = content["state_dict"]
    return content


def deep():
    content = inner = []
    for _ in range(200):
        inner.append([])
        inner = inner[0]
    return {"state_dict": {}, "x": content}


def doubled():
    """2**40 ways lead to one tensor."""
    content = [torch.zeros(1)]
    for _ in range(40):
        content = [content, content]
    return {"state_dict": {}, "x": content}


@pytest.mark.trial("D")
def test_containers_that_hold_themselves_are_read(tmp_path):
    torch.save(cyclic(), tmp_path / "a.pth")
    _, spec, report = convert.read(tmp_path / "a.pth")
    assert spec.model == "tiny_pose" and not [name for name in report.left_out if "num_batches" not in name]


@pytest.mark.trial("D")
@pytest.mark.parametrize(
    "content, sentence",
    [
        (deep, "more than 50 containers stand within each other"),
        (doubled, "more than 50 containers|holds no tensors by name"),
        (lambda: {1: torch.zeros(1), "1": torch.zeros(2)}, "two tensors have the name 1; keep the one that is meant"),
        (lambda: {WEIGHT: torch.zeros(1, dtype=torch.bfloat16).expand(2**16, 2**16)}, "are not those of|of no known"),
        (lambda: pose(**{WEIGHT: torch.zeros(())}), "0 landmarks for a head 'pose'"),
        (lambda: pose(**{WEIGHT: torch.zeros(0, 4, 1, 1)}), "0 landmarks for a head 'pose'"),
        (lambda: pose(**{WEIGHT: torch.zeros(1).expand(2**40, 1, 1, 1)}), "0 landmarks for a head 'pose'"),
        (lambda: pose(**{WIDTH: torch.zeros(())}), "1 misshapen: stage2.0.branches.0.0.conv1.weight () for"),
        (lambda: {WEIGHT: torch.empty(3, device="meta")}, "holds tensors that are no plain arrays"),
    ],
)
def test_containers_and_tensors_of_odd_form_are_refused(tmp_path, content, sentence):
    (tmp_path / "in").mkdir()
    torch.save(content(), tmp_path / "in" / "a.pth")
    message = refused(tmp_path / "in" / "a.pth")
    assert any(part in message for part in sentence.split("|"))


@pytest.mark.trial("D")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn])
def test_shapes_are_compared_before_storage_is_expanded(tmp_path, dtype):
    """A terabyte, if it were copied."""
    tensors = pose()
    tensors["conv2.weight"] = torch.zeros(1).to(dtype).expand(2**20, 2**20, 1, 1)
    (tmp_path / "in").mkdir()
    torch.save(tensors, tmp_path / "in" / "a.pth")
    assert "1 misshapen: conv2.weight (1048576, 1048576, 1, 1) for (64, 64, 3, 3)" in refused(tmp_path / "in" / "a.pth")


@pytest.mark.trial("D")
@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F8_E8M0"])
def test_a_type_that_numpy_has_not_is_refused(tmp_path, dtype):
    header = json.dumps({WEIGHT: {"dtype": dtype, "shape": [4], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert "a.safetensors cannot be read as safetensors" in refused(tmp_path / "in" / "a.safetensors")


@pytest.mark.trial("D")
@pytest.mark.parametrize("prefix", ["model.", "_orig_mod.", "module.net.", "lightning.model.module."])
@pytest.mark.parametrize("name", ["h3r mobilenet_v2", "pose"])
def test_a_prefix_before_all_names_is_left_away_and_said(tmp_path, name, prefix):
    tensors = state(name)
    path = save_torch(tmp_path / "a.pth", {f"{prefix}{key}": tensor for key, tensor in tensors.items()})
    variables, _, report = convert.read(path)
    expected, _ = convert.from_torch(tensors, convert.recognize(tensors))
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    assert f"all names begin with {prefix.removeprefix('module.')!r} there, which is removed" in report.notes


@pytest.mark.trial("D")
@pytest.mark.parametrize("others", [["loss.weight"], ["student.head.weight", "queue"], ["ema.stage2.x"]])
def test_a_prefix_before_some_names_is_named(tmp_path, others):
    tensors = {f"model.{key}": tensor for key, tensor in state("pose").items()}
    (tmp_path / "in").mkdir()
    path = save_torch(tmp_path / "in" / "a.pth", {**tensors, **{name: np.zeros(1) for name in others}})
    sentence = f"{len(tensors)} of them are named as in one after the prefix 'model.': save these alone, without"
    assert sentence in refused(path)
