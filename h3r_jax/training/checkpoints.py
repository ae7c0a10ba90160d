"""Checkpoints of a run: the latest few and the best, each a whole TrainState with a description of the run."""

import contextlib
import errno
import math

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

from h3r_jax import convert, models
from h3r_jax.errors import UserError

DIRECTORY = "checkpoints"


class Checkpoints:
    """The checkpoints of a workdir.

    A step is saved into a temporary directory and renamed when complete, so that
    a killed process leaves no half checkpoint that counts; the next run removes it.
    """

    def __init__(self, workdir, *, keep=None, best=("nme", True), about=None):
        """
        Args:
          workdir: of the run.
          keep: how many of the latest to keep beside the best; None to read only.
          best: the metric on the validation split that chooses the best, and whether a lower one is better.
          about: function from a step to what is stored beside the arrays, for JSON; None for nothing.
        """
        self._best_metric, lower_is_better = best

        def value_of(metrics):
            # The fields of the evaluation may change within a run: what was scored by another metric counts for nothing.
            return metrics.get(self._best_metric, math.inf if lower_is_better else -math.inf)

        self._about = about
        self._directory = epath.Path(workdir).resolve() / DIRECTORY
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
            preservation_policy=policy if keep else None,
            best_fn=value_of,
            best_mode="min" if lower_is_better else "max",
            create=keep is not None,
            cleanup_tmp_directories=keep is not None,
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def steps(self):
        """The steps that can be restored, ascending."""
        return sorted(self._manager.all_steps())

    def latest(self):
        """The last step, None if there is none."""
        return self._manager.latest_step()

    def best(self):
        """The step that is best on the validation split, None if none was evaluated."""
        step = self._manager.best_step()
        return step if step is not None and self._best_metric in (self._manager.metrics(step) or {}) else None

    def save(self, state, metrics=None):
        """Saves in the background; `metrics` are those of the validation split, if it was evaluated at this step.

        Raises:
          OSError: the disk is full, now or at the save before; names the step that is safe.
        """
        step = int(state.step)
        items = {"variables": state.variables, "progress": {"step": state.step, "optimizer": state.optimizer}}
        if state.average is not None:
            items["average"] = state.average
        args = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        if self._about:
            args["about"] = ocp.args.JsonSave(self._about(step))
        args = ocp.args.Composite(**args)
        with self._room_for(step):
            self._manager.save(step, args=args, metrics=metrics)

    @contextlib.contextmanager
    def _room_for(self, step):
        """Says in one sentence that the disk is full; the checkpoints before are as they were."""
        try:
            yield
        except Exception as error:
            # The writer's own error is the cause of the cause, and in its words it is only recognised by the system's text.
            if "No space left" not in str(error) and getattr(error, "errno", None) != errno.ENOSPC:
                raise
            steps = self.steps()
            safe = f"step {steps[-1]} is the last that is safe" if steps else "nothing was saved before"
            sentence = f"{self._directory}: no room to save a checkpoint by step {step}; {safe}. Free some space and start again"
            raise OSError(sentence) from error

    def _restore(self, step, targets):
        args = ocp.args.Composite(**{name: ocp.args.StandardRestore(target) for name, target in targets.items()})
        return self._manager.restore(step, args=args)

    def restore(self, step, target):
        """The state of `step` on the devices and in the types of `target`, a TrainState of arrays.

        Raises:
          ValueError: the checkpoint holds another network or optimiser than `target`.
        """
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), target)
        targets = {
            "variables": abstract.variables,
            "progress": {"step": abstract.step, "optimizer": abstract.optimizer},
        }
        if target.average is not None:
            targets["average"] = abstract.average
        items = self._restore(step, targets)
        progress = items["progress"]
        return target.replace(
            step=progress["step"],
            variables=items["variables"],
            optimizer=progress["optimizer"],
            average=items.get("average") if target.average is not None else None,
        )

    def restore_variables(self, step, shapes, *, averaged, sharding):
        """The variables of `step`, and whether they are the moving average.

        Args:
          step: one of `steps()`.
          shapes: {"params", "batch_stats"} of arrays or their shapes.
          averaged: whether to prefer the moving average, where the run kept one.
          sharding: of every array.

        Raises:
          ValueError: the checkpoint holds another network.
        """
        averaged = averaged and (self._directory / str(step) / "average").exists()
        item = "average" if averaged else "variables"
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)
        return self._restore(step, {item: abstract})[item], averaged

    def about(self, step):
        """What was stored beside the arrays of `step`; None if nothing was."""
        if not (self._directory / str(step) / "about").exists():
            return None
        return self._manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]

    def wait(self):
        """Waits for saves under way; errors as `save`."""
        with self._room_for(self._manager.latest_step()):
            self._manager.wait_until_finished()

    def close(self):
        """Waits for saves under way; errors as `save`."""
        self.wait()
        self._manager.close()


def load_variables(workdir, path, recipe, *, averaged, sharding):
    """The variables to evaluate, and a sentence that says which they are.

    Args:
      workdir: of the run.
      path: of one step, `DIR/checkpoints/STEP`, or anything else that `h3r_jax.convert` reads; None for the
        last step of `workdir`.
      recipe: training.step.Recipe of the network.
      averaged: whether to take the moving average where there is one.
      sharding: of every array.

    Raises:
      FileNotFoundError: there is no such checkpoint.
      ValueError: it holds another network than the recipe's.
    """
    shapes = models.initialize(recipe.model, recipe.seed, (*recipe.shape, 3))
    step = None
    if path:
        path = epath.Path(path).expanduser()
        if not (path.name.isdigit() and path.parent.name == DIRECTORY):
            return _load_converted(path, shapes, recipe, sharding)
        workdir, step = path.parent.parent, int(path.name)
    directory = epath.Path(workdir) / DIRECTORY
    if not directory.exists():
        raise FileNotFoundError(f"{directory} does not exist; train first, or correct --workdir or --checkpoint")
    saved = Checkpoints(workdir)
    steps = saved.steps()
    if not steps or (path and step not in steps):
        raise FileNotFoundError(f"{directory} holds steps {steps}" + (f", not {step}" if path else "; train first"))
    if not path:
        step = saved.latest()
    variables, averaged = saved.restore_variables(step, shapes, averaged=averaged, sharding=sharding)
    saved.close()
    return variables, f"{'moving average of the' if averaged else 'raw'} parameters at step {step}"


def _load_converted(path, shapes, recipe, sharding):
    try:
        variables, spec, report = convert.read(path, head=recipe.head, landmarks=recipe.scheme.num_landmarks)
    except ValueError as error:
        raise UserError(
            f"{error} (the configuration says config.model.head={recipe.head}, {recipe.scheme.num_landmarks} landmarks)"
        ) from error
    theirs, ours = (jax.tree.map(lambda x: x.shape, tree) for tree in (variables, shapes))
    if theirs != ours:
        raise UserError(f"{path} holds {spec}, which is not the network of the configuration; correct config.model")
    return jax.device_put(jax.tree.map(np.asarray, variables), sharding), f"{spec} of {path.name} ({report})"
