"""Objectives equal their slow twins, build no target, and know their decoder."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from h3r_jax import codec, losses
from h3r_jax.losses import OBJECTIVES, Objective
from tests.codec import slow as slow_codec
from tests.losses import slow

SHAPE, STRIDE = (6, 7), (4.0, 2.5)
COORDINATES = np.array([[[5.0, 6.0], [0.0, 0.0], [24.0, 12.5]], [[13.7, 1.1], [23.9, 0.2], [8.0, 7.5]]], np.float32)
LOGITS = np.random.default_rng(0).normal(size=(2, *SHAPE, 3)).astype(np.float32)

GAUSSIANS = [
    Objective(name, target, sigma=sigma, threshold=threshold)
    for name in ("spatial_cross_entropy", "binary_cross_entropy", "squared_error", "adaptive_wing")
    for target, sigma, threshold in (("coordinate", 1.5, 0.5), ("expected", 0.8, 0.5), ("threshold", 2.0, 0.0))
]
OTHERS = [
    Objective("spatial_cross_entropy", "threshold"),
    Objective("binary_cross_entropy", "threshold", threshold=1.0),
    Objective("integral"),
    Objective("dsnt", "coordinate", sigma=1.0, weight=2.0),
    Objective("integral_cross_entropy", weight=0.5),
    Objective("integral_cross_entropy", "coordinate", sigma=1.0),
    Objective("structured_hinge", margin=0.5, eps=0.3),
    Objective("structured_hinge", "coordinate", sigma=1.0, margin=2.0),
]


def names(objective):
    return f"{objective.name}-{objective.target}-{objective.sigma:g}"


def centers(objective, coordinate, shape, stride):
    """`[(position, weight)]` of the target, by the slow codec."""
    points, _ = slow_codec.activation_points(coordinate, shape, stride)
    position = tuple(x / s for x, s in zip(coordinate, stride))
    if objective.target == "expected":
        return list(points.items())
    if objective.target == "coordinate":
        return [(position, 1.0)]
    cell = tuple(int(x) + (x % 1 >= objective.threshold and x % 1 > 0) for x in position)
    return [(cell, 1.0)]


def twins(objective, logits, coordinates, stride):
    """The values `[N, K]` of the slow twin."""
    logits, values = logits.astype(np.float64), np.zeros(coordinates.shape[:2])
    for n, k in np.ndindex(*values.shape):
        coordinate, shape = coordinates[n, k].astype(np.float64), logits.shape[1:-1]
        target = slow.gaussian(centers(objective, coordinate, shape, stride), shape, objective.sigma)
        position = tuple(x / s for x, s in zip(coordinate, stride))
        numbers = (objective.weight, objective.margin, objective.eps)
        values[n, k] = slow.objective(objective.name, logits[n, ..., k], target, position, *numbers)
    return values


def values_of(objective, logits, coordinates, stride, key=None):
    key = jax.random.key(0) if key is None else key
    shape = logits.shape[1:-1]
    points = objective.points(key, coordinates, heatmap_shape=shape, stride=stride)
    return objective.values(logits, points, coordinates, stride=stride)


@pytest.mark.parametrize("objective", GAUSSIANS + OTHERS, ids=names)
def test_value_and_gradient_equal_the_slow_twin(objective):
    """The gradient against the twin's differences, along a random direction."""
    direction = np.random.default_rng(1).normal(size=LOGITS.shape)

    @jax.jit
    def run(logits, coordinates):  # arguments: XLA is slow at folding what it knows while it compiles
        values, pull_back = jax.vjp(lambda z: values_of(objective, z, coordinates, STRIDE), logits)
        return values, pull_back(jnp.ones_like(values))[0]

    values, gradient = run(LOGITS, COORDINATES)
    want = twins(objective, LOGITS, COORDINATES, STRIDE)
    np.testing.assert_allclose(values, want, rtol=2e-6, atol=2e-6)
    step = 1e-5
    higher, lower = (twins(objective, LOGITS + s * direction, COORDINATES, STRIDE) for s in (step, -step))
    slope = (higher - lower).sum() / (2 * step)
    np.testing.assert_allclose((np.asarray(gradient, np.float64) * direction).sum(), slope, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("objective", [GAUSSIANS[6], GAUSSIANS[9], *OTHERS[2:5], OTHERS[6]], ids=names)
def test_volumes(objective):
    shape, stride = (3, 4, 5), (2.0, 4.0, 3.0)
    coordinates = np.array([[[3.1, 7.7, 2.9]]], np.float32)
    logits = np.random.default_rng(2).normal(size=(1, *shape, 1)).astype(np.float32)
    found = jax.jit(functools.partial(values_of, objective, stride=stride))(logits, coordinates)
    np.testing.assert_allclose(found, twins(objective, logits, coordinates, stride), rtol=2e-6)


@pytest.mark.parametrize(
    ("objective", "maps"),
    [
        (GAUSSIANS[0], 0.2),
        (GAUSSIANS[6], 0.2),
        (OTHERS[2], 0.2),
        # A loop of several functions of a cell: XLA on a CPU cuts it into pieces, and writes down what goes between.
        (GAUSSIANS[3], 1.1),
        (GAUSSIANS[9], 4.1),
        (OTHERS[3], 3.2),
        (OTHERS[4], 2.2),
        (OTHERS[6], 1.4),
    ],
    ids=lambda value: names(value) if isinstance(value, Objective) else "",
)
def test_how_many_arrays_of_the_size_of_the_maps_are_made_besides_their_gradient(objective, maps):
    logits = jax.ShapeDtypeStruct((8, 32, 32, 20), np.float32)
    coordinates = jax.ShapeDtypeStruct((8, 20, 2), np.float32)

    def mean(logits, coordinates):
        return values_of(objective, logits, coordinates, 4.0).mean()

    memory = jax.jit(jax.value_and_grad(mean)).lower(logits, coordinates).compile().memory_analysis()
    assert memory.temp_size_in_bytes < maps * 4 * math.prod(logits.shape)


def test_the_hinge_without_a_margin_is_the_spatial_cross_entropy():
    hinge, entropy = Objective("structured_hinge", margin=0.0), Objective()
    both = jax.jit(lambda z: [values_of(each, z, COORDINATES, STRIDE) for each in (hinge, entropy)])(LOGITS)
    np.testing.assert_allclose(both[0], both[1], rtol=1e-6)


def test_the_expected_target_is_the_mean_of_sampled_ones():
    """Exactly: over the four outcomes of rounding, by their probabilities; also around Gaussians."""

    @jax.jit
    def both(coordinates):
        points = codec.activation_points(coordinates, heatmap_shape=SHAPE, stride=STRIDE)
        target = functools.partial(codec.separable_target, heatmap_shape=SHAPE, sigma=1.3)
        outcomes = (
            codec.ActivationPoints(points.cells[..., n : n + 1, :], jnp.ones((2, 3, 1)), points.inside, SHAPE)
            for n in range(4)
        )
        drawn = (target(outcome).heatmap() * points.weights[:, None, None, :, n] for n, outcome in enumerate(outcomes))
        return target(points).heatmap(), sum(drawn)

    expected, mean = both(COORDINATES)
    np.testing.assert_allclose(expected, mean, atol=1e-6)


def test_without_a_width_the_target_is_the_scattered_points():
    points = codec.activation_points(COORDINATES, heatmap_shape=SHAPE, stride=STRIDE)
    target = codec.separable_target(points, heatmap_shape=SHAPE)
    np.testing.assert_allclose(target.heatmap(), codec.scatter(points, SHAPE), atol=1e-6)


@pytest.mark.parametrize(
    ("objective", "decoder"),
    [
        (Objective(), ("softmax", 9, 1.0)),
        (Objective("binary_cross_entropy", "sampled"), ("sigmoid", 9, 1.0)),
        (Objective("squared_error", "coordinate", sigma=1.0), ("identity", 25, 1.0)),
        (Objective("adaptive_wing", "threshold", sigma=1.5), ("identity", 25, 1.0)),
        (Objective("squared_error", "coordinate", sigma=0.7), ("identity", 14, 1.0)),
        (Objective("integral"), ("softmax", 1024, 1.0)),
        (Objective("structured_hinge", margin=0.1, eps=0.5), ("softmax", 9, 0.5)),
    ],
    ids=lambda value: names(value) if isinstance(value, Objective) else "",
)
def test_the_decoder_of_an_objective(objective, decoder):
    assert objective.decoder((32, 32)) == decoder
    assert objective.decoder((4, 4)).k == min(decoder[1], 16)


def test_a_ball_of_cells_in_volumes():
    """A ball with a radius of 2.4 cells has the volume of 4 / 3 pi 13.8 = 57.9 cells."""
    assert Objective("squared_error", "coordinate", sigma=0.8).decoder((32, 32, 32)).k == 58


@pytest.mark.parametrize(
    "objective",
    [
        Objective(),
        Objective("binary_cross_entropy"),
        Objective("spatial_cross_entropy", "coordinate", sigma=1.0),
        Objective("squared_error", "coordinate", sigma=1.0),
        Objective("squared_error", "expected", sigma=1.5),
        Objective("adaptive_wing", "coordinate", sigma=1.5),
        Objective("structured_hinge", margin=0.0, eps=0.5),
    ],
    ids=names,
)
def test_the_minimum_decodes_to_the_coordinate(objective):
    """Maps at which the gradient is zero, found in closed form, decoded by the decoder that belongs."""
    shape = (24, 24)
    coordinates = np.random.default_rng(3).uniform(36, 56, (1, 20, 2)).astype(np.float32)
    activation, k, temperature = objective.decoder(shape)

    @jax.jit
    def run(coordinates):
        points = objective.points(jax.random.key(0), coordinates, heatmap_shape=shape, stride=4.0)
        target = codec.separable_target(points, heatmap_shape=shape, sigma=objective.sigma)
        # Target values of zero are at minus infinity of a logarithm; -60 is as good in float32.
        maps = {
            "softmax": lambda: temperature * jnp.maximum(jnp.log(target.normalized().heatmap()), -60.0),
            "sigmoid": lambda: jnp.clip(jax.scipy.special.logit(target.heatmap()), -60.0, 60.0),
            "identity": target.heatmap,
        }[activation]()
        gradient = jax.grad(lambda z: objective.values(z, points, coordinates, stride=4.0).sum())(maps)
        return gradient, codec.decode(maps, k=k, stride=4.0, activation=activation, temperature=temperature)

    gradient, decoded = run(coordinates)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    # Of a Gaussian the cells beyond a disc are left out, which moves the mean by so many cells at most.
    bound = {0.0: 2.5e-4, 1.0: 0.025, 1.5: 0.12}[objective.sigma]
    np.testing.assert_allclose(decoded, coordinates, atol=4 * bound)


@pytest.mark.trial("C1")
@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": "mse"}, "unknown loss 'mse'; known are spatial_cross_entropy, binary_cross_entropy, squared_error"),
        ({"target": "all"}, "unknown target 'all'; known are expected, sampled, threshold, coordinate"),
        ({"name": "squared_error"}, "config.loss.sigma is 0, and squared_error aims at Gaussians: want their width"),
        ({"name": "dsnt"}, "config.loss.sigma is 0, and dsnt aims"),
        ({"name": "squared_error", "sigma": -1.0}, "config.loss.sigma is -1.0; want a finite number from 0 to 1000"),
        ({"name": "squared_error", "sigma": float("nan")}, "config.loss.sigma is nan; want"),
        ({"sigma": 0.01}, "config.loss.sigma is 0.01, too narrow for cells: want 0, or at least 0.1"),
        ({"target": "coordinate"}, "and no cell stands there: want a Gaussian around it, such as config.loss.sigma"),
        ({"name": "integral", "sigma": 1.0}, "config.loss.sigma is 1.0, and integral has no use for it; leave it out"),
        ({"name": "integral", "target": "sampled"}, "config.loss.target is 'sampled', and integral has no use for it"),
        ({"weight": 2.0}, "config.loss.weight is 2.0, and spatial_cross_entropy has no use for it; leave it out"),
        ({"margin": 2.0}, "config.loss.margin is 2.0, and spatial_cross_entropy has no use for it; leave it out"),
        ({"threshold": 0.2}, 'config.loss.threshold is 0.2: it needs config.loss.target="threshold"'),
        ({"name": "structured_hinge", "eps": 0.0}, "config.loss.eps is 0.0; want a finite number above 0.001"),
    ],
)
def test_what_does_not_go_together_is_refused(fields, sentence):
    with pytest.raises(ValueError) as error:
        Objective(**fields)
    assert str(error.value).startswith(sentence) or sentence in str(error.value)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_shapes_that_disagree(name):
    width = {"sigma": 1.0} if OBJECTIVES[name].needs_width else {}
    objective = Objective(name, **width)
    points = objective.points(jax.random.key(0), COORDINATES, heatmap_shape=SHAPE, stride=STRIDE)
    for shape in ((2, *SHAPE, 4), (1, *SHAPE, 3), (*SHAPE, 3)):
        with pytest.raises(ValueError, match="points are for|want heatmaps of|coordinates have"):
            jax.eval_shape(
                functools.partial(objective.values, points=points, coordinates=COORDINATES, stride=STRIDE),
                jax.ShapeDtypeStruct(shape, np.float32),
            )


def test_weights():
    coordinates = np.array(
        [[[5.0, 6.0], [0.0, 0.0], [-1.0, 5.0]], [[4.0, np.nan], [23.9, 0.2], [8.0, 7.5]]], np.float32
    )
    points = codec.activation_points(coordinates, heatmap_shape=SHAPE, stride=STRIDE)
    weight = jnp.array([[1.0, 0.0, 2.0], [1.0, 2.0, 3.0]])
    weights = losses.landmark_weights(points, weight)
    np.testing.assert_array_equal(weights, [[1, 0, 0], [0, 2, 3]])
    values = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(losses.weighted_mean(values, weights), (0 + 8 + 15) / 6)
    assert losses.weighted_mean(values, jnp.zeros((2, 3))) == 0
    assert np.isfinite(jax.grad(lambda v: losses.weighted_mean(v, jnp.zeros((2, 3))))(values)).all()
    with pytest.raises(ValueError, match="values have shape"):
        losses.weighted_mean(values, jnp.ones(3))


def test_the_whole_objective_in_one_call():
    coordinates = np.array([[[5.0, 6.0], [-9.0, 0.0], [8.0, 7.5]]], np.float32)
    weight, logits = np.array([[1.0, 1.0, 3.0]], np.float32), LOGITS[:1]
    loss = functools.partial(losses.landmark_loss, stride=STRIDE, weight=weight)
    sampled = Objective(target="sampled")
    with pytest.raises(ValueError, match="needs a key"):
        loss(logits, coordinates, objective=sampled)

    @jax.jit
    def run(key):
        values = values_of(Objective(), logits, coordinates, STRIDE)
        drawn = jax.vmap(lambda key: loss(logits, coordinates, objective=sampled, key=key))(jax.random.split(key, 400))
        return values, loss(logits, coordinates), drawn

    values, whole, drawn = run(jax.random.key(1))
    np.testing.assert_allclose(whole, (values[0, 0] + 3 * values[0, 2]) / 4, rtol=1e-6)
    assert drawn.mean() == pytest.approx(float(whole), abs=5 * float(drawn.std()) / 20)
