"""The tf.data pipeline: from prepared records to batches of canvases with their landmarks.

The host decodes, crops and resizes. A canvas is the result: the crop with a margin, from
which the devices cut. It depends on the record alone, so a split whose canvases fit into
`cache_bytes` is read once and kept. The order of examples is one global stream, a function
of (seed, epoch, index). Every process reads its slice of each global batch. A resumed run
starts the stream at a later step.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from data.canvases import Canvases
from data.source import Annotations, Source
from h3r_jax import augment, geometry, images
from h3r_jax.errors import UserError


def global_order(seed: int, positions: np.ndarray, num_examples: int) -> np.ndarray:
    """The examples `int64[n]` at `positions` `int64[n]` of the endless training stream of N = `num_examples`.

    Position p is in epoch e = `p // N`, a permutation drawn from (seed, e).
    """
    result = np.empty(len(positions), np.int64)
    epochs, places = np.divmod(positions, num_examples)
    for epoch in np.unique(epochs):
        permutation = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(num_examples)
        result[epochs == epoch] = permutation[places[epochs == epoch]]
    return result


def random_variants(
    seed: int, positions: np.ndarray, indices: np.ndarray, available: np.ndarray, probability: float
) -> np.ndarray:
    """The part of the body that each example of the training stream shows: a function of (seed, epoch, index).

    Args:
      seed: of the run.
      positions: `int64[n]`, places in the stream.
      indices: `int64[n]`, the examples there, from `global_order`.
      available: `bool[N, 2]`, whether a record has an upper and a lower half to show.
      probability: of a half, for a record that has one. A record with both shows each equally often.

    Returns:
      `int64[n]`: 0 for the whole body, 1 for the upper half, 2 for the lower.
    """
    result = np.zeros(len(positions), np.int64)
    epochs = positions // len(available)
    for epoch in np.unique(epochs):
        # The counter starts far beyond the random numbers that `global_order` draws for the epoch.
        generator = np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, 1]))
        draws = generator.random((len(available), 2))
        chosen = epochs == epoch
        (half, which), (upper, lower) = draws[indices[chosen]].T, available[indices[chosen]].T
        lower = lower & (~upper | (which < 0.5))
        result[chosen] = np.where((half < probability) & (upper | lower), np.where(lower, 2, 1), 0)
    return result


def _share(batch_size: int, process_count: int) -> int:
    if batch_size % process_count:
        raise UserError(f"a global batch of {batch_size} does not divide among {process_count} processes")
    return batch_size // process_count


class TrainInput:
    """The training stream of one split.

    source: the N records, and their annotations. name, incomplete: see Source.
    shape: `(H, W)` of the network's input.
    box, box_scale: which boxes are cropped (`Annotations.boxes`), and their growth.
    augmentation: decides the size of the canvas. With `half_body` above zero each record has three canvases, the whole
      body and its halves (`geometry.half_body_boxes`).
    upper_body: landmarks of the upper half (`LandmarkScheme.upper_body`), for `half_body`.
    cache_bytes: the budget for all canvases, see `Canvases`.
    matrices: `float64[N, 2, 3]`, image to input pixels, of whole bodies before augmentation.
    fields: the arrays "matrix", "edges" and "landmarks" of `batches` for each canvas, in the order of `canvases`.

    Raises:
      UserError: a record without a box, or `half_body` without `upper_body`.
    """

    def __init__(
        self,
        source: Source,
        annotations: Annotations,
        *,
        shape: tuple[int, int],
        box: str,
        box_scale: float,
        augmentation: augment.Augmentation,
        cache_bytes: int,
        upper_body: Sequence[int] = (),
    ):
        half_body = augmentation.half_body
        if half_body and not upper_body:
            wanted = "a landmark scheme that says which landmarks are the upper body"
            raise UserError(f"augment.half_body needs {wanted}; set it to 0")
        self.name, self.incomplete = source.name, source.incomplete
        self.num_examples = len(source)
        self.annotations = annotations
        boxes = annotations.boxes(box)[None]
        if half_body:
            halves = geometry.half_body_boxes(annotations.landmarks, annotations.weight, upper_body)
            self._available = np.isfinite(halves).all(axis=-1)
            # A record without a half has its whole body in that place, which `random_variants` never chooses.
            halves = np.where(self._available[..., None], halves, boxes[0][:, None])
            boxes = np.concatenate([boxes, np.moveaxis(halves, 1, 0)])
        self._half_body = half_body  # the probability
        canvas = augment.canvas_shape(augmentation, shape)
        crops = geometry.crop_matrix(boxes, shape=shape, scale=box_scale)
        self.matrices = crops[0]
        regions, sizes = augment.place_canvases(crops, shape, canvas)
        corners = np.stack([np.full((len(source), 2), -0.5), annotations.size[:, ::-1] - 0.5], axis=1)
        fields = {
            "matrix": geometry.compose(crops, geometry.invert(regions)),
            "edges": geometry.transform_points(regions, corners).reshape(*regions.shape[:2], 4),
            "landmarks": geometry.transform_points(regions, annotations.landmarks),
        }
        # Variant v of record i is crop v * N + i.
        self.fields = {
            name: values.astype(np.float32).reshape(-1, *values.shape[2:]) for name, values in fields.items()
        }
        regions, sizes = regions.reshape(-1, 2, 3), sizes.reshape(-1, 2)
        self.canvases = Canvases(source, regions, images.crop_image, sizes, canvas, cache_bytes)

    def _crops(self, seed: int, positions: np.ndarray) -> np.ndarray:
        """The crops `v * N + i` at `positions` of the stream."""
        indices = global_order(seed, positions, self.num_examples)
        if not self._half_body:
            return indices
        return indices + self.num_examples * random_variants(seed, positions, indices, self._available, self._half_body)

    def batches(
        self, *, seed: int, batch_size: int, start_step: int, process_index: int = 0, process_count: int = 1
    ) -> Iterator[dict[str, np.ndarray]]:
        """Endless batches from `start_step` on: this process's slice of each global batch.

        Yields:
          {"image" `uint8[b, H', W', 3]`, "matrix" `float32[b, 2, 3]` from canvas pixels to input pixels, "edges"
          `float32[b, 4]` and "landmarks" `float32[b, K, 2]` in canvas pixels, "weight" `float32[b, K]`, "index"
          `int32[b]`}, `b = batch_size / process_count`; see `augment.augment_example`.

        Raises:
          UserError: the batch does not divide among the processes.
          OSError: an image cannot be read; names the record and the prepared set.
        """
        share = _share(batch_size, process_count)

        def crop_batches() -> Iterator[np.ndarray]:
            for step in itertools.count(start_step):
                first = step * batch_size + process_index * share
                yield self._crops(seed, np.arange(first, first + share))

        for crops, image in zip(crop_batches(), self.canvases.batches(crop_batches())):
            indices = crops % self.num_examples
            yield {
                "image": image,
                **{name: values[crops] for name, values in self.fields.items()},
                "weight": self.annotations.weight[indices],
                "index": indices.astype(np.int32),
            }


class EvalInput:
    """Each example of a split once, as the crop that the network sees.

    source, annotations, shape, box, box_scale, cache_bytes: as `TrainInput`.
    crop: key of `h3r_jax.images.CROPS`.
    matrices: `float64[N, 2, 3]`, image to input pixels.
    name, truth_file, whole, incomplete, official_count, divided_images: see Source.

    Raises:
      UserError: an unknown crop, or a record without a box.
    """

    def __init__(
        self,
        source: Source,
        annotations: Annotations,
        *,
        shape: tuple[int, int],
        box: str,
        box_scale: float,
        crop: str,
        cache_bytes: int,
    ):
        if crop not in images.CROPS:
            raise UserError(f"unknown crop {crop!r}; known are {', '.join(images.CROPS)}")
        self.name, self.truth_file, self.whole = source.name, source.truth_file, source.whole
        self.incomplete, self.official_count = source.incomplete, source.official_count
        self.divided_images = source.divided_images()
        self.annotations = annotations
        self.shape = tuple(shape)
        boxes, way = annotations.boxes(box), images.CROPS[crop]
        self.matrices = way.matrix(boxes, shape, box_scale)
        cut = lambda image, box, shape: way.cut(image, box, shape, box_scale)
        self.canvases = Canvases(source, boxes, cut, np.tile(shape, (len(boxes), 1)), shape, cache_bytes)

    @property
    def num_examples(self) -> int:
        """N."""
        return len(self.matrices)

    def batches(
        self, batch_size: int, process_index: int = 0, process_count: int = 1
    ) -> Iterator[dict[str, np.ndarray]]:
        """This process's slice of each global batch, in order; the last batch is filled up with example 0.

        Yields:
          {"image" `uint8[b, H, W, 3]`}, `b = batch_size / process_count`; errors as `TrainInput.batches`.
        """
        share = _share(batch_size, process_count)
        indices = np.pad(np.arange(self.num_examples), (0, -self.num_examples % batch_size))
        mine = indices.reshape(-1, process_count, share)[:, process_index]
        for image in self.canvases.batches(mine):
            yield {"image": image}
