"""The losses against activation points equal their dense forms, which build the target heatmap."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from h3r_jax import codec, losses

SHAPE, STRIDE = (6, 7), (4.0, 2.5)
COORDINATES = np.array(
    [[[5.0, 6.0], [0.0, 0.0], [24.0, 12.5], [13.7, 1.1]], [[-1.0, 5.0], [4.0, np.nan], [23.9, 0.2], [8.0, 7.5]]],
    np.float32,
)
LOGITS = np.random.default_rng(0).normal(scale=3, size=(2, *SHAPE, 4)).astype(np.float32)
points_of = jax.jit(functools.partial(codec.activation_points, heatmap_shape=SHAPE, stride=STRIDE))


def dense_targets():
    """`float64[2, H, W, 4]`, by the weights of the corners; zero for what is not inside."""
    points = jax.tree.map(np.asarray, points_of(COORDINATES))
    targets = np.zeros(LOGITS.shape)
    for n, landmark, p in np.ndindex(*points.weights.shape):
        if points.inside[n, landmark]:
            x, y = points.cells[n, landmark, p]
            targets[n, y, x, landmark] += points.weights[n, landmark, p]
    return targets


def dense_spatial(logits, targets):
    return -(targets * (logits - special.logsumexp(logits, axis=(1, 2), keepdims=True))).sum(axis=(1, 2))


def dense_binary(logits, targets, positive_weight=1.0):
    positive, negative = special.log_expit(logits), special.log_expit(-logits)
    return -(positive_weight * targets * positive + (1 - targets) * negative).sum(axis=(1, 2))


def dense_spatial_gradient(logits, targets):
    return targets.sum(axis=(1, 2), keepdims=True) * special.softmax(logits, axis=(1, 2)) - targets


def dense_binary_gradient(logits, targets, positive_weight=1.0):
    return special.expit(logits) * (1 - targets) - positive_weight * targets * special.expit(-logits)


CASES = {
    "spatial": (losses.spatial_cross_entropy, dense_spatial, dense_spatial_gradient),
    "binary": (losses.binary_cross_entropy, dense_binary, dense_binary_gradient),
    "binary, weighted": (
        functools.partial(losses.binary_cross_entropy, positive_weight=50.0),
        functools.partial(dense_binary, positive_weight=50.0),
        functools.partial(dense_binary_gradient, positive_weight=50.0),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_equal_the_dense_ones(name):
    loss, dense, dense_gradient = CASES[name]
    targets = dense_targets()
    inside = targets.sum(axis=(1, 2)) > 0

    @jax.jit
    def run(logits):
        points = points_of(COORDINATES)
        weights = losses.landmark_weights(points)

        def total(logits):
            values = loss(logits, points)
            return jnp.sum(values * weights), values

        gradient, values = jax.grad(total, has_aux=True)(logits)
        return values, gradient, weights

    values, gradient, weights = run(LOGITS)
    assert values.shape == (2, 4) and values.dtype == jnp.float32
    np.testing.assert_array_equal(weights, inside)
    exact = LOGITS.astype(np.float64)
    np.testing.assert_allclose(np.asarray(values)[inside], dense(exact, targets)[inside], rtol=1e-6)
    want = dense_gradient(exact, targets) * inside[:, None, None, :]
    scale = 50.0 if "weighted" in name else 1.0
    np.testing.assert_allclose(gradient, want, atol=1e-6 * scale, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_derivatives_by_the_weights_and_of_the_gradient(name):
    """As the plain form has them by itself; coordinates are learned through the weights."""
    points, direction = points_of(COORDINATES), np.random.default_rng(1).normal(size=LOGITS.shape).astype(np.float32)

    def plain(logits, points):
        values = codec.gather(logits, points)
        if name == "spatial":
            return jax.nn.logsumexp(logits, axis=(1, 2)) - (values * points.weights).sum(axis=-1)
        gain = (50.0 if "weighted" in name else 1.0) * jax.nn.softplus(-values) - jax.nn.softplus(values)
        return jax.nn.softplus(logits).sum(axis=(1, 2)) + (gain * points.weights).sum(axis=-1)

    @functools.partial(jax.jit, static_argnums=0)
    def derivatives(loss):
        by_weights = jax.grad(lambda weights: loss(LOGITS, dataclasses.replace(points, weights=weights)).sum())(
            points.weights
        )
        gradient = jax.grad(lambda logits: (loss(logits, points) ** 2).sum())
        return by_weights, jax.jvp(gradient, (LOGITS,), (direction,))[1]

    for found, expected in zip(derivatives(CASES[name][0]), derivatives(plain)):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_the_weight_of_positives_may_be_traced():
    points = points_of(COORDINATES)

    def total(weight):
        return losses.binary_cross_entropy(LOGITS, points, positive_weight=weight).sum()

    slope = jax.jit(jax.grad(jax.checkpoint(total)))(50.0)
    compiled = jax.jit(total)
    # The loss is linear in the weight.
    assert float(slope) == pytest.approx((float(compiled(51.0)) - float(compiled(49.0))) / 2, rel=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_nothing_of_the_size_of_the_logits_is_made_but_their_gradient(name):
    logits = jax.ShapeDtypeStruct((8, 32, 32, 20), np.float32)
    coordinates = jax.ShapeDtypeStruct((8, 20, 2), np.float32)

    def mean(logits, coordinates):
        return CASES[name][0](logits, codec.activation_points(coordinates, heatmap_shape=(32, 32))).mean()

    memory = jax.jit(jax.value_and_grad(mean)).lower(logits, coordinates).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 0.1 * memory.argument_size_in_bytes


@pytest.mark.parametrize("name", CASES)
def test_weighted_points_are_the_expectation_of_sampled_ones(name):
    """Exactly: the sum over the four outcomes of rounding, by their probabilities."""
    loss = CASES[name][0]
    points = jax.tree.map(np.asarray, points_of(COORDINATES))
    outcomes = [
        codec.ActivationPoints(
            points.cells[..., n : n + 1, :], np.ones((2, 4, 1), np.float32), points.inside, points.heatmap_shape
        )
        for n in range(4)
    ]

    @jax.jit
    def both(logits):
        sampled = jnp.stack([loss(logits, outcome) for outcome in outcomes], axis=-1)
        return loss(logits, points), jnp.sum(sampled * points.weights, axis=-1)

    weighted, expected = both(LOGITS)
    np.testing.assert_allclose(weighted, expected, rtol=2e-6)


def test_three_dimensions_and_half_precision():
    shape = (4, 5, 6)
    coordinates = np.array([[3.0, 7.7, 9.1]], np.float32)
    points = jax.jit(functools.partial(codec.activation_points, heatmap_shape=shape))(coordinates)
    logits = np.random.default_rng(1).normal(size=(*shape, 1)).astype(jnp.bfloat16)
    target = np.asarray(jax.jit(codec.scatter, static_argnums=1)(points, shape), np.float64)
    exact = logits.astype(np.float64)
    got = jax.jit(losses.spatial_cross_entropy)(logits, points)
    assert got.dtype == jnp.float32
    want = -(target * (exact - special.logsumexp(exact))).sum()
    np.testing.assert_allclose(got, [want], rtol=1e-6)
    want = -(target * special.log_expit(exact) + (1 - target) * special.log_expit(-exact)).sum()
    np.testing.assert_allclose(jax.jit(losses.binary_cross_entropy)(logits, points), [want], rtol=1e-6)


@pytest.mark.parametrize("name", ["spatial", "binary"])
def test_large_logits_stay_finite(name):
    loss = jax.jit(jax.value_and_grad(lambda logits, points: CASES[name][0](logits, points).sum()))
    points = points_of(COORDINATES[:1])
    for scale in (1e4, -1e4):
        logits = np.full((1, *SHAPE, 4), scale, np.float32)
        logits[0, 2, 3] = -scale
        value, gradient = loss(logits, points)
        assert np.isfinite(value) and np.isfinite(gradient).all()


def test_the_head_of_the_reference():
    """Cross-entropy between its two channels is the binary cross-entropy of their difference."""
    outputs = np.random.default_rng(2).normal(size=(2, *SHAPE, 8))
    targets = dense_targets()
    channels = np.stack([outputs[..., :4], outputs[..., 4:]])  # off, on
    log_shares = channels - special.logsumexp(channels, axis=0)
    want = -((1 - targets) * log_shares[0] + targets * log_shares[1]).sum(axis=(1, 2))
    points = points_of(COORDINATES)
    got = jax.jit(lambda x: losses.binary_cross_entropy(codec.binary_logits(x), points))(outputs.astype(np.float32))
    inside = np.asarray(points.inside)
    np.testing.assert_allclose(np.asarray(got)[inside], want[inside], rtol=1e-5)


@pytest.mark.parametrize("loss", [losses.spatial_cross_entropy, losses.binary_cross_entropy])
def test_shapes_that_disagree(loss):
    points = points_of(COORDINATES)
    for shape in ((2, *SHAPE, 3), (1, *SHAPE, 4), (*SHAPE, 4)):
        with pytest.raises(ValueError, match="points are for"):
            jax.eval_shape(loss, jax.ShapeDtypeStruct(shape, np.float32), points)
