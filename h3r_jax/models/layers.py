"""Layers shared by the networks: convolutions, batch normalisation, resampling.

Everything is channels-last, [B, H, W, C]. Convolution kernels are [kh, kw, C_in / groups, C_out], the
transpose (2, 3, 1, 0) of PyTorch's, so that one rule converts all of them. Padding is PyTorch's: one pixel
on every side of a 3x3 kernel, whatever the stride.

XLA's grouped convolution is slow on a CPU (8 times slower than PyTorch in a MobileNetV2 train step), and
fast elsewhere. So the 3x3 convolutions have two forms that compute the same function of the same
parameters; `jax.lax.platform_dependent` picks one when a function is lowered, for the platform it is
lowered for.
"""
from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

BATCH_NORM_MOMENTUM = 0.9  # share of the running value that stays; PyTorch calls it 0.1
BATCH_NORM_EPSILON = 1e-5

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def _windows(images: jax.Array, stride: int) -> list[jax.Array]:
    """The nine [B, H', W', C] views of [B, H, W, C] under a padded 3x3 kernel, row-major."""
    _, height, width, _ = images.shape
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = (height - 1) // stride * stride + 1, (width - 1) // stride * stride + 1
    return [padded[:, i:i + rows:stride, j:j + columns:stride] for i in range(3) for j in range(3)]


def depthwise_shifted(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The depthwise convolution as nine shifted multiply-adds: the form for a CPU."""
    taps = kernel.reshape(9, -1)
    return sum(window * taps[i] for i, window in enumerate(_windows(images, stride)))


def stem_gathered(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """A 3x3 convolution of few channels as one matrix product over the gathered windows: for a CPU."""
    return jnp.concatenate(_windows(images, stride), axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def convolution(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """XLA's own 3x3 convolution; depthwise where the kernel is [3, 3, 1, C] and the images have C channels."""
    return lax.conv_general_dilated(
        images, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=images.shape[-1] // kernel.shape[2])


def _two_forms(cpu_form):
    """A function (images, kernel, stride) that is `cpu_form` on a CPU and `convolution` elsewhere."""

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
    def apply(images, kernel, stride):
        return lax.platform_dependent(
            images, kernel, cpu=functools.partial(cpu_form, stride=stride),
            default=functools.partial(convolution, stride=stride))

    def forward(images, kernel, stride):
        return apply(images, kernel, stride), (images, kernel)

    def backward(stride, residuals, gradient):
        def pullback(form):
            return lambda x, k, g: jax.vjp(functools.partial(form, stride=stride), x, k)[1](g)

        return lax.platform_dependent(*residuals, gradient, cpu=pullback(cpu_form), default=pullback(convolution))

    apply.defvjp(forward, backward)
    return apply


depthwise_convolution = _two_forms(depthwise_shifted)
stem_convolution = _two_forms(stem_gathered)


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
        return jnp.matmul(x.astype(self.dtype), kernel[0, 0].astype(self.dtype),
                          preferred_element_type=self.output_dtype)


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last; the result has the type of the input.

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
        y = x.astype(self.param_dtype)
        if train:
            axes = tuple(range(x.ndim - 1))
            mean = y.mean(axes)
            var = jnp.maximum((y * y).mean(axes) - mean * mean, 0.0)
            if not self.is_initializing():
                count = x.size // x.shape[-1]
                running_mean.value = (BATCH_NORM_MOMENTUM * running_mean.value
                                      + (1 - BATCH_NORM_MOMENTUM) * lax.stop_gradient(mean))
                running_var.value = (BATCH_NORM_MOMENTUM * running_var.value
                                     + (1 - BATCH_NORM_MOMENTUM) * lax.stop_gradient(var) * count / max(count - 1, 1))
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * lax.rsqrt(var + BATCH_NORM_EPSILON)
        return (y * factor + (bias - mean * factor)).astype(x.dtype)


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
    shape = x.shape[:axis] + (size * factor,) + x.shape[axis + 1:]
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
