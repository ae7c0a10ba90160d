"""Activation points: the heatmap cells that stand for a coordinate, with their weights."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from h3r_jax.codec.arguments import Stride, numbers, real_coordinates, shape_of_map, strides


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["cells", "weights", "inside"],
    meta_fields=["heatmap_shape"],
)
@dataclasses.dataclass(frozen=True)
class ActivationPoints:
    """The cells that stand for each landmark.

    cells: `int32[..., K, P, D]`, heatmap cells in the order of the coordinates, always within the map. (Of an objective
      with the target "coordinate" they are positions between cells, `float32`.)
    weights: `float32[..., K, P]`, non-negative, summing to one over `P`.
    inside: `bool[..., K]`, whether the map can represent the coordinate at all.
    heatmap_shape: `(H, W)` or `(D, H, W)`, of the map whose cells these are. It is no leaf of the pytree.
    """

    cells: jax.Array
    weights: jax.Array
    inside: jax.Array
    heatmap_shape: tuple[int, ...]

    def check_shape(self, heatmap_shape: Sequence[int]) -> None:
        """ValueError unless these are cells of maps of `heatmap_shape`."""
        if tuple(heatmap_shape) != self.heatmap_shape:
            theirs, wanted = ("x".join(map(str, shape)) for shape in (self.heatmap_shape, heatmap_shape))
            raise ValueError(
                f"the activation points are cells of maps of {theirs} cells, and these heatmaps have {wanted}; make "
                "them with the heatmap_shape of the heatmaps, which are channels-last: [..., H, W, K]"
            )


class WeightedCells(Protocol):
    """Whatever has `cells [..., K, P, D]` and `weights [..., K, P]`."""

    @property
    def cells(self) -> jax.Array: ...

    @property
    def weights(self) -> jax.Array: ...


def along_last(values: Sequence[ArrayLike], ndim: int, dtype: DTypeLike) -> jax.Array:
    """`values`, one for each axis of the coordinates, as an array `[1, ..., 1, D]` of `ndim` axes."""
    return jnp.asarray(values, dtype).reshape((1,) * (ndim - 1) + (-1,))


def locate(
    coordinates: ArrayLike, heatmap_shape: Sequence[int], stride: Stride
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Lower cells `int32[..., K, D]`, fractions `float32[..., K, D]` in [0, 1], and `inside`."""
    coordinates, heatmap_shape = real_coordinates(coordinates), shape_of_map(heatmap_shape)
    ndim = len(heatmap_shape)
    if coordinates.ndim < 2:
        raise ValueError(f"coordinates must be [..., K, {ndim}], got {coordinates.shape}")
    if coordinates.shape[-1] != ndim:
        raise ValueError(
            f"coordinates have {coordinates.shape[-1]} axes (shape {coordinates.shape}), but heatmap_shape is "
            f"{heatmap_shape}"
        )
    last = along_last([size - 1 for size in reversed(heatmap_shape)], coordinates.ndim, jnp.float32)
    positions = coordinates / along_last(strides(stride, ndim), coordinates.ndim, jnp.float32)
    inside = jnp.all((positions >= 0) & (positions <= last), axis=-1)  # false for NaN
    positions = jnp.clip(jnp.where(jnp.isnan(positions), 0.0, positions), 0.0, last)
    # The last cell is the upper corner of the one before it, so that corners never leave the map.
    lower = jnp.minimum(jnp.floor(positions), jnp.maximum(last - 1, 0))
    return lower.astype(jnp.int32), positions - lower, inside


def activation_points(
    coordinates: ArrayLike, *, heatmap_shape: Sequence[int], stride: Stride = 4.0
) -> ActivationPoints:
    """All `2**D` activation points of each coordinate: the corners of its cell.

    A corner weighs the product over the axes of the fractional part (upper
    corner) or its complement (lower corner), so that the weighted mean of the
    corners is the coordinate itself (paper, section 3.2).

    Args:
      coordinates: `[..., K, D]`, input pixels.
      heatmap_shape: `(H, W)` or `(D, H, W)`.
      stride: input pixels per cell; a number, or a tuple in the order of the coordinates.

    Returns:
      ActivationPoints with `P = 2**D`. A coordinate outside `[0, stride * (size - 1)]`
      gets the nearest border point and `inside` False; NaN likewise, at cell 0. Coordinates are compared in float32.

    Raises:
      ValueError: coordinates, heatmap_shape and stride disagree about the number of axes; coordinates are no real
        numbers; heatmap_shape is not of positive whole numbers; a stride is not positive and finite.
    """
    heatmap_shape = shape_of_map(heatmap_shape)
    lower, fraction, inside = locate(coordinates, heatmap_shape, stride)
    lower, fraction = lower[..., None, :], fraction[..., None, :]  # [..., K, 1, D]
    corners = jnp.asarray(list(itertools.product((0, 1), repeat=len(heatmap_shape))), jnp.int32)  # [P, D]
    corners = corners.reshape((1,) * (lower.ndim - 2) + corners.shape)
    # On an axis of one cell both corners are that cell; the upper one weighs nothing.
    cells = jnp.minimum(
        lower + corners, along_last([size - 1 for size in reversed(heatmap_shape)], lower.ndim, jnp.int32)
    )
    weights = jnp.where(corners == 1, fraction, 1 - fraction).prod(axis=-1)
    return ActivationPoints(cells, weights, inside, heatmap_shape)


def threshold_rounding(
    coordinates: ArrayLike, *, threshold: ArrayLike = 0.5, heatmap_shape: Sequence[int], stride: Stride = 4.0
) -> ActivationPoints:
    """One activation point per coordinate, rounded down where the fraction is below `threshold`, else up.

    A fixed threshold `t` is biased by `stride * (1/2 - t)` per axis, decoded
    minus true: 0 rounds up, 1/2 to the nearest, 1 down (paper, section 3.2).
    A coordinate that lies on a cell stays there whatever the threshold.

    Args:
      coordinates: `[..., K, D]`, input pixels.
      threshold: a number in [0, 1], or an array that broadcasts to `[..., K, D]`.
      heatmap_shape: `(H, W)` or `(D, H, W)`.
      stride: input pixels per cell; a number, or a tuple in the order of the coordinates.

    Returns:
      ActivationPoints with `P = 1` and weights of one.

    Raises:
      ValueError: a threshold outside [0, 1]; see also `activation_points`.
    """
    return _round(coordinates, numbers("threshold", threshold, 0.0, 1.0), heatmap_shape, stride)


def _round(
    coordinates: ArrayLike, threshold: ArrayLike, heatmap_shape: Sequence[int], stride: Stride
) -> ActivationPoints:
    heatmap_shape = shape_of_map(heatmap_shape)
    lower, fraction, inside = locate(coordinates, heatmap_shape, stride)
    up = (fraction >= threshold) & (fraction > 0) | (fraction == 1)
    cells = (lower + up)[..., None, :]
    return ActivationPoints(cells, jnp.ones(cells.shape[:-1], jnp.float32), inside, heatmap_shape)


def randomized_rounding(
    key: jax.Array, coordinates: ArrayLike, *, heatmap_shape: Sequence[int], stride: Stride = 4.0
) -> ActivationPoints:
    """One activation point per coordinate, drawn with the probability that its weight says.

    Threshold rounding with an independent threshold, uniform in (0, 1], for every
    coordinate and axis; unbiased, since the upper cell is taken with a
    probability equal to the fraction (paper, section 3.2).

    Args:
      key: a PRNG key.
      coordinates: `[..., K, D]`, input pixels.
      heatmap_shape: `(H, W)` or `(D, H, W)`.
      stride: input pixels per cell; a number, or a tuple in the order of the coordinates.

    Returns:
      ActivationPoints with `P = 1` and weights of one.

    Raises:
      ValueError: see `activation_points`.
    """
    coordinates = real_coordinates(coordinates)
    thresholds = 1 - jax.random.uniform(key, coordinates.shape, jnp.float32)
    return _round(coordinates, thresholds, heatmap_shape, stride)


def expectation(points: WeightedCells, *, stride: Stride = 4.0) -> jax.Array:
    """The weighted mean of activation points: the exact inverse of `activation_points`.

    Args:
      points: ActivationPoints, or any pair with `cells [..., K, P, D]` and `weights [..., K, P]`.
      stride: input pixels per cell; a number, or a tuple in the order of the coordinates.

    Returns:
      `float32[..., K, D]`, input pixels.
    """
    ndim = points.cells.shape[-1]
    cells = points.cells.astype(jnp.float32)
    mean = jnp.sum(cells * points.weights[..., None].astype(jnp.float32), axis=-2)
    return mean * along_last(strides(stride, ndim), mean.ndim, jnp.float32)
