"""Metric writers: anything with `write(step, {name: number})` and `close()`."""

import json
import math
import os
from collections.abc import Mapping
from typing import Protocol, Self

from etils import epath

from h3r_jax.run import Run

Scalars = Mapping[str, float]


class Writer(Protocol):
    """What the training loop writes its numbers to."""

    def write(self, step: int, scalars: Scalars) -> None: ...

    def close(self) -> None: ...


class JsonLinesWriter:
    """One JSON object per line: {"step": ..., name: number, ...}. Not-a-number is written as null."""

    def __init__(self, path: str | os.PathLike):
        self._path = epath.Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a")

    def write(self, step: int, scalars: Scalars) -> None:
        values = {name: float(value) if math.isfinite(value) else None for name, value in scalars.items()}
        try:
            self._file.write(json.dumps({"step": int(step), **values}) + "\n")
            self._file.flush()
        except OSError as error:
            raise OSError(
                f"{self._path}: {error.strerror or error}; the metrics of step {step} could not be written"
            ) from error

    def close(self) -> None:
        self._file.close()


class TensorBoardWriter:
    """Event files for TensorBoard."""

    def __init__(self, directory: str | os.PathLike):
        from tensorboardX import SummaryWriter  # not needed where only JSON lines are written

        self._writer = SummaryWriter(str(directory))

    def write(self, step: int, scalars: Scalars) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, float(value), int(step))

    def close(self) -> None:
        self._writer.close()


class MultiWriter:
    """Writes to all of `writers`; closes them at the end of a `with` block."""

    def __init__(self, *writers: Writer):
        self._writers = writers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, step: int, scalars: Scalars) -> None:
        for writer in self._writers:
            writer.write(step, scalars)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


def of_run(run: Run, *, writing: bool) -> MultiWriter:
    """The writer of a run's metrics.jsonl and tensorboard/; one that writes nothing unless `writing`."""
    if not writing:
        return MultiWriter()
    return MultiWriter(JsonLinesWriter(run.workdir / "metrics.jsonl"), TensorBoardWriter(run.workdir / "tensorboard"))
