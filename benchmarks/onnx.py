"""ONNX files in onnxruntime against the jitted networks: largest difference on real crops, size, time of a batch.

    python -m benchmarks.onnx SOURCE... --data_dir=DIR [--count=200 --batches 1 16 --rounds=30 --cores=2]

It needs requirements-onnx.txt alone. SOURCE is what `load_predictor` takes, or the name of a backbone, such as
hrnet_w18, which gets random weights; --size and --landmarks are for these. Their head is scaled so that logits have a
standard deviation of 30. In flatter maps the ninth and the tenth cell are so close that rounding may exchange them.
DIR holds `ytfaces68` (`python -m data.fetch_ytfaces68`), of which the first --count faces of the validation split are
cut.

Both run in turn in every round, in one process, on the same cores, with a pause between them so that the threads of
one have gone to sleep. Times are medians. --batches without a number leaves the times out.
"""

import argparse
import functools
import os
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks import medians, processor
from benchmarks.export import landmarks_of, megabytes, random_network
from benchmarks.faces import ytfaces68
from h3r_jax import export, models, predict, ranges
from h3r_jax.errors import UserError, sentences
from h3r_jax.geometry import landmark_box
from h3r_jax.images import read_image

BATCH = 16  # crops that are compared at a time
PAUSE = 0.05  # seconds
DEVIATION = 30  # of random logits


def prepared(source, arguments):
    """Predictor, what it is, and the crops."""
    device, folder = jax.local_devices()[:1], arguments.data_dir / "ytfaces68"
    if source not in models.BACKBONES:
        predictor = predict.load_predictor(source, devices=device, dtype="float32")
        crops = crops_of(predictor.network, folder, arguments.count)
        return predictor, predictor.description.partition(",")[0], crops
    network, variables = random_network(source, arguments.size, arguments.landmarks)
    crops = crops_of(network, folder, arguments.count)
    variables["params"]["head"]["predict"]["kernel"] *= DEVIATION / np.std(network.logit_maps(variables, crops[:1]))
    return predict.Predictor(network, variables, devices=device), f"{source}, random weights", crops


def crops_of(network, folder, count):
    """The crops `uint8[count, H, W, 3]` of the first faces."""
    faces = ytfaces68(folder, 1)[:count]
    if len(faces) < count:
        raise UserError(f"{folder} holds {len(faces)} faces; want {count}, or a smaller --count")
    return np.stack([network.cut(read_image(path), landmark_box(landmarks))[0] for path, landmarks in faces])


def session_of(path, cores):
    """Function from crops to {"landmarks", "confidence"}."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda crops: dict(zip(names, session.run(names, {"images": crops})))


def differences(ours, theirs, crops):
    """Largest and mean difference of landmarks in pixels, and largest difference of confidence."""
    apart = {"landmarks": [], "confidence": []}
    for start in range(0, len(crops), BATCH):
        batch = crops[start : start + BATCH]
        expected, found = ours(batch), theirs(batch)
        for name, values in apart.items():
            values.append(np.abs(found[name] - np.asarray(expected[name])))
    landmarks, confidence = map(np.concatenate, apart.values())
    return landmarks.max(), landmarks.mean(), confidence.max()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", metavar="SOURCE", nargs="+")
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--size", type=ranges.count, default=256, help="of a network with random weights, pixels")
    parser.add_argument("--landmarks", type=ranges.count, default=98, help="of a network with random weights")
    parser.add_argument("--count", type=ranges.count, default=200, help="of the real crops")
    parser.add_argument("--batches", type=ranges.count, nargs="*", default=[1, 16])
    parser.add_argument("--rounds", type=ranges.count, default=30)
    parser.add_argument("--cores", type=ranges.count, default=2, help="on which both run")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])

    parity = (
        "| network | size, MB | largest difference, pixels | mean difference, pixels | of confidence |\n"
        + "|---|--:|--:|--:|--:|"
    )
    speed = "| network | batch | jitted, ms | onnxruntime, ms | jitted / onnxruntime |\n|---|--:|--:|--:|--:|"
    for source in arguments.sources:
        predictor, name, crops = prepared(source, arguments)
        name += " {}x{}".format(*predictor.network.shape)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            export.write_onnx(path, predictor)
            ours, theirs = jax.jit(export.landmark_function(predictor)), session_of(path, arguments.cores)
            largest, mean, confidence = differences(ours, theirs, crops)
            parity += f"\n| {name} | {megabytes(path):.1f} | {largest:.1e} | {mean:.1e} | {confidence:.1e} |"
        for batch in arguments.batches:
            some = np.resize(crops, (batch, *crops.shape[1:]))
            pause = functools.partial(time.sleep, PAUSE)
            calls = {
                "ours": functools.partial(landmarks_of, ours, some),
                "pause": pause,
                "theirs": functools.partial(landmarks_of, theirs, some),
                "another": pause,
            }
            times = medians(calls, arguments.rounds)
            mine, other = (1e3 * times[call][0] for call in ("ours", "theirs"))
            speed += f"\n| {name} | {batch} | {mine:.1f} | {other:.1f} | {mine / other:.2f} |"

    import onnxruntime

    print(
        f"{processor()}, {arguments.cores} cores; jax {jax.__version__}, onnxruntime {onnxruntime.__version__}; "
        f"{arguments.count} crops of ytfaces68\n\n{parity}"
    )
    if arguments.batches:
        print(f"\nMedians of {arguments.rounds}\n\n{speed}")


if __name__ == "__main__":
    with sentences():
        main()
