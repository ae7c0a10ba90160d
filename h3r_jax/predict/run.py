"""One call of the command: what it writes, and what it says went wrong."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from tqdm import tqdm

from h3r_jax import visualize
from h3r_jax.errors import UserError
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.predict import video
from h3r_jax.predict.boxes import BoxFile
from h3r_jax.predict.inputs import Files
from h3r_jax.predict.predictor import Prediction, Predictor

NOTHING = Prediction(np.zeros((0, 4)), np.zeros((0, 0, 2)), np.zeros((0, 0)), np.zeros((0, 0, 2, 2)))


def records(image: Path, prediction: Prediction, **more: int) -> Iterator[dict]:
    """One dict for each box, or one with the box None if there is none; what is not a number becomes None."""

    def listed(values: np.ndarray, digits: int) -> list:
        return [listed(value, digits) if np.ndim(value) else round(float(value), digits) if np.isfinite(value) else None
                for value in values]  # fmt: skip

    about = {"image": str(image), **more}
    if not len(prediction.boxes):
        yield {**about, "box": None}
    for box, landmarks, confidence, covariance in zip(*prediction):
        yield {
            **about,
            "box": listed(box, 3),
            "landmarks": listed(landmarks, 3),
            "confidence": listed(confidence, 5),
            "covariance": listed(covariance, 4),
        }


def overlay(pixels: np.ndarray, result: Prediction, scheme: LandmarkScheme) -> Figure:
    """`visualize.overlay` of an image; a large one is shrunk first, as matplotlib takes a hundred bytes for each pixel."""
    longest = visualize.OVERLAY_SIDE[1]
    if max(pixels.shape) > longest:
        sides = np.array(pixels.shape[1::-1])
        size = np.maximum(1, np.round(sides * (longest / sides.max()))).astype(int)
        scale = size / sides
        result = Prediction(
            (result.boxes + 0.5) * [*scale, *scale] - 0.5,
            (result.landmarks + 0.5) * scale - 0.5,
            result.confidence,
            result.covariance * np.outer(scale, scale),
        )
        pixels = np.asarray(Image.fromarray(pixels).resize(size.tolist(), Image.Resampling.BILINEAR))
    return visualize.overlay(pixels, result, scheme)


class Run:
    """One call of the command: where results go, and what went wrong."""

    def __init__(
        self, predictor: Predictor, boxes: BoxFile | Callable[[np.ndarray], np.ndarray] | None, out: Path | None
    ):
        self.predictor, self.boxes, self.out = predictor, boxes, out
        self.count, self.empty = 0, 0
        self.bad: list[str] = []
        self._names: set[Path] = set()
        if out:
            out.mkdir(parents=True, exist_ok=True)
        self._lines = (out / "landmarks.jsonl").open("w") if out else sys.stdout

    def boxes_of(self, path: Path, frame: int | None = None) -> Callable[[np.ndarray], np.ndarray] | None:
        """What `Predictor` takes as the boxes of that image, or of that frame of a video."""
        boxes = self.boxes
        return (lambda pixels: boxes(path, frame)) if isinstance(boxes, BoxFile) else boxes

    def images(self, files: Files) -> None:
        """All images, as one stream."""
        items = ((path, self.boxes_of(path)) for path, _ in files)
        with tqdm(total=len(files), unit="image", dynamic_ncols=True) as progress:
            for (path, name), (pixels, result) in zip(files, self.predictor.stream(items)):
                progress.update()
                if isinstance(result, ValueError):
                    self._report(progress, str(result))
                    continue
                self._write(path, result)
                if not len(result.boxes):
                    progress.write(f"{path}: no boxes", file=sys.stderr)
                if self.out and pixels is not None:
                    figure = overlay(pixels, result, self.predictor.network.scheme)
                    visualize.save(figure, self._place(self.out / f"{name}.png"))

    def video(self, path: Path, name: str) -> None:
        """One video, frame by frame."""
        count, bad = 0, []
        try:
            rate, promised = video.frame_rate(path)
            if isinstance(self.boxes, BoxFile):
                self.boxes(path, 0)  # one error if the file does not know the video, rather than one for each frame
            items = ((frame, self.boxes_of(path, index)) for index, frame in enumerate(video.read_video(path)))
            with contextlib.ExitStack() as stack:
                progress = stack.enter_context(
                    tqdm(total=promised or None, unit="frame", desc=path.name, dynamic_ncols=True)
                )
                writer = None
                if self.out:
                    place = self._place(self.out / f"{name}.mp4")
                    writer = stack.enter_context(contextlib.closing(video.VideoWriter(place, rate)))
                for index, (pixels, result) in enumerate(self.predictor.stream(items)):
                    progress.update()
                    count += 1
                    if isinstance(result, ValueError):
                        bad.append(f"frame {index}: {str(result).removeprefix(f'image {index}: ')}")
                        result = NOTHING
                    else:
                        self._write(path, result, frame=index)
                    if writer and pixels is not None:
                        figure = overlay(pixels, result, self.predictor.network.scheme)
                        try:
                            writer.write(visualize.to_pixels(figure))
                        except ValueError as error:  # the landmarks go on without pictures
                            self._report(progress, f"{path}: {error}")
                            writer = None
            if bad:
                raise UserError(f"{len(bad)} of {count} frames were passed over, the first being {bad[0]}")
            if count < promised:
                raise UserError(
                    f"{count} frames could be read of {promised} that it promises; it is cut short or damaged"
                )
        except ValueError as error:
            self._report(tqdm, str(error) if str(error).startswith(str(path)) else f"{path}: {error}")

    def _write(self, path: Path, result: Prediction, **more: int) -> None:
        self.count += len(result.boxes)
        self.empty += not len(result.boxes)
        for record in records(path, result, **more):
            print(json.dumps(record), file=self._lines)

    def _report(self, progress: Any, message: str) -> None:
        self.bad.append(message)
        progress.write(f"error: {message}", file=sys.stderr)

    def _place(self, wanted: Path) -> Path:
        """Where to write an overlay; those of inputs of one name are numbered."""
        place, number = wanted, 1
        while place in self._names:
            number += 1
            place = wanted.with_stem(f"{wanted.stem}-{number}")
        self._names.add(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def close(self) -> None:
        """Ends the file of lines."""
        if self.out:
            self._lines.close()
