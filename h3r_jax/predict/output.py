"""From files to lines of JSON and overlays: what the command writes, and what it says went wrong."""

import contextlib
import itertools
import json
import os
import stat
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from h3r_jax import visualize
from h3r_jax.errors import UserError
from h3r_jax.files import Lines, check_free, is_there, writing
from h3r_jax.predict import video
from h3r_jax.predict.boxes import BoxFile
from h3r_jax.predict.inputs import BoxSource, Files
from h3r_jax.predict.predictor import Part, Prediction, Predictor, join

DIGITS = {"box": 3, "landmarks": 3, "confidence": 5, "covariance": 4}  # after the point, in the order of Prediction
LINES = "landmarks.jsonl"
MOST_DRAWN = 1000  # boxes in one picture
REFRESH = 1.0  # seconds between two counts of boxes, within an image
NOTHING = Prediction(np.zeros((0, 4)), np.zeros((0, 0, 2)), np.zeros((0, 0)), np.zeros((0, 0, 2, 2)))


class Output:
    """What one call of the command writes.

    folder: for landmarks.jsonl and overlays; None prints the lines and draws nothing.
    inputs: the path and name of every image, then of every video.
    videos: how many of them are videos.
    read: path of the file of boxes, if there is one.
    overwrite: whether files of an earlier call may be replaced.
    numbers: whether the number of each landmark is drawn.
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
    ):
        self.folder, self.overwrite, self.numbers = folder, overwrite, numbers
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

    def write(self, path: Path, prediction: Prediction, **more: int) -> None:
        """A line for each box of an image, or one with the box null if there is none; `more` are further fields.

        Raises:
          UserError: another process has written the file of lines in the meantime.
          OSError: the lines cannot be written.
        """
        for record in _records(prediction):
            self._line({"image": str(path), **more, **record})
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


def _boxes_of(boxes: BoxSource, path: Path, frame: int | None = None) -> Callable[[np.ndarray], np.ndarray] | None:
    """What `Predictor` takes as the boxes of an image, or of a frame of a video."""
    return (lambda pixels: boxes(path, frame)) if isinstance(boxes, BoxFile) else boxes


class _Seen(NamedTuple):
    """One image or frame, after its lines were written: what is drawn of it, and the number of its boxes."""

    pixels: np.ndarray | None
    drawn: Prediction
    boxes: int
    error: ValueError | None


def _write_lines(parts: Iterable[Part], write: Callable[[int, Prediction], None], progress: tqdm) -> Iterator[_Seen]:
    """Writes lines as they come, by the number of their image; ends each image with what is drawn of it."""
    index, count = 0, 0
    drawn: list[Prediction] = []
    shown = time.monotonic()
    for pixels, result, last in parts:
        error = result if isinstance(result, ValueError) else None
        if isinstance(result, Prediction):
            write(index, result)
            if count < MOST_DRAWN:
                drawn.append(Prediction(*(values[: MOST_DRAWN - count] for values in result)))
            count += len(result.boxes)
        elif count:
            error = UserError(f"{result}; its boxes from number {count} on, counted from 0, are left out")
        if last:
            yield _Seen(pixels, join(drawn or [NOTHING]), count, error)
            progress.update()
            index, count, drawn = index + 1, 0, []
        elif time.monotonic() - shown > REFRESH:
            progress.set_postfix_str(f"{count} boxes of it")
            shown = time.monotonic()


def predict_images(predictor: Predictor, boxes: BoxSource, files: Files, output: Output) -> None:
    """All images, as one stream; an image that cannot be read or looked at is reported and passed over."""
    parts = predictor.parts((path, _boxes_of(boxes, path)) for path, _ in files)
    with tqdm(total=len(files), unit="image", dynamic_ncols=True) as progress:
        seen = _write_lines(parts, lambda index, result: output.write(files[index][0], result), progress)
        for index, (image, (path, _)) in enumerate(zip(seen, files)):
            if image.error is not None:
                output.report(str(image.error), image.error)
                continue
            if not image.boxes:
                left_out = boxes.count_left_out(path) if isinstance(boxes, BoxFile) else 0
                tqdm.write(f"{path}: no boxes" + (f"; {left_out} were left out" if left_out else ""), file=sys.stderr)
            if (place := output.place(index)) and image.pixels is not None:
                if image.boxes > MOST_DRAWN:
                    tqdm.write(f"{path}: the first {MOST_DRAWN} of {image.boxes} boxes are drawn", file=sys.stderr)
                figure = _overlay(predictor, boxes, output, image.pixels, image.drawn)
                visualize.save(figure, place, overwrite=output.overwrite)


def _overlay(predictor: Predictor, boxes: BoxSource, output: Output, pixels: np.ndarray, drawn: Prediction) -> Figure:
    """An image with its predictions; the box is the whole image where that is what was looked at."""
    if boxes is None:
        height, width = pixels.shape[:2]
        drawn = drawn._replace(boxes=np.tile([0.0, 0.0, width - 1.0, height - 1.0], (len(drawn.boxes), 1)))
    return visualize.overlay(pixels, drawn, predictor.network.scheme, numbers=output.numbers)


def predict_video(predictor: Predictor, boxes: BoxSource, path: Path, output: Output, place: Path | None) -> None:
    """One video, frame by frame; frames that cannot be read or looked at are reported, once, and passed over.

    Args:
      predictor, boxes: that look at it.
      path: of the video.
      output: that the lines go to.
      place: of the video with the landmarks drawn in; None for none.
    """
    try:
        _predict_frames(predictor, boxes, path, output, place)
    except UserError as error:
        output.report(str(error) if str(error).startswith(str(path)) else f"{path}: {error}", error)


def _predict_frames(predictor: Predictor, boxes: BoxSource, path: Path, output: Output, place: Path | None) -> None:
    rate, promised = video.frame_rate(path)
    if isinstance(boxes, BoxFile):
        boxes(path, 0)  # one error if the file does not know the video, rather than one for each frame
    frames = ((frame, _boxes_of(boxes, path, index)) for index, frame in enumerate(video.read_video(path)))
    count, bad, cut = 0, [], 0
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(tqdm(total=promised or None, unit="frame", desc=path.name, dynamic_ncols=True))
        writer = stack.enter_context(video.VideoWriter(place, rate)) if place else None
        parts = predictor.parts(frames)
        seen = _write_lines(parts, lambda index, result: output.write(path, result, frame=index), progress)
        for index, frame in enumerate(seen):
            count += 1
            cut += frame.boxes > MOST_DRAWN
            if frame.error is not None:
                bad.append((index, frame.error))
            if writer and frame.pixels is not None:
                shown = NOTHING if frame.error else frame.drawn
                try:
                    figure = _overlay(predictor, boxes, output, frame.pixels, shown)
                    writer.write(visualize.to_pixels(figure))
                except UserError as error:  # the landmarks go on without pictures
                    output.report(f"{path}: {error}", error)
                    writer = None
    if cut and place:
        tqdm.write(f"{path}: in {cut} frames the first {MOST_DRAWN} boxes are drawn", file=sys.stderr)
    if bad:
        index, first = bad[0]
        reason = f"frame {index}: {str(first).removeprefix(f'image {index}: ')}"
        raise UserError(f"{len(bad)} of {count} frames were passed over, the first being {reason}") from first.__cause__
    if count < promised:
        raise UserError(f"{count} frames could be read of {promised} that it promises; it is cut short or damaged")
