"""What the tests of weights share: shrunk networks in PyTorch, their tensors, and files of them."""

import functools

import jax
import numpy as np
import pytest

from h3r_jax import convert, models
from h3r_jax.convert import __main__ as command
from h3r_jax.convert import files
from h3r_jax.errors import UserError
from h3r_jax.models import hrnet

torch = pytest.importorskip("torch")
from benchmarks import torch_hrnet, torch_networks

TINY = torch_hrnet.TINY
NETWORKS = {
    "h3r hrnet": lambda: torch_hrnet.H3R(torch_hrnet.HRNet(**TINY), 10),
    "h3r mobilenet_v2": lambda: torch_hrnet.H3R(torch_hrnet.flat_mobilenet_v2(), 10),
    "facial": lambda: torch_hrnet.Facial(5, **TINY),
    "pose": lambda: torch_hrnet.Pose(5, **TINY),
}


# Made once, because the shapes of a network are kept by its builder.
BUILDERS = {
    name: functools.partial(hrnet.HRNet, **TINY, **fields)
    for name, fields in {"tiny": {}, "tiny_facial": {"fuse": "bilinear"}, "tiny_pose": {"highest_only": True}}.items()
}


@pytest.fixture(autouse=True)
def tiny_backbones(monkeypatch):
    """The shrunk networks by name, so that their tensors are recognised; in every test of a file that imports it."""
    for name, builder in BUILDERS.items():
        monkeypatch.setitem(models.BACKBONES, name, builder)


@functools.cache
def state(name):
    """Random tensors of a network by name, numpy; its counters of training steps at 7. Not to be changed."""
    network = torch_networks.randomize(NETWORKS[name]())
    tensors = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    return {key: np.asarray(7) if key.endswith("num_batches_tracked") else tensor for key, tensor in tensors.items()}


def save_torch(path, tensors, **beside):
    content = {key: torch.from_numpy(np.array(tensor)) for key, tensor in tensors.items()}
    torch.save({"state_dict": content, **beside} if beside else content, path)
    return path


def refused(source, *arguments):
    """The sentence with which the command refuses a source, which leaves nothing."""
    out = source.parent.parent / "out.safetensors"
    with pytest.raises(SystemExit) as stop:
        command.main([str(source), str(out), *arguments])
    message = str(stop.value)
    assert message.startswith("error: ") and source.name in message and "\n" not in message and not out.exists()
    return message


def flips(path, number, seed=0):
    """Flips one bit at a time of a file or a folder, at random, and reads it with its configuration.

    Returns:
      How many flips were refused in a sentence, and how many changed nothing that is read. Another one is an error.
    """
    random = np.random.default_rng(seed)
    names = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    sizes = np.array([file.stat().st_size for file in names])
    expected = everything(path)
    refused = same = 0
    for _ in range(number):
        file = names[random.choice(len(names), p=sizes / sizes.sum())]
        whole = file.read_bytes()
        content = bytearray(whole)
        content[random.integers(len(content))] ^= 1 << random.integers(8)
        file.write_bytes(content)
        try:
            found = everything(path)
        except UserError as error:
            assert path.name in str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert found == expected, "damage that was not found"
            same += 1
        file.write_bytes(whole)
    return refused, same


def everything(path):
    """All that is read of weights: the arrays, the description and the configuration."""
    variables, spec, _ = convert.read(path)
    arrays = {jax.tree_util.keystr(key): x.tobytes() for key, x in jax.tree_util.tree_leaves_with_path(variables)}
    return arrays, spec, files.stored_config(path)
