"""`aflw2000`: AFLW2000-3D, 68 landmarks of faces at any yaw, for testing (Zhu et al., CVPR 2016).

Get AFLW2000-3D.zip from http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm;
for research only. The folder holds

    image*.jpg, each beside image*.mat        pt3d_68, Pose_Para

`pt3d_68` are the landmarks as distributed, projections of a fitted 3-D face, not those that
others corrected later. They count pixels from 1: one is subtracted. There is one
split, `test`. Its subsets are by the absolute yaw (the second of `Pose_Para`) in degrees:
`yaw_0_30` from 0 to below 30, `yaw_30_60` from 30 to below 60, `yaw_60_90` from 60 to 90; a
face beyond 90 is in none. There is no box and no object size: the unit is of the landmarks' box.
"""

import math
import typing

from data import parsing
from data.builder import LandmarkBuilder, Record


class Aflw2000(LandmarkBuilder, skip_registration=True):
    """Faces of AFLW2000-3D (see the module's documentation)."""

    SCHEME = "ibug68"
    NUM_LANDMARKS = 68
    OFFICIAL_COUNTS: typing.ClassVar[dict[str, int]] = {"test": 2000}

    @classmethod
    def annotation_files(cls, folder):
        """All .mat files."""
        return parsing.files_in(folder, (".mat",))

    @classmethod
    def read_splits(cls, folder):
        """The one split and its Records."""
        return {"test": _read(folder)}


def _read(folder):
    for path, image in parsing.pair_files(folder, folder, ".mat"):
        landmarks, pose = parsing.read_mat(path, pt3d_68=(3, 68), Pose_Para=(1, 7))
        landmarks = parsing.check_finite(landmarks[:2].T, path) - 1
        yield Record(str(path), image, landmarks, subsets=yaw_subset(math.degrees(pose[0, 1])))


def yaw_subset(yaw):
    """The subset of a yaw in degrees, as a tuple of one name or none."""
    yaw = abs(yaw)
    if yaw < 30:
        return ("yaw_0_30",)
    if yaw < 60:
        return ("yaw_30_60",)
    return ("yaw_60_90",) if yaw <= 90 else ()
