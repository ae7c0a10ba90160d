"""Files of boxes: what to look at in each image.

    boxes.csv      header image,x0,y0,x1,y1; one line per box
    boxes.jsonl    one object per line with "image" and "box": [x0, y0, x1, y1], of a video also "frame", counted from 0;
                   a box that is null says that there is none; what this command writes is such a file
    boxes.json     COCO detections: a list of objects with "image_id", "bbox": [x, y, width, height], "score" and
                   "category_id"; people are taken, and images are found by the number at the end of their names

Pixels are 0-based, with centres at integers. An image is found by its path as it was given, else by its path within the
folder that was given, else by its file name. A box without a frame is for every frame of a video.
"""

import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from h3r_jax.errors import UserError

COLUMNS = ("image", "x0", "y0", "x1", "y1")
COCO_FIELDS = ("image_id", "bbox", "score", "category_id")
PERSON = 1  # category of COCO
MIN_SCORE = 0.5

# Where in the file, the image's path or number, the frame, the box; None for every frame, and for no box.
Record = tuple[str, str | int, int | None, list[float] | None]


class BoxFile:
    """The boxes of a file, by image."""

    def __init__(
        self,
        path: str | os.PathLike,
        inputs: Iterable[tuple[str | os.PathLike, str]],
        min_score: float | None = None,
    ):
        """
        Args:
          path: of the file.
          inputs: all images and videos that will be asked for: their paths, and their paths within the folder that was given.
          min_score: COCO detections below it are left out; None for `MIN_SCORE`.

        Raises:
          ValueError: the file is missing or not as the module's documentation says (names the line or record), does not
            tell two inputs apart, or is one of COCO without a record of any input.
        """
        self._path = Path(path)
        readers = {".csv": self._read_csv, ".jsonl": self._read_json_lines, ".json": self._read_coco}
        if self._path.suffix not in readers:
            raise UserError(f"{path} is of no known kind of boxes; known endings are {', '.join(readers)}")
        if not self._path.is_file():
            raise UserError(f"{path} is not a file; want boxes, or --boxes=detect, or --boxes=whole")
        self._coco = self._path.suffix == ".json"
        self._min_score = MIN_SCORE if min_score is None else min_score
        self._boxes: dict[str | int, list[tuple[int | None, np.ndarray | None]]] = {}
        for where, image, frame, values in readers[self._path.suffix]():
            box = None if values is None else np.array(values, np.float64)
            if box is not None and (box.shape != (4,) or not np.isfinite(box).all() or (box[2:] < box[:2]).any()):
                raise UserError(f"{path}, {where}: box {box.tolist()} is not finite x0 <= x1 and y0 <= y1")
            self._boxes.setdefault(image, []).append((frame, box))
        self._keys = self._find(inputs)

    def __call__(self, image: str | os.PathLike, frame: int | None = None) -> np.ndarray:
        """The boxes of an image, or of a frame of a video.

        Args:
          image: its path, one of the inputs.
          frame: of a video, counted from 0; None for an image.

        Returns:
          `float64[n, 4]`; none if the file has boxes of other frames alone, or is one of COCO without people in the image.

        Raises:
          ValueError: the file does not know the image or video, or has boxes of frames for what is an image.
        """
        key = self._keys.get(os.fspath(image))
        if self._coco and _number(image) is None:
            raise UserError(f"{image}: its name does not end in a number, by which {self._path} has images")
        if key is None and not self._coco:
            raise UserError(f"{image}: {self._path} has no box for it")
        known = [] if key is None else self._boxes[key]
        if frame is None and any(theirs is not None for theirs, _ in known):
            raise UserError(f"{image}: {self._path} has boxes of frames for it, but it is an image")
        return np.reshape([box for theirs, box in known if theirs in (None, frame) and box is not None], (-1, 4))

    def _find(self, inputs: Iterable[tuple[str | os.PathLike, str]]) -> dict[str, str | int]:
        """What the file calls each input that it knows: {path: key of `_boxes`}."""
        names: dict[str, list[str | int | None]] = {}
        for path, name in inputs:
            names.setdefault(os.fspath(path), []).append(_number(path) if self._coco else name)
        if self._coco:
            if not any(number in self._boxes for numbers in names.values() for number in numbers):
                raise UserError(f"{self._path} has no record of any input; want names that end in an image_id")
            want = ", which cannot be told apart by their numbers"
        else:
            want = "; want paths in place of names"
        found: dict[str, str | int] = {}
        file_names = {path: [Path(path).name] for path in names}
        ways: list[Any] = [names] if self._coco else [{path: [path] for path in names}, names, file_names]
        for way in ways:  # what is found in one way is not looked for in the next, nor what the file calls it
            owners: dict[Any, str] = {}
            taken = set(found.values())
            for path, candidates in way.items():
                key = next((key for key in candidates if key in self._boxes and key not in taken), None)
                if path in found or key is None:
                    continue
                if key in owners:
                    raise UserError(f"{self._path}: {key} would be both {owners[key]} and {path}{want}")
                owners[key] = path
            found |= {path: key for key, path in owners.items()}
        return found

    def _read_csv(self) -> Iterator[Record]:
        rows = csv.reader(io.StringIO(self._text(), newline=""))
        try:
            header = [name.strip() for name in next(rows, [])]
            if tuple(header) != COLUMNS:
                raise UserError(f"begins with {','.join(header)!r}; want the header {','.join(COLUMNS)}")
            for row in filter(None, rows):
                image, *box = row
                yield f"line {rows.line_num}", _normal(image), None, [float(value) for value in box]
        except (ValueError, csv.Error) as error:
            raise UserError(f"{self._path}, line {max(1, rows.line_num)}: {error}") from error

    def _read_json_lines(self) -> Iterator[Record]:
        for number, line in enumerate(self._text().split("\n"), 1):
            if not line.strip():
                continue
            where = f"line {number}"
            record = self._parse(line, where)
            self._check_fields(record, where, ("image", "box"))
            image, frame, box = record["image"], record.get("frame"), record["box"]
            if type(image) is not str:
                raise UserError(f"{self._path}, {where}: image {image!r} is not a path")
            if frame is not None and (type(frame) is not int or frame < 0):
                raise UserError(f"{self._path}, {where}: frame {frame!r} is not a number of a frame, 0 or more")
            yield where, _normal(image), frame, None if box is None else self._numbers(box, 4, where)

    def _read_coco(self) -> Iterator[Record]:
        records = self._parse(self._text(), "the whole")
        if type(records) is not list:
            raise UserError(f"{self._path} is not a list of COCO detections")
        for index, record in enumerate(records):
            where = f"record {index}"
            self._check_fields(record, where, COCO_FIELDS)
            image = record["image_id"]
            image = int(image) if type(image) is str and image.isdecimal() else image
            if type(image) is not int:
                raise UserError(f"{self._path}, {where}: image_id {image!r} is not a number")
            x, y, width, height = self._numbers(record["bbox"], 4, where)
            if width < 0 or height < 0:
                raise UserError(f"{self._path}, {where}: bbox {record['bbox']} has a width or height below 0")
            (score,) = self._numbers([record["score"]], 1, where)
            taken = record["category_id"] == PERSON and score >= self._min_score
            # A box covers its border pixels, and one at least.
            yield where, image, None, [x, y, x + max(width - 1, 0), y + max(height - 1, 0)] if taken else None

    def _text(self) -> str:
        content = self._path.read_bytes()
        try:
            return content.decode().removeprefix("\ufeff")  # which some programs write before a text
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise UserError(f"{self._path}, line {line}: not UTF-8; store the text in that encoding") from None

    def _parse(self, text: str, where: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self._path}, {where}: not JSON ({error})") from None

    def _check_fields(self, record: Any, where: str, fields: Sequence[str]) -> None:
        missing = [name for name in fields if not isinstance(record, dict) or name not in record]
        if missing:
            raise UserError(f"{self._path}, {where}: has no {', '.join(missing)}")

    def _numbers(self, values: Any, count: int, where: str) -> list[float]:
        numbers = type(values) is list and all(type(x) in (int, float) and abs(x) <= sys.float_info.max for x in values)
        if not numbers or len(values) != count:
            raise UserError(f"{self._path}, {where}: {values!r} is not a list of numbers, {count} of them and finite")
        return [float(value) for value in values]


def _normal(image: str) -> str:
    """A path as those of the inputs are written."""
    return os.fspath(Path(image))


def _number(path: str | os.PathLike) -> int | None:
    """The number at the end of a file's name; None without one."""
    found = re.search(r"\d+$", Path(path).stem)
    return int(found[0]) if found else None


def outside(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which boxes `[n, 4]` show nothing of an image of `shape` (H, W, ...): `bool[n]`."""
    height, width = shape[:2]
    beyond = (boxes[:, :2] >= [width - 0.5, height - 0.5]) | (boxes[:, 2:] <= -0.5)
    return np.any(beyond, axis=1)
