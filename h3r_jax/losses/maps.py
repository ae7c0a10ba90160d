"""What the losses over whole maps share: their gradient by hand, the sum of exponentials, and checks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def of_maps(
    whole: Callable[[jax.Array, Any, tuple[int, ...]], tuple[jax.Array, tuple[jax.Array, ...]]],
    slope: Callable[..., jax.Array],
    heatmaps: jax.Array,
    fields: Any,
) -> jax.Array:
    """A loss of each map, `[..., K]`, with its gradient by the map.

    Args:
      whole: of heatmaps, fields and the axes of a map: the loss, and what `slope` must know of the whole map, each
        `[..., K]`.
      slope: of heatmaps, fields and these (with axes of one): the derivative by each cell, in the shape of heatmaps.
      heatmaps: in at least float32.
      fields: arrays. The loss can be differentiated by them, too.
    """
    first = jax.tree.leaves(fields)[0]
    axes = tuple(range(first.ndim - heatmaps.ndim - 2, -1))

    def forward(heatmaps: jax.Array, fields: Any) -> tuple[jax.Array, tuple[Any, ...]]:
        value, known = whole(heatmaps, fields, axes)
        return value, (heatmaps, fields, known)

    def backward(saved: tuple[Any, ...], cotangent: jax.Array) -> tuple[Any, ...]:
        heatmaps, fields, known = saved
        gradient = slope(heatmaps, fields, *(jnp.expand_dims(each, axes) for each in known))
        _, pull_back = jax.vjp(lambda fields: whole(heatmaps, fields, axes)[0], fields)
        return gradient * jnp.expand_dims(cotangent, axes), *pull_back(cotangent)

    loss = jax.custom_vjp(lambda heatmaps, fields: whole(heatmaps, fields, axes)[0])
    loss.defvjp(forward, backward)
    return loss(heatmaps, fields)


def apart(heatmaps: jax.Array) -> jax.Array:
    """`heatmaps`, in a form that the compiler does not recognise.

    A sum over cells that shares a part with another sum would make it write that part down, an array of the heatmaps'
    size. Computing the part again is cheaper.
    """
    return lax.optimization_barrier(heatmaps)


def log_sum_exp(logits: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """The largest logit of each map, and the logarithm of the sum of exponentials above it.

    Apart, since a sum of large logits would lose the logarithm.
    """
    peak = jnp.max(logits, axis=axes, keepdims=True)
    peak = jnp.where(jnp.isfinite(peak), peak, 0.0)
    return jnp.squeeze(peak, axes), jnp.log(jnp.sum(jnp.exp(logits - peak), axis=axes))


def softplus(z: jax.Array) -> jax.Array:
    """`log(1 + exp(z))`. XLA on a CPU writes jax.nn's out as a map of its own before it sums it."""
    return jnp.maximum(z, 0) + jnp.log1p(jnp.exp(-jnp.abs(z)))


def in_float(heatmaps: jax.Array) -> jax.Array:
    """`heatmaps` in at least float32; ValueError if they are no floats."""
    if not jnp.issubdtype(heatmaps.dtype, jnp.floating):
        raise ValueError(f"logits must be of a float dtype, got {heatmaps.dtype}")
    return heatmaps.astype(jnp.promote_types(heatmaps.dtype, jnp.float32))


def check(heatmaps: jax.Array, shape: tuple[int, ...], landmarks: tuple[int, ...]) -> None:
    """ValueError unless the heatmaps are of `landmarks = (..., K)` and of the `shape` of a map."""
    expected = (*landmarks[:-1], *shape, *landmarks[-1:])
    if heatmaps.shape != expected:
        raise ValueError(
            f"the target is of {landmarks} landmarks and of maps of {shape}; want heatmaps of {expected}, "
            f"got {heatmaps.shape}"
        )
