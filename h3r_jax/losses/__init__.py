"""Objectives: what a network's heatmaps are trained for, and the decoder that belongs to each.

Each loss returns one number per landmark, and none of them builds the target heatmap. Average them with `weighted_mean`
and `landmark_weights`. `Objective` is a loss with its target by name, as a configuration has it; `landmark_loss` is the
mean of one, in one call.
"""

from h3r_jax.losses.heatmaps import (
    adaptive_wing,
    integral_regression,
    jensen_shannon,
    squared_error,
    structured_hinge,
)
from h3r_jax.losses.objective import (
    OBJECTIVES,
    TARGETS,
    Decoder,
    Objective,
    landmark_loss,
    landmark_weights,
    weighted_mean,
)
from h3r_jax.losses.points import binary_cross_entropy, spatial_cross_entropy

__all__ = [
    "OBJECTIVES",
    "TARGETS",
    "Decoder",
    "Objective",
    "adaptive_wing",
    "binary_cross_entropy",
    "integral_regression",
    "jensen_shannon",
    "landmark_loss",
    "landmark_weights",
    "spatial_cross_entropy",
    "squared_error",
    "structured_hinge",
    "weighted_mean",
]
