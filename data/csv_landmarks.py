"""Bring your own data: images and a CSV file per split.

    FOLDER/train.csv, FOLDER/val.csv (and test.csv, if there is one)
    FOLDER/train/..., FOLDER/val/...      or the images beside the CSV files

The first line names the columns: `image`, then `x0, y0, x1, y1, ...` in pixels,
0-based, pixel centres at integers; optionally a box `box_x0, box_y0, box_x1, box_y1`
and a weight per landmark `v0, v1, ...` (0: not labelled, its coordinates may be
empty). An image path is relative to `FOLDER/<split>` or to `FOLDER`.
"""

import csv
import dataclasses
import hashlib
import math

import numpy as np
import tensorflow_datasets as tfds

from data.features import landmark_features, read_image

SPLITS = ("train", "val", "test")
BOX_COLUMNS = ("box_x0", "box_y0", "box_x1", "box_y1")


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a CSV file: an image with its landmarks `[K, 2]`, visibility `[K]` and box `[4]`."""

    name: str
    image: str
    landmarks: np.ndarray
    visibility: np.ndarray
    box: np.ndarray


def read_rows(path, num_landmarks):
    """All rows of a CSV file.

    Args:
      path: of the file.
      num_landmarks: K.

    Raises:
      ValueError: another header than the module's documentation says, a row of the wrong length, a
        value that is not a number, a box of no size, or no rows; names file and line.
    """
    coordinates = [f"{axis}{i}" for i in range(num_landmarks) for axis in "xy"]
    weights = [f"v{i}" for i in range(num_landmarks)]
    with path.open("r") as file:
        lines = csv.reader(file)
        header = [column.strip() for column in next(lines, [])]
        known = {"image", *coordinates, *weights, *BOX_COLUMNS}
        optional = [column for group in (weights, BOX_COLUMNS) if set(group) & set(header) for column in group]
        missing = [column for column in ("image", *coordinates, *optional) if column not in header]
        unknown = [column for column in header if column not in known]
        if missing or unknown or len(set(header)) != len(header):
            raise ValueError(
                f"{path}: the first line must name the columns image, x0, y0, ... x{num_landmarks - 1}, y{num_landmarks - 1} "
                f"and optionally {', '.join(BOX_COLUMNS)} and v0 ... v{num_landmarks - 1}, each once; "
                f"missing: {missing[:5]}, unknown: {unknown[:5]} (is config.landmarks right about {num_landmarks} landmarks?)"
            )
        rows = []
        for cells in lines:
            if cells:
                rows.append(_parse_row(path, lines.line_num, dict(zip(header, cells)), cells, header, num_landmarks))
    if not rows:
        raise ValueError(f"{path}: no rows below the header; a split needs at least one image")
    return rows


def _parse_row(path, line, values, cells, header, num_landmarks):
    name = f"{path} line {line}"
    if len(cells) != len(header):
        raise ValueError(f"{name}: {len(cells)} columns, but the header names {len(header)}")

    def number(column, empty=None):
        text = values[column].strip()
        if not text and empty is not None:
            return empty
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{name}: column {column} is {text!r}, which is not a number") from None
        if not math.isfinite(value):
            raise ValueError(f"{name}: column {column} is {text!r}; want a finite number")
        return value

    visibility = np.array([number(f"v{i}") if f"v{i}" in values else 1.0 for i in range(num_landmarks)], np.float32)
    if (visibility < 0).any():
        raise ValueError(f"{name}: column v{int(np.argmax(visibility < 0))} is negative; want 0 or a positive weight")
    landmarks = [
        [number(f"{axis}{i}", empty=None if visibility[i] else math.nan) for axis in "xy"] for i in range(num_landmarks)
    ]
    box = np.full(4, np.nan)
    if BOX_COLUMNS[0] in values:
        box = np.array([number(column) for column in BOX_COLUMNS])
        if box[2] < box[0] or box[3] < box[1]:
            raise ValueError(f"{name}: the box {box.tolist()} has no size; want x0 <= x1 and y0 <= y1")
    image = values["image"].strip()
    if not image:
        raise ValueError(f"{name}: the column image is empty")
    return Row(name, image, np.array(landmarks), visibility, box)


@dataclasses.dataclass
class CsvConfig(tfds.core.BuilderConfig):
    """A folder as it was when it was fingerprinted.

    folder: the directory of the CSV files.
    rows: split -> rows.
    num_landmarks: K.
    """

    folder: object = None
    rows: dict = dataclasses.field(default_factory=dict, repr=False)
    num_landmarks: int = 0


class CsvLandmarks(tfds.core.GeneratorBasedBuilder):
    """Images and landmarks of a folder of CSV files (see the module's documentation)."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return self.dataset_info_from_configs(
            features=landmark_features(self.builder_config.num_landmarks),
            description=__doc__,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split) for split in self.builder_config.rows}

    def _generate_examples(self, split):
        folder = self.builder_config.folder
        for index, row in enumerate(self.builder_config.rows[split]):
            content, size = read_image(image_path(folder, split, row.image), row.name)
            yield index, {
                "image": content,
                "landmarks": row.landmarks.astype(np.float32),
                "visibility": row.visibility,
                "box": row.box.astype(np.float32),
                "size": np.array(size, np.int32),
                "name": f"{row.name} ({row.image})",
            }


def image_path(folder, split, name):
    """Where an image of a split lies: under `folder/split` or else under `folder`."""
    beside = folder / split / name
    return beside if beside.exists() else folder / name


def make_builder(folder, prepared_dir, num_landmarks):
    """The builder of a folder; a changed CSV file or image makes another one, prepared anew.

    Raises:
      FileNotFoundError: no train.csv, val.csv or test.csv in `folder`.
      ValueError: see `read_rows`.
    """
    files = {split: folder / f"{split}.csv" for split in SPLITS}
    rows = {split: read_rows(path, num_landmarks) for split, path in files.items() if path.exists()}
    if not rows:
        raise FileNotFoundError(f"{folder} holds none of train.csv, val.csv, test.csv; is config.data_dir right?")
    digest = hashlib.sha256(str(num_landmarks).encode())
    for split, path in files.items():
        if split in rows:
            digest.update(split.encode() + path.read_bytes())
            for row in rows[split]:
                image = image_path(folder, split, row.image)
                if image.exists():
                    stat = image.stat()
                    digest.update(f"{row.image} {stat.length} {stat.mtime}".encode())
    config = CsvConfig(
        name=f"{folder.resolve().name}-{digest.hexdigest()[:12]}",
        description=f"Images and landmarks of {folder.name}.",
        folder=folder,
        rows=rows,
        num_landmarks=num_landmarks,
    )
    return CsvLandmarks(config=config, data_dir=prepared_dir)
