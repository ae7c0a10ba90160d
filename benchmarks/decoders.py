"""Every decoder on the same real predictions, and what the confidence of a prediction is worth.

    python -m benchmarks.decoders --predictions=FILE.npz [--activation=softmax] [--out docs/figures]

The archive holds `logits [N, h, w, K]` (float16 or float32), `landmarks [N, K, 2]` in input pixels, `stride`, and
`normaliser [N]`, the distance in input pixels that errors are divided by; landmarks that are NaN or outside the map
do not count. `--activation` is that of the loss: softmax for the spatial cross-entropy, sigmoid for the binary one.

The Gaussian decoders were made for maps between zero and one, so they get each map's probabilities, divided by their
maximum; the decoders of logits get logits. Prints mean error in pixels and NME per decoder, then the mean error by
deciles of the confidence, and writes confidence.png.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from h3r_jax import codec

BATCH = 64


def probabilities(logits, activation):
    """Maps `[..., h, w, K]` of maximum one."""
    logits = logits.astype(jnp.float32)
    peak = logits.max(axis=(-3, -2), keepdims=True)
    return codec.ACTIVATIONS[activation](logits, peak)


def decoders(activation):
    """`{name: function of logits and stride}`."""
    means = functools.partial(codec.decode, activation=activation)
    other = "sigmoid" if activation == "softmax" else "softmax"
    result = {f"decode, top {k}": functools.partial(means, k=k) for k in (1, 4, 9, 16, 25)}
    for name, k in (("2x2 block", 4), ("cross", 5), ("3x3", 9), ("5x5", 25)):
        result[f"decode, {name} around the maximum"] = functools.partial(means, k=k, selection="neighbours")
    result[f"decode, top 9, wrong activation ({other})"] = functools.partial(codec.decode, activation=other)
    result["soft-argmax"] = codec.soft_argmax
    result["local soft-argmax, temperature 1"] = functools.partial(codec.local_soft_argmax, temperature=1.0)
    result["maximum"] = codec.maximum
    result["quarter shift"] = codec.quarter_shift
    for name, decoder in (
        ("DARK", codec.dark),
        ("UDP", codec.udp),
        ("debiased soft-argmax, temperature 0.1", functools.partial(codec.debiased_soft_argmax, temperature=0.1)),
        ("local soft-argmax, temperature 0.1", functools.partial(codec.local_soft_argmax, temperature=0.1)),
    ):
        result[f"{name}, of probabilities"] = functools.partial(of_probabilities, decoder, activation)
    return result


def of_probabilities(decoder, activation, logits, *, stride):
    return decoder(probabilities(logits, activation), stride=stride)


def batched(function, logits):
    """`function` of `logits [N, ...]`, compiled once, as numpy arrays."""
    run = jax.jit(function)
    padded = np.pad(logits, ((0, -len(logits) % BATCH), (0, 0), (0, 0), (0, 0)), mode="edge")
    parts = [jax.tree.map(np.asarray, run(padded[n : n + BATCH])) for n in range(0, len(padded), BATCH)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(logits)], *parts)


def confidence_deciles(confidence, error, variance):
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--activation", default="softmax", choices=("softmax", "sigmoid"))
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    arguments = parser.parse_args()
    with np.load(arguments.predictions) as archive:
        missing = {"logits", "landmarks", "stride", "normaliser"} - set(archive)
        if missing:
            raise SystemExit(f"{arguments.predictions} lacks {', '.join(sorted(missing))}")
        logits, landmarks, normaliser = archive["logits"], archive["landmarks"], archive["normaliser"]
        stride = tuple(float(s) for s in np.broadcast_to(archive["stride"], 2))
    points = codec.activation_points(landmarks.astype(np.float32), heatmap_shape=logits.shape[1:3], stride=stride)
    counts = np.asarray(points.inside)
    print(
        f"{counts.sum()} landmarks of {len(logits)} images, maps of {logits.shape[1]}x{logits.shape[2]}, stride {stride}"
    )

    def errors(coordinates):
        return np.linalg.norm(coordinates - landmarks, axis=-1)

    print(f"\n{'decoder':56s} {'pixels':>9s} {'NME %':>9s}")
    for name, decoder in decoders(arguments.activation).items():
        error = errors(batched(functools.partial(decoder, stride=stride), logits))
        with np.errstate(invalid="ignore"):
            per_image = np.where(counts, error, 0).sum(axis=1) / counts.sum(axis=1)
        nme = 100 * np.nanmean(per_image / normaliser)
        print(f"{name:56s} {error[counts].mean():9.4f} {nme:9.4f}")

    statistics = functools.partial(codec.decode_with_statistics, activation=arguments.activation, stride=stride)
    decoded = batched(statistics, logits)
    variance = np.trace(decoded.covariance, axis1=-2, axis2=-1)
    rows = confidence_deciles(decoded.confidence[counts], errors(decoded.coordinates)[counts], variance[counts])
    print(f"\n{'tenth by confidence':>20s} {'confidence':>11s} {'error, px':>10s} {'predicted deviation, px':>24s}")
    for n, row in enumerate(rows):
        print(f"{n + 1:20d} {row[0]:11.4f} {row[1]:10.4f} {row[2]:24.4f}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    draw(arguments.out / "confidence.png", rows)


if __name__ == "__main__":
    main()
