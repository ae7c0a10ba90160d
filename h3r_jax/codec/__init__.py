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
    expectation,
    randomized_rounding,
    threshold_rounding,
)
from h3r_jax.codec.classical import decode_dark, decode_maximum, decode_quarter_shift, decode_udp, encode_gaussian
from h3r_jax.codec.decoding import ACTIVATIONS, Decoded, decode, decode_with_statistics, relative_mass
from h3r_jax.codec.integral import decode_debiased_soft_argmax, decode_local_soft_argmax, decode_soft_argmax
from h3r_jax.codec.maps import binary_logits, encode, expected_heatmap, gather, scatter
from h3r_jax.codec.registry import CODECS, Codec
from h3r_jax.codec.selection import SELECTIONS
from h3r_jax.codec.separable import SeparableTarget, separable_target
from h3r_jax.codec.theory import quantization_bias, quantization_bound

__all__ = [
    "ACTIVATIONS",
    "CODECS",
    "SELECTIONS",
    "ActivationPoints",
    "Codec",
    "Decoded",
    "SeparableTarget",
    "activation_points",
    "binary_logits",
    "decode",
    "decode_dark",
    "decode_debiased_soft_argmax",
    "decode_local_soft_argmax",
    "decode_maximum",
    "decode_quarter_shift",
    "decode_soft_argmax",
    "decode_udp",
    "decode_with_statistics",
    "encode",
    "encode_gaussian",
    "expectation",
    "expected_heatmap",
    "gather",
    "quantization_bias",
    "quantization_bound",
    "randomized_rounding",
    "relative_mass",
    "scatter",
    "separable_target",
    "threshold_rounding",
]
