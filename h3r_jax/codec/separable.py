"""Heatmaps that are the product of one profile for each axis, so that nothing needs to build them."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from h3r_jax.codec.activation import ActivationPoints
from h3r_jax.codec.arguments import is_traced, number, shape_of_map


class SeparableTarget(NamedTuple):
    """The target heatmap of each landmark, as its profiles: a cell has the product of its profiles' values.

    profiles: `float32[..., size, K]` for each axis, in the order of `heatmap_shape`.
    inside: `bool[..., K]`, whether the map can represent the coordinate at all.
    """

    profiles: tuple[jax.Array, ...]
    inside: jax.Array

    def heatmap(self) -> jax.Array:
        """The heatmaps `float32[..., *heatmap_shape, K]`, also of landmarks that are not inside."""
        return combine(jnp.multiply, self.profiles)

    def normalized(self) -> "SeparableTarget":
        """The target whose cells sum to one."""
        return self._replace(profiles=tuple(each / jnp.sum(each, axis=-2, keepdims=True) for each in self.profiles))


def separable_target(points: ActivationPoints, *, heatmap_shape: Sequence[int], sigma: float = 0.0) -> SeparableTarget:
    """A Gaussian of maximum one around each activation point, times its weight, added over the points.

    Args:
      points: ActivationPoints, whose cells may also be positions between cells. Weights of several points must be
        products over the axes, as those of `activation_points` are: the sum over the points is separable only then.
      heatmap_shape: `(H, W)` or `(D, H, W)`.
      sigma: standard deviation, cells; 0 for the points themselves.

    Returns:
      SeparableTarget. With sigma 0 its heatmap is `scatter(points, heatmap_shape)` for landmarks that are inside.

    Raises:
      ValueError: sigma is negative or not finite; heatmap_shape is not that of the points.
    """
    heatmap_shape, sigma = shape_of_map(heatmap_shape), number("sigma", sigma, 0.0)
    points.check_shape(heatmap_shape)
    weights = jnp.moveaxis(points.weights, -1, 0)[..., None, :]  # [P, ..., 1, K]
    by_point = (jnp.moveaxis(points.cells, -2, 0)).astype(jnp.float32)  # [P, ..., K, D]
    profiles = (jnp.sum(weights * bell(each, sigma), axis=0) for each in offsets(by_point, heatmap_shape))
    return SeparableTarget(tuple(profiles), points.inside)


def bell(offset: jax.Array, sigma: float) -> jax.Array:
    """A Gaussian of maximum one at offsets from its centre; with sigma 0 it is one at the centre alone."""
    if not is_traced(sigma) and sigma == 0:
        return (offset == 0).astype(jnp.float32)
    return jnp.exp(-((offset / sigma) ** 2) / 2)  # the square of sigma alone may be zero or infinite


def offsets(positions: jax.Array, heatmap_shape: Sequence[int]) -> tuple[jax.Array, ...]:
    """How far the cells of a map lie from positions, along each axis.

    Args:
      positions: `[..., K, D]`, cells.
      heatmap_shape: `(H, W)` or `(D, H, W)`.

    Returns:
      `float32[..., size, K]` for each axis, in the order of `heatmap_shape`.
    """
    along = jnp.moveaxis(positions.astype(jnp.float32), -1, 0)[::-1]  # the last axis of the map is x
    lines = (jnp.arange(size, dtype=jnp.float32)[:, None] for size in heatmap_shape)
    return tuple(
        line.reshape((1,) * (each.ndim - 1) + line.shape) - each[..., None, :] for line, each in zip(lines, along)
    )


def spread(profiles: Sequence[jax.Array]) -> list[jax.Array]:
    """Profiles `[..., size, K]` of all axes, each in a form that broadcasts to the map `[..., *heatmap_shape, K]`."""
    others = tuple(range(-1 - len(profiles), -1))
    return [jnp.expand_dims(each, others[:axis] + others[axis + 1 :]) for axis, each in enumerate(profiles)]


def combine(operate: Callable[[ArrayLike, ArrayLike], jax.Array], profiles: Sequence[jax.Array]) -> jax.Array:
    """Profiles `[..., size, K]` of all axes combined cell by cell into a map `[..., *heatmap_shape, K]`."""
    return functools.reduce(operate, spread(profiles))
