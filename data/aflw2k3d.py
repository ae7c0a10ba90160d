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

from etils import epath

from data import from_tfds
from data.builder import LandmarkBuilder, Splits


class Aflw2k3d(LandmarkBuilder):
    """Faces of AFLW2000-3D (see the module's documentation)."""

    SCHEME = "ibug68"
    NUM_LANDMARKS = 68
    OFFICIAL_COUNTS: ClassVar = {"test": 2000}

    @classmethod
    def read_splits(cls, folder: epath.Path) -> Splits:
        """The one split and its Records; there are no FILES, since TFDS checks its downloads itself."""
        return {"test": from_tfds.read(cls.name, folder, "landmarks_68_3d_xy_normalized")}
