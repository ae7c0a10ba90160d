"""What the account says of the data."""

import numpy as np
import pytest

from h3r_jax.training.account import mirrored_pairs, typical_sizes


@pytest.mark.trial("C13")
@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([[10, 20, 109, 219], [0, 0, 49, 49], [5, 5, 305, 105]], "median box 100 x 101 pixels, median image 640 x 400"),
        ([[0.2, 0.3, 0.9, 0.8]] * 3, "median box 1.7 x 1.5 pixels, median image 640 x 400"),  # shares
        ([[100, 100, 140, 160]] * 3, "median box 41 x 61 pixels, median image 640 x 400"),
    ],
)
def test_the_median_box_and_image_are_said_in_pixels(boxes, expected):
    sizes = np.array([[400, 640], [300, 500], [500, 800]])
    assert typical_sizes(np.array(boxes, np.float64), sizes) == expected


def test_the_landmarks_that_change_places_are_said():
    assert mirrored_pairs((1, 0, 2, 4, 3)) == "in a mirrored image 0 and 1, 3 and 4 change places"
    assert mirrored_pairs((0, 1)) == "no landmark changes its place in a mirrored image"
    assert mirrored_pairs(tuple(range(19, -1, -1))).endswith("7 and 12 and 2 more pairs change places")
