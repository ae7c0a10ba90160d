"""From files to lines of JSON and overlays: what the command writes, and what it says went wrong."""

import contextlib
import itertools
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from h3r_jax import visualize
from h3r_jax.errors import UserError
from h3r_jax.predict import video
from h3r_jax.predict.boxes import BoxFile
from h3r_jax.predict.inputs import BoxSource, Files
from h3r_jax.predict.predictor import Prediction, Predictor

DIGITS = {"box": 3, "landmarks": 3, "confidence": 5, "covariance": 4}  # after the point, in the order of Prediction


class Output:
    """What one call of the command writes.

    folder: for landmarks.jsonl and overlays; None prints the lines and draws nothing.
    boxes, empty, errors: how many boxes were written, images or frames without a box, and errors.
    """

    def __init__(self, folder: Path | None):
        self.folder, self.boxes, self.empty, self.errors = folder, 0, 0, 0
        self._names: set[Path] = set()
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        self._lines = (folder / "landmarks.jsonl").open("w") if folder else sys.stdout

    def write(self, path: Path, prediction: Prediction, **more: int) -> None:
        """A line for each box of an image, or one with the box null if there is none; `more` are further fields."""
        self.boxes += len(prediction.boxes)
        self.empty += not len(prediction.boxes)
        for record in _records(prediction):
            print(json.dumps({"image": str(path), **more, **record}), file=self._lines)

    def report(self, message: str, error: ValueError) -> None:
        """Says what went wrong; with the traceback of its cause, if it has one, which may be a mistake in a program."""
        self.errors += 1
        if error.__cause__:
            tqdm.write("".join(traceback.format_exception(error.__cause__)), file=sys.stderr)
        tqdm.write(f"error: {message}", file=sys.stderr)

    def place(self, name: str) -> Path:
        """Where an overlay goes within the folder; those of inputs of one name are numbered."""
        assert self.folder
        place = wanted = self.folder / name
        numbers = itertools.count(2)
        while place in self._names:
            place = wanted.with_stem(f"{wanted.stem}-{next(numbers)}")
        self._names.add(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def close(self) -> None:
        """Ends the file of lines."""
        if self.folder:
            self._lines.close()


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


def predict_images(predictor: Predictor, boxes: BoxSource, files: Files, output: Output) -> None:
    """All images, as one stream; an image that cannot be read or looked at is reported and passed over."""
    results = predictor.stream((path, _boxes_of(boxes, path)) for path, _ in files)
    progress = tqdm(results, total=len(files), unit="image", dynamic_ncols=True)
    for (pixels, result), (path, name) in zip(progress, files):
        if isinstance(result, ValueError):
            output.report(str(result), result)
            continue
        output.write(path, result)
        if not len(result.boxes):
            tqdm.write(f"{path}: no boxes", file=sys.stderr)
        if output.folder and pixels is not None:
            figure = visualize.overlay(pixels, result, predictor.network.scheme)
            visualize.save(figure, output.place(f"{name}.png"))


def predict_video(predictor: Predictor, boxes: BoxSource, path: Path, name: str, output: Output) -> None:
    """One video, frame by frame; frames that cannot be read or looked at are reported, once, and passed over."""
    try:
        _predict_frames(predictor, boxes, path, name, output)
    except UserError as error:
        output.report(str(error) if str(error).startswith(str(path)) else f"{path}: {error}", error)


def _predict_frames(predictor: Predictor, boxes: BoxSource, path: Path, name: str, output: Output) -> None:
    rate, promised = video.frame_rate(path)
    if isinstance(boxes, BoxFile):
        boxes(path, 0)  # one error if the file does not know the video, rather than one for each frame
    frames = ((frame, _boxes_of(boxes, path, index)) for index, frame in enumerate(video.read_video(path)))
    results = tqdm(predictor.stream(frames), total=promised or None, unit="frame", desc=path.name, dynamic_ncols=True)
    nothing = Prediction(np.zeros((0, 4)), np.zeros((0, 0, 2)), np.zeros((0, 0)), np.zeros((0, 0, 2, 2)))
    count, bad = 0, []
    with contextlib.ExitStack() as stack:
        writer = None
        if output.folder:
            writer = stack.enter_context(contextlib.closing(video.VideoWriter(output.place(f"{name}.mp4"), rate)))
        for index, (pixels, result) in enumerate(results):
            count += 1
            if isinstance(result, ValueError):
                bad.append((index, result))
                result = nothing
            else:
                output.write(path, result, frame=index)
            if writer and pixels is not None:
                try:
                    writer.write(visualize.to_pixels(visualize.overlay(pixels, result, predictor.network.scheme)))
                except UserError as error:  # the landmarks go on without pictures
                    output.report(f"{path}: {error}", error)
                    writer = None
    if bad:
        index, first = bad[0]
        reason = f"frame {index}: {str(first).removeprefix(f'image {index}: ')}"
        raise UserError(f"{len(bad)} of {count} frames were passed over, the first being {reason}") from first.__cause__
    if count < promised:
        raise UserError(f"{count} frames could be read of {promised} that it promises; it is cut short or damaged")
