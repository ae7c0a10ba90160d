"""A run is one workdir. This module knows the places in it, its configuration, its steps and their weights.

    WORKDIR/config.json         the configuration
    WORKDIR/checkpoints/STEP/   variables, average (their moving average), progress (step, optimiser), about (JSON), and
                                the digests of their files (SHA256SUMS)
    WORKDIR/metrics.jsonl       loss and scores by step; tensorboard/ has the same
    WORKDIR/augmented.png       the first training examples, as the network sees them
    WORKDIR/targets.png         the activation points of a few of them
    WORKDIR/mirrored.png        a few of them beside their mirror images
    WORKDIR/nonfinite/STEP/     what is kept of a step whose loss or gradient was not finite
    WORKDIR/profile/            the profile of train.py --profile
    WORKDIR/eval/               what eval.py writes
    WORKDIR/owner.json          the process that trains, while it does
    WORKDIR/damaged/STEP/       a checkpoint whose files have changed, which train.py --skip_damaged set aside

The configuration and one step are enough to use the network.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from etils import epath

from h3r_jax import digests, ranges
from h3r_jax.errors import UserError, of_the_user
from h3r_jax.files import read_json, user_path, write_json

CONFIG, CHECKPOINTS = "config.json", "checkpoints"
UNVERIFIED = "not verified, since it has no digests"
VARIABLES, AVERAGE, PROGRESS, ABOUT = "variables", "average", "progress", "about"  # the items of a step

# Fields that configurations of older runs lack, with the value that those runs had.
ADDED = {
    "init_from": "",
    "landmarks.connections": [],
    "landmarks.sigmas": [],
    "data.test_name": "",
    "data.test_folder": "",
    "model.logits": "difference",
    "loss.threshold": 0.5,
    "loss.sigma": 0.0,
    "loss.weight": 1.0,
    "loss.margin": 1.0,
    "loss.eps": 1.0,
    "augment.half_body": 0.0,
    "train.accumulation": 1,
    "train.nonfinite": "stop",
    "train.optimizer": "adamw",
    "train.steps": 0,
    "eval.activation": "",
    "eval.crop": "exact",
    "eval.metric": "nme",
    "eval.normalizers": [],
    "eval.subsets": [],
}
# Fields that older runs have and this version lacks: the value that changes nothing, and the remedy for another.
REMOVED = {"data.on_error": ("stop", "repair the images, and train anew without the field")}
FLIPS = {False: "", True: "coordinates"}  # eval.flip was a switch at first


class Run:
    """One workdir.

    workdir: its path, local or in a cloud (`gs://`).
    """

    def __init__(self, workdir: str | os.PathLike):
        self.workdir = user_path(workdir)

    @property
    def config_file(self) -> epath.Path:
        """The path of the configuration."""
        return self.workdir / CONFIG

    @property
    def owner_file(self) -> epath.Path:
        """The path of the claim of the process that trains; see `claims`."""
        return self.workdir / "owner.json"

    @property
    def checkpoints(self) -> epath.Path:
        """The path of the folder of steps."""
        return self.workdir / CHECKPOINTS

    def config(self) -> dict[str, Any]:
        """The run's configuration in the fields of this version, as nested dicts.

        Raises:
          FileNotFoundError: there is none.
          UserError: it is damaged, or has a value that this version does not know.
        """
        if not self.config_file.exists():
            raise FileNotFoundError(f"{self.config_file} does not exist; train first, or correct the path of the run")
        try:
            content = read_json(self.config_file)
        except UserError as error:
            remedy = "remove it and give the command of train.py once more, which writes it anew"
            raise UserError(f"{error}; {remedy}") from error
        return upgrade(content, self.config_file)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes the configuration, and makes the workdir if it is not there."""
        write_json(self.config_file, config)

    def steps(self) -> list[int]:
        """The steps that were saved as a whole, ascending."""
        from orbax.checkpoint.utils import checkpoint_steps

        return sorted(checkpoint_steps(self.checkpoints)) if self.checkpoints.exists() else []

    def faults(self, step: int) -> list[str]:
        """What is missing or has changed in the files of a step since it was saved, in words; empty if nothing is.

        Of a step without digests, only what is missing can be seen.
        """
        folder = self.checkpoints / str(step)
        missing = [f"{item} is missing" for item in (VARIABLES, PROGRESS) if not (folder / item).is_dir()]
        return missing or (digests.faults(folder) if digests.present(folder) else [])

    def verify(self, step: int) -> str:
        """Compares the files of a step with their digests.

        Returns:
          A phrase: how much was compared in what time, or that it could not be.

        Raises:
          UserError: the step is damaged; names its files, and the newest step that is whole.
          FileNotFoundError: it is not there any more.
        """
        start, folder = time.perf_counter(), self.checkpoints / str(step)
        faults = self.faults(step)
        if not folder.exists():
            raise FileNotFoundError(f"{folder} is gone; the training that runs may have removed it for a later step")
        if faults:
            more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
            raise UserError(f"{folder} is damaged ({faults[0]}{more}); {self._remedy(step)}")
        if not digests.present(folder):
            return UNVERIFIED
        seconds = time.perf_counter() - start
        return f"verified: {digests.size(folder) / 2**20:.1f} MiB in {seconds:.2f} s"

    def _remedy(self, step: int) -> str:
        whole = next((other for other in reversed(self.steps()) if other != step and not self.faults(other)), None)
        if whole is None:
            return "no other step is whole, so train anew in another workdir"
        return (
            f"step {whole} is the newest that is whole: train.py --skip_damaged goes on from it, and "
            f"--checkpoint={self.checkpoints / str(whole)} evaluates it"
        )

    @contextlib.contextmanager
    def reading(self, step: int) -> Iterator[None]:
        """Makes one sentence of whatever a library says of a step that it cannot read."""
        try:
            yield
        except UserError:
            raise
        except (ValueError, KeyError, TypeError, OSError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise UserError(
                f"{self.checkpoints / str(step)} cannot be read ({reason}); {self._remedy(step)}"
            ) from error

    def variables(
        self, shapes: Any, *, sharding: jax.sharding.Sharding, step: int | None = None, averaged: bool = True
    ) -> tuple[Any, str]:
        """The variables of a step.

        Args:
          shapes: {"params", "batch_stats"} of `jax.ShapeDtypeStruct`, such as `inference.Network.shapes` gives.
          sharding: of every array that is returned.
          step: one of `steps()`; None for the last.
          averaged: whether to take the moving average, if the run keeps one.

        Returns:
          {"params", "batch_stats"}, and a phrase that says which they are.

        Raises:
          FileNotFoundError: there is no such step.
          UserError: the step is damaged, or holds another network.
        """
        import orbax.checkpoint as ocp

        steps = self.steps()
        if not steps or step not in (None, *steps):
            wanted = "train first" if step is None else f"not {step}"
            raise FileNotFoundError(f"{self.checkpoints} holds steps {steps}, {wanted}")
        step = steps[-1] if step is None else step
        folder = self.checkpoints.resolve() / str(step)
        verified = self.verify(step) if jax.process_index() == 0 else ""
        averaged = averaged and (folder / AVERAGE).exists()
        item = folder / (AVERAGE if averaged else VARIABLES)
        with self.reading(step), ocp.StandardCheckpointer() as checkpointer:
            there, here = _shapes(ocp.StandardCheckpointHandler().metadata(item).tree), _shapes(shapes)
            for name in {**there, **here}:
                if there.get(name) != here.get(name):
                    difference = f"{name} has shape {there.get(name)} there, {here.get(name)} here"
                    raise UserError(f"{folder} does not hold the network of the configuration ({difference})")
            target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)
            variables = checkpointer.restore(item, target)
        note = f", {UNVERIFIED}" if verified == UNVERIFIED else ""
        return variables, f"{'moving average of the' if averaged else 'raw'} parameters at step {step}{note}"


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}


def check_workdir(path: str | os.PathLike) -> str | os.PathLike:
    """The path of a workdir as it is; UserError says why it cannot be one."""
    text = os.fspath(path)
    if not text:
        raise UserError("--workdir is empty; want the directory of the run, such as --workdir=runs/mine")
    if os.fsencode(text).decode(errors="replace") != text:
        raise UserError(f"--workdir is {text!r}, which is no text in UTF-8; choose another --workdir")
    if (found := find(path)) and found[1] is not None:
        raise UserError(
            f"--workdir is {text}, a checkpoint; want --workdir={found[0].workdir} (for eval.py, --checkpoint={text})"
        )
    return path


def find(path: str | os.PathLike) -> tuple[Run, int | None] | None:
    """The run that a path leads to.

    Args:
      path: of a workdir, of a step `WORKDIR/checkpoints/STEP`, or of anything else.

    Returns:
      The run and the step, None for the last one; None if the path is neither a workdir nor a step of one.

    Raises:
      UserError: it is no path, but a web address for instance.
    """
    place = user_path(path)
    if (place / CONFIG).exists() or (place / CHECKPOINTS).exists():
        return Run(place), None
    if place.name.isascii() and place.name.isdecimal() and place.parent.name == CHECKPOINTS:
        return Run(place.parent.parent), int(place.name)
    return None


def upgrade(config: Any, path: str | os.PathLike) -> dict[str, Any]:
    """A configuration of this or an older version in the fields of this version.

    Args:
      config: nested dicts, as they were stored.
      path: of their file, for messages.

    Raises:
      UserError: it is no configuration, lacks a field, or has a value that this version cannot follow; says what to do.
    """
    fields = flatten(config) if isinstance(config, dict) else {}
    if "model.name" not in fields:
        raise UserError(f"{path} is damaged: it is not the configuration of a run")
    for field, (harmless, remedy) in REMOVED.items():
        if fields.pop(field, harmless) != harmless:
            raise UserError(f"{path} is of an older version: this one has no config.{field}; {remedy}")
    fields = {**ADDED, **fields}
    flip = fields.get("eval.flip", "")
    fields["eval.flip"] = FLIPS[flip] if isinstance(flip, bool) else flip
    with of_the_user(f"{path}: "):
        ranges.check_fields(fields)
    nested: dict[str, Any] = {}
    for field, value in fields.items():
        *sections, name = field.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return nested


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as {"section.field": value}, tuples as lists, as JSON has them."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            result |= flatten(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return result


def differences(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields in which two configurations differ: {"section.field": (theirs, mine)}, None for a missing one."""
    there, here = flatten(theirs), flatten(mine)
    pairs = {field: (there.get(field), here.get(field)) for field in {**here, **there}}
    return {field: pair for field, pair in pairs.items() if pair[0] != pair[1]}
