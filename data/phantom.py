"""`phantom`: drawn faces whose landmarks are known exactly, so that anybody can run the main job.

Drawn by `data.phantom_drawing`, deterministically; the three splits are disjoint
in their seeds. A landmark under the occluder has visibility zero. No download, no licence.
"""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from data import phantom_drawing
from data.features import landmark_features

SIZE = 96  # pixels
COUNTS = {"train": 1600, "validation": 160, "test": 400}
SEEDS = {"train": 1, "validation": 2, "test": 3}


class Phantom(tfds.core.GeneratorBasedBuilder):
    """Drawn faces (see the module's documentation)."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return self.dataset_info_from_configs(
            features=landmark_features(phantom_drawing.NUM_LANDMARKS),
            description=__doc__,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split) for split in COUNTS}

    def _generate_examples(self, split):
        for index in range(COUNTS[split]):
            drawing = phantom_drawing.draw(SEEDS[split], index, SIZE)
            content = io.BytesIO()
            Image.fromarray(drawing.image).save(content, "PNG", compress_level=1)
            yield index, {
                "image": content.getvalue(),
                "landmarks": drawing.landmarks.astype(np.float32),
                "visibility": drawing.visibility,
                "box": drawing.box.astype(np.float32),
                "size": np.array(drawing.image.shape[:2], np.int32),
                "name": f"phantom {split} {index}",
            }


def make_builder(folder, prepared_dir, num_landmarks):
    """The builder; `folder` is not read. ValueError for another number of landmarks than the figure has."""
    del folder
    if num_landmarks != phantom_drawing.NUM_LANDMARKS:
        raise ValueError(f"phantom has {phantom_drawing.NUM_LANDMARKS} landmarks, but the landmark scheme has {num_landmarks}")
    return Phantom(data_dir=prepared_dir)
