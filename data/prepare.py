"""Data sets by name, and their preparation."""

import contextlib
import functools
import io

from etils import epath

from data import coco_keypoints, csv_landmarks, mpii, phantom
from data.builder import make_builder

# name in `config.data.name` -> function(folder, prepared_dir, num_landmarks) that returns a TFDS builder
DATASETS = {
    "phantom": functools.partial(make_builder, phantom.Phantom),
    "csv": csv_landmarks.make_builder,
    "mpii": functools.partial(make_builder, mpii.Mpii),
    "coco": functools.partial(make_builder, coco_keypoints.CocoKeypoints),
}


def prepare(name, *, data_dir, prepared_dir, folder, num_landmarks):
    """A prepared TFDS builder; the first call reads every image of the raw data, later ones nothing.

    Args:
      name: in `DATASETS`.
      data_dir: directory of raw data sets.
      prepared_dir: directory where TFDS keeps prepared ones.
      folder: the data set's directory under `data_dir`; empty for its name.
      num_landmarks: K, checked against the data.

    Raises:
      ValueError: unknown name, or raw data that is not as the builder's documentation says; names file and record.
      FileNotFoundError: the raw data is not there.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(DATASETS)}")
    raw = epath.Path(data_dir).expanduser() / (folder or name)
    builder = DATASETS[name](raw, epath.Path(prepared_dir).expanduser(), num_landmarks)
    if not builder.info.splits:
        print(f"Preparing {builder.info.full_name} in {builder.data_dir}, once; later runs find it there.")
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a download, and there is none; its bars are on stderr
        builder.download_and_prepare(file_format="array_record")
    return builder
