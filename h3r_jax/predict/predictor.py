"""A trained network, applied to the boxes of images of any sizes."""

import collections
import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, overload

import jax
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from h3r_jax import codec, geometry
from h3r_jax.errors import UserError
from h3r_jax.images import read_image
from h3r_jax.inference import Network
from h3r_jax.predict.boxes import outside
from h3r_jax.training import sharding

MOST_READERS = 16  # threads that read images; each holds one
MOST_WAITING = 4  # images that are held, in largest batches, before a batch that is not full goes
MOST_BYTES = 2**30  # of pixels that are held, before it goes as well

Picture = str | os.PathLike | np.ndarray | Image.Image
Boxes = ArrayLike | Callable[[np.ndarray], ArrayLike] | None


class Prediction(NamedTuple):
    """The landmarks in `n` boxes of one image, in pixels of the upright image (`h3r_jax.images`).

    boxes: `float64[n, 4]`, x0, y0, x1, y1.
    landmarks: `float64[n, K, 2]`.
    confidence: `float64[n, K]`, the share of the heatmap's mass that the decoder used.
    covariance: `float64[n, K, 2, 2]`, square pixels.
    """

    boxes: np.ndarray
    landmarks: np.ndarray
    confidence: np.ndarray
    covariance: np.ndarray


Result = tuple[np.ndarray | None, Prediction | ValueError]  # of `Predictor.stream`


@dataclasses.dataclass
class _Job:
    """One image on its way."""

    name: str
    pixels: np.ndarray | None = None
    boxes: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 4)))
    crops: list = dataclasses.field(default_factory=list)
    matrices: list = dataclasses.field(default_factory=list)
    decoded: list = dataclasses.field(default_factory=list)
    error: ValueError | None = None

    def finished(self) -> bool:
        return self.error is not None or len(self.decoded) == len(self.matrices)


class Predictor:
    """Landmarks of images.

    network: Network.
    variables: {"params", "batch_stats"} of its model, put on the devices.
    description: a sentence that says which weights these are.
    max_batch: the most crops that go through the network at once, raised to a multiple of the devices.
    devices: that share each batch; by default all of this process.

    Raises:
      UserError: the network cannot take its input.
    """

    def __init__(
        self,
        network: Network,
        variables: dict,
        description: str = "",
        *,
        max_batch: int = 16,
        devices: Sequence[jax.Device] | None = None,
    ):
        if max_batch < 1:
            raise UserError(f"max_batch={max_batch} must be positive")
        mesh = sharding.make_mesh(jax.local_devices() if devices is None else devices)
        whole, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)
        self.network, self.description = network, description
        # The only batches that are compiled: the number of devices times 1, 2, 4, ... and the largest.
        self.max_batch = -(-max_batch // mesh.size) * mesh.size
        self.buckets = [mesh.size << i for i in range(32) if mesh.size << i < self.max_batch] + [self.max_batch]
        self.variables = jax.device_put(variables, whole)
        self._jitted = jax.jit(network.decode, in_shardings=(whole, split), out_shardings=whole)
        # Traces the smallest batch. That compiles nothing, and the first call finds it done.
        self._jitted.eval_shape(self.variables, jax.ShapeDtypeStruct((self.buckets[0], *network.shape, 3), np.uint8))

    @overload
    def __call__(self, images: Picture, boxes: Boxes = None) -> Prediction: ...

    @overload
    def __call__(self, images: list | tuple, boxes: Sequence[Boxes] | Boxes = None) -> list[Prediction]: ...

    def __call__(self, images: Any, boxes: Any = None) -> Any:
        """The landmarks of one image or of several.

        Args:
          images: a path or an array `uint8[H, W, 3]` or `[H, W]`; or a list of these, of any sizes.
          boxes: `[4]` or `[n, 4]`, x0, y0, x1, y1 in pixels of the image, around what the landmarks are expected to
            cover; None for the whole image; or a function from pixels to boxes, such as `faces.find_faces`. For a list
            of images a list of these, or one for all that is None or a function.

        Returns:
          Prediction, for a list of images a list of them.

        Raises:
          ValueError: an image cannot be read, or a box has no size or lies outside its image; names the image.
        """
        one = not isinstance(images, (list, tuple)) and getattr(images, "ndim", 0) < 4
        if one:
            images, boxes = [images], [boxes]
        elif boxes is None or callable(boxes):
            boxes = [boxes] * len(images)
        elif len(boxes) != len(images):
            raise UserError(f"{len(images)} images, but boxes for {len(boxes)}; want boxes, or None, for each image")
        results = []
        for _, result in self.stream(zip(images, boxes)):
            if isinstance(result, ValueError):
                raise result
            results.append(result)
        return results[0] if one else results

    def stream(self, items: Iterable[tuple[Picture, Boxes]]) -> Iterator[Result]:
        """The landmarks of an endless or long row of images, read ahead while the devices work.

        At most `MOST_WAITING * max_batch` images are held, or fewer whose pixels reach `MOST_BYTES`, and one for each
        reader, however rare boxes are.

        Args:
          items: iterator of images and their boxes, each as `__call__` takes them.

        Yields:
          In order, the pixels `uint8[H, W, 3]` of an image, None if it cannot be read, and its Prediction, or the
          ValueError that says why there is none.
        """
        waiting: collections.deque[_Job] = collections.deque()
        running: collections.deque[tuple[tuple[_Job, ...], codec.Decoded]] = collections.deque()
        crops: list[tuple[_Job, np.ndarray]] = []
        for job in self._prepared(items):
            waiting.append(job)
            crops += [(job, crop) for crop in job.crops]
            job.crops = []
            while len(crops) >= self.max_batch:
                running.append(self._start(crops[: self.max_batch]))
                del crops[: self.max_batch]
                if len(running) > 1:
                    _finish(*running.popleft())
            held = sum(job.pixels.nbytes for job in waiting if job.pixels is not None)
            if len(waiting) >= MOST_WAITING * self.max_batch or held >= MOST_BYTES:
                # A crop that waits for others holds up every image after its own.
                if crops:
                    running.append(self._start(crops))
                    crops = []
                while running:
                    _finish(*running.popleft())
            while waiting and waiting[0].finished():
                yield self._result(waiting.popleft())
        if crops:
            running.append(self._start(crops))
        for batch in running:
            _finish(*batch)
        yield from map(self._result, waiting)

    def _prepared(self, items: Iterable[tuple[Picture, Boxes]]) -> Iterator[_Job]:
        """Jobs with their crops, in order; a few are read at the same time."""
        workers = min(os.cpu_count() or 1, MOST_READERS)
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            ahead: collections.deque[concurrent.futures.Future[_Job]] = collections.deque()
            for index, (image, boxes) in enumerate(items):
                ahead.append(pool.submit(self._prepare, index, image, boxes))
                if len(ahead) > workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _prepare(self, index: int, image: Picture, boxes: Boxes) -> _Job:
        job = _Job(os.fspath(image) if isinstance(image, (str, os.PathLike)) else f"image {index}")
        try:
            job.pixels = read_image(image, job.name)
            if boxes is None:
                boxes = whole_box(job.pixels, self.network.box_scale)
            elif callable(boxes):
                boxes = _find_boxes(boxes, job.pixels, job.name)
            job.boxes = _check_boxes(boxes, job.pixels)
            for box in job.boxes:
                crop, matrix = self.network.cut(job.pixels, box)
                job.crops.append(crop)
                job.matrices.append(matrix)
        except UserError as error:
            named = str(error).startswith(job.name)
            job.error, job.crops = error if named else UserError(f"{job.name}: {error}"), []
        return job

    def _start(self, crops: list[tuple[_Job, np.ndarray]]) -> tuple[tuple[_Job, ...], codec.Decoded]:
        """Sends a batch to the devices: what comes back, in time, and whose it is."""
        jobs = tuple(job for job, _ in crops)
        bucket = next(size for size in self.buckets if size >= len(crops))
        images = np.zeros((bucket, *self.network.shape, 3), np.uint8)
        images[: len(crops)] = [crop for _, crop in crops]
        return jobs, self._jitted(self.variables, images)

    def _result(self, job: _Job) -> Result:
        if job.error is not None:
            return job.pixels, job.error
        count, landmarks = len(job.boxes), self.network.scheme.num_landmarks
        coordinates, confidence, covariance = (
            np.array([values[i] for values in job.decoded], np.float64).reshape(count, landmarks, *shape)
            for i, shape in enumerate(((2,), (), (2, 2)))
        )
        inverse = geometry.invert(np.reshape(job.matrices, (count, 2, 3)))
        linear = inverse[:, None, :, :2]
        covariance = linear @ covariance @ linear.swapaxes(-1, -2)
        return job.pixels, Prediction(
            job.boxes, geometry.transform_points(inverse, coordinates), confidence, covariance
        )


def _finish(jobs: tuple[_Job, ...], decoded: codec.Decoded) -> None:
    coordinates, confidence, covariance = jax.device_get(decoded)
    for job, *values in zip(jobs, coordinates, confidence, covariance):
        job.decoded.append(values)


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
    boxes = np.asarray(boxes, np.float64)
    boxes = boxes.reshape(-1, 4) if boxes.size == 0 or boxes.shape == (4,) else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UserError(f"boxes of shape {list(boxes.shape)}; want [4] or [n, 4]")
    for box in boxes[outside(boxes, pixels.shape)]:
        height, width = pixels.shape[:2]
        raise UserError(f"box {box.tolist()} lies outside the image of {width}x{height} pixels")
    return boxes
