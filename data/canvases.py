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
    shape: `(H, W)` of a canvas.
    cache_bytes: the budget; the canvases are kept if all M fit into it.
    nbytes: size of all canvases. cached: whether they are kept.
    """

    def __init__(self, source: Source, regions: np.ndarray, render: Render, shape: Sequence[int], cache_bytes: int):
        self._source, self.regions, self._render = source, regions, render
        self.shape = (shape[0], shape[1])
        self.nbytes = len(regions) * self.shape[0] * self.shape[1] * 3
        self.cached = self.nbytes <= cache_bytes
        self._cache: np.ndarray | None = None

    def batches(self, index_batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The canvases `uint8[b, H, W, 3]` of the regions in each of `index_batches` (`int64[b]`), in order.

        Raises:
          OSError: an image cannot be read; names the record and the prepared set.
        """
        if not self.cached:
            yield from self._decode(index_batches)
            return
        if self._cache is None:
            cache = np.empty((len(self.regions), *self.shape, 3), np.uint8)
            starts = range(0, len(cache), FILLED_AT_ONCE)
            parts = (np.arange(start, min(start + FILLED_AT_ONCE, len(cache))) for start in starts)
            for start, canvases in zip(starts, self._decode(parts)):
                cache[start : start + len(canvases)] = canvases
            self._cache = cache
        for indices in index_batches:
            yield self._cache[indices]

    def _decode(self, index_batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        sizes, errors = collections.deque[int](), list[Exception]()
        chunks = self._chunks(index_batches, sizes)

        def following(_: tf.Tensor) -> tf.Tensor:
            return tf.numpy_function(lambda: next(chunks, NO_MORE), [], tf.int64)

        def decode(indices: np.ndarray) -> np.ndarray:
            try:
                return np.stack([self._canvas(index) for index in indices.tolist()])
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

    def _canvas(self, index: int) -> np.ndarray:
        record = index % len(self._source)
        image = self._source.image(record)
        try:
            return self._render(image, self.regions[index], self.shape)
        except UserError as error:
            raise self._source.unreadable(record, error) from None
