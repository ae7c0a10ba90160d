"""Layers shared by the networks: convolutions, batch normalisation, resampling.

Everything is channels-last, [B, H, W, C]. Convolution kernels are [kh, kw, C_in / groups, C_out], the
transpose (2, 3, 1, 0) of PyTorch's, so that one rule converts all of them. Padding is PyTorch's: one pixel
on every side of a 3x3 kernel, whatever the stride.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from h3r_jax.models.operations import depthwise_convolution, normalize, pointwise_convolution, stem_convolution

BATCH_NORM_MOMENTUM = 0.9  # share of the running value that stays; PyTorch calls it 0.1
BATCH_NORM_EPSILON = 1e-5

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class StemConv(nn.Module):
    """3x3 convolution, no bias, of few input channels: [B, H, W, C] -> [B, H/stride, W/stride, features]."""

    features: int
    stride: int = 2
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", he_normal, (3, 3, x.shape[-1], self.features), self.param_dtype)
        return stem_convolution(x.astype(self.dtype), kernel.astype(self.dtype), self.stride)


class DepthwiseConv(nn.Module):
    """3x3 convolution of every channel by itself, no bias: [B, H, W, C] -> [B, H/stride, W/stride, C]."""

    stride: int = 1
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", he_normal, (3, 3, 1, x.shape[-1]), self.param_dtype)
        return depthwise_convolution(x.astype(self.dtype), kernel.astype(self.dtype), self.stride)


class PointwiseConv(nn.Module):
    """1x1 convolution, no bias, as a matrix product: [B, H, W, C] -> [B, H, W, features].

    `output_dtype` keeps the precision of the accumulator where the result is read by a loss.
    """

    features: int
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32
    output_dtype: jnp.dtype | None = None
    kernel_init: nn.initializers.Initializer = he_normal

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (1, 1, x.shape[-1], self.features), self.param_dtype)
        return pointwise_convolution(x.astype(self.dtype), kernel[0, 0].astype(self.dtype), self.output_dtype)


class BatchNorm(nn.Module):
    """Batch normalisation of [B, H, W, C] over all axes but the last; the result has the type of the input.

    Statistics are in `param_dtype`. In training they are those of the batch (of the whole batch, also when
    it is sharded under `jit`), and the running values move by a tenth towards them. As in PyTorch, the
    batch is normalised with the biased variance and the running value takes the unbiased one.
    """

    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, shape, self.param_dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, self.param_dtype)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, self.param_dtype)
        if train:
            y, mean, var = normalize(x, scale, bias, BATCH_NORM_EPSILON)
            if not self.is_initializing():
                count = x.size // x.shape[-1]
                self._move(running_mean, mean)
                self._move(running_var, var * (count / max(count - 1, 1)))
            return y
        factor = scale * lax.rsqrt(running_var.value + BATCH_NORM_EPSILON)
        offset = bias - running_mean.value * factor
        return (x.astype(self.param_dtype) * factor.reshape(1, 1, 1, -1) + offset.reshape(1, 1, 1, -1)).astype(x.dtype)

    @staticmethod
    def _move(running, value):
        running.value = BATCH_NORM_MOMENTUM * running.value + (1 - BATCH_NORM_MOMENTUM) * value


def relu6(x: jax.Array) -> jax.Array:
    """x limited to [0, 6]; the gradient is zero at both limits, as in PyTorch."""
    return lax.clamp(jnp.zeros((), x.dtype), x, jnp.full((), 6, x.dtype))


def _upsample_axis(x: jax.Array, factor: int, axis: int) -> jax.Array:
    size = x.shape[axis]
    first, last = lax.slice_in_dim(x, 0, 1, axis=axis), lax.slice_in_dim(x, size - 1, size, axis=axis)
    before = lax.concatenate([first, lax.slice_in_dim(x, 0, size - 1, axis=axis)], axis)
    after = lax.concatenate([lax.slice_in_dim(x, 1, size, axis=axis), last], axis)
    phases = []
    for phase in range(factor):
        offset = (phase + 0.5) / factor - 0.5  # of this output sample from its cell's centre, in cells
        neighbour = before if offset < 0 else after
        phases.append(x if offset == 0 else x * (1 - abs(offset)) + neighbour * abs(offset))
    shape = x.shape[:axis] + (size * factor,) + x.shape[axis + 1 :]
    return jnp.stack(phases, axis + 1).reshape(shape)


def resize_bilinear(x: jax.Array, factor: int) -> jax.Array:
    """[B, H, W, C] -> [B, factor * H, factor * W, C], pixel centres at half-integers, edges repeated.

    Equal to PyTorch's `interpolate(mode="bilinear", align_corners=False)`. Every output sample of one phase
    is the same mixture of a cell and its neighbour, so no coordinates are computed and nothing is gathered.
    """
    if factor == 1:
        return x
    return _upsample_axis(_upsample_axis(x, factor, 1), factor, 2)


def average_pool(x: jax.Array, factor: int) -> jax.Array:
    """[B, H, W, C] -> [B, H/factor, W/factor, C], the mean of each block; H and W are multiples of `factor`."""
    batch, height, width, channels = x.shape
    blocks = x.reshape(batch, height // factor, factor, width // factor, factor, channels)
    return blocks.mean((2, 4))
