"""Compare face detectors on real photographs, and measure the place of the landmarks relative to the detected boxes.

    python -m benchmarks.faces --data_dir=DIR [--every=3 --package]

DIR holds one or more of `ytfaces68` (`python -m data.fetch_ytfaces68`), `300w`, `wflw`, `aflw2000` and `lapa` in
their official layouts. A detector finds a face if one of its boxes overlaps the box around the landmarks by 0.35
(intersection over union).

- The shift is from the centre of the detected box to the centre of the landmark box, to the right and downwards. The
  size is the longer side of the landmark box. The unit of all three is the longer side of the detected box.
- The table gives medians, and as spread half of the distance between the 16th and the 84th percentile.
- Not all faces of an image are labelled, so "other boxes" may be faces too.

With --package the networks of MTCNN also run as the package `mtcnn` runs them, in TensorFlow (both must be installed).
A second table compares the boxes, and the time of an image: both see each image twice, and the second look counts.
"""

import argparse
import csv
import statistics
import time
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from h3r_jax import ranges
from h3r_jax.errors import sentences
from h3r_jax.geometry import landmark_box
from h3r_jax.images import read_image
from h3r_jax.predict import faces, mtcnn
from h3r_jax.predict.tracking import overlaps

ENOUGH = 0.35


def ytfaces68(folder, every):
    with (folder / "val.csv").open() as file:
        rows = list(csv.reader(file))[1:]
    return [(folder / "val" / row[0], np.array(row[1:], float).reshape(-1, 2)) for row in rows[::every]]


def pts(folder, every):
    del every
    for path in sorted(folder.rglob("*.pts")):
        numbers = path.read_text().split("{")[1].split("}")[0].split()
        image = next(path.with_suffix(suffix) for suffix in (".jpg", ".png") if path.with_suffix(suffix).exists())
        yield image, np.array(numbers, float).reshape(-1, 2) - 1


def wflw(folder, every):
    del every
    lines = {line for path in folder.glob("WFLW_annotations/*/*.txt") for line in path.read_text().splitlines()}
    for line in sorted(lines):
        fields = line.split()
        yield folder / "WFLW_images" / fields[-1], np.array(fields[:196], float).reshape(-1, 2)


def aflw2000(folder, every):
    del every
    for path in sorted(folder.glob("*.mat")):
        yield path.with_suffix(".jpg"), loadmat(path)["pt3d_68"][:2].T.astype(float)


def lapa(folder, every):
    del every
    for path in sorted(folder.glob("test/landmarks/*.txt")):
        yield folder / "test" / "images" / f"{path.stem}.jpg", np.loadtxt(path, skiprows=1)


SETS = {"ytfaces68": ytfaces68, "300w": pts, "wflw": wflw, "aflw2000": aflw2000, "lapa": lapa}


def cascade():
    import cv2

    classifier = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_default.xml")

    def detect(pixels):
        found = classifier.detectMultiScale(cv2.equalizeHist(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)), 1.1, 5)
        return np.array([(x, y, x + w - 1, y + h - 1) for x, y, w, h in found], float).reshape(-1, 4)

    return detect


def gradients():
    import dlib

    detector = dlib.get_frontal_face_detector()

    def detect(pixels):
        return np.array([(r.left(), r.top(), r.right(), r.bottom()) for r in detector(pixels, 1)], float).reshape(-1, 4)

    return detect


DETECTORS = {"mtcnn": lambda: faces.detect, "opencv cascade": cascade, "dlib": gradients}


def measure(detect, examples):
    """Faces, other boxes, and `[found, 3]`: shifts and size."""
    images = {}
    for path, landmarks in examples:
        images.setdefault(path, []).append(landmark_box(landmarks))
    count, other, relations = 0, 0, []
    for path, boxes in images.items():
        found = detect(read_image(path))
        used = set()
        for box in boxes:
            count += 1
            shares = overlaps(box, found)
            if len(found) and shares.max() >= ENOUGH:
                best = int(shares.argmax())
                used.add(best)
                longer = (found[best, 2:] - found[best, :2]).max() + 1
                shift = ((box[:2] + box[2:]) - (found[best, :2] + found[best, 2:])) / 2 / longer
                relations.append([*shift, ((box[2:] - box[:2]).max() + 1) / longer])
        other += len(found) - len(used)
    return count, other, np.reshape(relations, (-1, 3))


def compare(name, images):
    """Prints a row: our boxes and our time against the package's."""
    from mtcnn import MTCNN

    package, times, counts, apart = MTCNN(), [], [0, 0], []
    options = {"fit_to_image": False, "box_format": "xyxy", "min_face_size": mtcnn.SMALLEST}
    for pixels in images:

        def ours(pixels=pixels):
            return mtcnn.detect([pixels])[0][:, :4]

        def theirs(pixels=pixels):
            found = package.detect_faces(pixels, **options) or []
            return np.reshape([face["box"] for face in found], (-1, 4))

        (boxes, mine), (others, their) = second_look(ours), second_look(theirs)
        times.append((mine, their))
        counts = [counts[0] + len(boxes), counts[1] + len(others)]
        apart += [np.abs(others - box).max(axis=1).min() if len(others) else np.inf for box in boxes]
    mine, their = (1e3 * statistics.median(each) for each in zip(*times))
    ratio = statistics.median(b / a for a, b in times)
    cells = [len(times), *counts, f"{max(apart):.2f}", f"{mine:.0f}", f"{their:.0f}", f"{ratio:.2f}"]
    print(f"| {name} | {' | '.join(map(str, cells))} |", flush=True)


def second_look(detect):
    """The result, and the seconds of the second call."""
    detect()
    began = time.perf_counter()
    return detect(), time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--every", type=ranges.count, default=3, help="of the images of ytfaces68")
    parser.add_argument("--package", action="store_true", help="compare with the package mtcnn, on TensorFlow")
    arguments = parser.parse_args()
    if not any((arguments.data_dir / folder).is_dir() for folder in SETS):
        parser.error(f"--data_dir={arguments.data_dir} holds none of {', '.join(SETS)}")
    print("| detector | images | faces found | other boxes | shift right | shift down | size |")
    print("|---|---|---|---|---|---|---|")
    for name, make in DETECTORS.items():
        try:
            detect = make()
        except ImportError as error:
            print(f"| {name} | not installed ({error}) |")
            continue
        everything = []
        for folder, read in SETS.items():
            if not (arguments.data_dir / folder).is_dir():
                continue
            count, other, relations = measure(detect, read(arguments.data_dir / folder, arguments.every))
            everything.append(relations)
            report(name, folder, f"{len(relations)} of {count}", other, relations)
        report(name, "all", "", "", np.concatenate(everything))
    if arguments.package:
        print("\n| images of | images | boxes | of the package | farthest, px | ms, median | the package's | ratio |")
        print("|---|---|---|---|---|---|---|---|")
        for folder, read in SETS.items():
            if (arguments.data_dir / folder).is_dir():
                paths = dict(read(arguments.data_dir / folder, arguments.every))
                compare(folder, [faces.shrunk(read_image(path))[0] for path in paths])


def report(name, folder, found, other, relations):
    if not len(relations):
        relations = np.full((1, 3), np.nan)
    low, middle, high = np.percentile(relations, (16, 50, 84), axis=0)
    cells = [f"{m:.3f} ± {(b - a) / 2:.3f}" for a, m, b in zip(low, middle, high)]
    print(f"| {name} | {folder} | {found} | {other} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    with sentences():
        main()
