"""The canvases of a split: decoded on the way or kept in memory, and what happens to an image that cannot be read."""

import collections
import itertools

import numpy as np
import tensorflow as tf
from absl import logging

from h3r_jax.errors import UserError

ON_ERROR = ("stop", "skip")
IN_FLIGHT = 10_000  # examples, more than tf.data works on at a time


class Canvases:
    """The canvases of a split, decoded on the way or kept in memory.

    source: data.source.Source of N records.
    regions: `[M, ...]`, what is cut from the images, in the form that `render` takes; region i from record `i % N`.
    render: function from encoded image, region and `(H, W)` to `uint8[H, W, 3]`, such as `render_canvas`.
    shape: `(H, W)` of a canvas.
    cache_bytes: all canvases are kept if they need no more than this.
    names: `N` strings, what a message calls each record.
    on_error: one of `ON_ERROR`, what happens at an image that cannot be read; its canvas is black where that is "skip".
    unreadable: regions of images that could not be read so far.
    """

    def __init__(self, source, regions, render, shape, cache_bytes, names, on_error="stop"):
        if on_error not in ON_ERROR:
            raise UserError(f"unknown data.on_error {on_error!r}; known are {', '.join(ON_ERROR)}")
        self._source, self._regions, self._render, self.shape = source, regions, render, tuple(shape)
        self._names, self._on_error, self.unreadable = names, on_error, set()
        self.nbytes = len(regions) * int(np.prod(self.shape)) * 3
        self.cached = self.nbytes <= cache_bytes
        self._cache = None

    def batches(self, index_batches):
        """The canvases `uint8[b, H, W, 3]` of regions `index_batches` (`int64[b]` each, all of one length), in order.

        Raises:
          OSError: an image cannot be read (or none can, where single ones are skipped); names the record.
        """
        if not self.cached:
            yield from self._read(index_batches)
            return
        if self._cache is None:
            cache = np.empty((len(self._regions), *self.shape, 3), np.uint8)
            for index, canvas in enumerate(self._read(np.arange(len(cache))[:, None])):
                cache[index] = canvas[0]
            self._cache = cache
        for indices in index_batches:
            yield self._cache[indices]

    def _read(self, index_batches):
        index_batches = iter(index_batches)
        first = next(index_batches)
        expected = collections.deque()  # indices that were asked for and have not come yet

        def ask():
            for indices in itertools.chain([first], index_batches):
                expected.extend(indices)
                yield indices
                if len(expected) > 2 * len(self._regions) + IN_FLIGHT:
                    return  # nothing comes any more: no image can be read

        spec = tf.TensorSpec(first.shape, tf.int64)
        stream = self._stream(tf.data.Dataset.from_generator(ask, output_signature=spec).unbatch())
        if self._on_error == "skip":
            stream = stream.ignore_errors().prefetch(tf.data.AUTOTUNE).as_numpy_iterator()
            canvases = self._fill_gaps(stream, expected)
            while batch := list(itertools.islice(canvases, len(first))):
                yield np.stack(batch)
            return
        stream = stream.batch(len(first)).prefetch(tf.data.AUTOTUNE).as_numpy_iterator()
        try:
            for _, canvases in stream:
                for _ in canvases:
                    expected.popleft()
                yield canvases
        except tf.errors.OpError:
            for index in list(expected)[: len(first)]:
                self._read_again(index)
            raise  # it was not one of them, or it can be read now

    def _stream(self, indices):
        """Index and canvas of each of `indices`, a tf.data.Dataset of `int64[]`."""
        regions = tf.constant(self._regions)

        def render(example):
            return example["index"], self._render(example["image"], regions[example["index"]], self.shape)

        return self._source.examples(indices).map(render, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _read_again(self, index):
        """The canvas of one record; OSError if it cannot be read."""
        try:
            ((_, canvas),) = self._stream(tf.data.Dataset.from_tensors(np.int64(index))).as_numpy_iterator()
        except tf.errors.OpError as error:
            reason = error.message.splitlines()[0]
            raise OSError(
                f"{self._names[index % len(self._names)]}: the image in {self._source.name} cannot be read ({reason}); "
                'prepare the data anew; config.data.on_error="skip" trains without it'
            ) from None
        return canvas

    def _fill_gaps(self, stream, expected):
        """The canvases of all `expected` indices, in order, from a stream that leaves out what cannot be read."""
        for index, canvas in stream:
            while (missing := expected.popleft()) != index:
                yield self._missing(missing)
            yield canvas
        while expected:
            yield self._missing(expected.popleft())

    def _missing(self, index):
        if index not in self.unreadable:
            try:
                return self._read_again(index)  # the reason may be gone
            except OSError as error:
                self.unreadable.add(index)
                records = {region % len(self._source) for region in self.unreadable}
                count = f"{len(records)} of {len(self._source)} images"
                if len(records) == len(self._source):
                    raise OSError(f"no image of {self._source.name} can be read; the last: {error}") from None
                logging.warning("%s. It is skipped and has no weight (%s so far)", error, count)
        return np.zeros((*self.shape, 3), np.uint8)
