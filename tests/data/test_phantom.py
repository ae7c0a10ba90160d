"""The data set `phantom`: what the drawing says is what the reader gets."""

import numpy as np
import pytest

import data.prepare
from data.phantom import builder as phantom
from data.phantom import drawing
from data.source import Source
from h3r_jax.landmarks import PHANTOM23
from tests.data.made_up import annotations_of


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    """A smaller one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom, "COUNTS", {"train": 5, "validation": 2, "test": 3})
        return prepare(tmp_path_factory.mktemp("phantom"))


def prepare(prepared, num_landmarks=PHANTOM23.num_landmarks):
    return data.prepare.prepare(
        "phantom", data_dir=prepared / "not there", prepared_dir=prepared, folder="", num_landmarks=num_landmarks
    )


def test_records_are_the_drawings_in_order(builder):
    for split, count in (("train", 5), ("validation", 2), ("test", 3)):
        source = Source(builder, split)
        annotations = annotations_of(source)
        assert len(source) == count == len(annotations.name)
        for index in reversed(range(count)):
            face = drawing.draw(phantom.SEEDS[split], index, phantom.SIZE)
            assert annotations.name[index] == f"phantom {split} {index}"
            np.testing.assert_array_equal(source.image(index).pixels, face.image)
            # Stored in float32: 4e-6 px at 96 px.
            np.testing.assert_allclose(annotations.landmarks[index], face.landmarks, atol=1e-5)
            np.testing.assert_array_equal(annotations.weight[index], face.visibility)
            np.testing.assert_allclose(annotations.boxes("dataset")[index], face.box, atol=1e-5)
            np.testing.assert_array_equal(annotations.size[index], face.image.shape[:2])


def test_splits_differ_in_their_seeds(builder):
    assert len(set(phantom.SEEDS.values())) == len(phantom.SEEDS) == len(phantom.COUNTS)
    first = [annotations_of(Source(builder, split)).landmarks[0] for split in phantom.SEEDS]
    assert min(np.abs(a - b).max() for i, a in enumerate(first) for b in first[:i]) > 1


def test_every_record_can_be_cropped_and_scored(builder):
    for split in phantom.SEEDS:
        annotations = annotations_of(Source(builder, split))
        assert np.isfinite(annotations.boxes("landmarks")).all()
        assert (PHANTOM23.normalizing_distance(annotations.landmarks) > 5).all()


def test_another_number_of_landmarks_is_refused(tmp_path):
    with pytest.raises(ValueError, match="phantom has 23 landmarks, but the landmark scheme has 68"):
        prepare(tmp_path, num_landmarks=68)
