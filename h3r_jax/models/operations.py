"""The operations under the layers, with the forms that make them fast on a CPU.

Each is one function of its arguments on every platform. Where XLA's own form is slow on a CPU there is a
second one, and `jax.lax.platform_dependent` picks when a function is lowered, for the platform it is lowered
for. The derivatives are written out, because those of the fast forms are not fast by themselves. Reverse
mode only.

What is slow on a CPU, in a MobileNetV2 train step (`python -m benchmarks.step`):
- the grouped convolution, 8 times slower than PyTorch's: here it is nine shifted multiply-adds;
- a sum over all axes but the last: each reads its operand again, and has it written to memory first where it
  is the result of something else. `channel_sums` takes several sums in one pass over blocks of rows that
  are small enough to be unrolled, so that the vectorised loop is the one over channels;
- the derivative of a matrix product by the matrix, as JAX derives it: whole images are transposed for it.

Images are [B, H, W, C], kernels [3, 3, C_in / groups, C_out]; padding is one pixel on every side.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

ROWS = 8  # of a block in `channel_sums`


def channel_sums(*values: jax.Array) -> list[jax.Array]:
    """The sums [C] of several [B, H, W, C] of one shape and type over all axes but the last."""
    return lax.platform_dependent(*values, cpu=channel_sums_blocked, default=channel_sums_plain)


def channel_sums_plain(*values: jax.Array) -> list[jax.Array]:
    return [value.sum((0, 1, 2)) for value in values]


def channel_sums_blocked(*values: jax.Array) -> list[jax.Array]:
    """One pass over the values, block by block of rows, then the sums of what the blocks gave."""
    batch, height, width, channels = values[0].shape
    rows = math.gcd(height, ROWS)
    blocks = [value.reshape(batch, height // rows, rows, width, channels) for value in values]
    zeros = [jnp.zeros((), value.dtype) for value in values]
    partial = lax.reduce(blocks, zeros, lambda left, right: [a + b for a, b in zip(left, right)], (2,))
    return [value.sum((0, 1, 2)) for value in partial]


def _pad(images: jax.Array) -> jax.Array:
    return jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _windows(padded: jax.Array, stride: int) -> list[jax.Array]:
    """The nine [B, H', W', C] views of padded images [B, H + 2, W + 2, C] under a 3x3 kernel, row-major."""
    _, height, width, _ = padded.shape
    rows, columns = (height - 3) // stride * stride + 1, (width - 3) // stride * stride + 1
    return [padded[:, i : i + rows : stride, j : j + columns : stride] for i in range(3) for j in range(3)]


def _per_channel(values: jax.Array) -> jax.Array:
    """[C] -> [1, 1, 1, C]."""
    return values.reshape(1, 1, 1, -1)


def _shifted_sum(padded: jax.Array, taps: jax.Array, stride: int) -> jax.Array:
    first, *others = (window * _per_channel(taps[i]) for i, window in enumerate(_windows(padded, stride)))
    return sum(others, first)


def depthwise_shifted(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The depthwise convolution as nine shifted multiply-adds."""
    return _shifted_sum(_pad(images), kernel.reshape(9, -1), stride)


def depthwise_shifted_gradients(images, kernel, stride, gradient):
    """The gradients of `depthwise_shifted` by the images and by the kernel.

    The first is the convolution of the gradient, spread out by the stride, with the kernel turned round.
    """
    zero = jnp.zeros((), gradient.dtype)
    edges = [
        (1, size - stride * (steps - 1), stride - 1) for size, steps in zip(images.shape[1:3], gradient.shape[1:3])
    ]
    spread = lax.pad(gradient, zero, ((0, 0, 0), *edges, (0, 0, 0)))
    by_images = _shifted_sum(spread, kernel.reshape(9, -1)[::-1], 1)
    wide = jnp.promote_types(gradient.dtype, jnp.float32)  # of the accumulators
    gradient = gradient.astype(wide)
    by_kernel = channel_sums_blocked(*(window.astype(wide) * gradient for window in _windows(_pad(images), stride)))
    return by_images, jnp.stack(by_kernel).reshape(kernel.shape).astype(kernel.dtype)


def stem_gathered(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """A 3x3 convolution of few channels as one matrix product over the gathered windows."""
    gathered = jnp.concatenate(_windows(_pad(images), stride), axis=-1)
    return pointwise_convolution(gathered, kernel.reshape(-1, kernel.shape[-1]))


def stem_gathered_gradients(images, kernel, stride, gradient):
    return jax.vjp(lambda x, k: stem_gathered(x, k, stride), images, kernel)[1](gradient)


def convolution(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """XLA's own 3x3 convolution; depthwise where the kernel is [3, 3, 1, C] and the images have C channels."""
    return lax.conv_general_dilated(
        images,
        kernel,
        (stride, stride),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=images.shape[-1] // kernel.shape[2],
    )


def convolution_gradients(images, kernel, stride, gradient):
    return jax.vjp(lambda x, k: convolution(x, k, stride), images, kernel)[1](gradient)


def _convolution_with(cpu_form, cpu_gradients):
    """A function (images, kernel, stride) that is `cpu_form` on a CPU and `convolution` elsewhere."""

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
    def apply(images, kernel, stride):
        return lax.platform_dependent(
            images, kernel, cpu=lambda x, k: cpu_form(x, k, stride), default=lambda x, k: convolution(x, k, stride)
        )

    def forward(images, kernel, stride):
        return apply(images, kernel, stride), (images, kernel)

    def backward(stride, residuals, gradient):
        return lax.platform_dependent(
            *residuals,
            gradient,
            cpu=lambda x, k, g: cpu_gradients(x, k, stride, g),
            default=lambda x, k, g: convolution_gradients(x, k, stride, g),
        )

    apply.defvjp(forward, backward)
    return apply


depthwise_convolution = _convolution_with(depthwise_shifted, depthwise_shifted_gradients)
stem_convolution = _convolution_with(stem_gathered, stem_gathered_gradients)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def pointwise_convolution(images: jax.Array, kernel: jax.Array, dtype=None) -> jax.Array:
    """[B, H, W, C] and [C, features] -> [B, H, W, features] of type `dtype`: a matrix product.

    Its derivatives say which product they are: those that JAX derives make XLA transpose whole images.
    """
    return jnp.matmul(images, kernel, preferred_element_type=dtype)


def _pointwise_forward(images, kernel, dtype):
    return pointwise_convolution(images, kernel, dtype), (images, kernel)


def _pointwise_backward(dtype, residuals, gradient):
    images, kernel = residuals
    rows = images.reshape(-1, images.shape[-1])
    gradient = gradient.reshape(-1, gradient.shape[-1]).astype(images.dtype)
    by_images = lax.dot_general(gradient, kernel, (((1,), (1,)), ((), ())))
    by_kernel = lax.dot_general(rows, gradient, (((0,), (0,)), ((), ())))
    return by_images.reshape(images.shape), by_kernel


pointwise_convolution.defvjp(_pointwise_forward, _pointwise_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalize(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float):
    """Batch normalisation by the statistics of the batch: ([B, H, W, C] of the type of x, mean [C], variance [C]).

    Computed in the type of `scale`. The mean and the biased variance are for the running statistics: no
    derivative flows through them.
    """
    return _normalize_forward(x, scale, bias, epsilon)[0]


def _normalize_forward(x, scale, bias, epsilon):
    values = x.astype(scale.dtype)
    count = x.size // x.shape[-1]
    total, squares = channel_sums(values, values * values)
    mean = total / count
    variance = jnp.maximum(squares / count - mean * mean, 0)
    inverse = lax.rsqrt(variance + epsilon)
    factor = scale * inverse
    y = values * _per_channel(factor) + _per_channel(bias - mean * factor)
    return (y.astype(x.dtype), mean, variance), (x, scale, mean, inverse)


def _normalize_backward(epsilon, residuals, gradients):
    x, scale, mean, inverse = residuals
    gradient = gradients[0].astype(scale.dtype)
    count = x.size // x.shape[-1]
    centred = x.astype(scale.dtype) - _per_channel(mean)
    by_bias, product = channel_sums(gradient, gradient * centred)
    # The same sum once more, as a use that XLA cannot fuse: so the gradient is computed once, not in every use.
    total = gradient.sum((0, 1, 2))
    by_scale = product * inverse
    factor = scale * inverse
    by_x = (
        _per_channel(factor) * gradient
        - _per_channel(factor * inverse * by_scale / count) * centred
        - _per_channel(factor * total / count)
    )
    return by_x.astype(x.dtype), by_scale, by_bias


normalize.defvjp(_normalize_forward, _normalize_backward)
