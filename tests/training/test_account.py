"""What the account says of the data."""

import numpy as np
import pytest

from h3r_jax.training.account import typical_sizes


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
