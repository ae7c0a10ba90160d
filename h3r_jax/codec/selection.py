"""Which cells of a heatmap a decoder looks at, and their values."""

import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from h3r_jax.codec import top_k as strongest
from h3r_jax.codec.activation import along_last
from h3r_jax.codec.arguments import whole
from h3r_jax.codec.maps import flat_index

Weigh = Callable[[jax.Array], jax.Array]  # from values to their shares of the mass, over the last axis


def flatten(heatmaps: ArrayLike, ndim: int) -> tuple[jax.Array, tuple[int, ...]]:
    """`heatmaps [..., *shape, K]` as maps `[..., S, K]`; and `shape`, `ndim` numbers.

    Raises ValueError for an `ndim` below 1, for too few axes, or for maps without cells.
    """
    heatmaps, ndim = jnp.asarray(heatmaps), whole("ndim", ndim)
    if not jnp.issubdtype(heatmaps.dtype, jnp.floating):
        raise ValueError(f"heatmaps must be of a float dtype, got {heatmaps.dtype}")
    if heatmaps.ndim < ndim + 1:
        raise ValueError(f"heatmaps of shape {heatmaps.shape} have no {ndim} spatial axes and one of landmarks")
    shape = heatmaps.shape[-ndim - 1 : -1]
    if min(shape) < 1:
        raise ValueError(f"heatmaps of shape {heatmaps.shape} have no cells")
    return heatmaps.reshape(*heatmaps.shape[: -ndim - 1], math.prod(shape), heatmaps.shape[-1]), shape


def widened(maps: jax.Array) -> jax.Array:
    """`maps` in float32, or in float64 if they are: there values may differ that float32 takes for one."""
    return maps.astype(jnp.promote_types(maps.dtype, jnp.float32))


def down_scale(peak: jax.Array) -> jax.Array:
    """What to multiply maps by, exactly, so that sums and inverses stay in float32: 1 if no value is beyond 2**64."""
    return jnp.where(peak > 2.0**64, 2.0**-64, 1.0)


def last_cell(shape: tuple[int, ...], ndim: int) -> jax.Array:
    """The greatest cell in the order of the coordinates, `int32[1, ..., 1, D]` of `ndim` axes."""
    return along_last([size - 1 for size in reversed(shape)], ndim, jnp.int32)


def unravel(index: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Cells in the order of the coordinates, `int32[..., D]`, of row-major indices."""
    return jnp.stack(jnp.unravel_index(index, shape)[::-1], axis=-1).astype(jnp.int32)


def around(peaks: jax.Array, offsets: ArrayLike | Sequence[Sequence[int]]) -> jax.Array:
    """Cells `int32[..., K, P, D]` at `offsets [P, D]` from `peaks [..., K, D]`."""
    offsets = jnp.asarray(offsets, jnp.int32).reshape((1,) * (peaks.ndim - 1) + (-1, peaks.shape[-1]))
    return peaks[..., None, :] + offsets


def take(maps: jax.Array, cells: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Values of `maps [..., S, K]` at `cells int32[..., K, P, D]` within the map, `[..., K, P]`."""
    index = jnp.swapaxes(flat_index(cells, shape), -1, -2)
    return jnp.swapaxes(jnp.take_along_axis(maps, index, axis=-2), -1, -2)


def take_or_nothing(maps: jax.Array, cells: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """`take`, but -inf for cells beyond the border; and the cells, moved to the border."""
    clipped = jnp.clip(cells, 0, last_cell(shape, cells.ndim))
    within = jnp.all(cells == clipped, axis=-1)
    return jnp.where(within, take(maps, clipped, shape), -jnp.inf), clipped


def argmax(maps: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The strongest cell of each map, `int32[..., K, D]`; ties go to the lowest row-major index."""
    return unravel(strongest.argmax(maps), shape)


Selected = tuple[jax.Array, jax.Array, jax.Array]  # values `[..., K, k]`, cells `[..., K, k, D]`, `usable` maps


def _top_k(maps: jax.Array, shape: tuple[int, ...], k: int, activation: Weigh) -> Selected:
    """The k strongest cells of `maps [..., S, K]`."""
    del activation  # grows with the value, so the order is that of the values
    if k == maps.shape[-2]:  # all cells, in no matter what order
        values = jnp.swapaxes(maps, -1, -2)
        cells = jnp.broadcast_to(unravel(jnp.arange(k), shape), (*values.shape, len(shape)))
        return values, cells, strongest.usable(maps)
    values, index, usable = strongest.search(maps, k)
    return values, unravel(index, shape), usable


def _neighbours(maps: jax.Array, shape: tuple[int, ...], k: int, activation: Weigh) -> Selected:
    """Cells around the maximum; those beyond the border are at -inf (no weight)."""
    ndim = len(shape)
    if k == 2**ndim:
        offsets = _window(1, ndim)
    elif k == 2 * ndim + 1:
        offsets = [offset for offset in _window(1, ndim) if sum(map(abs, offset)) <= 1]
    else:
        side = round(k ** (1 / ndim))
        if side % 2 == 0 or side**ndim != k:
            raise ValueError(
                f"k={k} is no neighbourhood of {ndim} axes: choose 1, {2**ndim}, {2 * ndim + 1} or an odd number to "
                f"the power {ndim}"
            )
        offsets = _window(side // 2, ndim)
    values, cells = take_or_nothing(maps, around(argmax(maps, shape), offsets), shape)
    if k == 2**ndim:
        values, cells = _heaviest_block(values, cells, activation, offsets)
    return values, cells, strongest.usable(maps)


def _window(reach: int, ndim: int) -> list[tuple[int, ...]]:
    return list(itertools.product(range(-reach, reach + 1), repeat=ndim))


def _heaviest_block(
    values: jax.Array, cells: jax.Array, activation: Weigh, offsets: list[tuple[int, ...]]
) -> tuple[jax.Array, jax.Array]:
    """Of the `2**D` blocks of `2**D` cells that contain the maximum, the one of the largest weight."""
    ndim = cells.shape[-1]
    position = {offset: i for i, offset in enumerate(offsets)}
    corners = list(itertools.product((0, 1), repeat=ndim))
    blocks = jnp.asarray(  # [block, cell]
        [[position[tuple(c - o for c, o in zip(corner, origin))] for corner in corners] for origin in corners]
    )
    mass = activation(widened(values))[..., blocks].sum(axis=-1)
    best = jnp.take(blocks, jnp.argmax(mass, axis=-1), axis=0)  # [..., K, P]
    return jnp.take_along_axis(values, best, axis=-1), jnp.take_along_axis(cells, best[..., None], axis=-2)


SELECTIONS = {"top_k": _top_k, "neighbours": _neighbours}
