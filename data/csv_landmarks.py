"""`csv`: your own data, images and a CSV file per split. The page "Your own data in ten minutes" shows how to use it.

    FOLDER/train.csv, FOLDER/val.csv (and test.csv, if there is one)
    FOLDER/train/..., FOLDER/val/...      or the images beside the CSV files

The first line names the columns: `image`, then `x0, y0, x1, y1, ...` in pixels,
0-based, pixel centres at integers. Optional columns are a box `box_x0, box_y0, box_x1, box_y1`
and a weight per landmark `v0, v1, ...`; a landmark with weight 0 is not labelled, and its
coordinates may be empty. Image paths are relative to `FOLDER/<split>` if one of the split's
images is there, else all of them to `FOLDER`. With one landmark the box is needed.
"""

import collections
import csv
import dataclasses
import io
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from data import audit, builder, parsing
from data.builder import LandmarkBuilder, Record
from h3r_jax.errors import UserError

SPLITS = ("train", "val", "test")
BOX_COLUMNS = ("box_x0", "box_y0", "box_x1", "box_y1")
LIGHTEST, HEAVIEST = 1e-30, 1e30  # weights; float32, in which they are stored, ends at 1e-38 and 3e38
SEPARATORS = (";", "\t", "|", ":", " ")  # that others write in place of commas


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the columns of a CSV file are.

    header: their names, in the order of the file. image: index of the image's name.
    columns: names of the numbers: 2 K coordinates, then, if the file has them, K weights and 4 of the box.
    """

    num_landmarks: int
    header: list[str]
    image: int
    columns: list[str]
    weighted: bool
    boxed: bool

    def rows(self, path: str, lines: Any) -> Iterator[Record]:
        """The Records of the lines below the header."""
        places = {column: i for i, column in enumerate(self.header)}
        pick = operator.itemgetter(*(places[column] for column in self.columns))
        for cells in lines:
            name = f"{path} line {lines.line_num}"
            if len(cells) == len(self.header):
                yield self._record(name, cells[self.image].strip(), pick(cells))
            elif len(cells) > 1 or any(map(str.strip, cells)):  # a blank line is none
                counts = f"{len(cells)} columns, but the header names {len(self.header)}"
                raise UserError(f"{name}: {counts}; correct or remove the row")

    def _record(self, name: str, image: str, texts: tuple[str, ...]) -> Record:
        values, size = parsing.all_numbers(texts), self.num_landmarks
        if values is None:
            values = self._numbers(name, texts)
        weight = values[2 * size : 3 * size] if self.weighted else np.ones(size)
        if (weight < 0).any():
            raise UserError(f"{name}: column v{int(np.argmax(weight < 0))} is negative; want 0 or a positive weight")
        far = (weight > 0) & ((weight < LIGHTEST) | (weight > HEAVIEST))
        if far.any():
            first = int(np.argmax(far))
            wanted = f"want 0, or a weight from {LIGHTEST:g} to {HEAVIEST:g}"
            raise UserError(f"{name}: column v{first} is {weight[first]:g}; {wanted}")
        if not parsing.is_file_name(image):
            raise UserError(f"{name}: the column image is {image!r}; name a file or remove the row")
        box = parsing.check_box(values[-4:], name) if self.boxed else None
        landmarks = values[: 2 * size].reshape(size, 2)
        return Record(name, image, landmarks, weight.astype(np.float32), box)

    def _numbers(self, name: str, texts: tuple[str, ...]) -> np.ndarray:
        """The numbers of texts one of which is empty or wrong; NaN for the empty coordinates of a weight of zero."""

        def number(column: str, text: str) -> float:
            try:
                return parsing.number(text.strip())
            except UserError as error:
                remedy = "correct it, or give the landmark weight 0" if column[0] in "xy" else "correct it"
                raise UserError(f"{name}: column {column} is {error}; {remedy}") from None

        cells = dict(zip(self.columns, texts))
        unlabelled = {c[1:] for c in self.columns if c[0] == "v" and number(c, cells[c]) == 0}
        may_be_empty = {column for column in self.columns if column[0] in "xy" and column[1:] in unlabelled}
        return np.array(
            [np.nan if c in may_be_empty and not text.strip() else number(c, text) for c, text in cells.items()]
        )


def read_layout(path: str, header: list[str], num_landmarks: int) -> Layout:
    """The Layout that the cells of the first line tell; UserError says what is missing, unknown or repeated."""
    last = num_landmarks - 1
    wanted = (
        f"{path}: the first line must name the columns image, x0, y0, ... x{last}, y{last} and optionally "
        f"{', '.join(BOX_COLUMNS)} and v0 ... v{last}, each once, but"
    )
    for separator in SEPARATORS:
        if len(header) == 1 and separator in header[0]:
            raise UserError(f"{wanted} it is separated by {separator!r}; want ',' in all lines")
    coordinates = [f"{axis}{i}" for i in range(num_landmarks) for axis in "xy"]
    weights = [f"v{i}" for i in range(num_landmarks)]
    found = collections.Counter(header)
    optional = [[*group] if not found.keys().isdisjoint(group) else [] for group in (weights, BOX_COLUMNS)]
    columns = [*coordinates, *optional[0], *optional[1]]
    known = {"image", *columns}
    faults = {
        "missing": [column for column in ("image", *columns) if column not in found],
        "unknown": [column for column in found if column not in known],
        "repeated": [column for column, count in found.items() if count > 1],
    }
    if any(faults.values()):
        listed = "; ".join(f"{fault}: {', '.join(map(repr, names[:5]))}" for fault, names in faults.items() if names)
        small = any(column.lower() in known for column in faults["unknown"])
        remedy = (
            "write the names in small letters" if small else f"is config.landmarks right about {last + 1} landmarks?"
        )
        raise UserError(f"{wanted} {listed} ({remedy})")
    if num_landmarks == 1 and not optional[1]:
        needed = "one landmark has no box around it, so that neither the crop nor the unit of the error is known"
        raise UserError(f"{path}: {needed}; add the columns {', '.join(BOX_COLUMNS)}")
    return Layout(num_landmarks, header, header.index("image"), columns, bool(optional[0]), bool(optional[1]))


def read_header(path: epath.Path) -> list[str]:
    """The names of the columns; if there is no x0 among them, the UserError of `read_layout`."""
    lines = csv.reader(io.StringIO(parsing.read_text(path), newline=""))
    header = _header(lines)
    if "x0" not in header:
        read_layout(str(path), header, 1)
    return header


def _header(lines: Iterable[list[str]]) -> list[str]:
    first = next((cells for cells in lines if any(map(str.strip, cells))), [])
    return [column.strip() for column in first]


def read_rows(path: epath.Path, num_landmarks: int) -> list[Record]:
    """All rows of a CSV file, as Records with K landmarks whose image is the name in the row.

    Raises:
      UserError: a header unlike the module's documentation, a row of the wrong length, a value that is
        not a number, a box of no size, no rows, or what `audit.check_units` refuses; names file and line.
    """
    lines = csv.reader(io.StringIO(parsing.read_text(path), newline=""), strict=True)
    try:
        layout = read_layout(str(path), _header(lines), num_landmarks)
        rows = list(layout.rows(str(path), lines))
    except csv.Error as error:
        place = f"{path} line {lines.line_num}"
        raise UserError(f"{place}: {error}; correct the quotes and separators of that line") from None
    if not rows:
        raise UserError(f"{path}: no rows below the header; a split needs at least one image")
    boxes = np.array([row.box for row in rows], np.float64) if layout.boxed else None
    landmarks, weight = np.array([row.landmarks for row in rows]), np.array([row.weight for row in rows])
    audit.check_units(landmarks, weight, boxes, [row.name for row in rows])
    return rows


def find_images(places: Sequence[epath.Path], rows: Sequence[Record]) -> list[Record]:
    """The Records with the paths of their images, all in the first of `places` that has one of them.

    UserError names a row whose image is not there.
    """
    names = dict.fromkeys(str(row.image) for row in rows)
    for place in places:
        paths = {name: epath.Path(os.path.join(place, name)) for name in names}
        absent = {name for name, path in paths.items() if not path.exists()}
        if len(absent) < len(names):
            break
    else:
        paths = {name: places[0] / name for name in names}
    records = []
    for row in rows:
        name = str(row.image)
        if name in absent:
            fault = parsing.missing_image(paths[name])
            raise UserError(f"{row.name} ({name}): {fault}; correct the path or remove the row")
        records.append(dataclasses.replace(row, name=f"{row.name} ({name})", image=paths[name]))
    return records


class CsvLandmarks(LandmarkBuilder):
    """Images and landmarks of a folder of CSV files (see the module's documentation)."""

    STORED_PIXELS = False


def make_builder(folder: epath.Path, prepared_dir: epath.Path, num_landmarks: int | None) -> LandmarkBuilder:
    """The builder of a folder; when a CSV file or an image has changed, it is another one, to be prepared anew.

    Raises:
      FileNotFoundError: no train.csv, val.csv or test.csv in `folder`.
      UserError: as `read_rows` and `find_images`; also if `num_landmarks` is None.
    """
    if num_landmarks is None:
        raise UserError("a csv data set does not say how many landmarks it has; give --landmarks=K")
    files = {split: folder / f"{split}.csv" for split in SPLITS}
    rows = {split: read_rows(path, num_landmarks) for split, path in files.items() if parsing.is_there(path)}
    if not rows:
        raise FileNotFoundError(f"{folder} holds none of train.csv, val.csv, test.csv; is config.data_dir right?")
    splits = {split: find_images((folder / split, folder), records) for split, records in rows.items()}
    images = (record.image for records in splits.values() for record in records)
    used = [*(files[split] for split in splits), *images]
    return builder.make_builder(CsvLandmarks, folder, prepared_dir, num_landmarks, splits=splits, files=used)
