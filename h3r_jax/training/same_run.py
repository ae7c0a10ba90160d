"""Whether two configurations, or a configuration and a checkpoint, are of the same run."""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping
from typing import Any

import jax

import h3r_jax
from h3r_jax.errors import UserError
from h3r_jax.run import Run, differences, flatten, upgrade
from h3r_jax.training import distributed

# Fields of paths, evaluation, logging and accidents. They do not change the function that is trained.
FREE_FIELDS = (
    "data_dir",
    "prepared_dir",
    "data.cache_bytes",
    "data.test_name",
    "data.test_folder",
    "data.test_split",
    "train.nonfinite",
    "eval",
    "log",
)
# Libraries whose versions may change a result, where they are installed; tensorflow decodes and resizes images.
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow", "tensorflow-cpu")

Config = Mapping[str, Any]  # nested dicts, as JSON has them


def claim(run: Run, config: Config) -> None:
    """Writes the configuration of a new run; every process must call it.

    Raises:
      UserError: the workdir holds a run of another function.
    """
    with distributed.first_process_first():
        if not run.config_file.exists():
            run.write_config(config)
        elif changed := changes(run.config(), config):
            raise UserError(
                f"{run.config_file} is of another run ({changed}); choose another --workdir, or make the fields agree to "
                "resume"
            )


def changes(theirs: Config, mine: Config) -> str:
    """The fields of the trained function in which two configurations differ, in words; empty if there are none."""
    return "; ".join(
        f"{field}: {there!r} there, {here!r} here"
        for field, (there, here) in differences(theirs, mine).items()
        if not field.startswith(FREE_FIELDS)
    )


# Sections of the network and its training, in which an evaluation may not differ from the run.
OF_THE_NETWORK = ("model", "loss", "landmarks")
# Fields of the protocol: an evaluation may differ from the run in them, and says so.
OF_THE_PROTOCOL = ("eval", "data.name", "data.folder", "data.box", "data.test")


def check_evaluation(run: Run, config: Config) -> dict[str, tuple[Any, Any]]:
    """The fields of the protocol in which an evaluation differs from its run: {"section.field": (the run's, this one's)}.

    Raises:
      UserError: the configuration is of another network than the run's.
    """
    differing = differences(run.config(), config)
    if other := [field for field in differing if field.split(".")[0] in OF_THE_NETWORK]:
        fields = "; ".join(f"{field}: {differing[field][0]!r} there, {differing[field][1]!r} here" for field in other)
        raise UserError(
            f"the configuration is not that of the run in {run.workdir} ({fields}); leave out --config to evaluate the "
            "run as it was trained"
        )
    same = ("eval.batch_size", "eval.averaged")  # the first changes nothing, the second is said with the weights
    return {field: pair for field, pair in differing.items() if field.startswith(OF_THE_PROTOCOL) and field not in same}


def fingerprint(config: Config) -> str:
    """A hash of the fields that make two configurations the same run."""
    fields = {name: value for name, value in flatten(config).items() if not name.startswith(FREE_FIELDS)}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """The version of Python, of this library and of each of `LIBRARIES` that is installed."""
    installed = {"python": platform.python_version(), "h3r_jax": h3r_jax.__version__}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


def identity(
    config: Config, data: Mapping[str, Any]
) -> tuple[Callable[[int], dict[str, Any]], Callable[[Any, str], str]]:
    """`describe` and `check` for one run, as `checkpoints.Checkpoints` takes them."""
    return functools.partial(describe, config, data), functools.partial(check, config, data)


def describe(config: Config, data: Mapping[str, Any], step: int) -> dict[str, Any]:
    """A description of a checkpoint, for JSON: its step, its configuration and data, and the libraries that made it.

    Args:
      config: of the run.
      data: {"name", "examples"} of the training split.
      step: of the checkpoint.
    """
    return {
        "step": step,
        "examples_seen": step * config["train"]["batch_size"],  # the position in the one global order
        "data": data,
        "seed": config["seed"],
        "config_hash": fingerprint(config),
        "config": config,
        "versions": versions(),
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind} in {jax.process_count()} process(es)",
    }


def check(config: Config, data: Mapping[str, Any], about: Mapping[str, Any] | None, name: str) -> str:
    """Whether a run may go on from a checkpoint.

    Args:
      config, data: of the run, as `describe` takes them.
      about: the description of the checkpoint, see `describe`; None without one.
      name: of the checkpoint, for messages.

    Returns:
      A sentence about data or library versions that differ; empty if none do.

    Raises:
      UserError: the checkpoint is of another function, or of another number of examples, which have another order.
    """
    if about is None:
        return f"{name} does not say which configuration and library versions it is of"
    if changed := changes(upgrade(about["config"], name), config):
        raise UserError(
            f"{name} is of another run ({changed}); choose another --workdir, or make the fields agree to resume"
        )
    theirs = about.get("data", data)  # the first checkpoints of this format lack it
    if theirs["examples"] != data["examples"]:
        raise UserError(
            f"{name} is of a run on {theirs['examples']} examples ({theirs['name']}), and now there are "
            f"{data['examples']} ({data['name']}): they would come in another order. Choose another --workdir, or bring "
            "back the data to resume"
        )
    mine = {"data": data["name"]} | versions()
    there = {"data": theirs["name"]} | about["versions"]
    changed = ", ".join(
        f"{part} {there.get(part)} there, {value} here" for part, value in mine.items() if there.get(part) != value
    )
    return (
        f"{name} is of other data or libraries ({changed}); the run may not repeat to the last bit" if changed else ""
    )
