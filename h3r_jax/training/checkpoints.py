"""Checkpoints of a run: the latest few and the best, each a whole TrainState."""

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

DIRECTORY = "checkpoints"
BEST_METRIC = "nme"  # on the validation split; lower is better


class Checkpoints:
    """The checkpoints of a workdir.

    A step is saved into a temporary directory and renamed when complete, so that
    a killed process leaves no half checkpoint that counts.
    """

    def __init__(self, workdir, *, keep=None):
        """
        Args:
          workdir: of the run.
          keep: how many of the latest to keep beside the best; None to read only.
        """
        self._directory = epath.Path(workdir).resolve() / DIRECTORY
        policy = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(keep),
                checkpoint_managers.BestN(get_metric_fn=lambda metrics: metrics[BEST_METRIC], reverse=True, n=1),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy if keep else None,
            best_fn=lambda metrics: metrics[BEST_METRIC],
            best_mode="min",
            read_only=keep is None,
            create=keep is not None,
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def steps(self):
        """The steps that can be restored, ascending."""
        return sorted(self._manager.all_steps())

    def latest(self):
        """The last step, None if there is none."""
        return self._manager.latest_step()

    def best(self):
        """The step with the lowest validation error, None if none was evaluated."""
        return self._manager.best_step()

    def save(self, state, metrics=None):
        """Saves in the background; `metrics` are those of the validation split, if it was evaluated at this step."""
        self._manager.save(int(state.step), args=ocp.args.StandardSave(state), metrics=metrics)

    def restore(self, step, target):
        """The state of `step` on the devices and in the types of `target` (a TrainState of arrays or their shapes).

        Raises:
          ValueError: the checkpoint holds another network or optimiser than `target`.
        """
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), target)
        return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))

    def close(self):
        """Waits for saves under way."""
        self._manager.wait_until_finished()
        self._manager.close()
