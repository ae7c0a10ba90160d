"""`phantom`: drawn faces whose landmarks are known exactly, so that anybody can run the main job.

Drawn by `data.phantom_drawing`, deterministically; the three splits are disjoint
in their seeds. A landmark under the occluder has weight zero. No download, no licence.
"""

import tensorflow_datasets as tfds

from data import phantom_drawing
from data.builder import LandmarkBuilder, Record

SIZE = 96  # pixels
COUNTS = {"train": 1600, "validation": 160, "test": 400}
SEEDS = {"train": 1, "validation": 2, "test": 3}


class Phantom(LandmarkBuilder):
    """Drawn faces (see the module's documentation)."""

    SCHEME = "phantom23"
    NUM_LANDMARKS = phantom_drawing.NUM_LANDMARKS
    VERSION = tfds.core.Version("2.0.0")  # to be raised when the drawing changes

    @classmethod
    def annotation_files(cls, folder):
        """None: `folder` is not read."""
        return []

    @classmethod
    def read_splits(cls, folder):
        """split -> Records; `folder` is not read."""
        return {split: cls._draw(split) for split in COUNTS}

    @staticmethod
    def _draw(split):
        for index in range(COUNTS[split]):
            drawing = phantom_drawing.draw(SEEDS[split], index, SIZE)
            yield Record(f"phantom {split} {index}", drawing.image, drawing.landmarks, drawing.visibility, drawing.box)
