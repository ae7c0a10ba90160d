"""Trains a network that finds landmarks by heatmaps.

    python train.py --config=configs/NAME.py --workdir=DIR [--config.field=value] [--profile --skip_damaged]

Writes into DIR the files that h3r_jax/run.py lists. The same command goes on from the last checkpoint, on any devices.
"""

from h3r_jax.training import environment  # noqa: F401  (before jax)

# isort: split

import json
import os

from absl import flags
from ml_collections import ConfigDict

from data import inputs
from h3r_jax.evaluation.evaluator import Evaluator
from h3r_jax.evaluation.protocols import Protocol
from h3r_jax.run import Run, check_workdir
from h3r_jax.training import account, command, distributed, loop, same_run, sharding, step, writers
from h3r_jax.training.checkpoints import Checkpoints
from h3r_jax.training.nonfinite import Incidents
from h3r_jax.training.recipe import Durations, Recipe, check_config, check_memory
from h3r_jax.training.state import TrainState, initial_state, optimizer_of


def train(
    config: ConfigDict, workdir: str | os.PathLike, *, profile: bool = False, skip_damaged: bool = False
) -> TrainState:
    """Trains a run to its last step, from its last checkpoint if there is one; returns the last TrainState.

    Args:
      config: ConfigDict with the fields of configs/common.py.
      workdir: path of the run.
      profile: whether to write a profile of ten steps to WORKDIR/profile.
      skip_damaged: whether to go on from the newest whole checkpoint if a later one is damaged.

    Raises:
      UserError, OSError: the configuration, the data or the workdir is wrong, or the loss is not finite.
      preemption.Preempted: SIGTERM or Ctrl-C stopped the run; the state is saved.
    """
    # ---- What is asked for. A mistake in it is said here, before anything is computed or written.
    check_config(json.loads(config.to_json()))
    config = inputs.with_landmarks(config)
    run, mesh, fields = Run(check_workdir(workdir)), sharding.make_mesh(), json.loads(config.to_json())
    recipe = Recipe.from_config(config)
    network, protocol = recipe.network, Protocol.from_config(config, recipe.network.scheme)
    sharding.check_batch_size(config.train.batch_size, mesh, recipe.accumulation)
    check_memory("train.batch_size", config.train.batch_size, network.shape)
    with same_run.owned(run) as owner:
        with distributed.first_process_first():  # it prepares the data
            examples, validation = inputs.train_input(config, recipe), inputs.validation_input(config, network)
            evaluator = validation and Evaluator(network, protocol, validation, mesh, batch_size=config.eval.batch_size)
            warnings = [same_run.check(run, fields), *inputs.warnings(config, network, protocol, examples, validation)]
        durations = Durations.from_config(config, examples.num_examples)

        # ---- The state: fresh or from other weights, then from the last checkpoint if there is one.
        optimizer = optimizer_of(config.train, warmup_steps=durations.warmup, total_steps=durations.total)
        state, weights = initial_state(config, network, optimizer, mesh)
        identity = same_run.Identity(fields, examples.name, examples.num_examples)
        options = {"keep": config.log.keep_checkpoints, "best": protocol.best, "skip_damaged": skip_damaged}
        checkpoints = Checkpoints(run, about=identity.describe, **options)
        state, weights = checkpoints.resume(state, weights, identity.check)

        # ---- What is going to happen, for the user to read and to look at. From here on files are written.
        account.show(run, config, recipe, protocol, (examples, validation), (state, weights), durations, mesh, warnings)
        if distributed.is_first():
            run.write_config(fields)
        writer = writers.of_run(run, after=int(state.step), writing=distributed.is_first())

        # ---- It happens. An error ends this process at once: in closing it would wait for the others.
        order = {"seed": recipe.seed, "batch_size": config.train.batch_size, **distributed.this_process()}
        with checkpoints, writer, distributed.end_for_all():
            state = loop.fit(
                state,
                examples.batches(start_step=int(state.step), **order),
                train_step=step.jit_train_step(recipe, optimizer, mesh),
                mesh=mesh,
                durations=durations,
                writer=writer,
                checkpoints=checkpoints,
                evaluate=evaluator.metrics_of(averaged=config.eval.averaged) if evaluator else None,
                incidents=Incidents(
                    run, recipe.nonfinite, lambda of: next(examples.batches(start_step=of - 1, **order))
                ),
                owner=owner,
                profile_to=run.workdir / "profile" if profile else None,
            )
        if distributed.is_first():
            best = f"; step {checkpoints.best()} is the best on validation" if validation else ""
            print(f"The run is complete: step {int(state.step)} is the last in {run.checkpoints}{best}.")
        return state


if __name__ == "__main__":
    flags.DEFINE_bool("profile", False, "write a profile of ten steps to WORKDIR/profile")
    flags.DEFINE_bool("skip_damaged", False, "set damaged checkpoints aside, go on from the newest whole one")
    command.main(lambda of: train(of.config, of.workdir, profile=of.profile, skip_damaged=of.skip_damaged))
