"""Wrong mirror orders and orders of landmarks are found by the mean shape, and right ones are left in peace."""

import dataclasses

import numpy as np
import pytest

from data import audit, mean_shape
from h3r_jax.landmarks import SCHEMES, get_scheme
from tests.data.test_audit import made

# A face in units of its size: eyes, nose, corners of the mouth, and their mirror order.
FACE = np.array([[-0.3, -0.3], [0.3, -0.3], [0.0, 0.0], [-0.2, 0.3], [0.2, 0.3]])
MIRROR = (1, 0, 2, 4, 3)


def faces(shape=FACE, count=60, turn=0.2, seed=0):
    """Objects of a shape, turned by up to `turn` radians, of many sizes and places, with errors of 3 %."""
    random = np.random.default_rng(seed)
    angle = random.uniform(-turn, turn, count)
    rotation = np.stack([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    noisy = shape + random.normal(0, 0.03, (count, *shape.shape))
    sizes, places = random.uniform(30, 120, (count, 1, 1)), random.uniform((150, 150), (450, 250), (count, 2))
    return made(np.einsum("nij,nkj->nki", rotation, noisy) * sizes + places[:, None])


SIDE_VIEW = np.array([[-0.4, -0.3], [-0.1, -0.3], [-0.5, 0.0], [-0.4, 0.3], [-0.2, 0.3]])


@pytest.mark.parametrize(
    "annotations, mirror",
    [
        (faces(), MIRROR),
        (faces(turn=np.pi), (0, 1, 2, 3, 4)),  # in any direction: no mean shape that could tell
        (faces(SIDE_VIEW), MIRROR),  # all look to one side
        (faces(count=mean_shape.LEAST - 1), (0, 1, 2, 3, 4)),  # too few
        (faces(FACE[:2]), (0, 1)),  # two landmarks
        (dataclasses.replace(faces(), weight=np.zeros((60, 5), np.float32)), (0, 1, 2, 3, 4)),  # nothing labelled
    ],
)
def test_what_fits_or_cannot_be_told_is_left_in_peace(annotations, mirror):
    assert mean_shape.mirror_doubt(annotations, mirror) == []


def test_a_wrong_mirror_order_is_said():
    train = {"train": audit.Part(faces())}
    (sentence,) = audit.findings(train, (0, 1, 2, 4, 3))
    assert "does not fit 2 of 5 landmarks" in sentence and "landmark 0 becomes 0, and 1 would fit" in sentence
    assert "config.landmarks.mirror" in sentence
    assert audit.findings(train) == [], "nothing is mirrored"


def test_a_landmark_that_is_never_labelled_does_not_count():
    weight = np.ones((60, 5), np.float32)
    weight[:, 3] = 0
    annotations = dataclasses.replace(faces(), weight=weight)
    assert mean_shape.mirror_doubt(annotations, MIRROR) == []
    (sentence,) = mean_shape.mirror_doubt(annotations, (0, 1, 2, 4, 3))
    assert "2 of 5" in sentence


def test_another_order_in_one_split_is_said():
    other = faces(FACE[[0, 1, 2, 4, 3]], seed=1)
    parts = {
        "train": audit.Part(faces()),
        "validation": audit.Part(dataclasses.replace(other, digest=np.arange(60) + 99)),
    }
    (sentence,) = audit.findings(parts)
    assert sentence.startswith("validation: 2 of 5 landmarks") and "3 lies where train has 4" in sentence
    assert mean_shape.order_doubt(faces(seed=1), faces(), "train") == []


@pytest.mark.parametrize("name", [name for name in SCHEMES if name != "phantom"])
def test_one_wrong_pair_of_a_scheme_with_many_landmarks(name):
    """By shapes in which each landmark has a place of its own, on the right side."""
    scheme = get_scheme(name)
    mirror, random = np.array(scheme.mirror), np.random.default_rng(0)
    shape = random.uniform(-0.5, 0.5, (len(mirror), 2))
    left = mirror > np.arange(len(mirror))
    shape[:, 0] = np.where(mirror == np.arange(len(mirror)), 0, 0.15 + np.abs(shape[:, 0]) * 0.7)
    shape[mirror[left]] = shape[left] * [-1, 1]
    assert mean_shape.mirror_doubt(faces(shape), scheme.mirror) == []
    wrong = mirror.copy()
    first = int(np.flatnonzero(left)[0])
    wrong[[first, mirror[first]]] = first, mirror[first]
    (sentence,) = mean_shape.mirror_doubt(faces(shape), wrong)
    assert f"fit 2 of {len(mirror)} landmarks" in sentence and f"landmark {first} becomes {first}, and" in sentence
