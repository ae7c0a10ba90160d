"""Images and videos, file by file: what is found in them is written and drawn."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from h3r_jax import visualize
from h3r_jax.errors import UserError
from h3r_jax.predict import tracking, video
from h3r_jax.predict.boxes import BoxFile
from h3r_jax.predict.inputs import BoxSource, Files
from h3r_jax.predict.output import Output
from h3r_jax.predict.predictor import Part, Prediction, Predictor, join

MOST_DRAWN = 1000  # boxes in one picture
REFRESH = 1.0  # seconds between two counts of boxes, within an image
NOTHING = Prediction(np.zeros((0, 4)), np.zeros((0, 0, 2)), np.zeros((0, 0)), np.zeros((0, 0, 2, 2)))


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


def _followed(
    predictor: Predictor, find: Callable[[np.ndarray], np.ndarray], path: Path, output: Output, progress: tqdm
) -> Iterator[_Seen]:
    """As `_write_lines`, of a video whose faces are followed from frame to frame."""
    frames = tracking.follow(predictor, video.read_video(path), find, smooth=output.smooth)
    for index, (pixels, result, tracks) in enumerate(frames):
        progress.update()
        if isinstance(result, ValueError):
            yield _Seen(pixels, NOTHING, 0, result)
            continue
        output.write(path, result, tracks.tolist(), frame=index)
        drawn = Prediction(*(values[:MOST_DRAWN] for values in result))
        yield _Seen(pixels, drawn, len(result.boxes), None)


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
    count, bad, cut = 0, [], 0
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(tqdm(total=promised or None, unit="frame", desc=path.name, dynamic_ncols=True))
        writer = stack.enter_context(video.VideoWriter(place, rate)) if place else None
        if boxes is None or isinstance(boxes, BoxFile):
            frames = ((frame, _boxes_of(boxes, path, index)) for index, frame in enumerate(video.read_video(path)))
            parts = predictor.parts(frames)
            seen = _write_lines(parts, lambda index, result: output.write(path, result, frame=index), progress)
        else:
            seen = _followed(predictor, boxes, path, output, progress)
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
