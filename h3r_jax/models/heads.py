"""The head of H3R: from backbone features to raw heatmaps."""
from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from h3r_jax.models.layers import BatchNorm, PointwiseConv

PREDICTION_STD = 0.001  # of the last kernel at the start: every cell about equally likely

# name -> channels per landmark.
#   heatmap  one logit per cell, for a spatial cross-entropy or a per-cell loss
#   binary   off and on, as in the released H3R networks: [..., :K] are the off maps, [..., K:] the on maps
#            (`codec.binary_logits` takes their difference)
HEADS = {"heatmap": 1, "binary": 2}


class HeatmapHead(nn.Module):
    """1x1 convolution C -> C, batch normalisation, ReLU, 1x1 convolution C -> channels; no biases.

    features [B, H, W, C] -> raw output [B, H, W, channels] in `param_dtype`, float32 unless testing.
    """

    channels: int
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = PointwiseConv(features.shape[-1], **types, name="conv")(features)
        x = nn.relu(BatchNorm(self.param_dtype, name="bn")(x, train))
        return PointwiseConv(self.channels, **types, output_dtype=self.param_dtype,
                             kernel_init=nn.initializers.normal(PREDICTION_STD), name="predict")(x)
