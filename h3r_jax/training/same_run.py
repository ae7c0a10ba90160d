"""Whether two configurations, or a configuration and a checkpoint, are of the same run."""

import contextlib
import dataclasses
import importlib.metadata
import platform
from collections.abc import Iterator, Mapping
from typing import Any

import jax

import h3r_jax
from h3r_jax.claims import Claim
from h3r_jax.errors import UserError
from h3r_jax.run import Run, differences, upgrade
from h3r_jax.training import distributed

# Fields of paths, evaluation, logging and steps that are not finite. They do not change what is trained.
FREE = ("data_dir", "prepared_dir", "data.cache_bytes", "data.test_", "train.nonfinite", "eval.", "log.")
# An evaluation may not differ from its run in the fields of the network. It may differ in those of the protocol, and
# says in which.
OF_THE_NETWORK = ("model.", "loss.", "landmarks.")
OF_THE_PROTOCOL = ("eval.", "data.name", "data.folder", "data.box", "data.test_")
SAID_ELSEWHERE = ("eval.batch_size", "eval.averaged")  # the first changes nothing, the second is said with the weights
# Libraries whose versions may change a result, where they are installed; pillow decodes and resizes images.
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow", "tensorflow", "tensorflow-cpu")

Config = Mapping[str, Any]  # nested dicts, as JSON has them
Differing = dict[str, tuple[Any, Any]]  # "section.field" -> the value there, the value here


@contextlib.contextmanager
def owned(run: Run) -> Iterator[Claim | None]:
    """Within the block, this training alone works in the workdir; the first of its processes has the claim.

    Raises:
      UserError: another training owns it.
      OSError: the workdir cannot be written.
    """
    if not distributed.is_first():
        yield None
        return
    with Claim(run.owner_file, f"the run in {run.workdir}") as claim:
        yield claim


def check(run: Run, config: Config) -> str:
    """Whether a run may start in, or go on in, a workdir.

    Returns:
      A sentence if the workdir holds the configuration of another run, which never saved a step; empty otherwise.

    Raises:
      UserError: the workdir holds another run: a field that changes what is trained differs.
    """
    changed = _changes(run.config(), config) if run.config_file.exists() else ""
    if changed and run.steps():
        remedy = "choose another --workdir, or make the fields agree to resume"
        raise UserError(f"{run.config_file} is of another run ({changed}); {remedy}")
    return f"{run.config_file} is replaced ({changed}); the run that it was of saved no step" if changed else ""


def check_evaluation(run: Run, config: Config) -> Differing:
    """The fields of the protocol in which an evaluation differs from its run.

    Raises:
      UserError: the configuration is of another network than the run's.
    """
    differing = differences(run.config(), config)
    if other := {field: pair for field, pair in differing.items() if field.startswith(OF_THE_NETWORK)}:
        raise UserError(
            f"the configuration is not that of the run in {run.workdir} ({_words(other)}); leave out --config to "
            "evaluate the run as it was trained"
        )
    protocol = {field: pair for field, pair in differing.items() if field.startswith(OF_THE_PROTOCOL)}
    return {field: pair for field, pair in protocol.items() if field not in SAID_ELSEWHERE}


def _changes(theirs: Config, mine: Config) -> str:
    """The fields that change what is trained and that differ, in words; empty if there are none."""
    differing = differences(theirs, mine)
    return _words({field: pair for field, pair in differing.items() if not field.startswith(FREE)})


def _words(differing: Differing) -> str:
    return "; ".join(f"{field}: {there!r} there, {here!r} here" for field, (there, here) in differing.items())


def versions() -> dict[str, str]:
    """The version of Python, of this library and of each of `LIBRARIES` that is installed."""
    installed = {"python": platform.python_version(), "h3r_jax": h3r_jax.__version__}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a checkpoint says of its run. A run that goes on from a checkpoint compares itself with this.

    config: of the run.
    data: name of the training split.
    examples: the number of examples in it.
    """

    config: Config
    data: str
    examples: int

    def describe(self, step: int) -> dict[str, Any]:
        """The description of the checkpoint of a step, for JSON."""
        return {
            "step": step,
            "examples_seen": step * self.config["train"]["batch_size"],  # the position in the one global order
            "data": {"name": self.data, "examples": self.examples},
            "seed": self.config["seed"],
            "config": self.config,
            "versions": versions(),
            "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind} in {jax.process_count()} process(es)",
        }

    def check(self, about: Mapping[str, Any] | None, name: str) -> str:
        """Whether the run may go on from a checkpoint.

        Args:
          about: the description of the checkpoint, see `describe`; None without one.
          name: of the checkpoint, for messages.

        Returns:
          A sentence about data or library versions that differ; empty if none do.

        Raises:
          UserError: a field that changes what is trained differs, or the number of examples, which decides their order.
        """
        if about is None:
            return f"{name} does not say which configuration and library versions it is of"
        if not (isinstance(about, Mapping) and "config" in about and isinstance(about.get("versions"), Mapping)):
            raise UserError(f"{name} is damaged: its part about is not of a run; remove {name} to do without it")
        if changed := _changes(upgrade(about["config"], name), self.config):
            remedy = "choose another --workdir, or make the fields agree to resume"
            raise UserError(f"{name} is of another run ({changed}); {remedy}")
        theirs = about.get("data", {"name": self.data, "examples": self.examples})  # the first checkpoints lack it
        if theirs["examples"] != self.examples:
            raise UserError(
                f"{name} is of a run on {theirs['examples']} examples ({theirs['name']}), and now there are "
                f"{self.examples} ({self.data}): they would come in another order. Choose another --workdir, or bring "
                "back the data to resume"
            )
        there, here = {"data": theirs["name"], **about["versions"]}, {"data": self.data, **versions()}
        changed = ", ".join(
            f"{part} {there.get(part)} there, {here[part]} here" for part in here if there.get(part) != here[part]
        )
        return (
            f"{name} is of other data or libraries ({changed}); the run may not repeat to the last bit"
            if changed
            else ""
        )
