"""Every decoder of one pass of maps, and what each is worth."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.study import training
from benchmarks.study.examples import Crops
from h3r_jax import codec
from h3r_jax.inference import Network
from h3r_jax.metrics import NormalizedErrors

OWN = "own"  # the name of the decoder that belongs to the objective
TOP_K = (1, 2, 3, 4, 5, 6, 9, 12, 16, 25, 36, 49)
NEIGHBOURS = (4, 5, 9, 25, 49)
COVERAGES = (0.5, 0.9)  # of ellipses

Decoder = Callable[[jax.Array], jax.Array]


def decoders(heatmap_shape: tuple[int, int], activation: str, temperature: float = 1.0) -> dict[str, Decoder]:
    """`{name: decoder}` of all but the own, in cells; those that need a larger map are left out."""
    cells, least = heatmap_shape[0] * heatmap_shape[1], min(heatmap_shape)

    def of_probabilities(decode: Callable[..., jax.Array]) -> Decoder:
        # Made for Gaussians: they want maps of maximum one.
        return lambda maps: decode(
            codec.relative_mass(maps, activation=activation, temperature=temperature), stride=1.0
        )

    def means(k: int, **options: Any) -> Decoder:
        chosen = {"activation": activation, "temperature": temperature, **options}
        return functools.partial(codec.decode, k=k, stride=1.0, **chosen)

    found: dict[str, Decoder] = {
        "argmax": functools.partial(codec.decode_maximum, stride=1.0),
        "quarter shift": functools.partial(codec.decode_quarter_shift, stride=1.0),
        "DARK": of_probabilities(codec.decode_dark),
        "UDP": of_probabilities(codec.decode_udp),
        "soft-argmax": functools.partial(codec.decode_soft_argmax, stride=1.0, temperature=temperature),
    }
    if least >= 5:
        found["local soft-argmax"] = of_probabilities(codec.decode_local_soft_argmax)
    found |= {f"top {k}": means(k) for k in TOP_K if k <= cells}
    for k in NEIGHBOURS:
        if least >= {4: 2, 5: 3}.get(k, round(k**0.5)):
            found[f"neighbours {k}"] = means(k, selection="neighbours")
    if cells >= 9:
        for other in codec.ACTIVATIONS:
            if other != activation:
                found[f"mismatched: {other}"] = means(9, activation=other, temperature=1.0)
    return found


@functools.lru_cache(maxsize=32)
def _all_at_once(*form: Any) -> Callable[[Any], dict[str, jax.Array]]:
    """All decoders of a form in one program, which the cells of that form share."""
    each = decoders(*form)
    return jax.jit(lambda maps: {name: decode(maps) for name, decode in each.items()})


@functools.lru_cache(maxsize=4)
def _own(network: Network) -> Callable[[Any], codec.Decoded]:
    return jax.jit(network.decoder())


def evaluate(network: Network, maps: np.ndarray, test: Crops) -> dict[str, dict[str, float]]:
    """`{decoder: {column: value}}` of maps `float32[M, h, w, K]`, see `table` for the columns."""
    decoded = training.in_batches(_own(network), maps)
    cells = training.in_batches(_all_at_once(network.heatmap_shape, network.activation, network.temperature), maps)
    predictions = {OWN: decoded.coordinates, **{name: network.stride * found for name, found in cells.items()}}
    counted = inside(network, test)
    rows = {name: accuracy(found, test, counted, network.stride) for name, found in predictions.items()}
    rows[OWN] |= calibration(decoded, test, counted)
    return rows


def inside(network: Network, test: Crops) -> np.ndarray:
    """`bool[M, K]`: the labelled landmarks that the map can say."""
    landmarks = np.where(test.weight[..., None] > 0, test.landmarks, np.nan).astype(np.float32)
    points = codec.activation_points(landmarks, heatmap_shape=network.heatmap_shape, stride=float(network.stride))
    return np.asarray(points.inside)


def accuracy(predictions: np.ndarray, test: Crops, counted: np.ndarray, stride: float) -> dict[str, float]:
    """Errors of predictions `[M, K, 2]` in pixels of the crop.

    NaN predictions make a mean NaN. The NME and the failure rate are over all labelled landmarks, the other numbers
    over `counted`.
    """
    apart = predictions - test.landmarks
    error, labelled = np.linalg.norm(apart, axis=-1), test.weight > 0
    some = labelled.any(axis=1)
    per_example = np.where(labelled, error, 0.0).sum(axis=1)[some] / labelled.sum(axis=1)[some] / test.unit[some]
    of_examples = NormalizedErrors(per_example)
    bias = apart[counted].mean(axis=0) / stride
    pixels = float(error[counted].mean())
    return {
        "error_cells": pixels / stride,
        "error_pixels": pixels,
        "bias_x": float(bias[0]),
        "bias_y": float(bias[1]),
        "nme": of_examples.nme(),
        "failures": of_examples.failure_rate(0.10),
        "landmarks": int(counted.sum()),
    }


def calibration(decoded: codec.Decoded, test: Crops, counted: np.ndarray) -> dict[str, float]:
    """What the predicted covariances are worth.

    `calibration` is the root of the mean square error over the mean trace of the covariance: 1 is right, above 1 the
    network is too sure. `inside_50` is the share of truths within the ellipse that should hold half of them.
    `rescaled_50` is the same with the covariances multiplied by one factor. The factor makes the calibration 1 on the
    other half of the examples (the even ones for the odd ones, and the other way round).
    """
    apart = test.landmarks - np.asarray(decoded.coordinates, np.float64)
    square, covariance = (apart**2).sum(axis=-1), np.asarray(decoded.covariance, np.float64)
    trace, even = np.trace(covariance, axis1=-2, axis2=-1), (np.arange(len(apart)) % 2 == 0)[:, None]

    def factor(chosen: np.ndarray) -> np.float64:
        with np.errstate(divide="ignore", invalid="ignore"):
            return square[chosen].mean() / trace[chosen].mean()

    distance = mahalanobis(apart, covariance)
    rescaled = distance / np.where(even, factor(counted & ~even), factor(counted & even))
    result = {"calibration": float(np.sqrt(factor(counted)))}
    for name, distances in (("inside", distance), ("rescaled", rescaled)):
        for share in COVERAGES:
            # The square of the Mahalanobis distance of a normal vector in the plane is exponential with mean 2.
            within = distances[counted] <= -2 * np.log1p(-share)
            result[f"{name}_{share * 100:.0f}"] = float(within.mean())
    return result


def mahalanobis(apart: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The squared distance `[...]` of vectors `[..., 2]` by covariances `[..., 2, 2]`; infinite where it has no width.

    A vector that is zero is within every ellipse.
    """
    x, y = np.moveaxis(apart, -1, 0)
    a, b, c = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
    determinant = a * c - b * b
    regular = determinant > 1e-12 * a * c
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (c * x * x - 2 * b * x * y + a * y * y) / np.where(regular, determinant, 1.0)
    return np.where(regular, distance, np.where((x == 0) & (y == 0), 0.0, np.inf))
