"""`cofw`: Caltech Occluded Faces in the Wild, in colour, 29 landmarks (Burgos-Artizzu et al., ICCV 2013).

Get COFW_color.zip from https://data.caltech.edu/records/bc0bf-nc666, free to download. The folder holds

    COFW_train_color.mat        IsTr, phisTr, bboxesTr
    COFW_test_color.mat         IsT, phisT, bboxesT

MATLAB files of version 7.3, which are HDF5: arrays come transposed, an image as
`[3, W, H]` or, where it is grey, `[W, H]`; `phis` has 29 x, 29 y and 29 flags per face.
Landmarks and boxes count pixels from 1: one is subtracted. `box` is `bboxes`, which are
x, y, width and height; the last pixel is x + width - 1. The flags say which landmarks
are occluded. They are not read: no protocol for faces leaves an occluded landmark out,
so every weight is 1. There are neither subsets nor an object size.
"""

import typing

import h5py
import numpy as np

from data import parsing
from data.builder import LandmarkBuilder, Record
from h3r_jax.errors import UserError

# split -> its file, and the end of its variables' names
FILES = {"train": ("COFW_train_color.mat", "Tr"), "test": ("COFW_test_color.mat", "T")}


class Cofw(LandmarkBuilder, skip_registration=True):
    """Faces of COFW (see the module's documentation)."""

    SCHEME = "cofw29"
    NUM_LANDMARKS = 29
    OFFICIAL_COUNTS: typing.ClassVar[dict[str, int]] = {"train": 1345, "test": 507}

    @classmethod
    def annotation_files(cls, folder):
        """The files that are there."""
        return [folder / name for name in parsing.present(folder, [name for name, _ in FILES.values()], __name__)]

    @classmethod
    def read_splits(cls, folder):
        """split -> Records, of the files that are there."""
        return {split: _read(folder / name, end) for split, (name, end) in FILES.items() if (folder / name).exists()}


def _read(path, end):
    shapes = {f"Is{end}": (1, "N"), f"phis{end}": (3 * Cofw.NUM_LANDMARKS, "N"), f"bboxes{end}": (4, "N")}
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
                    parsing.check_finite(face[: 2 * Cofw.NUM_LANDMARKS].reshape(2, -1).T - 1, name),
                    box=parsing.check_box([x0 - 1, y0 - 1, x0 + width - 2, y0 + height - 2], name),
                )


def _image(file, reference, name):
    try:
        pixels = file[reference][()].T  # [H, W] or [H, W, 3]
    except (AttributeError, KeyError, OSError, ValueError) as error:
        raise UserError(f"{name}: its image cannot be read ({error}); fetch the file anew") from None
    if pixels.dtype != np.uint8 or not pixels.size or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise UserError(
            f"{name}: its image is {pixels.dtype}{list(pixels.shape[::-1])} in the file, want uint8[3, W, H] or uint8[W, H]; "
            "fetch the file anew"
        )
    return pixels
