"""Random access to one prepared split: stored records by index, and all annotations at once."""

import dataclasses

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from array_record.python import array_record_data_source

from h3r_jax import geometry
from h3r_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Annotations:
    """Everything of a split but its images, in the order of its records.

    landmarks: `float64[N, K, 2]`, image pixels.
    weight: `float32[N, K]`.
    box: `float64[N, 4]`, as delivered; NaN where the data set delivers none.
    subsets: `N` sets of names of the protocol's subsets that the record belongs to.
    object_size: `float64[N]`, image pixels, and score: `float64[N]`, and image_id: `int64[N]`; see `data.features`.
    size: `int32[N, 2]`, height and width.
    name: `N` strings.
    """

    landmarks: np.ndarray
    weight: np.ndarray
    box: np.ndarray
    subsets: tuple[frozenset[str], ...]
    object_size: np.ndarray
    score: np.ndarray
    image_id: np.ndarray
    size: np.ndarray
    name: tuple[str, ...]

    def boxes(self, kind):
        """The boxes `float64[N, 4]` to crop: "landmarks" (protocol P1) or "dataset" (P2).

        Raises:
          ValueError: unknown kind, or a record without such a box; names the record.
        """
        if kind == "landmarks":
            boxes = geometry.landmark_box(self.landmarks, self.weight)
        elif kind == "dataset":
            boxes = self.box
        else:
            raise UserError(f"unknown box {kind!r}; known are landmarks, dataset")
        extent = boxes[:, 2:] - boxes[:, :2]
        bad = ~(np.isfinite(boxes).all(axis=1) & (extent >= 0).all(axis=1))
        if kind == "landmarks":
            bad |= ~(extent.max(axis=1) > 0)  # while one that is delivered may be of a single pixel
        if bad.any():
            first = int(np.argmax(bad))
            remedy = {
                "landmarks": "label at least two different landmarks",
                "dataset": 'set config.data.box="landmarks"',
            }[kind]
            raise UserError(f"{self.name[first]}: its {kind} box {boxes[first].tolist()} has no size; {remedy}")
        return boxes

    def outside_image(self):
        """How many labelled landmarks lie beyond their image."""
        limits = self.size[:, None, ::-1] - 0.5
        beyond = ((self.landmarks < -0.5) | (self.landmarks > limits)).any(axis=-1)
        return int((beyond & (self.weight > 0)).sum())


class Source:
    """One split of a prepared builder, or a part of one.

    name: for messages.
    truth_file: see `LandmarkBuilder.truth_file`.
    whole: whether it is the whole split.
    official_count: of the records of that split, part or whole, in the official distribution; None if nobody says.
    incomplete: that this copy has fewer, in words; else empty.
    """

    def __init__(self, builder, split):
        """
        Args:
          builder: prepared LandmarkBuilder.
          split: name of a split, or a part of one in the notation of TFDS, such as "train[:98%]" or "train[-100:]".

        Raises:
          ValueError: the builder has no such split, the part is not understood, or it is empty.
        """
        name = split.partition("[")[0]
        if name not in builder.info.splits:
            raise UserError(
                f"{builder.info.full_name} has no split {split!r}; it has {', '.join(sorted(builder.info.splits))}"
            )
        try:
            (part,) = tfds.core.ReadInstruction.from_spec(split).to_absolute(builder.info.splits)
        except (ValueError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{split!r} is no split or part of one ({reason}); want, for instance, {name}[:98%]"
            ) from None
        self.truth_file = builder.truth_file(builder.builder_config.folder, name)
        self.whole = name == split
        self.name = f"{builder.info.full_name} {split}"
        count, self.official_count = builder.info.splits[name].num_examples, builder.OFFICIAL_COUNTS.get(name)
        lacks = self.official_count is not None and count < self.official_count
        self.incomplete = (
            f"not complete: {name} has {count} of its {self.official_count} official records" if lacks else ""
        )
        self._features = builder.info.features
        # All of the split, since the image of a record may be held by one outside of the part.
        self._records = array_record_data_source.ArrayRecordDataSource(
            [str(path) for path in builder.info.splits[name].filepaths]
        )
        self._part = range(part.from_ or 0, len(self._records) if part.to is None else part.to)
        if not self._part:
            raise UserError(f"{self.name} is empty; a split needs at least one image")

    def __len__(self):
        return len(self._part)

    def divided_images(self):
        """Images (`image_id`) with records on both sides of an end of the part, where those of an image stand together."""
        beyond = [place for place in (self._part.start - 1, self._part.stop) if 0 <= place < len(self._records)]
        records = tf.data.Dataset.from_tensor_slices(np.array(beyond, np.int64)).map(self._read)
        return {int(record["image_id"]) for record in records.as_numpy_iterator()}

    def examples(self, indices):
        """The examples at `indices` in that order, with their "index"; images stay encoded.

        Args:
          indices: tf.data.Dataset of `int64[]`; from N on they count through the records again.

        Returns:
          tf.data.Dataset of the features of `data.features` and "index".
        """

        def parse(index):
            example = self._read(self._part.start + index % len(self))
            holder = example.pop("image_of")
            image = tf.cond(holder < 0, lambda: example["image"], lambda: self._read(holder)["image"])
            return {**example, "image": image, "index": index}

        return indices.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _read(self, place):
        """The features of the record at a place `int64[]` of the whole split; its image is encoded."""
        record = tf.numpy_function(lambda place: self._records[int(place)], [place], tf.string, stateful=False)
        decoders = {"image": tfds.decode.SkipDecoding()}
        return self._features.deserialize_example(tf.ensure_shape(record, ()), decoders=decoders)

    def annotations(self):
        """All `Annotations` of the split."""
        places = tf.data.Dataset.range(self._part.start, self._part.stop)
        examples = places.map(self._read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        examples = examples.map(lambda example: {k: v for k, v in example.items() if k not in ("image", "image_of")})
        chunks = list(examples.batch(256).as_numpy_iterator())
        columns = {key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]}
        return Annotations(
            landmarks=columns["landmarks"].astype(np.float64),
            weight=columns["weight"],
            box=columns["box"].astype(np.float64),
            subsets=tuple(frozenset(names.decode().split()) for names in columns["subsets"]),
            object_size=columns["object_size"].astype(np.float64),
            score=columns["score"].astype(np.float64),
            image_id=columns["image_id"],
            size=columns["size"],
            name=tuple(name.decode() for name in columns["name"]),
        )
