"""Digests of files: whether what is read is what was written.

A folder keeps the SHA-256 of each of its files in a file `SHA256SUMS`, in the form of the command `sha256sum`, so that
`sha256sum --check SHA256SUMS` within the folder compares the same digests as `faults`. Files that are not listed are
found by `faults` alone.
"""

import hashlib
import os
from typing import BinaryIO

from etils import epath

from h3r_jax.files import write_whole

NAME = "SHA256SUMS"
CHUNK = 1 << 20  # bytes read at once


def write(folder: str | os.PathLike, *under: str) -> None:
    """Writes SHA256SUMS for the files below a folder.

    Args:
      folder: path.
      under: names within the folder, of files or folders; none for all.

    Raises:
      OSError: a file cannot be read, or SHA256SUMS cannot be written; names it.
    """
    place = epath.Path(folder)
    names = [name for name in _names(place) if _within(name, under)]
    lines = "".join(f"{_digest(place / name)}  {name}\n" for name in names)
    write_whole(place / NAME, lambda temporary: temporary.write_bytes(lines.encode()), overwrite=True)


def present(folder: str | os.PathLike) -> bool:
    """Whether a folder has digests."""
    return (epath.Path(folder) / NAME).exists()


def faults(folder: str | os.PathLike, *under: str) -> list[str]:
    """What differs from the digests of a folder, in words; empty if nothing does.

    Args:
      folder: that `write` was called with.
      under: names within the folder, of files or folders to look at, which must be in the list; none for all of it.

    Returns:
      A phrase for each file that is missing or differs, for a file in a folder that is not in the list (hidden folders
      do not count), and for each of `under` that is not in the list.

    Raises:
      OSError: a file cannot be read.
    """
    place = epath.Path(folder)
    wanted: dict[str, str] = {}
    for line in (place / NAME).read_bytes().decode("utf-8", "replace").removesuffix("\n").split("\n"):
        digest, gap, name = line.partition("  ")
        if not gap or len(digest) != 64:
            return [f"{NAME} is damaged"]
        wanted[name] = digest
    there = set(_names(place))
    result = [f"{top} is missing" for top in under if not any(_within(name, (top,)) for name in wanted)]
    for name in sorted({*wanted, *there}):
        if not _within(name, under):
            continue
        if name not in there:
            result.append(f"{name} is missing")
        elif name not in wanted:
            result += [f"{name} is not in {NAME}"] if "/" in name and name[0] != "." else []
        elif _digest(place / name) != wanted[name]:
            result.append(f"{name} has changed")
    return result


def _within(name: str, tops: tuple[str, ...]) -> bool:
    return not tops or any(name == top or name.startswith(f"{top}/") for top in tops)


def size(folder: str | os.PathLike) -> int:
    """Bytes of all files below a folder."""
    place = epath.Path(folder)
    return sum((place / name).stat().length for name in _names(place))


def of_file(file: BinaryIO) -> str:
    """The SHA-256 of the rest of an open file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    while block := file.read(CHUNK):
        digest.update(block)
    return digest.hexdigest()


def _digest(path: epath.Path) -> str:
    with path.open("rb") as file:
        return of_file(file)


def _names(folder: epath.Path, prefix: str = "") -> list[str]:
    """The files below a folder, by their path within it, in order; without SHA256SUMS and what is half written."""
    names: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            names += _names(path, f"{prefix}{path.name}/")
        elif prefix or not (path.name == NAME or path.name.startswith(f".{NAME}.")):
            names.append(prefix + path.name)
    return names
