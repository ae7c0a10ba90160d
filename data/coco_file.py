"""`coco_file`: objects of any class with any landmarks, in files of COCO's form, as labelling programs export them.

    FOLDER/train.json, FOLDER/val.json (and test.json)      one file for each split
    FOLDER/train/*.json                                     or several, whose objects are put together

`file_name` of an image is relative to `FOLDER/train`, else to `FOLDER/images`, else to `FOLDER`. If no image is there,
its last part counts alone: Label Studio writes paths of its server.

The categories with `keypoints` are read; several must have the same ones, such as animals with one skeleton. What
belongs to other categories, is a crowd or has no labelled landmark is left out, and counted. A landmark with `v` of 0
is not labelled.

`bbox` and `area` may be missing. A box `x, y, w, h` has its outermost pixel centres at `x` and `x + w - 1`.
`object_size` is the square root of the area, or of the box's. `image_id` is the number of the image; if a split has
several files, the numbers are new.
"""

import collections
import contextlib
import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from data import builder, parsing
from data.builder import LandmarkBuilder, Record, Splits
from data.coco_keypoints import field, image_of, number_of, read_box, read_images, read_joints
from data.csv_landmarks import find_images
from h3r_jax.errors import UserError

SPLITS = ("train", "val", "test")


class Class(NamedTuple):
    """The landmarks of a file.

    categories: ids. names: K of them. skeleton: pairs of indices. sigmas: K of COCO's similarity, or ().
    """

    categories: frozenset[int]
    names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]


def first_class(folder: epath.Path) -> tuple[epath.Path, Class]:
    """The first annotation file of a folder and its Class; of a large file the categories alone are parsed.

    Raises:
      FileNotFoundError: as `split_files`. UserError: as `read_class`.
    """
    path = next(iter(split_files(folder).values()))[0]
    return path, read_class(path, _categories(path))


def _categories(path: epath.Path) -> Any:
    """The content of an annotation file, of which only the entry "categories" counts.

    If the word stands there once, it is that entry. To parse it takes no time, and to parse all of a file of 150,000
    people takes seconds, at every start.
    """
    text = parsing.read_bytes(path)
    key = b'"categories"'
    if text.count(key) == 1:
        rest = text[text.index(key) + len(key) :].lstrip()
        with contextlib.suppress(ValueError):
            return {"categories": json.JSONDecoder().raw_decode(rest.removeprefix(b":").lstrip().decode())[0]}
    return parsing.read_json(path, dict)


class Objects(list[Record]):
    """The Records of a split. left_out: reason -> number of annotations."""

    def __init__(self, records: list[Record], left_out: dict[str, int]):
        super().__init__(records)
        self.left_out = left_out


def split_files(folder: epath.Path) -> dict[str, list[epath.Path]]:
    """split -> its files; FileNotFoundError if there is none."""
    files = {}
    for split in SPLITS:
        if parsing.is_there(path := folder / f"{split}.json"):
            files[split] = [path]
        elif found := [path for path in parsing.list_folder(folder / split)[0] if path.suffix.lower() == ".json"]:
            files[split] = found
    if not files:
        raise FileNotFoundError(f"{folder} holds none of train.json, val.json, test.json; is config.data_dir right?")
    return files


def read_class(path: epath.Path, content: Any) -> Class:
    """The Class of an annotation file; UserError names it."""
    found: dict[tuple, list[int]] = {}
    sigmas: Any = ()
    for number, category in enumerate(field(path, content, "categories", list)):
        name = f"{path} category {number}"
        if not isinstance(category, dict) or not category.get("keypoints"):
            continue
        names = tuple(map(str, field(name, category, "keypoints", list)))
        found.setdefault(names, []).append(field(name, category, "id", int))
        skeleton = category.get("skeleton") or []
        sigmas = category.get("sigmas") or ()
    if not found:
        raise UserError(f"{path}: none of its categories has keypoints; want a file of keypoints")
    if len(found) > 1:
        raise UserError(f"{path}: its categories have different keypoints; want classes with the same ones")
    ((names, categories),) = found.items()
    try:
        pairs = tuple((int(a) - 1, int(b) - 1) for a, b in skeleton)
        sigmas = tuple(float(sigma) for sigma in sigmas)
        good = all(0 <= index < len(names) for pair in pairs for index in pair) and len(sigmas) in (0, len(names))
    except (TypeError, ValueError):
        good = False
    if not good:
        wanted = f"pairs of numbers from 1 to {len(names)}, and one sigma for each of {len(names)} keypoints"
        raise UserError(f"{path}: its skeleton or its sigmas are wrong; want {wanted}")
    return Class(frozenset(categories), names, pairs, sigmas)


def read_objects(path: epath.Path, content: Any, klass: Class) -> Objects:
    """The labelled objects of an annotation file; UserError names the annotation."""
    records, left_out, seen = [], collections.Counter[str](), set[int]()
    images = read_images(path, content)
    for place, annotation in enumerate(field(path, content, "annotations", list)):
        number = number_of(f"{path} annotation at place {place}", annotation, seen)
        name = f"{path} annotation {number}"
        seen.add(number)
        if field(name, annotation, "category_id", int) not in klass.categories:
            left_out["of another category"] += 1
            continue
        image = image_of(name, annotation, images)
        landmarks, labelled = read_joints(name, annotation, len(klass.names))
        box, area = None, field(name, annotation, "area", "number") if annotation.get("area") else 0
        if annotation.get("bbox"):
            corner, size = read_box(name, annotation)
            if (size > 0).all():
                box, area = np.concatenate([corner, corner + np.maximum(0, size - 1)]), area or float(size.prod())
        if annotation.get("iscrowd"):
            left_out["a crowd"] += 1
        elif not labelled.any():
            left_out["without a labelled landmark"] += 1
        else:
            numbers = {"object_size": math.sqrt(area) if area > 0 else math.nan, "image_id": image["id"]}
            records.append(Record(name, image["file_name"], landmarks, labelled, box, **numbers))
    records.sort(key=lambda record: record.image_id)
    return Objects(records, dict(left_out))


def read_split(folder: epath.Path, split: str, files: list[epath.Path], names: tuple[str, ...]) -> Objects:
    """All objects of a split, with the paths of their images; `names` are the keypoints that its files must have."""
    everything, left_out, images = [], collections.Counter[str](), dict[tuple[epath.Path, int], int]()
    for path in files:
        content = parsing.read_json(path, dict)
        klass = read_class(path, content)
        if klass.names != names:
            raise UserError(
                f"{path}: its keypoints are {', '.join(klass.names)}; those of the first file are {', '.join(names)}"
            )
        objects = read_objects(path, content, klass)
        left_out.update(objects.left_out)
        for record in objects:
            if len(files) > 1:
                number = images.setdefault((path, record.image_id), len(images))
                record = dataclasses.replace(record, image_id=number)
            everything.append(record)
    if not everything:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "there are no annotations"
        raise UserError(f"{files[0]}: no object is left: {reasons}; want objects with labelled landmarks")
    places = [folder / split, folder / "images", folder]
    return Objects(find_images(places, _named(places, everything)), dict(left_out))


def _named(places: list[epath.Path], records: list[Record]) -> list[Record]:
    """The Records; with the last part of each image's path, if only so an image is there and no two become one."""
    names = {str(record.image): PureWindowsPath(str(record.image)).name for record in records}  # knows both separators

    def found(images: Iterable[str]) -> bool:
        return any(parsing.is_there(place / image) for place in places for image in images)

    if len(set(names.values())) < len(names) or found(names) or not found(names.values()):
        return records
    return [dataclasses.replace(record, image=names[str(record.image)]) for record in records]


class CocoFile(LandmarkBuilder):
    """Objects of files of COCO's form (see the module's documentation)."""

    STORED_PIXELS = False

    @classmethod
    def annotation_files(cls, folder: epath.Path) -> list[epath.Path]:
        """The annotation files of all splits."""
        return [path for files in split_files(folder).values() for path in files]

    @classmethod
    def read_splits(cls, folder: epath.Path) -> Splits:
        """split -> Objects."""
        names = first_class(folder)[1].names
        return {split: read_split(folder, split, paths, names) for split, paths in split_files(folder).items()}

    @classmethod
    def truth_file(cls, folder: epath.Path, split: str) -> epath.Path | None:
        """The annotation file of the split; None if it has several."""
        files = split_files(folder)[split]
        return files[0] if len(files) == 1 else None


def make_builder(folder: epath.Path, prepared_dir: epath.Path, num_landmarks: int | None) -> LandmarkBuilder:
    """The builder of a folder; K is that of its files.

    Raises:
      FileNotFoundError: as `split_files`.
      UserError: as `read_class`; or K is another one than `num_landmarks`.
    """
    path, klass = first_class(folder)
    found = len(klass.names)
    if num_landmarks not in (None, found):
        raise UserError(f"{path} has {found} keypoints, but the landmark scheme has {num_landmarks}")
    return builder.make_builder(CocoFile, folder, prepared_dir, found)
