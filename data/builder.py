"""The common part of all builders: one record of a data set, and the TFDS builder that stores records."""

import dataclasses
import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from data import parsing
from data.features import check_image, landmark_features, read_image, store_pixels
from h3r_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Record:
    """One object with its landmarks.

    name: the record's name for messages: file, and line or key within it.
    image: path of the image file, or its bytes, or its pixels `uint8[H, W]` or `uint8[H, W, 3]`.
    landmarks: `[K, 2]`, image pixels, 0-based, pixel centres at integers; may be NaN where the weight is zero.
    weight: `[K]`, how much each landmark counts in the loss, zero where it is not labelled; None for ones.
    box: `[4]`, x0, y0, x1, y1, the outermost pixel centres of the delivered box; None if none is delivered.
    subsets: names of the protocol's subsets that hold the record.
    object_size: the data set's own unit of the error, image pixels; NaN if it has none.
    score: of the detector that found the box; NaN if the box was labelled.
    image_id: number of the image, where a protocol groups the objects of an image; else -1.
    """

    name: str
    image: epath.Path | bytes | np.ndarray
    landmarks: np.ndarray
    weight: np.ndarray | None = None
    box: np.ndarray | None = None
    subsets: tuple[str, ...] = ()
    object_size: float = math.nan
    score: float = math.nan
    image_id: int = -1

    def features(self, holder: int = -1, size: Any = None, *, stored_pixels: bool = False) -> dict[str, Any]:
        """The record as `data.features.landmark_features` wants it.

        Args:
          holder: index of an earlier record that holds the same image, of `size` (height, width); -1 for none.
          stored_pixels: see `data.features.read_image`.

        Raises:
          UserError: the image cannot be read; names record and file.
        """
        if holder >= 0:
            content = b""
        elif isinstance(self.image, np.ndarray):
            content, size = store_pixels(self.image), self.image.shape[:2]
        elif isinstance(self.image, bytes):
            content, size = check_image(self.image, "its image", self.name, stored_pixels=stored_pixels)
        else:
            content, size = read_image(self.image, self.name, stored_pixels=stored_pixels)
        weight = np.ones(len(self.landmarks)) if self.weight is None else self.weight
        return {
            "image": content,
            "image_of": np.int64(holder),
            "landmarks": np.asarray(self.landmarks, np.float32),
            "weight": np.asarray(weight, np.float32),
            "box": np.full(4, np.nan, np.float32) if self.box is None else np.asarray(self.box, np.float32),
            "subsets": " ".join(self.subsets),
            "object_size": np.float32(self.object_size),
            "score": np.float32(self.score),
            "image_id": np.int64(self.image_id),
            "size": np.array(size, np.int32),
            "name": self.name,
        }


Splits = Mapping[str, Iterable[Record]]


@dataclasses.dataclass
class FolderConfig(tfds.core.BuilderConfig):
    """A raw data set with a fingerprint of its files in its name.

    folder: its directory.
    num_landmarks: K.
    splits: split -> its Records; None to ask `LandmarkBuilder.read_splits` when the set is prepared.
    """

    folder: epath.Path | None = None
    num_landmarks: int = 0
    splits: Splits | None = dataclasses.field(default=None, repr=False)


class LandmarkBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A builder of the common features; each data set has a subclass that reads its records.

    SCHEME: the key of h3r_jax.landmarks.SCHEMES, for pictures; empty if the user gives the scheme.
    NUM_LANDMARKS: K; 0 if the user gives it.
    FILES: the files that decide what the records are, relative to the folder; one of them must be there.
    OFFICIAL_COUNTS: split -> number of records of the complete distribution.
    OFFICIAL_SUBSETS: split -> subset -> number of its records in the complete distribution.
    STORED_PIXELS: whether landmarks are known to belong to the pixels as they are stored. In official data sets they
      do: MATLAB, PIL and HRNet's loaders obey no EXIF orientation. Where it is False, an image with one is refused.

    In a prepared set, `info.metadata["left_out"]` is split -> reason -> number of entries that the protocol leaves out.
    """

    VERSION = tfds.core.Version("2.0.0")  # to be raised when the features change, or the records of a builder
    SCHEME = ""
    NUM_LANDMARKS = 0
    FILES: tuple[str, ...] = ()
    STORED_PIXELS = True
    OFFICIAL_COUNTS: ClassVar[Mapping[str, int]] = {}
    OFFICIAL_SUBSETS: ClassVar[Mapping[str, Mapping[str, int]]] = {}

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(skip_registration=True, **options)  # TFDS keeps one list for the whole program

    @classmethod
    def annotation_files(cls, folder: epath.Path) -> list[epath.Path]:
        """The files that decide what the records are, in a fixed order; if one changes, the set is prepared anew.

        Raises:
          FileNotFoundError: the folder is not laid out as the module's documentation says; names what is missing.
        """
        return [folder / name for name in parsing.present(folder, cls.FILES, cls.__module__)] if cls.FILES else []

    @classmethod
    def read_splits(cls, folder: epath.Path) -> Splits:
        """split -> its Records. An iterable may have an attribute `left_out`: reason -> number of entries left out.

        Raises (at once, or when the records are read):
          UserError: a fault in a file; names file and record.
          FileNotFoundError: as `annotation_files`.
        """
        raise TypeError(f"{cls.__name__} has no records")

    @classmethod
    def truth_file(cls, folder: epath.Path, split: str) -> epath.Path | None:
        """The official file that the predictions of a split are scored with; None unless the protocol needs one."""
        return None

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=landmark_features(self.builder_config.num_landmarks),
            description=self.__doc__,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        config = self.builder_config
        splits = self.read_splits(config.folder) if config.splits is None else config.splits
        self.info.metadata["left_out"] = {split: getattr(records, "left_out", {}) for split, records in splits.items()}
        return {split: self._generate_examples(records) for split, records in splits.items()}

    def _generate_examples(self, records: Iterable[Record]) -> Iterator[tuple[int, dict[str, Any]]]:
        holders: dict[str, tuple[int, Any]] = {}  # path of an image -> index of the record that holds it, and its size
        for index, record in enumerate(records):
            path = None if isinstance(record.image, (np.ndarray, bytes)) else str(record.image)
            holder, size = (-1, None) if path is None else holders.get(path, (-1, None))
            features = record.features(holder, size, stored_pixels=self.STORED_PIXELS)
            if path is not None:
                holders.setdefault(path, (index, features["size"]))
            yield index, features


def make_builder(
    cls: type[LandmarkBuilder],
    folder: epath.Path,
    prepared_dir: epath.Path,
    num_landmarks: int | None,
    *,
    splits: Splits | None = None,
    fingerprint: bytes | None = None,
) -> LandmarkBuilder:
    """The builder `cls` for a folder.

    Args:
      cls: a LandmarkBuilder.
      folder: directory of the raw data.
      prepared_dir: where TFDS keeps prepared data.
      num_landmarks: K of the landmark scheme; None for the data set's own.
      splits: the records, if they have been read already; see `FolderConfig`.
      fingerprint: bytes that change with the data; None for the state of `cls.annotation_files(folder)`.

    Raises:
      UserError: the data set has another number of landmarks.
      FileNotFoundError: see `LandmarkBuilder.annotation_files`.
    """
    if num_landmarks is None:
        num_landmarks = cls.NUM_LANDMARKS
    if cls.NUM_LANDMARKS not in (0, num_landmarks):
        raise UserError(f"{cls.name} has {cls.NUM_LANDMARKS} landmarks, but the landmark scheme has {num_landmarks}")
    if fingerprint is None:
        files = cls.annotation_files(folder)
        fingerprint = "".join(f"{path} {file_state(path)}\n" for path in files).encode()
    config = FolderConfig(
        name=f"{epath.Path(folder).resolve().name}-{hashlib.sha256(fingerprint).hexdigest()[:12]}",
        description=f"Images and landmarks of {folder.name}.",
        folder=folder,
        num_landmarks=num_landmarks,
        splits=splits,
    )
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # TFDS warns of every configuration that is not written into the class
    try:
        return cls(config=config, data_dir=prepared_dir)
    finally:
        logging.set_verbosity(verbosity)


def file_state(path: epath.Path) -> tuple[int, int] | None:
    """Length and time of a file, to the nanosecond where the file system tells; None if it is not there."""
    try:
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns
    except OSError:  # not there, or not a local path
        if not path.exists():
            return None
        status = path.stat()
        return status.length, status.mtime
