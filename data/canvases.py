"""The canvases of a split: kept in memory if they fit, else decoded anew each time."""

import collections
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from data.source import Source
from h3r_jax.errors import UserError
from h3r_jax.images import LazyImage

# From an image, a region and `(H, W)` to `uint8[H, W, 3]`.
Render = Callable[[LazyImage, np.ndarray, tuple[int, int]], np.ndarray]
FILLED_AT_ONCE = 64  # canvases
NO_MORE = np.zeros(0, np.int64)  # what follows the last chunk
CHUNK = 16  # canvases that a thread makes at a time


def processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Canvases:
    """The canvases of a split.

    source: the N records.
    regions: `[M, ...]`, the parts of images to cut, in the form that `render` takes; region i is of record `i % N`.
    render: cuts a region, such as `h3r_jax.images.crop_image`.
    sizes: `int[M, 2]`, height and width of each canvas.
    shape: `(H, W)` of a canvas in a batch, which is black where the canvas itself is smaller.
    cache_bytes: the budget; the canvases are kept if all M fit into it.
    nbytes: size of all canvases. cached: whether they are kept.
    """

    def __init__(
        self,
        source: Source,
        regions: np.ndarray,
        render: Render,
        sizes: np.ndarray,
        shape: Sequence[int],
        cache_bytes: int,
    ):
        self._source, self.regions, self._render, self.sizes = source, regions, render, sizes
        self.shape = (shape[0], shape[1])
        self.nbytes = 3 * int(sizes.prod(axis=1).sum())
        self.cached = self.nbytes <= cache_bytes
        self._cache: list[np.ndarray] = []

    def batches(self, index_batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The canvases `uint8[b, H, W, 3]` of the regions in each of `index_batches` (`int64[b]`), in order.

        Raises:
          OSError: an image cannot be read; names the record and the prepared set.
        """
        if not self.cached:
            yield from self._decode(index_batches)
            return
        if not self._cache:
            everything = np.arange(len(self.regions))
            parts = [everything[start : start + FILLED_AT_ONCE] for start in everything[::FILLED_AT_ONCE]]
            # Filled aside: another stream may begin meanwhile.
            cache = []
            for part, canvases in zip(parts, self._decode(parts)):
                for (height, width), canvas in zip(self.sizes[part].tolist(), canvases):
                    cache.append(canvas[:height, :width].copy())
            self._cache = cache
        for indices in index_batches:
            yield self._together([self._cache[index] for index in indices.tolist()])

    def _decode(self, index_batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        sizes, errors = collections.deque[int](), list[Exception]()
        chunks = self._chunks(index_batches, sizes)

        def following(_: tf.Tensor) -> tf.Tensor:
            return tf.numpy_function(lambda: next(chunks, NO_MORE), [], tf.int64)

        def decode(indices: np.ndarray) -> np.ndarray:
            try:
                return self._together([self._canvas(index) for index in indices.tolist()])
            except Exception as error:
                errors.append(error)  # TensorFlow would pass on its text alone
                raise

        def canvases(indices: tf.Tensor) -> tf.Tensor:
            return tf.numpy_function(decode, [indices], tf.uint8, stateful=False)

        # Not from_generator: it makes glibc give memory back at every chance (M_TRIM_THRESHOLD), in the whole process.
        # With it, the host made half as many images a second: docs/benchmarks.md.
        indices = tf.data.Dataset.counter().map(following).take_while(lambda chunk: tf.size(chunk) > 0)
        stream = indices.map(canvases, num_parallel_calls=processors(), deterministic=True).prefetch(1)
        parts: list[np.ndarray] = []
        try:
            for part in stream.as_numpy_iterator():
                parts.append(part)
                if sum(map(len, parts)) == sizes[0]:
                    yield parts[0] if len(parts) == 1 else np.concatenate(parts)
                    sizes.popleft()
                    parts = []
        except tf.errors.OpError:
            if errors:
                raise errors[0] from None
            raise

    @staticmethod
    def _chunks(index_batches: Iterable[np.ndarray], sizes: collections.deque[int]) -> Iterator[np.ndarray]:
        """The parts of batches that one thread decodes; `sizes` gets the size of each batch."""
        for indices in index_batches:
            sizes.append(len(indices))
            for start in range(0, len(indices), CHUNK):
                yield indices[start : start + CHUNK]

    def _together(self, canvases: Sequence[np.ndarray]) -> np.ndarray:
        if all(canvas.shape[:2] == self.shape for canvas in canvases):
            return np.stack(canvases)
        batch = np.zeros((len(canvases), *self.shape, 3), np.uint8)
        for place, canvas in zip(batch, canvases):
            place[: canvas.shape[0], : canvas.shape[1]] = canvas
        return batch

    def _canvas(self, index: int) -> np.ndarray:
        record = index % len(self._source)
        image = self._source.image(record)
        height, width = self.sizes[index].tolist()
        try:
            return self._render(image, self.regions[index], (height, width))
        except UserError as error:
            raise self._source.unreadable(record, error) from None
