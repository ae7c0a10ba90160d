"""Activation points belong to maps of one shape, and a loss says so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from h3r_jax import codec, losses


def test_points_of_another_map_are_refused():
    """They would be cells of the wrong places, or lie outside and make NaN."""
    coordinates = jnp.array([[[13.7, 42.2], [100.1, 7.9]]])
    points = codec.activation_points(coordinates, heatmap_shape=(64, 64))
    for loss in (losses.spatial_cross_entropy, losses.binary_cross_entropy):
        for shape in ((128, 128), (32, 32), (64, 32)):
            with pytest.raises(ValueError, match=f"cells of maps of 64x64 cells, .* have {shape[0]}x{shape[1]}"):
                loss(jnp.zeros((1, *shape, 2)), points)
        with pytest.raises(ValueError, match="channels-last"):
            loss(jnp.zeros((1, 2, 64, 64)), points)
    with pytest.raises(ValueError, match="cells of maps of 64x64 cells"):
        codec.scatter(points, (32, 32))
    with pytest.raises(ValueError, match="cells of maps of 64x64 cells"):
        codec.separable_target(points, heatmap_shape=(32, 32), sigma=1.0)


def test_one_call_takes_the_shape_from_the_logits_and_asks_for_the_stride():
    coordinates, logits = jnp.array([[[13.7, 42.2], [100.1, 7.9]]]), jnp.ones((1, 32, 64, 2))
    points = codec.activation_points(coordinates, heatmap_shape=(32, 64), stride=2)
    expected = losses.weighted_mean(losses.spatial_cross_entropy(logits, points), losses.landmark_weights(points))
    np.testing.assert_allclose(losses.landmark_loss(logits, coordinates, stride=2), expected)
    with pytest.raises(TypeError, match="stride"):
        losses.landmark_loss(logits, coordinates)
    with pytest.raises(ValueError, match="channels-last"):
        losses.landmark_loss(jnp.ones((1, 2, 32, 64)), coordinates, stride=2)


def test_points_go_through_transformations_with_their_shape():
    coordinates = jnp.zeros((3, 2, 2))
    points = jax.jit(jax.vmap(lambda x: codec.activation_points(x, heatmap_shape=(8, 4))))(coordinates)
    assert points.heatmap_shape == (8, 4) and points.cells.shape == (3, 2, 4, 2)
    assert len(jax.tree.leaves(points)) == 3
