"""`the300w_lp`: 300W across Large Poses, 68 landmarks, for training (Zhu et al., CVPR 2016).

TFDS downloads it (2.6 GiB) into the data set's folder and prepares it there (1.3 GiB);
https://www.tensorflow.org/datasets/catalog/the300w_lp; for research only. Where there is
no network, the folder may hold what TFDS prepared elsewhere:

    the300w_lp/1.0.0/

Its one split is `train`, 61,225 images of 450 x 450 pixels, without the mirrored copies. The
landmarks are `landmarks_3d`, projections of a fitted 3-D face at any yaw; H3R trains on
them. They count pixels from 1, and TFDS divides them by 450: x is 450 v - 1. TFDS keeps no
file names, so a record's name is its number. There is no box, no subset and no object size.
"""

from typing import ClassVar

from data.from_tfds import TfdsFaces


class The300wLp(TfdsFaces):
    """Faces of 300W-LP (see the module's documentation)."""

    OFFICIAL_COUNTS: ClassVar = {"train": 61225}
    FEATURE = "landmarks_3d"
