"""Metrics over examples, in float64 on the host, mergeable across batches and hosts."""

from h3r_jax.metrics.normalized import NormalizedErrors, nme_per_example
from h3r_jax.metrics.oks import average_precision, keypoint_similarity, person_results
from h3r_jax.metrics.pckh import HeadErrors, head_errors

__all__ = [
    "HeadErrors",
    "NormalizedErrors",
    "average_precision",
    "head_errors",
    "keypoint_similarity",
    "nme_per_example",
    "person_results",
]
