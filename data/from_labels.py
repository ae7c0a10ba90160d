"""Turns the files of labelling programs into a folder for the data set `csv`.

    python -m data.from_labels labelme FOLDER OUT
    python -m data.from_labels deeplabcut labeled-data/*/CollectedData_NAME.csv OUT --images=PROJECT
    python -m data.from_labels sleap ANALYSIS.csv OUT --images='frames/{:05d}.png'
    python -m data.from_labels yolo DATASET.yaml OUT

The command writes OUT/train.csv, OUT/val.csv and OUT/landmarks.json, and prints the landmarks with their numbers.
Images stay where they are. The last tenth of the images becomes val.csv (--validation). With --names the command takes
these landmarks in this order; others are left out, and that is printed.

    labelme      a folder of JSON files. A landmark is a shape of type point, and its label is the landmark's name.
                 Shapes of one group_id are one object; a rectangle of that group is its box.
    deeplabcut   the CSV files of the folders labeled-data/VIDEO, with one animal or several.
    sleap        the CSV file that "Export Analysis CSV" writes, of one film: no row names its film.
                 --images says, for the number of a frame, its image. Landmarks come in the order of their columns.
                 Rows with a score are predictions; they are left out, and counted.
    yolo         the YAML file of a data set for pose. `path` is relative to that file, and each split is one folder.
                 The splits are kept. If `flip_idx` moves no landmark, names with left and right in them count more.

Coordinates of labelme and YOLO count from the corner of the first pixel, ours from its centre: half a pixel is
subtracted. Those of DeepLabCut and SLEAP, also in YOLO files of SLEAP, are taken as they are.
"""

import argparse
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from etils import epath

from data import parsing
from data.coco_keypoints import field
from data.labels import Labelled, Labels, mirror_of, write
from h3r_jax.errors import UserError, first_line, sentences
from h3r_jax.image_files import opened
from h3r_jax.images import EXTENSIONS


def read_labelme(folder: Path) -> Labels:
    """The JSON files of a folder, in the order of their names."""
    names: dict[str, None] = {}
    found = []
    for path in map(Path, parsing.files_in(epath.Path(folder), (".json",))):
        content = parsing.read_json(epath.Path(path), dict)
        objects: dict[Any, tuple[dict, list]] = {}
        for number, shape in enumerate(field(path, content, "shapes", list)):
            place = f"{path} shape {number}"
            label, kind = field(place, shape, "label", str), field(place, shape, "shape_type", str)
            corners = _pairs(place, field(place, shape, "points", list))
            points, boxes = objects.setdefault(shape.get("group_id"), ({}, []))
            if kind == "point":
                if label in points:
                    raise UserError(f"{place}: {label!r} is labelled twice in one group; give each object a group_id")
                points[label] = tuple((corners[0] - 0.5).tolist())
                names[label] = None
            elif kind == "rectangle":
                boxes.append((*corners.min(axis=0).tolist(), *(corners.max(axis=0) - 1).tolist()))
            else:
                raise UserError(f"{place}: its shape_type is {kind!r}; want point, or rectangle for a box")
        image = path.parent / field(path, content, "imagePath", str).replace("\\", "/")
        for group, (points, boxes) in objects.items():
            if len(boxes) > 1:
                raise UserError(f"{path}: group {group} has {len(boxes)} rectangles; want one box for each object")
            if points:
                found.append(Labelled(image, points, boxes[0] if boxes else None))
    return Labels({"": found}, tuple(names))


def read_deeplabcut(paths: Sequence[Path], project: Path) -> Labels:
    """CSV files of labels; paths of images are relative to the folder of the project."""
    names: dict[str, None] = {}
    found = []
    for path in paths:
        heads: dict[str, list[str]] = {}
        rows = _rows(path)
        while rows and rows[0][1][0] in ("scorer", "individuals", "bodyparts", "coords"):
            _, row = rows.pop(0)
            heads[row[0]] = row
        if not {"bodyparts", "coords"} <= heads.keys() or "x" not in heads["coords"]:
            raise UserError(f"{path}: want DeepLabCut's lines scorer, bodyparts and coords at its head")
        first, width = heads["coords"].index("x"), len(heads["coords"])
        individuals = heads.get("individuals", [""] * width)
        names |= dict.fromkeys(heads["bodyparts"][first:])
        for place, row in rows:
            if len(row) != width or (width - first) % 2:
                raise UserError(
                    f"{place}: it has {len(row)} columns, and the head has {width}; want x and y of each point"
                )
            image = project.joinpath(*(part for cell in row[:first] for part in cell.replace("\\", "/").split("/")))
            objects: dict[str, dict[str, tuple[float, ...]]] = {}
            for column in range(first, width, 2):
                if row[column] and row[column + 1]:
                    point = _numbers(place, row[column : column + 2])
                    objects.setdefault(individuals[column], {})[heads["bodyparts"][column]] = point
            found += [Labelled(image, points) for points in objects.values()]
    return Labels({"": found}, tuple(names))


def read_sleap(path: Path, images: str) -> Labels:
    """A CSV file of an analysis; `images` makes the path of an image of the number of a frame.

    Rows with a score are predictions of a network, and are left out.
    """
    if not _tells_frames_apart(images):
        raise UserError(
            f"--images={images} names one image for all frames; want a place for the number, such as {{:05d}}"
        )
    rows = _rows(path)
    header = rows.pop(0)[1] if rows else []
    names = tuple(column[:-2] for column in header if column.endswith(".x"))
    several = any(column.endswith(".track") for column in header)  # a row is a frame, with all of its objects
    if "frame_idx" not in header or not names or several or any(f"{name}.y" not in header for name in names):
        raise UserError(f"{path}: want SLEAP's columns frame_idx, NAME.x and NAME.y, and one row for each object")
    found, predicted = [], 0
    for place, row in rows:
        if len(row) != len(header):
            raise UserError(f"{place}: it has {len(row)} columns, and the first line names {len(header)}")
        cells = dict(zip(header, row))
        if cells.get("instance.score") or cells.get("score"):
            predicted += 1
            continue
        pairs = {name: (cells[f"{name}.x"], cells[f"{name}.y"]) for name in names}
        points = {name: _numbers(place, pair) for name, pair in pairs.items() if all(pair)}
        (frame,) = _numbers(place, [cells["frame_idx"]])
        if points:
            found.append(Labelled(Path(images.format(int(frame))), points))
    if predicted:
        print(f"{path}: {predicted} rows have a score, so they are predictions; they are left out")
    return Labels({"": found}, names)


def _tells_frames_apart(images: str) -> bool:
    try:
        return images.format(0) != images.format(1)
    except (IndexError, KeyError, ValueError):
        return False


def read_yolo(path: Path) -> Labels:
    """A YAML file with `kpt_shape`, and the text files beside its images (`images` -> `labels` in their paths)."""
    try:
        content = yaml.safe_load(parsing.read_text(epath.Path(path)))
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not a YAML file ({first_line(error)})") from None
    if not isinstance(content, dict) or "kpt_shape" not in content:
        raise UserError(f"{path}: it has no kpt_shape; want the YAML file of a data set for pose")
    try:
        count, values = map(int, content["kpt_shape"])
        # YOLO's own key, of the first class; SLEAP's key.
        said = next(iter((content.get("kpt_names") or {}).values()), content.get("node_names"))
        names = tuple(map(str, said or range(count)))
        flip = tuple(map(int, content.get("flip_idx") or ()))
        right = values in (2, 3) and len(set(names)) == count and sorted(flip) in ([], list(range(count)))
    except (TypeError, ValueError, AttributeError):
        right = False
    if not right:
        wanted = "kpt_shape: [K, 2] or [K, 3], K different kpt_names, and flip_idx with each of 0 to K - 1 once"
        raise UserError(f"{path}: its landmarks are not described as YOLO does; want {wanted}")
    if flip == tuple(range(count)) and mirror_of(names):  # so SLEAP writes it, whatever the names are
        print(f"{path}: its flip_idx changes no landmark, but names differ by left and right; the names count")
        flip = ()
    root = path.parent / str(content.get("path") or "")
    first = 0.0 if "node_names" in content else 0.5  # SLEAP divides coordinates that are ours already
    splits: dict[str, list[Labelled]] = {}
    for split in ("train", "val", "test"):
        if content.get(split) is None:
            continue
        # Some programs write paths from a folder beside the data set.
        folders = [root / str(content[split]), root / str(content[split]).removeprefix("../")]
        folder = next((folder for folder in folders if folder.is_dir()), None)
        if folder is None:
            raise UserError(f"{path}: {split} is {content[split]!r}, and {folders[0]} is no folder; want one folder")
        for image in sorted(folder.rglob("*")):
            if image.suffix.lower() in EXTENSIONS:
                splits.setdefault(split, []).extend(_of_yolo(image, names, values, first))
    return Labels(splits, names, flip)


def _of_yolo(image: Path, names: Sequence[str], values: int, first: float) -> Iterable[Labelled]:
    """The objects of an image; `first` is the coordinate of the centre of the first pixel."""
    parts = list(image.parts)
    if "images" not in parts:
        raise UserError(f"{image}: its folder is not below one that is called images, so its labels are not known")
    parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    path = Path(*parts).with_suffix(".txt")
    if not path.exists():
        return
    try:
        with opened(image) as header:
            size = np.array(header.size, np.float64)
    except (OSError, UserError) as error:
        raise UserError(f"{image} is not a readable image ({first_line(error)})") from None
    for number, line in enumerate(parsing.read_text(epath.Path(path)).splitlines(), start=1):
        place, cells = f"{path} line {number}", line.split()
        if not cells:
            continue
        if len(cells) != 5 + values * len(names):
            wanted = 5 + values * len(names)
            raise UserError(f"{place}: it has {len(cells)} numbers; want {wanted} for {len(names)} landmarks")
        numbers = np.array(_numbers(place, cells))
        center, extent = numbers[1:3] * size, numbers[3:5] * size
        landmarks = numbers[5:].reshape(len(names), values)
        seen = np.asarray(landmarks[:, 2] > 0 if values == 3 else landmarks[:, :2].any(axis=1))
        places = landmarks[:, :2] * size - first
        points = {name: tuple(places[i].tolist()) for i, name in enumerate(names) if seen[i]}
        box = (*(center - extent / 2).tolist(), *(center + extent / 2 - 1).tolist())  # its outermost pixels
        if points:
            yield Labelled(image, points, box)


def _pairs(place: str, values: list) -> np.ndarray:
    try:
        pairs = np.array(values, np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        pairs = np.array([[np.nan, np.nan]])
    if not len(pairs) or not np.isfinite(pairs).all():
        raise UserError(f"{place}: its points are {values!r}; want pairs of numbers")
    return pairs


def _numbers(place: str, cells: Sequence[str]) -> tuple[float, ...]:
    return tuple(parsing.numbers(cells, place).tolist())


def _rows(path: Path) -> list[tuple[str, list[str]]]:
    """The rows of a CSV file that are not blank, each with its place for messages."""
    lines = csv.reader(parsing.read_text(epath.Path(path)).splitlines())
    stripped = ((f"{path} line {lines.line_num}", [cell.strip() for cell in row]) for row in lines)
    return [(place, row) for place, row in stripped if any(row)]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see the module's documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=("labelme", "deeplabcut", "sleap", "yolo"), help="that exported the labels")
    parser.add_argument("labels", type=Path, nargs="+", help="its file or folder; of deeplabcut one file or more")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--images", help="deeplabcut: folder of the project; sleap: the path of frame {}")
    parser.add_argument("--names", default="", help="landmarks to take, in this order, with commas between")
    parser.add_argument("--validation", type=float, default=0.1, help="share of the images (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    options = parser.parse_args(arguments)
    with sentences():
        if not 0 <= options.validation < 1:
            raise UserError(f"--validation={options.validation}; want a share from 0 to below 1")
        if options.program in ("deeplabcut", "sleap") and not options.images:
            raise UserError(f"{options.program} needs --images: see --help")
        first, *more = options.labels
        if more and options.program != "deeplabcut":
            raise UserError(f"{options.program} takes one file or folder; got {len(options.labels)}")
        if options.program == "labelme":
            labels = read_labelme(first)
        elif options.program == "yolo":
            labels = read_yolo(first)
        elif options.program == "sleap":
            labels = read_sleap(first, options.images)
        else:
            labels = read_deeplabcut(options.labels, Path(options.images))
        names = tuple(filter(None, options.names.split(",")))
        write(labels, options.out, options.validation, names, overwrite=options.overwrite)


if __name__ == "__main__":
    main()
