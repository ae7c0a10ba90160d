"""Losses against activation points: the target heatmap is never built.

Each is unreduced, one number per landmark, and takes the points of
`codec.activation_points` (all weighted points) or `codec.randomized_rounding`
(one sampled point, the paper's training). Both are linear in the target, so
the first is the expectation of the second at fixed parameters.

Landmarks that a map cannot represent have no target; `landmark_weights` says
how much each landmark counts, and the caller averages with those weights.
"""

import math

import jax
import jax.numpy as jnp

from h3r_jax import codec


def landmark_weights(points: codec.ActivationPoints, visibility: jax.Array | None = None) -> jax.Array:
    """How much each landmark counts in a loss: its visibility, and nothing outside the map.

    Args:
      points: ActivationPoints with `inside [..., K]`.
      visibility: `[..., K]`, non-negative weights; None for ones.

    Returns:
      `float32[..., K]`.
    """
    inside = points.inside.astype(jnp.float32)
    return inside if visibility is None else inside * visibility.astype(jnp.float32)


def _target_sum(values: jax.Array, points: codec.ActivationPoints) -> jax.Array:
    """`sum_p weight_p * value_p` in at least float32, `[..., K]`."""
    return jnp.sum(codec.gather(values, points) * points.weights, axis=-1)


def _spatial_sum_axes(points: codec.ActivationPoints) -> tuple[int, ...]:
    ndim = points.cells.shape[-1]
    return tuple(range(-ndim - 1, -1))


def spatial_cross_entropy(logits: jax.Array, points: codec.ActivationPoints) -> jax.Array:
    """Cross-entropy of a softmax over all cells of a map, one map per landmark.

    Since the weights sum to one, `-sum(target * log_softmax(logits))` is
    `logsumexp(logits) - sum(weights * logits[cells])`. Its minimum decodes
    exactly with `activation="softmax"`.

    Args:
      logits: `[..., H, W, K]` or `[..., D, H, W, K]`.
      points: ActivationPoints for the same leading axes and landmarks.

    Returns:
      `[..., K]`, nats, float32 or wider.

    Raises:
      ValueError: logits and points disagree about leading axes or landmarks.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return jax.nn.logsumexp(logits, axis=_spatial_sum_axes(points)) - _target_sum(logits, points)


def binary_cross_entropy(logits: jax.Array, points: codec.ActivationPoints, *, positive_weight: float = 1.0) -> jax.Array:
    """Binary cross-entropy of every cell, summed over the map, one map per landmark.

    For the reference's two-channel head pass `codec.binary_logits(outputs)`: its
    cross-entropy between "off" and "on" is that of the sigmoid of their
    difference. With target `y` and log-odds `z` a cell costs
    `-w * y * log_sigmoid(z) - (1 - y) * log_sigmoid(-z)`, which is `softplus(z)`
    wherever `y` is zero. Its minimum decodes exactly with `activation="sigmoid"`,
    after `log(positive_weight)` has been subtracted.

    Args:
      logits: `[..., H, W, K]` or `[..., D, H, W, K]`, log-odds.
      points: ActivationPoints for the same leading axes and landmarks.
      positive_weight: `w`, the cost of a missed target relative to a false one.

    Returns:
      `[..., K]`, nats, float32 or wider.

    Raises:
      ValueError: logits and points disagree about leading axes or landmarks.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    background = jnp.sum(jax.nn.softplus(logits), axis=_spatial_sum_axes(points))
    at_points = codec.gather(logits, points)
    gain = positive_weight * jax.nn.softplus(-at_points) - jax.nn.softplus(at_points)
    return background + jnp.sum(gain * points.weights, axis=-1)


def weighted_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Mean of `values` by `weights`, over all axes; zero if nothing has weight.

    Args:
      values, weights: arrays of one shape.

    Returns:
      A scalar in the dtype of `values`.

    Raises:
      ValueError: the shapes differ.
    """
    if values.shape != weights.shape:
        raise ValueError(f"values have shape {values.shape}, weights {weights.shape}")
    total = jnp.sum(weights).astype(values.dtype)
    return jnp.sum(values * weights) / jnp.maximum(total, math.ulp(1.0))


LOSSES = {"spatial_cross_entropy": spatial_cross_entropy, "binary_cross_entropy": binary_cross_entropy}
