"""The error that each recipe makes by itself: the truth through crop, encoder, decoder, inverse crop and metric.

    python -m benchmarks.oracle [--data_dir=DIR] [FILE:VARIANT[:SPLIT] ...]

The command takes each recipe of `configs` whose test set is in `data_dir`. It maps the landmarks of the test split
to the network's input, encodes them as all their activation points, decodes these, and maps them back, with the
boxes, the matrices and the protocol of `eval.py`. The expectation decoder makes no error, so that only the rounding
of float32 is left. Landmarks outside of the crop, which the heatmap cannot represent, are counted and left out.
COCO's detections have no truth, so its recipes take the labelled boxes of `val`.
"""

from __future__ import annotations

import argparse
import functools
import tempfile

import jax
import numpy as np

from configs import common, variants
from data import inputs
from h3r_jax import codec, geometry
from h3r_jax.errors import UserError
from h3r_jax.evaluation.protocols import Protocol
from h3r_jax.inference import make_network, settings_of


def oracle(config):
    """`score_truth` of the test split of a recipe."""
    network = make_network(**settings_of(config))
    protocol = Protocol.from_config(config, network.scheme)
    return score_truth(inputs.test_input(config, network), network, protocol)


def score_truth(split, network, protocol):
    """The truth of a split through matrices, encoder, decoder and back, scored.

    Args:
      split: data.pipeline.EvalInput.
      network: inference.Network.
      protocol: evaluation.protocols.Protocol.

    Returns:
      {"examples", "inside", "outside" (labelled landmarks), "error" (largest, original image pixels), "metrics"}.
    """
    truth = split.annotations
    crops = geometry.transform_points(split.matrices, truth.landmarks).astype(np.float32)
    decoded, inside = there_and_back(crops, network.heatmap_shape, network.stride)
    predictions = geometry.transform_points(geometry.invert(split.matrices), np.asarray(decoded, np.float64))
    labelled = truth.weight > 0
    inside = np.asarray(inside) & labelled
    # A landmark outside gets the truth as its prediction, so that the metric is of the others.
    predictions = np.where(inside[..., None], predictions, np.nan_to_num(truth.landmarks))
    errors = np.linalg.norm(predictions - truth.landmarks, axis=-1)[inside]
    return {
        "examples": len(predictions),
        "inside": int(inside.sum()),
        "outside": int((labelled & ~inside).sum()),
        "error": float(errors.max(initial=0.0)),
        "metrics": protocol.score(predictions, np.ones(labelled.shape), split).metrics,
    }


@functools.partial(jax.jit, static_argnums=(1, 2))
def there_and_back(coordinates, heatmap_shape, stride):
    """Coordinates `[N, K, 2]` through heatmap and decoder, and which of them a heatmap can represent, `bool[N, K]`."""
    points = codec.activation_points(coordinates, heatmap_shape=heatmap_shape, stride=stride)
    heatmaps = codec.scatter(points, heatmap_shape)
    return codec.decode(heatmaps, k=4, stride=stride, activation="identity"), points.inside


def main(arguments=None):
    recipes = variants.all_recipes()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "recipes",
        nargs="*",
        default=list(recipes),
        metavar="FILE:VARIANT[:SPLIT]",
        help="of configs, and a split in place of its test split; all recipes by default",
    )
    parser.add_argument("--data_dir", default=common.get_config().data_dir)
    options = parser.parse_args(arguments)
    print(f"{'recipe':<32}{'examples':>9}{'inside':>9}{'outside':>9}{'largest error, px':>19}  metrics")
    with tempfile.TemporaryDirectory() as prepared:
        for name in options.recipes:
            recipe, split = (name, "") if name in recipes else name.rpartition(":")[::2]
            if recipe not in recipes:
                parser.error(f"unknown {name}; known are {', '.join(recipes)}")
            config = recipes[recipe].copy_and_resolve_references()
            config.data_dir, config.prepared_dir = options.data_dir, prepared
            if split:
                config.data.test_split = split
            elif config.eval.metric == "coco":
                config.data.test_split = "val"
            try:
                result = oracle(config)
            except (FileNotFoundError, UserError) as error:
                print(f"{name:<32}left out: {error}")
                continue
            first = {key: value for key, value in result["metrics"].items() if "/" not in key and "@" not in key} or {
                key: value for key, value in result["metrics"].items() if "/" not in key
            }
            numbers = ", ".join(f"{key} {value:.4g}" for key, value in first.items())
            counts = "".join(f"{result[key]:>9}" for key in ("examples", "inside", "outside"))
            print(f"{name:<32}{counts}{result['error']:>19.1e}  {numbers}")


if __name__ == "__main__":
    main()
