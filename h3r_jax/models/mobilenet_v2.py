"""The MobileNetV2 backbone of H3R: inverted residuals tapped at three resolutions.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018 (arXiv 1801.04381), cut
after its 96-channel blocks, with the taps of the released H3R code (baoshengyu/H3R).

Names follow torchvision's `features.N`: `features_0` is the stem, and in `features_1` to `features_13`

    features_1:         depthwise = conv.0, project.conv = conv.1, project.bn = conv.2
    every other block:  expand = conv.0, depthwise = conv.1, project.conv = conv.2, project.bn = conv.3

where `expand`, `depthwise` and the stem each hold a `conv` (.0) and a `bn` (.1).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from h3r_jax.errors import UserError
from h3r_jax.models.layers import BatchNorm, Conv3x3, DepthwiseConv, Layer, PointwiseConv, relu6, resize_bilinear

STEM_FEATURES = 32
# Of each stage: expansion, features, blocks, stride of the first block.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
TAPS = {3: 1, 6: 2, 13: 4}  # after features_N: factor by which the tap is enlarged to 1/4 resolution
LARGEST_STRIDE = 16


class ConvNorm(nn.Module):
    """A convolution (made with `parent=None`), batch normalisation and, if `active`, ReLU6."""

    conv: nn.Module
    active: bool = True
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = BatchNorm(self.param_dtype, name="bn")(self.conv(x), train)
        return relu6(x) if self.active else x


class InvertedResidual(Layer):
    """Expand (1x1), filter (3x3 depthwise), project (1x1): [B, H, W, C] -> [B, H/stride, W/stride, features]."""

    features: int
    expansion: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        conv: nn.Module
        y = x
        if self.expansion != 1:
            conv = PointwiseConv(x.shape[-1] * self.expansion, **self.types, parent=None)
            y = ConvNorm(conv, param_dtype=self.param_dtype, name="expand")(y, train)
        conv = DepthwiseConv(self.stride, **self.types, parent=None)
        y = ConvNorm(conv, param_dtype=self.param_dtype, name="depthwise")(y, train)
        conv = PointwiseConv(self.features, **self.types, parent=None)
        y = ConvNorm(conv, active=False, param_dtype=self.param_dtype, name="project")(y, train)
        return x + y if self.stride == 1 and x.shape[-1] == self.features else y


class MobileNetV2(Layer):
    """images [B, H, W, 3], normalised -> features [B, H/4, W/4, 152], in `dtype`.

    H and W are multiples of 16; anything else is a ValueError.
    """

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        if images.ndim != 4 or images.shape[1] % LARGEST_STRIDE or images.shape[2] % LARGEST_STRIDE:
            raise UserError(f"images must be [B, H, W, 3], H and W multiples of {LARGEST_STRIDE}, got {images.shape}")
        stem = Conv3x3(STEM_FEATURES, 2, **self.types, parent=None)
        x = ConvNorm(stem, param_dtype=self.param_dtype, name="features_0")(images, train)
        index, taps = 0, []
        for expansion, features, blocks, stride in STAGES:
            for block in range(blocks):
                index += 1
                step = stride if block == 0 else 1
                x = InvertedResidual(features, expansion, step, **self.types, name=f"features_{index}")(x, train)
                if index in TAPS:
                    taps.append(resize_bilinear(x, TAPS[index]))
        return jnp.concatenate(taps, axis=-1)
