"""One prepared split: its stored images by index, and all its annotations at once.

Annotations are stored twice: with each image, as TFDS does, and all together in a file of their own, so that to read
them one need not read the images.
"""

import dataclasses

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from array_record.python import array_record_data_source

from data import columns, prepared
from data.builder import LandmarkBuilder
from data.features import stored_image
from h3r_jax import geometry
from h3r_jax.errors import UserError, first_line
from h3r_jax.images import LazyImage


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
            boxes_there = 'set config.data.box="dataset" if the data has boxes'
            remedy = f"label at least two different landmarks, or {boxes_there}" if several else boxes_there
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
        self._name_of = builder.name_of
        # All of the split: an image may be stored with a record outside the part.
        self._columns = columns.read(builder.data_path, name)
        paths = list(map(str, builder.info.splits[name].filepaths))
        try:
            self._records = array_record_data_source.ArrayRecordDataSource(paths)
        except RuntimeError as error:
            raise prepared.damaged(self.folder, first_line(error)) from error
        for found in (len(self._records), len(self._columns["name"])):
            if found != count:
                raise prepared.damaged(self.folder, f"{name} has {found} records instead of {count}")
        self._part = range(part.from_ or 0, len(self._records) if part.to is None else part.to)
        if not self._part:
            raise UserError(f"{self.name} is empty; a split needs at least one image")

    def __len__(self) -> int:
        return len(self._part)

    def divided_images(self) -> set[int]:
        """The images (`image_id`) that an end of the part may divide: those of the records just outside the part.

        A split keeps the records of one image side by side. So if the part has some records of an image and lacks
        others, the record next to the part is of that image.
        """
        beyond = [place for place in (self._part.start - 1, self._part.stop) if 0 <= place < len(self._records)]
        return set(self._columns["image_id"][beyond].tolist())

    def record_name(self, index: int) -> str:
        """The name of record `index`, for messages."""
        return self._name_of(self._columns["name"][self._part[index]].decode())

    def image(self, index: int) -> LazyImage:
        """The image of record `index`, not decoded yet.

        Raises:
          OSError: the record cannot be read; names the record, the prepared set, the reason and the remedy.
        """
        place = self._part[index]
        holder = int(self._columns["image_of"][place])
        try:
            if not (record := self._records[place if holder < 0 else holder]):
                raise RuntimeError("an empty record")  # so array_record reads beyond a file's end
            (content,) = tf.train.Example.FromString(record).features.feature["image"].bytes_list.value
        except (RuntimeError, ValueError) as error:
            raise self.unreadable(index, error) from error
        return stored_image(content)

    def unreadable(self, index: int, error: Exception) -> OSError:
        """The error of record `index` whose image cannot be read or decoded any more; it names the remedy."""
        fault = f"its image in {self.folder} cannot be read ({first_line(error)}), though it could"
        remedy = "check the disk, and remove that folder so that the data is prepared anew"
        return OSError(f"{self.record_name(index)}: {fault} when the data was prepared; {remedy}")

    def annotations(self) -> Annotations:
        """The Annotations of all N records."""
        fields = {key: values[self._part.start : self._part.stop] for key, values in self._columns.items()}
        del fields["image_of"]
        for key in ("landmarks", "box", "object_size", "score"):
            fields[key] = fields[key].astype(np.float64)
        subsets = tuple(frozenset(names.decode().split()) for names in fields.pop("subsets"))
        fields.pop("name")
        return Annotations(**fields, subsets=subsets, name=tuple(map(self.record_name, range(len(self)))))
