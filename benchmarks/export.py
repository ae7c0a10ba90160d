"""Exported networks against the jitted one: size of the files, time of a batch, largest difference.

    python -m benchmarks.export [--model mobilenet_v2 --size 128 --landmarks 98 --batches 1 16 --rounds 30]
    python -m benchmarks.export --checkpoint PATH --images FOLDER

The network has random weights, with a head that gives clear maxima, and gets random images. With --checkpoint and
--images it is a trained one, and each whole image is a crop. All run in turn in every round, in one process, so that
a busy machine slows all of them. Times are medians. The SavedModel is left out if TensorFlow is not installed.
"""

import argparse
import functools
import importlib.util
import tempfile
from pathlib import Path

import jax
import jax.export
import numpy as np

from benchmarks import medians, processor
from h3r_jax import export, images, models, predict, ranges
from h3r_jax.errors import sentences
from h3r_jax.inference import make_network
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.landmarks.scheme import BOX
from h3r_jax.predict.reading import whole_box

REFERENCE = "jitted, this library"


def random_network(name, size, landmarks):
    """Network and variables. The last kernel is large, so maxima are clear and rounding chooses no other cells."""
    scheme = LandmarkScheme("plain", landmarks, tuple(range(landmarks)), (("box", BOX),))
    network = make_network(name, scheme, input_size=size)
    variables = network.initialize(0)
    variables["params"]["head"]["predict"]["kernel"] *= 1000
    return network, variables


def random_crops(network):
    """Function from a number to so many crops."""
    generator = np.random.default_rng(0)
    return lambda count: generator.integers(0, 256, (count, *network.shape, 3), dtype=np.uint8)


def read_crops(network, folder):
    """Function from a number to the first crops of a folder's images."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in images.EXTENSIONS)

    def crop(path):
        pixels = images.read_image(path)
        return network.cut(pixels, whole_box(pixels, network.box_scale))[0]

    def first(count):
        if len(paths) < count:
            raise SystemExit(f"{folder} holds {len(paths)} images; want {count}, or smaller --batches")
        return np.stack([crop(path) for path in paths[:count]])

    return first


def runs_of(folder, predictor):
    """name -> (path or None, function from crops to what they hold), ready to be called."""
    runs = {REFERENCE: (None, jax.jit(export.landmark_function(predictor)))}
    path = folder / "network.stablehlo"
    export.write_stablehlo(path, predictor)
    runs["StableHLO, JAX"] = path, jax.jit(jax.export.deserialize(path.read_bytes()).call)
    if importlib.util.find_spec("tensorflow"):
        import tensorflow as tf

        path = folder / "network.savedmodel"
        export.write_savedmodel(path, predictor)
        signature = tf.saved_model.load(str(path)).signatures["serving_default"]
        runs["SavedModel, TensorFlow"] = path, lambda crops: signature(images=tf.constant(crops))
    return runs


def landmarks_of(run, crops):
    return np.asarray(run(crops)["landmarks"])


def megabytes(path):
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mobilenet_v2", choices=models.BACKBONES)
    parser.add_argument("--size", type=ranges.count, default=128, help="of the square crops, in pixels")
    parser.add_argument("--landmarks", type=ranges.count, default=98)
    parser.add_argument("--batches", type=ranges.count, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=ranges.count, default=30)
    parser.add_argument("--checkpoint", help="of a trained network, in place of --model, --size and --landmarks")
    parser.add_argument("--images", type=Path, help="folder of images for the trained network")
    arguments = parser.parse_args()
    if bool(arguments.checkpoint) != bool(arguments.images):
        parser.error("--checkpoint and --images go together")
    device = jax.local_devices()[:1]
    if arguments.checkpoint:
        predictor = predict.load_predictor(arguments.checkpoint, devices=device)
    else:
        predictor = predict.Predictor(
            *random_network(arguments.model, arguments.size, arguments.landmarks), devices=device
        )
    crops_of = read_crops(predictor.network, arguments.images) if arguments.images else random_crops(predictor.network)
    with tempfile.TemporaryDirectory() as folder:
        runs = runs_of(Path(folder), predictor)
        sizes = {name: "" if path is None else f"{megabytes(path):.1f}" for name, (path, _) in runs.items()}
        times, distance = {}, dict.fromkeys(runs, 0.0)
        for batch in arguments.batches:
            crops = crops_of(batch)
            calls = {name: functools.partial(landmarks_of, run, crops) for name, (_, run) in runs.items()}
            found = {name: call() for name, call in calls.items()}  # compiles
            for name, landmarks in found.items():
                distance[name] = max(distance[name], float(np.abs(landmarks - found[REFERENCE]).max()))
            times[batch] = medians(calls, arguments.rounds)

    what = predictor.description if arguments.checkpoint else f"{arguments.model}, random"
    (height, width), count = predictor.network.shape, predictor.network.scheme.num_landmarks
    print(
        f"{processor()}, {jax.default_backend()}, jax {jax.__version__}; {what}, {count} landmarks, {height}x{width}; "
        f"medians of {arguments.rounds}\n"
    )
    columns = [f"batch {batch}, ms" for batch in arguments.batches]
    print("| | size, MB | " + " | ".join(columns) + " | largest difference, pixels |")
    print("|---|--:|" + "--:|" * (len(columns) + 1))
    for name in runs:
        cells = [f"{1e3 * times[batch][name][0]:.1f}" for batch in arguments.batches]
        print(f"| {name} | {sizes[name]} | " + " | ".join(cells) + f" | {distance[name]:.1e} |")


if __name__ == "__main__":
    with sentences():
        main()
