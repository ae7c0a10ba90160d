"""Several processes, one run: how they find each other, wait for each other, and end when one of them is lost."""

import contextlib
import itertools
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp

from h3r_jax.errors import UserError
from h3r_jax.training import preemption

# A process that has been silent for so long is lost, and the others end; a broken connection shows at once.
HEARTBEAT_SECONDS = 30
SHUTDOWN_SECONDS = 60  # how long the first to finish waits for the last
MEETING_MS = 24 * 3600 * 1000  # longer than any preparation of a data set; a lost process ends the wait sooner
FLAGS = ("coordinator_address", "num_processes", "process_id")
# A launcher sets these variables for several processes. Each has the value for a single process (None: no value says
# so, since the first of many has index 0 too), and the remedy where JAX does not recognise the launcher.
_SIGNS_OF_OTHERS = {
    "SLURM_STEP_NUM_TASKS": ("1", "start it by srun"),
    "JOB_COMPLETION_INDEX": (None, 'install kubernetes (`pip install "jax[k8s]"`)'),
}

_meetings = itertools.count()


def initialize(
    coordinator_address: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins the processes of the run; call it before any array is made.

    Without arguments `jax.distributed.initialize` finds the other processes under SLURM, Kubernetes and Cloud TPU.
    Elsewhere the process runs alone.

    Args:
      coordinator_address: "HOST:PORT" of process 0.
      num_processes: how many processes the run has; 1 alone is enough to run alone.
      process_id: of this process, from 0.

    Raises:
      UserError: some of the three are given and others are missing; or the environment says that there are several
        processes, but not where they are.
    """
    given: dict[str, Any] = dict(zip(FLAGS, (coordinator_address, num_processes, process_id)))
    missing = [name for name, value in given.items() if value is None]
    if num_processes == 1 and len(missing) == 2:
        return
    if 0 < len(missing) < len(given):
        raise UserError(
            f"--{', --'.join(missing)} missing; give all of --{', --'.join(FLAGS)}, or none to have them found"
        )
    timeouts: dict[str, Any] = {
        "heartbeat_timeout_seconds": HEARTBEAT_SECONDS,
        "shutdown_timeout_seconds": SHUTDOWN_SECONDS,
    }
    try:
        jax.distributed.initialize(**given, **timeouts)
    except ValueError:
        if not missing:
            raise
        # No cluster was recognised. So the process is alone, unless a variable says otherwise.
        for variable, (alone, remedy) in _SIGNS_OF_OTHERS.items():
            if os.environ.get(variable, alone) != alone:
                raise UserError(
                    f"{variable}={os.environ[variable]} says that this may be one process of several, and JAX cannot "
                    f"find the others; {remedy}, or give --{', --'.join(FLAGS)}; --num_processes=1 to run alone"
                ) from None


def is_first() -> bool:
    """Whether this process is the one that prints and writes for all."""
    return jax.process_index() == 0


def this_process() -> dict[str, int]:
    """The arguments of `data.pipeline` for this process's share of each batch."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def meet() -> None:
    """Every process waits here for the others."""
    if jax.process_count() > 1:
        ocp.multihost.get_barrier_sync_fn()(key=f"meeting {next(_meetings)}", timeout_ms=MEETING_MS)


@contextlib.contextmanager
def first_process_first() -> Iterator[None]:
    """Process 0 runs the block first. The others wait, then run it too, and find the files that process 0 wrote."""
    if not is_first():
        meet()
    try:
        yield
    finally:
        if is_first():
            meet()


@contextlib.contextmanager
def end_for_all() -> Iterator[None]:
    """An error within the block ends this process at once, if it is one of several.

    Otherwise this process would wait for the others, and the others for this one. The others see a broken connection or
    a missing heartbeat, and end in the same way. `Preempted` is no error: it comes to all processes at the same step.
    """
    try:
        yield
    except preemption.Preempted:
        raise
    except BaseException as error:
        if jax.process_count() == 1:
            raise
        if isinstance(error, (UserError, OSError)):
            print(f"error: {error}", file=sys.stderr)
        elif isinstance(error, SystemExit):
            print(error.code if isinstance(error.code, str) else "", end="", file=sys.stderr)
        else:
            traceback.print_exc()
        print(
            f"error: process {jax.process_index()} of {jax.process_count()} ends here; if the reason above is a lost "
            "connection, look for the cause in the output of the other processes. The last checkpoint is whole: start "
            "all of them again to go on from it.",
            file=sys.stderr,
            flush=True,
        )
        sys.stdout.flush()
        os._exit(1)  # not sys.exit, which would wait for the other processes
