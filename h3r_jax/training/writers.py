"""Metric writers: anything with `write(step, {name: number})` and `close()`."""

import json
import math

from etils import epath


class JsonLinesWriter:
    """One JSON object per line: {"step": ..., name: number, ...}. Not-a-number is written as null."""

    def __init__(self, path):
        path = epath.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._file = path, path.open("a")

    def write(self, step, scalars):
        values = {name: float(value) if math.isfinite(value) else None for name, value in scalars.items()}
        try:
            self._file.write(json.dumps({"step": int(step), **values}) + "\n")
            self._file.flush()
        except OSError as error:
            raise OSError(
                f"{self._path}: {error.strerror or error}; the metrics of step {step} could not be written"
            ) from error

    def close(self):
        self._file.close()


class TensorBoardWriter:
    """Event files for TensorBoard."""

    def __init__(self, directory):
        from tensorboardX import SummaryWriter  # not needed where only JSON lines are written

        self._writer = SummaryWriter(str(directory))

    def write(self, step, scalars):
        for name, value in scalars.items():
            self._writer.add_scalar(name, float(value), int(step))

    def close(self):
        self._writer.close()


class MultiWriter:
    """Writes to all of `writers`."""

    def __init__(self, *writers):
        self._writers = writers

    def write(self, step, scalars):
        for writer in self._writers:
            writer.write(step, scalars)

    def close(self):
        for writer in self._writers:
            writer.close()
