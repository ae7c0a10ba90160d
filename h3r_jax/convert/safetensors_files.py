"""Files of safetensors: tensors, and in the header what this library knows of them.

The format has no checksums. A file that this library writes therefore has the SHA-256 of itself in its header, computed
with 64 zeros in its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

from h3r_jax.convert.pickles import first_line
from h3r_jax.errors import UserError
from h3r_jax.files import write_whole

SUFFIX = ".safetensors"
DIGEST = "h3r_jax_sha256"  # key of the digest in the header
ZEROS = "0" * 64
UNVERIFIED = f"the file has no digest ({DIGEST}): whether it is damaged cannot be verified"


def read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The tensors of a file by name, and notes on the file.

    Raises:
      UserError: it is damaged, or safetensors is not installed.
    """
    with _open(path) as file:
        notes = () if _is_verified(path) else (UNVERIFIED,)
        return {name: file.get_tensor(name) for name in file.keys()}, notes  # noqa: SIM118 - no dict


def metadata(path: str | os.PathLike, key: str) -> Any:
    """A JSON value in a file's header; None without one.

    Raises:
      UserError: the file is damaged, or the value is no JSON.
    """
    with _open(path) as file:
        text = (file.metadata() or {}).get(key, "null")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {key} in its header is no JSON ({first_line(error)})") from error


def write(
    path: str | os.PathLike, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str], *, overwrite: bool = False
) -> None:
    """Writes tensors (name -> array), the texts of `metadata` and the digest; whole or not at all.

    Raises:
      UserError: safetensors is not installed, or there is something at `path` already.
      OSError: it cannot be written; names the path.
    """
    content = _library(path, "written").numpy.save(tensors, metadata={**metadata, DIGEST: ZEROS})
    place = content.index(f'"{DIGEST}":"{ZEROS}"'.encode()) + len(f'"{DIGEST}":"')
    digest = hashlib.sha256(content).hexdigest().encode()
    data = content[:place] + digest + content[place + len(digest) :]
    write_whole(path, lambda temporary: temporary.write_bytes(data), overwrite=overwrite)


def _is_verified(path: str | os.PathLike) -> bool:
    """Whether the file fits its digest; False if it has none.

    Raises:
      UserError: it does not.
    """
    with epath.Path(path).open("rb") as file:
        size = file.read(8)
        header = file.read(int.from_bytes(size, "little"))
        stored = re.search(rf'"{DIGEST}":"([^"]*)"'.encode(), header)
        if not stored:
            return False
        header = header[: stored.start(1)] + ZEROS.encode() + header[stored.end(1) :]
        if hashlib.file_digest(file, lambda: hashlib.sha256(size + header)).hexdigest().encode() != stored[1]:
            raise UserError(f"{path} is damaged: it does not fit its digest; convert it anew, or fetch it again")
    return True


@contextlib.contextmanager
def _open(path: str | os.PathLike) -> Iterator[Any]:
    library = _library(path, "read")
    try:
        with library.safe_open(os.fspath(path), framework="numpy") as file:
            yield file
    except (library.SafetensorError, TypeError, AttributeError) as error:  # a type that numpy has not: bfloat16, float8
        raise UserError(f"{path} cannot be read as safetensors ({first_line(error)})") from error


def _library(path: str | os.PathLike, what: str) -> Any:
    """The module that `path` is to be read or written with."""
    try:
        import safetensors.numpy
    except ImportError as error:
        raise UserError(f"{path} needs safetensors to be {what} (pip install safetensors)") from error
    return safetensors
