"""`mpii`: MPII Human Pose, people with 16 joints, in the JSON form of HRNet's authors (Andriluka et al., CVPR 2014).

Get the images from http://human-pose.mpi-inf.mpg.de, for research and not for commerce, and the
annotations from the links in the README of https://github.com/leoxiaobin/deep-high-resolution-net.pytorch.

    FOLDER/annot/train.json, FOLDER/annot/valid.json, FOLDER/annot/gt_valid.mat
    FOLDER/images/*.jpg

Splits `train` and `valid`; one whose JSON is absent is not there. The files count
pixels from 1, records from 0. The box is the square of side `200 * scale` whose
centre lies `15 * scale` below `center`: grown by `config.data.box_scale=1.25` it is
HRNet's person. HRNet's loader leaves a center of -1 where it is; that is no place
in the image, so such a person has no box. The unit of PCKh, 0.6 of the diagonal of
the head's box, is `object_size` of `valid`; `train` has none. A joint that is not
labelled has weight zero and NaN for its coordinates.
"""

import math
import typing

import numpy as np

from data import parsing
from data.builder import LandmarkBuilder, Record
from data.json_file import read_json
from h3r_jax.errors import UserError

NUM_JOINTS = 16
BOX_SIDE = 200  # pixels per unit of `scale`
BOX_DROP = 15  # pixels per unit of `scale` from the annotated centre down to the box's
HEAD_SIZE = 0.6  # of the diagonal of the head's box: the unit of PCKh


def read_person(name, entry, images):
    """The Record of one entry of the JSON files, its pixels counted from 0.

    Args:
      name: what a message calls the record.
      entry: `{"image", "center", "scale", "joints", "joints_vis"}`.
      images: folder of the images.

    Raises:
      ValueError: an entry of another form; names the record.
    """
    try:
        image = images / entry["image"]
        center, scale = np.array(entry["center"], np.float64), float(entry["scale"])
        joints, visible = np.array(entry["joints"], np.float64), np.array(entry["joints_vis"], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{name}: {type(error).__name__} {error}; want image, center, scale, joints and joints_vis as in HRNet's files"
        ) from None
    if center.shape != (2,) or joints.shape != (NUM_JOINTS, 2) or visible.shape != (NUM_JOINTS,):
        raise UserError(
            f"{name}: center {center.shape}, joints {joints.shape}, joints_vis {visible.shape}; "
            f"want (2,), ({NUM_JOINTS}, 2), ({NUM_JOINTS},)"
        )
    if not (np.isfinite(center).all() and math.isfinite(scale) and BOX_SIDE * scale > 1):
        raise UserError(
            f"{name}: center {center.tolist()} and scale {scale}; want numbers, and a box of {BOX_SIDE} * scale > 1"
        )
    if not np.isin(visible, (0, 1)).all():
        raise UserError(f"{name}: joints_vis is {visible.tolist()}; want 0 or 1 for each joint")
    box = None
    if center[0] != -1:
        middle = center + [0, BOX_DROP * scale] - 1
        reach = (BOX_SIDE * scale - 1) / 2  # the box is given by its outermost pixel centres
        box = np.concatenate([middle - reach, middle + reach])
    return Record(name, image, labelled(name, joints - 1, visible), visible, box)


def labelled(name, joints, visible):
    """Joints `[16, 2]`, NaN where `visible` is zero; ValueError for one that is labelled and not finite."""
    bad = (visible > 0) & ~np.isfinite(joints).all(axis=1)
    if bad.any():
        first = int(np.argmax(bad))
        raise UserError(f"{name}: joint {first} is labelled, but lies at {joints[first].tolist()}; want finite numbers")
    return np.where(visible[:, None] > 0, joints, np.nan)


def read_ground_truth(path):
    """What `valid` is scored with: joints `float64[N, 16, 2]`, from 0, visible `[N, 16]` and head size `[N]`.

    Raises:
      ValueError: the file is not MATLAB's, or lacks a variable, or one has another shape; names it.
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


def with_ground_truth(record, joints, visible, head_size, path, column):
    """A Record of valid.json with the joints and head size of gt_valid.mat, which the protocol scores.

    Raises:
      ValueError: no head size, or the file's joints are those of another person; names file and column.
    """
    name = f"{path} column {column}"
    if not (head_size > 0 and math.isfinite(head_size)):
        raise UserError(f"{name}: the head's box gives a head size of {head_size}; want two different corners")
    if not np.isin(visible, (0, 1)).all():
        raise UserError(f"{name}: jnt_missing is {(1 - visible).tolist()}; want 0 or 1 for each joint")
    joints = labelled(name, joints, visible)
    distances = np.linalg.norm(joints - record.landmarks, axis=-1)
    distances = distances[np.isfinite(distances)]
    if distances.size and np.median(distances) > head_size:
        raise UserError(
            f"{name}: its joints lie {np.median(distances):.0f} pixels, more than a head of {head_size:.0f}, from those of "
            f"{record.name}; want the same people in the same order in both files"
        )
    return Record(record.name, record.image, joints, visible, record.box, object_size=head_size)


class Mpii(LandmarkBuilder):
    """MPII Human Pose (see the module's documentation)."""

    SCHEME = "mpii16"
    NUM_LANDMARKS = NUM_JOINTS
    OFFICIAL_COUNTS: typing.ClassVar = {"train": 22246, "valid": 2958}

    @classmethod
    def annotation_files(cls, folder):
        files = [path for split in cls.OFFICIAL_COUNTS if (path := folder / "annot" / f"{split}.json").exists()]
        if not files:
            raise FileNotFoundError(
                f"{folder} holds neither annot/train.json nor annot/valid.json; is config.data_dir right?"
            )
        if files[-1].stem == "valid":
            files.append(folder / "annot" / "gt_valid.mat")
            if not files[-1].exists():
                raise FileNotFoundError(f"there is no {files[-1]}; valid.json is scored with the head boxes in it")
        return files

    @classmethod
    def read_splits(cls, folder):
        splits = {}
        for path in cls.annotation_files(folder):
            if path.suffix == ".json":
                entries = read_json(path, list)
                splits[path.stem] = [
                    read_person(f"{path} person {i}", e, folder / "images") for i, e in enumerate(entries)
                ]
                continue
            joints, visible, head_size = read_ground_truth(path)
            records = splits["valid"]
            if len(records) != len(joints):
                raise UserError(
                    f"{path.parent}: valid.json has {len(records)} people, gt_valid.mat {len(joints)}; want as many"
                )
            splits["valid"] = [
                with_ground_truth(record, joints[i], visible[i], head_size[i], path, i)
                for i, record in enumerate(records)
            ]
        return splits
