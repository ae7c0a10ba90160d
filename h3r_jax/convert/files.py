"""The files that weights are kept in: PyTorch's (`pickles`), safetensors, and orbax directories.

An orbax directory has the arrays in `DESTINATION/variables` and the description of the model in
`DESTINATION/model.json`. A run, or a step of one, is read too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from etils import epath

from h3r_jax import inference
from h3r_jax import run as runs
from h3r_jax.convert.naming import NAMING_OF_HEAD, Spec
from h3r_jax.convert.pickles import first_line, read_pickle
from h3r_jax.errors import UserError
from h3r_jax.files import read_json, write_whole

if TYPE_CHECKING:
    from h3r_jax.convert.mapping import Report

TORCH_SUFFIXES = (".pth", ".pth.tar", ".pt", ".bin")
SAFETENSORS_SUFFIX = ".safetensors"
METADATA = "h3r_jax"  # key of the description in the header of a safetensors file
METADATA_CONFIG = "h3r_jax_config"  # key there of the configuration of its run
ARRAYS, DESCRIPTION, CONFIG = "variables", "model.json", "config"


def load_torch(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a `.pth`, `.pth.tar`, `.pt`, `.bin` (these need torch) or `.safetensors` file.

    Args:
      path: of the file.

    Returns:
      name -> numpy array of the type in the file. The prefix `module.` of torch's data parallelism is removed.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, holds more than tensors and plain containers, or no tensors.
    """
    return read_file(path)[0]


def read_file(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a file as `load_torch` returns them, and those left out: their place in the file -> the reason."""
    file = epath.Path(path)
    left_out: dict[str, str] = {}
    if not file.is_file():
        raise FileNotFoundError(f"{path} is not a file")
    if file.name.endswith(SAFETENSORS_SUFFIX):
        with _open_safetensors(file) as content:
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - no dict
    elif file.name.endswith(TORCH_SUFFIXES):
        tensors, left_out = read_pickle(file)
    else:
        known = ", ".join((*TORCH_SUFFIXES, SAFETENSORS_SUFFIX))
        raise UserError(f"{path} is of no known kind; known endings are {known}")
    plain = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    if len(plain) < len(tensors):
        twice = next(name for name in plain if name in tensors and f"module.{name}" in tensors)
        raise UserError(f"{path} holds both {twice} and module.{twice}; keep the one that is meant")
    return plain, left_out


def stored_spec(path: str | os.PathLike) -> Spec | None:
    """The Spec that `write_safetensors` put into a file's header; None in a file of others."""
    fields = _metadata(path, METADATA)
    return fields and Spec(**fields)


def _metadata(path: str | os.PathLike, key: str) -> Any:
    """A JSON value in a file's header; None without one."""
    if not str(path).endswith(SAFETENSORS_SUFFIX):
        return None
    with _open_safetensors(path) as file:
        return json.loads((file.metadata() or {}).get(key, "null"))


def stored_config(path: str | os.PathLike) -> dict | None:
    """The configuration (nested dicts) of the run that a source is of, or was converted from; None without one."""
    source = epath.Path(path).expanduser()
    if not source.is_dir():
        stored = _metadata(source, METADATA_CONFIG)
    elif (source / DESCRIPTION).exists():
        stored = read_json(source / DESCRIPTION).get(CONFIG)
    else:
        found = runs.find(source)
        return found[0].config() if found and found[0].config_file.exists() else None
    return stored and runs.upgrade(stored, source)


@contextlib.contextmanager
def _open_safetensors(path: str | os.PathLike) -> Iterator[Any]:
    safetensors = _safetensors(path, "read")
    try:
        with safetensors.safe_open(os.fspath(path), framework="numpy") as file:
            yield file
    except (safetensors.SafetensorError, TypeError) as error:  # TypeError: a type that numpy has not, as bfloat16
        raise UserError(f"{path} cannot be read as safetensors ({first_line(error)})") from error


def _safetensors(path: str | os.PathLike, what: str) -> Any:
    """The module that `path` is to be read or written with."""
    try:
        import safetensors.numpy
    except ImportError as error:
        raise UserError(f"{path} needs safetensors to be {what} (pip install safetensors)") from error
    return safetensors


def write_safetensors(
    path: str | os.PathLike, tensors: dict[str, np.ndarray], spec: Spec, config: dict | None = None
) -> None:
    """Writes tensors (name -> array), with the Spec and the configuration of a run in the header; whole or not at all.

    Raises:
      ValueError: safetensors is not installed, or there is something at `path` already.
    """
    safetensors = _safetensors(path, "written")
    metadata = {METADATA: json.dumps(dataclasses.asdict(spec)), "format": "pt"}
    if config:
        metadata[METADATA_CONFIG] = json.dumps(config)
    data = safetensors.numpy.save(tensors, metadata=metadata)
    write_whole(path, lambda temporary: temporary.write_bytes(data))


def write_directory(
    path: str | os.PathLike,
    variables: dict,
    spec: Spec,
    source: str | os.PathLike,
    report: Report,
    config: dict | None = None,
) -> None:
    """Writes an orbax directory; whole or not at all. All but the variables is noted in `model.json`.

    Args:
      path: to create.
      variables: {"params", "batch_stats"}, arrays.
      spec: of the variables.
      source: their origin.
      report: of the arrays in `source`.
      config: `stored_config` of `source`.

    Raises:
      ValueError: there is something at `path` already.
    """
    import orbax.checkpoint as ocp

    def write(temporary: epath.Path) -> None:
        temporary.mkdir()
        ocp.PyTreeCheckpointer().save(temporary / ARRAYS, variables)
        about = {"source": str(source), "left_out": report.left_out, "notes": report.notes, CONFIG: config}
        (temporary / DESCRIPTION).write_text(json.dumps({**dataclasses.asdict(spec), **about}, indent=2))

    write_whole(path, write)


def load_directory(path: str | os.PathLike) -> tuple[dict, Spec]:
    """The variables of an orbax directory.

    Args:
      path: of a directory that `write_directory` wrote, or of a run or a step of one. The run's configuration says
        whether its moving average is taken.

    Returns:
      variables {"params", "batch_stats"} of numpy arrays, and Spec.

    Raises:
      FileNotFoundError: there is no such step.
      ValueError: it is neither, or is damaged.
    """
    source = epath.Path(path).resolve()
    if (source / DESCRIPTION).exists():
        description = read_json(source / DESCRIPTION)
        fields = [field.name for field in dataclasses.fields(Spec)]
        return _restore(source / ARRAYS), Spec(**{name: description[name] for name in fields})
    found = runs.find(source)
    if not found:
        raise UserError(f"{source} is neither a converted model nor a step of a run (WORKDIR/checkpoints/STEP)")
    run, step = found
    config = run.config()
    network = inference.make_network(**inference.settings_of(config))
    host = jax.sharding.SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
    averaged = config["eval"]["averaged"]
    variables, _ = run.variables(network.shapes(), step=step, averaged=averaged, sharding=host)
    spec = Spec(config["model"]["name"], network.head, network.scheme.num_landmarks, NAMING_OF_HEAD[network.head])
    return jax.tree.map(np.asarray, variables), spec


def _restore(path: epath.Path) -> dict:
    """The numpy arrays that orbax wrote at `path`, from whatever devices."""
    import orbax.checkpoint as ocp

    checkpointer, as_numpy = ocp.PyTreeCheckpointer(), ocp.RestoreArgs(restore_type=np.ndarray)
    try:
        tree = checkpointer.metadata(path).item_metadata.tree
        return checkpointer.restore(path, restore_args=jax.tree.map(lambda _: as_numpy, tree))
    except (ValueError, FileNotFoundError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is no whole orbax checkpoint ({first_line(error)})") from error
