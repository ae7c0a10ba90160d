"""Several processes, one run: how they find each other, wait for each other, and end when one of them is lost."""

import contextlib
import itertools
import os
import sys
import traceback

import jax
import orbax.checkpoint as ocp
from absl import flags

from h3r_jax.errors import UserError
from h3r_jax.training import preemption

# A process that has been silent for so long is lost, and the others end; a broken connection shows at once.
HEARTBEAT_SECONDS = 30
SHUTDOWN_SECONDS = 60  # how long the first to finish waits for the last
MEETING_MS = 24 * 3600 * 1000  # longer than any preparation of a data set; a lost process ends the wait sooner
FLAGS = ("coordinator_address", "num_processes", "process_id")
# Variables by which what starts the processes speaks of several -> the value for one alone, None if no value says so (an
# index is that of a process, and the first of many has 0), and what JAX lacks if it does not recognise the surroundings.
_SIGNS_OF_OTHERS = {
    "SLURM_STEP_NUM_TASKS": ("1", "start it by srun"),
    "JOB_COMPLETION_INDEX": (None, 'install kubernetes (`pip install "jax[k8s]"`)'),
}

_meetings = itertools.count()


def define_flags():
    """The flags of a script that may run as one of several processes."""
    flags.DEFINE_string(
        "coordinator_address", None, "HOST:PORT of process 0; found by itself under SLURM, GKE and Cloud TPU"
    )
    flags.DEFINE_integer("num_processes", None, "processes of the run; 1 to run alone whatever the surroundings")
    flags.DEFINE_integer("process_id", None, "of this process, from 0")


def initialize(coordinator_address=None, num_processes=None, process_id=None):
    """Joins the processes of the run; call it before any array is made.

    Without arguments the surroundings decide: SLURM, Kubernetes or Cloud TPU, as `jax.distributed.initialize`
    finds them; elsewhere the process runs alone.

    Args:
      coordinator_address: "HOST:PORT" of process 0.
      num_processes: of the run.
      process_id: of this process, from 0.

    Raises:
      ValueError: some of the three are given and others are missing; or the surroundings speak of several processes
        and do not say where they are.
    """
    given = dict(zip(FLAGS, (coordinator_address, num_processes, process_id)))
    missing = [name for name, value in given.items() if value is None]
    if num_processes == 1 and len(missing) == 2:
        return
    if 0 < len(missing) < len(given):
        raise UserError(
            f"--{', --'.join(missing)} missing; give all of --{', --'.join(FLAGS)}, or none to have them found"
        )
    timeouts = {"heartbeat_timeout_seconds": HEARTBEAT_SECONDS, "shutdown_timeout_seconds": SHUTDOWN_SECONDS}
    try:
        jax.distributed.initialize(**given, **timeouts)
    except ValueError:
        if not missing:
            raise
        # No cluster was recognised, so nobody could say where the coordinator is: alone, unless somebody says otherwise.
        for variable, (alone, remedy) in _SIGNS_OF_OTHERS.items():
            if os.environ.get(variable, alone) != alone:
                raise UserError(
                    f"{variable}={os.environ[variable]} says that this may be one process of several, and JAX cannot find the "
                    f"others; {remedy}, or give --{', --'.join(FLAGS)}; --num_processes=1 to run alone"
                ) from None


def is_first():
    """Whether this process is the one that prints and writes for all."""
    return jax.process_index() == 0


def meet():
    """Every process waits here for the others."""
    if jax.process_count() > 1:
        ocp.multihost.get_barrier_sync_fn()(key=f"meeting {next(_meetings)}", timeout_ms=MEETING_MS)


@contextlib.contextmanager
def first_process_first():
    """Process 0 runs the block while the others wait, then these run it: what it writes, they find written."""
    if not is_first():
        meet()
    try:
        yield
    finally:
        if is_first():
            meet()


@contextlib.contextmanager
def end_for_all():
    """An error within the block ends this process at once, where others would wait for it and it for them.

    The others see a broken connection or a missing heartbeat, and end in the same way. `Preempted` is no error: it
    comes to all at the same step.
    """
    try:
        yield
    except preemption.Preempted:
        raise
    except BaseException as error:
        if jax.process_count() == 1:
            raise
        if isinstance(error, SystemExit) and isinstance(error.code, str):
            print(error.code, file=sys.stderr)
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
