"""The folder of a prepared set: whether it is whole, and whether it was made from the files that are there now.

Beside the files of TFDS it holds

    SHA256SUMS       the digest of each file, see `h3r_jax.digests`
    prepared.json    "files": name of a file of records -> its size in bytes
                     "sources": path of an image in the raw data -> its SHA-256 when it was stored

A set is written into a folder `incomplete.*`, which gets its name when everything is in it.
"""

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator, Mapping

from etils import epath

from data.contents import Contents
from h3r_jax import digests
from h3r_jax.errors import UserError, is_full_disk
from h3r_jax.files import read_json, write_json

NOTE = "prepared.json"
SMALL = ("dataset_info.json", "features.json", "metadata.json", NOTE)  # read at every start, so that they are digested
DIGESTED_BYTES = 2**28  # of files of records, that are digested at every start: a fraction of a second
HALF_MADE = "incomplete.*"  # as TFDS names the folders that it writes into
FINGERPRINT = 12  # hexadecimal digits in the name of a set


def damaged(folder: epath.Path, fault: str) -> OSError:
    """The error of a prepared set that cannot be read, with the remedy; `fault` is a phrase."""
    if "ermission denied" in fault:
        return OSError(f"{folder} cannot be read ({fault}); see to the permission to read all files in it")
    return OSError(f"{folder} is damaged ({fault}); remove that folder, and the next start prepares the data anew")


def note(folder: epath.Path, sources: Mapping[str, str]) -> None:
    """Writes the digests and the note of a set whose other files are written; `sources` is as in the note."""
    sizes = {path.name: path.stat().length for path in sorted(folder.iterdir()) if path.name not in SMALL}
    write_json(folder / NOTE, {"files": sizes, "sources": dict(sources)})
    digests.write(folder)


def check(folder: epath.Path, *, fully: bool = False) -> dict[str, str] | None:
    """The sources of a prepared set, as in its note; None if there is no set. An empty folder is removed.

    Args:
      folder: of one version of the set.
      fully: whether to digest the files of records too if they are large. Otherwise their sizes are looked at: a
        changed byte is found by array_record's own checksums when the record is read.

    Raises:
      OSError: a file is missing or has changed; names the folder and the remedy.
    """
    try:
        if not folder.exists():
            return None
        if not any(folder.iterdir()):
            folder.rmdir()
            print(f"{folder} was empty, so it is removed.")
            return None
        if not digests.present(folder):
            raise damaged(folder, f"{digests.NAME} is missing")
        faults = digests.faults(folder, *SMALL)
        content = {"files": {}} if faults else read_json(folder / NOTE)
        sizes: dict[str, int] = content["files"]
        for name, size in sizes.items():
            found = (folder / name).stat().length if (folder / name).exists() else None
            if found != size:
                faults.append(f"{name} is missing" if found is None else f"{name} has {found} bytes instead of {size}")
        if not faults and (fully or sum(sizes.values()) <= DIGESTED_BYTES):
            faults = digests.faults(folder, *sizes)
    except OSError as error:
        if error.errno is None:
            raise
        raise damaged(folder, f"{error.filename}: {error.strerror}") from error
    if faults:
        raise damaged(folder, "; ".join(faults[:3]) + ("; and more" if len(faults) > 3 else ""))
    return content["sources"]


def check_sources(folder: epath.Path, sources: Mapping[str, str], contents: Contents, raw: epath.Path) -> None:
    """Compares the images of raw data with those that a prepared set was made from. A line says if some are gone.

    Args:
      folder: of the prepared set.
      sources: from `check`.
      contents: of the raw data.
      raw: folder of the raw data. On a cloud nothing is compared, because it would take minutes.

    Raises:
      UserError: an image has another content; names the first one, the folder and the remedy.
    """
    found = {} if "://" in os.fspath(raw) else contents.digests(sources)
    contents.remember()
    changed = [name for name, digest in found.items() if digest and digest != sources[name]]
    gone = [name for name, digest in found.items() if not digest]
    if changed:
        count = f"{len(changed)} of {len(sources)} files have" if len(changed) > 1 else "a file has"
        raise UserError(
            f"{raw}: {count} changed since the data was prepared, such as {changed[0]}; remove {folder} so that the "
            "data is prepared anew (if no training reads it), or put the old files back"
        )
    if gone:
        print(
            f"{raw}: {len(gone)} of {len(sources)} files cannot be read any more, such as {gone[0]}; the prepared set "
            f"in {folder} has what it needs.",
            flush=True,
        )


def sets_of(builder_dir: epath.Path, name: str, version: str = "[0-9]*.*.*") -> list[epath.Path]:
    """The folders of prepared sets of a folder of raw data, whatever it held.

    Args:
      builder_dir: where the sets of a builder are.
      name: of the folder of raw data.
      version: pattern for the name of a set's folder.
    """
    return sorted(builder_dir.glob(f"{glob.escape(name)}-{'[0-9a-f]' * FINGERPRINT}/{version}"))


def remove_half_made(builder_dir: epath.Path, name: str) -> None:
    """Removes what preparations left that were killed, and says so; for the owner of the claim on them.

    builder_dir, name: as `sets_of`.
    """
    for path in sets_of(builder_dir, name, HALF_MADE):
        shutil.rmtree(path)
        print(f"Removed {path}: the preparation that wrote it did not end.", flush=True)


@contextlib.contextmanager
def writing(folder: epath.Path) -> Iterator[None]:
    """For the block that prepares a set into a folder.

    Raises:
      OSError: it cannot be written; names the folder, the reason and the remedy.
    """
    try:
        yield
    except (UserError, FileNotFoundError):  # of the raw data
        raise
    except Exception as error:
        place = folder.parents[2]
        of_the_set = isinstance(error, OSError) and os.fspath(folder.parents[1]) in str(error)
        if not (is_full_disk(error) or of_the_set):
            raise
        reason = "the disk is full" if is_full_disk(error) else error
        remedy = "make room there" if is_full_disk(error) else "make it a directory that you may write to"
        raise OSError(
            f"{folder} cannot be prepared ({reason}); {remedy}, or choose another place for prepared data than {place} "
            "(--prepared_dir, config.prepared_dir)"
        ) from error
