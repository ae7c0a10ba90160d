"""`aflw`: Annotated Facial Landmarks in the Wild, 19 landmarks (Koestinger et al., 2011; Zhu et al., CVPR 2016).

Ask TU Graz for the images, https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/aflw/
(not for commercial use), and get AFLWinfo_release.mat from
https://mmlab.ie.cuhk.edu.hk/projects/compositional.html. The folder holds

    AFLWinfo_release.mat        nameList, bbox, data, mask_new, ra
    flickr/{0,2,3}/*.jpg        nameList has the paths below flickr, such as 0/image22568.jpg

`ra` is a permutation of the faces, which it counts from 1: its first 20,000 faces are `train`,
the others `test`. A row of `data` is 19 x, then 19 y; a row of `bbox` is x0, x1, y0, y1. Published code
takes both as they stand, and so does this builder. Every landmark has coordinates, also one
that `mask_new` calls invisible. The protocol counts them all: every weight is 1. The subset
`frontal` has the test faces without an invisible landmark. `box` is `bbox`; `object_size`, the
unit of the error, is its longer side.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from etils import epath

from data import parsing
from data.builder import LandmarkBuilder, Record, Splits
from h3r_jax.errors import UserError

FILE = "AFLWinfo_release.mat"
TRAIN_COUNT = 20000


class Aflw(LandmarkBuilder):
    """Faces of AFLW (see the module's documentation)."""

    SCHEME = "aflw19"
    NUM_LANDMARKS = 19
    FILES = (FILE,)
    OFFICIAL_COUNTS: ClassVar = {"train": TRAIN_COUNT, "test": 4386}

    @classmethod
    def read_splits(cls, folder: epath.Path) -> Splits:
        """split -> Records; no split "test" unless there are more faces than "train" has."""
        path = folder / FILE
        names, boxes, data, visible, order = parsing.read_mat(
            path, nameList=("N", 1), bbox=("N", 4), data=("N", 38), mask_new=("N", 19), ra=(1, "N")
        )
        order = order[0].astype(np.int64)
        if not np.array_equal(np.sort(order), np.arange(1, len(order) + 1)):
            fault = f"variable ra holds {order.min()} to {order.max()}, want each of 1 to {len(order)} once"
            raise UserError(f"{path}: {fault}; is it the file of the data set's own distribution?")

        def records(split: str, faces: np.ndarray) -> Iterator[Record]:
            for face in faces:
                image = str(np.squeeze(names[face, 0])[()])
                name = f"{path} face {face + 1} ({image})"
                x0, x1, y0, y1 = boxes[face].astype(np.float64)
                yield Record(
                    name,
                    folder / "flickr" / image,
                    parsing.check_finite(data[face].reshape(2, 19).T, name),
                    box=parsing.check_box([x0, y0, x1, y1], name),
                    subsets=("frontal",) if split == "test" and visible[face].all() else (),
                    object_size=max(x1 - x0, y1 - y0),
                )

        splits = {"train": order[:TRAIN_COUNT] - 1, "test": order[TRAIN_COUNT:] - 1}
        return {split: records(split, faces) for split, faces in splits.items() if len(faces)}
