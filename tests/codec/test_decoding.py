"""Decoding and its statistics, against slow float64 ones and at the edges."""

import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from h3r_jax import codec
from tests.codec import slow

NEIGHBOURS = {1: (2,), 2: (4, 5, 9, 25), 3: (8, 7)}
SHAPES = {1: (17,), 2: (9, 12), 3: (5, 6, 7)}
STRIDES = {1: (2.0,), 2: (4.0, 2.5), 3: (4.0, 1.0, 2.5)}
CASES = [(ndim, "top_k", k) for ndim, k in ((1, 4), (2, 1), (2, 9), (3, 8))]
CASES += [(ndim, "neighbours", k) for ndim, ks in NEIGHBOURS.items() for k in ks]


def logits(ndim, count=8, seed=0):
    """`float32[2, *shape, count // 2]`, smooth enough that neighbourhoods differ from the strongest cells."""
    rng = np.random.default_rng(seed)
    return (2 * rng.normal(size=(2, *SHAPES[ndim], count // 2))).astype(np.float32)


expected_heatmap = jax.jit(codec.expected_heatmap, static_argnames=("heatmap_shape", "stride"))


@functools.cache
def compiled(ndim, **options):
    return jax.jit(functools.partial(codec.decode_with_statistics, ndim=ndim, stride=STRIDES[ndim], **options))


@functools.cache
def by_activation(activations=tuple(codec.ACTIVATIONS), **options):
    """One program for several activations, which share the search for cells: `{activation: Decoded}`."""
    decoders = {
        name: functools.partial(codec.decode_with_statistics, activation=name, **options) for name in activations
    }
    return jax.jit(lambda maps: {name: decoder(maps) for name, decoder in decoders.items()})


@pytest.mark.parametrize("ndim, selection, k", CASES)
def test_equal_to_slow_decoding(ndim, selection, k):
    maps = logits(ndim)
    activations = tuple(codec.ACTIVATIONS) if (ndim, k) in ((2, 9), (2, 4)) else ("softmax",)
    decode = by_activation(activations, k=k, selection=selection, ndim=ndim, stride=STRIDES[ndim])
    for activation, got in jax.tree.map(np.asarray, decode(maps)).items():
        assert [leaf.dtype for leaf in got] == [np.float32] * 3
        assert [leaf.shape for leaf in got] == [(2, 4, ndim), (2, 4), (2, 4, ndim, ndim)]
        for n, landmark in np.ndindex(2, 4):
            one = maps[n, ..., landmark].astype(np.float64)
            coordinates, confidence, covariance = slow.decode(
                one, k=k, stride=STRIDES[ndim], activation=activation, selection=selection
            )
            np.testing.assert_allclose(got.coordinates[n, landmark], coordinates, atol=2e-5)
            np.testing.assert_allclose(got.confidence[n, landmark], confidence, atol=1e-6)
            eigenvalues = np.linalg.eigvalsh(covariance)
            if eigenvalues.min() > 1e-4:
                np.testing.assert_allclose(got.covariance[n, landmark], covariance, atol=2e-4)
            else:  # floored
                assert np.linalg.eigvalsh(got.covariance[n, landmark]).min() > -1e-4
                floored = np.maximum(np.diagonal(covariance), 0)
                np.testing.assert_allclose(np.diagonal(got.covariance[n, landmark]), floored, atol=2e-4)


def test_decode_is_the_coordinates_of_the_statistics():
    maps = logits(2)
    want = compiled(2)(maps).coordinates
    np.testing.assert_allclose(jax.jit(functools.partial(codec.decode, stride=STRIDES[2]))(maps), want, rtol=1e-6)


def test_exact_belief_is_decoded_exactly_by_the_activation_of_its_loss():
    """The minimum of each loss, decoded by its own activation; and how far another one is off."""
    coordinates = np.random.default_rng(0).uniform(4, 24, (64, 2)).astype(np.float32)
    belief = np.asarray(expected_heatmap(coordinates, heatmap_shape=(8, 8)))
    log_belief = np.log(np.maximum(belief, 1e-12))
    log_odds = log_belief - np.log1p(-np.minimum(belief, 1 - 1e-6))

    def error(maps, activation):
        got = by_activation()(maps)[activation].coordinates
        return np.linalg.norm(got - coordinates, axis=-1).mean() / 4

    assert error(log_belief, "softmax") < 1e-5
    assert error(log_odds, "sigmoid") < 1e-5
    assert error(belief, "identity") < 1e-5
    # facts of the field: softmax of log-odds is off by 0.091 cell, of half of them (the "on" map alone) by 0.076.
    assert 0.06 < error(log_odds, "softmax") < 0.12
    assert 0.05 < error(log_odds / 2, "softmax") < 0.11
    # After a positive-class weight, its logarithm is taken off first.
    weighted = log_odds + np.log(np.float32(100))
    assert error(weighted, "sigmoid") > 0.05
    assert error(weighted - np.log(np.float32(100)), "sigmoid") < 1e-5


def test_temperature():
    maps = logits(2)

    @jax.jit
    def run(maps, temperature):
        hot = codec.decode_with_statistics(maps, temperature=2.5).coordinates
        return hot, codec.decode(maps, temperature=temperature), codec.decode(maps / 2.5), codec.decode(maps)

    hot, traced, divided, plain = run(maps, 2.5)
    np.testing.assert_allclose(hot, divided, rtol=1e-5)
    np.testing.assert_allclose(traced, hot, rtol=1e-6)
    np.testing.assert_allclose(run(maps, 1.0)[1], plain, rtol=1e-6)
    assert np.abs(hot - plain).max() > 0.1


def test_perfect_knowledge_has_no_covariance():
    coordinates = np.random.default_rng(0).uniform(1.0, [20.0, 4.5, 9.0], (50, 3)).astype(np.float32)
    maps = expected_heatmap(coordinates, heatmap_shape=SHAPES[3], stride=STRIDES[3])
    got = compiled(3, activation="identity")(maps)
    np.testing.assert_allclose(got.confidence, 1, atol=1e-6)
    np.testing.assert_allclose(got.covariance, 0, atol=1e-4)


def test_known_uncertainty_is_recovered():
    """A mixture of exact beliefs: the covariance is that of the coordinates, but for the mixture's fractions."""
    rng = np.random.default_rng(0)
    belief = rng.multivariate_normal([40, 50], [[90, 40], [40, 60]], 4000).astype(np.float32)
    maps = np.asarray(expected_heatmap(belief[:, None, :], heatmap_shape=(32, 32))).mean(axis=0)
    got = jax.jit(functools.partial(codec.decode_with_statistics, k=1024, activation="identity"))(maps)
    np.testing.assert_allclose(got.coordinates[0], belief.mean(axis=0), atol=1e-3)
    position = belief / 4
    rounding = ((position % 1) * (1 - position % 1)).mean(axis=0)  # of the mixture; the decoder knows one fraction
    fraction = belief.mean(axis=0) / 4 % 1
    want = np.cov(belief.T, bias=True) + np.diag(16 * (rounding - fraction * (1 - fraction)))
    np.testing.assert_allclose(got.covariance[0], want, atol=0.02)


def test_covariance_is_floored_and_stays_positive_semidefinite():
    corner = np.zeros((8, 8, 3), np.float32)
    corner[2, 2, 0] = corner[3, 3, 0] = 0.5  # fully correlated, and no wider than rounding: all of it is rounding
    corner[2, 2, 1] = corner[2, 4, 1] = 0.5  # wide in x alone, about a cell: nothing to take out
    corner[2, 2, 2], corner[3, 5, 2] = 0.4, 0.6  # correlated more than what is left allows
    got = jax.jit(functools.partial(codec.decode_with_statistics, activation="identity", k=4, stride=1.0))(corner)
    np.testing.assert_allclose(got.covariance[0], 0, atol=1e-6)
    np.testing.assert_allclose(got.covariance[1], [[1, 0], [0, 0]], atol=1e-6)
    x, y = 0.4 * 2 + 0.6 * 5, 0.4 * 2 + 0.6 * 3
    want = [0.24 * 9 - (x % 1) * (1 - x % 1), max(0.24 - (y % 1) * (1 - y % 1), 0)]
    np.testing.assert_allclose(np.diagonal(got.covariance[2]), want, atol=1e-6)
    assert np.linalg.eigvalsh(np.asarray(got.covariance, np.float64)).min() > -1e-6


def test_shrunken_covariances_in_three_dimensions():
    rng = np.random.default_rng(1)
    maps = np.where(rng.random((5, 6, 7, 200)) < 0.02, rng.random((5, 6, 7, 200)), 0).astype(np.float32)
    maps[2, 3, 3] = 0.1
    got = compiled(3, k=27, activation="identity")(maps)
    covariance = np.asarray(got.covariance, np.float64)
    eigenvalues = np.linalg.eigvalsh(covariance)
    assert eigenvalues.min() > -1e-4 * eigenvalues.max()
    np.testing.assert_array_equal(covariance, np.swapaxes(covariance, -1, -2))


@pytest.mark.parametrize(
    "selection, dtype",
    [("top_k", np.float32), ("neighbours", np.float32), ("top_k", ml_dtypes.bfloat16), ("top_k", np.float16)],
)
def test_maps_that_say_nothing(selection, dtype):
    maps = np.full((6, 7, 6), 0.25, np.float32)
    maps[3, 4] = 0.5
    maps[0, 0, :3] = [np.nan, np.copysign(np.nan, -1), np.inf]
    maps[..., 3] = -np.inf
    maps[..., 4] = 0
    maps[2, 2, 5] = -np.inf
    activations = tuple(codec.ACTIVATIONS) if dtype == np.float32 else ("softmax",)
    decode = by_activation(activations, selection=selection)
    for activation, got in jax.tree.map(np.asarray, decode(maps.astype(dtype))).items():
        nothing = [0, 1, 2, 3] + ([4] if activation == "identity" else [])
        something = [n for n in range(6) if n not in nothing]
        assert np.isnan(got.coordinates[nothing]).all()
        assert (got.confidence[nothing] == 0).all()
        assert np.isnan(got.covariance[nothing]).all()
        assert all(np.isfinite(leaf[something]).all() for leaf in got)
        assert (got.confidence[something] > 0).all()


def test_flat_map_takes_the_first_cells():
    flat = np.zeros((4, 5, 1), np.float32)
    got = jax.jit(functools.partial(codec.decode_with_statistics, k=3, stride=2.0))(flat)
    np.testing.assert_allclose(got.coordinates, [[2.0, 0.0]])  # mean of x = 0, 1, 2
    np.testing.assert_allclose(got.confidence, [3 / 20], rtol=1e-6)


def test_maps_of_one_row():
    maps = np.zeros((1, 9, 1), np.float32)
    maps[0, 5, 0] = 30
    decode = jax.jit(lambda maps: [codec.decode(maps, selection=selection) for selection in codec.SELECTIONS])
    for got in decode(maps):
        np.testing.assert_allclose(got, [[20.0, 0.0]], atol=1e-5)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_half_precision_is_decoded_in_float32(dtype):
    maps = logits(2).astype(dtype)
    np.testing.assert_allclose(
        compiled(2)(maps).coordinates, compiled(2)(maps.astype(np.float32)).coordinates, rtol=1e-6
    )


def test_empty():
    for shape in ((2, 6, 7, 0), (3, 0, 6, 7, 2)):
        got = jax.jit(codec.decode_with_statistics)(np.zeros(shape, np.float32))
        assert got.coordinates.shape == (*shape[:-3], shape[-1], 2)
        assert got.covariance.shape == (*shape[:-3], shape[-1], 2, 2)


def test_vmap_and_leading_axes_agree():
    maps = logits(2)
    decode = functools.partial(codec.decode_with_statistics, stride=STRIDES[2])
    want = compiled(2)(maps)
    got = jax.jit(jax.vmap(decode, in_axes=2))(np.moveaxis(maps, 0, 2))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), got, want)


@pytest.mark.parametrize(
    "activation, selection", [("softmax", "top_k"), ("sigmoid", "neighbours"), ("identity", "top_k")]
)
def test_gradient_is_that_of_the_chosen_cells(activation, selection):
    """By central differences, in the direction of a random change too small to change the choice."""
    maps = logits(2) + np.float32(3 if activation == "identity" else 0)
    change = np.random.default_rng(5).normal(size=maps.shape).astype(np.float32)
    decode = functools.partial(codec.decode, activation=activation, selection=selection)
    step = 2e-3

    @jax.jit
    def run(maps):
        gradient = jax.grad(lambda m: decode(m).sum())(maps)
        slope = jax.jvp(decode, (maps,), (change,))[1]
        return gradient, slope, decode(jnp.stack([maps + step * change, maps - step * change]))

    gradient, slope, (above, below) = map(np.asarray, run(maps))
    np.testing.assert_allclose(slope, (above - below) / (2 * step), atol=5e-2, rtol=1e-2)
    np.testing.assert_allclose(np.sum(gradient * change), slope.sum(), rtol=1e-3)
    assert 1 < (gradient != 0).sum(axis=(1, 2)).max() <= 9


def test_bad_input():
    maps = jax.ShapeDtypeStruct((6, 7, 3), np.float32)
    for options, message in (
        ({"activation": "relu"}, "unknown activation 'relu'; known are softmax, sigmoid, identity"),
        ({"selection": "all"}, "unknown selection 'all'; known are top_k, neighbours"),
        ({"k": 43}, "k=43 cells cannot be chosen from a map of 6x7"),
        ({"k": 0}, "k must be a whole number of at least 1, got 0"),
        ({"k": 6, "selection": "neighbours"}, "k=6 is no neighbourhood of 2 axes"),
        ({"k": 16, "selection": "neighbours"}, "k=16 is no neighbourhood"),
        ({"ndim": 3}, "spatial axes"),
        ({"temperature": 0}, "temperature must be positive"),
        ({"temperature": 2.0, "activation": "identity"}, "only softmax takes a temperature"),
        ({"stride": (1.0, 2.0, 3.0)}, "names 3 axes"),
    ):
        for function in (codec.decode, codec.decode_with_statistics):
            with pytest.raises(ValueError, match=message):
                jax.eval_shape(functools.partial(function, **options), maps)
    with pytest.raises(ValueError, match="float dtype"):
        codec.decode(np.zeros((6, 7, 3), np.uint8))
    with pytest.raises(ValueError, match="no cells"):
        codec.decode(np.zeros((0, 7, 3), np.float32))


def test_relative_mass_is_one_at_the_heaviest_cell():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    masses = {
        "softmax": np.exp(logits / 2),
        "sigmoid": 1 / (1 + np.exp(-logits)),
        "identity": np.maximum(logits, 0),
    }
    for activation, mass in masses.items():
        temperature = 2.0 if activation == "softmax" else 1.0
        found = codec.relative_mass(logits, activation=activation, temperature=temperature)
        np.testing.assert_allclose(found, mass / mass.max(axis=(1, 2), keepdims=True), rtol=2e-6)
