"""Records out of data sets that TFDS itself knows how to download and read."""

import tensorflow_datasets as tfds

from data import parsing
from data.builder import Record

SIZE = 450  # pixels; TFDS divides the coordinates of these sets by it


def read(name, folder, feature):
    """The Records of the split `train` of a data set of TFDS, in its order; images stay as they are encoded.

    Args:
      name: of the data set.
      folder: where TFDS keeps it; it is downloaded to there first, unless it is there already.
      feature: of the landmarks, `[K, 2]`, pixels counted from 1 and divided by `SIZE`.

    Raises:
      FileNotFoundError: it is not there, and it cannot be downloaded.
    """
    source = tfds.builder(name, data_dir=folder)
    try:
        source.download_and_prepare()
    except Exception as error:  # of TFDS, of its downloader, or of the network
        raise FileNotFoundError(
            f"TFDS cannot download and prepare {name} into {folder} ({' '.join(str(error).split())[:200]}); try again with a "
            f"network, or run `tfds build {name} --data_dir=DIR` where there is one and copy DIR/{name} to {folder / name}"
        ) from error
    examples = source.as_dataset(
        split="train",
        decoders={"image": tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(interleave_cycle_length=1),  # shard after shard: the same order every time
    )
    for i, example in enumerate(examples.as_numpy_iterator()):
        record = f"{name} train record {i}"
        landmarks = parsing.check_finite(example[feature], record) * SIZE - 1
        yield Record(record, example["image"], landmarks)
