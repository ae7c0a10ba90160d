"""Real images in the official formats: every landmark inside its image, eyes and mouth where a face has them."""

import numpy as np
import pytest

import data.prepare
from data.source import Source

# data set -> counts, outer eye corners from the image's left, tip of the nose, chin
SETS = {
    "wflw": ({"train": 4, "test": 4}, (60, 72), 54, 16),
    "w300": ({"train": 5, "test": 5, "private": 2}, (36, 45), 30, 8),
    "cofw": ({"train": 2, "test": 2}, (8, 9), 20, 28),
    "aflw": ({"train": 2}, (6, 11), 13, 18),
    "lapa": ({"test": 2}, (66, 79), 54, 16),
    "aflw2000": ({"test": 16}, (36, 45), 30, 8),
}


@pytest.mark.parametrize("name", SETS)
def test_faces_are_faces(name, shared_data, tmp_path):
    counts, eyes, nose, chin = SETS[name]
    builder = data.prepare.prepare(name, data_dir=shared_data, prepared_dir=tmp_path, folder="", num_landmarks=None)
    assert {split: info.num_examples for split, info in builder.info.splits.items()} == counts
    for split in counts:
        annotations = Source(builder, split).annotations()
        assert annotations.outside_image() == 0
        left, right, tip, bottom = (annotations.landmarks[:, i] for i in (*eyes, nose, chin))
        assert (left[:, 0] < right[:, 0]).all()
        down = bottom - (left + right) / 2  # of the face
        along = ((tip - (left + right) / 2) * down).sum(axis=-1) / (down**2).sum(axis=-1)
        assert ((along > -0.05) & (along < 0.7)).all()  # seen from below, the nose lies between the eyes
        boxes = annotations.box[np.isfinite(annotations.box).all(axis=1)]
        assert len(boxes) == (counts[split] if name in ("wflw", "cofw", "aflw") else 0)
