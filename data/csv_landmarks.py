"""`csv`: your own data, images and a CSV file per split. The page "Your own data in ten minutes" shows how to use it.

    FOLDER/train.csv, FOLDER/val.csv (and test.csv, if there is one)
    FOLDER/train/..., FOLDER/val/...      or the images beside the CSV files

The first line names the columns: `image`, then `x0, y0, x1, y1, ...` in pixels,
0-based, pixel centres at integers. Optional columns are a box `box_x0, box_y0, box_x1, box_y1`
and a weight per landmark `v0, v1, ...`; a landmark with weight 0 is not labelled, and its
coordinates may be empty. An image path is relative to `FOLDER/<split>` or to `FOLDER`.
"""

import csv
import dataclasses
import io
import math
from typing import Any

import numpy as np
from etils import epath

from data import builder, parsing
from data.builder import LandmarkBuilder, Record
from h3r_jax.errors import UserError

SPLITS = ("train", "val", "test")
BOX_COLUMNS = ("box_x0", "box_y0", "box_x1", "box_y1")


def read_rows(path: epath.Path, num_landmarks: int) -> list[Record]:
    """All rows of a CSV file, as Records with K landmarks whose image is the name in the row.

    Raises:
      UserError: a header unlike the module's documentation, a row of the wrong length, a value that is
        not a number, a box of no size, or no rows; names file and line.
    """
    lines = csv.reader(io.StringIO(parsing.read_text(path), newline=""), strict=True)
    try:
        return _parse_lines(path, lines, num_landmarks)
    except csv.Error as error:
        place = f"{path} line {lines.line_num}"
        raise UserError(f"{place}: {error}; correct the quotes and separators of that line") from None


def _parse_lines(path: epath.Path, lines: Any, num_landmarks: int) -> list[Record]:
    coordinates = [f"{axis}{i}" for i in range(num_landmarks) for axis in "xy"]
    weights = [f"v{i}" for i in range(num_landmarks)]
    lines_with_text = (cells for cells in lines if len(cells) > 1 or any(map(str.strip, cells)))
    header = [column.strip() for column in next(lines_with_text, [])]
    known = {"image", *coordinates, *weights, *BOX_COLUMNS}
    optional = [column for group in (weights, BOX_COLUMNS) if set(group) & set(header) for column in group]
    faults = {
        "missing": [column for column in ("image", *coordinates, *optional) if column not in header],
        "unknown": [column for column in header if column not in known],
        "repeated": [column for i, column in enumerate(header) if column in header[:i]],
    }
    if any(faults.values()):
        found = "; ".join(f"{fault}: {', '.join(map(repr, names[:5]))}" for fault, names in faults.items() if names)
        last = num_landmarks - 1
        raise UserError(
            f"{path}: the first line must name the columns image, x0, y0, ... x{last}, y{last} and optionally "
            f"{', '.join(BOX_COLUMNS)} and v0 ... v{last}, each once, but {found} "
            f"(is config.landmarks right about {num_landmarks} landmarks?)"
        )
    rows = [_parse_row(path, lines.line_num, cells, header, num_landmarks) for cells in lines_with_text]
    if not rows:
        raise UserError(f"{path}: no rows below the header; a split needs at least one image")
    return rows


def _parse_row(path: epath.Path, line: int, cells: list[str], header: list[str], num_landmarks: int) -> Record:
    name = f"{path} line {line}"
    if len(cells) != len(header):
        raise UserError(f"{name}: {len(cells)} columns, but the header names {len(header)}; correct or remove the row")
    values = dict(zip(header, cells))

    def number(column: str, empty: float | None = None) -> float:
        text = values[column].strip()
        if not text and empty is not None:
            return empty
        try:
            return parsing.number(text)
        except ValueError as error:
            remedy = "correct it, or give the landmark weight 0" if column[0] in "xy" else "correct it"
            raise UserError(f"{name}: column {column} is {error}; {remedy}") from None

    weight = np.array([number(f"v{i}") if f"v{i}" in values else 1.0 for i in range(num_landmarks)], np.float32)
    if (weight < 0).any():
        raise UserError(f"{name}: column v{int(np.argmax(weight < 0))} is negative; want 0 or a positive weight")
    empty = [None if each else math.nan for each in weight]
    landmarks = [[number(f"{axis}{i}", empty[i]) for axis in "xy"] for i in range(num_landmarks)]
    box = parsing.check_box(list(map(number, BOX_COLUMNS)), name) if BOX_COLUMNS[0] in values else None
    image = values["image"].strip()
    if not image.isprintable() or not image:
        raise UserError(f"{name}: the column image is {image!r}; name a file or remove the row")
    return Record(name, image, np.array(landmarks), weight, box)


class CsvLandmarks(LandmarkBuilder):
    """Images and landmarks of a folder of CSV files (see the module's documentation)."""

    STORED_PIXELS = False


def make_builder(folder: epath.Path, prepared_dir: epath.Path, num_landmarks: int | None) -> LandmarkBuilder:
    """The builder of a folder; when a CSV file or an image has changed, it is another one, to be prepared anew.

    Raises:
      FileNotFoundError: no train.csv, val.csv or test.csv in `folder`.
      UserError: as `read_rows`; also if `num_landmarks` is None.
    """
    if num_landmarks is None:
        raise UserError("a csv data set does not say how many landmarks it has; give --landmarks=K")
    files = {split: folder / f"{split}.csv" for split in SPLITS}
    rows = {split: read_rows(path, num_landmarks) for split, path in files.items() if path.exists()}
    if not rows:
        raise FileNotFoundError(f"{folder} holds none of train.csv, val.csv, test.csv; is config.data_dir right?")
    splits: dict[str, list[Record]] = {}
    for split, records in rows.items():
        splits[split] = []
        for row in records:
            name = str(row.image)
            path = folder / split / name
            image = path if path.exists() else folder / name
            splits[split].append(dataclasses.replace(row, name=f"{row.name} ({name})", image=image))
    images = (record.image for records in splits.values() for record in records)
    used = [*(files[split] for split in splits), *images]
    return builder.make_builder(CsvLandmarks, folder, prepared_dir, num_landmarks, splits=splits, files=used)
