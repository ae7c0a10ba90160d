"""Stopping on request: SIGTERM ends a run after the running step, saved, on all processes at the same step."""

import signal
from typing import Self

import jax
import orbax.checkpoint as ocp

EXIT_CODE = 128 + signal.SIGTERM  # what a shell reports of a process that SIGTERM ended


class Preempted(Exception):
    """The run was asked to stop, and its state is saved."""


class Preemption:
    """Watches for SIGTERM within a `with` block.

    Where several processes run together, JAX watches: the notice to one of them makes all of them agree on a step
    that none has passed yet (`jax.experimental.multihost_utils.reached_preemption_sync_point`). It costs
    microseconds a step, and no message unless there is a notice.
    """

    def __init__(self) -> None:
        self._noticed = False

    def __enter__(self) -> Self:
        self._shared = jax.distributed.is_initialized()
        if not self._shared:
            self._previous = signal.signal(signal.SIGTERM, self._notice)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._shared:
            signal.signal(signal.SIGTERM, self._previous)

    def _notice(self, number: int, frame: object) -> None:
        del number, frame
        self._noticed = True

    def reached(self, step: int) -> bool:
        """Whether to stop after `step`; every process asks at every step and gets the same answer."""
        return ocp.multihost.reached_preemption(step) if self._shared else self._noticed
