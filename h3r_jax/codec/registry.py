"""Encoder and decoder of each method by name, in one form."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.typing import ArrayLike

from h3r_jax.codec.arguments import Stride
from h3r_jax.codec.classical import decode_dark, decode_maximum, decode_quarter_shift, decode_udp, encode_gaussian
from h3r_jax.codec.decoding import decode
from h3r_jax.codec.integral import decode_debiased_soft_argmax, decode_local_soft_argmax, decode_soft_argmax
from h3r_jax.codec.maps import encode, expected_heatmap


class Codec(NamedTuple):
    """A target and the decoder that goes with it.

    encode(key, coordinates, *, heatmap_shape, stride=4.0) -> `float32[..., *heatmap_shape, K]`; all
      but randomized rounding ignore the key.
    decode(heatmaps, *, stride=4.0, ndim=2) -> `float32[..., K, ndim]`, of maps on the scale of the targets.
    """

    encode: Callable[..., jax.Array]
    decode: Callable[..., jax.Array]


def _keyless(encoder: Callable[..., jax.Array], **options: Any) -> Callable[..., jax.Array]:
    def encode_without_key(
        key: jax.Array, coordinates: ArrayLike, *, heatmap_shape: Sequence[int], stride: Stride = 4.0
    ) -> jax.Array:
        del key
        return encoder(coordinates, heatmap_shape=heatmap_shape, stride=stride, **options)

    return encode_without_key


_ROUNDED = _keyless(encode_gaussian)
_UNBIASED = _keyless(encode_gaussian, unbiased=True)
# The targets are probabilities; for logits see `decode`.
_MEAN = functools.partial(decode, activation="identity")
# Targets reach from zero to one: a softmax of them needs a temperature well below that.
_COLD: dict[str, Any] = {"temperature": 0.1}

CODECS = {
    "randomized_rounding": Codec(encode, _MEAN),
    "expected_rounding": Codec(_keyless(expected_heatmap), _MEAN),
    "gaussian": Codec(_ROUNDED, decode_maximum),
    "unbiased_gaussian": Codec(_UNBIASED, decode_maximum),
    "quarter_shift": Codec(_ROUNDED, decode_quarter_shift),
    "dark": Codec(_UNBIASED, decode_dark),
    "udp": Codec(_UNBIASED, decode_udp),
    "soft_argmax": Codec(_UNBIASED, functools.partial(decode_soft_argmax, **_COLD)),
    "debiased_soft_argmax": Codec(_UNBIASED, functools.partial(decode_debiased_soft_argmax, **_COLD)),
    "local_soft_argmax": Codec(_UNBIASED, functools.partial(decode_local_soft_argmax, **_COLD)),
}
