"""`w300`: 300 Faces in the Wild, 68 landmarks (Sagonas et al., ICCV workshop 2013; IVC 2016).

Get AFW, HELEN, LFPW, IBUG, 300W and, if wanted, the boxes from
https://ibug.doc.ic.ac.uk/resources/facial-point-annotations/; for research only.
Unpacked side by side, the folder (by default called `300w`) holds

    afw/  helen/trainset/  lfpw/trainset/                      -> train, 337 + 2000 + 811
    helen/testset/  lfpw/testset/                              -> test, subset `common`, 330 + 224
    ibug/                                                      -> test, subset `challenge`, 135
    300W/01_Indoor/  300W/02_Outdoor/                          -> private, the challenge's own test set, 300 + 300
    Bounding_Boxes/bounding_boxes_{afw,ibug,helen_trainset,...}.mat     (optional)

Every image lies beside a .pts file of its name. There are no lists: every image in these
directories is read, and a directory that is missing is left out. Landmarks and boxes count
pixels from 1, as MATLAB does: one is subtracted. `box` is `bb_detector`, from iBUG's face
detector; `bb_ground_truth`, the box around the landmarks, is not read. An image without
an entry in the files of boxes has no box; none of `private` has one. There is no object size:
the unit of the error is the distance of two landmarks.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
from etils import epath

from data import parsing
from data.builder import LandmarkBuilder, Record, Splits
from h3r_jax.errors import UserError

# directory -> its split, the subsets of its faces, and its file of boxes
PARTS: dict[str, tuple[str, tuple[str, ...], str | None]] = {
    "afw": ("train", (), "bounding_boxes_afw.mat"),
    "helen/trainset": ("train", (), "bounding_boxes_helen_trainset.mat"),
    "lfpw/trainset": ("train", (), "bounding_boxes_lfpw_trainset.mat"),
    "helen/testset": ("test", ("common",), "bounding_boxes_helen_testset.mat"),
    "lfpw/testset": ("test", ("common",), "bounding_boxes_lfpw_testset.mat"),
    "ibug": ("test", ("challenge",), "bounding_boxes_ibug.mat"),
    "300W/01_Indoor": ("private", (), None),
    "300W/02_Outdoor": ("private", (), None),
}


class W300(LandmarkBuilder):
    """Faces of 300W (see the module's documentation)."""

    SCHEME = "ibug68"
    NUM_LANDMARKS = 68
    OFFICIAL_COUNTS: ClassVar = {"train": 3148, "test": 689, "private": 600}
    OFFICIAL_SUBSETS: ClassVar = {"test": {"common": 554, "challenge": 135}}

    @classmethod
    def annotation_files(cls, folder: epath.Path) -> list[epath.Path]:
        """All .pts files and the files of boxes."""
        files = []
        for part in parsing.present(folder, PARTS, __name__):
            files += parsing.files_in(folder / part, (".pts",))
            if boxes := PARTS[part][2]:
                files.append(folder / "Bounding_Boxes" / boxes)
        return files

    @classmethod
    def read_splits(cls, folder: epath.Path) -> Splits:
        """split -> Records, of the directories that are there."""
        parts: dict[str, list[str]] = {}
        for part in parsing.present(folder, PARTS, __name__):
            parts.setdefault(PARTS[part][0], []).append(part)
        return {split: _read_parts(folder, names) for split, names in parts.items()}


def _read_parts(folder: epath.Path, parts: Sequence[str]) -> Iterator[Record]:
    for part in parts:
        _, subsets, mat = PARTS[part]
        boxes = read_boxes(folder / "Bounding_Boxes" / mat) if mat else {}
        pairs = parsing.pair_files(folder / part, folder / part, ".pts")
        if boxes and not any(image.name in boxes for _, image in pairs):
            names = f"such as {next(iter(boxes))}, but {folder / part} has others, such as {pairs[0][1].name}"
            raise UserError(f"{folder / 'Bounding_Boxes' / str(mat)} has boxes of images {names}; want the same names")
        for path, image in pairs:
            yield Record(str(path), image, read_pts(path), box=boxes.get(image.name), subsets=subsets)


def read_pts(path: epath.Path) -> np.ndarray:
    """The landmarks `float64[68, 2]` of a .pts file, 0-based; UserError names file and line of a fault."""
    lines = parsing.read_lines(path)
    braces = [i for i, (_, tokens) in enumerate(lines) if tokens in (["{"], ["}"])]
    if [lines[i][1] for i in braces] != [["{"], ["}"]]:
        raise UserError(f"{path}: want the points between one line that is {{ and one that is }}; fetch the file anew")
    return parsing.read_points(lines[braces[0] + 1 : braces[1]], path, W300.NUM_LANDMARKS) - 1


def read_boxes(path: epath.Path) -> dict[str, np.ndarray]:
    """name of an image -> its detector's box `float64[4]`, 0-based, empty without a file; UserError names an entry."""
    if not parsing.is_there(path):
        return {}
    (cells,) = parsing.read_mat(path, bounding_boxes=(1, "N"))
    boxes = {}
    for i, cell in enumerate(cells[0], start=1):
        name = f"{path} bounding_boxes{{{i}}}"
        try:
            image, box = str(cell["imgName"][0, 0][0]), np.asarray(cell["bb_detector"][0, 0], np.float64).reshape(4)
        except (IndexError, KeyError, TypeError, ValueError):
            raise UserError(f"{name}: want imgName and bb_detector with four numbers; fetch the file anew") from None
        if image in boxes:
            raise UserError(f"{name}: there is a box of {image} already; remove one")
        boxes[image] = parsing.check_box(box, name) - 1
    return boxes
