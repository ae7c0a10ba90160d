"""Metric writers: anything with `write(step, {name: number})` and `close()`.

Every write is on the disk when it returns, in the thread that asked for it: an error reaches the training loop.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Mapping
from typing import Protocol, Self

from etils import epath

from h3r_jax.files import Lines, write_whole, writing
from h3r_jax.run import Run

Scalars = Mapping[str, float]


class Writer(Protocol):
    """What the training loop writes its numbers to."""

    def write(self, step: int, scalars: Scalars) -> None: ...

    def close(self) -> None: ...


class JsonLinesWriter:
    """One JSON object per line: {"step": ..., name: number, ...}. Not-a-number is written as null."""

    def __init__(self, path: str | os.PathLike):
        self._lines = Lines(path)

    def write(self, step: int, scalars: Scalars) -> None:
        values = {name: float(value) if math.isfinite(value) else None for name, value in scalars.items()}
        self._lines.write({"step": int(step), **values})

    def close(self) -> None:
        self._lines.close()


class TensorBoardWriter:
    """An event file for TensorBoard.

    directory: of the run's event files.
    after: the step from which the run goes on; TensorBoard hides what earlier files have of later steps.
    """

    def __init__(self, directory: str | os.PathLike, after: int = 0):
        # Not tensorboardX.SummaryWriter: its thread dies of a full disk, and then its queue blocks for ever.
        from tensorboardX import event_file_writer, proto, record_writer, summary

        self._directory, self._event, self._scalar = os.fspath(directory), proto.event_pb2.Event, summary.scalar
        with writing(self._directory):
            record_writer.directory_check(self._directory)
            prefix = os.path.join(self._directory, "events")
            self._file = event_file_writer.EventsWriter(prefix, f".{time.time_ns()}")
            start = proto.event_pb2.SessionLog(status=proto.event_pb2.SessionLog.START)
            try:
                self._file.write_event(self._event(wall_time=time.time(), step=after + 1, session_log=start))
                self._file.flush()
            except OSError:
                with contextlib.suppress(OSError):
                    self.close()
                raise

    def write(self, step: int, scalars: Scalars) -> None:
        with writing(self._directory):
            for name, value in scalars.items():
                content = self._scalar(name, float(value))
                self._file.write_event(self._event(wall_time=time.time(), step=int(step), summary=content))
            self._file.flush()

    def close(self) -> None:
        with writing(self._directory):
            try:
                self._file.close()
            finally:  # it leaves the file open if the disk is full
                self._file._py_recordio_writer.close()


class MultiWriter:
    """Writes to all of `writers`; closes them at the end of a `with` block."""

    def __init__(self, *writers: Writer):
        self._writers = writers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # An error of the block says more than what comes of it at the end.
        with contextlib.suppress(OSError) if kind else contextlib.nullcontext():
            self.close()

    def write(self, step: int, scalars: Scalars) -> None:
        for writer in self._writers:
            writer.write(step, scalars)

    def close(self) -> None:
        """Closes all of them, even if one fails."""
        with contextlib.ExitStack() as stack:
            for writer in reversed(self._writers):
                stack.callback(writer.close)


def of_run(run: Run, *, after: int, writing: bool = True) -> MultiWriter:
    """The writer of a run's metrics.jsonl and tensorboard/, which goes on after a step.

    Without `writing` it writes nothing. What metrics.jsonl has of later steps is removed: the run comes to them again.

    Raises:
      OSError: they cannot be written; names the path.
    """
    if not writing:
        return MultiWriter()
    path = run.workdir / "metrics.jsonl"
    _keep_until(path, after)
    return MultiWriter(JsonLinesWriter(path), TensorBoardWriter(run.workdir / "tensorboard", after))


def _keep_until(path: epath.Path, step: int) -> None:
    """Leaves in a file of metrics the whole lines up to a step, and says what it removed beside later steps."""
    old = path.read_bytes().split(b"\n") if path.exists() else []
    kept, damaged = [], 0
    for line in filter(None, old):
        try:
            of = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError, RecursionError):
            of = None
        if type(of) is not int:
            damaged += 1
        elif of <= step:
            kept.append(line + b"\n")
    if damaged:
        print(f"{path}: {damaged} damaged line{'s' * (damaged > 1)} removed.")
    if len(kept) < len(old) - 1 or damaged:
        write_whole(path, lambda temporary: temporary.write_bytes(b"".join(kept)), overwrite=True)
