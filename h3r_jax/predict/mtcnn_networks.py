"""The three networks of MTCNN: see `mtcnn`.

Images are `[n, H, W, 3]`. The layers of a network are the arrays of the package's file in their order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from h3r_jax.predict import mtcnn_weights

EXACT = jax.lax.Precision.HIGHEST  # accelerators would round the factors of products

Layers = list[jax.Array]


def _pnet(layers: Layers, tiles: jax.Array, inside: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scores `[n, SQUARES, SQUARES]` and changes `[..., 4]` of the squares in tiles.

    Args:
      inside: `int32[n, 2]`, how many rows and columns of a tile the image fills.
    """
    kernel, bias, slope, *others = layers
    parts = jnp.split(_windows(tiles, kernel), 4, axis=-1)
    a, b, c, d = (_prelu(part + _of_channels(bias, part), iter([slope])) for part in parts)
    # The image's border may cut a window: then the second row or column is no part of it.
    second = 2 * jnp.arange(a.shape[1]) + 1
    row, column = (second[None] < inside[:, axis, None] - 2 for axis in (0, 1))
    b, d = (jnp.where(column[:, None, :, None], part, -jnp.inf) for part in (b, d))
    below = jnp.where(row[:, :, None, None], jnp.maximum(c, d), -jnp.inf)
    maps = jnp.maximum(jnp.maximum(a, b), below)
    rest = iter(others)
    maps = _prelu(_convolve(maps, rest), rest)
    maps = _prelu(_convolve(maps, rest), rest)
    changes, scores = _convolve(maps, rest), _convolve(maps, rest)
    return jax.nn.softmax(scores)[..., 1], changes


def _rnet(layers: Layers, patches: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scores `[n]` and changes `[n, 4]` of patches of 24x24."""
    rest = iter(layers)
    maps = _pool(_prelu(_first(patches, rest), rest), 3)
    maps = _pool(_prelu(_convolve(maps, rest), rest), 3, "VALID")
    maps = _prelu(_convolve(maps, rest), rest)
    features = _prelu(_dense(_flat(maps), rest), rest)
    changes, scores = _dense(features, rest), _dense(features, rest)
    return jax.nn.softmax(scores)[:, 1], changes


def _onet(layers: Layers, patches: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scores `[n]` and changes `[n, 4]` of patches of 48x48."""
    rest = iter(layers)
    maps = _pool(_prelu(_first(patches, rest), rest), 3)
    maps = _pool(_prelu(_convolve(maps, rest), rest), 3, "VALID")
    maps = _pool(_prelu(_convolve(maps, rest), rest), 2)
    maps = _prelu(_convolve(maps, rest), rest)
    features = _prelu(_dense(_flat(maps), rest), rest)
    changes, _, scores = _dense(features, rest), _dense(features, rest), _dense(features, rest)  # _: five landmarks
    return jax.nn.softmax(scores)[:, 1], changes


def _windows(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """Each 2x2 window of a first layer's values, as the channels `[n, H / 2, W / 2, 4 C]` of one layer.

    On images, which have three channels, it takes a third of the time.
    """
    kernels = [jnp.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0))) for i in (0, 1) for j in (0, 1)]
    return _cross_correlate(images, jnp.concatenate(kernels, axis=-1), 2)


def _first(images: jax.Array, rest: Iterator[jax.Array]) -> jax.Array:
    windows = _windows(images, next(rest))
    n, height, width, channels = windows.shape
    maps = windows.reshape(n, height, width, 2, 2, channels // 4).swapaxes(2, 3)
    maps = maps.reshape(n, 2 * height, 2 * width, channels // 4)
    return maps + _of_channels(next(rest), maps)


def _convolve(maps: jax.Array, rest: Iterator[jax.Array]) -> jax.Array:
    sums = _cross_correlate(maps, next(rest), 1)
    return sums + _of_channels(next(rest), sums)


def _cross_correlate(maps: jax.Array, kernel: jax.Array, step: int) -> jax.Array:
    form = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(maps, kernel, (step, step), "VALID", dimension_numbers=form, precision=EXACT)


def _dense(features: jax.Array, rest: Iterator[jax.Array]) -> jax.Array:
    sums = jnp.matmul(features, next(rest), precision=EXACT)
    return sums + _of_channels(next(rest), sums)


def _prelu(values: jax.Array, rest: Iterator[jax.Array]) -> jax.Array:
    return jnp.maximum(values, 0) + _of_channels(next(rest), values) * jnp.minimum(values, 0)


def _of_channels(vector: jax.Array, values: jax.Array) -> jax.Array:
    """A number for each channel, in a shape that goes with values `[..., channels]`."""
    return vector.reshape((1,) * (values.ndim - 1) + (-1,))


def _pool(maps: jax.Array, side: int, padding: str = "SAME") -> jax.Array:
    return jax.lax.reduce_window(maps, -jnp.inf, jax.lax.max, (1, side, side, 1), (1, 2, 2, 1), padding)


def _flat(maps: jax.Array) -> jax.Array:
    return maps.swapaxes(1, 2).reshape(len(maps), -1)  # columns first, as these weights want them


NETWORKS: dict[str, Callable[..., tuple[jax.Array, jax.Array]]] = {"pnet": _pnet, "rnet": _rnet, "onet": _onet}


@functools.cache
def network(name: str) -> Callable[..., Any]:
    """A network, compiled for each shape of its input; `NETWORKS` has its arguments, but for the layers.

    Raises:
      UserError: as `mtcnn_weights.read`.
    """
    layers = jax.device_put(mtcnn_weights.read(name))
    return functools.partial(jax.jit(NETWORKS[name]), layers)
