"""Heads: from backbone features to raw heatmaps."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from h3r_jax.models.layers import BatchNorm, Layer, PointwiseConv

PREDICTION_STD = 0.001  # of the last kernel at the start: every cell about equally likely

# name -> channels per landmark.
#   heatmap  one logit per cell, for a spatial cross-entropy or a per-cell loss
#   binary   off and on, as in the released H3R networks: [..., :K] are the off maps, [..., K:] the on maps
#            (`codec.binary_logits` takes their difference)
#   facial   one channel, with biases, as in HRNet-Facial-Landmark-Detection: values of a Gaussian there
#   pose     one channel, a single convolution, as in HRNet for human pose: values of a Gaussian there
HEADS = {"heatmap": 1, "binary": 2, "facial": 1, "pose": 1}


class Bias(nn.Module):
    """x [..., C] + a learned [C]."""

    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), self.param_dtype)
        return x + jnp.broadcast_to(bias.astype(x.dtype), x.shape)


class HeatmapHead(Layer):
    """1x1 convolution C -> C, batch normalisation, ReLU, 1x1 convolution C -> channels.

    features [B, H, W, C] -> raw output [B, H, W, channels] in `param_dtype`, which is float32 except in tests.

    biases: each convolution has one; H3R has none.
    hidden: False leaves the last convolution alone.
    """

    channels: int
    biases: bool = False
    hidden: bool = True

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> jax.Array:
        x = features
        if self.hidden:
            x = PointwiseConv(features.shape[-1], **self.types, name="conv")(x)
            if self.biases:
                x = Bias(self.param_dtype, name="conv_bias")(x)
            x = nn.relu(BatchNorm(self.param_dtype, name="bn")(x, train))
        types: dict[str, Any] = {**self.types, "output_dtype": self.param_dtype}
        x = PointwiseConv(self.channels, **types, kernel_init=nn.initializers.normal(PREDICTION_STD), name="predict")(x)
        return Bias(self.param_dtype, name="predict_bias")(x) if self.biases else x


def make_head(name: str, num_landmarks: int, **types: Any) -> HeatmapHead:
    """The head called `name` in `HEADS` for that many landmarks; `types` are its `dtype` and `param_dtype`."""
    return HeatmapHead(num_landmarks * HEADS[name], biases=name in ("facial", "pose"), hidden=name != "pose", **types)
