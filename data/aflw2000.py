"""`aflw2000`: AFLW2000-3D, 68 landmarks of faces at any yaw, for testing (Zhu et al., CVPR 2016).

Get AFLW2000-3D.zip from http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm;
for research only. The folder holds

    image*.jpg, each beside image*.mat        pt3d_68, Pose_Para

`pt3d_68` are the landmarks as distributed: projections of a fitted 3-D face, without the
corrections that others made later. They count pixels from 1: one is subtracted. There is one
split, `test`. Its subsets go by the absolute yaw (the second of `Pose_Para`) in degrees:
`yaw_0_30` from 0 to below 30, `yaw_30_60` from 30 to below 60, `yaw_60_90` from 60 to 90. A
face beyond 90 is in none. There is no box and no object size: the unit of the error comes from
the landmarks' box.
"""

import math
from collections.abc import Iterator
from typing import ClassVar

from etils import epath

from data import parsing
from data.builder import LandmarkBuilder, Record, Splits


class Aflw2000(LandmarkBuilder):
    """Faces of AFLW2000-3D (see the module's documentation)."""

    SCHEME = "ibug68"
    NUM_LANDMARKS = 68
    OFFICIAL_COUNTS: ClassVar = {"test": 2000}

    @classmethod
    def annotation_files(cls, folder: epath.Path) -> list[epath.Path]:
        """All .mat files."""
        return parsing.files_in(folder, (".mat",))

    @classmethod
    def read_splits(cls, folder: epath.Path) -> Splits:
        """The one split and its Records."""
        return {"test": _read(folder)}


def _read(folder: epath.Path) -> Iterator[Record]:
    for path, image in parsing.pair_files(folder, folder, ".mat"):
        landmarks, pose = parsing.read_mat(path, pt3d_68=(3, 68), Pose_Para=(1, 7))
        landmarks = parsing.check_finite(landmarks[:2].T, str(path)) - 1
        yield Record(str(path), image, landmarks, subsets=yaw_subset(math.degrees(pose[0, 1])))


def yaw_subset(yaw: float) -> tuple[str, ...]:
    """The name of the subset of a yaw in degrees, in a tuple; empty beyond 90 degrees."""
    yaw = abs(yaw)
    if yaw < 30:
        return ("yaw_0_30",)
    if yaw < 60:
        return ("yaw_30_60",)
    return ("yaw_60_90",) if yaw <= 90 else ()
