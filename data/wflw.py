"""`wflw`: Wider Facial Landmarks in-the-wild, 98 landmarks (Wu et al., "Look at Boundary", CVPR 2018).

Get images and annotations from https://wywu.github.io/projects/LAB/WFLW.html; for
research only. Unpacked, the folder holds

    WFLW_images/<event>/<name>.jpg
    WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{train,test}.txt

A line of a list is one face: 196 coordinates x0 y0 ... x97 y97, the box x0 y0 x1 y1,
six flags and the path of the image. Coordinates and box count pixels from 0 and are
taken as they stand. `box` is the list's. `subsets` are the flags that are set, in both
splits; the protocol reports them for `test`. There is no object size: the unit is a
distance of landmarks.
"""

import typing

from data import parsing
from data.builder import LandmarkBuilder, Record
from h3r_jax.errors import UserError

LISTS = {
    split: f"WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{split}.txt"
    for split in ("train", "test")
}
SUBSETS = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")  # in the order of the flags
TOKENS = 2 * 98 + 4 + len(SUBSETS) + 1


class Wflw(LandmarkBuilder, skip_registration=True):
    """Faces of WFLW (see the module's documentation)."""

    SCHEME = "wflw98"
    NUM_LANDMARKS = 98
    OFFICIAL_COUNTS: typing.ClassVar[dict[str, int]] = {"train": 7500, "test": 2500}
    OFFICIAL_SUBSETS: typing.ClassVar[dict[str, dict[str, int]]] = {
        "test": {"pose": 326, "expression": 314, "illumination": 698, "makeup": 206, "occlusion": 736, "blur": 773}
    }

    @classmethod
    def annotation_files(cls, folder):
        """The lists that are there."""
        return [folder / name for name in parsing.present(folder, LISTS.values(), __name__)]

    @classmethod
    def read_splits(cls, folder):
        """split -> Records, of the lists that are there."""
        return {split: _read_list(folder, folder / name) for split, name in LISTS.items() if (folder / name).exists()}


def _read_list(folder, path):
    for line, tokens in parsing.read_lines(path):
        if len(tokens) != TOKENS:
            raise UserError(
                f"{line}: {len(tokens)} values, want {TOKENS}: 196 coordinates, 4 of the box, 6 flags and an image; "
                "fetch the file anew"
            )
        name = f"{line} ({tokens[-1]})"
        values = parsing.numbers(tokens[:200], line)
        flags = tokens[200:206]
        if set(flags) - {"0", "1"}:
            raise UserError(f"{line}: the flags are {' '.join(flags)}, want 0 or 1; fetch the file anew")
        yield Record(
            name,
            folder / "WFLW_images" / tokens[-1],
            values[:196].reshape(98, 2),
            box=parsing.check_box(values[196:], name),
            subsets=tuple(subset for subset, flag in zip(SUBSETS, flags) if flag == "1"),
        )
