"""`aflw2k3d`: AFLW2000-3D as TFDS has it, 68 landmarks of faces at any yaw, for testing (Zhu et al., CVPR 2016).

TFDS downloads it (83 MiB) into the data set's folder and prepares it there;
https://www.tensorflow.org/datasets/catalog/aflw2k3d; for research only. Where there is no
network, the folder may hold what TFDS prepared elsewhere:

    aflw2k3d/1.0.0/

The 2,000 images are for testing: what TFDS calls `train` is called `test` here. TFDS
divides the coordinates by 450 and they count pixels from 1, so x is 450 v - 1. TFDS keeps
no poses and no file names: there are no subsets, and a record is called by its number.
`aflw2000` reads the same images from the distribution's own files, with subsets by yaw.
There is no box and no object size.
"""

import typing

from data import from_tfds
from data.builder import LandmarkBuilder


class Aflw2k3d(LandmarkBuilder, skip_registration=True):
    """Faces of AFLW2000-3D (see the module's documentation)."""

    SCHEME = "ibug68"
    NUM_LANDMARKS = 68
    OFFICIAL_COUNTS: typing.ClassVar[dict[str, int]] = {"test": 2000}

    @classmethod
    def annotation_files(cls, folder):
        """None: TFDS knows the checksum of what it downloads."""
        return []

    @classmethod
    def read_splits(cls, folder):
        """The one split and its Records."""
        return {"test": from_tfds.read(cls.name, folder, "landmarks_68_3d_xy_normalized")}
