"""Files of boxes: what to look at in each image.

    boxes.csv      header image,x0,y0,x1,y1; one line per box
    boxes.jsonl    one object per line with "image" and "box": [x0, y0, x1, y1], of a video also "frame", counted from 0;
                   what this command writes is such a file
    boxes.json     COCO detections: a list of objects with "image_id", "bbox": [x, y, width, height], "score" and
                   "category_id"; people are taken, and images are found by the number in their names

Pixels are 0-based, with centres at integers. An image is found by its path as it was given, else by its file name. A box
without a frame is for every frame of a video.
"""

import csv
import json
import os
from pathlib import Path

import numpy as np

COLUMNS = ("image", "x0", "y0", "x1", "y1")
PERSON = 1  # category of COCO


class BoxFile:
    """The boxes of a file, by image."""

    def __init__(self, path, min_score=0.5):
        """
        Args:
          path: of the file.
          min_score: COCO detections below it are left out.

        Raises:
          ValueError: the file is missing or not as the module's documentation says; names the line or record.
        """
        self._path = Path(path)
        readers = {".csv": self._read_csv, ".jsonl": self._read_json_lines, ".json": self._read_coco}
        if self._path.suffix not in readers:
            raise ValueError(f"{path} is of no known kind of boxes; known endings are {', '.join(readers)}")
        if not self._path.is_file():
            raise ValueError(f"{path} is not a file; want boxes, or --boxes=detect, or --boxes=whole")
        self._by_number = self._path.suffix == ".json"
        self._min_score = min_score
        self._boxes = {}
        for where, image, frame, box, score in readers[self._path.suffix]():
            box = np.asarray(box, np.float64)
            if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] < box[:2]).any():
                raise ValueError(f"{path}, {where}: box {box.tolist()} is not finite x0 <= x1 and y0 <= y1")
            self._boxes.setdefault(image, []).append((frame, box, score))

    def __call__(self, image, frame=None):
        """The boxes of an image, or of a frame of a video.

        Args:
          image: its path.
          frame: of a video, counted from 0; None for an image.

        Returns:
          `float64[n, 4]`; none if the file has boxes of other frames alone.

        Raises:
          ValueError: the file does not know the image or video, or has boxes of frames for what is an image.
        """
        stem = Path(image).stem
        names = [int(stem) if stem.isdecimal() else stem] if self._by_number else [os.fspath(image), Path(image).name]
        for name in names:
            if name in self._boxes:
                known = self._boxes[name]
                if frame is None and any(theirs is not None for theirs, _, _ in known):
                    raise ValueError(f"{image}: {self._path} has boxes of frames for it, but it is an image")
                boxes = [box for theirs, box, score in known if theirs in (None, frame) and score >= self._min_score]
                return np.reshape(boxes, (-1, 4))
        raise ValueError(f"{image}: {self._path} has no box for it")

    def _read_csv(self):
        with self._path.open(newline="") as file:
            rows = csv.reader(file)
            header = [name.strip() for name in next(rows, [])]
            if tuple(header) != COLUMNS:
                raise ValueError(f"{self._path} begins with {','.join(header)!r}; want the header {','.join(COLUMNS)}")
            for row in filter(None, rows):
                where = f"line {rows.line_num}"
                try:
                    image, *box = row
                    yield where, image, None, [float(value) for value in box], np.inf
                except ValueError as error:
                    raise ValueError(f"{self._path}, {where}: {error}") from error

    def _read_json_lines(self):
        for number, line in enumerate(self._path.read_text().splitlines(), 1):
            if line.strip():
                where = f"line {number}"
                record = self._parse(line, where, ("image", "box"))
                frame = record.get("frame")
                if frame is not None and (type(frame) is not int or frame < 0):
                    raise ValueError(f"{self._path}, {where}: frame {frame!r} is not a number of a frame, 0 or more")
                yield where, record["image"], frame, record["box"], np.inf

    def _read_coco(self):
        records = self._parse(self._path.read_text(), "the whole", ())
        if type(records) is not list:
            raise ValueError(f"{self._path} is not a list of COCO detections")
        for index, record in enumerate(records):
            where = f"record {index}"
            self._check(record, where, ("image_id", "bbox", "score", "category_id"))
            if record["category_id"] == PERSON:
                x, y, width, height = self._numbers(record["bbox"], where)
                box = [x, y, x + max(width - 1, 0), y + max(height - 1, 0)]
                yield where, record["image_id"], None, box, self._numbers([record["score"]], where)[0]

    def _parse(self, text, where, fields):
        try:
            record = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{self._path}, {where}: not JSON ({error})") from None
        if fields:
            self._check(record, where, fields)
            record = {**record, "box": self._numbers(record["box"], where)}
        return record

    def _check(self, record, where, fields):
        missing = [name for name in fields if not isinstance(record, dict) or name not in record]
        if missing:
            raise ValueError(f"{self._path}, {where}: has no {', '.join(missing)}")

    def _numbers(self, values, where):
        try:
            return [float(value) for value in values]
        except (TypeError, ValueError):
            raise ValueError(f"{self._path}, {where}: {values!r} is not a list of numbers") from None


def outside(boxes, shape):
    """Which boxes `[n, 4]` show nothing of an image of `shape` (H, W, ...): `bool[n]`."""
    height, width = shape[:2]
    return (boxes[:, :2] >= [width - 0.5, height - 0.5]).any(axis=1) | (boxes[:, 2:] <= -0.5).any(axis=1)
