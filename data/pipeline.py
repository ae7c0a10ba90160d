"""The tf.data pipeline: prepared records to batches of canvases with their landmarks.

The host decodes, crops and resizes; that is a function of the record alone, so
a split whose canvases fit into `cache_bytes` is read once and kept. The order of
examples is one global stream, a function of (seed, epoch, index), of which
every process reads its slice of each global batch; a run is resumed by
starting the stream at another step.
"""

import itertools

import numpy as np
import tensorflow as tf

from data.canvases import Canvases
from data.features import decode_image
from h3r_jax import augment, geometry, reference_crop
from h3r_jax.errors import UserError


def global_order(seed, positions, num_examples):
    """The examples at `positions` of the endless training stream; epoch e is a permutation drawn from (seed, e).

    Args:
      seed: of the run.
      positions: `int64[n]`; position p is in epoch `p // num_examples`.
      num_examples: N.

    Returns:
      `int64[n]`, example indices.
    """
    result = np.empty(len(positions), np.int64)
    epochs, places = np.divmod(positions, num_examples)
    for epoch in np.unique(epochs):
        permutation = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(num_examples)
        result[epochs == epoch] = permutation[places[epochs == epoch]]
    return result


def random_variants(seed, positions, indices, available, probability):
    """Which crop of its record each example of the training stream is: a function of (seed, epoch, index).

    Args:
      seed, positions: as `global_order`; indices: `int64[n]`, what it gives.
      available: `bool[N, 2]`, which halves of each record there are.
      probability: that a record with a half is seen by halves; one with both shows either alike.

    Returns:
      `int64[n]`: 0 for the whole, 1 and 2 for the halves.
    """
    result = np.zeros(len(positions), np.int64)
    epochs = positions // len(available)
    for epoch in np.unique(epochs):
        # Far along the random numbers of that epoch from those that `global_order` takes.
        draws = np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, 1])).random(
            (len(available), 2)
        )
        chosen = epochs == epoch
        (half, which), (upper, lower) = draws[indices[chosen]].T, available[indices[chosen]].T
        lower = lower & (~upper | (which < 0.5))
        result[chosen] = np.where((half < probability) & (upper | lower), np.where(lower, 2, 1), 0)
    return result


def render_canvas(image, matrix, shape):
    """One image through an axis-parallel affine map, antialiased when it shrinks, zero beyond its border.

    Args:
      image: encoded bytes, `string[]`.
      matrix: `float64[2, 3]`, image to canvas pixels, without rotation and with equal scales.
      shape: `(H, W)` of the canvas.

    Returns:
      `uint8[H, W, 3]`.
    """
    pixels = decode_image(image)
    size = tf.shape(pixels)[:2]
    scale = matrix[0, 0]
    # In edge coordinates the canvas covers [0, shape] and the image [0, size].
    offset = tf.stack([matrix[1, 2], matrix[0, 2]]) + 0.5 - 0.5 * scale
    # Resize only what lies under the canvas or within the reach of the kernel.
    reach = tf.maximum(1.0 / scale, tf.ones_like(scale)) + 1.0
    first = tf.cast(tf.floor(-offset / scale - reach), tf.int32)
    last = tf.cast(tf.math.ceil((np.array(shape, np.float64) - offset) / scale + reach), tf.int32)
    first = tf.clip_by_value(first, 0, size - 1)
    last = tf.clip_by_value(last, first + 1, size)
    canvas = tf.raw_ops.ScaleAndTranslate(
        images=pixels[None, first[0] : last[0], first[1] : last[1]],
        size=list(shape),
        scale=tf.cast(tf.stack([scale, scale]), tf.float32),
        translation=tf.cast(offset + scale * tf.cast(first, tf.float64), tf.float32),
        kernel_type="triangle",
        antialias=True,
    )[0]
    return tf.saturate_cast(tf.round(canvas), tf.uint8)


def exact_crops(boxes, shape, scale):
    """Crops by one affine map, for boxes `float64[N, 4]`: matrices, and what `Canvases` renders them from."""
    matrices = geometry.crop_matrix(boxes, shape=shape, scale=scale)
    return matrices, matrices, render_canvas


def reference_crops(boxes, shape, scale):
    """Crops as the released H3R code cuts them (`h3r_jax.reference_crop`); ValueError unless `shape` is square."""
    if shape[0] != shape[1]:
        raise UserError(
            f'eval.crop="reference" is square, but the input is {shape[0]}x{shape[1]}; want eval.crop="exact"'
        )

    def render(image, box, shape):
        def cut(pixels, box):
            return reference_crop.reference_crop(pixels, box, shape[0], scale)

        return tf.ensure_shape(
            tf.numpy_function(cut, [decode_image(image), box], tf.uint8, stateful=False), (*shape, 3)
        )

    return reference_crop.reference_matrix(boxes, shape[0], scale), boxes, render


CROPS = {"exact": exact_crops, "reference": reference_crops}


def _share(batch_size, process_count):
    if batch_size % process_count:
        raise UserError(f"a global batch of {batch_size} does not divide among {process_count} processes")
    return batch_size // process_count


class TrainInput:
    """The training stream of one split.

    source: data.source.Source; annotations: its Annotations. incomplete: see there.
    shape: `(H, W)` of the network's input; box, box_scale: the crop's protocol.
    matrices: `float64[N, 2, 3]`, image to network pixels, before augmentation; of whole bodies.
    augmentation: h3r_jax.augment.Augmentation, which decides the canvas.
    half_body: probability that a person is shown by the upper or the lower half (`geometry.half_body_boxes`). Above
      zero there are three canvases of each record, the whole and the halves, and the budget is for all of them.
    upper_body: landmarks of the upper half (`LandmarkScheme.upper_body`).
    cache_bytes, on_error: see `Canvases`.
    """

    def __init__(
        self,
        source,
        annotations,
        *,
        shape,
        box,
        box_scale,
        augmentation,
        cache_bytes,
        half_body=0.0,
        upper_body=(),
        on_error="stop",
    ):
        if not 0 <= half_body <= 1:
            raise UserError(f"augment.half_body is a probability, got {half_body}")
        if half_body and not upper_body:
            raise UserError(
                "augment.half_body needs a landmark scheme that says which landmarks are the upper body; set it to 0"
            )
        self.name, self.incomplete = source.name, source.incomplete
        self.num_examples = len(source)
        self.annotations = annotations
        boxes = annotations.boxes(box)[None]
        if half_body:
            halves = geometry.half_body_boxes(annotations.landmarks, annotations.weight, upper_body)
            self._available = np.isfinite(halves).all(axis=-1)
            halves = np.where(self._available[..., None], halves, boxes[0][:, None])  # whole instead, and never chosen
            boxes = np.concatenate([boxes, np.moveaxis(halves, 1, 0)])
        self._half_body = half_body
        canvas = augment.canvas_shape(augmentation, shape)
        crops = geometry.crop_matrix(boxes, shape=shape, scale=box_scale)
        self.matrices = crops[0]
        matrices = geometry.compose(augment.crop_to_canvas(shape, canvas), crops)
        landmarks = geometry.transform_points(matrices, annotations.landmarks).astype(np.float32)
        # Crop v of record i at v * N + i, as its landmarks.
        self.canvases = Canvases(
            source, matrices.reshape(-1, 2, 3), render_canvas, canvas, cache_bytes, annotations.name, on_error
        )
        self._landmarks = landmarks.reshape(-1, *landmarks.shape[2:])
        self._visibility = annotations.weight

    def _crops(self, seed, positions):
        """Which crop `v * N + i` is at each of `positions` of the stream."""
        indices = global_order(seed, positions, self.num_examples)
        if not self._half_body:
            return indices
        return indices + self.num_examples * random_variants(seed, positions, indices, self._available, self._half_body)

    def batches(self, *, seed, batch_size, start_step, process_index=0, process_count=1):
        """Endless batches from `start_step` on: this process's slice of each global batch.

        Yields:
          {"image" `uint8[b, H', W', 3]`, "landmarks" `float32[b, K, 2]` in canvas pixels, "weight"
          `float32[b, K]`, "index" `int32[b]`, "readable" `bool[b]`, whether the image could be read},
          `b = batch_size / process_count`.
        """
        share = _share(batch_size, process_count)

        def crop_batches():
            for step in itertools.count(start_step):
                first = step * batch_size + process_index * share
                yield self._crops(seed, np.arange(first, first + share))

        for crops, image in zip(crop_batches(), self.canvases.batches(crop_batches())):
            indices = crops % self.num_examples
            yield {
                "image": image,
                "landmarks": self._landmarks[crops],
                "weight": self._visibility[indices],
                "index": indices.astype(np.int32),
                "readable": ~np.isin(crops, list(self.canvases.unreadable)),
            }


class EvalInput:
    """Each example of a split once, as the crop that the network sees.

    source, annotations, shape, box, box_scale: as `TrainInput`.
    crop: key of `CROPS`.
    cache_bytes: see `Canvases`; an image that cannot be read always stops, since figures are of every example.
    matrices: `float64[N, 2, 3]`, image to network pixels.
    truth_file, whole, divided_images, incomplete, official_count: see data.source.Source.
    """

    def __init__(self, source, annotations, *, shape, box, box_scale, crop, cache_bytes):
        if crop not in CROPS:
            raise UserError(f"unknown crop {crop!r}; known are {', '.join(CROPS)}")
        self.name, self.truth_file, self.whole = source.name, source.truth_file, source.whole
        self.incomplete, self.official_count = source.incomplete, source.official_count
        self.divided_images = source.divided_images()
        self.annotations = annotations
        self.shape = tuple(shape)
        self.matrices, regions, render = CROPS[crop](annotations.boxes(box), shape, box_scale)
        self.canvases = Canvases(source, regions, render, shape, cache_bytes, annotations.name)

    @property
    def num_examples(self):
        return len(self.matrices)

    def batches(self, batch_size, process_index=0, process_count=1):
        """This process's slice of each global batch, in order; the last batch is filled up with example 0.

        Yields:
          {"image" `uint8[b, H, W, 3]`}, `b = batch_size / process_count`.
        """
        share = _share(batch_size, process_count)
        indices = np.zeros(-(-self.num_examples // batch_size) * batch_size, np.int64)
        indices[: self.num_examples] = np.arange(self.num_examples)
        mine = indices.reshape(-1, process_count, share)[:, process_index]
        for image in self.canvases.batches(mine):
            yield {"image": image}
