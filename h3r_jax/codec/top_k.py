"""The strongest cells of channels-last heatmaps, exactly as `lax.top_k` chooses them."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

BLOCK = 8  # cells; 4, 16 and 32 are slower at 64x64 and k = 9
SMALL = 256  # cells of a map that is searched directly
# XLA has a kernel for GPUs that finds so many of so large a map in one pass. It sorts other maps in full.
KERNEL_K = 16
KERNEL_CELLS = 1024
PASSES = 64  # at most; a sort takes the place of more. Not measured: no accelerator was at hand


def top_k(maps: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The `k` largest values of each map and their cells; ties go to the lowest index.

    Equal to `lax.top_k` of the transposed maps on everything free of NaN, signed
    zeros and subnormal numbers included (16-bit ones with jax 0.10 only). XLA sorts
    the whole map for many a `lax.top_k`. Here it does not, up to 64 cells:

    - On a TPU, each of k passes finds the next cell in the order (value down, index up).
    - On a GPU, XLA's kernel finds up to 16 cells. Maps of fewer than 1,024 cells
      are filled up with -inf, so that it takes them. Beyond 16 there are k passes.
    - On a CPU, the maps are read once, where they are, instead of transposed: the
      maximum of each block of 8 cells, the k best blocks (found in the same way),
      then the k best of their cells.

    The stages for a CPU lose nothing. Order cells by (value down, index up). If the
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
    values, index, _ = search(maps, k)
    return values, index


def search(maps: jax.Array, k: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Values and indices `[..., K, k]` of `top_k`, and the `bool[..., K]` of `usable`, which a CPU finds on the way."""
    if maps.dtype.itemsize > 4 or math.prod(maps.shape) == 0:  # the other forms are for 32 and 16 bits
        return *_transposed(maps, k), usable(maps)
    in_passes = _in_passes if k <= PASSES else _transposed
    on_gpu = _by_kernel if k <= KERNEL_K else in_passes
    return lax.platform_dependent(
        maps,
        cpu=lambda maps: _on_cpu(maps, k),
        cuda=lambda maps: (*on_gpu(maps, k), usable(maps)),
        default=lambda maps: (*in_passes(maps, k), usable(maps)),
    )


def usable(maps: jax.Array) -> jax.Array:
    """`bool[..., K]`: neither NaN nor +inf in the map `[..., S, K]`.

    Not by the maximum, from which XLA on a CPU loses NaNs, nor by what `lax.top_k` finds, which ranks a NaN with the
    sign bit set last.
    """
    return jnp.all(maps < jnp.inf, axis=-2)


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


def _by_kernel(maps: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """`top_k` as XLA's kernel for GPUs wants it: two axes, at least 1,024 cells, no float16."""
    *lead, size, num_landmarks = maps.shape
    rows = jnp.swapaxes(maps, -1, -2).reshape(-1, size)
    if maps.dtype == jnp.float16:
        rows = rows.astype(jnp.float32)
    rows = jnp.pad(rows, ((0, 0), (0, max(KERNEL_CELLS - size, 0))), constant_values=-jnp.inf)
    values, index = lax.top_k(rows, k)
    return values.astype(maps.dtype).reshape(*lead, num_landmarks, k), index.reshape(*lead, num_landmarks, k)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _in_passes(maps: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """`top_k` by k passes, each of which finds the next cell in the order (value down, index up)."""
    axis, size = maps.ndim - 2, np.int32(maps.shape[-2])
    order, cells = _ordered_bits(maps).astype(jnp.int32), lax.broadcasted_iota(jnp.int32, maps.shape, axis)
    lowest = np.int32(np.iinfo(np.int32).min)

    def first(a: list[jax.Array], b: list[jax.Array]) -> list[jax.Array]:
        before = (a[0] > b[0]) | ((a[0] == b[0]) & (a[1] < b[1]))
        return [lax.select(before, *pair) for pair in zip(a, b)]

    found = []
    for _ in range(k):
        bits, index = lax.reduce([order, cells], [lowest, size], first, (axis,))
        found.append((bits, index))
        # A cell that was found comes behind all others from now on.
        taken = cells == index[..., None, :]
        order, cells = jnp.where(taken, lowest, order), jnp.where(taken, size, cells)
    bits, index = (jnp.stack(each, axis=-1) for each in zip(*found))
    return _value_of_order(bits, maps.dtype), index


@_in_passes.defjvp
def _in_passes_jvp(
    k: int, maps: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, Any]]:
    values, index = _in_passes(*maps, k)
    tangent = jnp.take_along_axis(jnp.swapaxes(*tangents, -1, -2), index, axis=-1)
    return (values, index), (tangent, np.zeros(index.shape, jax.dtypes.float0))


def _on_cpu(maps: jax.Array, k: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    *lead, size, num_landmarks = maps.shape
    if math.prod(maps.shape) == 0 or size <= max(2 * BLOCK * k, SMALL):  # no gain from blocks
        values, index = _strongest(jnp.swapaxes(maps, -1, -2).astype(jnp.float32), k)
        return values.astype(maps.dtype), index, usable(maps)
    maps = maps.reshape(-1, size, num_landmarks)
    # The last block is filled up at -inf, behind whatever -inf the map itself holds.
    filled = jnp.pad(maps, ((0, 0), (0, -size % BLOCK), (0, 0)), constant_values=-jnp.inf)
    blocks = filled.reshape(maps.shape[0], -1, BLOCK, num_landmarks)  # [N, blocks, BLOCK, K]
    # Held apart, or XLA merges the maximum with a transposition into one slow loop.
    maxima = lax.optimization_barrier(_maximum(blocks))
    best, chosen, numbers = _on_cpu(maxima, k)  # [N, K, k] twice, [N, K]
    chosen = jnp.sort(chosen, axis=-1)  # ascending, so that position orders like index
    cells = _take_blocks(blocks, chosen).astype(jnp.float32).reshape(*chosen.shape[:-1], k * BLOCK)
    # Cells below the least of the k maxima are out; the kernel is quick with what never enters its heap.
    cells = jnp.where(cells >= best[..., -1:].astype(jnp.float32), cells, -jnp.inf)
    values, position = _strongest(cells, k)
    index = jnp.take_along_axis(chosen, position // BLOCK, axis=-1) * BLOCK + position % BLOCK
    shape = (*lead, num_landmarks, k)
    return values.astype(maps.dtype).reshape(shape), index.reshape(shape), numbers.reshape(shape[:-1])


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
    return _turned(_bits(values))


def _value_of_order(order: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """The floats of `_ordered_bits`, `[...]`."""
    return lax.bitcast_convert_type(_turned(order.astype({2: np.int16, 4: np.int32}[dtype.itemsize])), dtype)


def _turned(bits: jax.Array) -> jax.Array:
    """Negative numbers in the opposite order; its own inverse."""
    return jnp.where(bits < 0, bits ^ np.iinfo(bits.dtype).max, bits)


def _maximum(blocks: jax.Array) -> jax.Array:
    """The largest cell of each block `[N, blocks, BLOCK, K]`, `[N, blocks, K]`; NaN if the block has a NaN.

    XLA compares floats with subnormal numbers taken for zero, so compare their
    bits: the greater integer, unless both are negative. (To reduce
    `_ordered_bits` says the same and takes half as long again.) A NaN without
    the sign bit is the greatest of all; one with it becomes one without it.
    """

    def greater(a: jax.Array, b: jax.Array) -> jax.Array:
        return lax.select(a & b < 0, lax.min(a, b), lax.max(a, b))

    bits = _bits(blocks)
    infinity = np.array(-np.inf, blocks.dtype).view(bits.dtype)
    bits = jnp.where((bits > infinity) & (bits < 0), bits & np.iinfo(bits.dtype).max, bits)
    lowest = np.array(-1, bits.dtype)  # all ones: below everything that is left
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
