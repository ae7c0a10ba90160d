"""One prepared split: its stored records by index, and all its annotations at once."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from array_record.python import array_record_data_source

from data import prepared
from data.builder import LandmarkBuilder
from h3r_jax import geometry
from h3r_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Annotations:
    """Everything of N records but their images, in their order. `data.features` says what each field is."""

    landmarks: np.ndarray  # float64[N, K, 2], image pixels
    weight: np.ndarray  # float32[N, K]
    box: np.ndarray  # float64[N, 4], image pixels; NaN where the data set delivers none
    subsets: tuple[frozenset[str], ...]  # N sets of names
    object_size: np.ndarray  # float64[N], image pixels
    score: np.ndarray  # float64[N]
    image_id: np.ndarray  # int64[N]
    size: np.ndarray  # int32[N, 2], height and width of the image
    name: tuple[str, ...]  # N
    digest: np.ndarray  # int64[N], of the bytes of the image as it is stored: equal for equal images, hardly for others

    def boxes(self, kind: str) -> np.ndarray:
        """The boxes `float64[N, 4]` to crop, image pixels: "landmarks" (protocol P1) or "dataset" (P2).

        Raises:
          UserError: unknown kind, or a record without such a box; names the record.
        """
        if kind == "landmarks":
            several = self.landmarks.shape[1] > 1
            remedy = "label at least two different landmarks" if several else 'set config.data.box="dataset"'
            boxes = geometry.landmark_box(self.landmarks, self.weight)
        elif kind == "dataset":
            boxes, remedy = self.box, 'set config.data.box="landmarks"'
        else:
            raise UserError(f"unknown box {kind!r}; known are landmarks, dataset")
        extent = boxes[:, 2:] - boxes[:, :2]
        bad = ~(np.isfinite(boxes).all(axis=1) & (extent >= 0).all(axis=1))
        if kind == "landmarks":
            bad |= ~(extent.max(axis=1) > 0)  # a delivered box may be a single pixel
        if bad.any():
            first = int(np.argmax(bad))
            raise UserError(f"{self.name[first]}: its {kind} box {boxes[first].tolist()} has no size; {remedy}")
        return boxes

    def outside_image(self) -> int:
        """The number of labelled landmarks outside their image."""
        limits = self.size[:, None, ::-1] - 0.5
        beyond = ((self.landmarks < -0.5) | (self.landmarks > limits)).any(axis=-1)
        return int((beyond & (self.weight > 0)).sum())


def reason(error: Exception) -> str:
    """What an error of reading says, in one line."""
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return text.strip().partition("\n")[0].removeprefix("RuntimeError: ")[:200]


class Source:
    """The N records of one split of a prepared builder, or of a part of a split.

    name: of builder and split, for messages.
    folder: the directory of the prepared set.
    truth_file: see `LandmarkBuilder.truth_file`.
    whole: whether this is the whole split.
    official_count: the number of records of the whole split in the official distribution; None if nobody says.
    incomplete: in words, that this copy of the split has fewer records than the official one; empty if it has all.
    """

    def __init__(self, builder: LandmarkBuilder, split: str):
        """`split` is the name of a split, or a part of one as TFDS writes it, such as "train[:98%]" or "train[-100:]".

        Raises:
          UserError: the builder has no such split, the part is not understood, or it is empty.
          OSError: the records cannot be read; names the prepared set and the remedy.
        """
        name = split.partition("[")[0]
        if name not in builder.info.splits:
            known = ", ".join(sorted(builder.info.splits))
            raise UserError(f"{builder.info.full_name} has no split {split!r}; it has {known}")
        try:
            (part,) = tfds.core.ReadInstruction.from_spec(split).to_absolute(builder.info.splits)
        except (ValueError, AssertionError) as error:
            reason = f"is no split or part of one ({str(error).splitlines()[0]})"
            raise UserError(f"{split!r} {reason}; want, for instance, {name}[:98%]") from None
        self.truth_file = builder.truth_file(builder.builder_config.folder, name)
        self.whole = name == split
        self.name, self.folder = f"{builder.info.full_name} {split}", builder.data_dir
        count, self.official_count = builder.info.splits[name].num_examples, builder.OFFICIAL_COUNTS.get(name)
        self.incomplete = ""
        if self.official_count is not None and count < self.official_count:
            self.incomplete = f"not complete: {name} has {count} of its {self.official_count} official records"
        self._features, self._name_of = builder.info.features, builder.name_of
        # All of the split: an image may be stored with a record outside the part.
        paths = list(map(str, builder.info.splits[name].filepaths))
        with self.reading():
            self._records = array_record_data_source.ArrayRecordDataSource(paths)
            if len(self._records) != count:
                raise prepared.damaged(self.folder, f"{name} has {len(self._records)} records instead of {count}")
        self._part = range(part.from_ or 0, len(self._records) if part.to is None else part.to)
        if not self._part:
            raise UserError(f"{self.name} is empty; a split needs at least one image")

    def __len__(self) -> int:
        return len(self._part)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """For a block that reads records.

        Raises:
          OSError: a record cannot be read; names the prepared set, the reason and the remedy.
        """
        try:
            yield
        except tf.errors.ResourceExhaustedError:
            raise
        except (RuntimeError, tf.errors.OpError) as error:  # of array_record, of TensorFlow
            raise prepared.damaged(self.folder, reason(error)) from error

    def divided_images(self) -> set[int]:
        """The images (`image_id`) that an end of the part may divide: those of the records just outside the part.

        A split keeps the records of one image side by side. So if the part has some records of an image and lacks
        others, the record next to the part is of that image.
        """
        beyond = [place for place in (self._part.start - 1, self._part.stop) if 0 <= place < len(self._records)]
        records = tf.data.Dataset.from_tensor_slices(np.array(beyond, np.int64)).map(self._read)
        with self.reading():
            return {int(record["image_id"]) for record in records.as_numpy_iterator()}

    def examples(self, indices: tf.data.Dataset) -> tf.data.Dataset:
        """The features (`data.features`) at `indices`, with "index" for "image_of"; images stay encoded.

        `indices` is of `int64[]`; index i is record `i % N`.
        """

        def parse(index: tf.Tensor) -> dict[str, tf.Tensor]:
            example = self._read(self._part.start + index % len(self))
            holder = example.pop("image_of")
            image = tf.cond(holder < 0, lambda: example["image"], lambda: self._read(holder)["image"])
            return {**example, "image": image, "index": index}

        return indices.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _read(self, place: tf.Tensor) -> dict[str, tf.Tensor]:
        """The features of the record at a place `int64[]` of the whole split; its image is encoded."""
        record = tf.numpy_function(self._content, [place], tf.string, stateful=False)
        decoders = {"image": tfds.decode.SkipDecoding()}
        return self._features.deserialize_example(tf.ensure_shape(record, ()), decoders=decoders)

    def _content(self, place: np.int64) -> bytes:
        if content := self._records[int(place)]:
            return content
        raise RuntimeError(f"record {place} of {self.name} is empty")  # so array_record reads beyond a file's end

    def annotations(self) -> Annotations:
        """The Annotations of all N records; errors as `reading`."""
        columns = self._columns(np.array(self._part, np.int64))
        holders = columns.pop("image_of")
        if elsewhere := sorted({int(place) for place in holders if 0 <= place < self._part.start}):
            beyond = self._columns(np.array(elsewhere, np.int64))["digest"]
        else:
            beyond = np.array([], np.int64)
        digests = dict(zip([*self._part, *elsewhere], [*columns["digest"], *beyond]))
        places = np.where(holders < 0, np.array(self._part), holders)
        columns["digest"] = np.array([digests[place] for place in places.tolist()], np.int64)
        for key in ("landmarks", "box", "object_size", "score"):
            columns[key] = columns[key].astype(np.float64)
        columns["subsets"] = tuple(frozenset(names.decode().split()) for names in columns["subsets"])
        columns["name"] = tuple(self._name_of(name.decode()) for name in columns["name"])
        return Annotations(**columns)

    def _columns(self, places: np.ndarray) -> dict[str, Any]:
        """The features of the records at `places` of the whole split, stacked; of a stored image its digest alone."""

        def without_image(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            image = example.pop("image")
            return {**example, "digest": tf.strings.to_hash_bucket_fast(image, np.iinfo(np.int64).max)}

        examples = tf.data.Dataset.from_tensor_slices(places)
        examples = examples.map(self._read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).map(without_image)
        with self.reading():
            chunks = list(examples.batch(256).as_numpy_iterator())
        return {key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]}
