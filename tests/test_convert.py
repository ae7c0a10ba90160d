"""Weights in and out: bitwise round trips, every tensor accounted for, and files that are refused."""

import json
import os
import pickle
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs import common
from h3r_jax import convert
from h3r_jax.convert import __main__ as command
from h3r_jax.convert import files

torch = pytest.importorskip("torch")
safetensors_numpy = pytest.importorskip("safetensors.numpy")
from benchmarks import torch_networks
from tests.converting import NETWORKS, save_torch, state, tiny_backbones  # noqa: F401  (a fixture)


def equal(first, second):
    return first.keys() == second.keys() and all(
        first[key].dtype == second[key].dtype and np.array_equal(first[key], second[key]) for key in first
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_round_trip_is_bitwise(name):
    """Of a network of which a part was trained alone, so that its counters differ."""
    tensors = dict(state(name))
    *_, counter = (key for key in tensors if key.endswith("num_batches_tracked"))
    tensors[counter] = np.asarray(9)
    spec = convert.recognize(tensors)
    variables, report = convert.from_torch(tensors, spec)
    assert equal(convert.to_torch(variables, spec), tensors)
    assert {*report.taken, *report.left_out} == set(tensors)
    assert all(key.endswith("num_batches_tracked") for key in report.left_out)
    assert not report.notes


@pytest.mark.parametrize(
    "name, model, head",
    [
        ("h3r hrnet", "tiny", "binary"),
        ("h3r mobilenet_v2", "mobilenet_v2", "binary"),
        ("facial", "tiny_facial", "facial"),
        ("pose", "tiny_pose", "pose"),
    ],
)
def test_recognition(name, model, head):
    spec = convert.recognize(state(name))
    assert (spec.model, spec.head, spec.landmarks, spec.batches_tracked) == (model, head, 5, 7)
    assert convert.recognize(state(name), model=model, head=head, landmarks=5) == spec


def test_head_of_one_channel_is_recognised_by_the_number_of_landmarks():
    assert convert.recognize(state("h3r hrnet"), landmarks=10).head == "heatmap"


def test_torchvision_names_of_mobilenet_v2():
    """The same arrays as from the flat names; layers beyond the last tap are left out by name."""
    flat = state("h3r mobilenet_v2")
    network = torch_networks.MobileNetV2()
    values = [tensor for key, tensor in flat.items() if key.startswith("backbone.")]
    nested = dict(zip(network.state_dict(), values, strict=True))
    rest = {
        "features.18.0.weight": np.zeros((1280, 320, 1, 1), np.float32),
        "classifier.1.bias": np.zeros(1000, np.float32),
    }
    spec = convert.recognize({**nested, **rest})
    variables, report = convert.from_torch({**nested, **rest}, spec)
    expected, _ = convert.from_torch(flat, convert.recognize(flat))
    jax.tree.map(np.testing.assert_array_equal, variables["params"]["backbone"], expected["params"]["backbone"])
    assert spec.head is None and set(rest) < set(report.left_out)
    assert equal(convert.to_torch(variables, spec), nested)


def test_every_kind_of_mistake_lists_its_names():
    tensors = dict(state("pose"))
    spec = convert.recognize(tensors)
    del tensors["stage2.1.branches.1.0.bn2.running_var"]
    tensors["stage9.weight"] = np.zeros(3, np.float32)
    tensors["final_layer.bias"] = np.zeros(6, np.float32)
    with pytest.raises(ValueError) as error:
        convert.from_torch(tensors, spec)
    for part in ("1 missing: stage2.1.branches.1.0.bn2.running_var", "1 unexpected: stage9.weight",
                 "1 misshapen: final_layer.bias (6,) for (5,)"):  # fmt: skip
        assert part in str(error.value)


def test_variables_of_another_network_are_not_written():
    variables, _ = convert.from_torch(state("pose"), convert.recognize(state("pose")))
    with pytest.raises(ValueError, match="5 missing: .*params/head/conv/kernel"):
        convert.to_torch(variables, convert.Spec("tiny_pose", "binary", 5, "h3r"))


def test_other_types_become_float32_and_are_named(tmp_path):
    tensors = dict(state("h3r mobilenet_v2"))
    half, double = "backbone.features.0.0.weight", "heatmap_head.head.layers.3.weight"
    tensors[half], tensors[double] = tensors[half].astype(np.float16), tensors[double].astype(np.float64)
    content = {key: torch.from_numpy(np.array(tensor)) for key, tensor in tensors.items()}
    bfloat16 = "backbone.features.0.1.running_mean"
    content[bfloat16] = torch.nn.Parameter(content[bfloat16].bfloat16())
    torch.save(content, tmp_path / "a.pth")
    variables, _, report = convert.read(tmp_path / "a.pth")
    found = variables["params"]["backbone"]["features_0"]["conv"]["kernel"]
    assert found.dtype == np.float32 and np.array_equal(found.transpose(3, 2, 0, 1), tensors[half])
    types = ("float16", half), ("float64", double), ("bfloat16", bfloat16)
    assert set(report.notes) == {f"1 {type_} there, float32 here: {name}" for type_, name in types}
    assert all(note in str(report) for note in report.notes)
    np.testing.assert_array_equal(variables["batch_stats"]["backbone"]["features_0"]["bn"]["mean"],
                                  content[bfloat16].detach().float().numpy())  # fmt: skip


def test_every_tensor_of_a_file_is_named(tmp_path):
    """The average and the optimiser beside the weights, and what is nested among them; none of them is taken."""
    extra = torch.zeros(2)
    beside = {
        "state_dict_ema": {"conv1.weight": extra},
        "optimizer": {"state": {0: {"exp_avg": extra}}, "param_groups": [{"lr": extra}]},
    }
    content = {key: torch.from_numpy(np.array(tensor)) for key, tensor in state("pose").items()}
    torch.save({"state_dict": {**content, "more": {"x": extra}}, **beside}, tmp_path / "a.pth")
    *_, report = convert.read(tmp_path / "a.pth")
    reason = "beside the weights, which are under 'state_dict'"
    assert {name: reason for name, reason in report.left_out.items() if "num_batches" not in name} == {
        "state_dict_ema/conv1.weight": reason,
        "optimizer/state/0/exp_avg": reason,
        "optimizer/param_groups/0/lr": reason,
        "state_dict/more/x": "in a container among the weights",
    }


def test_files_round_trip(tmp_path):
    """.pth.tar -> orbax -> .safetensors that PyTorch loads strictly -> orbax; under `module.`, beside an epoch."""
    tensors = {**state("h3r hrnet"), "heatmap_head.head.layers.1.num_batches_tracked": np.asarray(9)}
    source = save_torch(tmp_path / "a.pth.tar", {f"module.{key}": x for key, x in tensors.items()}, epoch=3)
    command.main([str(source), str(tmp_path / "b"), "--landmarks=5"])
    description = json.loads((tmp_path / "b" / "model.json").read_text())
    assert (description["model"], description["head"], description["landmarks"]) == ("tiny", "binary", 5)
    assert description["source"] == str(source) and len(description["left_out"]) > 10
    command.main([str(tmp_path / "b"), str(tmp_path / "c.safetensors")])
    loaded = safetensors_numpy.load_file(tmp_path / "c.safetensors")
    assert equal(loaded, tensors)
    NETWORKS["h3r hrnet"]().load_state_dict({key: torch.from_numpy(x) for key, x in loaded.items()}, strict=True)
    command.main([str(tmp_path / "c.safetensors"), str(tmp_path / "d")])
    variables = [convert.read(tmp_path / name)[0] for name in "bd"]
    jax.tree.map(np.testing.assert_array_equal, *variables)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth.tar", "b", "c.safetensors", "d"]


def test_safetensors_remembers_the_head(tmp_path):
    """Ten channels are five landmarks to the reference; the header says that they are ten."""
    variables, spec, _ = convert.read(save_torch(tmp_path / "a.pth", state("h3r hrnet")), head="heatmap")
    assert spec.landmarks == 10
    files.write_safetensors(tmp_path / "b.safetensors", convert.to_torch(variables, spec), spec)
    assert convert.read(tmp_path / "b.safetensors")[1] == spec


def test_safetensors_need_no_torch(tmp_path):
    safetensors_numpy.save_file(state("h3r mobilenet_v2"), tmp_path / "a.safetensors")
    code = ("import sys; sys.modules['torch'] = None; from h3r_jax import convert; "
            f"print(convert.read({str(tmp_path / 'a.safetensors')!r})[1].model)")  # fmt: skip
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "mobilenet_v2"


def test_without_safetensors_nothing_is_written(tmp_path, monkeypatch):
    source = save_torch(tmp_path / "a.pth", state("h3r mobilenet_v2"))
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit, match=r"b\.safetensors needs safetensors to be written \(pip install safetensors\)"):
        command.main([str(source), str(tmp_path / "b.safetensors")])
    assert list(tmp_path.iterdir()) == [source]


def test_another_stride_than_the_reference_has_is_said(tmp_path, capsys):
    """The file is for this library's own predictor; PyTorch would load it and compute something else."""
    variables, spec, report = convert.read(save_torch(tmp_path / "a.pth", state("h3r mobilenet_v2")))
    for stride in (4, 8):
        stored = common.get_config().to_dict()
        stored["model"]["stride"] = stride
        files.write_directory(tmp_path / f"{stride}", variables, spec, "a run", report, stored)
        command.main([str(tmp_path / f"{stride}"), str(tmp_path / f"{stride}.safetensors")])
        printed = capsys.readouterr().out
        assert (
            "PyTorch programs with these names have stride 4, load the file and compute something else" in printed
        ) == (stride == 8)
        assert files.stored_config(tmp_path / f"{stride}.safetensors")["model"]["stride"] == stride


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_refused_sources_say_why_and_leave_nothing(tmp_path, capsys):
    work = tmp_path / "work"
    work.mkdir()
    good = save_torch(tmp_path / "good.pth", state("pose"))
    small = tmp_path / "good.safetensors"
    safetensors_numpy.save_file(state("pose"), small)
    payload = tmp_path / "executed"

    def write(name, content):
        (work / name).write_bytes(content)
        return work / name

    torch.save({"state_dict": {}, "x": Payload(payload)}, work / "payload.pth")
    half = good.stat().st_size // 2
    unsafe = "(GLOBAL posix.mkdir), and anything else could run code: refused, nothing was run"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 39\n"
    resnet = {"conv1.weight": np.zeros((64, 3, 7, 7)), "layer1.0.conv1.weight": np.zeros(1)}
    cases = {
        work / "payload.pth": unsafe,
        write("pickle.pth", pickle.dumps(Payload(payload), protocol=2)): unsafe,
        write("text.pth", b"\x80\x02never a pickle"): "does not hold tensors and plain containers alone",
        write("truncated.pth", good.read_bytes()[:half]): "is no whole PyTorch file",
        write("empty.pth", b""): "is no whole PyTorch file",
        write("pointer.pth", pointer): "pointer of Git LFS",
        write("cut.safetensors", small.read_bytes()[: small.stat().st_size // 2]): "cannot be read as safetensors",
        save_torch(work / "resnet.pth", resnet): "are of no known network; known are mobilenet_v2",
        save_torch(work / "numbers.pth", {}, epoch=3): "holds no tensors by name",
        save_torch(work / "twice.pth", {"module.a": np.zeros(1), "a": np.zeros(1)}): "holds both a and module.a",
        write("weights.onnx", b""): "known endings are .pth",
        work / "nowhere.pth": "is not a file",
        work: "is neither a converted model",
    }
    before = sorted(work.iterdir())
    for source, reason in cases.items():
        with pytest.raises(SystemExit) as exit_:
            command.main([str(source), str(work / "out")])
        message = str(exit_.value)
        assert reason in message and str(source) in message and message.startswith("error: ") and "\n" not in message
    for arguments, reason in ((["--landmarks=98"], "5 landmarks for a head 'pose', not 98"),
                              (["--model=hrnet_w18"], "those of tiny_pose, not of hrnet_w18"),
                              (["--head=binary"], "have the head 'pose', not 'binary'")):  # fmt: skip
        with pytest.raises(SystemExit, match=reason):
            command.main([str(good), str(work / "out"), *arguments])
    assert sorted(work.iterdir()) == before and not payload.exists()


def test_a_mistake_of_the_program_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "read_file", lambda path: int("no number"))
    with pytest.raises(ValueError, match="invalid literal for int"):
        command.main([str(tmp_path / "a.pth"), str(tmp_path / "out")])


def test_a_destination_is_written_whole_and_never_over_another(tmp_path, monkeypatch):
    source = save_torch(tmp_path / "a.pth", state("pose"))
    (tmp_path / "taken").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        convert.convert_weights(source, tmp_path / "taken")
    monkeypatch.setattr(files.json, "dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert.convert_weights(source, tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth", "taken"]
