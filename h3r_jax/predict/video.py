"""Videos, through OpenCV, which is loaded with the first video."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from h3r_jax.errors import UserError
from h3r_jax.files import writing

EXTENSIONS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
CODEC = "mp4v"
MOST_MISSED = 100  # frames one after the other that cannot be read, before the rest is given up


def _opencv(path: str | os.PathLike) -> Any:
    try:
        import cv2
    except ImportError:
        raise UserError(f'{path} needs OpenCV: pip install ".[video]" (or opencv-python-headless)') from None
    return cv2


@contextlib.contextmanager
def _open(path: str | os.PathLike) -> Iterator[tuple[Any, Any, int]]:
    """OpenCV, the video that it opened, and the number of frames that the file promises."""
    if not Path(path).is_file():  # a pipe might wait for ever
        raise UserError(f"{path}: there is no such file" if not Path(path).exists() else f"{path} is not a file")
    cv2 = _opencv(path)
    video = cv2.VideoCapture(str(path))
    try:
        yield cv2, video, max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
    finally:
        video.release()


def read_video(path: str | os.PathLike) -> Iterator[np.ndarray]:
    """The frames of a video. A frame that cannot be read is passed over, as long as the file promises more.

    Args:
      path: of the file.

    Yields:
      `uint8[H, W, 3]`, upright, one by one. Compare their number with the one that `frame_rate` returns.

    Raises:
      ValueError: there is no such file, or OpenCV is not installed, or finds no frame; names the file.
    """
    with _open(path) as (cv2, video, promised):
        count, missed, row = 0, 0, 0
        while True:
            there, frame = video.read()
            if there:
                count, row = count + 1, 0
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                continue
            # OpenCV says the same of a broken frame and of the end.
            missed, row = missed + 1, row + 1
            if count + missed > promised or row > MOST_MISSED:
                break
    if not count:
        raise UserError(f"{path} is not a readable video: it has no frame")


def frame_rate(path: str | os.PathLike) -> tuple[float, int]:
    """Frames per second as the file says, and the number of frames that it promises.

    The number is an estimate in some formats, and 0 if the file does not say it.

    Raises:
      ValueError: there is no such file, or OpenCV is not installed; names the file.
    """
    with _open(path) as (cv2, video, promised):
        return video.get(cv2.CAP_PROP_FPS) or 25.0, promised


def unfinished(path: Path) -> Path:
    """Where a video is until it is whole."""
    return path.with_name(f".{path.name}.part{path.suffix}")


class VideoWriter:
    """Writes frames of one size to an .mp4 file, `rate` of them a second, in a `with` block.

    The file is at `path` when it is whole, and nowhere if the block ends with an error.

    path: to create; what is there is replaced.
    rate: frames per second.

    Raises:
      OSError: at the end of the block, if OpenCV has not written all frames. It says nothing of a full disk itself.
    """

    def __init__(self, path: Path, rate: float):
        self._path, self._rate, self._count = path, rate, 0
        self._part = unfinished(path)
        self._writer: Any = None
        self._size = 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._writer is not None:
                self._writer.release()
                if kind is None:
                    self._check()
                    with writing(self._path):
                        self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)

    def _check(self) -> None:
        try:
            written = frame_rate(self._part)[1]
        except UserError:
            written = 0
        if written != self._count:
            reason = f"OpenCV wrote {written} of {self._count} frames; is the disk full?"
            raise OSError(f"{self._path} cannot be written: {reason}")

    def write(self, frame: np.ndarray) -> None:
        """Adds a frame `uint8[H, W, 3]`, cut to even sides as the codec asks.

        Raises:
          ValueError: OpenCV cannot write such a file, or the frame has another size than the first.
        """
        cv2 = _opencv(self._path)
        height, width = (side // 2 * 2 for side in frame.shape[:2])
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._size = width, height
            self._writer = cv2.VideoWriter(str(self._part), cv2.VideoWriter_fourcc(*CODEC), self._rate, self._size)
            if not self._writer.isOpened():
                self._writer = None
                raise UserError(f"{self._path} cannot be written as a video of {self._rate:g} frames per second")
        if self._size != (width, height):  # OpenCV leaves such a frame out
            sizes = f"{self._size[0]}x{self._size[1]} and {width}x{height}"
            raise UserError(f"{self._path} cannot be written, as the frames have several sizes: {sizes} pixels")
        self._writer.write(cv2.cvtColor(frame[:height, :width], cv2.COLOR_RGB2BGR))
        self._count += 1
