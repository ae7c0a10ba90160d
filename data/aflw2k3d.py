"""`aflw2k3d`: AFLW2000-3D as TFDS has it, 68 landmarks of faces at any yaw, for testing (Zhu et al., CVPR 2016).

TFDS downloads it (83 MiB) into the data set's folder and prepares it there;
https://www.tensorflow.org/datasets/catalog/aflw2k3d; for research only. Where there is no
network, the folder may hold what TFDS prepared elsewhere:

    aflw2k3d/1.0.0/

The 2,000 images are for testing: TFDS calls their split `train`, this builder `test`. The
coordinates count pixels from 1, and TFDS divides them by 450: x is 450 v - 1. TFDS keeps no
poses, so there are no subsets, and no file names, so a record's name is its number. `aflw2000`
reads the same images from the distribution's own files, with subsets by yaw. There is no box
and no object size.
"""

from typing import ClassVar

from data.from_tfds import TfdsFaces


class Aflw2k3d(TfdsFaces):
    """Faces of AFLW2000-3D (see the module's documentation)."""

    OFFICIAL_COUNTS: ClassVar = {"test": 2000}
    FEATURE = "landmarks_68_3d_xy_normalized"
