"""The classical codecs against slow float64 ones, and the accuracy of each round trip."""

import functools

import jax
import numpy as np
import pytest
from scipy import ndimage

from h3r_jax import codec
from tests.codec import slow

SHAPES = {1: (19,), 2: (11, 13), 3: (6, 7, 8)}
STRIDES = {1: (3.0,), 2: (4.0, 2.5), 3: (4.0, 2.5, 3.0)}
DECODERS = {
    "maximum": (codec.decode_maximum, slow.maximum),
    "quarter_shift": (codec.decode_quarter_shift, slow.quarter_shift),
    "dark": (functools.partial(codec.decode_dark, kernel_size=5), functools.partial(slow.dark, kernel_size=5)),
    "udp": (functools.partial(codec.decode_udp, kernel_size=5), functools.partial(slow.udp, kernel_size=5)),
    "soft_argmax": (
        functools.partial(codec.decode_soft_argmax, temperature=0.2),
        functools.partial(slow.soft_argmax, temperature=0.2),
    ),
    "debiased_soft_argmax": (
        functools.partial(codec.decode_debiased_soft_argmax, temperature=0.2),
        functools.partial(slow.debiased_soft_argmax, temperature=0.2),
    ),
    "local_soft_argmax": (
        functools.partial(codec.decode_local_soft_argmax, temperature=0.1),
        functools.partial(slow.local_soft_argmax, temperature=0.1),
    ),
}


def bumps(shape, count, seed=0):
    """`float32[count, *shape]`: a bump anywhere, the border included, on a rough ground."""
    rng = np.random.default_rng(seed)
    grids = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    maps = []
    for _ in range(count):
        center = rng.uniform(0, 1, len(shape)) * (np.array(shape) - 1)
        width = rng.uniform(0.8, 2.5, len(shape))
        offsets = (grids - center.reshape(-1, *[1] * len(shape))) / width.reshape(-1, *[1] * len(shape))
        ground = ndimage.gaussian_filter(rng.normal(size=shape), 1.0)
        maps.append(np.exp(-(offsets**2).sum(axis=0) / 2) + 0.1 * ground)
    return np.stack(maps).astype(np.float32)


@pytest.mark.parametrize(
    "name, ndim", [(name, ndim) for name in DECODERS for ndim in (2, 3)] + [("dark", 1), ("udp", 1)]
)
def test_decoder_equals_slow_one(name, ndim):
    fast, reference = DECODERS[name]
    count = 24
    maps = bumps(SHAPES[ndim], count)
    batch = np.moveaxis(maps.reshape(2, count // 2, *SHAPES[ndim]), 1, -1)  # [2, *shape, K]
    fast = functools.partial(fast, stride=STRIDES[ndim], ndim=ndim)
    got = np.asarray(jax.jit(fast)(batch))
    assert got.shape == (2, count // 2, ndim) and got.dtype == np.float32
    want = [reference(m.astype(np.float64)) * STRIDES[ndim] for m in maps]
    # Logarithms of float32 are good to 1e-7, and flat directions amplify that.
    tolerance = 2e-3 if name in ("dark", "udp") else 2e-5
    np.testing.assert_allclose(got.reshape(count, ndim), want, atol=tolerance, rtol=0)
    if ndim == 2 and name in ("quarter_shift", "dark", "debiased_soft_argmax"):
        mapped = jax.jit(jax.vmap(fast, in_axes=1))(np.moveaxis(batch, 0, 1))
        np.testing.assert_allclose(mapped, got, atol=tolerance, rtol=0)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_gaussian_equals_slow_one(ndim, unbiased):
    shape, stride = SHAPES[ndim], STRIDES[ndim]
    rng = np.random.default_rng(1)
    coordinates = rng.uniform(-0.1, 1.1, (2, 6, ndim)) * stride * (np.array(shape[::-1]) - 1)
    coordinates[0, 0] = 0
    coordinates[0, 1] = np.array(stride) * (np.array(shape[::-1]) - 1)
    coordinates[0, 2, 0] = np.nan
    coordinates[0, 3] = 2.5 * np.array(stride)  # a half goes up
    coordinates = coordinates.astype(np.float32)
    encode = functools.partial(codec.encode_gaussian, heatmap_shape=shape, stride=stride, sigma=1.5, unbiased=unbiased)
    got = np.asarray(jax.jit(encode)(coordinates))
    assert got.shape == (2, *shape, 6) and got.dtype == np.float32
    for n in range(2):
        for landmark in range(6):
            want = slow.gaussian(coordinates[n, landmark].astype(float), shape, stride, sigma=1.5, unbiased=unbiased)
            np.testing.assert_allclose(got[n, ..., landmark], want, atol=2e-6, rtol=0)


# Largest error of a round trip in cells per axis, at least four sigma from the border.
ROUND_TRIP = {
    "randomized_rounding": (0.5, 1.0),
    "expected_rounding": (0.0, 2e-5),
    "gaussian": (0.49, 0.5001),
    "unbiased_gaussian": (0.49, 0.5001),
    "quarter_shift": (0.49, 0.5001),
    "dark": (0.0, 1e-3),
    "udp": (0.0, 1e-3),
    "soft_argmax": (0.1, 2.0),
    "debiased_soft_argmax": (0.0, 5e-3),
    "local_soft_argmax": (0.001, 0.05),
}


@functools.cache
def compiled(encode, shape, stride):
    """An encoder for a grid; several codecs share one."""
    return jax.jit(functools.partial(encode, heatmap_shape=shape, stride=stride))


@pytest.mark.parametrize("name", codec.CODECS)
def test_round_trip(name):
    """Within the bound of the method, and no better than it can be."""
    coordinates = np.random.default_rng(0).uniform(4 * 8, 4 * 23, (4, 50, 2)).astype(np.float32)
    encode, decode = codec.CODECS[name]
    maps = compiled(encode, (32, 32), 4.0)(jax.random.key(1), coordinates)
    assert maps.shape == (4, 32, 32, 50) and maps.dtype == np.float32
    error = np.abs(np.asarray(jax.jit(decode)(maps)) - coordinates).max() / 4
    least, most = ROUND_TRIP[name]
    assert least <= error <= most


@pytest.mark.parametrize("name", codec.CODECS)
def test_codecs_agree_about_form(name):
    encode, decode = codec.CODECS[name]
    stride = (3.0, 4.0, 5.0)
    coordinates = np.array([[[10, 20, 30], [-1, 5, 5], [np.nan, 5, 5]]], np.float32)  # inside, outside, unknown
    maps = np.asarray(compiled(encode, (12, 13, 14), stride)(jax.random.key(0), coordinates))
    assert maps.shape == (1, 12, 13, 14, 3)
    assert maps[..., 0].max() > 0 and not maps[..., 1:].any()
    decode = jax.jit(functools.partial(decode, stride=stride, ndim=3))
    maps = np.repeat(maps[..., :1], 4, axis=-1)
    maps[0, 1, 2, 3, 1:] = [np.nan, np.copysign(np.nan, -1), np.inf]
    got = np.asarray(decode(maps))
    assert got.shape == (1, 4, 3) and got.dtype == np.float32
    assert np.isfinite(got[0, 0]).all() and np.isnan(got[0, 1:]).all()
    for shape, want in (((0, 12, 13, 14, 3), (0, 3, 3)), ((2, 12, 13, 14, 0), (2, 0, 3))):
        assert jax.eval_shape(decode, jax.ShapeDtypeStruct(shape, np.float32)).shape == want
    with pytest.raises(ValueError, match="spatial axes"):
        decode(np.zeros((3, 4, 5), np.float32))
    with pytest.raises(ValueError, match="float dtype"):
        decode(np.zeros((9, 9, 9, 2), np.int32))
    with pytest.raises(ValueError, match="coordinates have 3 axes"):
        encode(jax.random.key(0), coordinates, heatmap_shape=(12, 13), stride=4.0)


@pytest.mark.parametrize("name", [name for name in codec.CODECS if name != "randomized_rounding"])
def test_deterministic_encoders_ignore_the_key(name):
    encode = functools.partial(codec.CODECS[name].encode, None, heatmap_shape=(9, 9))
    assert jax.eval_shape(encode, np.array([[10.3, 20.6]], np.float32)).shape == (9, 9, 1)


def test_quarter_shift_by_hand():
    maps = np.zeros((5, 6, 4), np.float32)
    maps[2, 3, :] = 1
    maps[2, 4, 0] = 0.5  # right of it
    maps[1, 3, 1] = 0.5  # above it
    maps[..., 3] = -np.inf
    maps[2, 3, 3] = 0
    maps[0, 0, 2] = 2  # in the corner
    got = jax.jit(codec.decode_quarter_shift)(maps)
    np.testing.assert_array_equal(got, [[13, 8], [12, 7], [0, 0], [12, 8]])


def test_pull_of_the_background_is_as_derived():
    """Soft-argmax is off by the share of the background times the distance to the centre; its debiased form is not."""
    coordinates = np.array([[30, 40]], np.float32)
    encode = functools.partial(codec.encode_gaussian, heatmap_shape=(40, 50), stride=4.0, sigma=1.0, unbiased=True)
    maps = np.asarray(jax.jit(encode)(coordinates))
    share = maps.size / np.exp(maps / 0.1).sum()
    center = np.array([[49 / 2 * 4, 39 / 2 * 4]])
    want = coordinates + share * (center - coordinates)

    @jax.jit
    def decode(maps):
        debiased = functools.partial(codec.decode_debiased_soft_argmax, temperature=0.1)
        return codec.decode_soft_argmax(maps / 0.1), debiased(maps), debiased(maps + 3, background=3.0)

    plain, debiased, raised = decode(maps)
    np.testing.assert_allclose(plain, want, rtol=1e-4)
    np.testing.assert_allclose(debiased, coordinates, atol=1e-3)
    # A background elsewhere than at zero is named.
    np.testing.assert_allclose(raised, coordinates, atol=1e-2)


def test_soft_argmax_survives_large_values():
    maps = np.zeros((9, 9, 1), np.float32)
    maps[3, 4, 0] = 1e4
    decoders = (codec.decode_soft_argmax, codec.decode_debiased_soft_argmax, codec.decode_local_soft_argmax)
    for got in jax.jit(lambda maps: [decoder(maps) for decoder in decoders])(maps):
        np.testing.assert_allclose(got, [[16.0, 12.0]], atol=1e-4)


@pytest.mark.parametrize("decoder", [codec.decode_dark, codec.decode_udp])
def test_even_kernels_are_refused(decoder):
    with pytest.raises(ValueError, match="odd"):
        jax.eval_shape(functools.partial(decoder, kernel_size=4), np.zeros((9, 9, 1), np.float32))
