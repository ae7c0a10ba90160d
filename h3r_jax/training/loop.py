"""The training loop. It takes an iterator of batches and a metric writer, and knows neither where they come from."""

import dataclasses
import math
import time

import jax
import numpy as np
from tqdm import tqdm

from h3r_jax.training import sharding


@dataclasses.dataclass(frozen=True)
class Intervals:
    """How often things happen, in steps; the last step is always evaluated and saved."""

    log: int
    evaluate: int
    save: int


PROFILED_STEPS = range(10, 20)  # after the compilation, counted from where the run starts or resumes


def fit(state, batches, *, train_step, mesh, total_steps, intervals, writer, checkpoints, evaluate, profile_to=None):
    """Trains from `state.step` to `total_steps`.

    Args:
      state: TrainState, replicated over the mesh.
      batches: iterator of this process's slices of the global batches, from step `state.step` on.
      train_step: of `step.jit_train_step`.
      mesh: of the train step.
      total_steps: of the whole run.
      intervals: Intervals.
      writer: metric writer.
      checkpoints: Checkpoints.
      evaluate: function from a TrainState to {name: number} on the split held out of training; None without one.
      profile_to: directory for a profile of a few steps, None for none.

    Returns:
      The last TrainState.

    Raises:
      FloatingPointError: the loss is no longer finite; names the steps.
    """
    start = int(state.step)
    progress = tqdm(total=total_steps, initial=start, unit="step", disable=jax.process_index() > 0, dynamic_ncols=True)
    pending, waited, since = [], 0.0, time.perf_counter()
    for step in range(start + 1, total_steps + 1):
        if profile_to and step - start == PROFILED_STEPS.start:
            jax.block_until_ready(state)
            jax.profiler.start_trace(str(profile_to))
        before = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - before
        state, metrics = train_step(state, sharding.to_devices(batch, mesh))
        pending.append(metrics)
        progress.update()
        if profile_to and step - start == PROFILED_STEPS.stop:
            jax.block_until_ready(state)
            jax.profiler.stop_trace()
        last = step == total_steps
        if step % intervals.log == 0 or last:
            # Fetching waits for the devices, hence not every step.
            fetched = jax.device_get(pending)
            elapsed = time.perf_counter() - since
            scalars = {f"train/{name}": float(np.mean([m[name] for m in fetched])) for name in fetched[0]}
            scalars["train/steps_per_second"] = len(pending) / elapsed
            scalars["train/input_wait"] = waited / elapsed
            if not math.isfinite(scalars["train/loss"]):
                raise FloatingPointError(
                    f"the loss is {scalars['train/loss']} between steps {step - len(pending) + 1} and {step}; "
                    "lower train.learning_rate or train.clip_norm, or look for broken labels"
                )
            writer.write(step, scalars)
            progress.set_postfix(loss=f"{scalars['train/loss']:.3f}", refresh=False)
            pending, waited, since = [], 0.0, time.perf_counter()
        results = None
        if evaluate and (step % intervals.evaluate == 0 or last):
            paused = time.perf_counter()
            results = evaluate(state)
            writer.write(step, {f"validation/{name}": value for name, value in results.items()})
            progress.write(f"step {step}: validation " + ", ".join(f"{name} {value:.3f}" for name, value in results.items()))
            since += time.perf_counter() - paused
        if step % intervals.save == 0 or last or results:
            checkpoints.save(state, results)
    progress.close()
    return state
