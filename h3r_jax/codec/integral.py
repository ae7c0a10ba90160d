"""Decoders that average over the map or a window of it: soft-argmax, also called integral regression.

Each takes `heatmaps [..., H, W, K]`, or `[..., D, H, W, K]` with `ndim=3`, of
any float dtype, and a stride as everywhere in the codec, and returns
`float32[..., K, ndim]`, input pixels; NaN where a map contains NaN or +inf.
`temperature` divides the values; its inverse is the literature's beta or tau.
All raise ValueError for heatmaps that are no floats, have fewer than `ndim + 1`
axes or no cells, and for a stride, `ndim`, temperature, window or background out of range.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from h3r_jax.codec.activation import along_last
from h3r_jax.codec.arguments import Stride, number, odd, positive, strides, whole
from h3r_jax.codec.decoding import decode, divided_difference, mass_function
from h3r_jax.codec.selection import flatten, widened
from h3r_jax.codec.top_k import usable


def decode_soft_argmax(
    heatmaps: ArrayLike, *, stride: Stride = 4.0, ndim: int = 2, temperature: float = 1.0
) -> jax.Array:
    """The mean over all cells under the softmax of the map (integral regression).

    It is `decode` with all cells. A background of equal values pulls it towards
    the centre of the map, by the share of the mass that the background holds.

    Source: Sun et al., "Integral Human Pose Regression", ECCV 2018.
    """
    maps, shape = flatten(heatmaps, ndim)
    values = widened(maps)
    peak = jax.lax.stop_gradient(jnp.max(values, axis=-2, keepdims=True))
    mass = mass_function("softmax", temperature)(values, peak)
    return _mean(mass / jnp.sum(mass, axis=-2, keepdims=True), maps, shape, stride)


def decode_debiased_soft_argmax(
    heatmaps: ArrayLike, *, stride: Stride = 4.0, ndim: int = 2, temperature: float = 1.0, background: float = 0.0
) -> jax.Array:
    """Soft-argmax without the pull of a background whose value is known.

    Let z be the values divided by the temperature and b that of the background,
    C the sum of exp(z - b) over the N cells, and u the soft-argmax. A background
    cell holds 1/C of the mass, so that N/C of it, with its mean at the centre c,
    says nothing about the landmark. Taken away from all cells alike, the mean of
    what remains is

        (u - (N/C) c) / (1 - N/C)  =  sum(x (exp(z - b) - 1)) / sum(exp(z - b) - 1),

    exact for whatever stands above the background. The right-hand side is what is
    computed; cells at the background have weight zero and those below it a
    negative one. NaN where nothing remains (a flat map at the background).

    Source: the bias is that of Gu et al., "Removing the Bias of Integral Pose
    Regression", ICCV 2021; the derivation is ours.
    """
    maps, shape = flatten(heatmaps, ndim)
    values, background = widened(maps), number("background", background)
    temperature = positive("temperature", temperature)
    peak = jax.lax.stop_gradient(jnp.maximum(jnp.max(values, axis=-2, keepdims=True), background))
    # exp(z - b) - 1, divided by the largest exp(z - b); exact near the background, and without overflow.
    floor = jnp.exp(divided_difference(background, peak, temperature))
    half = values / 2 - background / 2
    near = 2 * (jnp.clip(half, -100 * temperature, temperature / 2) / temperature)  # z - b, at most 1
    mass = jnp.where(
        half < temperature / 2,
        jnp.expm1(near) * floor,
        jnp.exp(divided_difference(values, peak, temperature)) - floor,
    )
    total = jnp.sum(mass, axis=-2, keepdims=True)
    return _mean(mass / total, maps, shape, stride)


def decode_local_soft_argmax(
    heatmaps: ArrayLike, *, stride: Stride = 4.0, ndim: int = 2, window: int = 5, temperature: float = 0.1
) -> jax.Array:
    """Soft-argmax over a window around the strongest cell; what lies beyond the border is left out.

    Args:
      window: cells per axis, odd; at most the map.

    Source: Bulat et al., "Subpixel Heatmap Regression for Facial Landmark Localization", BMVC 2021.
    """
    k = odd("window", window) ** whole("ndim", ndim)
    return decode(heatmaps, k=k, stride=stride, selection="neighbours", ndim=ndim, temperature=temperature)


def _mean(mass: jax.Array, maps: jax.Array, shape: tuple[int, ...], stride: Stride) -> jax.Array:
    """The mean position under `mass [..., S, K]` in input pixels `[..., K, D]`; NaN where `maps` cannot be used.

    One axis at a time, so that the sums are over row and column masses.
    """
    ndim = len(shape)
    mass = mass.reshape(*mass.shape[:-2], *shape, mass.shape[-1])
    means = []
    for axis in reversed(range(ndim)):  # x is the last
        others = tuple(n - ndim - 1 for n in range(ndim) if n != axis)
        profile = jnp.swapaxes(jnp.sum(mass, axis=others), -1, -2)  # [..., K, size]
        means.append(jnp.sum(profile * along_last(range(shape[axis]), profile.ndim, jnp.float32), axis=-1))
    positions = jnp.stack(means, axis=-1).astype(jnp.float32) * along_last(
        strides(stride, ndim), means[0].ndim + 1, jnp.float32
    )
    return jnp.where(usable(maps)[..., None], positions, jnp.nan)
