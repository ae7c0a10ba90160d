"""The training loop. It takes an iterator of batches and a metric writer, and knows neither where they come from."""

import contextlib
import dataclasses
import sys
import time

import jax
from tqdm import tqdm

from h3r_jax.training import preemption, sharding
from h3r_jax.training.interval import Interval


@dataclasses.dataclass(frozen=True)
class Intervals:
    """How often things happen, in steps; the last step is always evaluated and saved."""

    log: int
    evaluate: int
    save: int


PROFILED_STEPS = range(10, 20)  # after the compilation, counted from where the run starts or resumes


def fit(
    state,
    batches,
    *,
    train_step,
    mesh,
    total_steps,
    intervals,
    writer,
    checkpoints,
    evaluate,
    incidents,
    profile_to=None,
):
    """Trains from `state.step` to `total_steps`, or until SIGTERM.

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
      incidents: nonfinite.Incidents, or any function from step, TrainState and metrics of a step that was not
        finite to a sentence about it.
      profile_to: directory for a profile of a few steps, None for none.

    Returns:
      The last TrainState.

    Raises:
      FloatingPointError: a loss or gradient was not finite, and `incidents` ends the run; nothing was saved since.
      Preempted: SIGTERM; the state is saved.
    """
    start = int(state.step)
    progress = tqdm(
        total=total_steps,
        initial=start,
        unit="step",
        disable=jax.process_index() > 0,
        dynamic_ncols=True,
        mininterval=0.1 if sys.stderr.isatty() else 30,  # in a log file every drawing stays
    )
    interval, say = Interval(), progress.write if jax.process_index() == 0 else lambda sentence: None
    with preemption.Preemption() as request, contextlib.closing(interval), progress:
        for step in range(start + 1, total_steps + 1):
            if profile_to and step - start == PROFILED_STEPS.start:
                jax.block_until_ready(state)
                jax.profiler.start_trace(str(profile_to))
            batch = interval.next_batch(batches)
            state, metrics = train_step(state, sharding.to_devices(batch, mesh))
            interval.add(step, metrics)
            progress.update()
            if profile_to and step - start == PROFILED_STEPS.stop:
                jax.block_until_ready(state)
                jax.profiler.stop_trace()
            last, stopping = step == total_steps, request.reached(step)
            logging = step % intervals.log == 0 or last
            evaluating = evaluate is not None and (step % intervals.evaluate == 0 or last)
            saving = step % intervals.save == 0 or evaluating or stopping or last
            if logging or saving:
                # Looking at metrics waits for the devices, hence not every step; but always before a state is kept.
                for bad_step, values in interval.skipped():
                    try:
                        say(incidents(bad_step, state, values))
                    except FloatingPointError as stop:
                        try:
                            checkpoints.wait()  # a save that is under way is of a state before
                        except OSError as full:
                            raise FloatingPointError(f"{stop}. And {full}") from full
                        raise
            if logging:
                scalars = interval.summary()
                writer.write(step, {f"train/{name}": value for name, value in scalars.items()})
                progress.set_postfix(loss=f"{scalars['loss']:.3f}", refresh=False)
                interval.restart()
            results = None
            if evaluating:
                paused = time.perf_counter()
                results = evaluate(state)
                writer.write(step, {f"validation/{name}": value for name, value in results.items()})
                say(f"step {step}: validation " + ", ".join(f"{name} {value:.3f}" for name, value in results.items()))
                interval.exclude(time.perf_counter() - paused)
            if saving:
                checkpoints.save(state, results)
            if stopping and not last:
                checkpoints.wait()
                raise preemption.Preempted(f"stopped by SIGTERM after step {step} of {total_steps}, which is saved")
    return state
