"""Activation points in heatmaps: scattered into a map, gathered from it, and the target heatmaps that they make."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from h3r_jax.codec.activation import ActivationPoints, activation_points, randomized_rounding
from h3r_jax.codec.arguments import Stride, shape_of_map


def flat_index(cells: jax.Array, heatmap_shape: tuple[int, ...]) -> jax.Array:
    """Row-major index `int32[..., K, P]` of `cells [..., K, P, D]` (order of the coordinates)."""
    index = jnp.zeros(cells.shape[:-1], jnp.int32)
    for axis, size in enumerate(heatmap_shape):
        index = index * size + cells[..., len(heatmap_shape) - 1 - axis]
    return index


def scatter(points: ActivationPoints, heatmap_shape: Sequence[int]) -> jax.Array:
    """The heatmap in which each activation point adds its weight to its cell.

    Args:
      points: ActivationPoints with `cells [..., K, P, D]`.
      heatmap_shape: `(H, W)` or `(D, H, W)`.

    Returns:
      `float32[..., *heatmap_shape, K]`; the map of a landmark that is not inside is zero.

    Raises:
      ValueError: heatmap_shape is not that of the points.
    """
    heatmap_shape = shape_of_map(heatmap_shape)
    points.check_shape(heatmap_shape)
    *lead, num_landmarks = points.inside.shape
    weights = jnp.where(points.inside[..., None], points.weights, 0).astype(jnp.float32)
    return add_at(jnp.zeros((*lead, *heatmap_shape, num_landmarks), jnp.float32), points, weights)


def add_at(heatmaps: jax.Array, points: ActivationPoints, values: jax.Array) -> jax.Array:
    """Heatmaps with values added to the cells of activation points, without another array of their size.

    On a CPU the cells are written where they are. GPUs and TPUs are slow at that, and compare the number of every cell
    with those of the points instead, which becomes a part of whatever loop makes the heatmaps.

    Args:
      heatmaps: `[..., H, W, K]` or `[..., D, H, W, K]`.
      points: ActivationPoints with `cells [..., K, P, D]` and the same leading axes.
      values: `[..., K, P]`, in the dtype of `heatmaps`.

    Returns:
      What `heatmaps` was, with the sums.
    """
    ndim, num_landmarks = points.cells.shape[-1], heatmaps.shape[-1]
    spatial, examples = heatmaps.shape[-ndim - 1 : -1], math.prod(heatmaps.shape[: -ndim - 1])
    flat = heatmaps.reshape(examples, math.prod(spatial), num_landmarks)
    index = flat_index(points.cells, spatial).reshape(examples, num_landmarks, points.cells.shape[-2])
    added = lax.platform_dependent(
        flat, index, values.reshape(index.shape), cpu=_add_by_index, default=_add_by_comparison
    )
    return added.reshape(heatmaps.shape)


def _add_by_index(maps: jax.Array, index: jax.Array, values: jax.Array) -> jax.Array:
    """`maps [N, S, K]` with `values [N, K, P]` added to cells `index [N, K, P]`."""
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(),
        inserted_window_dims=(1,),
        scatter_dims_to_operand_dims=(1,),
        # Examples and landmarks are told apart by their axes, not by indices: so a sharded axis stays where it is.
        operand_batching_dims=(0, 2),
        scatter_indices_batching_dims=(0, 1),
    )
    return lax.scatter_add(maps, index[..., None], values, numbers, mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS)


def _add_by_comparison(maps: jax.Array, index: jax.Array, values: jax.Array) -> jax.Array:
    """As `_add_by_index`."""
    cells = lax.broadcasted_iota(jnp.int32, maps.shape, 1)
    for p in range(index.shape[-1]):
        maps = maps + jnp.where(cells == index[:, None, :, p], values[:, None, :, p], 0)
    return maps


def gather(heatmaps: jax.Array, points: ActivationPoints) -> jax.Array:
    """The values that heatmaps hold at activation points.

    Args:
      heatmaps: `[..., H, W, K]` or `[..., D, H, W, K]`.
      points: ActivationPoints with `cells [..., K, P, D]` and the same leading axes.

    Returns:
      `[..., K, P]`, in the dtype of `heatmaps`.

    Raises:
      ValueError: the leading axes, the numbers of landmarks or the shapes of the maps differ.
    """
    ndim = points.cells.shape[-1]
    expected = (*heatmaps.shape[: -ndim - 1], heatmaps.shape[-1])
    if points.inside.shape != expected:
        raise ValueError(
            f"points are for {points.inside.shape} landmarks, heatmaps of shape {heatmaps.shape} for {expected}; "
            "heatmaps are channels-last: [..., H, W, K]"
        )
    spatial = heatmaps.shape[-ndim - 1 : -1]
    points.check_shape(spatial)
    flat = heatmaps.reshape(*expected[:-1], math.prod(spatial), expected[-1])
    index = jnp.swapaxes(flat_index(points.cells, spatial), -1, -2)  # [..., P, K]
    return jnp.swapaxes(jnp.take_along_axis(flat, index, axis=-2), -1, -2)


def encode(key: jax.Array, coordinates: ArrayLike, *, heatmap_shape: Sequence[int], stride: Stride = 4.0) -> jax.Array:
    """Target heatmaps by randomized rounding: one hot cell per landmark, drawn anew for every key.

    Args, errors: as `randomized_rounding`. Returns `float32[..., *heatmap_shape, K]`.
    """
    points = randomized_rounding(key, coordinates, heatmap_shape=heatmap_shape, stride=stride)
    return scatter(points, heatmap_shape)


def expected_heatmap(coordinates: ArrayLike, *, heatmap_shape: Sequence[int], stride: Stride = 4.0) -> jax.Array:
    """The mean of `encode` over all keys: all `2**D` activation points, by weight.

    Args, errors: as `activation_points`. Returns `float32[..., *heatmap_shape, K]`.
    """
    return scatter(activation_points(coordinates, heatmap_shape=heatmap_shape, stride=stride), heatmap_shape)


def binary_logits(logits: jax.Array) -> jax.Array:
    """The log-odds `z_on - z_off` of a two-channel head.

    Args:
      logits: `[..., 2K]`, the K "off" maps first, as in the reference's head.

    Returns:
      `[..., K]`, in the dtype of `logits`; a difference beyond that dtype is its greatest number.

    Raises:
      ValueError: logits that are no floats; an odd number of channels.
    """
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ValueError(f"logits must be of a float dtype, got {logits.dtype}")
    if logits.shape[-1] % 2:
        raise ValueError(f"a two-channel head has an even number of maps, got {logits.shape[-1]}")
    off, on = jnp.split(logits, 2, axis=-1)
    return _difference(on, off)


@jax.custom_jvp
def _difference(on: jax.Array, off: jax.Array) -> jax.Array:
    """`on - off`; the greatest number of the dtype where the difference of finite numbers is beyond it."""
    difference, greatest = on - off, jnp.finfo(on.dtype).max
    finite = jnp.isfinite(on) & jnp.isfinite(off)
    return jnp.where(finite, jnp.clip(difference, -greatest, greatest), difference)


_difference.defjvps(lambda change, *_: change, lambda change, *_: -change)
