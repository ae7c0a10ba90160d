"""What a network that ships can do: scores, and how they change with pose, size, box, blur and light.

    python -m benchmarks.shipped --data_dir=DIR [--model=faces68 --figures=docs/figures]

DIR holds `ytfaces68` (`python -m data.fetch_ytfaces68`), and for two more rows `300w` and `wflw` in their official
layouts. Protocol: box around the landmarks x 1.25, NME by the outer eye corners in percent, no flip test. Of WFLW's 98
landmarks the 68 are taken that iBUG's scheme has too; the outlines of the two schemes are not quite the same.

- Pose: where the tip of the nose is between the outer eye corners, as a share of their distance from the middle.
- Size: the longer side of the box around the landmarks, pixels of the image.
- A displaced box is the right one, shifted by a share of its side in eight directions, or scaled about its centre.
- A blurred face is blurred with a standard deviation as a share of its box, a dark one is multiplied by a factor.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

from benchmarks import faces as data
from h3r_jax import load_predictor, visualize, weights
from h3r_jax.errors import sentences
from h3r_jax.geometry import landmark_box
from h3r_jax.images import read_image
from h3r_jax.metrics import NormalizedErrors, nme_per_example
from h3r_jax.predict import faces
from h3r_jax.predict.tracking import overlaps

# Landmarks of WFLW in the order of iBUG's.
FROM_WFLW = [*range(0, 33, 2), *range(33, 38), *range(42, 47), *range(51, 60),
             60, 61, 63, 64, 65, 67, 68, 69, 71, 72, 73, 75, *range(76, 96)]  # fmt: skip
SHIFTS, SCALES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3), (0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5)
BLURS, LIGHTS = (0.01, 0.02, 0.04), (0.5, 0.25, 0.1)


def read(folder, name):
    """Images and landmarks `[N, 68, 2]` of a set."""
    examples = [(path, landmarks) for path, landmarks in data.SETS[name](folder / name, 1)]
    landmarks = np.array([points[FROM_WFLW] if len(points) == 98 else points for _, points in examples])
    return [read_image(path) for path, _ in examples], landmarks


def errors(predictor, images, landmarks, boxes):
    """NME of each example, as a fraction, and the predictions."""
    predictions = predictor(images, list(boxes))
    found = np.array([prediction.landmarks[0] for prediction in predictions])
    unit = np.linalg.norm(landmarks[:, 36] - landmarks[:, 45], axis=-1)
    return nme_per_example(found, landmarks, np.ones(landmarks.shape[:2]), unit), predictions


def row(name, values):
    sample = NormalizedErrors(values)
    cells = [len(values), f"{sample.nme():.3f}", f"{sample.failure_rate(0.08):.2f}", f"{sample.failure_rate(0.10):.2f}"]
    print(f"| {name} | {' | '.join(map(str, cells))} |", flush=True)


def parts(names, limits, measure, values):
    low = -np.inf
    for name, high in zip(names, (*limits, np.inf)):
        if (chosen := (measure >= low) & (measure < high)).any():
            row(name, values[chosen])
        low = high


def displaced(predictor, images, landmarks):
    """NME in percent for each shift, and for each scale."""
    right = landmark_box(landmarks)
    side = (right[:, 2:] - right[:, :2]).max(axis=1)[:, None]
    angles = np.arange(8) * np.pi / 4
    shifted, scaled = {}, {}
    for share in SHIFTS:
        moves = [share * np.tile([np.cos(angle), np.sin(angle)], 2) for angle in (angles if share else angles[:1])]
        values = [errors(predictor, images, landmarks, right + side * move)[0] for move in moves]
        shifted[share] = 100 * np.mean(values)
    center, half = (right[:, :2] + right[:, 2:]) / 2, (right[:, 2:] - right[:, :2]) / 2
    for scale in SCALES:
        boxes = np.concatenate([center - scale * half, center + scale * half], axis=1)
        scaled[scale] = 100 * errors(predictor, images, landmarks, boxes)[0].mean()
    return shifted, scaled


def detected(images, landmarks):
    """The detector's box of each labelled face `[N, 4]`; NaN where it finds none."""
    result = np.full((len(images), 4), np.nan)
    for index, (image, points) in enumerate(zip(images, landmarks)):
        found = faces.find_faces(image)
        if len(found) and (shared := overlaps(landmark_box(points), found)).max() >= data.ENOUGH:
            result[index] = found[shared.argmax()]
    return result


def by_confidence(values, predictions):
    confidence = np.array([prediction.confidence.mean() for prediction in predictions])
    print("\n| fifth of the images by confidence | confidence | NME |\n|---|---|---|")
    for number, chosen in enumerate(np.array_split(np.argsort(confidence), 5), 1):
        print(f"| {number} | {confidence[chosen].mean():.3f} | {100 * values[chosen].mean():.3f} |")


def draw(shifted, scaled):
    figure = Figure(figsize=(7, 2.8), dpi=150, layout="constrained")
    for axes, (curve, label) in zip(
        figure.subplots(1, 2, sharey=True), ((shifted, "shift, share of the side"), (scaled, "scale of the box"))
    ):
        axes.plot([*curve], [*curve.values()], "o-")
        axes.set(xlabel=label, ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("NME, percent")
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--model", default=weights.FACES, help="a name, or what load_predictor takes")
    parser.add_argument("--figures", type=Path, help="folder for the picture")
    arguments = parser.parse_args()
    with sentences():
        measure(load_predictor(arguments.model), arguments.data_dir, arguments.figures)


def measure(predictor, data_dir, figures):
    images, landmarks = read(data_dir, "ytfaces68")
    boxes = landmark_box(landmarks)
    values, predictions = errors(predictor, images, landmarks, boxes)
    print("| images | count | NME | FR@8 % | FR@10 % |\n|---|---|---|---|---|")
    row("ytfaces68 val", values)
    first, last = landmarks[:, 36], landmarks[:, 45]
    across = ((landmarks[:, 30] - first) * (last - first)).sum(axis=1) / ((last - first) ** 2).sum(axis=1)
    parts(("frontal (below 0.1)", "half profile (0.1 to 0.3)", "profile (0.3 and more)"), (0.1, 0.3),
          np.abs(across - 0.5), values)  # fmt: skip
    side = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    parts(("below 60 pixels", "60 to 100 pixels", "100 pixels and more"), (60, 100), side, values)
    box = detected(images, landmarks)
    known = np.isfinite(box).all(axis=1)
    some = [image for image, there in zip(images, known) if there]
    row("boxes of the face detector", errors(predictor, some, landmarks[known], box[known])[0])
    for share in BLURS:
        blurred = [
            ndimage.gaussian_filter(image, (share * length, share * length, 0)) for image, length in zip(images, side)
        ]
        row(f"blurred by {share:g} of the side", errors(predictor, blurred, landmarks, boxes)[0])
    for factor in LIGHTS:
        dark = [np.round(image * factor).astype(np.uint8) for image in images]
        row(f"multiplied by {factor:g}", errors(predictor, dark, landmarks, boxes)[0])
    for name in ("300w", "wflw"):
        if (data_dir / name).is_dir():
            others, truth = read(data_dir, name)
            row(name, errors(predictor, others, truth, landmark_box(truth))[0])
    by_confidence(values, predictions)
    shifted, scaled = displaced(predictor, images, landmarks)
    for name, curve in (("shift, share of the side", shifted), ("scale of the box", scaled)):
        print(f"\n| {name} | {' | '.join(f'{x:g}' for x in curve)} |\n|{'---|' * (len(curve) + 1)}")
        print(f"| NME | {' | '.join(f'{value:.3f}' for value in curve.values())} |")
    if figures:
        visualize.save(draw(shifted, scaled), figures / "displaced_box.png")


if __name__ == "__main__":
    main()
