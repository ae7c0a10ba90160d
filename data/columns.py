"""The annotations of a prepared split in one file, so that to read them one need not read the images.

TFDS stores annotations with each image. The file holds them once more, an array for each feature.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from data import prepared
from h3r_jax.errors import first_line

NAME = "annotations-{}.npz"  # of the file; with the name of the split


def write(folder: epath.Path, split: str, records: Sequence[Mapping[str, object]]) -> None:
    """Stores the annotations of a split.

    Args:
      folder: of the prepared set.
      records: of each record the features (`data.features`) but "image", and "digest" (`data.source.Annotations`).
    """
    columns = {}
    for key in records[0]:
        values = [record[key] for record in records]
        columns[key] = np.array([value.encode() if isinstance(value, str) else value for value in values])
    with (folder / NAME.format(split)).open("wb") as file:
        np.savez(file, **columns)  # type: ignore[arg-type]


def read(folder: epath.Path, split: str) -> dict[str, np.ndarray]:
    """feature -> `[N, ...]`, of the N records of a whole split; texts are UTF-8.

    Raises:
      OSError: the file cannot be read; names the prepared set and the remedy.
    """
    path = folder / NAME.format(split)
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as columns:
            return dict(columns)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise prepared.damaged(folder, f"{path.name}: {first_line(error)}") from error
