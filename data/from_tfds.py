"""Faces with 68 landmarks that TFDS itself downloads and reads."""

import errno
import os
from collections.abc import Iterator

import tensorflow as tf
import tensorflow_datasets as tfds
from etils import epath

from data import parsing
from data.builder import LandmarkBuilder, Record, Splits
from h3r_jax.errors import UserError, is_full_disk

SIZE = 450  # pixels, by which TFDS divides the coordinates of these sets


class TfdsFaces(LandmarkBuilder):
    """A data set of TFDS, under the name that it has there; there are no FILES: TFDS checks its downloads itself."""

    SCHEME = "ibug68"
    NUM_LANDMARKS = 68
    FEATURE = ""  # the name of the landmarks, see `read`

    @classmethod
    def source_files(cls, folder: epath.Path) -> list[epath.Path]:
        """The files that TFDS keeps."""
        return sorted(path for path in tfds.builder(cls.name, data_dir=folder).data_path.iterdir() if path.is_file())

    @classmethod
    def read_splits(cls, folder: epath.Path) -> Splits:
        """The one split and its Records."""
        return {split: read(cls.name, folder, cls.FEATURE) for split in cls.OFFICIAL_COUNTS}


def read(name: str, folder: epath.Path, feature: str) -> Iterator[Record]:
    """The Records of the split `train` of a data set of TFDS, in the order of TFDS; images stay encoded.

    Args:
      name: of the data set.
      folder: where TFDS keeps the data set; TFDS downloads a missing data set into it.
      feature: the name of the landmarks, `[K, 2]`, pixels counted from 1 and divided by `SIZE`.

    Raises:
      FileNotFoundError: the data set is not there and cannot be downloaded.
      UserError: a landmark is not finite, or the data set is damaged; names the record, or the folder and the remedy.
      OSError: the disk is full.
    """
    try:
        source = tfds.builder(name, data_dir=folder)
        source.download_and_prepare()
    except Exception as error:  # of TFDS, of its downloader, or of the network
        if is_full_disk(error):
            raise OSError(errno.ENOSPC, "the disk is full", os.fspath(folder)) from error
        fault = f"TFDS cannot download and prepare {name} into {folder} ({' '.join(str(error).split())[:200]})"
        remedy = f"run `tfds build {name} --data_dir=DIR` where there is one and copy DIR/{name} to {folder / name}"
        raise FileNotFoundError(f"{fault}; try again with a network, or {remedy}") from error
    examples = source.as_dataset(
        split="train",
        decoders={"image": tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(interleave_cycle_length=1),  # shard after shard: the same order every time
    )
    count = 0
    try:
        for example in examples.as_numpy_iterator():
            record = f"{name} train record {count}"
            landmarks = parsing.check_finite(example[feature], record) * SIZE - 1
            yield Record(record, example["image"], landmarks)
            count += 1
    except tf.errors.OpError as error:
        fault = f"{name} train record {count} cannot be read ({error.message.splitlines()[0][:200]})"
        raise UserError(f"{fault}; remove {source.data_path}, and TFDS downloads the data set again") from error
