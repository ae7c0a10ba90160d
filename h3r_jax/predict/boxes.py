"""Files of boxes: where to look in each image.

    boxes.csv      the header image,x0,y0,x1,y1; one line for each box
    boxes.jsonl    one object a line with "image" and "box": [x0, y0, x1, y1], for a frame of a video also "frame",
                   counted from 0; the box null says that there is none. The command itself writes such a file
    boxes.json     COCO detections: a list of objects with "image_id", "bbox": [x, y, width, height], "score" and
                   "category_id". People with a high enough score are taken

Pixels are 0-based, with centres at integers. An image is found by its path as it was given, else by its path within the
folder that was given, else by its file name. In a COCO file, it is found by the number at the end of its name. A box
without a frame is for every frame of a video. Spaces round a name do not count, unless an input has them too.
"""

import collections
import csv
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from h3r_jax.errors import UserError
from h3r_jax.ranges import decimal

COLUMNS = ["image", "x0", "y0", "x1", "y1"]
PERSON = 1  # category of COCO
MIN_SCORE = 0.5


class Record(NamedTuple):
    image: str | int  # its path, or its number in a COCO file
    box: list[float] | None  # x0, y0, x1, y1; None for none
    frame: int | None = None  # of a video; None for every frame
    left_out: str = ""  # why a box of the file is not taken
    category: float = PERSON
    score: float = 1.0


class BoxFile:
    """The boxes of a file, by image.

    path: of the file.
    inputs: the path of each image and video that will be asked for, and its path within the folder that was given.
    min_score: the least score of a COCO detection that is taken; None for `MIN_SCORE`.
    left_out: counts the boxes of the inputs that are not taken, by reason.

    Raises:
      ValueError: the file is missing or not as the module's documentation says (names the line or record), does not
        tell two inputs apart, is a COCO file without a record of any input or without a box that is taken, or has
        boxes in shares of the image.
    """

    def __init__(self, path: str | os.PathLike, inputs: Sequence[tuple[Path, str]], min_score: float | None = None):
        self._path, self._coco = Path(path), Path(path).suffix == ".json"
        min_score = MIN_SCORE if min_score is None else min_score
        records = collections.defaultdict(list)
        paths, names = {str(image) for image, _ in inputs}, {name for _, name in inputs}
        known = paths | names | {Path(image).name for image, _ in inputs}
        for record in _read(self._path, min_score):
            image = record.image
            exact = isinstance(image, int) or image in known
            records[image if exact else str(Path(str(image).strip()))].append(record)
        if self._coco and not records:
            raise UserError(f"{path} is an empty list; want detections")
        _check_all(self._path, [record for known in records.values() for record in known], min_score)
        self._records: dict[str, list[Record]] = {}
        owners: dict[str | int | None, str] = {}
        for image, name in ((str(image), name) for image, name in inputs):
            # The path of one input is not the name of another.
            keys = [_number(image)] if self._coco else [image, *({name} - paths), *({Path(image).name} - paths - names)]
            key = next((key for key in keys if key in records), None)
            if key is None or image in self._records:
                continue
            if key in owners:
                remedy = "names that end in different numbers" if self._coco else "paths in place of names"
                raise UserError(f"{path}: {key} would be both {owners[key]} and {image}; want {remedy}")
            owners[key], self._records[image] = image, records[key]
        if self._coco and not owners:
            raise UserError(f"{path} has no record of any input; want names that end in an image_id")
        self.left_out = collections.Counter(x.left_out for known in self._records.values() for x in known if x.left_out)

    def count_left_out(self, image: str | os.PathLike) -> int:
        """How many boxes of an image are not taken."""
        return sum(bool(record.left_out) for record in self._records.get(os.fspath(image), []))

    def __call__(self, image: str | os.PathLike, frame: int | None = None) -> np.ndarray:
        """The boxes `float64[n, 4]` of an image, or of a frame of a video: x0, y0, x1, y1.

        Args:
          image: its path, one of the inputs. Without a record in a COCO file it has no people: n is 0.
          frame: of a video, counted from 0; None for an image.

        Raises:
          ValueError: the file does not know the image or video, or has boxes of frames for an image.
        """
        records = self._records.get(os.fspath(image), [])
        if self._coco and _number(image) is None:
            raise UserError(f"{image}: its name does not end in a number, by which {self._path} has images")
        if not records and not self._coco:
            raise UserError(f"{image}: {self._path} has no box for it")
        if frame is None and any(record.frame is not None for record in records):
            raise UserError(f"{image}: {self._path} has boxes of frames for it, but it is an image")
        boxes = [record.box for record in records if record.box and record.frame in (None, frame)]
        return np.array(boxes, np.float64).reshape(-1, 4)


def _check_all(path: Path, records: Sequence[Record], min_score: float) -> None:
    if records and all(record.left_out for record in records):
        categories = ", ".join(f"{x:g}" for x in sorted({record.category for record in records})[:20])
        scores = sorted(record.score for record in records)
        raise UserError(
            f"{path}: none of its {len(records)} detections is taken; they have category_id {categories} and scores "
            f"from {scores[0]:g} to {scores[-1]:g}; want people, category_id {PERSON}, with a score of {min_score:g} "
            "or more (--min_score)"
        )
    boxes = [record.box for record in records if record.box]
    if boxes and all(0 <= number <= 1 for box in boxes for number in box):
        raise UserError(f"{path}: every box lies within 0 to 1, as shares of an image do; want pixels")


def _read(path: Path, min_score: float) -> Iterator[Record]:
    kind, place = path.suffix, "the whole"
    if kind not in (".csv", ".jsonl", ".json"):
        raise UserError(f"{path} is of no known kind of boxes; known endings are .csv, .jsonl, .json")
    if not path.is_file():  # nor a pipe, which might wait for ever
        raise UserError(f"{path} is not a file; want boxes, or --boxes=detect, or --boxes=whole")
    try:
        text = path.read_text("utf-8-sig")  # some programs write a mark before a text
        items = json.loads(text) if kind == ".json" else text.split("\n")
        if type(items) is not list:
            raise ValueError("not a list of COCO detections")
        for index, item in enumerate(items):
            place = f"record {index}" if kind == ".json" else f"line {index + 1}"
            if kind == ".json":
                yield _coco(item, min_score)
            elif kind == ".jsonl" and item.strip():
                yield _line(json.loads(item))
            elif kind == ".csv":
                cells = next(csv.reader([item]), [])
                if index == 0 and [cell.strip() for cell in cells] != COLUMNS:
                    raise ValueError(f"begins with {item!r}; want the header {','.join(COLUMNS)}")
                if index > 0 and cells:
                    yield _line({"image": cells[0], "box": [decimal(cell) for cell in cells[1:]]})
    except UnicodeDecodeError as error:
        place = f"line {1 + error.object[: error.start].count(10)}"
        raise UserError(f"{path}, {place}: not UTF-8; store the text in that encoding") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path}, {place}: not JSON ({error})") from None
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}, {place}: {error}") from None


def _line(record: Any) -> Record:
    image, box, frame = _fields(record, "image", "box", "frame")
    return Record(str(Path(image)), box, frame)


def _coco(detection: Any, min_score: float) -> Record:
    image, (x, y, width, height), score, category = _fields(detection, "image_id", "bbox", "score", "category_id")
    reason = "" if score >= min_score else f"with a score below {min_score:g}"
    if category != PERSON:
        reason = "not of people"
    # The box covers its border pixels, and one at least.
    box = None if reason else [x, y, x + max(width - 1, 0), y + max(height - 1, 0)]
    return Record(int(image), box, left_out=reason, category=category, score=score)


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _four(values: Any) -> bool:
    return type(values) is list and len(values) == 4 and all(map(_finite, values))


CORNERS = "[x0, y0, x1, y1], finite, with x0 < x1 and y0 < y1"
FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {  # whether a value is good, and the good values in words
    "image": (lambda x: type(x) is str and bool(x.strip()), "a path"),
    "box": (lambda x: x is None or (_four(x) and x[0] < x[2] and x[1] < x[3]), CORNERS),
    "frame": (lambda x: x is None or (type(x) is int and x >= 0), "a number of a frame, 0 or more"),
    "image_id": (lambda x: str(x).isascii() and str(x).isdecimal(), "a number"),
    "bbox": (lambda x: _four(x) and min(x[2:]) > 0, "[x, y, width, height], finite, with a width and a height above 0"),
    "score": (_finite, "a finite number"),
    "category_id": (_finite, "a number"),
}


def _fields(record: Any, *names: str) -> list:
    record = {"frame": None} | (record if isinstance(record, dict) else {})
    if missing := [name for name in names if name not in record]:
        raise ValueError(f"has no {', '.join(missing)}")
    for name in names:
        good, want = FIELDS[name]
        if not good(record[name]):
            raise ValueError(f"{name} {record[name]!r} is not {want}")
    return [record[name] for name in names]


def _number(path: str | os.PathLike) -> int | None:
    """The number at the end of a file's name; None without one."""
    found = re.search(r"\d+$", Path(path).stem)
    return int(found[0]) if found else None


def outside(boxes: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Which boxes `[n, 4]` show nothing of an image of `shape` (H, W, ...): `bool[n]`."""
    height, width = shape[:2]
    return np.any((boxes[:, :2] >= [width - 0.5, height - 0.5]) | (boxes[:, 2:] <= -0.5), axis=1)
