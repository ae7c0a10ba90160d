"""`coco_keypoints`: COCO 2017 keypoints, people with 17 joints (Lin et al., "Microsoft COCO", ECCV 2014).

Get images and annotations from https://cocodataset.org/#download: annotations under CC BY 4.0,
images on Flickr's terms. The detector's boxes that papers test with are linked from the README of
https://github.com/leoxiaobin/deep-high-resolution-net.pytorch. FOLDER is by default called `coco`:

    FOLDER/annotations/person_keypoints_train2017.json, person_keypoints_val2017.json
    FOLDER/train2017/%012d.jpg, FOLDER/val2017/%012d.jpg
    FOLDER/person_detection_results/COCO_val2017_detections_AP_H_56_person.json, if there is one

The splits `train` and `val` hold the labelled people. The split `val_detections` holds
the boxes of people that a detector found in the images of `val`, with its `score` and
without landmarks. A split without its annotation file, or without any of its images, is
left out, and that is printed. Each split reads its own folder of images; `file_name` may
also begin with the folder's name. An image that has COCO's own name, its number in 12
digits, may lie in the other folder, since this number is unique. As in HRNet, a
labelled person needs an area, a labelled joint and a box within the image, and must not
be a crowd; entries that are left out are counted and printed. A split of which nobody
is left is an error. A split keeps the people of one image side by side, so that each
end of a part divides one image at most.

A box `x, y, w, h` has its outermost pixel centres at `x` and `x + w - 1`; the box of a
labelled person is cut off at the border of the image. `object_size` is the square root of
the segment's area, `image_id` the number of the image. A joint that is not labelled has
weight zero and NaN for its coordinates. A joint that is labelled and hidden has weight
one, like a visible joint.
"""

import collections
import dataclasses
import math
import sys
from collections.abc import Container, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
from etils import epath

from data import parsing
from data.builder import LandmarkBuilder, Record, Splits
from h3r_jax.errors import UserError

NUM_JOINTS = 17
PERSON = 1  # category
ANNOTATIONS = {split: f"annotations/person_keypoints_{split}2017.json" for split in ("train", "val")}
DETECTIONS = "person_detection_results/COCO_val2017_detections_AP_H_56_person.json"
IMAGES = {"train": "train2017", "val": "val2017"}  # split -> folder


class People(list[Record]):
    """The Records of a split, by `image_id`; their images are file names until `find_images` makes them paths.

    left_out: reason -> number of entries of the file that are left out.
    """

    def __init__(self, records: Iterable[Record], left_out: Mapping[str, int]):
        super().__init__(sorted(records, key=lambda record: record.image_id))
        self.left_out = dict(left_out)


def field(name: object, entry: Any, key: str, kind: Any) -> Any:
    """`entry[key]`, which must be a `kind`: a type, or "number" for a finite number; UserError names the record."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if kind == "number":
        good = isinstance(value, (int, float)) and abs(value) <= parsing.FLOAT32_MAX
    else:
        good = isinstance(value, kind) and not isinstance(value, bool)
    if not good:
        wanted = kind if kind == "number" else kind.__name__
        found = f"is {value!r}" if isinstance(entry, dict) and key in entry else "is missing"
        raise UserError(f"{name}: {key} {found}; want a {wanted}, correct or remove the entry")
    return value


def number_of(name: str, entry: Any, known: Container[int]) -> int:
    """The `id` of an entry, which must not be in `known`; UserError names the record."""
    number = field(name, entry, "id", int)
    if number in known:
        raise UserError(f"{name}: another one has the id {number} too; want an id for each")
    return number


def read_box(name: str, entry: Any) -> np.ndarray:
    """Place and size `float64[2, 2]` of a box, pixels; UserError names the record."""
    try:
        box = np.array(field(name, entry, "bbox", list), np.float64).reshape(2, 2)
        good = (np.abs(box) <= parsing.FLOAT32_MAX).all() and (box[1] >= 0).all()
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise UserError(f"{name}: bbox is {entry.get('bbox')!r}; want x, y, and a width and height of zero or more")
    return box


def read_joints(name: str, annotation: Any, count: int = NUM_JOINTS) -> tuple[np.ndarray, np.ndarray]:
    """Joints `float64[count, 2]`, NaN where not labelled, and `bool[count]`: labelled; UserError names the record."""
    try:
        values = np.array(field(name, annotation, "keypoints", list), np.float64).reshape(count, 3)
    except (TypeError, ValueError, OverflowError):
        fault = f"keypoints are not {count} times x, y, v"
        raise UserError(f"{name}: {fault}; correct or remove the annotation") from None
    joints, visible = values[:, :2], values[:, 2] > 0
    bad = ~np.isin(values[:, 2], (0, 1, 2)) | (visible & ~(np.abs(joints) <= parsing.FLOAT32_MAX).all(axis=1))
    if bad.any():
        first = int(np.argmax(bad))
        wanted = "x, y and 0 (not labelled), 1 (hidden) or 2 (visible)"
        raise UserError(f"{name}: joint {first} is {values[first].tolist()}; want {wanted}")
    return np.where(visible[:, None], joints, np.nan), visible


def read_images(path: epath.Path, content: Any) -> dict[int, dict[str, Any]]:
    """image id -> its entry `{"file_name", "width", "height", ...}` in an annotation file; UserError names it."""
    entries: dict[int, dict[str, Any]] = {}
    for i, entry in enumerate(field(path, content, "images", list)):
        name = f"{path} image {i}"
        for key, kind in (("file_name", str), ("width", "number"), ("height", "number")):
            if kind == "number" and field(name, entry, key, kind) < 1:
                raise UserError(f"{name}: {key} is {entry[key]}; want pixels of the image")
        file_name = field(name, entry, "file_name", str).strip()
        if not parsing.is_file_name(file_name):
            raise UserError(f"{name}: file_name is {file_name!r}; want the name of a file")
        number = number_of(name, entry, entries)
        if not 0 <= number < 2**63:
            raise UserError(f"{name}: id is {number}; want a whole number from 0 to 2**63 - 1")
        entries[number] = {**entry, "file_name": file_name}
    return entries


def image_of(name: str, entry: Any, images: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """The image, an entry of `read_images`, of an annotation or a detection; UserError names the record."""
    number = field(name, entry, "image_id", int)
    if number not in images:
        fault = f"there is no image {number} in the annotation file"
        raise UserError(f"{name}: {fault}; correct image_id or remove the entry")
    return images[number]


def read_labelled(path: epath.Path, content: Any, images: Mapping[int, dict[str, Any]]) -> People:
    """The labelled People of an annotation file; UserError names the annotation, or says why nobody is left.

    Also what the protocol leaves out must have the fields that pycocotools reads: it scores with this file.
    """
    records, left_out, seen = [], collections.Counter[str](), set[int]()
    annotations = field(path, content, "annotations", list)
    for i, annotation in enumerate(annotations):
        number = number_of(f"{path} annotation at place {i}", annotation, seen)
        name = f"{path} annotation {number}"
        seen.add(number)
        if field(name, annotation, "category_id", int) != PERSON:
            left_out["no person"] += 1
            continue
        image, crowd = image_of(name, annotation, images), field(name, annotation, "iscrowd", int)
        (joints, visible), area = read_joints(name, annotation), field(name, annotation, "area", "number")
        place, size = read_box(name, annotation)
        if "num_keypoints" in annotation and bool(field(name, annotation, "num_keypoints", int)) != visible.any():
            found = f"num_keypoints is {annotation['num_keypoints']}, but {visible.sum()} of its joints are labelled"
            raise UserError(f"{name}: {found} (v above 0); correct one of them")
        low = np.maximum(0, place)
        high = np.minimum(np.array([image["width"], image["height"]]) - 1, low + np.maximum(0, size - 1))
        if crowd:
            left_out["a crowd"] += 1
        elif area <= 0:
            left_out["without an area"] += 1
        elif not visible.any():
            left_out["without a labelled joint"] += 1
        elif (high < low).any():
            left_out["with a box outside the image"] += 1
        else:
            box, numbers = np.concatenate([low, high]), {"object_size": math.sqrt(area), "image_id": image["id"]}
            records.append(Record(name, image["file_name"], joints, visible, box, **numbers))
    return somebody(path, annotations, People(records, left_out))


def read_detected(path: epath.Path, detections: list[Any], images: Mapping[int, dict[str, Any]]) -> People:
    """The detected People of a file of detections; UserError names the detection, or says why nobody is left."""
    unknown = np.full((NUM_JOINTS, 2), np.nan), np.zeros(NUM_JOINTS)
    records, left_out = [], collections.Counter[str]()
    for i, detection in enumerate(detections):
        name = f"{path} detection {i}"
        if field(name, detection, "category_id", int) != PERSON:
            left_out["no person"] += 1
            continue
        image, score = image_of(name, detection, images), field(name, detection, "score", "number")
        place, size = read_box(name, detection)
        box = np.concatenate([place, place + np.maximum(0, size - 1)])
        records.append(Record(name, image["file_name"], *unknown, box, score=score, image_id=image["id"]))
    return somebody(path, detections, People(records, left_out))


def somebody(path: epath.Path, entries: list[Any], people: People) -> People:
    """The People of the entries of a file, at least one; UserError says why all of them are left out."""
    if people:
        return people
    if not entries:
        raise UserError(f"{path}: its list of people is empty; want people, or remove the file")
    reasons = ", ".join(f"{count} {reason}" for reason, count in people.left_out.items())
    categories = sorted({entry["category_id"] for entry in entries} - {PERSON})
    found = f" (category_id is {', '.join(map(str, categories[:5]))}; want {PERSON} for a person)" if categories else ""
    raise UserError(f"{path}: all of its {len(entries)} entries are left out: {reasons}{found}; want people")


def locate(folder: epath.Path, split: str, people: People) -> dict[str, str]:
    """`file_name` -> path of the image below the folder, for those of the People's images that are there."""
    own = IMAGES[split]
    there = {name: _names(folder / name) for name in IMAGES.values()}
    found = {}
    for record in people:
        name = str(record.image)
        official = epath.Path(name).stem == f"{record.image_id:012d}"
        others = [other for other in there if official and other != own and name in there[other]]
        if name in there[own] or ("/" in name and (folder / own / name).exists()):
            found[name] = f"{own}/{name}"
        elif name.startswith(f"{own}/") and name[len(own) + 1 :] in there[own]:
            found[name] = name
        elif others:
            found[name] = f"{others[0]}/{name}"
    return found


def _names(folder: epath.Path) -> set[str]:
    return {path.name for path in parsing.list_folder(folder)[0]}


def find_images(folder: epath.Path, split: str, people: People) -> tuple[People, str]:
    """The People with the paths of their images, and why there is none, in words: no image of the split is there.

    split: "train" or "val", whose folder of images is read.

    Raises:
      UserError: some images are there and others are not; names a record.
    """
    paths = locate(folder, split, people)
    missing = [record for record in people if record.image not in paths]
    if len(missing) == len(people):
        own, name = folder / IMAGES[split], str(people[0].image)
        names, hidden = parsing.list_folder(own)
        holds = (
            f"{len(names)} other files, such as {names[0].name}" if names else f"nothing else ({hidden} hidden files)"
        )
        reason = f"which holds {holds}" if own.exists() else "which is not there"
        return People([], {}), f"there is no image {name} in {own}, {reason}"
    if missing:
        absent = parsing.missing_image(folder / IMAGES[split] / str(missing[0].image))
        raise UserError(
            f"{missing[0].name}: {absent}; {len(missing)} of {len(people)} people have no image: "
            "unpack the images again, or remove the entries"
        )
    found = {name: folder / path for name, path in paths.items()}
    return People([dataclasses.replace(each, image=found[str(each.image)]) for each in people], people.left_out), ""


class CocoKeypoints(LandmarkBuilder):
    """COCO 2017 keypoints (see the module's documentation)."""

    SCHEME = "coco17"
    NUM_LANDMARKS = NUM_JOINTS
    FILES = tuple(ANNOTATIONS.values())
    OFFICIAL_COUNTS: ClassVar = {"train": 149813, "val": 6352, "val_detections": 104125}

    @classmethod
    def annotation_files(cls, folder: epath.Path) -> list[epath.Path]:
        """The files that are there, and the folders of images: their content decides which splits there are."""
        detections = [folder / DETECTIONS] if parsing.is_there(folder / DETECTIONS) else []
        images = [folder / name for name in parsing.present(folder, [*IMAGES.values()], __name__)]
        return [*super().annotation_files(folder), *detections, *images]

    @classmethod
    def truth_file(cls, folder: epath.Path, split: str) -> epath.Path:
        """The annotation file: the labelled people of all images, with or without a detection."""
        return folder / ANNOTATIONS[split.partition("_")[0]]

    @classmethod
    def read_splits(cls, folder: epath.Path) -> Splits:
        """split -> People, of the annotation files and images that are there."""
        files = cls.annotation_files(folder)
        splits = {}
        for split, name in ANNOTATIONS.items():
            if (path := folder / name) not in files:
                continue
            content = parsing.read_json(path, dict)
            images = read_images(path, content)
            splits[split] = read_labelled(path, content, images)
            if split == "val" and (path := folder / DETECTIONS) in files:
                splits["val_detections"] = read_detected(path, parsing.read_json(path, list), images)
        found, absent = {}, {}
        for split, people in splits.items():
            there, reason = find_images(folder, split.partition("_")[0], people)
            if there:
                found[split] = there
            else:
                absent[split] = reason
        if not found:
            raise FileNotFoundError(
                f"{folder} holds no image of its people: {'; '.join(dict.fromkeys(absent.values()))}"
            )
        for split, reason in absent.items():
            # Standard output is silenced while a set is prepared; the progress bars are on standard error too.
            print(f"{folder} has no image of {split}, so that split is left out: {reason}.", file=sys.stderr)
        return found
