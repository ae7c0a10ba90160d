"""`cofw`: Caltech Occluded Faces in the Wild, in colour, 29 landmarks (Burgos-Artizzu et al., ICCV 2013).

Get COFW_color.zip from https://data.caltech.edu/records/bc0bf-nc666, free to download. The folder holds

    COFW_train_color.mat        IsTr, phisTr, bboxesTr
    COFW_test_color.mat         IsT, phisT, bboxesT

These are MATLAB files of version 7.3, which are HDF5. Arrays come transposed: an image is
`[3, W, H]`, or `[W, H]` where it is grey. `phis` has 29 x, 29 y and 29 flags per face.
Landmarks and boxes count pixels from 1: one is subtracted. `box` is `bboxes`: x, y, width
and height, so the last pixel is x + width - 1. The flags say which landmarks are occluded.
They are not read: no protocol for faces leaves an occluded landmark out, so every weight
is 1. There are neither subsets nor an object size.
"""

from collections.abc import Iterator
from typing import ClassVar

import h5py
import numpy as np
from etils import epath

from data import parsing
from data.builder import LandmarkBuilder, Record, Splits
from h3r_jax.errors import UserError

ENDS = {"train": "Tr", "test": "T"}  # split -> the last letters of its variables' names


class Cofw(LandmarkBuilder):
    """Faces of COFW (see the module's documentation)."""

    SCHEME = "cofw29"
    NUM_LANDMARKS = 29
    FILES = ("COFW_train_color.mat", "COFW_test_color.mat")
    OFFICIAL_COUNTS: ClassVar = {"train": 1345, "test": 507}

    @classmethod
    def read_splits(cls, folder: epath.Path) -> Splits:
        """split -> Records, of the files that are there."""
        paths = {split: folder / f"COFW_{split}_color.mat" for split in ENDS}
        return {split: _read(path, ENDS[split]) for split, path in paths.items() if parsing.is_there(path)}


def _read(path: epath.Path, end: str) -> Iterator[Record]:
    shapes: parsing.Shapes = {f"Is{end}": (1, "N"), f"phis{end}": (3 * 29, "N"), f"bboxes{end}": (4, "N")}
    parsing.check_file(path)
    with path.open("rb") as stream:
        try:
            file = h5py.File(stream, "r")
        except OSError as error:
            raise UserError(f"{path} is not a readable HDF5 file ({error}); fetch it anew") from None
        with file:
            images, faces, boxes = parsing.check_variables(path, file, shapes)
            for i, (reference, face, box) in enumerate(zip(images[0], faces[:].T, boxes[:].T)):
                name = f"{path} Is{end}[0, {i}]"
                x0, y0, width, height = box
                yield Record(
                    name,
                    _image(file, reference, name),
                    parsing.check_finite(face[: 2 * 29].reshape(2, 29).T - 1, name),
                    box=parsing.check_box([x0 - 1, y0 - 1, x0 + width - 2, y0 + height - 2], name, thin=True),
                )


def _image(file: h5py.File, reference: h5py.Reference, name: str) -> np.ndarray:
    try:
        pixels = file[reference][()].T  # [H, W] or [H, W, 3]
    except (AttributeError, KeyError, OSError, ValueError) as error:
        raise UserError(f"{name}: its image cannot be read ({error}); fetch the file anew") from None
    if pixels.dtype != np.uint8 or not pixels.size or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        found = f"{pixels.dtype}{list(pixels.shape[::-1])} in the file"
        raise UserError(f"{name}: its image is {found}, want uint8[3, W, H] or uint8[W, H]; fetch the file anew")
    return pixels
