"""Values near the ends of float32 decode as smaller ones do, and so do gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from h3r_jax import codec, losses

TOP = 3.4e38
# A peak at (16, 12) with a neighbour at half of it, on ground that is as far below zero, for the softmax; none for the
# others, since only the sign of a value or its share of the maximum counts there.
EVEN = np.zeros((9, 9, 1), np.float32)
EVEN[3, 4], EVEN[3, 5] = 1.0, 0.5
PEAK = np.where(EVEN > 0, EVEN, -1)
GAUSS = np.asarray(np.exp(-((np.mgrid[:9, :9] - np.array([4.3, 3.6])[:, None, None]) ** 2).sum(0) / 8), np.float32)[
    ..., None
]
CASES = {
    "softmax": (codec.decode, PEAK, (16, 12)),
    "softmax, cold": (functools.partial(codec.decode, temperature=0.01), PEAK, (16, 12)),
    "softmax, warm": (functools.partial(codec.decode, temperature=100.0), PEAK, (16, 12)),
    "sigmoid": (functools.partial(codec.decode, activation="sigmoid", k=2), PEAK, (18, 12)),
    "identity": (functools.partial(codec.decode, activation="identity"), EVEN, (16 + 4 / 3, 12)),
    "soft-argmax": (codec.decode_soft_argmax, PEAK, (16, 12)),
    "cold soft-argmax": (functools.partial(codec.decode_soft_argmax, temperature=0.1), PEAK, (16, 12)),
    "debiased": (functools.partial(codec.decode_debiased_soft_argmax, temperature=0.1), PEAK, (16, 12)),
    "debiased, low": (functools.partial(codec.decode_debiased_soft_argmax, background=-TOP), PEAK, (16, 12)),
    "local": (codec.decode_local_soft_argmax, PEAK, (16, 12)),
    "dark": (codec.decode_dark, GAUSS, None),
    "udp": (codec.decode_udp, PEAK, None),
    "quarter shift": (codec.decode_quarter_shift, EVEN, None),
}


@pytest.mark.trial("C11")
@pytest.mark.parametrize("name", CASES)
def test_decoders(name):
    decode, maps, want = CASES[name]

    @jax.jit
    def run(maps):  # to look for a maximum has no gradient
        return decode(maps), maps if want is None else jax.grad(lambda maps: decode(maps).sum())(maps)

    found, gradient = run(TOP * maps)
    np.testing.assert_allclose(found[0], run(np.float32(2**20) * maps)[0][0] if want is None else want, rtol=1e-5)
    assert np.isfinite(gradient).all()


@functools.cache
def statistics():
    """One program for all activations."""
    decoders = [functools.partial(codec.decode_with_statistics, activation=name) for name in codec.ACTIVATIONS]
    return jax.jit(lambda maps: [decode(maps) for decode in decoders])


@pytest.mark.trial("C11")
@pytest.mark.parametrize("number", range(len(codec.ACTIVATIONS)))
def test_statistics(number):
    found, want = (statistics()(scale * EVEN)[number] for scale in (TOP, np.float32(2.0**60)))
    for one, other in zip(found, want):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.trial("C11")
def test_statistics_of_equal_cells():
    """All cells at the greatest value: their sum is beyond float32."""
    for got in statistics()(np.full((9, 9, 1), TOP, np.float32)):
        np.testing.assert_allclose(got.confidence, 9 / 81, rtol=1e-6)
        np.testing.assert_allclose(got.coordinates, [[16.0, 0.0]])


@functools.cache
def spatial():
    def run(maps, coordinates):
        points = codec.activation_points(coordinates, heatmap_shape=(9, 9))
        return jax.value_and_grad(lambda maps: losses.spatial_cross_entropy(maps, points).sum())(maps), points

    return jax.jit(run)


@pytest.mark.trial("C11")
@pytest.mark.parametrize("level", [3e38, -3e38, 1e8, 0.0])
def test_spatial_cross_entropy_of_equal_logits(level):
    """Its value is the logarithm of the number of cells, and its gradient the target less one share for each."""
    (loss, gradient), points = spatial()(jnp.full((9, 9, 1), level), np.array([[14.0, 13.0]], np.float32))
    np.testing.assert_allclose(loss, np.log(81), rtol=1e-6)
    np.testing.assert_allclose(gradient, 1 / 81 - codec.scatter(points, (9, 9)), atol=1e-6)


@pytest.mark.trial("C11")
@pytest.mark.parametrize("loss", [losses.spatial_cross_entropy, losses.binary_cross_entropy])
def test_gradients_of_losses_at_the_ends(loss):
    points = codec.activation_points(np.array([[16.0, 16.0]], np.float32), heatmap_shape=(9, 9))  # of weight 1 and 0
    gradient = jax.jit(jax.grad(lambda maps: loss(maps, points).sum()))(TOP * PEAK)
    want = (EVEN == 1) * 1.0 if loss is losses.spatial_cross_entropy else EVEN > 0
    np.testing.assert_allclose(gradient, want - codec.scatter(points, (9, 9)), atol=1e-6)


@pytest.mark.trial("C11")
@pytest.mark.parametrize("dtype", [np.float32, np.float16, jnp.bfloat16])
def test_difference_of_two_channels(dtype):
    top = jnp.finfo(dtype).max
    logits = jnp.array([top, -top, 1, -jnp.inf, -top, top, 3, 0], dtype)  # four off, four on
    difference, slopes = jax.jit(lambda x: (codec.binary_logits(x), jax.jacobian(codec.binary_logits)(x)))(logits)
    assert difference.dtype == dtype and difference.tolist() == [-top, top, 2, jnp.inf]
    np.testing.assert_array_equal(slopes, np.concatenate([-np.eye(4), np.eye(4)], axis=1))
