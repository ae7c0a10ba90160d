"""Every decoder on the same predictions of a trained run, and what the confidence of a prediction is worth.

    python -m benchmarks.decoders --workdir=DIR [--config.data.test_split=SPLIT --out=docs/figures]

The configuration is the run's own. The command computes the logit maps of the test split without a flip test, keeps
them in float16, and gives the same maps to every decoder. It prints the mean error in input pixels and the NME of
each decoder, then the mean error by tenths of the confidence, and writes confidence.png. Landmarks without a label,
or outside of the heatmap, do not count.

The decoders of logits get the logits. Those made for a Gaussian, between zero and one, get the probabilities of each
map, divided by their maximum.
"""

from h3r_jax.training import environment  # noqa: F401  (before jax)

# isort: split

import functools
import json
from pathlib import Path

import jax
import numpy as np
from absl import flags

from configs import common
from data import inputs
from h3r_jax import codec, geometry
from h3r_jax.evaluation.protocols import Protocol, units
from h3r_jax.inference import make_network, settings_of
from h3r_jax.run import find
from h3r_jax.training import command, same_run, sharding

BATCH = 64


def decoders(activation):
    """`{name: function of logits and stride}`."""
    means = functools.partial(codec.decode, activation=activation)
    other = "sigmoid" if activation == "softmax" else "softmax"
    result = {f"decode, top {k}": functools.partial(means, k=k) for k in (1, 4, 9, 16, 25)}
    for name, k in (("2x2 block", 4), ("cross", 5), ("3x3", 9), ("5x5", 25)):
        result[f"decode, {name} around the maximum"] = functools.partial(means, k=k, selection="neighbours")
    result[f"decode, top 9, wrong activation ({other})"] = functools.partial(codec.decode, activation=other)
    result["soft-argmax"] = codec.decode_soft_argmax
    result["local soft-argmax, temperature 1"] = functools.partial(codec.decode_local_soft_argmax, temperature=1.0)
    result["maximum"] = codec.decode_maximum
    result["quarter shift"] = codec.decode_quarter_shift
    for name, decoder in (
        ("DARK", codec.decode_dark),
        ("UDP", codec.decode_udp),
        (
            "debiased soft-argmax, temperature 0.1",
            functools.partial(codec.decode_debiased_soft_argmax, temperature=0.1),
        ),
        ("local soft-argmax, temperature 0.1", functools.partial(codec.decode_local_soft_argmax, temperature=0.1)),
    ):
        result[f"{name}, of probabilities"] = functools.partial(of_probabilities, decoder, activation)
    return result


def of_probabilities(decoder, activation, logits, *, stride):
    return decoder(codec.relative_mass(logits, activation=activation), stride=stride)


def batched(function, logits):
    """`function` of `logits [N, ...]`, compiled once, as numpy arrays."""
    run = jax.jit(function)
    padded = np.pad(logits, ((0, -len(logits) % BATCH), (0, 0), (0, 0), (0, 0)), mode="edge")
    parts = [jax.tree.map(np.asarray, run(padded[n : n + BATCH])) for n in range(0, len(padded), BATCH)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(logits)], *parts)


def confidence_tenths(confidence, error, variance):
    """Rows `(mean confidence, mean error, root of the mean predicted variance)`, least confident tenth first."""
    order = np.argsort(confidence, kind="stable")
    return [
        (confidence[part].mean(), error[part].mean(), np.sqrt(variance[part].mean()))
        for part in np.array_split(order, min(10, len(order)))
    ]


def draw(path, rows):
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    confidence, error, deviation = np.array(rows).T
    figure, axes = pyplot.subplots(figsize=(5, 3.6), layout="constrained")
    axes.plot(confidence, error, "o-", label="mean error")
    axes.plot(confidence, deviation, "x--", label="predicted deviation")
    axes.set(xlabel="confidence, mean of each tenth", ylabel="input pixels", title="error against confidence")
    axes.legend()
    figure.savefig(path, dpi=90)
    print(f"\nwrote {path}")


def compare(config, path, out):
    """Prints the two tables for the run or step at `path`, and draws the second in the folder `out`."""
    found = find(path)
    if not found:
        raise FileNotFoundError(f"{path} holds no run; train first, or correct --workdir or --checkpoint")
    (run, step), network = found, make_network(**settings_of(config))
    same_run.check_evaluation(run, json.loads(config.to_json()))
    split, protocol = inputs.test_input(config, network), Protocol.from_config(config, network.scheme)
    whole = sharding.replicated(sharding.make_mesh(jax.devices()[:1]))
    variables, weights = run.variables(network.shapes(), step=step, averaged=config.eval.averaged, sharding=whole)

    predict, batches = jax.jit(network.logit_maps), split.batches(config.eval.batch_size)
    chunks = [np.float16(predict(variables, batch["image"])) for batch in batches]
    logits = np.concatenate(chunks)[: split.num_examples]
    landmarks = geometry.transform_points(split.matrices, split.annotations.landmarks)
    landmarks[split.annotations.weight == 0] = np.nan
    unit = units(protocol, split.annotations, next(iter(protocol.normalizers), "")) * split.matrices[:, 0, 0]
    stride, activation = float(network.stride), network.activation
    points = codec.activation_points(landmarks.astype(np.float32), heatmap_shape=network.heatmap_shape, stride=stride)
    counts = np.asarray(points.inside)
    size = "x".join(map(str, network.heatmap_shape))
    print(f"{split.name}; {weights}")
    print(f"{counts.sum()} landmarks of {len(logits)} images, maps of {size}, stride {stride:g}, {activation}")

    def errors(coordinates):
        return np.linalg.norm(coordinates - landmarks, axis=-1)

    print(f"\n{'decoder':56s} {'pixels':>9s} {'NME %':>9s}")
    for name, decoder in decoders(activation).items():
        error = errors(batched(functools.partial(decoder, stride=stride), logits))
        with np.errstate(invalid="ignore"):
            per_image = np.where(counts, error, 0).sum(axis=1) / counts.sum(axis=1)
        nme = 100 * np.nanmean(per_image / unit)
        print(f"{name:56s} {error[counts].mean():9.4f} {nme:9.4f}")

    decoded = batched(network.decoder(k=9, selection="top_k"), logits)
    variance = np.trace(decoded.covariance, axis1=-2, axis2=-1)
    rows = confidence_tenths(decoded.confidence[counts], errors(decoded.coordinates)[counts], variance[counts])
    print(f"\n{'tenth by confidence':>20s} {'confidence':>11s} {'error, px':>10s} {'predicted deviation, px':>24s}")
    for n, row in enumerate(rows):
        print(f"{n + 1:20d} {row[0]:11.4f} {row[1]:10.4f} {row[2]:24.4f}")
    out.mkdir(parents=True, exist_ok=True)
    draw(out / "confidence.png", rows)


if __name__ == "__main__":
    flags.DEFINE_string("checkpoint", None, "a step of the run, WORKDIR/checkpoints/STEP; the last step by default")
    flags.DEFINE_string("out", "docs/figures", "folder for confidence.png")
    command.main(
        lambda flags: compare(flags.config, flags.checkpoint or flags.workdir, Path(flags.out)),
        functools.partial(command.stored_config, base=common.get_config()),
    )
