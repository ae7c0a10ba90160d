"""The error that each codec causes by itself, on real face shapes: encode the true landmarks, decode, compare.

    python -m benchmarks.quantization [--shapes FILE.npz] [--out docs/figures]

The shapes are all arrays `[N, 68, 2]` of the archive (default: `../shared/data/shapes/ibug68_shapes.npz` beside the
repository). If there is no such file they are random, and the output says so. Each is cropped by protocol P1: the
square around the landmarks, times 1.25. NME is in percent of the distance between the outer eye corners.

The command prints the analysis of the paper on the same coordinates (bias of threshold rounding, Theorems 1 and 2),
then the mean error of each codec for several input sizes and strides, and the errors of decoding with the wrong
activation, and of Gaussians with few cells. It writes quantization.png and bias.png.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from h3r_jax import codec, geometry, ranges
from h3r_jax.errors import sentences

SHAPES = Path(__file__).parents[2] / "shared" / "data" / "shapes" / "ibug68_shapes.npz"
EYE_CORNERS = (36, 45)
BATCH = 32


def rounding(threshold):
    def encode(key, coordinates, **options):
        return codec.scatter(
            codec.threshold_rounding(coordinates, threshold=threshold, **options), options["heatmap_shape"]
        )

    return encode


# Simple codecs to compare with `codec.CODECS`.
BASELINES = {
    "rounded down": codec.Codec(rounding(1.0), codec.decode_maximum),
    "nearest cell": codec.Codec(rounding(0.5), codec.decode_maximum),
    "nearest cell, ideal quarter": codec.Codec(codec.CODECS["unbiased_gaussian"].encode, codec.decode_quarter_shift),
}
ALL = BASELINES | codec.CODECS


def load_shapes(path):
    """Landmarks `float64[N, 68, 2]`, and a phrase that describes them."""
    if path.is_file():
        with np.load(path) as archive:
            shapes = np.concatenate([archive[name] for name in archive]).astype(np.float64)
        return shapes, f"{len(shapes)} face shapes of {path.name}"
    rng = np.random.default_rng(0)
    shapes = rng.uniform(0, 300, (1000, 68, 2))
    shapes[:, EYE_CORNERS] = [[80.0, 120.0], [220.0, 120.0]]
    return shapes, f"1000 random shapes, since {path.name} is absent"


def crops(shapes, size):
    """The shapes in the pixels of their crops `float32[N, 68, 2]`, and the distance of the eye corners there `[N]`."""
    matrices = geometry.crop_matrix(geometry.landmark_box(shapes), shape=(size, size))
    inside = geometry.transform_points(matrices, shapes).astype(np.float32)
    return inside, np.linalg.norm(inside[:, EYE_CORNERS[0]] - inside[:, EYE_CORNERS[1]], axis=-1)


def round_trip(name, coordinates, size, stride):
    """Coordinates `float32[N, 68, 2]` after encoding and decoding."""
    method = ALL[name]
    shape = (size // stride, size // stride)

    @jax.jit
    def run(key, coordinates):
        maps = method.encode(key, coordinates, heatmap_shape=shape, stride=float(stride))
        return method.decode(maps, stride=float(stride))

    padded = np.pad(coordinates, ((0, -len(coordinates) % BATCH), (0, 0), (0, 0)), mode="edge")
    parts = [run(jax.random.key(n), padded[n : n + BATCH]) for n in range(0, len(padded), BATCH)]
    return np.concatenate(parts)[: len(coordinates)]


def analysis(shapes, size=256, stride=4):
    """`(thresholds, measured bias [T, 2])`, after printing it beside the theory."""
    coordinates, _ = crops(shapes, size)
    grid = {"heatmap_shape": (size // stride, size // stride), "stride": float(stride)}
    thresholds = np.linspace(0, 1, 11)
    rounded = jax.jit(functools.partial(codec.threshold_rounding, **grid))
    back = [
        np.asarray(codec.expectation(rounded(coordinates, threshold=np.float32(t)), stride=stride)) for t in thresholds
    ]
    errors = [decoded - coordinates for decoded in back]
    print(f"Threshold rounding at stride {stride}, {coordinates[..., 0].size} landmarks, pixels:")
    print(f"{'threshold':>10s} {'bias in x':>10s} {'bias in y':>10s} {'in theory':>10s} {'largest':>10s}")
    for threshold, error in zip(thresholds, errors):
        x, y = error.reshape(-1, 2).mean(axis=0)
        theory, largest = codec.quantization_bias(threshold, stride), np.linalg.norm(error, axis=-1).max()
        print(f"{threshold:10.1f} {x:10.4f} {y:10.4f} {theory:10.4f} {largest:10.4f}")
    seen = np.linalg.norm(errors[5], axis=-1).max()
    print(f"Theorem 1: nearest cells are within {codec.quantization_bound(stride):.4f}; seen {seen:.4f}")
    exact = np.abs(round_trip("expected_rounding", coordinates, size, stride) - coordinates).max()
    print(f"Theorem 2: the expectation gives the coordinate back; largest difference {exact:.1e}")
    return thresholds, np.stack([error.reshape(-1, 2).mean(axis=0) for error in errors])


def mismatch(count=401):
    """The error of decoding perfect beliefs with the right and the wrong activation, after a binary cross-entropy.

    Prints the mean distance over coordinates whose fractions in x and y are independent and uniform.

    Returns:
      Fractions `[count - 2]`, equal in x and y; and name -> decoded minus true, in x, in cells, at these fractions.
    """
    fractions = np.linspace(0, 1, count)[1:-1].astype(np.float32)
    square = np.random.default_rng(0).uniform(0, 1, (20_000, 2)).astype(np.float32)

    def decoded(positions, odds_power, activation):
        belief = codec.expected_heatmap(positions[:, None, :] + 2, heatmap_shape=(6, 6), stride=1.0)
        log_odds = jnp.log(jnp.maximum(belief, 1e-30)) - jnp.log1p(-belief)
        return codec.decode(odds_power * log_odds, k=4, stride=1.0, activation=activation)[:, 0] - 2 - positions

    cases = {
        "sigmoid of log-odds": (1.0, "sigmoid"),
        "softmax of log-odds": (1.0, "softmax"),
        "softmax of half the log-odds": (0.5, "softmax"),
    }
    print("\nAfter a binary cross-entropy, mean distance in cells over uniform fractions:")
    errors = {}
    for name, case in cases.items():
        mean = np.linalg.norm(decoded(square, *case), axis=-1).mean()
        errors[name] = np.asarray(decoded(np.stack([fractions, fractions], axis=-1), *case))[:, 0]
        print(f"  {name:30s} {mean:.4f}")
    return fractions, errors


def gaussians(counts=(9, 16, 25, 49, 113)):
    """Prints the mean error of the mean over the strongest cells of a perfect Gaussian around the coordinate."""
    coordinates = np.random.default_rng(0).uniform(10, 14, (1, 4000, 2)).astype(np.float32)
    print("\nPerfect Gaussians around the coordinate, mean distance in cells by the number of strongest cells:")
    print(f"{'sigma':>10s}" + "".join(f"{k:10d}" for k in counts))
    for sigma in (1.0, 1.5, 2.0, 3.0):
        maps = codec.encode_gaussian(coordinates, heatmap_shape=(24, 24), stride=1.0, sigma=sigma, unbiased=True)
        found = [codec.decode(maps, k=k, stride=1.0, activation="identity") for k in counts]
        errors = [np.linalg.norm(np.asarray(each) - coordinates, axis=-1).mean() for each in found]
        print(f"{sigma:10.1f}" + "".join(f"{error:10.4f}" for error in errors))


def table(shapes, settings):
    """`{name: [(pixels, NME), ...]}` for `settings`, pairs of input size and stride."""
    results = {name: [] for name in ALL}
    for size, stride in settings:
        coordinates, distance = crops(shapes, size)
        for name in ALL:
            error = np.linalg.norm(round_trip(name, coordinates, size, stride) - coordinates, axis=-1)
            results[name].append((error.mean(), 100 * (error.mean(axis=1) / distance).mean()))
    print(
        f"\n{'mean error in pixels / NME %':30s}" + "".join(f"{f'{size} / {stride}':>18s}" for size, stride in settings)
    )
    for name, row in results.items():
        print(f"{name:30s}" + "".join(f"{pixels:10.5f}{nme:8.4f}" for pixels, nme in row))
    return results


def draw(folder, sizes, results, thresholds, bias, fractions, mismatched, stride=4):
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    figure, left = pyplot.subplots(figsize=(8, 4), layout="constrained")
    left.set_prop_cycle(color=pyplot.get_cmap("tab20").colors)
    for name in results:
        nme = [value for _, value in results[name][: len(sizes)]]
        left.plot(
            sizes, np.maximum(nme, 1e-6), "--" if name in BASELINES else "-", marker=".", label=name.replace("_", " ")
        )
    left.set(
        xscale="log",
        yscale="log",
        xlabel="input size, pixels",
        ylabel="NME, %",
        title="error of the codec alone, stride 4",
    )
    left.set_xticks(sizes, sizes)
    left.minorticks_off()
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(folder / "quantization.png", dpi=90)

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.plot(thresholds, [codec.quantization_bias(t, stride) for t in thresholds], "k-", label="stride (1/2 - t)")
    left.plot(thresholds, bias[:, 0], "o", label="measured, x")
    left.plot(thresholds, bias[:, 1], "x", label="measured, y")
    left.set(xlabel="threshold t", ylabel="decoded minus true, pixels", title="bias of threshold rounding, stride 4")
    left.legend()
    for name, error in mismatched.items():
        right.plot(fractions, error, label=name)
    right.set(
        xlabel="fraction of the coordinate in its cell, x and y",
        ylabel="decoded minus true, cells",
        title="perfect beliefs after a binary cross-entropy",
    )
    right.legend(fontsize=8)
    figure.savefig(folder / "bias.png", dpi=90)
    print(f"\nwrote quantization.png and bias.png to {folder}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", type=Path, default=SHAPES, help="npz of arrays [N, 68, 2]")
    parser.add_argument(
        "--sizes", type=ranges.count, nargs="+", default=[64, 128, 256], help="input sizes, at stride 4"
    )
    parser.add_argument(
        "--strides", type=ranges.count, nargs="*", default=[2, 8], help="further strides, at the second size"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    arguments = parser.parse_args()
    shapes, origin = load_shapes(arguments.shapes)
    print(f"On {origin}; P1 crops.\n")
    thresholds, bias = analysis(shapes)
    middle = arguments.sizes[min(1, len(arguments.sizes) - 1)]
    settings = [(size, 4) for size in arguments.sizes] + [(middle, stride) for stride in arguments.strides]
    gaussians()
    results = table(shapes, settings)
    draw(arguments.out, arguments.sizes, results, thresholds, bias, *mismatch())


if __name__ == "__main__":
    with sentences():
        main()
