"""Activation points and rounding: exact inverse, exact probabilities, the paper's bias and bound."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from h3r_jax import codec
from h3r_jax.codec import maps as codec_maps
from tests.codec import slow

# Few shapes, so that few programs are compiled: heatmap shape and stride per axis of the coordinates.
GRIDS = [((9,), (2.5,)), ((6, 11), (4.0, 2.5)), ((1, 8), (3.0, 3.0)), ((5, 6, 7), (4.0, 1.0, 2.0))]
LANDMARKS = 7


@functools.cache
def fast(name, shape, stride):
    """A function of the codec, compiled for a grid."""
    return jax.jit(functools.partial(getattr(codec, name), heatmap_shape=shape, stride=stride))


expectation = jax.jit(codec.expectation)
scatter = jax.jit(codec.scatter, static_argnums=1)


@functools.cache
def fast_decode(shape, stride, activation="identity", selection="top_k", k=None):
    ndim = len(shape)
    k = min(k or 2**ndim, math.prod(shape))
    options = {"k": k, "stride": stride, "activation": activation, "selection": selection, "ndim": ndim}
    return jax.jit(functools.partial(codec.decode, **options))


def extent(shape, stride):
    """The greatest coordinate that a map can represent."""
    return np.array(stride) * (np.array(shape[::-1]) - 1)


@st.composite
def grids_and_coordinates(draw, low=0.0, high=1.0, grids=tuple(GRIDS)):
    """A grid and coordinates `float32[2, LANDMARKS, D]`, from `low` to `high` times its extent."""
    shape, stride = draw(st.sampled_from(grids))
    # XLA takes subnormal numbers for zero, numpy does not.
    unit = st.one_of(st.floats(low, high, width=32, allow_subnormal=False), st.sampled_from([low, high, 0.0, 1.0]))
    count = 2 * LANDMARKS * len(shape)
    values = np.array(draw(st.lists(unit, min_size=count, max_size=count))).reshape(2, LANDMARKS, len(shape))
    return shape, stride, (values * extent(shape, stride)).astype(np.float32)


few = settings(max_examples=15, deadline=None, derandomize=True)


@few
@given(grids_and_coordinates(-0.25, 1.25))
def test_activation_points_equal_slow_ones(case):
    shape, stride, coordinates = case
    points = fast("activation_points", shape, stride)(coordinates)
    cells, weights, inside = map(np.asarray, (points.cells, points.weights, points.inside))
    assert points.heatmap_shape == shape
    corners = 2 ** len(shape)
    assert cells.shape == (2, LANDMARKS, corners, len(shape)) and cells.dtype == np.int32
    assert weights.shape == (2, LANDMARKS, corners) and weights.dtype == np.float32
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
    assert (cells >= 0).all() and (cells < shape[::-1]).all() and (weights >= 0).all()
    maps = np.asarray(fast("expected_heatmap", shape, stride)(coordinates))
    for n, landmark in np.ndindex(2, LANDMARKS):
        # The same float32 quotient decides what is inside.
        position = coordinates[n, landmark] / np.float32(stride)
        _, want_inside = slow.activation_points(position, shape, (1.0,) * len(shape))
        assert inside[n, landmark] == want_inside
        want = slow.heatmap(position.astype(float), shape, (1.0,) * len(shape))
        np.testing.assert_allclose(maps[n, ..., landmark], want, atol=2e-6)


@few
@given(grids_and_coordinates())
def test_decoding_the_expected_heatmap_is_exact(case):
    """Theorem 2: nothing is lost."""
    shape, stride, coordinates = case
    coordinates = np.minimum(coordinates, extent(shape, stride).astype(np.float32))
    maps = fast("expected_heatmap", shape, stride)(coordinates)
    for selection in ("top_k", "neighbours") if min(shape) > 1 else ("top_k",):
        got = fast_decode(shape, stride, selection=selection)(maps)
        np.testing.assert_allclose(got, coordinates, atol=1e-4, rtol=0)


@few
@given(grids_and_coordinates(grids=GRIDS[1:2] + GRIDS[3:]), st.integers(0, 2**31 - 1))
def test_rounding_picks_an_activation_point(case, seed):
    shape, stride, coordinates = case
    points = fast("randomized_rounding", shape, stride)(jax.random.key(seed), coordinates)
    assert points.cells.shape == (2, LANDMARKS, 1, len(shape)) and (points.weights == 1).all()
    # One hot cell, of a positive probability.
    probability = np.asarray(fast("expected_heatmap", shape, stride)(coordinates))
    encoded = np.asarray(fast("encode", shape, stride)(jax.random.key(seed), coordinates))
    assert (probability[encoded > 0] > 0).all()
    want = np.zeros_like(encoded)
    for n, landmark in zip(*np.nonzero(points.inside)):
        want[n, *np.asarray(points.cells)[n, landmark, 0, ::-1], landmark] = 1
    np.testing.assert_array_equal(encoded, want)


def test_mean_of_encode_is_the_expected_heatmap():
    """Unbiased: how often each cell is drawn agrees with its weight by an exact binomial test."""
    shape, stride = (6, 11), (4.0, 2.5)
    coordinates = jnp.array([[0.0, 0.0], [25.0, 20.0], [24.9, 0.1], [13.0, 7.0], [1.3, 18.0], [12.5, 6.0], [7.5, 3.9]])
    draws = 4000
    draw = jax.jit(lambda keys: jax.vmap(lambda key: fast("encode", shape, stride)(key, coordinates))(keys).sum(axis=0))
    counts = np.asarray(draw(jax.random.split(jax.random.key(0), draws))).astype(int)
    expected = np.clip(np.asarray(fast("expected_heatmap", shape, stride)(coordinates), np.float64), 0, 1)
    assert (counts[expected == 0] == 0).all() and (counts[expected == 1] == draws).all()
    open_cells = (expected > 0) & (expected < 1)
    p_values = [stats.binomtest(int(n), draws, p).pvalue for n, p in zip(counts[open_cells], expected[open_cells])]
    assert len(p_values) > 12 and min(p_values) > 0.01 / len(p_values)


def test_both_ways_of_adding_at_points_agree_with_a_loop():
    rng = np.random.default_rng(5)
    maps = rng.normal(size=(2, 30, 3)).astype(np.float32)
    index, values = rng.integers(0, 30, (2, 3, 8)), rng.normal(size=(2, 3, 8)).astype(np.float32)
    index[1, 2, :4] = 7  # several points in one cell
    expected = maps.astype(np.float64)
    for n, landmark, p in np.ndindex(*index.shape):
        expected[n, index[n, landmark, p], landmark] += values[n, landmark, p]
    for add in (codec_maps._add_by_index, codec_maps._add_by_comparison):
        np.testing.assert_allclose(jax.jit(add)(maps, index.astype(np.int32), values), expected, atol=1e-6)


def test_axes_and_landmarks_are_rounded_independently():
    coordinates = jnp.full((2, 2), 10.0)  # half way between cells on both axes
    points = jax.vmap(lambda key: fast("randomized_rounding", (8, 8), (4.0, 4.0))(key, coordinates).cells)(
        jax.random.split(jax.random.key(1), 4000)
    )
    up = np.asarray(points[:, :, 0, :]).reshape(4000, 4) - 2
    assert set(np.unique(up)) == {0, 1}
    correlation = np.corrcoef(up.T) - np.eye(4)
    assert np.abs(correlation).max() < 4 / math.sqrt(4000)


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 1.0])
def test_threshold_rounding_is_biased_as_proved(threshold):
    stride, fractions = 4.0, (np.arange(1000) + 0.5) / 1000  # midpoints: their mean is the integral, but for one step
    coordinates = np.stack([stride * (3 + fractions)] * 2, axis=-1).astype(np.float32)
    points = jax.jit(functools.partial(codec.threshold_rounding, heatmap_shape=(9, 9), threshold=threshold))(
        coordinates
    )
    error = np.asarray(expectation(points)) - coordinates
    np.testing.assert_allclose(error.mean(axis=0), codec.quantization_bias(threshold, stride), atol=1e-3 * stride)
    distance = np.hypot(*error.T)
    if threshold == 0.5:
        assert distance.max() <= codec.quantization_bound(stride) and distance.max() > 0.99 * codec.quantization_bound(
            stride
        )
    else:
        assert distance.max() > codec.quantization_bound(stride)


@few
@given(grids_and_coordinates())
def test_nearest_cell_is_within_the_bound(case):
    """Theorem 1."""
    shape, stride, coordinates = case
    points = fast("threshold_rounding", shape, stride)(coordinates)
    distance = np.linalg.norm(np.asarray(points.cells)[..., 0, :] * np.array(stride) - coordinates, axis=-1)
    assert distance.max() <= codec.quantization_bound(stride, len(shape)) * (1 + 1e-5)


def test_coordinates_on_cells_stay():
    coordinates = jnp.array([[0.0, 8.0], [28.0, 28.0]])
    for threshold in (0.0, 0.5, 1.0):
        points = fast("threshold_rounding", (8, 8), 4.0)(coordinates, threshold=jnp.float32(threshold))
        np.testing.assert_array_equal(expectation(points), coordinates)


def test_coordinates_that_cannot_be_represented():
    coordinates = jnp.array([[-0.01, 5], [28.01, 5], [5, jnp.nan], [jnp.inf, 5], [5, -jnp.inf], [28, 28], [0, 0]])
    for points in (
        fast("activation_points", (8, 8), 4.0)(coordinates),
        fast("randomized_rounding", (8, 8), 4.0)(jax.random.key(0), coordinates),
        fast("threshold_rounding", (8, 8), 4.0)(coordinates),
    ):
        np.testing.assert_array_equal(points.inside, [False] * 5 + [True] * 2)
        np.testing.assert_allclose(points.weights.sum(axis=-1), 1, atol=1e-6)
        maps = np.asarray(scatter(points, (8, 8)))
        np.testing.assert_allclose(maps.sum(axis=(0, 1)), points.inside, atol=1e-6)
    nearest = expectation(fast("activation_points", (8, 8), 4.0)(coordinates))
    np.testing.assert_allclose(nearest, [[0, 5], [28, 5], [5, 0], [28, 5], [5, 0], [28, 28], [0, 0]], atol=1e-5)


def test_gradients_are_finite_everywhere():
    coordinates = jnp.array([[5.0, 9.3], [0.0, 28.0], [-3.0, 40.0], [jnp.nan, 2.0]])

    def mean(coordinates):
        return jnp.sum(codec.expectation(codec.activation_points(coordinates, heatmap_shape=(8, 8))))

    gradient = np.asarray(jax.jit(jax.grad(mean))(coordinates))
    np.testing.assert_allclose(gradient[0], 1, atol=1e-5)
    assert np.isfinite(gradient).all() and not gradient[2:].all()


@pytest.mark.parametrize("name", ["encode", "activation_points"])
def test_empty(name):
    arguments = (jax.random.key(0),) if name == "encode" else ()
    for lead in ((2, 0), (0, 5)):
        result = jax.tree.leaves(fast(name, (4, 5), 4.0)(*arguments, jnp.zeros((*lead, 2))))[0]
        assert result.size == 0


def test_leading_axes_and_vmap_agree():
    coordinates = jax.random.uniform(jax.random.key(0), (3, 2, 5, 2), maxval=30.0)
    encode = functools.partial(codec.expected_heatmap, heatmap_shape=(8, 9))
    want = jax.jit(encode)(coordinates)
    assert want.shape == (3, 2, 8, 9, 5)
    np.testing.assert_array_equal(jax.jit(jax.vmap(jax.vmap(encode)))(coordinates), want)


def test_bad_input():
    coordinates, key = jax.ShapeDtypeStruct((3, 2), np.float32), jax.random.key(0)

    def refused(message, name, *arguments, **options):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(functools.partial(getattr(codec, name), **options), *arguments)

    refused("coordinates have 2 axes", "activation_points", coordinates, heatmap_shape=(4, 4, 4))
    refused("must be positive", "encode", key, coordinates, heatmap_shape=(0, 4))
    refused("names 3 axes", "expected_heatmap", coordinates, heatmap_shape=(4, 4), stride=(1, 2, 3))
    refused("stride must be positive", "expected_heatmap", coordinates, heatmap_shape=(4, 4), stride=0)
    refused("threshold", "threshold_rounding", coordinates, threshold=1.5, heatmap_shape=(4, 4))
    refused("even number", "binary_logits", jax.ShapeDtypeStruct((4, 4, 3), np.float32))
    points = jax.eval_shape(functools.partial(codec.activation_points, heatmap_shape=(4, 4)), coordinates)
    refused("points are for", "gather", jax.ShapeDtypeStruct((4, 4, 2), np.float32), points)


def test_binary_logits():
    logits = jnp.array([[1.0, 2.0, 10.0, 20.0]])
    np.testing.assert_array_equal(codec.binary_logits(logits), [[9.0, 18.0]])
