"""One network, run by evaluation, by the predictor and from an exported file: the same landmarks and confidences."""

from types import SimpleNamespace

import jax
import jax.export
import numpy as np
import pytest

from h3r_jax import export
from h3r_jax.errors import UserError
from h3r_jax.evaluation.evaluator import Evaluator
from h3r_jax.evaluation.protocols import Protocol
from h3r_jax.inference import FLIPS, make_network
from h3r_jax.predict import Predictor
from h3r_jax.training import sharding
from tests.training import tiny

CROPS = np.random.default_rng(0).integers(0, 256, (4, *tiny.SHAPE, 3), dtype=np.uint8)
VARIABLES = tiny.make_state(tiny.make_recipe())[0].variables


def evaluated(network):
    """Landmarks, confidence and covariance by the evaluator, which takes crops as they are."""
    count = len(CROPS)
    annotations = SimpleNamespace(
        landmarks=np.tile([[5.0, 5], [25, 5], [15, 25]], (count, 1, 1)),
        weight=np.ones((count, 3)),
        name=["a crop"] * count,
        box=None,
        object_size=None,
        subsets=(),
    )
    split = SimpleNamespace(
        annotations=annotations,
        matrices=np.tile(np.eye(2, 3), (count, 1, 1)),
        batches=lambda size, **process: [{"image": CROPS}],
    )
    mesh = sharding.make_mesh(jax.devices()[:1])
    result = Evaluator(network, Protocol(tiny.SCHEME), split, mesh, batch_size=count)(VARIABLES)
    return result.landmarks[""], result.confidence, result.covariance


ALL = (("top_k", 4), ("top_k", 9), ("top_k", 16), ("neighbours", 4), ("neighbours", 9))
CASES = [(flip, ALL[1:2]) for flip in FLIPS] + [pytest.param(flip, ALL, marks=pytest.mark.slow) for flip in FLIPS]


@pytest.mark.parametrize(("flip", "decoders"), CASES)
def test_evaluation_prediction_and_export_agree(flip, decoders, tmp_path):
    found = set()
    for selection, k in decoders:
        network = tiny.make_recipe(flip=flip, selection=selection, k=k).network
        landmarks, confidence, covariance = evaluated(network)
        predictor = Predictor(network, VARIABLES, max_batch=4, devices=jax.devices()[:1])
        for i, prediction in enumerate(predictor(list(CROPS))):  # the box of the whole image makes it its own crop
            np.testing.assert_allclose(prediction.landmarks[0], landmarks[i], rtol=0, atol=1e-4)
            np.testing.assert_allclose(prediction.confidence[0], confidence[i], rtol=0, atol=1e-5)
            np.testing.assert_allclose(prediction.covariance[0], covariance[i], rtol=1e-4, atol=1e-4)
        path = tmp_path / f"{selection}-{k}"
        export.write_stablehlo(path, predictor)
        exported = jax.export.deserialize(path.read_bytes()).call(CROPS)
        np.testing.assert_allclose(exported["landmarks"], landmarks, rtol=0, atol=1e-4)
        np.testing.assert_allclose(exported["confidence"], confidence, rtol=0, atol=1e-5)
        found.add(landmarks.tobytes())
    assert len(found) == len(decoders), "each decoder says something else"


def test_a_network_from_plain_values():
    network = make_network("mobilenet_v2", "ibug68", input_size=(64, 96), flip="heatmaps", k=4)
    assert network.heatmap_shape == (16, 24) and network == make_network(
        "mobilenet_v2", network.scheme, input_size=[64, 96], flip="heatmaps", k=4
    )
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), network.shapes())
    assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), network.initialize(0))
    with pytest.raises(UserError, match="unknown model 'mobilenet'; known: mobilenet_v2"):
        make_network("mobilenet", "ibug68", input_size=64)
    with pytest.raises(UserError, match="k=500 cells cannot be chosen from a map of 16x24"):
        make_network("mobilenet_v2", "ibug68", input_size=(64, 96), k=500)
