"""`mpii`: MPII Human Pose, people with 16 joints, in the JSON form of HRNet's authors (Andriluka et al., CVPR 2014).

Get the images from http://human-pose.mpi-inf.mpg.de, for non-commercial research, and the
annotations from the links in the README of https://github.com/leoxiaobin/deep-high-resolution-net.pytorch.

    FOLDER/annot/train.json, FOLDER/annot/valid.json, FOLDER/annot/gt_valid.mat
    FOLDER/images/*.jpg

The splits are `train` and `valid`; one whose JSON is missing is left out. The files
count pixels from 1: one is subtracted. The box is the square of side `200 * scale` whose
centre lies `15 * scale` below `center`. Grown by `config.data.box_scale=1.25`, it is the
box that HRNet crops. A person whose `center` is -1 in the file has no place, and so no
box. `object_size` of `valid` is the unit of PCKh, 0.6 of the diagonal of the head's box;
`train` has none. A joint that is not labelled has weight zero and NaN for its coordinates.
"""

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
from etils import epath

from data import parsing
from data.builder import LandmarkBuilder, Record, Splits
from h3r_jax.errors import UserError

NUM_JOINTS = 16
BOX_SIDE = 200  # pixels per unit of `scale`
BOX_DROP = 15  # pixels per unit of `scale` from the annotated centre down to the box's
HEAD_SIZE = 0.6  # the unit of PCKh, per diagonal of the head's box


def read_person(name: str, entry: Any, images: epath.Path) -> Record:
    """The Record, called `name`, of one entry of the JSON files, its pixels counted from 0.

    entry: `{"image", "center", "scale", "joints", "joints_vis"}`; UserError names the record if it has another form.
    images: folder of the images.
    """
    try:
        image = images / entry["image"]
        if not parsing.is_file_name(entry["image"]):
            raise ValueError(f"image {entry['image']!r}")
        center, scale = np.array(entry["center"], np.float64), float(entry["scale"])
        joints, visible = np.array(entry["joints"], np.float64), np.array(entry["joints_vis"], np.float64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        wanted = "image, center, scale, joints and joints_vis as in HRNet's files"
        raise UserError(f"{name}: {type(error).__name__} {error}; want {wanted}") from None
    if center.shape != (2,) or joints.shape != (NUM_JOINTS, 2) or visible.shape != (NUM_JOINTS,):
        found = f"center {center.shape}, joints {joints.shape}, joints_vis {visible.shape}"
        raise UserError(f"{name}: {found}; want (2,), ({NUM_JOINTS}, 2), ({NUM_JOINTS},)")
    if not ((np.abs(center) <= parsing.FLOAT32_MAX).all() and 1 < BOX_SIDE * scale <= parsing.FLOAT32_MAX):
        found = f"center {center.tolist()} and scale {scale}"
        raise UserError(f"{name}: {found}; want numbers, and a box of {BOX_SIDE} * scale > 1")
    if not np.isin(visible, (0, 1)).all():
        raise UserError(f"{name}: joints_vis is {visible.tolist()}; want 0 or 1 for each joint")
    box = None
    if center[0] != -1:
        middle = center + [0, BOX_DROP * scale] - 1
        reach = (BOX_SIDE * scale - 1) / 2  # the box is given by its outermost pixel centres
        box = np.concatenate([middle - reach, middle + reach])
    return Record(name, image, labelled(name, joints - 1, visible), visible, box)


def labelled(name: str, joints: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Joints `[16, 2]`, NaN where `visible` is zero; UserError if another is not finite."""
    bad = (visible > 0) & ~(np.abs(joints) <= parsing.FLOAT32_MAX).all(axis=1)
    if bad.any():
        first = int(np.argmax(bad))
        raise UserError(f"{name}: joint {first} is labelled, but lies at {joints[first].tolist()}; want finite numbers")
    return np.where(visible[:, None] > 0, joints, np.nan)


def read_ground_truth(path: epath.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The truth of `valid`: joints `float64[N, 16, 2]`, 0-based pixels, visible `[N, 16]`, head size `[N]`, pixels.

    Raises:
      UserError: the file is not MATLAB's, lacks a variable, or has one of another shape; names file and variable.
    """
    shapes = {"pos_gt_src": (NUM_JOINTS, 2), "jnt_missing": (NUM_JOINTS,), "headboxes_src": (2, 2)}
    variables = parsing.load_mat(path, shapes)
    columns = []
    for variable, shape in shapes.items():
        values = np.asarray(variables.get(variable, ()), np.float64)
        if values.shape[: len(shape)] != shape:
            raise UserError(f"{path}: {variable} is {values.shape}; want {(*shape, 'N')}")
        columns.append(np.moveaxis(values.reshape(*shape, -1), -1, 0))  # MATLAB drops a last axis of one
    joints, missing, head = columns
    if len({len(column) for column in columns}) > 1:
        counts = ", ".join(f"{variable} {len(column)}" for variable, column in zip(shapes, columns))
        raise UserError(f"{path}: its variables are of different numbers of people: {counts}")
    return joints - 1, 1 - missing, HEAD_SIZE * np.linalg.norm(head[:, 1] - head[:, 0], axis=-1)


def with_ground_truth(record: Record, joints: np.ndarray, visible: np.ndarray, head_size: float, name: str) -> Record:
    """A Record of valid.json with joints and head size of gt_valid.mat, which the protocol scores.

    UserError with `name`, file and column: no head size, or the joints of another person.
    """
    if not (head_size > 0 and math.isfinite(head_size)):
        raise UserError(f"{name}: the head's box gives a head size of {head_size}; want two different corners")
    if not np.isin(visible, (0, 1)).all():
        raise UserError(f"{name}: jnt_missing is {(1 - visible).tolist()}; want 0 or 1 for each joint")
    joints = labelled(name, joints, visible)
    distances = np.linalg.norm(joints - record.landmarks, axis=-1)
    distances = distances[np.isfinite(distances)]
    if distances.size and np.median(distances) > head_size:
        far = f"{np.median(distances):.0f} pixels, more than a head of {head_size:.0f}, from those of {record.name}"
        raise UserError(f"{name}: its joints lie {far}; want the same people in the same order in both files")
    return dataclasses.replace(record, landmarks=joints, weight=visible, object_size=head_size)


class Mpii(LandmarkBuilder):
    """MPII Human Pose (see the module's documentation)."""

    SCHEME = "mpii16"
    NUM_LANDMARKS = NUM_JOINTS
    FILES = ("annot/train.json", "annot/valid.json")
    OFFICIAL_COUNTS: ClassVar = {"train": 22246, "valid": 2958}

    @classmethod
    def annotation_files(cls, folder: epath.Path) -> list[epath.Path]:
        """The JSON files that are there, and gt_valid.mat with valid.json."""
        files = super().annotation_files(folder)
        if files[-1].stem == "valid":
            files.append(folder / "annot" / "gt_valid.mat")
            if not files[-1].exists():
                raise FileNotFoundError(f"there is no {files[-1]}; valid.json is scored with the head boxes in it")
        return files

    @classmethod
    def read_splits(cls, folder: epath.Path) -> Splits:
        """split -> Records, of the files that are there."""
        splits: dict[str, list[Record]] = {}
        for path in cls.annotation_files(folder):
            if path.suffix == ".json":
                people = enumerate(parsing.read_json(path, list))
                splits[path.stem] = [read_person(f"{path} person {i}", each, folder / "images") for i, each in people]
                continue
            records, truth = splits["valid"], list(zip(*read_ground_truth(path)))
            if len(records) != len(truth):
                counts = f"valid.json has {len(records)} people, gt_valid.mat {len(truth)}"
                raise UserError(f"{path.parent}: {counts}; want as many")
            splits["valid"] = [
                with_ground_truth(records[i], *truth[i], f"{path} column {i}") for i in range(len(truth))
            ]
        return splits
