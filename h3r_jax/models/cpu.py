"""3x3 convolutions and sums over pixels for a CPU, where XLA's own forms are slow.

The results are those of the plain forms in `convolutions` and `layers`. A program for a GPU or a TPU holds nothing of
this file.

Why XLA is slow on a CPU (`python -m benchmarks.step` measures a train step):
- Its grouped convolution takes 8 times as long as PyTorch's. Nine shifted multiply-adds are faster.
- Its convolution of three channels is slow. A matrix product over the gathered windows is faster.
- Its derivatives of a dense convolution are slow inside an inner `jit`. Only one order of axes is fast there.
- Each sum over all axes but the last reads its operand again. One pass can take several sums.

Images are [B, H, W, C], kernels [3, 3, C / groups, features]; padding is one pixel on every side.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

ROWS = 8  # of a block in `channel_sums`; XLA unrolls the loop over so few

Convolution = Callable[[jax.Array, jax.Array, int], jax.Array]  # of images, kernel and stride
Gradients = tuple[jax.Array, jax.Array]  # by the images and by the kernel


def faster(channels: int, kernel: jax.Array) -> Convolution | None:
    """The form of a 3x3 convolution of so many channels that is faster than XLA's, if there is one."""
    if kernel.shape[2] != channels:
        return depthwise
    return gathered if channels == 3 else None


def gradients(images: jax.Array, kernel: jax.Array, stride: int, gradient: jax.Array) -> Gradients:
    """The gradients of a 3x3 convolution by the images and by the kernel, of the gradient by its output."""
    if kernel.shape[2] != images.shape[-1]:
        return depthwise_gradients(images, kernel, stride, gradient)
    if kernel.shape[2] == 3:
        return jax.vjp(lambda x, k: gathered(x, k, stride), images, kernel)[1](gradient)
    return dense_gradients(images, kernel, stride, gradient)


def _windows(padded: jax.Array, stride: int) -> list[jax.Array]:
    """The nine [B, H', W', C] views of padded images [B, H + 2, W + 2, C] under a 3x3 kernel, row-major."""
    _, height, width, _ = padded.shape
    rows, columns = (height - 3) // stride * stride + 1, (width - 3) // stride * stride + 1
    return [padded[:, i : i + rows : stride, j : j + columns : stride] for i in range(3) for j in range(3)]


def _pad(images: jax.Array) -> jax.Array:
    return jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))


def gathered(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """A convolution of few channels as one matrix product over the gathered windows."""
    windows = jnp.concatenate(_windows(_pad(images), stride), axis=-1)
    rows = windows.reshape(-1, windows.shape[-1]) @ kernel.reshape(windows.shape[-1], -1)
    return rows.reshape(*windows.shape[:-1], -1)


def _shifted_sum(padded: jax.Array, taps: jax.Array, stride: int) -> jax.Array:
    first, *others = (window * taps[i] for i, window in enumerate(_windows(padded, stride)))
    return sum(others, first)


def depthwise(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """A convolution of each channel by itself, kernel [3, 3, 1, C], as nine shifted multiply-adds."""
    return _shifted_sum(_pad(images), kernel.reshape(9, 1, 1, 1, -1), stride)


def depthwise_gradients(images: jax.Array, kernel: jax.Array, stride: int, gradient: jax.Array) -> Gradients:
    """The gradients of `depthwise` by the images and by the kernel.

    By the images: the same convolution with the kernel turned round, of the gradient spread out by the stride.
    """
    ends = [size - stride * (steps - 1) for size, steps in zip(images.shape[1:3], gradient.shape[1:3])]
    edges = [(0, 0, 0), *((1, end, stride - 1) for end in ends), (0, 0, 0)]
    spread = lax.pad(gradient, jnp.zeros((), gradient.dtype), edges)
    by_images = _shifted_sum(spread, kernel.reshape(9, 1, 1, 1, -1)[::-1], 1)
    wide = jnp.promote_types(gradient.dtype, jnp.float32)  # of the accumulators
    windows = [window.astype(wide) * gradient.astype(wide) for window in _windows(_pad(images), stride)]
    return by_images, jnp.stack(channel_sums(*windows)).reshape(kernel.shape).astype(kernel.dtype)


def dense_gradients(images: jax.Array, kernel: jax.Array, stride: int, gradient: jax.Array) -> Gradients:
    """The gradients of a dense convolution, as convolutions in the one order of axes that XLA is fast with.

    XLA brings the derivatives that JAX makes into this order, but not inside of an inner jitted function such as a
    basic block of HRNet. With them a train step of HRNet-W18 would take five times as long.
    """
    convolve = functools.partial(lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    ends = [1 + (size - 1) % stride for size in images.shape[1:3]]  # padding after the last pixel under the kernel
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    by_images = convolve(gradient, turned, (1, 1), [(1, end) for end in ends], lhs_dilation=(stride, stride))
    operands = images.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3)
    by_kernel = convolve(*operands, (1, 1), [(1, 2 - end) for end in ends], rhs_dilation=(stride, stride))
    return by_images, by_kernel.transpose(1, 2, 0, 3)


def channel_sums(*values: jax.Array) -> list[jax.Array]:
    """The sums [C] of several [B, H, W, C] of one shape and type: one pass over blocks of rows, then over blocks."""
    batch, height, width, channels = values[0].shape
    rows = math.gcd(height, ROWS)
    blocks = [value.reshape(batch, height // rows, rows, width, channels) for value in values]
    zeros = [jnp.zeros((), value.dtype) for value in values]
    partial = lax.reduce(blocks, zeros, lambda left, right: [a + b for a, b in zip(left, right)], (2,))
    return [value.sum((0, 1, 2)) for value in partial]


def sum_again(value: jax.Array) -> jax.Array:
    """The sum [C] of a value [B, H, W, C] once more, in XLA's own form, which `channel_sums` replaces.

    XLA cannot fuse this form with what computes the value. So it stores the value, and the other operations that need
    it read it, where each would compute it anew.
    """
    return value.sum((0, 1, 2))
