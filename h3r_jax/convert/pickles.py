"""PyTorch's files of weights.

Such a file is a pickle, which can run any code when it is read. Only torch's own restricted unpickler reads it
(`weights_only=True`): tensors and plain containers, or an error.
"""

import os
import pickle
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from h3r_jax.errors import UserError

# Keys under which training scripts keep the tensors, beside an optimiser and the like.
CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "plfd_backbone")
LFS_POINTER = b"version https://git-lfs"


def read_pickle(path: epath.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a file by name, and those left out: their place in the file -> the reason.

    Raises:
      ValueError: it is damaged, holds more than tensors and plain containers, or no tensors; or torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError(f"{path} is a PyTorch file, which needs torch to be read (pip install torch)") from error
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise UserError(f"{path} is a pointer of Git LFS in place of the file; fetch it with git lfs pull")
    try:
        content = torch.load(os.fspath(path), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = re.search(r"GLOBAL \S+|Unsupported \w+ \w+", str(error))
        raise UserError(
            f"{path} does not hold tensors and plain containers alone ({reason[0] if reason else 'damaged'}), and "
            "anything else could run code: refused, nothing was run (if you trust it, save its state dict alone)"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise UserError(f"{path} is no whole PyTorch file ({first_line(error)})") from error
    if not isinstance(content, dict):
        content = {}
    container = [key for key in CONTAINERS if isinstance(content.get(key), dict)][:1]
    tensors, left_out = {}, {}
    for keys, tensor in _tensors_in(content, torch.Tensor):
        if keys[:-1] == container:
            tensors[keys[-1]] = tensor
        elif keys[: len(container)] == container:
            left_out["/".join(keys)] = "in a container among the weights"
        else:
            left_out["/".join(keys)] = f"beside the weights, which are under {container[0]!r}"
    if not tensors:
        raise UserError(f"{path} holds no tensors by name, nor under any of {', '.join(CONTAINERS)}")
    try:
        return {name: _to_numpy(x.detach()) for name, x in tensors.items()}, left_out
    except (TypeError, RuntimeError) as error:  # sparse or quantised
        raise UserError(f"{path} holds tensors that are no plain arrays ({first_line(error)})") from error


def _tensors_in(content: Any, kind: type) -> Iterator[tuple[list[str], Any]]:
    """Each tensor in nested containers, after the keys that lead to it."""
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        if isinstance(value, kind):
            yield [str(key)], value
        elif isinstance(value, (dict, list, tuple)):
            yield from (([str(key), *keys], tensor) for keys, tensor in _tensors_in(value, kind))


def _to_numpy(tensor: Any) -> np.ndarray:
    """An array of the same type; bfloat16 and float8, which numpy has not, as JAX has them."""
    import ml_dtypes
    import torch

    narrow = getattr(ml_dtypes, str(tensor.dtype).removeprefix("torch."), None)
    if tensor.is_floating_point() and narrow is not None:
        return tensor.contiguous().view({1: torch.uint8, 2: torch.int16}[tensor.element_size()]).numpy().view(narrow)
    return tensor.numpy()


def first_line(error: Exception) -> str:
    """The beginning of a message, without the rest that other libraries say."""
    return (str(error) or type(error).__name__).strip().splitlines()[0][:120]
