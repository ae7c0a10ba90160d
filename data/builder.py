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

from data import columns, parsing, prepared
from data.contents import Contents
from data.features import check_image, landmark_features, read_image, store_pixels
from h3r_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Record:
    """One object with its landmarks; `data.features.landmark_features` says more of each field."""

    name: str  # for messages: file, and line or key within it
    image: (
        epath.Path | bytes | np.ndarray
    )  # path of the file, or its bytes, or pixels `uint8[H, W]` or `uint8[H, W, 3]`
    landmarks: np.ndarray  # `[K, 2]`; may be NaN where the weight is zero
    weight: np.ndarray | None = None  # `[K]`; None for ones
    box: np.ndarray | None = None  # `[4]`, x0, y0, x1, y1, its outermost pixel centres; None if none is delivered
    subsets: tuple[str, ...] = ()
    object_size: float = math.nan
    score: float = math.nan
    image_id: int = -1

    def features(self, holder: int = -1, size: Any = None, *, stored_pixels: bool = False) -> dict[str, Any]:
        """The record as `data.features.landmark_features` wants it; `stored_pixels` and errors as `read_image` there.

        holder: index of an earlier record that holds the same image, of `size` (height, width); -1 for none.
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
    """A raw data set as it was when it was fingerprinted."""

    folder: epath.Path | None = None
    contents: Contents | None = dataclasses.field(default=None, repr=False)  # of the folder
    fingerprinted: frozenset[str] = dataclasses.field(default=frozenset(), repr=False)  # names of files, see `Contents`
    num_landmarks: int = 0
    splits: Splits | None = dataclasses.field(default=None, repr=False)  # None: `read_splits`, when the set is prepared


class LandmarkBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A builder of the common features; each data set has a subclass that reads its records.

    In a prepared set, `info.metadata["left_out"]` is split -> reason -> number of entries that the protocol leaves out.
    """

    VERSION = tfds.core.Version("2.2.0")  # to be raised when the features change, or the records of a builder
    SCHEME = ""  # key of h3r_jax.landmarks.SCHEMES, for pictures; empty where the user has the scheme
    NUM_LANDMARKS = 0  # K; 0 where the user says
    FILES: tuple[str, ...] = ()  # that decide what the records are, relative to the folder; one of them must be there
    # Whether landmarks are known to be of the pixels as they are stored. They are in official data sets: MATLAB, PIL
    # and HRNet's loaders obey no EXIF orientation. Where it is False, an image with one is refused.
    STORED_PIXELS = True
    OFFICIAL_COUNTS: ClassVar[Mapping[str, int]] = {}  # split -> number of records of the complete distribution
    OFFICIAL_SUBSETS: ClassVar[Mapping[str, Mapping[str, int]]] = {}  # split -> subset -> likewise

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
    def source_files(cls, folder: epath.Path) -> list[epath.Path]:
        """The files that the records were made from, apart from annotation files and images in files of their own."""
        return []

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
        return {split: self._generate_examples(records, split) for split, records in splits.items()}

    def _download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        self._sources: dict[str, str] = {}
        self._annotations: dict[str, list[dict[str, Any]]] = {}
        super()._download_and_prepare(*args, **kwargs)
        for split, records in self._annotations.items():
            columns.write(self.data_path, split, records)
        for path in self.source_files(self.builder_config.folder):
            self._note(path)
        self.info.write_to_directory(self.data_dir)  # TFDS does the same next, and then the folder gets its name
        prepared.note(self.data_path, self._sources)

    def _note(self, path: epath.Path) -> None:
        """Notes what a file of the raw data holds, unless the set has another name as soon as it holds another."""
        contents = self.builder_config.contents
        if (name := contents.name(path)) not in self.builder_config.fingerprinted:
            self._sources[name] = contents.digest(name)

    def stored_name(self, name: str) -> str:
        """A record's name as it is stored. One that begins with the folder of raw data holds wherever it is copied."""
        folder = f"{self.builder_config.folder}/"
        return f"./{name.removeprefix(folder)}" if name.startswith(folder) else name

    def name_of(self, stored: str) -> str:
        """A record's name, from the one that is stored."""
        return f"{self.builder_config.folder}/{stored[2:]}" if stored.startswith("./") else stored

    def _generate_examples(self, records: Iterable[Record], split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        annotations = self._annotations[split] = []
        holders: dict[Any, tuple[int, Any]] = {}  # path of an image -> index of the record that holds it, and its size
        for index, record in enumerate(records):
            key = index if isinstance(record.image, (np.ndarray, bytes)) else str(record.image)
            if isinstance(key, str) and key not in holders:
                self._note(record.image)  # before it is read, so that a change in between is noticed later
            features = record.features(*holders.get(key, (-1, None)), stored_pixels=self.STORED_PIXELS)
            features["name"] = self.stored_name(features["name"])
            holder, _ = holders.setdefault(key, (index, features["size"]))
            digest = annotations[holder]["digest"] if holder < index else _digest(features["image"])
            annotations.append({**features, "digest": digest})
            del annotations[-1]["image"]
            yield index, features


def _digest(content: bytes) -> np.int64:
    return np.frombuffer(hashlib.blake2b(content, digest_size=8).digest(), np.int64)[0]


def make_builder(
    cls: type[LandmarkBuilder],
    folder: epath.Path,
    prepared_dir: epath.Path,
    num_landmarks: int | None,
    *,
    splits: Splits | None = None,
    files: Iterable[epath.Path] | None = None,
) -> LandmarkBuilder:
    """The builder `cls` for a folder of raw data. The name of its prepared set changes with the contents of the data.

    Args:
      prepared_dir: where TFDS keeps prepared data.
      num_landmarks: K of the landmark scheme; None for the data set's own.
      splits: the records, if they have been read already; see `FolderConfig`.
      files: that decide what the records are, by content and by path within the folder; None for
        `cls.annotation_files(folder)`.

    Raises:
      UserError: the data set has another number of landmarks, or an image is another than the one in the prepared set.
      FileNotFoundError: see `LandmarkBuilder.annotation_files`.
      OSError: the prepared set is damaged; see `data.prepared.check`.
    """
    num_landmarks = cls.NUM_LANDMARKS if num_landmarks is None else num_landmarks
    if cls.NUM_LANDMARKS not in (0, num_landmarks):
        raise UserError(f"{cls.name} has {cls.NUM_LANDMARKS} landmarks, but the landmark scheme has {num_landmarks}")
    place = epath.Path(folder).resolve()
    builder_dir, name_of_place = prepared_dir / cls.name, hashlib.sha256(os.fspath(place).encode()).hexdigest()[:8]
    contents = Contents(folder, builder_dir / f"{place.name}-{name_of_place}.contents.json")
    found = contents.digests(map(contents.name, cls.annotation_files(folder) if files is None else files))
    fingerprint = "".join(f"{name} {digest}\n" for name, digest in found.items()) + f"{num_landmarks}\n"
    config = FolderConfig(
        name=f"{place.name}-{hashlib.sha256(fingerprint.encode()).hexdigest()[: prepared.FINGERPRINT]}",
        description=f"Images and landmarks of {folder.name}.",
        folder=folder,
        contents=contents,
        fingerprinted=frozenset(found),
        num_landmarks=num_landmarks,
        splits=splits,
    )
    prepared_set = builder_dir / config.name / str(cls.VERSION)
    if (sources := prepared.check(prepared_set)) is not None:
        prepared.check_sources(prepared_set, sources, contents, folder)
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # TFDS warns of every configuration that is not written into the class
    try:
        return cls(config=config, data_dir=prepared_dir)
    finally:
        logging.set_verbosity(verbosity)
