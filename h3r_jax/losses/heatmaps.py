"""Losses against heatmaps that are never built.

A target is a `codec.SeparableTarget`: each cell has the product of the profiles' values. The loop over the cells of a
map takes that product, forward and backward, and the gradient is written once for each loss. Landmarks that are not
inside have a loss, too; `landmark_weights` gives them no weight.

These losses are for reverse-mode differentiation; `jax.jvp` takes their gradient, not themselves.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from h3r_jax import codec
from h3r_jax.codec.activation import locate
from h3r_jax.codec.arguments import Stride, number, positive
from h3r_jax.codec.separable import combine, offsets, spread
from h3r_jax.losses.maps import apart, check, in_float, log_sum_exp, of_maps, softplus

Profiles = tuple[jax.Array, ...]
Known = tuple[jax.Array, ...]  # of whole maps, `[..., K]` each


def squared_error(heatmaps: jax.Array, target: codec.SeparableTarget) -> jax.Array:
    """The squared error of every cell, summed over the map, one map per landmark.

    Its minimum is the mean of the targets, which decodes with `activation="identity"`.

    Args:
      heatmaps: `[..., H, W, K]` or `[..., D, H, W, K]`.
      target: SeparableTarget for the same leading axes and landmarks.

    Returns:
      `[..., K]`, float32 or wider.

    Raises:
      ValueError: heatmaps and target disagree about their axes; heatmaps are no floats.

    Source: Tompson et al., "Joint Training of a Convolutional Network and a Graphical Model for Human Pose
      Estimation", NeurIPS 2014; what is usually meant by heatmap regression.
    """
    return _of_cells(lambda z, y: jnp.square(z - y), lambda z, y: 2 * (z - y), heatmaps, target)


def adaptive_wing(
    heatmaps: jax.Array,
    target: codec.SeparableTarget,
    *,
    alpha: float = 2.1,
    omega: float = 14.0,
    epsilon: float = 1.0,
    theta: float = 0.5,
) -> jax.Array:
    """The Adaptive Wing loss of every cell, summed over the map, one map per landmark.

    With the error `d` and the target `y`, a cell costs `omega * log(1 + |d / epsilon| ** (alpha - y))` while `|d|` is
    below theta, and continues in a straight line beyond. So the loss is steep at small errors of the foreground, and
    nearly quadratic on the background. (The authors also multiply the cells around the landmark by 11; this is left
    out.)

    Args:
      heatmaps: `[..., H, W, K]` or `[..., D, H, W, K]`.
      target: SeparableTarget with values from 0 to 1, for the same leading axes and landmarks.
      alpha: greater than 1 plus the largest target, so that the loss is smooth at zero.
      omega, epsilon, theta: see above; positive.

    Returns:
      `[..., K]`, float32 or wider.

    Raises:
      ValueError: heatmaps and target disagree about their axes; heatmaps are no floats; a number that is not positive.

    Source: Wang et al., "Adaptive Wing Loss for Robust Face Alignment via Heatmap Regression", ICCV 2019.
    """
    alpha, omega = positive("alpha", alpha), positive("omega", omega)
    epsilon, theta = positive("epsilon", epsilon), positive("theta", theta)

    def parts(z: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
        """Of each cell: the error, the power, the error up to theta over epsilon, and the straight line's slope."""
        error, power = jnp.abs(z - y), alpha - y
        line = omega * power * (theta / epsilon) ** (power - 1) / (epsilon * (1 + (theta / epsilon) ** power))
        return error, power, jnp.minimum(error, theta) / epsilon, line

    def cost(z: jax.Array, y: jax.Array) -> jax.Array:
        error, power, near, line = parts(z, y)
        return omega * jnp.log1p(near**power) + line * jnp.maximum(error - theta, 0)

    def slope(z: jax.Array, y: jax.Array) -> jax.Array:
        error, power, near, line = parts(z, y)
        curve = omega * power * near ** (power - 1) / (epsilon * (1 + near**power))
        return jnp.sign(z - y) * jnp.where(error < theta, curve, line)

    return _of_cells(cost, slope, heatmaps, target)


def spatial_cross_entropy(logits: jax.Array, target: codec.SeparableTarget) -> jax.Array:
    """See `losses.spatial_cross_entropy`."""
    return _log_sum_less_target(lambda z, _: z, 1.0, logits, target, ())


def binary_cross_entropy(
    logits: jax.Array, target: codec.SeparableTarget, *, positive_weight: ArrayLike = 1.0
) -> jax.Array:
    """See `losses.binary_cross_entropy`."""
    weight = positive("positive_weight", positive_weight)
    return _of_cells(
        lambda z, y: softplus(z) + y * ((weight - 1) * softplus(z) - weight * z),
        lambda z, y: (1 - y) * jax.nn.sigmoid(z) - weight * y * jax.nn.sigmoid(-z),
        logits,
        target,
    )


def jensen_shannon(logits: jax.Array, target: codec.SeparableTarget) -> jax.Array:
    """The Jensen-Shannon divergence of the softmax of a map from a target, one map per landmark.

    Args:
      logits: `[..., H, W, K]` or `[..., D, H, W, K]`.
      target: SeparableTarget whose cells sum to one, for the same leading axes and landmarks.

    Returns:
      `[..., K]`, nats, from 0 to log 2; float32 or wider.

    Raises:
      ValueError: logits and target disagree about their axes; logits are no floats.

    Source: Nibali et al., "Numerical Coordinate Regression with Convolutional Neural Networks", 2018 (DSNT).
    """

    # What has no mass has no part in the sums; the least positive number keeps its logarithm finite.
    least = jnp.finfo(jnp.float32).tiny

    def parts(z: jax.Array, q: jax.Array, peak: jax.Array, log_sum: jax.Array) -> tuple[jax.Array, ...]:
        """Of each cell: p, and how far the logarithms of p and q are above the logarithm of their mean."""
        p = jnp.exp(z - peak - log_sum)
        log_p, log_q, log_mean = (jnp.log(jnp.maximum(each, least)) for each in (p, q, (p + q) / 2))
        return p, log_p - log_mean, log_q - log_mean

    def whole(z: jax.Array, profiles: Profiles, axes: tuple[int, ...]) -> tuple[jax.Array, Known]:
        q, known = combine(jnp.multiply, profiles), log_sum_exp(z, axes)
        peak, log_sum = (jnp.expand_dims(each, axes) for each in known)
        p, above_p, _ = parts(apart(z), q, peak, log_sum)
        of_p = jnp.sum(p * above_p, axis=axes)
        _, _, above_q = parts(apart(z), q, peak, log_sum)
        return (of_p + jnp.sum(q * above_q, axis=axes)) / 2, (*known, of_p)

    def slope(z: jax.Array, profiles: Profiles, peak: jax.Array, log_sum: jax.Array, of_p: jax.Array) -> jax.Array:
        p, above_p, _ = parts(z, combine(jnp.multiply, profiles), peak, log_sum)
        return p * (above_p - of_p) / 2

    return of_maps(whole, slope, _checked(logits, target), target.profiles)


def integral_regression(logits: jax.Array, coordinates: ArrayLike, *, stride: Stride = 4.0) -> jax.Array:
    """The distance of the soft-argmax of a map from the coordinate, summed over the axes (L1), one map per landmark.

    Its minimum decodes with the softmax over all cells. The loss says nothing about the form of the map.

    Args:
      logits: `[..., H, W, K]` or `[..., D, H, W, K]`.
      coordinates: `[..., K, D]`, input pixels; those outside the map count as its border.
      stride: input pixels per cell; a number, or a tuple in the order of the coordinates.

    Returns:
      `[..., K]`, cells, float32 or wider.

    Raises:
      ValueError: logits and coordinates disagree about their axes; logits are no floats; see `codec.activation_points`.

    Source: Sun et al., "Integral Human Pose Regression", ECCV 2018.
    """
    logits = in_float(logits)
    leading = jnp.ndim(coordinates) - 2
    shape = logits.shape[leading:-1]
    lower, fraction, inside = locate(coordinates, shape, stride)
    check(logits, shape, inside.shape)

    def whole(z: jax.Array, lines: Profiles, axes: tuple[int, ...]) -> tuple[jax.Array, Known]:
        known = log_sum_exp(z, axes)
        level = jnp.expand_dims(known[0] + known[1], axes)
        # The mean distance from the coordinate, along each axis.
        means = tuple(jnp.sum(jnp.exp(apart(z) - level) * each, axis=axes) for each in spread(lines))
        return sum(map(jnp.abs, means), start=jnp.zeros((), z.dtype)), (*known, *means)

    def slope(z: jax.Array, lines: Profiles, peak: jax.Array, log_sum: jax.Array, *means: jax.Array) -> jax.Array:
        pulls = (jnp.sign(mean) * (each - mean) for mean, each in zip(means, spread(lines)))
        return jnp.exp(z - peak - log_sum) * sum(pulls, start=jnp.zeros((), z.dtype))

    return of_maps(whole, slope, logits, offsets(lower + fraction, shape))


def structured_hinge(
    logits: jax.Array,
    target: codec.SeparableTarget,
    coordinates: ArrayLike,
    *,
    stride: Stride = 4.0,
    margin: float = 1.0,
    eps: float = 1.0,
) -> jax.Array:
    """The smoothed structured hinge: the target must exceed every cell by a margin that grows with its distance.

    With logits z, target y, and the distance `d` of each cell from the landmark in cells, a map costs
    `eps * logsumexp((z + margin * d) / eps) - sum(y * z)`. Without a margin, and with eps 1, this is the spatial
    cross-entropy. The smaller eps is, the more the worst cell counts alone.

    Args:
      logits: `[..., H, W, K]` or `[..., D, H, W, K]`.
      target: SeparableTarget whose cells sum to one, for the same leading axes and landmarks.
      coordinates: `[..., K, D]`, input pixels; those outside the map count as its border.
      stride: input pixels per cell; a number, or a tuple in the order of the coordinates.
      margin: how much lower a logit must be, for each cell of distance from the landmark; at least 0.
      eps: the width of the smooth maximum; positive.

    Returns:
      `[..., K]`, float32 or wider.

    Raises:
      ValueError: logits, target and coordinates disagree about their axes; logits are no floats; a number out of range.

    Source: Yang & Yeh, "Heatmap Regression without Soft-Argmax for Facial Landmark Detection", ICCV 2025.
    """
    margin, eps = number("margin", margin, 0.0), positive("eps", eps)
    shape = tuple(profile.shape[-2] for profile in target.profiles)
    lower, fraction, _ = locate(coordinates, shape, stride)
    squares = tuple(jnp.square(each) for each in offsets(lower + fraction, shape))

    def raised(z: jax.Array, squares: Profiles) -> jax.Array:
        return (z + margin * jnp.sqrt(combine(jnp.add, squares))) / eps

    return _log_sum_less_target(raised, eps, logits, target, squares)


def _log_sum_less_target(
    change: Callable[[jax.Array, Profiles], jax.Array],
    eps: float,
    logits: jax.Array,
    target: codec.SeparableTarget,
    more: Profiles,
) -> jax.Array:
    """`sum(y) * eps * logsumexp(change(z, more)) - sum(y * z)`, where `change` divides by eps."""

    def whole(z: jax.Array, fields: tuple[Profiles, Profiles], axes: tuple[int, ...]) -> tuple[jax.Array, Known]:
        peak, log_sum = log_sum_exp(change(z, fields[1]), axes)
        mass = functools.reduce(jnp.multiply, (jnp.sum(each, axis=-2) for each in fields[0]))
        hit = z
        for axis in reversed(range(len(axes))):  # sum(y * z), an axis at a time
            hit = jnp.sum(hit * fields[0][axis][(..., *[None] * axis, slice(None), slice(None))], axis=-2)
        return mass * eps * (peak + log_sum) - hit, (peak, log_sum, mass)

    def slope(z: jax.Array, fields: tuple[Profiles, Profiles], *known: jax.Array) -> jax.Array:
        peak, log_sum, mass = known
        return mass * jnp.exp(change(z, fields[1]) - peak - log_sum) - combine(jnp.multiply, fields[0])

    return of_maps(whole, slope, _checked(logits, target), (target.profiles, more))


def _of_cells(
    cost: Callable[[jax.Array, jax.Array], jax.Array],
    slope: Callable[[jax.Array, jax.Array], jax.Array],
    heatmaps: jax.Array,
    target: codec.SeparableTarget,
) -> jax.Array:
    """The sum over the cells of a map of a cost of prediction and target, with its slope."""

    def whole(z: jax.Array, profiles: Profiles, axes: tuple[int, ...]) -> tuple[jax.Array, Known]:
        return jnp.sum(cost(z, combine(jnp.multiply, profiles)), axis=axes), ()

    return of_maps(
        whole,
        lambda z, profiles: slope(z, combine(jnp.multiply, profiles)),
        _checked(heatmaps, target),
        target.profiles,
    )


def _checked(heatmaps: jax.Array, target: codec.SeparableTarget) -> jax.Array:
    """`in_float`; ValueError unless the heatmaps are those of the target."""
    shape = tuple(profile.shape[-2] for profile in target.profiles)
    check(heatmaps, shape, target.inside.shape)
    return in_float(heatmaps)
