"""Evaluation of a network on a split: every example once, in pixels of the original images."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from h3r_jax import codec, geometry
from h3r_jax.evaluation.protocols import Protocol, Scores
from h3r_jax.inference import Network
from h3r_jax.training import distributed, sharding
from h3r_jax.training.recipe import check_memory

Decoder = Callable[[jax.Array], jax.Array]  # logit maps [B, h, w, K] to landmarks [B, K, 2], input pixels


class Evaluation(NamedTuple):
    """The predictions of a network on a split of N examples, and their scores.

    landmarks: decoder -> `float64[N, K, 2]`, image pixels. The decoder "" is the network's own.
    confidence: `float32[N, K]`, of the network's own decoder.
    covariance: `float32[N, K, 2, 2]`, likewise; square pixels of the crop.
    scores: decoder -> Scores.
    """

    landmarks: dict[str, np.ndarray]
    confidence: np.ndarray
    covariance: np.ndarray
    scores: dict[str, Scores]


class Evaluator:
    """Evaluates one network on one split, by one protocol."""

    def __init__(
        self,
        network: Network,
        protocol: Protocol,
        split: Any,
        mesh: Mesh,
        *,
        batch_size: int,
        decoders: Mapping[str, Decoder] | None = None,
    ):
        """
        Args:
          network: Network.
          protocol: Protocol.
          split: data.pipeline.EvalInput, or anything with its fields.
          mesh: of the devices that share each batch.
          batch_size: of all devices of all processes together.
          decoders: further decoders, by name, to compare with the network's own.

        Raises:
          UserError: the batches do not divide among the devices or are beyond memory, or the protocol cannot score
            the split.
        """
        sharding.check_batch_size(batch_size, mesh)
        check_memory("eval.batch_size", batch_size, network.shape)
        protocol.check(split)
        self.network, self.protocol, self.split = network, protocol, split
        self._batch_size, self._mesh = batch_size, mesh
        whole, parts = sharding.replicated(mesh), sharding.batch_sharding(mesh)
        others = dict(decoders or {})
        self._decoders = (*others, "")

        def step(variables: dict, crops: jax.Array) -> tuple[codec.Decoded, dict[str, jax.Array]]:
            maps = network.maps(variables, crops)
            return network.decode_maps(maps), {name: _mean(network, decode, maps) for name, decode in others.items()}

        # Results are whole on every device, so that each process reads all of them.
        self._step = jax.jit(step, in_shardings=(whole, parts), out_shardings=whole)

    def __call__(self, variables: dict) -> Evaluation:
        """Predicts and scores, on every process; all of them must take part.

        Args:
          variables: {"params", "batch_stats"}, replicated over the mesh.
        """
        batches = self.split.batches(self._batch_size, **distributed.this_process())
        landmarks, confidence, covariance = predict_split(
            self._step, variables, batches, self.split.matrices, self._mesh
        )
        landmarks = {name: landmarks[name] for name in self._decoders}  # `jit` has sorted them
        scores = {name: self.protocol.score(each, confidence, self.split) for name, each in landmarks.items()}
        return Evaluation(landmarks, confidence, covariance, scores)

    def metrics_of(self, *, averaged: bool) -> Callable[[Any], dict[str, float]]:
        """The function from a training.state.TrainState to the metrics of its variables, or of their average."""
        return lambda state: self(state.to_evaluate(averaged)).scores[""].metrics


def _mean(network: Network, decode: Decoder, maps: tuple[jax.Array, ...]) -> jax.Array:
    straight, *mirrored = map(decode, maps)
    return (straight + network.mirror_back(mirrored[0])) / 2 if mirrored else straight


def predict_split(
    step: Callable[..., tuple[codec.Decoded, dict[str, jax.Array]]],
    variables: dict,
    batches: Iterator[dict[str, np.ndarray]],
    matrices: np.ndarray,
    mesh: Mesh,
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The results of `step` on all examples of a split.

    Args:
      step: jitted function of variables and crops `uint8[B, H, W, 3]`: codec.Decoded, and name -> `[B, K, 2]`.
      variables: {"params", "batch_stats"}, replicated over the mesh.
      batches: iterator over {"image" `uint8[b, H, W, 3]`}, this process's slices of the global batches in order. The
        last batch may be filled up with further examples, which are left out of the results.
      matrices: `float64[N, 2, 3]`, from pixels of the original image to input pixels.
      mesh: of the step.

    Returns:
      See `Evaluation`.
    """
    chunks: list[Any] = []
    for batch in batches:
        chunks.append(step(variables, sharding.to_devices(batch, mesh)["image"]))
        if len(chunks) > 1:  # one batch in flight is enough to keep the devices busy
            chunks[-2] = jax.device_get(chunks[-2])
    decoded, others = jax.tree.map(lambda *parts: np.concatenate(parts)[: len(matrices)], *jax.device_get(chunks))
    inverse = geometry.invert(matrices)
    landmarks = {
        name: geometry.transform_points(inverse, predicted.astype(np.float64))
        for name, predicted in {"": decoded.coordinates, **others}.items()
    }
    return landmarks, decoded.confidence, decoded.covariance


def mean_pixel_error(predictions: np.ndarray, annotations: Any, matrices: np.ndarray) -> float:
    """Mean distance over all labelled landmarks, input pixels; NaN without any.

    Args:
      predictions: `float64[N, K, 2]`, image pixels.
      annotations: data.source.Annotations, or anything with `landmarks` and `weight`.
      matrices: `float64[N, 2, 3]`, from image pixels to input pixels.
    """
    truth = geometry.transform_points(matrices, annotations.landmarks)
    distances = np.linalg.norm(geometry.transform_points(matrices, predictions) - truth, axis=-1)
    labelled = distances[annotations.weight > 0]
    return float(labelled.mean()) if labelled.size else float("nan")
