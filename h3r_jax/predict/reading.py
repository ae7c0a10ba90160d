"""Images and boxes on the host: read, checked and cut into crops by a few threads, ahead of the network."""

import collections
import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from h3r_jax.errors import UserError
from h3r_jax.images import LazyImage
from h3r_jax.inference import Network
from h3r_jax.predict.boxes import outside

MOST_READERS = 16  # threads that read images; each holds one

T = TypeVar("T")
Picture = str | os.PathLike | np.ndarray | Image.Image
Boxes = ArrayLike | Callable[[np.ndarray], ArrayLike] | None


@dataclasses.dataclass
class Job:
    """Some boxes of one image on their way: no more than one batch takes."""

    name: str
    image: LazyImage | None = None
    pixels: np.ndarray | None = None
    boxes: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 4)))
    last: bool = True
    crops: list = dataclasses.field(default_factory=list)
    matrices: list = dataclasses.field(default_factory=list)
    decoded: list = dataclasses.field(default_factory=list)
    error: ValueError | None = None

    def finished(self) -> bool:
        return self.error is not None or len(self.decoded) == len(self.matrices)


def prepared(network: Network, items: Iterable[tuple[Picture, Boxes]], most: int) -> Iterator[Job]:
    """Jobs with their crops, in order; a few are read or cut at the same time.

    Args:
      network: that says how crops are cut.
      items: iterator of images and their boxes, as `Predictor.stream` takes them.
      most: boxes of a job.
    """
    workers = min(os.cpu_count() or 1, MOST_READERS)
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        images = ((network, index, image, boxes, most) for index, (image, boxes) in enumerate(items))
        for first, rest in _ahead(pool, workers, _prepare, images):
            yield first
            starts = range(0, len(rest), most)
            pieces = ((network, first, rest[i : i + most], i == starts[-1]) for i in starts)
            for job in _ahead(pool, workers, _cut, pieces):
                yield job
                if job.error:
                    break
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(network: Network, index: int, image: Picture, boxes: Boxes, most: int) -> tuple[Job, np.ndarray]:
    """The first job of an image, and its boxes `[n, 4]` for further ones."""
    job = Job(os.fspath(image) if isinstance(image, (str, os.PathLike)) else f"image {index}")
    try:
        job.image = LazyImage(image, job.name)
        job.pixels = job.image.pixels
        if boxes is None:
            boxes = whole_box(job.pixels, network.box_scale)
        elif callable(boxes):
            boxes = _find_boxes(boxes, job.pixels, job.name)
        known = _check_boxes(boxes, job.pixels)
    except UserError as error:
        job.error = _named(error, job.name)
        return job, job.boxes
    job = _cut(network, job, known[:most], len(known) <= most)
    return job, known[:0] if job.error else known[most:]


def _cut(network: Network, image: Job, boxes: np.ndarray, last: bool) -> Job:
    """The job of some boxes `[n, 4]` of an image, with their crops."""
    job = Job(image.name, image.image, image.pixels, boxes, last)
    assert job.image is not None
    try:
        for box in boxes:
            crop, matrix = network.cut(job.image, box)
            job.crops.append(crop)
            job.matrices.append(matrix)
    except UserError as error:
        job.error, job.crops, job.last = _named(error, job.name), [], True
    return job


def _ahead(
    pool: concurrent.futures.Executor, count: int, function: Callable[..., T], rows: Iterable[tuple[Any, ...]]
) -> Iterator[T]:
    """The results of a function for rows of arguments, in order; `count` are worked on ahead."""
    futures: collections.deque[concurrent.futures.Future[T]] = collections.deque()
    for row in rows:
        futures.append(pool.submit(function, *row))
        if len(futures) > count:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


def _named(error: UserError, name: str) -> UserError:
    """An error whose message begins with the name of its image."""
    return error if str(error).startswith(name) else UserError(f"{name}: {error}")


def whole_box(pixels: np.ndarray, scale: float) -> np.ndarray:
    """The box `float64[4]` whose crop, grown by `scale`, is the whole of an image."""
    size = np.array(pixels.shape[1::-1], np.float64)
    # Not below one pixel, the least that a box can be.
    half = (np.maximum(size / scale, 1) - 1) / 2
    return np.concatenate([(size - 1) / 2 - half, (size - 1) / 2 + half])


def _find_boxes(find: Callable[[np.ndarray], ArrayLike], pixels: np.ndarray, name: str) -> ArrayLike:
    try:
        return find(pixels)
    except UserError:
        raise
    except Exception as error:  # whatever a detector fails with, the other images go on; the cause keeps its traceback
        raise UserError(f"{name}: its boxes could not be found ({type(error).__name__}: {error})") from error


def _check_boxes(boxes: ArrayLike, pixels: np.ndarray) -> np.ndarray:
    """Boxes as `float64[n, 4]`; ValueError if one lies outside the image or they are no boxes."""
    try:
        found = np.asarray(boxes)
        if found.dtype.kind not in "iufO":
            raise ValueError(f"they are {found.dtype}")
        boxes = found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"boxes that are no numbers ({error}); want [4] or [n, 4]") from None
    boxes = boxes.reshape(-1, 4) if boxes.size == 0 or boxes.shape == (4,) else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UserError(f"boxes of shape {list(boxes.shape)}; want [4] or [n, 4]")
    for box in boxes[outside(boxes, pixels.shape)]:
        height, width = pixels.shape[:2]
        raise UserError(f"box {box.tolist()} lies outside the image of {width}x{height} pixels")
    return boxes
