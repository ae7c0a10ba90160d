"""`wflw`: Wider Facial Landmarks in-the-wild, 98 landmarks (Wu et al., "Look at Boundary", CVPR 2018).

Get images and annotations from https://wywu.github.io/projects/LAB/WFLW.html; for
research only. Unpacked, the folder holds

    WFLW_images/<event>/<name>.jpg
    WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{train,test}.txt

A line of a list is one face: 196 coordinates x0 y0 ... x97 y97, the box x0 y0 x1 y1,
six flags and the path of the image. Coordinates and box count pixels from 0 and are
taken as they stand. A flag that is set puts the face into a subset, in both splits; the
protocol reports the subsets of `test`. There is no object size: the unit of the error is
the distance of two landmarks.
"""

from collections.abc import Iterator
from typing import ClassVar

from etils import epath

from data import parsing
from data.builder import LandmarkBuilder, Record, Splits
from h3r_jax.errors import UserError

LIST = "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{}.txt"
LISTS = {split: LIST.format(split) for split in ("train", "test")}
SUBSETS = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")  # in the order of the flags
TOKENS = 2 * 98 + 4 + len(SUBSETS) + 1


class Wflw(LandmarkBuilder):
    """Faces of WFLW (see the module's documentation)."""

    SCHEME = "wflw98"
    NUM_LANDMARKS = 98
    FILES = tuple(LISTS.values())
    OFFICIAL_COUNTS: ClassVar = {"train": 7500, "test": 2500}
    OFFICIAL_SUBSETS: ClassVar = {
        "test": {"pose": 326, "expression": 314, "illumination": 698, "makeup": 206, "occlusion": 736, "blur": 773}
    }

    @classmethod
    def read_splits(cls, folder: epath.Path) -> Splits:
        """split -> Records, of the lists that are there."""
        return {
            split: _read_list(folder, folder / name) for split, name in LISTS.items() if parsing.is_there(folder / name)
        }


def _read_list(folder: epath.Path, path: epath.Path) -> Iterator[Record]:
    for line, tokens in parsing.read_lines(path):
        if len(tokens) != TOKENS:
            wanted = f"{TOKENS}: 196 coordinates, 4 of the box, 6 flags and an image"
            raise UserError(f"{line}: {len(tokens)} values, want {wanted}; fetch the file anew")
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
