"""The strongest cells of channels-last heatmaps, exactly as `lax.top_k` chooses them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

BLOCK = 8  # cells; 4, 16 and 32 are slower at 64x64 and k = 9
SMALL = 256  # cells of a map that is searched directly


def top_k(maps: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The `k` largest values of each map and their cells; ties go to the lowest index.

    Equal to `lax.top_k` of the transposed maps on everything free of NaN, signed
    zeros and subnormal numbers included (16-bit ones with jax 0.10 only). On a CPU
    it reads the maps once, where they are, instead of transposing them: the
    maximum of each block of 8 cells, the k best blocks (found in the same way),
    then the k best of their cells. Elsewhere it is `lax.top_k`.

    The stages lose nothing. Order cells by (value down, index up). If the
    block of a chosen cell were not among the k best blocks, ordered by (maximum
    down, index up), then k blocks would come before it, and each holds a cell that
    comes before the chosen one; so it would not be among the first k.

    Args:
      maps: `[..., S, K]`, any float dtype.
      k: how many, at most S.

    Returns:
      Values `[..., K, k]` in the dtype of `maps`, descending, and indices
      `int32[..., K, k]` into S. Differentiable through the values.
    """
    return lax.platform_dependent(maps, cpu=lambda maps: _on_cpu(maps, k), default=lambda maps: _transposed(maps, k))


def argmax(maps: jax.Array) -> jax.Array:
    """The cell of the strongest value of each map `[..., S, K]`, `int32[..., K]`; ties as in `top_k`.

    `jnp.argmax` along an axis that is not the last is slow on a CPU.
    """
    return lax.platform_dependent(
        maps,
        cpu=lambda maps: _on_cpu(maps, 1)[1][..., 0],
        default=lambda maps: jnp.argmax(maps, axis=-2).astype(jnp.int32),
    )


def _transposed(maps: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    values, index = lax.top_k(jnp.swapaxes(maps, -1, -2), k)
    return values, index


def _on_cpu(maps: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    *lead, size, num_landmarks = maps.shape
    if maps.dtype.itemsize > 4:
        return _transposed(maps, k)  # only float32 has a fast kernel
    if math.prod(maps.shape) == 0 or size <= max(2 * BLOCK * k, SMALL):  # no gain from blocks
        values, index = _strongest(jnp.swapaxes(maps, -1, -2).astype(jnp.float32), k)
        return values.astype(maps.dtype), index
    maps = maps.reshape(-1, size, num_landmarks)
    # The last block is filled up at -inf, behind whatever -inf the map itself holds.
    filled = jnp.pad(maps, ((0, 0), (0, -size % BLOCK), (0, 0)), constant_values=-jnp.inf)
    blocks = filled.reshape(maps.shape[0], -1, BLOCK, num_landmarks)  # [N, blocks, BLOCK, K]
    # Held apart, or XLA merges the maximum with a transposition into one slow loop.
    maxima = lax.optimization_barrier(_maximum(blocks))
    best, chosen = _on_cpu(maxima, k)  # [N, K, k]
    chosen = jnp.sort(chosen, axis=-1)  # ascending, so that position orders like index
    cells = _take_blocks(blocks, chosen).astype(jnp.float32).reshape(*chosen.shape[:-1], k * BLOCK)
    # Cells below the least of the k maxima are out; the kernel is quick with what never enters its heap.
    cells = jnp.where(cells >= best[..., -1:].astype(jnp.float32), cells, -jnp.inf)
    values, position = _strongest(cells, k)
    index = jnp.take_along_axis(chosen, position // BLOCK, axis=-1) * BLOCK + position % BLOCK
    return values.astype(maps.dtype).reshape(*lead, num_landmarks, k), index.reshape(*lead, num_landmarks, k)


def _strongest(values: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """`lax.top_k` of float32 on a CPU, by other names.

    A sharded `lax.top_k` gathers the whole array on every device; these forms are
    partitioned. With a recall of one, `approx_max_k` is exact and ends in the
    kernel of `lax.top_k`, except where k is 1 or everything.
    """
    size = values.shape[-1]
    if 1 < k < size:
        # Behind a barrier: sliced further, the result is no longer recognised, and everything is sorted.
        values, index = lax.optimization_barrier(lax.approx_max_k(values, k, recall_target=1.0))
        return values, index
    order = _ordered_bits(values)
    if k == 1:
        index = jnp.argmax(order, axis=-1, keepdims=True).astype(jnp.int32)
    else:
        index = jnp.argsort(~order, axis=-1, stable=True).astype(jnp.int32)
    return jnp.take_along_axis(values, index, axis=-1), index


def _bits(values: jax.Array) -> jax.Array:
    integer = {2: np.int16, 4: np.int32}[values.dtype.itemsize]
    return lax.bitcast_convert_type(lax.stop_gradient(values), integer)


def _ordered_bits(values: jax.Array) -> jax.Array:
    """Integers `[...]` in the order in which `lax.top_k` sees floats: -0 < 0, and subnormal numbers differ."""
    bits = _bits(values)
    return jnp.where(bits < 0, bits ^ np.iinfo(bits.dtype).max, bits)


def _maximum(blocks: jax.Array) -> jax.Array:
    """The largest cell of each block `[N, blocks, BLOCK, K]`, `[N, blocks, K]`.

    XLA compares floats with subnormal numbers taken for zero, so compare their
    bits: the greater integer, unless both are negative. (To reduce
    `_ordered_bits` says the same and takes half as long again.)
    """

    def greater(a: jax.Array, b: jax.Array) -> jax.Array:
        return lax.select(a & b < 0, lax.min(a, b), lax.max(a, b))

    bits = _bits(blocks)
    lowest = np.array(-1, bits.dtype)  # all ones, a NaN below -inf
    return lax.bitcast_convert_type(lax.reduce(bits, lowest, greater, (2,)), blocks.dtype)


def _take_blocks(blocks: jax.Array, chosen: jax.Array) -> jax.Array:
    """`blocks [N, blocks, BLOCK, K]` numbered `chosen [N, K, k]`, `[N, K, k, BLOCK]`, without moving the others."""
    numbers = lax.GatherDimensionNumbers(
        offset_dims=(3,),
        collapsed_slice_dims=(1,),
        start_index_map=(1,),
        operand_batching_dims=(0, 3),
        start_indices_batching_dims=(0, 1),
    )
    return lax.gather(
        blocks, chosen[..., None], numbers, (1, 1, BLOCK, 1), mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS
    )
