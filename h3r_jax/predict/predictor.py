"""A trained network, applied to the boxes of images of any sizes."""

import collections
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, overload

import jax
import numpy as np

from h3r_jax import codec, geometry, ranges
from h3r_jax.errors import UserError
from h3r_jax.inference import Network
from h3r_jax.predict.reading import Boxes, Job, Picture, prepared
from h3r_jax.training import sharding

MOST_WAITING = 4  # images that are held, in largest batches, before a batch that is not full goes
MOST_BYTES = 2**30  # of pixels that are held, before it goes as well


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


class Part(NamedTuple):
    """The result for some boxes of an image (`Predictor.parts`).

    pixels: `uint8[H, W, 3]` of the image, None if it cannot be read.
    result: Prediction, or the ValueError that says why there is none.
    last: whether no more boxes of this image follow.
    """

    pixels: np.ndarray | None
    result: Prediction | ValueError
    last: bool


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
        if max_batch not in ranges.COUNT:
            raise UserError(f"max_batch={max_batch!r} must be positive, a whole number")
        if devices is not None and not devices:
            raise UserError("devices is empty; want at least one, or None for all")
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

        Args:
          items: iterator of images and their boxes, each as `__call__` takes them.

        Yields:
          In order, the pixels `uint8[H, W, 3]` of an image, None if it cannot be read, and its Prediction, or the
          ValueError that says why there is none.
        """
        found: list[Prediction] = []
        for pixels, result, last in self.parts(items):
            if isinstance(result, ValueError):
                found = []
                yield pixels, result
                continue
            found.append(result)
            if last:
                yield pixels, join(found)
                found = []

    def parts(self, items: Iterable[tuple[Picture, Boxes]]) -> Iterator[Part]:
        """As `stream`, but an image with many boxes comes in parts of at most `max_batch` boxes.

        At most `MOST_WAITING * max_batch` images are held, or fewer whose pixels reach `MOST_BYTES`, and one for each
        reader, however rare boxes are. The crops of a few batches are held, however many boxes an image has. If a box
        cannot be cropped, its part is the last of the image.
        """
        waiting: collections.deque[Job] = collections.deque()
        running: collections.deque[tuple[tuple[Job, ...], codec.Decoded]] = collections.deque()
        crops: list[tuple[Job, np.ndarray]] = []
        for job in prepared(self.network, items, self.max_batch):
            waiting.append(job)
            crops += [(job, crop) for crop in job.crops]
            job.crops = []
            while len(crops) >= self.max_batch:
                running.append(self._start(crops[: self.max_batch]))
                del crops[: self.max_batch]
                if len(running) > 1:
                    _finish(*running.popleft())
            held = sum({id(job.pixels): job.pixels.nbytes for job in waiting if job.pixels is not None}.values())
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

    def _start(self, crops: list[tuple[Job, np.ndarray]]) -> tuple[tuple[Job, ...], codec.Decoded]:
        """Sends a batch to the devices: what comes back, in time, and whose it is."""
        jobs = tuple(job for job, _ in crops)
        bucket = next(size for size in self.buckets if size >= len(crops))
        images = np.zeros((bucket, *self.network.shape, 3), np.uint8)
        images[: len(crops)] = [crop for _, crop in crops]
        return jobs, self._jitted(self.variables, images)

    def _result(self, job: Job) -> Part:
        if job.error is not None:
            return Part(job.pixels, job.error, job.last)
        count, points = len(job.boxes), self.network.scheme.num_landmarks
        coordinates, confidence, covariance = (
            np.array([values[i] for values in job.decoded], np.float64).reshape(count, points, *shape)
            for i, shape in enumerate(((2,), (), (2, 2)))
        )
        inverse = geometry.invert(np.reshape(job.matrices, (count, 2, 3)))
        linear = inverse[:, None, :, :2]
        covariance = linear @ covariance @ linear.swapaxes(-1, -2)
        landmarks = geometry.transform_points(inverse, coordinates)
        return Part(job.pixels, Prediction(job.boxes, landmarks, confidence, covariance), job.last)


def join(predictions: Sequence[Prediction]) -> Prediction:
    """One Prediction of the boxes of several, of which there is at least one."""
    return predictions[0] if len(predictions) == 1 else Prediction(*map(np.concatenate, zip(*predictions)))


def _finish(jobs: tuple[Job, ...], decoded: codec.Decoded) -> None:
    coordinates, confidence, covariance = jax.device_get(decoded)
    for job, *values in zip(jobs, coordinates, confidence, covariance):
        job.decoded.append(values)
