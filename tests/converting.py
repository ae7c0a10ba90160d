"""What the tests of weights share: shrunk networks in PyTorch, their tensors, and files of them."""

import functools

import numpy as np
import pytest

from h3r_jax import models
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


@pytest.fixture(autouse=True)
def tiny_backbones(monkeypatch):
    """The shrunk networks by name, so that their tensors are recognised; in every test of a file that imports it."""
    for name, fields in {"tiny": {}, "tiny_facial": {"fuse": "bilinear"}, "tiny_pose": {"highest_only": True}}.items():
        monkeypatch.setitem(models.BACKBONES, name, functools.partial(hrnet.HRNet, **TINY, **fields))


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
