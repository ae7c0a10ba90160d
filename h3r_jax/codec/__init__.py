"""Coordinates to heatmap cells and back, by randomized rounding. Imports jax alone.

    coordinates --activation_points--> (cells, weights) --expectation--> coordinates

Conventions, the same in every function: coordinates are `[..., K, D]` with
`(x, y)` or `(x, y, z)` last, in input pixels, pixel centres at integers;
heatmaps are channels-last, `[..., H, W, K]` or `[..., D, H, W, K]`; cell `i`
stands at input pixel `stride * i`. Leading axes are free.

Source: Yu & Tao, "Heatmap Regression via Randomized Rounding", TPAMI 2021.
"""

from h3r_jax.codec.activation import (
    ActivationPoints,
    activation_points,
    binary_logits,
    encode,
    expectation,
    expected_heatmap,
    gather,
    randomized_rounding,
    scatter,
    threshold_rounding,
)
from h3r_jax.codec.classical import dark, gaussian, maximum, quarter_shift, udp
from h3r_jax.codec.decoding import ACTIVATIONS, Decoded, decode, decode_with_statistics
from h3r_jax.codec.integral import debiased_soft_argmax, local_soft_argmax, soft_argmax
from h3r_jax.codec.registry import CODECS, Codec
from h3r_jax.codec.selection import SELECTIONS
from h3r_jax.codec.theory import quantization_bias, quantization_bound

__all__ = [
    "ACTIVATIONS",
    "CODECS",
    "SELECTIONS",
    "ActivationPoints",
    "Codec",
    "Decoded",
    "activation_points",
    "binary_logits",
    "dark",
    "debiased_soft_argmax",
    "decode",
    "decode_with_statistics",
    "encode",
    "expectation",
    "expected_heatmap",
    "gather",
    "gaussian",
    "local_soft_argmax",
    "maximum",
    "quantization_bias",
    "quantization_bound",
    "quarter_shift",
    "randomized_rounding",
    "scatter",
    "soft_argmax",
    "threshold_rounding",
    "udp",
]
