"""Steps whose loss or gradient is not finite: what is kept of them for the user, and when they end a run."""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from etils import epath

from h3r_jax.errors import UserError
from h3r_jax.run import Run
from h3r_jax.training import distributed

POLICIES = ("stop", "skip")
FOLDER = "nonfinite"
MAX_KEPT = 10  # incidents written by one process; more are counted
MAX_IN_A_ROW = 10  # skipped steps, after which a run will hardly recover


class NotFinite(UserError, FloatingPointError):
    """A run ended at a loss or gradient that is not finite."""


class Incidents:
    """Writes each step that was not finite to WORKDIR/nonfinite/STEP. Then it ends the run or lets it go on.

        report.json         the step, its metrics, the last step that is in the state, the policy
        batch-PROCESS.npz   this process's slice of the batch
        state.npz           arrays of the TrainState by path, such as variables/params/head/...

    With policy "stop" the state is the one before the step. With "skip" it is the one of a few steps later, because
    metrics are read late. To see the step itself, start from the checkpoint before it: a run repeats exactly.
    """

    def __init__(self, run: Run, policy: str, batch_of: Callable[[int], dict[str, np.ndarray]]):
        """
        Args:
          run: Run.
          policy: one of `POLICIES`; "skip" ends the run too, after `MAX_IN_A_ROW` steps in a row.
          batch_of: function from a step, counted from 1, to its batch.
        """
        self._directory, self._policy, self._batch_of = run.workdir / FOLDER, policy, batch_of
        self._kept, self._in_a_row, self._last = 0, 0, -1

    def __call__(self, step: int, state: Any, metrics: dict[str, Any]) -> str:
        """Records a step and returns a sentence about it. Every process must call it, with its part of the batch.

        Args:
          step: the step, counted from 1.
          state: TrainState.
          metrics: name -> number, of that step.

        Raises:
          NotFinite: the run has to end.
        """
        self._in_a_row = self._in_a_row + 1 if self._last == step - 1 else 1
        self._last = step
        sentence = (
            f"step {step} is not finite (loss {metrics['loss']:g}, norm of the gradient {metrics['grad_norm']:g})"
        )
        if self._kept < MAX_KEPT:
            self._kept += 1
            directory = self._directory / str(step)
            self._write(directory, step, state, metrics)
            sentence += f"; its batch and the state are in {directory}"
        if self._policy == "stop" or self._in_a_row == MAX_IN_A_ROW:
            distributed.meet()  # whoever ends first would take the others with him while they write
            many = "" if self._policy == "stop" else f", the last of {MAX_IN_A_ROW} in a row"
            raise NotFinite(
                f"{sentence}{many}; look for broken labels or images there, lower train.learning_rate or "
                "train.clip_norm, "
                'or pass over such steps by train.nonfinite="skip"'
            )
        return f"{sentence}; skipped"

    def _write(self, directory: epath.Path, step: int, state: Any, metrics: dict[str, Any]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        save_arrays(directory / f"batch-{jax.process_index()}.npz", self._batch_of(step))
        if jax.process_index() == 0:
            save_arrays(directory / "state.npz", state)
            report = {"step": step, "state_after_step": int(state.step), "policy": self._policy}
            report |= {name: repr(float(value)) for name, value in metrics.items()}
            (directory / "report.json").write_text(json.dumps(report, indent=2))


def save_arrays(path: epath.Path, tree: Any) -> None:
    """The arrays of a tree as an .npz, named by their path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    names = [jax.tree_util.keystr(key, simple=True, separator="/") for key, _ in leaves]
    with path.open("wb") as file:
        np.savez(file, **dict(zip(names, jax.device_get([leaf for _, leaf in leaves]))))


def load_arrays(path: epath.Path, tree: Any) -> Any:
    """What `save_arrays` wrote, in the structure of `tree`."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    with path.open("rb") as file, np.load(file) as arrays:
        values = [arrays[jax.tree_util.keystr(key, simple=True, separator="/")] for key, _ in leaves]
    return jax.tree.unflatten(structure, values)
