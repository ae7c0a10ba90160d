"""What all builders share: one record of a data set, and the TFDS builder that stores records in the common features."""

import contextlib
import dataclasses
import hashlib
import math
import os
import typing

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from data.features import check_image, landmark_features, read_image, store_pixels
from h3r_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Record:
    """One object with its landmarks.

    name: what a message calls the record: file, and line or key within it.
    image: path of the image file, or its bytes, or its pixels `uint8[H, W]` or `uint8[H, W, 3]`.
    landmarks: `[K, 2]`, image pixels, 0-based, pixel centres at integers; NaN where weight is zero is legal.
    weight: `[K]`, how much each landmark counts in the loss, zero where it is not labelled; None for ones.
    box: `[4]`, x0, y0, x1, y1, the outermost pixel centres of the delivered box; None if none is delivered.
    subsets: names of the protocol's subsets that it belongs to.
    object_size: length in image pixels that the data set delivers as a unit of the error; NaN if none.
    score: of the detector that found the box; NaN if it was labelled.
    image_id: by which a protocol groups the objects of one image; -1 if none does.
    """

    name: str
    image: object
    landmarks: np.ndarray
    weight: np.ndarray | None = None
    box: np.ndarray | None = None
    subsets: tuple[str, ...] = ()
    object_size: float = math.nan
    score: float = math.nan
    image_id: int = -1

    def features(self, holder=-1, size=None, *, stored_pixels=False):
        """The record as `data.features.landmark_features` wants it; ValueError if its image cannot be read.

        Args:
          holder: index of an earlier record with the same image, whose `size` is given; -1 for none.
          stored_pixels: see `data.features.read_image`.
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


@dataclasses.dataclass
class FolderConfig(tfds.core.BuilderConfig):
    """A raw data set as it was when it was fingerprinted.

    folder: its directory.
    splits: split -> iterable of Records, read when the set is prepared; None for "ask `read_splits`".
    num_landmarks: K.
    """

    folder: object = None
    num_landmarks: int = 0
    splits: dict = dataclasses.field(default=None, repr=False)


class LandmarkBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder of the common features. A subclass per data set has the documentation, and says where records come from.

    SCHEME: the key of h3r_jax.landmarks.SCHEMES, for pictures; empty where the user has it.
    NUM_LANDMARKS: K.
    OFFICIAL_COUNTS: split -> number of records of the complete distribution, for `python -m data.prepare`.
    OFFICIAL_SUBSETS: split -> subset -> number of its records in the complete distribution, likewise.
    STORED_PIXELS: whether landmarks are of the pixels as they are stored, as official ones are: MATLAB, PIL and HRNet's
      loaders obey no EXIF orientation. False where nobody says; then an image that asks to be turned is refused.

    Of a prepared one `info.metadata["left_out"]` is split -> reason -> number of entries that are no record.
    """

    VERSION = tfds.core.Version("2.0.0")  # to be raised when the features change
    SCHEME = ""
    NUM_LANDMARKS = 0
    STORED_PIXELS = True
    OFFICIAL_COUNTS: typing.ClassVar[dict[str, int]] = {}
    OFFICIAL_SUBSETS: typing.ClassVar[dict[str, dict[str, int]]] = {}

    @classmethod
    def annotation_files(cls, folder):
        """The files that say what the records are, in a fixed order; the prepared set is made anew when one changes.

        Raises:
          FileNotFoundError: the folder is not laid out as the module's documentation says; names what is missing.
        """
        raise TypeError(f"{cls.__name__} has no files")  # a subclass without is a mistake in the program

    @classmethod
    def read_splits(cls, folder):
        """split -> iterable of Records; ValueError or FileNotFoundError for a fault, by file and record.

        Where the protocol leaves entries of the files out, the iterable has a `left_out`: reason -> how many.
        """
        raise TypeError(f"{cls.__name__} has no records")

    @classmethod
    def truth_file(cls, folder, split):
        """The official file against which predictions of a split are scored, where a protocol needs one; else None."""
        del folder, split

    def _info(self):
        return self.dataset_info_from_configs(
            features=landmark_features(self.builder_config.num_landmarks),
            description=self.__doc__,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        config = self.builder_config
        splits = self.read_splits(config.folder) if config.splits is None else config.splits
        self.info.metadata["left_out"] = {split: getattr(records, "left_out", {}) for split, records in splits.items()}
        return {split: self._generate_examples(records) for split, records in splits.items()}

    def _generate_examples(self, records):
        holders = {}  # path of an image -> index of the record that holds it, and its size
        for index, record in enumerate(records):
            path = None if isinstance(record.image, (np.ndarray, bytes)) else str(record.image)
            features = record.features(*holders.get(path, ()), stored_pixels=self.STORED_PIXELS)
            if path is not None:
                holders.setdefault(path, (index, features["size"]))
            yield index, features


def make_builder(cls, folder, prepared_dir, num_landmarks, *, splits=None, fingerprint=None):
    """The builder `cls` for a folder.

    Args:
      cls: a LandmarkBuilder.
      folder: directory of the raw data.
      prepared_dir: where TFDS keeps prepared data.
      num_landmarks: K of the landmark scheme; None for the data set's own.
      splits: the records, where reading `folder` again would be waste; see `FolderConfig`.
      fingerprint: bytes that change with the data; None for the state of `cls.annotation_files(folder)`.

    Raises:
      ValueError: the data set has another number of landmarks.
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
    with _quiet():  # TFDS warns of every configuration that is not written into the class
        return cls(config=config, data_dir=prepared_dir)


@contextlib.contextmanager
def _quiet():
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def file_state(path):
    """What changes when a file is written again: its length and time, to the nanosecond where the file system tells."""
    try:
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns
    except OSError:  # not there, or not a local path
        if not path.exists():
            return None
        status = path.stat()
        return status.length, status.mtime
