"""`lapa`: Landmark guided face Parsing, 106 landmarks (Liu et al., AAAI 2020).

Get LaPa.tar.gz from https://github.com/jd-opensource/lapa-dataset (also JDAI-CV/lapa-dataset);
not for commercial use. The folder holds

    {train,val,test}/images/*.jpg
    {train,val,test}/landmarks/*.txt        a line with 106, then 106 lines with x and y
    {train,val,test}/labels/*.png           (not read)

A split whose directory is missing is left out. Coordinates count pixels from 0 and are taken as
they stand. There is no box, no subset and no object size.
"""

from collections.abc import Iterator
from typing import ClassVar

from etils import epath

from data import parsing
from data.builder import LandmarkBuilder, Record, Splits
from h3r_jax.errors import UserError

SPLITS = ("train", "val", "test")


class Lapa(LandmarkBuilder):
    """Faces of LaPa (see the module's documentation)."""

    SCHEME = "lapa106"
    NUM_LANDMARKS = 106
    OFFICIAL_COUNTS: ClassVar = {"train": 18176, "val": 2000, "test": 2000}

    @classmethod
    def annotation_files(cls, folder: epath.Path) -> list[epath.Path]:
        """All files of landmarks."""
        splits = parsing.present(folder, SPLITS, __name__)
        return [path for split in splits for path in parsing.files_in(folder / split / "landmarks", (".txt",))]

    @classmethod
    def read_splits(cls, folder: epath.Path) -> Splits:
        """split -> Records, of the splits that are there."""
        return {split: _read(folder / split) for split in parsing.present(folder, SPLITS, __name__)}


def _read(folder: epath.Path) -> Iterator[Record]:
    for path, image in parsing.pair_files(folder / "landmarks", folder / "images", ".txt"):
        lines = parsing.read_lines(path)
        if lines[0][1] != [str(Lapa.NUM_LANDMARKS)]:
            raise UserError(f"{path}: want {Lapa.NUM_LANDMARKS} in its first line; fetch the file anew")
        yield Record(str(path), image, parsing.read_points(lines[1:], path, Lapa.NUM_LANDMARKS))
