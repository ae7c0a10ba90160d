"""What the command writes: lines of JSON, and where overlays go; and what it says went wrong."""

import itertools
import json
import os
import stat
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from h3r_jax.errors import UserError
from h3r_jax.files import Lines, check_free, is_there, writing
from h3r_jax.predict import video
from h3r_jax.predict.inputs import Files
from h3r_jax.predict.predictor import Prediction

DIGITS = {"box": 3, "landmarks": 3, "confidence": 5, "covariance": 4}  # after the point, in the order of Prediction
LINES = "landmarks.jsonl"


class Output:
    """What one call of the command writes.

    folder: for landmarks.jsonl and overlays; None prints the lines and draws nothing.
    inputs: the path and name of every image, then of every video.
    videos: how many of them are videos.
    read: path of the file of boxes, if there is one.
    overwrite: whether files of an earlier call may be replaced.
    numbers: whether the number of each landmark is drawn.
    smooth: whether landmarks of faces in videos are smoothed over time.
    boxes, empty, errors: how many boxes were written, images or frames without a box, and errors.

    Raises:
      UserError: a file that would be written is there and may not be replaced, is one that is read, or would be a
        folder, too; or standard output is needed and closed.
      OSError: the folder cannot be written, or a file with such a name.
    """

    def __init__(
        self,
        folder: Path | None,
        inputs: Files,
        videos: int,
        read: str | None,
        *,
        overwrite: bool,
        numbers: bool = False,
        smooth: bool = False,
    ):
        self.folder, self.overwrite, self.numbers, self.smooth = folder, overwrite, numbers, smooth
        self.boxes = self.empty = self.errors = 0
        self._lines: Lines | None = None
        self._places: list[Path] = []
        if folder is None:
            if sys.stdout is None:
                raise UserError("standard output is closed; open it, or give --out=DIR")
            return
        self._places = _places(folder, inputs, videos)
        results = (folder / LINES, *self._places)
        for path in self._places:
            if both := set(results).intersection(path.parents):
                raise UserError(
                    f"{min(both)} would be a result and the folder of another; give their inputs in two calls"
                )
            if path.suffix == ".mp4":
                is_there(video.unfinished(path))  # whose name is longer
        written = [path for path in results if is_there(path)]
        sources = {os.path.realpath(path) for path in ([read] if read else []) + [path for path, _ in inputs]}
        for path in written:
            if os.path.realpath(path) in sources:
                raise UserError(f"{path} is read by this call, which would write it; choose another --out")
            if not stat.S_ISREG(path.lstat().st_mode):
                raise UserError(f"{path} would be written, but is a link, folder or device; choose another --out")
        if written and not overwrite:
            more = f", and {len(written) - 1} more that would be written" if len(written) > 1 else ""
            raise UserError(f"{written[0]} exists already{more}; choose another --out, or give --overwrite to replace")
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"{folder} cannot be written: Permission denied")

    def write(self, path: Path, prediction: Prediction, tracks: Sequence[int] = (), **more: int) -> None:
        """A line for each box of an image, or one with the box null if there is none.

        Args:
          path: of the image.
          prediction: Prediction of its `n` boxes.
          tracks: `n` numbers of faces that are followed; none if they are not.
          **more: further fields of each line.

        Raises:
          UserError: another process has written the file of lines in the meantime.
          OSError: the lines cannot be written.
        """
        for index, record in enumerate(_records(prediction)):
            track = {"track": int(tracks[index])} if len(tracks) else {}
            self._line({"image": str(path), **more, **track, **record})
        self.boxes += len(prediction.boxes)
        self.empty += not len(prediction.boxes)

    def _line(self, record: dict) -> None:
        if self.folder is None:
            try:
                with writing("standard output"):
                    print(json.dumps(record), flush=True)
            except OSError:
                # At its end Python would write the rest once more, and fail with a traceback.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise
            return
        if self._lines is None:
            place = self.folder / LINES
            check_free(place, overwrite=self.overwrite)
            place.unlink(missing_ok=True)
            self._lines = Lines(place)
        self._lines.write(record)

    def report(self, message: str, error: ValueError) -> None:
        """Says what went wrong; with the traceback of its cause, if it has one, which may be a mistake in a program."""
        self.errors += 1
        if error.__cause__:
            tqdm.write("".join(traceback.format_exception(error.__cause__)), file=sys.stderr)
        tqdm.write(f"error: {message}", file=sys.stderr)

    def place(self, index: int) -> Path | None:
        """Where the overlay of an input goes, by its number among all; None if nothing is drawn."""
        return self._places[index] if self.folder else None

    def close(self) -> None:
        """Ends the file of lines."""
        if self._lines:
            self._lines.close()

    def __str__(self) -> str:
        counts = f"{self.boxes} boxes; {self.empty} images or frames without any; {self.errors} errors"
        if self.folder is None:
            return counts
        return counts + (f"; in {self.folder / LINES}" if self._lines else f"; nothing was written to {self.folder}")


def _places(folder: Path, inputs: Files, videos: int) -> list[Path]:
    """Where the overlay of each input goes within the folder; those of inputs of one name are numbered."""
    places: dict[Path, None] = {}
    for index, (_, name) in enumerate(inputs):
        ending = ".png" if index < len(inputs) - videos else ".mp4"
        place = wanted = folder / (name if name.lower().endswith(ending) else f"{name}{ending}")
        numbers = itertools.count(2)
        while place in places:
            place = wanted.with_stem(f"{wanted.stem}-{next(numbers)}")
        places[place] = None
    return list(places)


def _records(prediction: Prediction) -> Iterator[dict]:
    if not len(prediction.boxes):
        yield {"box": None}
    for values in zip(*prediction):
        yield {name: _listed(value, digits) for (name, digits), value in zip(DIGITS.items(), values)}


def _listed(values: np.ndarray, digits: int) -> list | float | None:
    """Nested lists of rounded numbers; None for one that is not finite."""
    if np.ndim(values):
        return [_listed(value, digits) for value in values]
    return round(float(values), digits) if np.isfinite(values) else None
