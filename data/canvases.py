"""The canvases of a split: kept in memory if they fit, else decoded anew each time."""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from data.source import Source, reason

# From an encoded image `string[]`, a region and `(H, W)` to `uint8[H, W, 3]`, within a tf.data pipeline.
Render = Callable[[tf.Tensor, tf.Tensor, tuple[int, int]], tf.Tensor]


class Canvases:
    """The canvases of a split.

    source: the N records.
    regions: `[M, ...]`, the parts of images to cut, in the form that `render` takes; region i is of record `i % N`.
    render: cuts a region, such as `data.pipeline.render_canvas`.
    shape: `(H, W)` of a canvas.
    cache_bytes: the budget; the canvases are kept if all M fit into it.
    names: `N` strings, the records' names for messages.
    nbytes: size of all canvases. cached: whether they are kept.
    """

    def __init__(
        self,
        source: Source,
        regions: np.ndarray,
        render: Render,
        shape: Sequence[int],
        cache_bytes: int,
        names: tuple[str, ...],
    ):
        self._source, self._regions, self._render, self._names = source, regions, render, names
        self.shape = (shape[0], shape[1])
        self.nbytes = len(regions) * self.shape[0] * self.shape[1] * 3
        self.cached = self.nbytes <= cache_bytes
        self._cache: np.ndarray | None = None

    def batches(self, index_batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The canvases `uint8[b, H, W, 3]` of the regions in each of `index_batches` (`int64[b]`, one b), in order.

        Raises:
          OSError: an image cannot be read; names the record and the prepared set.
        """
        if not self.cached:
            yield from self._decode(index_batches)
            return
        if self._cache is None:
            cache = np.empty((len(self._regions), *self.shape, 3), np.uint8)
            for index, canvas in enumerate(self._decode(np.arange(len(cache))[:, None])):
                cache[index] = canvas[0]
            self._cache = cache
        for indices in index_batches:
            yield self._cache[indices]

    def _decode(self, index_batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        index_batches = iter(index_batches)
        first = next(index_batches)
        pending: collections.deque[np.ndarray] = collections.deque()  # the batches that tf.data works on

        def ask() -> Iterator[np.ndarray]:
            for indices in itertools.chain([first], index_batches):
                pending.append(indices)
                yield indices

        indices = tf.data.Dataset.from_generator(ask, output_signature=tf.TensorSpec(first.shape, tf.int64))
        stream = self._stream(indices.unbatch()).batch(len(first)).prefetch(tf.data.AUTOTUNE)
        try:
            for canvases in stream.as_numpy_iterator():
                pending.popleft()
                yield canvases
        except tf.errors.OpError:
            for index in pending[0]:
                self._check(index)
            raise  # every image of the batch can be read now

    def _stream(self, indices: tf.data.Dataset) -> tf.data.Dataset:
        regions = tf.constant(self._regions)

        def render(example: dict[str, tf.Tensor]) -> tf.Tensor:
            return self._render(example["image"], regions[example["index"]], self.shape)

        return self._source.examples(indices).map(render, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _check(self, index: np.int64) -> None:
        """Reads one region again; OSError if its image cannot be read."""
        try:
            list(self._stream(tf.data.Dataset.from_tensors(index)).as_numpy_iterator())
        except tf.errors.OpError as error:
            name = self._names[int(index) % len(self._names)]
            fault = f"its image in {self._source.folder} cannot be read ({reason(error)}), though it could"
            remedy = "check the disk, and remove that folder so that the data is prepared anew"
            raise OSError(f"{name}: {fault} when the data was prepared; {remedy}") from None
