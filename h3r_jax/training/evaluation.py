"""Evaluation of a network on a split: every example once, in pixels of the original images."""

import jax
import numpy as np

from h3r_jax import geometry
from h3r_jax.training import sharding


def predict_split(eval_step, variables, batches, matrices, mesh):
    """Landmarks of all examples of a split, by every decoder of `eval_step`.

    Args:
      eval_step: of `step.jit_eval_step`.
      variables: {"params", "batch_stats"}, replicated over the mesh.
      batches: iterator over {"image" `uint8[b, H, W, 3]`}, this process's slices of the global batches in
        order; what fills up the last one is left out of the result.
      matrices: `float64[N, 2, 3]`, original image to network pixels.
      mesh: of the eval step.

    Returns:
      name -> `float64[N, K, 2]`, original image pixels, and confidence `float32[N, K]`; the same on every process.
    """
    chunks = []
    for batch in batches:
        chunks.append(eval_step(variables, sharding.to_devices(batch, mesh)["image"]))
        if len(chunks) > 1:  # one batch in flight is enough to keep the devices busy
            chunks[-2] = jax.device_get(chunks[-2])
    chunks = jax.device_get(chunks)
    inverse = geometry.invert(matrices)
    result = {}
    for name in chunks[0][0]:
        predictions = np.concatenate([landmarks[name] for landmarks, _ in chunks])[: len(matrices)]
        result[name] = geometry.transform_points(inverse, predictions.astype(np.float64))
    return result, np.concatenate([confidence for _, confidence in chunks])[: len(matrices)]


def mean_pixel_error(predictions, annotations, matrices):
    """Mean distance over all labelled landmarks in network pixels, for predictions in original image pixels; NaN without any."""
    errors = geometry.transform_points(matrices, predictions) - geometry.transform_points(
        matrices, annotations.landmarks
    )
    distances = np.linalg.norm(errors, axis=-1)[annotations.weight > 0]
    return float(distances.mean()) if distances.size else float("nan")
