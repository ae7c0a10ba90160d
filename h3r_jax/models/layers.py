"""Layers shared by the networks: convolutions, batch normalisation, resampling.

Everything is channels-last, [B, H, W, C]. Convolution kernels are [kh, kw, C_in / groups, C_out], the
transpose (2, 3, 1, 0) of PyTorch's, so that one rule converts all of them. Padding is PyTorch's: one pixel
on every side of a 3x3 kernel, whatever the stride.

On a CPU, faster forms from `cpu` compute the same, and on a TPU those from `tpu`. Derivatives are for reverse mode
only: `jax.grad` and `jax.vjp` work; forward mode, `jax.jvp`, raises a TypeError.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from h3r_jax.models import convolutions, cpu, tpu
from h3r_jax.models.tpu import ONE_PIXEL, Block

BATCH_NORM_MOMENTUM = 0.9  # share of the running value that stays; PyTorch calls it 0.1
BATCH_NORM_EPSILON = 1e-5

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Layer(nn.Module, kw_only=True):
    """A module that computes in the type `dtype`, of parameters in the type `param_dtype`."""

    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @property
    def types(self) -> dict[str, Any]:
        """Both types, by name, for the layers inside."""
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}


class Conv3x3(Layer):
    """Dense 3x3 convolution, no bias: [B, H, W, C] -> [B, H/stride, W/stride, features].

    With a `block`, images and result are blocked (`tpu.blocked`), and the stride is 1.
    """

    features: int
    stride: int = 1
    block: Block = ONE_PIXEL

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = tpu.plain_shape(x.shape, self.block)[-1]
        kernel = self.param("kernel", he_normal, (3, 3, channels, self.features), self.param_dtype)
        return convolutions.convolution(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.block)


class DepthwiseConv(Layer):
    """3x3 convolution of every channel by itself, no bias: [B, H, W, C] -> [B, H/stride, W/stride, C]."""

    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", he_normal, (3, 3, 1, x.shape[-1]), self.param_dtype)
        return convolutions.convolution(x.astype(self.dtype), kernel.astype(self.dtype), self.stride)


class PointwiseConv(Layer):
    """1x1 convolution, no bias, as a matrix product: [B, H, W, C] -> [B, H, W, features].

    `output_dtype` keeps the precision of the accumulator where the result is read by a loss.
    """

    features: int
    output_dtype: jnp.dtype | None = None
    kernel_init: nn.initializers.Initializer = he_normal

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (1, 1, x.shape[-1], self.features), self.param_dtype)
        return convolutions.pointwise_convolution(x.astype(self.dtype), kernel, self.output_dtype)


# The functions of batch normalisation also take blocked images (`tpu.blocked`): pixels of the C channels of `scale`
# may lie in the last axis.


def _channel_sums(channels: int, *values: jax.Array) -> list[jax.Array]:
    """The sums [channels] of several [B, H, W, C] of one shape and type."""
    plain = lambda *values: [value.sum((0, 1, 2)) for value in values]
    sums = lax.platform_dependent(*values, cpu=cpu.channel_sums, default=plain)
    return [_over_pixels(each, channels) for each in sums]


def _over_pixels(sums: jax.Array, channels: int) -> jax.Array:
    return sums if sums.shape[0] == channels else sums.reshape(-1, channels).sum(0)


def _per_channel(values: jax.Array, images: jax.Array) -> jax.Array:
    return jnp.concatenate([values] * (images.shape[-1] // values.shape[0])).reshape(1, 1, 1, -1)


def normalize(x: jax.Array, mean: jax.Array, variance: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """x [B, H, W, C] of `mean` and `variance` [C] brought to the mean `bias` and the deviation `scale`.

    Computed in the type of `scale`; the result has the type of x.
    """
    factor = scale * lax.rsqrt(variance + BATCH_NORM_EPSILON)
    y = x.astype(scale.dtype) * _per_channel(factor, x) + _per_channel(bias - mean * factor, x)
    return y.astype(x.dtype)


Statistics = tuple[jax.Array, jax.Array]  # mean [C] and biased variance [C]


@jax.custom_vjp
def normalize_batch(x: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple[jax.Array, Statistics]:
    """`normalize` by the statistics of x [B, H, W, C] itself, which are returned too: no derivative flows through them.

    The derivative is the one of Ioffe and Szegedy, "Batch Normalization", ICML 2015 (arXiv 1502.03167), section 3.
    """
    channels = scale.shape[0]
    count = x.size // channels
    values = x.astype(scale.dtype)
    total, squares = _channel_sums(channels, values, values * values)
    mean = total / count
    variance = jnp.maximum(squares / count - mean * mean, 0)
    return normalize(x, mean, variance, scale, bias), (mean, variance)


def _normalize_batch_forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[tuple[jax.Array, Statistics], tuple[jax.Array, jax.Array, Statistics]]:
    y, statistics = normalize_batch(x, scale, bias)
    return (y, statistics), (x, scale, statistics)


def _normalize_batch_backward(
    residuals: tuple[jax.Array, jax.Array, Statistics], gradients: tuple[jax.Array, Statistics]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, scale, (mean, variance) = residuals
    gradient = gradients[0].astype(scale.dtype)
    channels = scale.shape[0]
    count = x.size // channels
    inverse = lax.rsqrt(variance + BATCH_NORM_EPSILON)
    factor = scale * inverse
    centred = x.astype(scale.dtype) - _per_channel(mean, x)
    by_bias, product = _channel_sums(channels, gradient, gradient * centred)
    again = lambda gradient, _: _over_pixels(cpu.sum_again(gradient), channels)
    total = lax.platform_dependent(gradient, by_bias, cpu=again, default=lambda _, total: total)
    by_scale = product * inverse
    by_x = (
        _per_channel(factor, x) * gradient
        - _per_channel(factor * inverse * by_scale / count, x) * centred
        - _per_channel(factor * total / count, x)
    )
    return by_x.astype(x.dtype), by_scale, by_bias


normalize_batch.defvjp(_normalize_batch_forward, _normalize_batch_backward)


class BatchNorm(nn.Module):
    """Batch normalisation of [B, H, W, C] over all axes but the last; the result has the type of the input.

    Statistics are in `param_dtype`. In training, the statistics of the batch are used (of the whole batch, also when
    it is sharded under `jit`), and the running values move by a tenth towards them. As in PyTorch, the biased
    variance normalises the batch, and the unbiased one goes into the running value.
    """

    param_dtype: jnp.dtype = jnp.float32
    block: Block = ONE_PIXEL  # of a blocked image, see `tpu.blocked`

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        shape = (tpu.plain_shape(x.shape, self.block)[-1],)
        scale = self.param("scale", nn.initializers.ones, shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, shape, self.param_dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, self.param_dtype)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, self.param_dtype)
        if not train:
            return normalize(x, running_mean.value, running_var.value, scale, bias)
        y, (mean, var) = normalize_batch(x, scale, bias)
        if not self.is_initializing():
            count = x.size // shape[0]
            self._move(running_mean, mean)
            self._move(running_var, var * (count / max(count - 1, 1)))
        return y

    @staticmethod
    def _move(running: nn.Variable[jax.Array], value: jax.Array) -> None:
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

    Equal to PyTorch's `interpolate(mode="bilinear", align_corners=False)`. The `factor` samples that a cell becomes
    have fixed weights for the cell and its neighbour, so no coordinates are computed and nothing is gathered.
    """
    if factor == 1:
        return x
    return _upsample_axis(_upsample_axis(x, factor, 1), factor, 2)


def average_pool(x: jax.Array, factor: int) -> jax.Array:
    """[B, H, W, C] -> [B, H/factor, W/factor, C], the mean of each block; H and W are multiples of `factor`."""
    batch, height, width, channels = x.shape
    blocks = x.reshape(batch, height // factor, factor, width // factor, factor, channels)
    return blocks.mean((2, 4))
