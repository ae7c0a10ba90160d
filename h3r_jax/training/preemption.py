"""Stopping on request: SIGTERM or Ctrl-C ends a run after the running step, saved, in all processes at one step."""

import os
import signal
import sys
import threading
from typing import Self

import jax
import orbax.checkpoint as ocp

NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}


class Preempted(Exception):
    """The run was asked to stop, and its state is saved.

    code: the status of the process, such as a shell reports of one that the signal ended: 143 or 130.
    """

    def __init__(self, sentence: str, code: int = 128 + signal.SIGTERM):
        super().__init__(sentence)
        self.code = code


class Preemption:
    """Watches for SIGTERM and Ctrl-C within a `with` block. A second signal ends the process at once.

    Where several processes run together, JAX watches for SIGTERM: the notice to one of them makes all of them agree on
    a step that none has passed yet (`jax.experimental.multihost_utils.reached_preemption_sync_point`). It costs
    microseconds a step, and no message unless there is a notice. Ctrl-C is handed on as SIGTERM there.
    """

    def __init__(self) -> None:
        self._noticed = 0

    def __enter__(self) -> Self:
        self._shared = jax.distributed.is_initialized()
        watched = [signal.SIGINT] if self._shared else list(NAMES)
        if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
            watched = []
        self._previous = {number: signal.signal(number, self._notice) for number in watched}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _notice(self, number: int, frame: object) -> None:
        del frame
        if self._noticed:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._noticed = number
        text = f"\n{NAMES[signal.Signals(number)]}: the run saves this step and stops; once more ends it at once\n"
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text.encode())  # print is not safe in a handler
        if self._shared:
            os.kill(os.getpid(), signal.SIGTERM)

    def reached(self, step: int) -> bool:
        """Whether to stop after `step`; every process asks at every step and gets the same answer."""
        return ocp.multihost.reached_preemption(step) if self._shared else bool(self._noticed)

    def stop(self, sentence: str) -> Preempted:
        """The exception to raise when the state is saved; the sentence goes on after "stopped by SIGTERM"."""
        number = signal.Signals(self._noticed or signal.SIGTERM)
        return Preempted(f"stopped by {NAMES[number]} {sentence}", 128 + number)
