"""What the paper proves about rounding, as functions."""

import math

from h3r_jax.codec.arguments import Stride, number, positive, strides, whole


def quantization_bias(threshold: float, stride: float) -> float:
    """Expected error per axis of `threshold_rounding`, decoded minus true, for a uniform fraction.

    Args:
      threshold: in [0, 1].
      stride: input pixels per cell.

    Returns:
      `stride * (1/2 - threshold)`, input pixels (paper, section 3.2).

    Raises:
      ValueError: a threshold outside [0, 1], or a stride that is not positive and finite.
    """
    return positive("stride", stride) * (0.5 - number("threshold", threshold, 0.0, 1.0))


def quantization_bound(stride: Stride, ndim: int = 2) -> float:
    """The largest distance between a coordinate and its nearest cell (paper, Theorem 1).

    Args:
      stride: input pixels per cell; a number, or a tuple in the order of the coordinates.
      ndim: number of axes.

    Returns:
      Half the diagonal of a cell, input pixels: `sqrt(ndim) * stride / 2` for equal strides.

    Raises:
      ValueError: ndim is no whole number of at least 1; a stride is not positive and finite, or strides are not ndim.
    """
    return math.hypot(*strides(stride, whole("ndim", ndim))) / 2
