"""Three experiments for what the study found and the theory does not say.

    python -m benchmarks.study.explain --arrays=DIR

It trains three networks on drawn faces, as the study does, and prints a table for each question:

1. What does a network say of the fraction that its target never had? Against the nearest cell alone, and against all
   activation points.
2. Why do more cells make the mean of a wide Gaussian worse? The maps are changed before they are decoded.
3. Why do the ellipses hold too few of the truths? A floor is added to the covariances.

Errors are in cells. On two CPU cores it takes about five minutes.
"""

from __future__ import annotations

import argparse

import jax
import numpy as np

from benchmarks.study import decoders, examples, grid, training
from benchmarks.study.report import markdown
from h3r_jax import codec
from h3r_jax.errors import sentences

COUNTS = (9, 16, 25, 49, 113)  # of cells
CELLS = {
    "points": grid.make("phantom"),
    "nearest": grid.make("phantom", target="threshold", threshold=0.5),
    "gaussian": grid.make("phantom", loss="squared_error", target="coordinate", sigma=2.0),
}


class Maps:
    """The maps of one trained network on the test faces.

    maps: `float32[M, h, w, K]`. truth: `[M, K, 2]`, cells. counted: `bool[M, K]`, the landmarks inside the map.
    """

    def __init__(self, cell: grid.Cell, arrays: examples.Examples):
        run = training.train(cell, arrays)
        self.network = run.network
        self.maps = np.asarray(training.logit_maps(run, arrays.test.images))
        self.truth = np.asarray(arrays.test.landmarks, np.float64) / run.network.stride
        self.counted = decoders.inside(run.network, arrays.test)

    def decoded(self, maps: np.ndarray, k: int) -> codec.Decoded:
        """Coordinates and covariances in cells."""
        activation = self.network.activation
        decode = jax.jit(lambda part: codec.decode_with_statistics(part, k=k, stride=1.0, activation=activation))
        return training.in_batches(decode, maps)

    def error(self, maps: np.ndarray, k: int) -> float:
        """The mean error, cells."""
        apart = np.asarray(self.decoded(maps, k).coordinates) - self.truth
        return float(np.linalg.norm(apart, axis=-1)[self.counted].mean())


def fractions(points: Maps, nearest: Maps) -> str:
    """The decoded offset from the cell nearest to the truth, by the true offset."""
    rows = []
    offsets = []
    for found in (points, nearest):
        cell = np.round(found.truth)
        decoded = np.asarray(found.decoded(found.maps, 9).coordinates)
        offsets.append(((found.truth - cell)[found.counted].ravel(), (decoded - cell)[found.counted].ravel()))
    for low in np.arange(-5, 5) / 10:
        row = [f"{low:+.1f} to {low + 0.1:+.1f}"]
        for true, decoded in offsets:
            chosen = (true >= low) & (true < low + 0.1) & (np.abs(decoded) < 1)  # without the lost
            row.append(f"{decoded[chosen].mean():+.3f}")
        rows.append(row)
    return markdown(("true offset", "decoded: all points", "decoded: nearest cell"), rows)


def tails(gaussian: Maps) -> str:
    """The error by the number of cells, of maps that are changed."""
    maps, highest = gaussian.maps, gaussian.maps.max(axis=(1, 2), keepdims=True)
    rows, columns = np.mgrid[: maps.shape[1], : maps.shape[2]]
    x, y = np.moveaxis(gaussian.truth, -1, 0)
    square = (columns[None, :, :, None] - x[:, None, None]) ** 2 + (rows[None, :, :, None] - y[:, None, None]) ** 2
    changed = {
        "as they are": maps,
        "zero beyond three sigma": np.where(square > 36, 0, maps),
        "zero below 0.1 of the maximum": np.where(maps < 0.1 * highest, 0, maps),
        "zero below 0.3 of the maximum": np.where(maps < 0.3 * highest, 0, maps),
        "perfect": np.exp(-square / 8),
    }
    lines = [
        (name, *(f"{gaussian.error(each.astype(np.float32), k):.4f}" for k in COUNTS)) for name, each in changed.items()
    ]
    return markdown(("maps", *(f"k = {k}" for k in COUNTS)), lines)


def ellipses(points: Maps) -> str:
    """The share of truths within the ellipses that should hold 50 and 90 percent, by the floor of the deviations."""
    decoded = points.decoded(points.maps, 9)
    apart = points.truth - np.asarray(decoded.coordinates, np.float64)
    covariance, rows = np.asarray(decoded.covariance, np.float64), []
    for floor in (0.0, 0.025, 0.05, 0.075, 0.1):
        distance = decoders.mahalanobis(apart, covariance + floor**2 * np.eye(2))[points.counted]
        shares = [(distance <= -2 * np.log1p(-share)).mean() for share in decoders.COVERAGES]
        rows.append((f"{floor:g}", *(f"{share:.3f}" for share in shares)))
    return markdown(("floor, cells", "in 50 %", "in 90 %"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arrays", required=True, help="folder of the arrays")
    options = parser.parse_args()
    with sentences():
        arrays = examples.load(options.arrays, "phantom", 96, False)
        found = {name: Maps(cell, arrays) for name, cell in CELLS.items()}
        print(f"1. Fractions\n\n{fractions(found['points'], found['nearest'])}")
        print(f"2. Tails\n\n{tails(found['gaussian'])}")
        print(f"3. Ellipses\n\n{ellipses(found['points'])}")


if __name__ == "__main__":
    main()
