"""`the300w_lp`: 300W across Large Poses, 68 landmarks, for training (Zhu et al., CVPR 2016).

TFDS downloads it (2.6 GiB) into the data set's folder and prepares it there (1.3 GiB);
https://www.tensorflow.org/datasets/catalog/the300w_lp; for research only. Where there is
no network, the folder may hold what TFDS prepared elsewhere:

    the300w_lp/1.0.0/

Its one split is `train`, 61,225 images of 450 x 450 pixels, without the mirrored copies. The
landmarks are `landmarks_3d`, projections of a fitted 3-D face at any yaw, on which H3R
trains; TFDS divides them by 450 and they count pixels from 1, so x is 450 v - 1. TFDS
keeps no file names: a record is called by its number. There is no box, no subset and no
object size.
"""

import typing

from data import from_tfds
from data.builder import LandmarkBuilder


class The300wLp(LandmarkBuilder, skip_registration=True):
    """Faces of 300W-LP (see the module's documentation)."""

    SCHEME = "ibug68"
    NUM_LANDMARKS = 68
    OFFICIAL_COUNTS: typing.ClassVar[dict[str, int]] = {"train": 61225}

    @classmethod
    def annotation_files(cls, folder):
        """None: TFDS knows the checksum of what it downloads."""
        return []

    @classmethod
    def read_splits(cls, folder):
        """The one split and its Records."""
        return {"train": from_tfds.read(cls.name, folder, "landmarks_3d")}
