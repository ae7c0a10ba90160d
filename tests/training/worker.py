"""One process of a training of the tiny network: what several of them do together, and one alone.

    python -m tests.training.worker HOST:PORT PROCESSES PROCESS WORKDIR [STEP] [SIGNAL]

With STEP the process sends itself that signal before it, or has weights that are no numbers if SIGNAL is "nan".
Process 0 writes WORKDIR/result.npz.
"""

import itertools
import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from h3r_jax import augment, codec
from h3r_jax.errors import sentences
from h3r_jax.evaluation.evaluator import predict_split
from h3r_jax.run import Run
from h3r_jax.training import checkpoints, distributed, loop, nonfinite, preemption, sharding, step, writers
from h3r_jax.training.recipe import Durations
from tests.training import tiny

TOTAL_STEPS, NUM_TEST, BATCH = 20, 11, 8  # 11 does not divide into batches
DURATIONS = Durations(total=TOTAL_STEPS, warmup=2, log=2, evaluate=5, save=3)


def split(array):
    """This process's slice of a global batch."""
    share = len(array) // jax.process_count()
    return array[jax.process_index() * share :][:share]


def train(workdir, devices=None, before_step=lambda number, batch: None):
    """Trains from the last checkpoint of `workdir` to the end; returns the state and predictions for test images."""
    recipe = tiny.make_recipe(dtype=jnp.float64, augmentation=augment.Augmentation(mirror=0.5, shift=0.05))
    mesh = sharding.make_mesh(devices)
    state, optimizer = tiny.make_state(recipe, TOTAL_STEPS)
    state = jax.device_put(state, sharding.replicated(mesh))
    run = Run(workdir)
    saved = checkpoints.Checkpoints(run, keep=3)
    if saved.latest() is not None:
        state = saved.restore(saved.latest(), state)

    def predicted(variables, crops):  # from sharper maps than a young network's
        maps = 30 * recipe.network.logit_maps(variables, crops)
        return codec.decode_with_statistics(maps), {}

    parts = (sharding.replicated(mesh), sharding.batch_sharding(mesh))
    eval_step = jax.jit(predicted, in_shardings=parts, out_shardings=parts[0])

    def batches():
        for number in itertools.count(int(state.step) + 1):
            yield batch_of(number)

    def batch_of(number):
        batch = {name: split(array) for name, array in tiny.batch_at(number - 1, recipe, BATCH).items()}
        before_step(number, batch)
        return batch

    def predict(state):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (-(-NUM_TEST // BATCH) * BATCH, *recipe.network.shape, 3), dtype=np.uint8)
        batches = [{"image": split(chunk)} for chunk in np.split(images, len(images) // BATCH)]
        matrices = np.broadcast_to(np.eye(2, 3), (NUM_TEST, 2, 3))
        return predict_split(eval_step, state.variables, batches, matrices, mesh)[0][""]

    outputs = [writers.JsonLinesWriter(Path(workdir) / "metrics.jsonl")] if distributed.is_first() else []
    with saved, writers.MultiWriter(*outputs) as writer, distributed.end_for_all(), sentences():
        state = loop.fit(
            state,
            batches(),
            train_step=step.jit_train_step(recipe, optimizer, mesh),
            mesh=mesh,
            durations=DURATIONS,
            writer=writer,
            checkpoints=saved,
            evaluate=lambda state: {"nme": float(predict(state).mean())},
            incidents=nonfinite.Incidents(run, "stop", batch_of),
        )
    return jax.device_get(state), predict(state)


def main(address, processes, process, workdir, number=0, signal_number=0):
    distributed.initialize(address, int(processes), int(process))

    def before_step(coming, batch):
        if coming == int(number) and signal_number == "nan":
            batch["weight"][:] = np.nan
        elif coming == int(number):
            os.kill(os.getpid(), int(signal_number))

    try:
        state, predictions = train(workdir, before_step=before_step)
    except preemption.Preempted as stop:
        print(stop, flush=True)
        sys.exit(stop.code)
    if distributed.is_first():
        nonfinite.save_arrays(Path(workdir) / "result.npz", {"state": state, "predictions": predictions})


if __name__ == "__main__":
    main(*sys.argv[1:])
