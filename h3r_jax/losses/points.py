"""Cross-entropies against activation points: the target heatmap is never built, and the gradient is written once.

Both are linear in the target. So the loss against all weighted points (`codec.activation_points`) is the expectation
of the loss against one sampled point (`codec.randomized_rounding`, the paper's training), at fixed parameters.

The gradient by float32 logits is the only array of their size that is made. These losses are for reverse-mode
differentiation; `jax.jvp` takes their gradient, not themselves.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from h3r_jax import codec
from h3r_jax.codec.arguments import positive
from h3r_jax.codec.maps import add_at
from h3r_jax.losses import heatmaps
from h3r_jax.losses.maps import in_float, log_sum_exp, softplus

Target = codec.ActivationPoints | codec.SeparableTarget


def _against(
    logits: jax.Array,
    points: codec.ActivationPoints,
    whole: Callable[[jax.Array, tuple[int, ...]], tuple[jax.Array, ...]],
    slope: Callable[..., jax.Array],
    total: Callable[..., jax.Array],
    parameters: tuple[jax.typing.ArrayLike, ...] = (),
) -> jax.Array:
    """A number of each whole map and of its activation points, `[..., K]`, with a gradient that is written once.

    Left to itself, differentiation would make a map of zeros with the points' part alone, and add it to the whole's.
    (`codec.maps.add_at` says how each platform avoids that.)

    Args:
      logits, points: as `spatial_cross_entropy`, logits in at least float32.
      whole: of maps and their axes, what must be known of them all, `[..., K]` each.
      total: the result, of `whole`, of the values and the weights `[..., K, P]` of points, and of `parameters`.
      slope: its derivative by a cell that is no point, of maps and of `whole` (with axes of one), in the shape of maps.
      parameters: numbers to differentiate by, too.
    """
    axes = tuple(range(-points.cells.shape[-1] - 1, -1))

    def forward(
        logits: jax.Array, points: codec.ActivationPoints, *parameters: jax.Array
    ) -> tuple[jax.Array, tuple[Any, ...]]:
        values = codec.gather(logits, points)  # which says so if shapes disagree
        known = whole(logits, axes)
        return total(known, values, points.weights, *parameters), (logits, points, known, values, parameters)

    def backward(saved: tuple[Any, ...], cotangent: jax.Array) -> tuple[Any, ...]:
        logits, points, known, values, parameters = saved
        _, pull_back = jax.vjp(functools.partial(total, known), values, points.weights, *parameters)
        by_values, by_weights, *by_parameters = pull_back(cotangent)
        gradient = slope(logits, *(jnp.expand_dims(each, axes) for each in known)) * jnp.expand_dims(cotangent, axes)
        gradient = add_at(gradient.astype(logits.dtype), points, by_values.astype(logits.dtype))
        none: Any = None
        return gradient, dataclasses.replace(points, cells=none, weights=by_weights, inside=none), *by_parameters

    loss = jax.custom_vjp(lambda *operands: forward(*operands)[0])
    loss.defvjp(forward, backward)
    return loss(logits, points, *parameters)


def spatial_cross_entropy(logits: jax.Array, target: Target) -> jax.Array:
    """Cross-entropy of a softmax over all cells of a map, one map per landmark.

    Since the weights sum to one, `-sum(target * log_softmax(logits))` is
    `logsumexp(logits) - sum(weights * logits[cells])`. Its minimum decodes
    exactly with `activation="softmax"`.

    Args:
      logits: `[..., H, W, K]` or `[..., D, H, W, K]`.
      target: ActivationPoints, or a SeparableTarget whose cells sum to one; for the same leading axes and landmarks.

    Returns:
      `[..., K]`, nats, float32 or wider.

    Raises:
      ValueError: logits and target disagree about leading axes or landmarks; logits are no floats.
    """
    if isinstance(target, codec.SeparableTarget):
        return heatmaps.spatial_cross_entropy(logits, target)
    logits = in_float(logits)

    def total(known: tuple[jax.Array, jax.Array], values: jax.Array, weights: jax.Array) -> jax.Array:
        peak, log_sum = (each[..., None] for each in known)
        half = values / 2 - peak / 2  # a difference of finite numbers may be infinite, and a point have no weight
        # Of weights that sum to one, `peak` is no part; their derivative is that of -values alone.
        nothing = peak[..., 0] * jnp.sum(lax.stop_gradient(weights) - weights, axis=-1)
        return log_sum[..., 0] - 2 * jnp.sum(half * weights, axis=-1) + nothing

    return _against(
        logits, target, log_sum_exp, slope=lambda logits, peak, log_sum: jnp.exp(logits - peak - log_sum), total=total
    )


def binary_cross_entropy(logits: jax.Array, target: Target, *, positive_weight: float = 1.0) -> jax.Array:
    """Binary cross-entropy of every cell, summed over the map, one map per landmark.

    For the reference's two-channel head pass `codec.binary_logits(outputs)`: its
    cross-entropy between "off" and "on" is that of the sigmoid of their
    difference. With target `y` and log-odds `z` a cell costs
    `-w * y * log_sigmoid(z) - (1 - y) * log_sigmoid(-z)`, which is `softplus(z)`
    wherever `y` is zero. Its minimum decodes exactly with `activation="sigmoid"`,
    after `log(positive_weight)` has been subtracted.

    Args:
      logits: `[..., H, W, K]` or `[..., D, H, W, K]`, log-odds.
      target: ActivationPoints, or a SeparableTarget with values of at most one; for the same leading axes and
        landmarks.
      positive_weight: `w`, the cost of a missed target relative to a false one; positive.

    Returns:
      `[..., K]`, nats, float32 or wider; inf where the sum is beyond that, but the gradient is right.

    Raises:
      ValueError: logits and target disagree about leading axes or landmarks; logits are no floats; a weight that is not
        positive and finite.
    """
    if isinstance(target, codec.SeparableTarget):
        return heatmaps.binary_cross_entropy(logits, target, positive_weight=positive_weight)
    logits, positive_weight = in_float(logits), positive("positive_weight", positive_weight)

    def whole(logits: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array]:
        return (jnp.sum(softplus(logits), axis=axes),)

    def total(known: tuple[jax.Array], values: jax.Array, weights: jax.Array, positive_weight: jax.Array) -> jax.Array:
        gain = positive_weight * jax.nn.softplus(-values) - jax.nn.softplus(values)
        return known[0] + jnp.sum(gain * weights, axis=-1)

    return _against(
        logits,
        target,
        whole,
        slope=lambda logits, _: jax.nn.sigmoid(logits),
        total=total,
        parameters=(positive_weight,),
    )
