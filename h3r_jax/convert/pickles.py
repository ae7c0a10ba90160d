"""PyTorch's files of weights.

Such a file is a pickle, which can run any code when it is read. Only torch's own restricted unpickler reads it
(`weights_only=True`): tensors and plain containers, or an error. The file is a zip archive, whose checksums torch does
not look at; `_verify` does. Files of the old form are bare pickles and have no checksums.
"""

import os
import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from etils import epath

from h3r_jax.errors import UserError

# Keys under which training scripts keep the tensors, beside an optimiser and the like.
CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "plfd_backbone")
LFS_POINTER = b"version https://git-lfs"
ZIP = b"PK\x03\x04"  # the first bytes, by which torch too knows its newer form
DIRECTORY = 0x10  # attribute of a member of a zip archive; torch reads nothing from such a member
CHUNK = 1 << 20  # bytes read at once
LARGEST_RATIO = 100  # of the size of a whole archive that is unpacked; weights hardly become smaller when packed
DEEPEST = 50  # containers within each other
UNVERIFIED = "the file is of PyTorch's old form, which has no checksums: whether it is damaged cannot be verified"


def read_pickle(path: epath.Path) -> tuple[dict[str, np.ndarray], dict[str, str], tuple[str, ...]]:
    """The tensors of a file by name, those left out (their place in the file -> the reason), and notes on the file.

    Raises:
      UserError: it is damaged, holds more than tensors and plain containers, or no tensors; or torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError(f"{path} is a PyTorch file, which needs torch to be read (pip install torch)") from error
    with path.open("rb") as file:
        start = file.read(len(LFS_POINTER))
    if start == LFS_POINTER:
        raise UserError(f"{path} is a pointer of Git LFS in place of the file; fetch it with git lfs pull")
    if start.startswith(ZIP):
        _verify(path)
    try:
        content = torch.load(os.fspath(path), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = re.search(r"GLOBAL \S+|Unsupported \w+ \w+", str(error))
        raise UserError(
            f"{path} does not hold tensors and plain containers alone ({reason[0] if reason else 'damaged'}), and "
            "anything else could run code: refused, nothing was run (if you trust it, save its state dict alone)"
        ) from error
    except Exception as error:  # a damaged file ends in any class
        raise UserError(f"{path} is no whole PyTorch file ({first_line(error)})") from error
    if not isinstance(content, dict):
        content = {}
    container = next((key for key in CONTAINERS if isinstance(content.get(key), dict)), None)
    top = () if container is None else (container,)
    tensors: dict[str, Any] = {}
    left_out = {}
    try:
        # The container of the weights comes first: a container that is there twice is looked at once.
        for keys, tensor in _tensors_in(dict(sorted(content.items(), key=lambda item: item[0] != container)), torch):
            if keys[:-1] == top:
                if keys[-1] in tensors:
                    raise UserError(f"two tensors have the name {keys[-1]}; keep the one that is meant")
                tensors[keys[-1]] = tensor
            elif keys[: len(top)] == top:
                left_out["/".join(keys)] = "in a container among the weights"
            else:
                left_out["/".join(keys)] = f"beside the weights, which are under {container!r}"
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if not tensors:
        raise UserError(f"{path} holds no tensors by name, nor under any of {', '.join(CONTAINERS)}")
    try:
        arrays = {name: _to_numpy(x.detach()) for name, x in tensors.items()}
    except (TypeError, RuntimeError) as error:  # sparse or quantised
        raise UserError(f"{path} holds tensors that are no plain arrays ({first_line(error)})") from error
    return arrays, left_out, () if start.startswith(ZIP) else (UNVERIFIED,)


def _verify(path: epath.Path) -> None:
    """Compares each member of a zip archive with its checksum, and the table of members with the members.

    Raises:
      UserError: one differs; names it.
    """
    part = "the table of its members"
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > LARGEST_RATIO * path.stat().length:
                raise zipfile.BadZipFile("its members become too large when they are unpacked")
            for member in members:
                part = f"its member {member.filename}"
                if member.is_dir() or member.external_attr & DIRECTORY:
                    raise zipfile.BadZipFile("no file")
                with archive.open(member) as content:
                    while content.read(CHUNK):
                        pass
    except Exception as error:  # a damaged archive ends in any class
        reason = "it does not fit its checksum" if "CRC" in str(error) else first_line(error)
        raise UserError(f"{path} is damaged in {part} ({reason}): fetch or copy the file again") from error


def _tensors_in(content: dict, torch: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each tensor in nested containers, after the keys that lead to it. A container is looked at once.

    Raises:
      UserError: the containers are nested too deep.
    """
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    while waiting:
        keys, container = waiting.pop()
        if id(container) in seen:
            continue
        if len(keys) > DEEPEST:
            raise UserError(f"more than {DEEPEST} containers stand within each other; save the state dict alone")
        seen.add(id(container))
        items: Iterable[tuple[Any, Any]] = container.items() if isinstance(container, dict) else enumerate(container)
        inner = []
        for key, value in items:
            if isinstance(value, torch.Tensor):
                yield (*keys, str(key)), value
            elif isinstance(value, (dict, list, tuple, set, frozenset)):
                inner.append(((*keys, str(key)), value))
        waiting += reversed(inner)


def _to_numpy(tensor: Any) -> np.ndarray:
    """An array of the same type; bfloat16 and float8, which numpy has not, as JAX has them.

    It shares the tensor's storage: the tensor may be one number that is expanded to gigabytes.
    """
    import ml_dtypes
    import torch

    narrow = getattr(ml_dtypes, str(tensor.dtype).removeprefix("torch."), None)
    if tensor.is_floating_point() and narrow is not None:
        return tensor.view({1: torch.uint8, 2: torch.int16}[tensor.element_size()]).numpy().view(narrow)
    return tensor.numpy()


def first_line(error: Exception) -> str:
    """The beginning of a message, without the rest that other libraries say."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
