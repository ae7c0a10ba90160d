"""The objectives with their gradients, compiled; three of them also in the dense form that builds a target."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from h3r_jax import codec
from h3r_jax.losses import Objective

WIDTH = {"target": "coordinate", "sigma": 1.5}
OBJECTIVES = {
    "spatial cross-entropy": Objective(),
    "spatial cross-entropy, Gaussian": Objective(**WIDTH),
    "binary cross-entropy": Objective("binary_cross_entropy"),
    "binary cross-entropy, Gaussian": Objective("binary_cross_entropy", **WIDTH),
    "squared error": Objective("squared_error", **WIDTH),
    "adaptive wing": Objective("adaptive_wing", **WIDTH),
    "integral": Objective("integral"),
    "dsnt": Objective("dsnt", **WIDTH),
    "integral cross-entropy": Objective("integral_cross_entropy"),
    "structured hinge": Objective("structured_hinge"),
}


def dense_spatial(logits, coordinates, place):
    """The spatial cross-entropy by a target heatmap."""
    target = codec.expected_heatmap(coordinates, **place)
    return -jnp.sum(target * jax.nn.log_softmax(logits, axis=(1, 2)), axis=(1, 2))


def dense_binary(logits, coordinates, place):
    """The binary cross-entropy by a target heatmap."""
    target = codec.expected_heatmap(coordinates, **place)
    return -jnp.sum(target * jax.nn.log_sigmoid(logits) + (1 - target) * jax.nn.log_sigmoid(-logits), axis=(1, 2))


def dense_squared(logits, coordinates, place):
    """The squared error by a target heatmap."""
    target = codec.encode_gaussian(coordinates, sigma=WIDTH["sigma"], unbiased=True, **place)
    return jnp.sum((logits - target) ** 2, axis=(1, 2))


def loss_programs(maps):
    """`{name: compiled program}` of the mean losses of `maps [N, H, W, K]`, with gradient, from coordinates on."""
    size, stride = maps.shape[1:3], 4.0
    limit = stride * (np.array(size[::-1]) - 1)
    coordinates = jnp.asarray(
        np.random.default_rng(1).uniform(0, 1, (maps.shape[0], maps.shape[3], 2)) * limit, jnp.float32
    )

    place = {"heatmap_shape": size, "stride": stride}

    def objective_loss(objective, logits, coordinates):
        points = objective.points(jax.random.key(0), coordinates, **place)
        return objective.values(logits, points, coordinates, stride=stride)

    def program(loss):
        def mean(logits, coordinates):
            return loss(logits, coordinates).mean()

        return jax.jit(jax.value_and_grad(mean)).lower(maps, coordinates).compile()

    forms = {name: functools.partial(objective_loss, each) for name, each in OBJECTIVES.items()}
    dense = {
        "spatial cross-entropy": dense_spatial,
        "binary cross-entropy": dense_binary,
        "squared error": dense_squared,
    }
    forms |= {f"{name}, dense": functools.partial(loss, place=place) for name, loss in dense.items()}
    programs = {name: program(loss) for name, loss in forms.items()}
    for name in dense:
        one, two = (programs[form](maps, coordinates) for form in (name, f"{name}, dense"))
        np.testing.assert_allclose(one[0], two[0], rtol=1e-4)
        np.testing.assert_allclose(one[1], two[1], atol=1e-6)
    return programs, coordinates
