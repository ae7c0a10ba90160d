"""The TFDS builder of the data set `phantom`."""

from collections.abc import Iterator

from etils import epath

from data.builder import LandmarkBuilder, Record, Splits
from data.phantom import drawing

SIZE = 96  # pixels
COUNTS = {"train": 1600, "validation": 160, "test": 400}
SEEDS = {"train": 1, "validation": 2, "test": 3}


class Phantom(LandmarkBuilder):
    """Drawn faces (see the package's documentation)."""

    SCHEME = "phantom23"
    NUM_LANDMARKS = drawing.NUM_LANDMARKS

    @classmethod
    def read_splits(cls, folder: epath.Path) -> Splits:
        """split -> Records; `folder` is not read."""
        return {split: _draw(split) for split in COUNTS}


def _draw(split: str) -> Iterator[Record]:
    for index in range(COUNTS[split]):
        face = drawing.draw(SEEDS[split], index, SIZE)
        yield Record(f"phantom {split} {index}", face.image, face.landmarks, face.visibility, face.box)
