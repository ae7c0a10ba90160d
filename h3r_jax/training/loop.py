"""The training loop. It takes any iterator of batches and any metric writer."""

import os
import sys
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from h3r_jax.claims import Claim
from h3r_jax.training import preemption, sharding
from h3r_jax.training.checkpoints import Checkpoints
from h3r_jax.training.nonfinite import NotFinite
from h3r_jax.training.recipe import Durations
from h3r_jax.training.state import TrainState
from h3r_jax.training.step_log import StepLog
from h3r_jax.training.writers import Writer

PROFILED_STEPS = range(10, 20)  # after the compilation, counted from where the run starts or resumes


def fit(
    state: TrainState,
    batches: Iterator[dict[str, np.ndarray]],
    *,
    train_step: Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, dict[str, jax.Array]]],
    mesh: Mesh,
    durations: Durations,
    writer: Writer,
    checkpoints: Checkpoints,
    evaluate: Callable[[TrainState], dict[str, float]] | None,
    incidents: Callable[[int, TrainState, dict[str, np.ndarray]], str],
    owner: Claim | None = None,
    profile_to: str | os.PathLike | None = None,
) -> TrainState:
    """Trains from `state.step` to the last step, or until SIGTERM or Ctrl-C.

    Args:
      state: TrainState, replicated over the mesh.
      batches: iterator of this process's slices of the global batches, from step `state.step` on.
      train_step: what `step.jit_train_step` returns.
      mesh: of the train step.
      durations: Durations; the last step is always evaluated and saved.
      writer: metric writer.
      checkpoints: Checkpoints.
      evaluate: function from a TrainState to {name: number} on the validation split; None without one.
      incidents: nonfinite.Incidents, or any function like it: it takes a step that was not finite, a TrainState and
        the metrics of the step, and returns a sentence about the step.
      owner: this process's claim on the workdir; None in a process that has none.
      profile_to: directory for a profile of a few steps, None for none.

    Returns:
      The last TrainState.

    Raises:
      NotFinite: a loss or gradient was not finite, and `incidents` ends the run; nothing was saved since.
      Preempted: SIGTERM or Ctrl-C; the state is saved.
      UserError: another process has taken the workdir over, or the last checkpoint does not hold what was saved.
    """
    start, total_steps = int(state.step), durations.total
    progress = tqdm(
        total=total_steps,
        initial=start,
        unit="step",
        disable=jax.process_index() > 0,
        dynamic_ncols=True,
        mininterval=0.1 if sys.stderr.isatty() else 30,  # in a log file every drawing stays
    )
    log, say = StepLog(), progress.write if jax.process_index() == 0 else lambda sentence: None
    with preemption.Preemption() as request, progress:
        for step in range(start + 1, total_steps + 1):
            if profile_to and step - start == PROFILED_STEPS.start:
                jax.block_until_ready(state)
                jax.profiler.start_trace(str(profile_to))
            batch = log.next_batch(batches)
            if step == start + 1:
                say("compiling the train step, which may take a minute or two")
            state, metrics = train_step(state, sharding.to_devices(batch, mesh))
            log.add(step, metrics)
            progress.update()
            if profile_to and step - start == PROFILED_STEPS.stop:
                jax.block_until_ready(state)
                jax.profiler.stop_trace()
            last, stopping = step == total_steps, request.reached(step)
            logging = step % durations.log == 0 or last
            evaluating = evaluate is not None and (step % durations.evaluate == 0 or last)
            saving = step % durations.save == 0 or evaluating or stopping or last
            if owner and stopping:
                owner.ending()
            if logging or saving:
                if owner:
                    owner.check()
                # Looking at metrics waits for the devices, hence not every step; but always before a state is kept.
                for bad_step, values in log.skipped():
                    try:
                        say(incidents(bad_step, state, values))
                    except NotFinite as stop:
                        try:
                            checkpoints.wait()  # a save that is under way is of a state before
                        except OSError as full:
                            raise NotFinite(f"{stop}. And {full}") from full
                        raise
            if logging:
                scalars = log.summary()
                writer.write(step, {f"train/{name}": value for name, value in scalars.items()})
                progress.set_postfix(loss=f"{scalars['loss']:.3f}", refresh=False)
                log.restart()
            results = None
            if evaluate is not None and evaluating:
                paused = time.perf_counter()
                results = evaluate(state)
                writer.write(step, {f"validation/{name}": value for name, value in results.items()})
                say(f"step {step}: validation " + ", ".join(f"{name} {value:.3f}" for name, value in results.items()))
                log.exclude(time.perf_counter() - paused)
            if saving:
                checkpoints.save(state, results)
            if stopping and not last:
                checkpoints.confirm(state)
                raise request.stop(f"after step {step} of {total_steps}, which is saved")
    checkpoints.confirm(state)
    return state
