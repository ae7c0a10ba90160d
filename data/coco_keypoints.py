"""`coco_keypoints`: COCO 2017 keypoints, people with 17 joints (Lin et al., "Microsoft COCO", ECCV 2014).

Get images and annotations from https://cocodataset.org/#download: annotations under CC BY 4.0,
images on Flickr's terms. The boxes of people that everybody tests with are linked from the README of
https://github.com/leoxiaobin/deep-high-resolution-net.pytorch. FOLDER is by default called `coco`:

    FOLDER/annotations/person_keypoints_train2017.json, person_keypoints_val2017.json
    FOLDER/train2017/%012d.jpg, FOLDER/val2017/%012d.jpg
    FOLDER/person_detection_results/COCO_val2017_detections_AP_H_56_person.json, if there is one

Splits `train` and `val` hold the labelled people, `val_detections` the boxes of
people that a detector found in the images of `val`, with its `score` and without
landmarks. An image is looked for in both folders, as its number is unique; a split
with none of its images there, or without its annotation file, is not there. As in
HRNet, a labelled person needs an area, a labelled joint and a box within the image,
and must not be a crowd; who is left out is counted and printed. People are read
image by image, so that a part of a split divides one image at most at each end.

A box `x, y, w, h` has its outermost pixel centres at `x` and `x + w - 1`; a labelled
one is cut off at the border of its image. `object_size` is the square root of the
segment's area, `image_id` the number of the image. A joint that is not labelled has
weight zero and NaN for its coordinates; one that is labelled and hidden counts
as any other.
"""

import collections
import dataclasses
import math
import sys
import typing

import numpy as np
import tensorflow_datasets as tfds

from data.builder import LandmarkBuilder, Record
from data.json_file import read_json
from h3r_jax.errors import UserError

NUM_JOINTS = 17
PERSON = 1  # category
ANNOTATIONS = {split: f"annotations/person_keypoints_{split}2017.json" for split in ("train", "val")}
DETECTIONS = "person_detection_results/COCO_val2017_detections_AP_H_56_person.json"
IMAGES = ("train2017", "val2017")


class People(list):
    """The Records of a split, their images by file name until `find_images`.

    left_out: reason -> number of entries of the file that are no record.
    """

    def __init__(self, records, left_out):
        super().__init__(records)
        self.left_out = dict(left_out)


def field(name, entry, key, kind):
    """`entry[key]`, checked to be a `kind` ("number" for a finite one); ValueError names the record."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if kind == "number":
        good = isinstance(value, (int, float)) and math.isfinite(value)
    else:
        good = isinstance(value, kind)
    if not good:
        wanted = kind if kind == "number" else kind.__name__
        raise UserError(f"{name}: {key} is {value!r}; want a {wanted}, correct or remove the entry")
    return value


def read_box(name, entry):
    """Place `float64[2]` and size `float64[2]` of a box, pixels; ValueError names the record."""
    try:
        box = np.array(field(name, entry, "bbox", list), np.float64).reshape(2, 2)
        good = np.isfinite(box).all() and (box[1] >= 0).all()
    except (TypeError, ValueError):
        good = False
    if not good:
        raise UserError(f"{name}: bbox is {entry.get('bbox')!r}; want x, y, and a width and height of zero or more")
    return box


def read_joints(name, annotation):
    """Joints `float64[17, 2]`, NaN where not labelled, and which are, `bool[17]`; ValueError names the record."""
    try:
        values = np.array(field(name, annotation, "keypoints", list), np.float64).reshape(NUM_JOINTS, 3)
    except (TypeError, ValueError):
        raise UserError(
            f"{name}: keypoints are not {NUM_JOINTS} times x, y, v; correct or remove the annotation"
        ) from None
    joints, visible = values[:, :2], values[:, 2] > 0
    bad = ~np.isin(values[:, 2], (0, 1, 2)) | (visible & ~np.isfinite(joints).all(axis=1))
    if bad.any():
        first = int(np.argmax(bad))
        raise UserError(
            f"{name}: joint {first} is {values[first].tolist()}; want x, y and 0 (not labelled), 1 (hidden) or 2 (visible)"
        )
    return np.where(visible[:, None], joints, np.nan), visible


def read_images(path, content):
    """image id -> its entry `{"file_name", "width", "height", ...}` in an annotation file; ValueError names a bad one."""
    entries = {}
    for i, entry in enumerate(field(path, content, "images", list)):
        name = f"{path} image {i}"
        for key, kind in (("file_name", str), ("width", "number"), ("height", "number")):
            field(name, entry, key, kind)
        entries[field(name, entry, "id", int)] = entry
    return entries


def image_of(name, entry, images):
    """The entry of `read_images` that an annotation or a detection is of; ValueError names the record."""
    number = field(name, entry, "image_id", int)
    if number not in images:
        raise UserError(
            f"{name}: there is no image {number} in the annotation file; correct image_id or remove the entry"
        )
    return images[number]


def read_labelled(path, content, images):
    """The labelled People of an annotation file."""
    records, left_out = [], collections.Counter()
    for i, annotation in enumerate(field(path, content, "annotations", list)):
        name = f"{path} annotation {field(f'{path} annotation at place {i}', annotation, 'id', int)}"
        if field(name, annotation, "category_id", int) != PERSON:
            left_out["no person"] += 1
            continue
        if field(name, annotation, "iscrowd", int):
            left_out["a crowd"] += 1
            continue
        image = image_of(name, annotation, images)
        (joints, visible), area = read_joints(name, annotation), field(name, annotation, "area", "number")
        place, size = read_box(name, annotation)
        low = np.maximum(0, place)
        high = np.minimum(np.array([image["width"], image["height"]]) - 1, low + np.maximum(0, size - 1))
        if area <= 0:
            left_out["without an area"] += 1
        elif not visible.any():
            left_out["without a labelled joint"] += 1
        elif (high < low).any():
            left_out["with a box outside the image"] += 1
        else:
            records.append(
                Record(
                    name,
                    image["file_name"],
                    joints,
                    visible,
                    np.concatenate([low, high]),
                    object_size=math.sqrt(area),
                    image_id=image["id"],
                )
            )
    return People(sorted(records, key=lambda record: record.image_id), left_out)


def read_detected(path, detections, images):
    """The detected People of a file of detections."""
    unknown = np.full((NUM_JOINTS, 2), np.nan), np.zeros(NUM_JOINTS)
    records, left_out = [], collections.Counter()
    for i, detection in enumerate(detections):
        name = f"{path} detection {i}"
        if field(name, detection, "category_id", int) != PERSON:
            left_out["no person"] += 1
            continue
        image, score = image_of(name, detection, images), field(name, detection, "score", "number")
        place, size = read_box(name, detection)
        box = np.concatenate([place, place + np.maximum(0, size - 1)])
        records.append(Record(name, image["file_name"], *unknown, box, score=score, image_id=image["id"]))
    return People(sorted(records, key=lambda record: record.image_id), left_out)


def find_images(folder, split, people):
    """The People with the paths of their images; None, and a printed line, if none of the images is there.

    Raises:
      ValueError: some images are there and one is not; names the record.
    """
    paths = {path.name: path for part in IMAGES if (folder / part).exists() for path in (folder / part).iterdir()}
    missing = [record for record in people if record.image not in paths]
    if len(missing) == len(people):
        # Standard output is silenced while a set is prepared, so this goes to standard error as the progress bars do.
        print(f"{folder} has no image of {split}, so that split is left out.", file=sys.stderr)
        return None
    if missing:
        raise UserError(
            f"{missing[0].name}: there is no image {missing[0].image} in {' or '.join(IMAGES)} of {folder}, nor are "
            f"those of {len(missing) - 1} other people; unpack the images again, or remove the entries"
        )
    return People([dataclasses.replace(record, image=paths[record.image]) for record in people], people.left_out)


class CocoKeypoints(LandmarkBuilder):
    """COCO 2017 keypoints (see the module's documentation)."""

    VERSION = tfds.core.Version("2.0.0")  # from here on people are read image by image
    SCHEME = "coco17"
    NUM_LANDMARKS = NUM_JOINTS
    OFFICIAL_COUNTS: typing.ClassVar = {"train": 149813, "val": 6352, "val_detections": 104125}

    @classmethod
    def annotation_files(cls, folder):
        # With the folders of images: what lies in them decides which splits there are.
        files = [folder / name for name in (*ANNOTATIONS.values(), DETECTIONS, *IMAGES) if (folder / name).exists()]
        if not any((folder / name).exists() for name in ANNOTATIONS.values()):
            raise FileNotFoundError(
                f"{folder} holds neither {' nor '.join(ANNOTATIONS.values())}; is config.data_dir right?"
            )
        if not any((folder / name).exists() for name in IMAGES):
            raise FileNotFoundError(f"{folder} holds neither {' nor '.join(IMAGES)}; unpack the images there")
        return files

    @classmethod
    def truth_file(cls, folder, split):
        """The labelled people of all images, those without a detection among them."""
        return folder / ANNOTATIONS[split.partition("_")[0]]

    @classmethod
    def read_splits(cls, folder):
        files = cls.annotation_files(folder)
        splits = {}
        for split, name in ANNOTATIONS.items():
            if (path := folder / name) not in files:
                continue
            content = read_json(path, dict)
            images = read_images(path, content)
            splits[split] = read_labelled(path, content, images)
            if split == "val" and (path := folder / DETECTIONS) in files:
                splits["val_detections"] = read_detected(path, read_json(path, list), images)
        found = {split: find_images(folder, split, people) for split, people in splits.items()}
        found = {split: people for split, people in found.items() if people is not None}
        if not found:
            raise FileNotFoundError(f"{folder} holds no image of the people in {', '.join(map(str, files[:2]))}")
        return found
