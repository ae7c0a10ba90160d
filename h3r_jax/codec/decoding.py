"""Heatmaps to coordinates: choose cells, turn their values into weights, take the expectation."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from h3r_jax.codec.activation import along_last, expectation
from h3r_jax.codec.arguments import Stride, choice, is_traced, positive, strides, whole
from h3r_jax.codec.selection import SELECTIONS, down_scale, flatten, widened

Mass = Callable[[jax.Array, jax.Array], jax.Array]


class Decoded(NamedTuple):
    """What a heatmap says about each landmark.

    coordinates: `float32[..., K, D]`, input pixels; NaN for a map that says nothing.
    confidence: `float32[..., K]` in [0, 1], the share of the map's mass in the chosen cells; 0 for such a map.
    covariance: `float32[..., K, D, D]`, square input pixels; NaN for such a map.
    """

    coordinates: jax.Array
    confidence: jax.Array
    covariance: jax.Array


# The probability mass of cells, by the loss that made the values, relative to a
# cell of value `peak`, so that nothing overflows and the peak does not underflow.
ACTIVATIONS: dict[str, Mass] = {
    "softmax": lambda values, peak: jnp.exp(values - peak),
    "sigmoid": lambda values, peak: jnp.exp(jax.nn.log_sigmoid(values) - jax.nn.log_sigmoid(peak)),
    "identity": lambda values, peak: _ratio(jnp.maximum(values, 0), jnp.maximum(peak, 0)),
}


def _ratio(values: jax.Array, peak: jax.Array) -> jax.Array:
    """`values / peak`, where XLA may multiply by the inverse, which is zero for the greatest numbers of float32."""
    scale = down_scale(peak)
    return (values * scale) / (peak * scale)


def decode(
    heatmaps: ArrayLike,
    *,
    k: int = 9,
    stride: Stride = 4.0,
    activation: str = "softmax",
    selection: str = "top_k",
    ndim: int = 2,
    temperature: float = 1.0,
) -> jax.Array:
    """Coordinates as the expectation over `k` activation points of each heatmap.

    The result is the mean of what the network believes, exactly, if the chosen
    cells hold all of its mass and `activation` is that of the loss: "softmax"
    for logits of a spatial cross-entropy, "sigmoid" for `z_on - z_off` of a
    binary cross-entropy (subtract `log w` first after a positive-class weight
    `w`), "identity" for maps of probabilities, whose negative values have no
    mass. The reference's decoder is `softmax` of the "on" logits with k = 9.

    Args:
      heatmaps: `[..., H, W, K]`, or `[..., D, H, W, K]` with `ndim=3`; any float dtype, and any finite values.
      k: number of cells.
      stride: input pixels per cell; a number, or a tuple in the order of the coordinates.
      activation: "softmax", "sigmoid" or "identity".
      selection: "top_k", the k strongest cells, ties to the lowest row-major
        index; or "neighbours", cells around the maximum: k = 1, 2**ndim (the
        heaviest block that contains the maximum), 2 * ndim + 1 (the cross) or an
        odd number to the power ndim (the window); cells beyond the border are masked.
      ndim: number of spatial axes.
      temperature: what "softmax" divides the values by; positive.

    Returns:
      `float32[..., K, ndim]`, input pixels, `(x, y)` or `(x, y, z)`. NaN where a
      map contains NaN or +inf, or has no mass (all -inf; under "identity", nothing positive).

    Raises:
      ValueError: unknown activation or selection, k larger than the map or not of
        the selection's form, heatmaps that are no floats or have fewer than
        `ndim + 1` axes, a temperature that is not positive and finite or not of
        "softmax", k or ndim that are no whole numbers of at least 1, a stride
        that is not positive and finite.
    """
    _, _, points = _choose(heatmaps, k, activation, selection, ndim, temperature)
    return expectation(points, stride=stride)


def decode_with_statistics(
    heatmaps: ArrayLike,
    *,
    k: int = 9,
    stride: Stride = 4.0,
    activation: str = "softmax",
    selection: str = "top_k",
    ndim: int = 2,
    temperature: float = 1.0,
) -> Decoded:
    """`decode`, and how sure the heatmap is.

    The confidence is the share of the whole map's probability mass that lies in
    the chosen cells. The covariance is that of the chosen cells by their
    weights, less the variance that rounding to cells alone adds,
    `stride**2 * e * (1 - e)` per axis, where `e` is the fraction of the decoded
    position in its cell: a network that knows the coordinate exactly, and
    predicts its activation points, has covariance zero.

    A variance that would be negative (cells concentrated beyond what rounding
    does, say all mass in one cell beside others of a similar share) is zero;
    covariances with it are zero, and the others shrink by a common factor if
    need be, so that the matrix is positive semi-definite. Otherwise they are
    those of the cells: rounding is independent between axes.

    Args, errors: as `decode`.

    Returns:
      Decoded(coordinates, confidence, covariance).
    """
    mass, peak, points = _choose(heatmaps, k, activation, selection, ndim, temperature)
    maps, _ = flatten(heatmaps, ndim)
    chosen = jnp.sum(mass(points.values, peak[..., None]), axis=-1)
    total = jnp.sum(mass(widened(maps), peak[..., None, :]), axis=-2)
    known = points.inside
    confidence = jnp.where(known, jnp.minimum(chosen / jnp.where(known, total, 1.0), 1.0), 0.0)
    return Decoded(expectation(points, stride=stride), confidence.astype(jnp.float32), _covariance(points, stride))


class _Chosen(NamedTuple):
    """ActivationPoints of a prediction, with the values that gave the weights; NaN weights where not `inside`."""

    cells: jax.Array
    weights: jax.Array
    inside: jax.Array
    values: jax.Array


def _choose(
    heatmaps: ArrayLike, k: int, activation: str, selection: str, ndim: int, temperature: float
) -> tuple[Mass, jax.Array, _Chosen]:
    """The mass function, the values `float32[..., K]` at the maxima, and the chosen points."""
    activation = choice("activation", activation, ACTIVATIONS)
    selection = choice("selection", selection, SELECTIONS)
    maps, shape = flatten(heatmaps, ndim)
    k = whole("k", k)
    if k > math.prod(shape):
        raise ValueError(f"k={k} cells cannot be chosen from a map of {'x'.join(map(str, shape))}")
    mass = mass_function(activation, temperature)
    values, cells, usable = SELECTIONS[selection](maps, shape, k, functools.partial(_weights, mass))
    values = widened(values)
    weights = _weights(mass, values).astype(jnp.float32)
    known = usable & ~jnp.isnan(jnp.sum(weights, axis=-1))
    weights = jnp.where(known[..., None], weights, jnp.nan)
    return mass, _peak(values), _Chosen(cells, weights, known, values)


def relative_mass(
    heatmaps: ArrayLike, *, activation: str = "softmax", ndim: int = 2, temperature: float = 1.0
) -> jax.Array:
    """The mass of every cell, relative to the heaviest of its map: what a map looks like, whatever its loss was.

    Args, errors: as `decode`.

    Returns:
      Maps in the shape of `heatmaps`, float32 or wider, from 0 to 1.
    """
    maps, _ = flatten(heatmaps, ndim)
    mass = mass_function(choice("activation", activation, ACTIVATIONS), temperature)
    values = widened(maps)
    return mass(values, jnp.max(values, axis=-2, keepdims=True)).reshape(jnp.shape(heatmaps))


def mass_function(activation: str, temperature: float) -> Mass:
    """The function of `values` and `peak` named `activation`; values are divided by `temperature` first."""
    temperature = positive("temperature", temperature)
    if not is_traced(temperature) and temperature == 1:
        return ACTIVATIONS[activation]
    if activation != "softmax":
        raise ValueError(f"only softmax takes a temperature, not {activation}")
    return lambda values, peak: jnp.exp(divided_difference(values, peak, temperature))


def divided_difference(values: jax.Array | float, level: jax.Array | float, temperature: float) -> jax.Array:
    """`(values - level) / temperature`, at least -200, where float32 has no exponential; NaN if both are -inf.

    By halves, since a difference of finite numbers may be infinite. Finite, so that derivatives are.
    """
    return 2 * (jnp.maximum(values / 2 - level / 2, -100 * temperature) / temperature)


def _peak(values: jax.Array) -> jax.Array:
    return lax.stop_gradient(jnp.max(values, axis=-1))  # the weights do not depend on it


def _weights(mass: Mass, values: jax.Array) -> jax.Array:
    """Shares of the mass over the last axis; NaN if there is none."""
    masses = mass(values, _peak(values)[..., None])
    return masses / jnp.sum(masses, axis=-1, keepdims=True)


def _covariance(points: _Chosen, stride: Stride) -> jax.Array:
    """Covariance `float32[..., K, D, D]` of points in square pixels, less that of rounding, positive semi-definite."""
    ndim = points.cells.shape[-1]
    mean = expectation(points, stride=1.0)  # cells
    offsets = points.cells.astype(jnp.float32) - mean[..., None, :]
    # Sums, not matrix products, which accelerators would round to bfloat16.
    products = offsets[..., :, None] * offsets[..., None, :]  # [..., K, P, D, D]
    spread = jnp.sum(points.weights[..., None, None] * products, axis=-3)
    fraction = mean - jnp.floor(mean)
    variance = jnp.diagonal(spread, axis1=-2, axis2=-1) - fraction * (1 - fraction)
    variance = jnp.where(variance < 0, 0.0, variance)  # NaN stays
    scale = jnp.sqrt(jnp.where(variance == 0, 1.0, variance))
    both = (variance[..., :, None] > 0) & (variance[..., None, :] > 0) & ~_diagonal(ndim, spread.ndim)
    correlation = jnp.where(both, spread / (scale[..., :, None] * scale[..., None, :]), 0.0)
    # 1 + shrink * correlation has no negative eigenvalue.
    shrink = 1 / jnp.maximum(-_least_eigenvalue(correlation), 1.0)
    covariance = jnp.where(both, shrink[..., None, None] * spread, 0.0)
    covariance = jnp.where(_diagonal(ndim, spread.ndim), variance[..., None], covariance)
    covariance = jnp.where(points.inside[..., None, None], covariance, jnp.nan)
    steps = along_last(strides(stride, ndim), mean.ndim, jnp.float32)
    return covariance * steps[..., :, None] * steps[..., None, :]


def _diagonal(ndim: int, rank: int) -> jax.Array:
    return jnp.eye(ndim, dtype=bool).reshape((1,) * (rank - 2) + (ndim, ndim))


def _least_eigenvalue(symmetric: jax.Array) -> jax.Array:
    """Of `[..., D, D]` with a diagonal of zeros, `[...]`."""
    if symmetric.shape[-1] == 1:
        return symmetric[..., 0, 0]
    if symmetric.shape[-1] == 2:
        return -jnp.abs(symmetric[..., 0, 1])
    return jnp.linalg.eigvalsh(symmetric)[..., 0]
