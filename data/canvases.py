"""The canvases of a split: kept in memory if they fit, else decoded anew each time."""

import concurrent.futures
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
AHEAD = 2  # batches that are worked on while the network takes another one


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
        pool, errors = concurrent.futures.ThreadPoolExecutor(processors()), list[Exception]()

        def decode(indices: np.ndarray) -> np.ndarray:
            try:
                return np.stack(list(pool.map(self._canvas, indices.tolist())))
            except Exception as error:
                errors.append(error)  # TensorFlow would pass on its text alone
                raise

        def canvases(indices: tf.Tensor) -> tf.Tensor:
            return tf.numpy_function(decode, [indices], tf.uint8, stateful=False)

        spec = tf.TensorSpec([None], tf.int64)
        indices = tf.data.Dataset.from_generator(lambda: iter(index_batches), output_signature=spec)
        stream = indices.map(canvases, num_parallel_calls=AHEAD, deterministic=True).prefetch(1)
        batches = stream.as_numpy_iterator()
        try:
            yield from batches
        except tf.errors.OpError:
            if errors:
                raise errors[0] from None
            raise
        finally:
            del batches  # which ends TensorFlow's work before that of the threads
            pool.shutdown(cancel_futures=True)

    def _canvas(self, index: int) -> np.ndarray:
        record = index % len(self._source)
        image = self._source.image(record)
        try:
            return self._render(image, self.regions[index], self.shape)
        except UserError as error:
            raise self._source.unreadable(record, error) from None
