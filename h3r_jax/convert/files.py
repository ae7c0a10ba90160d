"""The files that weights are kept in: PyTorch's (`pickles`), safetensors (`safetensors_files`), and orbax directories.

An orbax directory has the arrays in `DESTINATION/variables`, the description of the model in `DESTINATION/model.json`,
and the digests of both in `DESTINATION/SHA256SUMS`. A run, or a step of one, is read too.
"""

from __future__ import annotations

import dataclasses
import errno
import fnmatch
import json
import os
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from etils import epath

from h3r_jax import digests, inference
from h3r_jax import run as runs
from h3r_jax.convert import safetensors_files
from h3r_jax.convert.naming import NAMING_OF_HEAD, Spec
from h3r_jax.convert.pickles import first_line, read_pickle
from h3r_jax.errors import UserError
from h3r_jax.files import read_json, write_json, write_whole

if TYPE_CHECKING:
    from h3r_jax.convert.mapping import Report

TORCH_SUFFIXES = (".pth", ".pth.tar", ".pt", ".bin")
SAFETENSORS_SUFFIX = safetensors_files.SUFFIX
METADATA = "h3r_jax"  # key of the description in the header of a safetensors file
METADATA_CONFIG = "h3r_jax_config"  # key there of the configuration of its run
ARRAYS, DESCRIPTION, CONFIG = "variables", "model.json", "config"
DESCRIPTION_BYTES = 4096  # that orbax writes beside an array, at most
UNVERIFIED = f"the directory has no {digests.NAME}: whether it is damaged cannot be verified"


class Content(NamedTuple):
    """What a file of weights holds.

    tensors: name -> array of the type in the file.
    left_out: of further tensors, their place in the file -> the reason why they are not used.
    notes: sentences on the file.
    """

    tensors: dict[str, np.ndarray]
    left_out: dict[str, str]
    notes: tuple[str, ...]


def load_torch(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a `.pth`, `.pth.tar`, `.pt`, `.bin` (these need torch) or `.safetensors` file.

    Args:
      path: of the file.

    Returns:
      name -> numpy array of the type in the file. The prefix `module.` of torch's data parallelism is removed.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: it is damaged, holds more than tensors and plain containers, or no tensors.
    """
    return read_file(path).tensors


def read_file(path: str | os.PathLike) -> Content:
    """The Content of a file; its tensors and errors are those of `load_torch`."""
    file = epath.Path(path)
    left_out: dict[str, str] = {}
    if not file.is_file():
        raise FileNotFoundError(f"{path} is not a file")
    if file.name.endswith(SAFETENSORS_SUFFIX):
        tensors, notes = safetensors_files.read(file)
    elif file.name.endswith(TORCH_SUFFIXES):
        tensors, left_out, notes = read_pickle(file)
    else:
        known = ", ".join((*TORCH_SUFFIXES, SAFETENSORS_SUFFIX))
        raise UserError(f"{path} is of no known kind; known endings are {known}")
    plain = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    if len(plain) < len(tensors):
        twice = next(name for name in plain if name in tensors and f"module.{name}" in tensors)
        raise UserError(f"{path} holds both {twice} and module.{twice}; keep the one that is meant")
    return Content(plain, left_out, notes)


def stored_spec(path: str | os.PathLike) -> Spec | None:
    """The Spec that `write_safetensors` put into a file's header; None in a file of others.

    Raises:
      UserError: the header holds something else.
    """
    fields = _metadata(path, METADATA)
    return None if fields is None else Spec.stored(fields, f"{path}: {METADATA} in its header")


def _metadata(path: str | os.PathLike, key: str) -> Any:
    """A JSON value in the header of a safetensors file; None without one, and for other files."""
    return safetensors_files.metadata(path, key) if str(path).endswith(SAFETENSORS_SUFFIX) else None


def stored_config(path: str | os.PathLike) -> dict | None:
    """The configuration (nested dicts) of the run that a source is of, or was converted from; None without one.

    Raises:
      UserError: it is damaged, or of another version; see `run.upgrade`.
    """
    source = epath.Path(path).expanduser()
    if not source.is_dir():
        stored = _metadata(source, METADATA_CONFIG)
    elif (source / DESCRIPTION).exists():
        stored = _description(source).get(CONFIG)
    else:
        found = runs.find(source)
        return found[0].config() if found and found[0].config_file.exists() else None
    return None if stored is None else runs.upgrade(stored, source)


def _description(source: epath.Path) -> dict[str, Any]:
    file = source / DESCRIPTION
    description = read_json(file)
    if not isinstance(description, dict):
        raise UserError(f"{file} is damaged: it does not describe a network; convert it anew")
    return description


def write_safetensors(
    path: str | os.PathLike,
    tensors: dict[str, np.ndarray],
    spec: Spec,
    config: dict | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Writes tensors (name -> array), with the Spec and the configuration of a run in the header; whole or not at all.

    Raises:
      UserError: safetensors is not installed, or there is something at `path` already and `overwrite` is not set.
      OSError: it cannot be written; names the path.
    """
    metadata = {METADATA: json.dumps(dataclasses.asdict(spec)), "format": "pt"}
    if config:
        metadata[METADATA_CONFIG] = json.dumps(config)
    safetensors_files.write(path, tensors, metadata, overwrite=overwrite)


def write_directory(
    path: str | os.PathLike,
    variables: dict,
    spec: Spec,
    source: str | os.PathLike,
    report: Report,
    config: dict | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Writes an orbax directory; whole or not at all. All but the variables is noted in `model.json`.

    Args:
      path: to create.
      variables: {"params", "batch_stats"}, arrays.
      spec: of the variables.
      source: their origin.
      report: of the arrays in `source`.
      config: `stored_config` of `source`.
      overwrite: whether to replace what is at `path`.

    Raises:
      UserError: there is something at `path` already; or orbax does not read back what it has written.
      OSError: it cannot be written; names the path.
    """
    import orbax.checkpoint as ocp

    def write(temporary: epath.Path) -> None:
        temporary.mkdir()
        _check_room(temporary, jax.tree.leaves(variables))
        ocp.PyTreeCheckpointer().save(temporary / ARRAYS, variables)
        about = {"source": str(source), "left_out": report.left_out, "notes": report.notes, CONFIG: config}
        write_json(temporary / DESCRIPTION, {**dataclasses.asdict(spec), **about})
        _check_written(temporary, variables, path)
        digests.write(temporary)

    write_whole(path, write, overwrite=overwrite)


def _check_room(place: epath.Path, arrays: Sequence[Any]) -> None:
    """OSError if a local disk has no room for arrays. Orbax finds that too, but its threads print their tracebacks."""
    needed = sum(array.nbytes + DESCRIPTION_BYTES for array in arrays)
    if "://" not in os.fspath(place) and shutil.disk_usage(place).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _check_written(temporary: epath.Path, variables: dict, path: str | os.PathLike) -> None:
    """UserError if orbax does not read back what it wrote."""
    try:
        same = jax.tree.map(
            lambda written, read: np.asarray(written).tobytes() == read.tobytes(),
            variables,
            _restore(temporary / ARRAYS),
        )
    except ValueError:
        same = False
    if not jax.tree.all(same):
        raise UserError(f"{path} cannot be read back after it is written; choose another destination")


def check_name(path: str | os.PathLike) -> None:
    """UserError if orbax cannot write below a path: it takes the path for a pattern, as `glob` does."""
    place = os.fspath(epath.Path(path).expanduser().resolve())
    if not fnmatch.fnmatchcase(place, place):
        raise UserError(
            f"{path} cannot be written by orbax, because of the square brackets in the path; choose another one, or a "
            f"destination that ends in {SAFETENSORS_SUFFIX}"
        )


def load_directory(path: str | os.PathLike) -> tuple[dict, Spec, tuple[str, ...]]:
    """The variables of an orbax directory.

    Args:
      path: of a directory that `write_directory` wrote, or of a run or a step of one. The run's configuration says
        whether its moving average is taken.

    Returns:
      variables {"params", "batch_stats"} of numpy arrays, Spec, and notes on the directory.

    Raises:
      FileNotFoundError: there is no such step.
      UserError: it is neither, or is damaged.
    """
    source = epath.Path(path).resolve()
    if (source / DESCRIPTION).exists():
        notes = _verify(source)
        spec = Spec.stored(_description(source), str(source / DESCRIPTION))
        return _restore(source / ARRAYS), spec, notes
    found = runs.find(source)
    if not found:
        raise UserError(f"{source} is neither a converted model nor a step of a run (WORKDIR/checkpoints/STEP)")
    run, step = found
    config = run.config()
    network = inference.make_network(**inference.settings_of(config))
    host = jax.sharding.SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
    averaged = config["eval"]["averaged"]
    variables, origin = run.variables(network.shapes(), step=step, averaged=averaged, sharding=host)
    spec = Spec(config["model"]["name"], network.head, network.scheme.num_landmarks, NAMING_OF_HEAD[network.head])
    notes = (runs.UNVERIFIED,) if origin.endswith(runs.UNVERIFIED) else ()
    return jax.tree.map(np.asarray, variables), spec, notes


def _verify(source: epath.Path) -> tuple[str, ...]:
    """UserError if a converted directory differs from its digests; a note if it has none."""
    if not digests.present(source):
        return (UNVERIFIED,)
    if faults := digests.faults(source, DESCRIPTION, ARRAYS):
        raise UserError(f"{source} is damaged ({'; '.join(faults)}); convert it anew, or fetch it again")
    return ()


def _restore(path: epath.Path) -> dict:
    """The numpy arrays that orbax wrote at `path`, from whatever devices."""
    import orbax.checkpoint as ocp

    checkpointer, as_numpy = ocp.PyTreeCheckpointer(), ocp.RestoreArgs(restore_type=np.ndarray)
    try:
        tree = checkpointer.metadata(path).item_metadata.tree
        return checkpointer.restore(path, restore_args=jax.tree.map(lambda _: as_numpy, tree))
    except Exception as error:  # a damaged checkpoint ends in any class
        raise UserError(f"{path} is no whole orbax checkpoint ({first_line(error)})") from error
