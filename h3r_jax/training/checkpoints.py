"""Saving and restoring a run: the latest few steps and the best one, each a whole TrainState with a description."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from h3r_jax.errors import is_full_disk
from h3r_jax.run import ABOUT, AVERAGE, PROGRESS, VARIABLES, Run
from h3r_jax.training.state import TrainState


class Checkpoints:
    """The checkpoints of a run that is trained.

    A step is saved into a temporary directory, which is renamed when it is complete. A killed process may leave such a
    directory. It never counts as a checkpoint, and the next start removes it.
    """

    def __init__(
        self,
        run: Run,
        *,
        keep: int,
        best: tuple[str, bool] = ("nme", True),
        about: Callable[[int], Any] | None = None,
    ):
        """
        Args:
          run: Run.
          keep: how many of the latest to keep beside the best.
          best: the name of the metric on the validation split that chooses the best, and whether lower is better.
          about: function from a step to its description, for JSON; None for no description.
        """
        self._best_metric, lower_is_better = best

        def value_of(metrics: Any) -> float:
            # The metric may change within a run. A step that was scored by another one is never the best.
            return metrics.get(self._best_metric, math.inf if lower_is_better else -math.inf)

        self._about = about
        self._directory = run.checkpoints.resolve()
        policy = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(keep),
                checkpoint_managers.BestN(
                    get_metric_fn=value_of,
                    reverse=lower_is_better,
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            best_fn=value_of,
            best_mode="min" if lower_is_better else "max",
            create=True,
            cleanup_tmp_directories=True,
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def steps(self) -> list[int]:
        """The steps that can be restored, ascending."""
        return sorted(self._manager.all_steps())

    def latest(self) -> int | None:
        """The last step, None if there is none."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The step that is best on the validation split, None if none was evaluated."""
        step = self._manager.best_step()
        return step if step is not None and self._best_metric in (self._manager.metrics(step) or {}) else None

    def save(self, state: TrainState, metrics: dict[str, float] | None = None) -> None:
        """Saves in the background.

        Args:
          state: TrainState.
          metrics: of the validation split, if it was evaluated at this step.

        Raises:
          OSError: the disk is full, now or at the save before; names the step that is safe.
        """
        step = int(state.step)
        args: dict[str, Any] = {name: ocp.args.StandardSave(tree) for name, tree in _items(state).items()}
        if self._about:
            args[ABOUT] = ocp.args.JsonSave(self._about(step))
        with self._room_for(step):
            self._manager.save(step, args=ocp.args.Composite(**args), metrics=metrics)

    @contextlib.contextmanager
    def _room_for(self, step: int | None) -> Iterator[None]:
        """Says in one sentence that the disk is full; the checkpoints before are as they were."""
        try:
            yield
        except Exception as error:
            if not is_full_disk(error):
                raise
            steps = self.steps()
            safe = f"step {steps[-1]} is the last that is safe" if steps else "nothing was saved before"
            raise OSError(
                f"{self._directory}: no room to save a checkpoint by step {step}; {safe}. Free some space and start "
                "again"
            ) from error

    def restore(self, step: int, target: TrainState) -> TrainState:
        """The state of `step` on the devices and in the types of `target`, a TrainState of arrays.

        Raises:
          ValueError: the checkpoint holds another network or optimiser than `target`.
        """
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), target)
        args = {name: ocp.args.StandardRestore(tree) for name, tree in _items(abstract).items()}
        items = self._manager.restore(step, args=ocp.args.Composite(**args))
        return target.replace(
            step=items[PROGRESS]["step"],
            variables=items[VARIABLES],
            opt_state=items[PROGRESS]["optimizer"],
            average=items.get(AVERAGE) if target.average is not None else None,
        )

    def resume(self, state: TrainState, check: Callable[[Any, str], str]) -> tuple[TrainState, str]:
        """The last checkpoint in place of `state`, if there is one.

        Args:
          state: as `restore` takes it.
          check: function of the checkpoint's description and name, see `same_run.check`; its UserError stops here.

        Returns:
          The state, and a phrase that says where it is from and what `check` warned of. The phrase is empty if there is
          no checkpoint.
        """
        step = self.latest()
        if step is None:
            return state, ""
        warning = check(self.about(step), f"{self._directory / str(step)}")
        return self.restore(step, state), f"checkpoint of step {step}" + (f"; warning: {warning}" if warning else "")

    def about(self, step: int) -> Any:
        """The description of `step`; None without one."""
        if not (self._directory / str(step) / ABOUT).exists():
            return None
        return self._manager.restore(step, args=ocp.args.Composite(**{ABOUT: ocp.args.JsonRestore()}))[ABOUT]

    def wait(self) -> None:
        """Waits for saves under way; errors as `save`."""
        with self._room_for(self._manager.latest_step()):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for saves under way; errors as `save`."""
        self.wait()
        self._manager.close()


def _items(state: TrainState) -> dict[str, Any]:
    """What is saved of a state, by the names that stand in its directory."""
    items = {VARIABLES: state.variables, PROGRESS: {"step": state.step, "optimizer": state.opt_state}}
    return items if state.average is None else items | {AVERAGE: state.average}
