"""The classical decoders, to compare randomized rounding with."""

import math

import jax.numpy as jnp

from h3r_jax.codec.activation import along_last, strides
from h3r_jax.codec.decoding import _unravel, _values_at


def _flatten(heatmaps, ndim):
    """`[..., *shape, K]` as maps `[..., S, K]`, and `shape`."""
    heatmaps = jnp.asarray(heatmaps)
    if heatmaps.ndim < ndim + 1:
        raise ValueError(f"heatmaps of shape {heatmaps.shape} have no {ndim} spatial axes and one of landmarks")
    shape = heatmaps.shape[-ndim - 1 : -1]
    if min(shape) < 1:
        raise ValueError(f"heatmaps of shape {heatmaps.shape} have no cells")
    return heatmaps.reshape(*heatmaps.shape[: -ndim - 1], math.prod(shape), heatmaps.shape[-1]), shape


def _pixels(positions, maps, stride):
    """Positions in cells `[..., K, D]` as input pixels; NaN where `maps [..., S, K]` hold NaN or +inf."""
    valid = jnp.max(maps, axis=-2) < jnp.inf
    scaled = positions.astype(jnp.float32) * along_last(strides(stride, positions.shape[-1]), positions.ndim, jnp.float32)
    return jnp.where(valid[..., None], scaled, jnp.nan)


def quarter_shift(heatmaps, *, stride=4.0, ndim=2):
    """The strongest cell, moved by a quarter of a cell towards the greater of its two neighbours on each axis.

    Equal neighbours move nothing, and neither does an axis on which the cell
    lies at the border. (HRNet's and mmpose's programs also leave out the column
    and row beside the border; the formula is theirs otherwise.)

    Args:
      heatmaps: `[..., H, W, K]`, or `[..., D, H, W, K]` with `ndim=3`; any float dtype.
      stride: input pixels per cell; a number, or a tuple in the order of the coordinates.
      ndim: number of spatial axes.

    Returns:
      `float32[..., K, ndim]`, input pixels. NaN where a map contains NaN or +inf.

    Raises:
      ValueError: heatmaps with fewer than `ndim + 1` axes, or without cells.
    """
    maps, shape = _flatten(heatmaps, ndim)
    peak = _unravel(jnp.argmax(maps, axis=-2), shape)  # [..., K, D]
    step = jnp.eye(ndim, dtype=jnp.int32).reshape((1,) * (peak.ndim - 1) + (ndim, ndim))
    above, _ = _values_at(maps, peak[..., None, :] + step, shape)  # [..., K, D]
    below, _ = _values_at(maps, peak[..., None, :] - step, shape)
    interior = (peak > 0) & (peak < along_last([size - 1 for size in reversed(shape)], peak.ndim, jnp.int32))
    sign = (above > below).astype(jnp.float32) - (above < below)  # not sign(above - below): -inf less -inf is NaN
    return _pixels(peak + 0.25 * jnp.where(interior, sign, 0.0), maps, stride)
