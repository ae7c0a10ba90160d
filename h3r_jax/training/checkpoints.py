"""Saving and restoring a run: the latest few steps and the best one, each a whole TrainState with a description.

What is written is looked at: a trial before the first step shows that the folder can be written and read back, every
file of a checkpoint has a digest, and the last checkpoint is read before a run says that it is complete.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

from h3r_jax import digests
from h3r_jax.errors import UserError, is_full_disk
from h3r_jax.files import writing
from h3r_jax.run import ABOUT, AVERAGE, PROGRESS, VARIABLES, Run
from h3r_jax.training import distributed
from h3r_jax.training.state import TrainState

TEMPORARY = ".orbax-checkpoint-tmp"  # ends the name of a step that is being saved


def prepare(run: Run, *, skip_damaged: bool = False) -> str:
    """Shows that checkpoints can be written and read back, and that those which are there are whole.

    The first process does it, before it makes anything of them.

    Args:
      run: Run.
      skip_damaged: whether to set damaged steps aside, to WORKDIR/damaged, and to go on from the newest whole one.

    Returns:
      A phrase about the files of the last step, empty if there is none; and sentences about those that were set aside.

    Raises:
      UserError: a step is damaged, and `skip_damaged` does not say to go on without it; or what is written into the
        folder cannot be read back.
      OSError: the folder cannot be written; names it.
    """
    said = ""
    for step in reversed(run.steps()):
        try:
            verified = run.verify(step)
        except UserError as error:
            if not skip_damaged:
                raise
            aside = _set_aside(run, step)
            print(f"{str(error).split('; ')[0]}; it is now {aside}.")
            continue
        said = said or verified
    folder = run.checkpoints.resolve()
    trial = folder / "trial"
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(), active_processes={jax.process_index()}, barrier_sync_key_prefix="trial"
    )
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with ocp.StandardCheckpointer(multiprocessing_options=alone) as checkpointer:
            checkpointer.save(trial, {"trial": np.arange(3)}, force=True)
            checkpointer.wait_until_finished()
            try:
                back = checkpointer.restore(trial)["trial"]
            except ValueError:
                back = None
        trial.rmtree()
    if not np.array_equal(back, np.arange(3)):
        if not any(folder.iterdir()):
            folder.rmdir()
        remedy = "choose another --workdir, of letters, digits, - and _"
        raise UserError(f"{folder}: what is written there cannot be read back, perhaps because of its name; {remedy}")
    return said


def _set_aside(run: Run, step: int) -> epath.Path:
    """Moves a step to WORKDIR/damaged; returns its new place."""
    folder = run.workdir / "damaged"
    places = (folder / name for name in itertools.chain([f"{step}"], (f"{step}-{i}" for i in itertools.count(2))))
    aside = next(place for place in places if not place.exists())
    with writing(aside):
        folder.mkdir(exist_ok=True)
        (run.checkpoints / str(step)).rename(aside)
    return aside


class Checkpoints:
    """The checkpoints of a run that is trained.

    A step is saved into a temporary directory. When it is complete, it gets the digests of its files, and then its
    name. A killed process may leave such a directory. It never counts as a checkpoint, and the next start removes it.
    """

    def __init__(
        self,
        run: Run,
        *,
        keep: int,
        best: tuple[str, bool] = ("nme", True),
        about: Callable[[int], Any] | None = None,
        skip_damaged: bool = False,
    ):
        """Looks at the folder and at what it holds; see `prepare`.

        Args:
          run: Run.
          keep: how many of the latest to keep beside the best.
          best: the name of the metric on the validation split that chooses the best, and whether lower is better.
          about: function from a step to its description, for JSON; None for no description.
          skip_damaged: see `prepare`.

        Raises:
          UserError, OSError: as `prepare`.
        """
        with distributed.first_process_first():
            self._verified = prepare(run, skip_damaged=skip_damaged) if distributed.is_first() else ""
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
                    get_metric_fn=value_of, reverse=lower_is_better, n=1, keep_checkpoints_without_metrics=False
                ),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            best_fn=value_of,
            best_mode="min" if lower_is_better else "max",
            create=True,
            cleanup_tmp_directories=True,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._digest),
        )
        self._run, self._saving = run, 0
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        try:
            self.close()
        except OSError as full:
            if error is None:
                raise
            if isinstance(error, (UserError, OSError)):
                raise OSError(f"{error}. And {full}") from error

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
            self._manager.wait_until_finished()
            self._saving = step
            self._manager.save(step, args=ocp.args.Composite(**args), metrics=metrics)

    def _digest(self) -> None:
        """Orbax calls this in the first process, when the files of a step are complete and before it gets its name."""
        final = self._directory / str(self._saving)
        temporary = final.with_name(f"{final.name}{TEMPORARY}")
        place = temporary if temporary.exists() else final  # in a cloud a step has its name from the beginning
        # Orbax changes the files beside these folders once more.
        digests.write(place, *(path.name for path in place.iterdir() if path.is_dir()))

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
          UserError: the checkpoint cannot be read, or holds another step, network or optimiser than `target`.
        """
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), target)
        args = {name: ocp.args.StandardRestore(tree) for name, tree in _items(abstract).items()}
        with self._run.reading(step):
            items = self._manager.restore(step, args=ocp.args.Composite(**args))
        if (held := int(items[PROGRESS]["step"])) != step:
            raise UserError(f"{self._directory / str(step)} holds step {held}; remove it, or give it its own name")
        return target.replace(
            step=items[PROGRESS]["step"],
            variables=items[VARIABLES],
            opt_state=items[PROGRESS]["optimizer"],
            average=items.get(AVERAGE) if target.average is not None else None,
        )

    def resume(self, state: TrainState, origin: str, check: Callable[[Any, str], str]) -> tuple[TrainState, str]:
        """The last checkpoint in place of `state`, if there is one.

        Args:
          state: as `restore` takes it.
          origin: a phrase that says where it is from.
          check: function of the checkpoint's description and name, see `same_run.check`; its UserError stops here.

        Returns:
          The state, and a phrase that says where it is from and what `check` warned of.
        """
        step = self.latest()
        if step is None:
            return state, origin
        warning = check(self.about(step), f"{self._directory / str(step)}")
        said = [f"checkpoint of step {step}", self._verified, warning and f"warning: {warning}"]
        return self.restore(step, state), "; ".join(filter(None, said))

    def about(self, step: int) -> Any:
        """The description of `step`; None without one."""
        if not (self._directory / str(step) / ABOUT).exists():
            return None
        with self._run.reading(step):
            return self._manager.restore(step, args=ocp.args.Composite(**{ABOUT: ocp.args.JsonRestore()}))[ABOUT]

    def confirm(self, state: TrainState) -> None:
        """Waits for saves under way, and reads back the last of them.

        Args:
          state: that was saved.

        Raises:
          UserError: the checkpoint of this state is not there, or is not equal to it.
          OSError: the disk is full; as `save`.
        """
        self.wait()
        step = int(state.step)
        if step not in self.steps():
            raise UserError(f"{self._directory} does not hold step {step}, which was saved; look at the disk")
        if jax.process_index() == 0:
            self._run.verify(step)
        saved = self.restore(step, state)
        if not all(map(_same, jax.tree.leaves(saved), jax.tree.leaves(state))):
            raise UserError(f"{self._directory / str(step)} does not hold what was saved; look at the disk")

    def wait(self) -> None:
        """Waits for saves under way; errors as `save`."""
        with self._room_for(self._manager.latest_step()):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for saves under way; errors as `save`."""
        self.wait()
        self._manager.close()


def _same(saved: jax.Array, array: jax.Array) -> bool:
    """Whether this process has the same parts of two arrays, to the last bit."""
    pairs = zip(saved.addressable_shards, array.addressable_shards)
    return all(np.asarray(one.data).tobytes() == np.asarray(other.data).tobytes() for one, other in pairs)


def _items(state: TrainState) -> dict[str, Any]:
    """What is saved of a state, by the names that stand in its directory."""
    items = {VARIABLES: state.variables, PROGRESS: {"step": state.step, "optimizer": state.opt_state}}
    return items if state.average is None else items | {AVERAGE: state.average}
