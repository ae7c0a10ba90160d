"""Data sets with their official protocols: what every recipe for one of them has in common.

Official training sets have no part for validation, and the test split must not choose a checkpoint: the last two
per cent of the training split, in the order in which its builder reads it, are held out for that. That is good enough
to choose by, and no score: objects of one image may stand on both sides (WFLW); 300W's are all of LFPW;
AFLW's are a part of a random permutation; and 300W-LP comes shuffled from TFDS with many renderings of each face, so
that what is held out shows people who are trained on.
For the very last two per cent of accuracy train on all of it:
`--config.data.train_split=train --config.data.validation_split=`.
"""

from configs import common

HELD_OUT = {"train_split": "train[:98%]", "validation_split": "train[98%:]"}


def _base(name, scheme, **data):
    config = common.get_config()
    config.data.name = name
    config.data.update({**HELD_OUT, "test_split": "test", **data})
    config.landmarks.scheme = scheme
    config.eval.flip = "coordinates"
    return config


def wflw(box):
    """WFLW, 98 landmarks: NME by the outer eye corners, FR and AUC at 0.10, six subsets; `box` "landmarks" or "dataset"."""
    config = _base("wflw", "wflw98", box=box)
    config.eval.subsets = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")
    return config


def w300(box):
    """300W, 68 landmarks: common, challenge and full; private with `--config.data.test_split=private`.

    `box` is "landmarks", or "dataset" for the detector's (`bb_detector` of the official files).
    """
    config = _base("w300", "ibug68", box=box)
    config.eval.subsets = ("common", "challenge")
    return config


def cofw():
    """COFW, 29 landmarks: NME by the outer eye corners and by the pupils, box from landmarks."""
    config = _base("cofw", "cofw29")
    config.eval.normalizers = ("inter_ocular", "inter_pupil")
    return config


def aflw():
    """AFLW in the 19 landmarks of the CCL split: full and frontal, by the side of the face box and by its diagonal."""
    config = _base("aflw", "aflw19", box="dataset")
    config.eval.normalizers = ("box_side", "box_diagonal")
    config.eval.subsets = ("frontal",)
    return config


def lapa():
    """LaPa, 106 landmarks: NME by the outer eye corners, box from landmarks (the set delivers none)."""
    return _base("lapa", "lapa106", train_split="train", validation_split="val")


def aflw2000():
    """300W-LP for training, AFLW2000-3D for testing, 68 landmarks: NME by the root of the area of the landmarks' box."""
    config = _base("the300w_lp", "ibug68", test_name="aflw2000")
    config.eval.normalizers = ("box",)
    config.eval.subsets = ("yaw_0_30", "yaw_30_60", "yaw_60_90")
    return config


def _body(config):
    """Human pose: larger turns, half of a body at times, few landmarks, boxes that come with the data."""
    config.data.box = "dataset"
    config.augment.update({"rotation": 40.0, "scale": 0.3, "half_body": 0.3, "occlusion": 0.0, "blur": 0.0})
    config.eval.flip = "heatmaps"
    return config


def mpii():
    """MPII, 16 joints: PCKh of the validation split, as everybody reports it, at 0.5, 0.1 and 0.11 of the head.

    The training split lacks the size of heads, so nothing of it can be held out: the last checkpoint counts.
    """
    config = _body(_base("mpii", "mpii16", train_split="train", validation_split="", test_split="valid"))
    config.augment.update({"rotation": 30.0, "scale": 0.25, "half_body": 0.0})  # as HRNet has it for MPII
    config.eval.metric = "pckh"
    config.eval.thresholds = (
        0.5,
        0.1,
        0.11,
    )  # what HRNet prints as Mean@0.1 is 0.11: row 11 of a grid that begins at 0
    return config


def coco():
    """COCO 2017, 17 joints: AP and AR of val2017 with the detector's boxes; `--config.data.test_split=val` for labelled ones."""
    config = _body(_base("coco_keypoints", "coco17", test_split="val_detections"))
    config.eval.metric = "coco"
    config.eval.thresholds = ()
    return config
