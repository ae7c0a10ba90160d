"""Heatmaps to coordinates: choose cells, turn their values into weights, take the expectation."""

import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax

from h3r_jax.codec.activation import ActivationPoints, along_last, expectation, flat_index


def _share(values):
    mass = jnp.maximum(values, 0)
    return mass / jnp.sum(mass, axis=-1, keepdims=True)


# Weights of the chosen cells (last axis, summing to one), by the loss that made the values.
ACTIVATIONS = {
    "softmax": jax.nn.softmax,
    # Normalised sigmoids, without the underflow of a sigmoid far below zero.
    "sigmoid": lambda values: jax.nn.softmax(jax.nn.log_sigmoid(values)),
    "identity": _share,
}


def decode(heatmaps, *, k=9, stride=4.0, activation="softmax", selection="top_k", ndim=2):
    """Coordinates as the expectation over `k` activation points of each heatmap.

    The result is the mean of what the network believes, exactly, if the chosen
    cells hold all of its mass and `activation` is that of the loss: "softmax"
    for logits of a spatial cross-entropy, "sigmoid" for `z_on - z_off` of a
    binary cross-entropy (subtract `log w` first after a positive-class weight
    `w`), "identity" for maps of probabilities, whose negative values have no
    mass. The reference's decoder is `softmax` of the "on" logits with k = 9.

    Args:
      heatmaps: `[..., H, W, K]`, or `[..., D, H, W, K]` with `ndim=3`; any float dtype.
      k: number of cells.
      stride: input pixels per cell; a number, or a tuple in the order of the coordinates.
      activation: "softmax", "sigmoid" or "identity".
      selection: "top_k", the k strongest cells, ties to the lowest row-major
        index; or "neighbours", cells around the maximum: k = 1, 2**ndim (the
        heaviest block that contains the maximum), 2 * ndim + 1 (the cross) or an
        odd number to the power ndim (the window); cells beyond the border are masked.
      ndim: number of spatial axes.

    Returns:
      `float32[..., K, ndim]`, input pixels, `(x, y)` or `(x, y, z)`. NaN where a
      map contains NaN or +inf, or has no mass.

    Raises:
      ValueError: unknown activation or selection, k larger than the map or not of
        the selection's form, or heatmaps with fewer than `ndim + 1` axes.
    """
    heatmaps = jnp.asarray(heatmaps)
    for name, known, value in (("activation", ACTIVATIONS, activation), ("selection", SELECTIONS, selection)):
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}; known are {', '.join(known)}")
    if heatmaps.ndim < ndim + 1:
        raise ValueError(f"heatmaps of shape {heatmaps.shape} have no {ndim} spatial axes and one of landmarks")
    shape = heatmaps.shape[-ndim - 1 : -1]
    if not 1 <= k <= math.prod(shape):
        raise ValueError(f"k={k} cells cannot be chosen from a map of {'x'.join(map(str, shape))}")
    maps = heatmaps.reshape(*heatmaps.shape[: -ndim - 1], math.prod(shape), heatmaps.shape[-1])
    values, cells = SELECTIONS[selection](maps, shape, k, ACTIVATIONS[activation])
    weights = ACTIVATIONS[activation](values.astype(jnp.float32))
    points = ActivationPoints(cells, weights, None)
    # A maximum is NaN if anything is, whatever its sign bit; lax.top_k would rank some NaNs last.
    valid = jnp.max(maps, axis=-2) < jnp.inf
    return jnp.where(valid[..., None], expectation(points, stride=stride), jnp.nan)


def _top_k(maps, shape, k, activation):
    """Values `[..., K, k]` and cells `[..., K, k, D]` of the k strongest cells of `maps [..., S, K]`."""
    del activation  # grows with the value, so the order is that of the values
    values, index = lax.top_k(jnp.swapaxes(maps, -1, -2), k)
    return values, _unravel(index, shape)


def _neighbours(maps, shape, k, activation):
    """Values and cells around the maximum; those beyond the border are at -inf (no weight)."""
    ndim = len(shape)
    peak = _unravel(jnp.argmax(maps, axis=-2), shape)[..., None, :]  # [..., K, 1, D]
    if k == 2**ndim:
        offsets = _window(1, ndim)
    elif k == 2 * ndim + 1:
        offsets = [offset for offset in _window(1, ndim) if sum(map(abs, offset)) <= 1]
    else:
        side = round(k ** (1 / ndim))
        if side % 2 == 0 or side**ndim != k:
            raise ValueError(
                f"k={k} is no neighbourhood of {ndim} axes: choose 1, {2**ndim}, {2 * ndim + 1} or an odd number to the power {ndim}"
            )
        offsets = _window(side // 2, ndim)
    offsets_array = jnp.asarray(offsets, jnp.int32).reshape((1,) * (peak.ndim - 2) + (-1, ndim))
    values, cells = _values_at(maps, peak + offsets_array, shape)
    if k == 2**ndim:
        values, cells = _heaviest_block(values, cells, activation, offsets)
    return values, cells


def _window(reach, ndim):
    return list(itertools.product(range(-reach, reach + 1), repeat=ndim))


def _values_at(maps, cells, shape):
    """Values of `maps [..., S, K]` at `cells [..., K, P, D]`, -inf beyond the border; and the cells, clipped."""
    last = along_last([size - 1 for size in reversed(shape)], cells.ndim, jnp.int32)
    clipped = jnp.clip(cells, 0, last)
    within = jnp.all(cells == clipped, axis=-1)
    index = jnp.swapaxes(flat_index(clipped, shape), -1, -2)
    values = jnp.swapaxes(jnp.take_along_axis(maps, index, axis=-2), -1, -2)
    return jnp.where(within, values, -jnp.inf), clipped


def _heaviest_block(values, cells, activation, offsets):
    """Of the `2**D` blocks of `2**D` cells that contain the maximum, the one of the largest weight."""
    ndim = cells.shape[-1]
    position = {offset: i for i, offset in enumerate(offsets)}
    corners = list(itertools.product((0, 1), repeat=ndim))
    blocks = [[position[tuple(c - o for c, o in zip(corner, origin))] for corner in corners] for origin in corners]
    blocks = jnp.asarray(blocks)  # [block, cell]
    mass = activation(values.astype(jnp.float32))[..., blocks].sum(axis=-1)
    best = jnp.take(blocks, jnp.argmax(mass, axis=-1), axis=0)  # [..., K, P]
    return jnp.take_along_axis(values, best, axis=-1), jnp.take_along_axis(cells, best[..., None], axis=-2)


def _unravel(index, shape):
    """Cells in the order of the coordinates, `int32[..., D]`, of row-major indices."""
    return jnp.stack(jnp.unravel_index(index, shape)[::-1], axis=-1).astype(jnp.int32)


SELECTIONS = {"top_k": _top_k, "neighbours": _neighbours}
