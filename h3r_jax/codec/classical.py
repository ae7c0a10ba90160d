"""The classical codecs: Gaussian targets, decoded by the maximum and its neighbours.

Each decoder takes `heatmaps [..., H, W, K]`, or `[..., D, H, W, K]` with
`ndim=3`, of any float dtype, and a stride as everywhere in the codec, and
returns `float32[..., K, ndim]`, input pixels; NaN where a map contains NaN or
+inf. All raise ValueError for heatmaps that are no floats, have fewer than
`ndim + 1` axes or no cells, and for a stride, `ndim` or kernel size out of
range. Cell i stands at input pixel `stride * i`; for UDP's convention, in which
the corner cells stand on the corner pixels, pass `stride = (size - 1) / (cells - 1)`
per axis to encoder and decoder alike.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from h3r_jax.codec.activation import along_last, locate
from h3r_jax.codec.arguments import Stride, odd, positive, shape_of_map, strides
from h3r_jax.codec.selection import (
    argmax,
    around,
    down_scale,
    flatten,
    last_cell,
    take,
    take_or_nothing,
    widened,
)
from h3r_jax.codec.separable import bell, combine, offsets
from h3r_jax.codec.top_k import usable

Matrix = list[list[Any]]  # of arrays


def encode_gaussian(
    coordinates: ArrayLike,
    *,
    heatmap_shape: Sequence[int],
    stride: Stride = 4.0,
    sigma: float = 2.0,
    unbiased: bool = False,
) -> jax.Array:
    """Target heatmaps with a Gaussian of maximum one at each landmark.

    Args:
      coordinates: `[..., K, D]`, input pixels.
      heatmap_shape: `(H, W)` or `(D, H, W)`.
      stride: input pixels per cell; a number, or a tuple in the order of the coordinates.
      sigma: standard deviation, cells.
      unbiased: whether the centre is the coordinate itself and the Gaussian fills
        the map (DARK, UDP), or the centre is the nearest cell, halves up, and the
        Gaussian ends at three sigma on each axis (Simple Baselines, HRNet).

    Returns:
      `float32[..., *heatmap_shape, K]`; zero for a landmark that is not inside.

    Raises:
      ValueError: sigma is not positive and finite; see also `activation_points`.
    """
    heatmap_shape, sigma = shape_of_map(heatmap_shape), positive("sigma", sigma)
    lower, fraction, inside = locate(coordinates, heatmap_shape, stride)
    center = lower + (fraction if unbiased else jnp.floor(fraction + 0.5))  # [..., K, D]
    profiles = []
    for offset in offsets(center, heatmap_shape):
        profile = bell(offset, sigma)
        profiles.append(profile if unbiased else jnp.where(jnp.abs(offset) <= 3 * sigma, profile, 0.0))
    within = jnp.expand_dims(inside, tuple(range(-1 - len(heatmap_shape), -1)))
    return jnp.where(within, combine(jnp.multiply, profiles), 0.0)


def decode_maximum(heatmaps: ArrayLike, *, stride: Stride = 4.0, ndim: int = 2) -> jax.Array:
    """The strongest cell; ties go to the lowest row-major index."""
    maps, shape = flatten(heatmaps, ndim)
    return _pixels(argmax(maps, shape), maps, stride)


def decode_quarter_shift(heatmaps: ArrayLike, *, stride: Stride = 4.0, ndim: int = 2) -> jax.Array:
    """The strongest cell, moved by a quarter of a cell towards the greater of its two neighbours on each axis.

    Equal neighbours move nothing, and neither does an axis on which the cell
    lies at the border. (HRNet's and mmpose's programs also leave out the column
    and row beside the border; the formula is theirs otherwise.)
    """
    maps, shape = flatten(heatmaps, ndim)
    peak = argmax(maps, shape)  # [..., K, D]
    step = jnp.eye(ndim, dtype=jnp.int32)
    above, _ = take_or_nothing(maps, around(peak, step), shape)  # [..., K, D]
    below, _ = take_or_nothing(maps, around(peak, -step), shape)
    interior = (peak > 0) & (peak < last_cell(shape, peak.ndim))
    sign = (above > below).astype(jnp.float32) - (above < below)  # not sign(above - below): -inf less -inf is NaN
    return _pixels(peak + 0.25 * jnp.where(interior, sign, 0.0), maps, stride)


def decode_dark(heatmaps: ArrayLike, *, stride: Stride = 4.0, ndim: int = 2, kernel_size: int = 11) -> jax.Array:
    """The maximum of the parabola through the logarithm of the smoothed map, at the strongest cell (DARK).

    The map is smoothed by a Gaussian kernel (zero beyond the border) and scaled so that its maximum stays. Then its
    logarithm, floored at 1e-10, is taken. Central differences of step one give the gradient and the mixed derivatives,
    of step two the pure second derivatives. One Newton step leads to the maximum, exactly for a Gaussian. The strongest
    cell is chosen before smoothing.

    The step is left out where the cell is less than two cells from the border or the Hessian is singular, as in the
    authors' program. Where the Hessian is not negative definite, the step would lead to no maximum; it is kept within
    one cell per axis (theirs is not).

    Args:
      kernel_size: cells, odd; 11 goes with targets of sigma 2, 17 with 3, 7 with 1.5.

    Source: Zhang et al., "Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR 2020.
    """
    maps, shape = flatten(heatmaps, ndim)
    peak = argmax(maps, shape)
    at = _sampler(jnp.log(jnp.maximum(_smooth(maps, shape, kernel_size), 1e-10)), peak, shape)
    steps = np.eye(ndim, dtype=int)
    center = at(0 * steps[0])
    gradient = [(at(a) - at(-a)) / 2 for a in steps]
    hessian = _symmetric(
        ndim,
        lambda i: (at(2 * steps[i]) - 2 * center + at(-2 * steps[i])) / 4,
        lambda i, j: sum(p * q * at(p * steps[i] + q * steps[j]) for p in (1, -1) for q in (1, -1)) / 4,
    )
    interior = jnp.all((peak > 1) & (peak < last_cell(shape, peak.ndim) - 1), axis=-1, keepdims=True)
    return _pixels(peak + jnp.where(interior, _newton(gradient, hessian), 0.0), maps, stride)


def decode_udp(heatmaps: ArrayLike, *, stride: Stride = 4.0, ndim: int = 2, kernel_size: int = 11) -> jax.Array:
    """`decode_dark` as in unbiased data processing, Gaussian variant (UDP).

    The smoothed map is clipped to [0.001, 50] before the logarithm and continued beyond the border by its outermost
    cells, so that every cell takes the step. All differences are of step one, the mixed derivatives from the six cells
    along the diagonal. The machine's epsilon is added to the Hessian's diagonal. Where the Hessian is not negative
    definite, see `decode_dark`.

    Args:
      kernel_size: cells, odd; 11 goes with targets of sigma 2, 17 with 3.

    Source: Huang et al., "The Devil is in the Details: Delving into Unbiased Data Processing for Human Pose
      Estimation", CVPR 2020.
    """
    maps, shape = flatten(heatmaps, ndim)
    peak = argmax(maps, shape)
    at = _sampler(jnp.log(jnp.clip(_smooth(maps, shape, kernel_size), 1e-3, 50.0)), peak, shape)
    steps = np.eye(ndim, dtype=int)
    center = at(0 * steps[0])
    gradient = [(at(a) - at(-a)) / 2 for a in steps]

    def mixed(i: int, j: int) -> Any:
        diagonal = sum(at(p * (steps[i] + steps[j])) for p in (1, -1))
        return (diagonal + 2 * center - sum(at(p * steps[axis]) for p in (1, -1) for axis in (i, j))) / 2

    epsilon = np.finfo(np.float32).eps
    hessian = _symmetric(ndim, lambda i: at(steps[i]) - 2 * center + at(-steps[i]) + epsilon, mixed)
    return _pixels(peak + _newton(gradient, hessian), maps, stride)


def _pixels(positions: jax.Array, maps: jax.Array, stride: Stride) -> jax.Array:
    """Positions in cells `[..., K, D]` as input pixels; NaN where `maps [..., S, K]` cannot be used."""
    steps = along_last(strides(stride, positions.shape[-1]), positions.ndim, jnp.float32)
    return jnp.where(usable(maps)[..., None], positions.astype(jnp.float32) * steps, jnp.nan)


def _smooth(maps: jax.Array, shape: tuple[int, ...], kernel_size: int) -> jax.Array:
    """`maps [..., S, K]` under a Gaussian kernel, zero beyond the border, with their maxima kept; float32 or wider."""
    reach = odd("kernel_size", kernel_size) // 2
    sigma = 0.3 * (reach - 1) + 0.8
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    maps = widened(maps)
    before, greatest = jnp.max(maps, axis=-2, keepdims=True), jnp.finfo(maps.dtype).max
    scale = down_scale(before)
    maps = maps * scale
    smooth = maps.reshape(*maps.shape[:-2], *shape, maps.shape[-1])
    for axis, size in zip(range(-len(shape) - 1, -1), shape):
        widths = [(0, 0)] * smooth.ndim
        widths[axis] = (reach, reach)
        padded = jnp.pad(smooth, widths)
        windows = (lax.slice_in_dim(padded, n, n + size, axis=axis % smooth.ndim) for n in range(kernel_size))
        smooth = functools.reduce(jnp.add, (float(tap) * window for tap, window in zip(taps, windows)))
    smooth = smooth.reshape(maps.shape)
    after = jnp.max(smooth, axis=-2, keepdims=True)
    ratio = jnp.where(after > 0, before * scale / jnp.where(after > 0, after, 1.0), 1.0)
    return jnp.minimum(smooth * jnp.minimum(ratio, greatest) / scale, greatest)


def _sampler(maps: jax.Array, peak: jax.Array, shape: tuple[int, ...]) -> Callable[[np.ndarray], jax.Array]:
    """The function from one offset to the values `[..., K]` of maps there from the peak, or at the border before it."""

    def at(offset: np.ndarray) -> jax.Array:
        cells = jnp.clip(around(peak, offset[None]), 0, last_cell(shape, peak.ndim + 1))
        return take(maps, cells, shape)[..., 0]

    return at


def _symmetric(ndim: int, diagonal: Callable[[int], Any], mixed: Callable[[int, int], Any]) -> Matrix:
    upper = {(i, j): diagonal(i) if i == j else mixed(i, j) for i in range(ndim) for j in range(i, ndim)}
    return [[upper[min(i, j), max(i, j)] for j in range(ndim)] for i in range(ndim)]


def _newton(gradient: list[jax.Array], hessian: Matrix) -> jax.Array:
    """The step `[..., K, D]` to the maximum, by Cramer's rule; zero where the Hessian is singular."""
    ndim = len(gradient)
    determinant = _determinant(hessian)
    regular = determinant != 0
    steps = []
    for axis in range(ndim):
        replaced = [[*row[:axis], g, *row[axis + 1 :]] for row, g in zip(hessian, gradient)]
        steps.append(jnp.where(regular, -_determinant(replaced) / jnp.where(regular, determinant, 1.0), 0.0))
    minors = [(-1) ** n * _determinant([row[:n] for row in hessian[:n]]) > 0 for n in range(1, ndim + 1)]
    concave = functools.reduce(jnp.logical_and, minors)  # Sylvester's criterion
    step = jnp.stack(steps, axis=-1)
    return jnp.where(concave[..., None], step, jnp.clip(step, -1, 1))


def _determinant(rows: Matrix) -> Any:
    """Of a square list of lists of arrays, by its first row."""
    if len(rows) == 1:
        return rows[0][0]
    minors = [[[*row[:n], *row[n + 1 :]] for row in rows[1:]] for n in range(len(rows))]
    return sum((-1) ** n * rows[0][n] * _determinant(minor) for n, minor in enumerate(minors))
