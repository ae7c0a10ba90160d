"""Time landmarks of a folder of images against the equivalent loop in PyTorch.

    python -m benchmarks.predict --images=FOLDER [--count=200 --checkpoint=h3r.pth --landmarks=106]

Both read each file, crop the whole image to 256x256, run the H3R MobileNetV2 (of the checkpoint, or with random
weights) and decode nine cells of each "on" map. The loop in PyTorch reads with PIL, one by one or in as many threads
as there are processors, and runs channels-last in batches of 8 or 32. The fastest of these four variants counts. All
run in turn, in one process, so that a busy machine slows all of them. The table gives medians without compilation;
the last line has the time of our first pass, compilation included.
"""

from h3r_jax.training import environment  # noqa: F401  (before jax)

# isort: split

import argparse
import concurrent.futures
import functools
import os
import time
from pathlib import Path

import jax
import numpy as np
import torch
from PIL import Image

from benchmarks import medians, processor, torch_hrnet, torch_networks
from h3r_jax import convert, geometry, images, models, ranges
from h3r_jax.errors import sentences
from h3r_jax.inference import make_network
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.predict import Predictor
from h3r_jax.predict.reading import whole_box

SIZE, K, SCALE = 256, 9, 1.25


def ours(tensors, landmarks):
    """A function from paths to landmarks `[N, K, 2]`."""
    spec = convert.recognize(tensors, landmarks=landmarks, head="binary")
    variables, _ = convert.from_torch(tensors, spec)
    scheme = LandmarkScheme("any", landmarks, tuple(range(landmarks)), (("box", "box"),))
    network = make_network(spec.model, scheme, input_size=SIZE, head=spec.head, logits="on", k=K, box_scale=SCALE)
    predictor = Predictor(network, variables)
    return lambda paths: np.concatenate([prediction.landmarks for prediction in predictor(paths)])


def read(path):
    """Pixels `uint8[256, 256, 3]` of the crop, and its map."""
    with Image.open(path) as image:
        image = image.convert("RGB")
        matrix = geometry.crop_matrix(whole_box(np.empty(image.size[::-1]), SCALE), shape=(SIZE, SIZE), scale=SCALE)
        side = max(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return np.asarray(image.crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.BILINEAR)), matrix


def theirs(model, batch_size, threads):
    """The same in PyTorch."""
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (models.IMAGE_MEAN, models.IMAGE_STD))

    def decode(outputs, matrices):
        on = outputs[:, outputs.shape[1] // 2 :]
        values, cells = on.flatten(2).topk(K)
        weights = values.softmax(-1)
        x, y = ((part * weights).sum(-1) * 4 for part in (cells % on.shape[3], cells // on.shape[3]))
        return geometry.transform_points(
            geometry.invert(np.stack(matrices)), torch.stack([x, y], -1).numpy().astype(float)
        )

    def run(paths):
        results = []
        with torch.inference_mode(), concurrent.futures.ThreadPoolExecutor(threads or 1) as pool:
            crops = pool.map(read, paths) if threads else map(read, paths)
            for start in range(0, len(paths), batch_size):
                pixels, matrices = zip(*(next(crops) for _ in paths[start : start + batch_size]))
                batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float()  # channels-last memory
                results.append(decode(model((batch - mean) / std), matrices))
        return np.concatenate(results)

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=ranges.count, default=200)
    parser.add_argument("--checkpoint", help="of H3R in PyTorch; random weights by default")
    parser.add_argument("--landmarks", type=ranges.count, default=106)
    parser.add_argument("--rounds", type=ranges.count, default=3)
    arguments = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    paths = sorted(path for path in arguments.images.iterdir() if path.suffix.lower() in images.EXTENSIONS)[
        : arguments.count
    ]
    if not paths:
        parser.error(f"--images={arguments.images} holds no image")

    model = torch_networks.randomize(torch_hrnet.H3R(torch_hrnet.flat_mobilenet_v2(), 2 * arguments.landmarks))
    if arguments.checkpoint:
        model.load_state_dict(
            {name: torch.from_numpy(x) for name, x in convert.load_torch(arguments.checkpoint).items()}
        )
    model = model.eval().to(memory_format=torch.channels_last)
    tensors = {name: x.numpy() for name, x in model.state_dict().items()}
    runs = {"ours": ours(tensors, arguments.landmarks)}
    for batch_size in (8, 32):
        for workers, reading in ((0, "one by one"), (threads, "in threads")):
            runs[f"PyTorch, batch {batch_size}, read {reading}"] = theirs(model, batch_size, workers)

    start = time.perf_counter()
    found = runs["ours"](paths)
    first = time.perf_counter() - start
    distance = np.linalg.norm(found - runs["PyTorch, batch 8, read one by one"](paths), axis=-1)
    times = medians({name: functools.partial(run, paths) for name, run in runs.items()}, arguments.rounds)
    print(
        f"{processor()}, {threads} threads; {jax.default_backend()}; jax {jax.__version__}, torch {torch.__version__}"
    )
    print(f"{len(paths)} images; landmarks of the two are {np.median(distance):.4f} image pixels apart (median)\n")
    print("| | images/s | processor ms per image |")
    print("|---|---|---|")
    for name, (passed, used) in times.items():
        print(f"| {name} | {len(paths) / passed:.1f} | {1e3 * used / len(paths):.1f} |")
    best = min(passed for name, (passed, _) in times.items() if name != "ours")
    ratio = best / times["ours"][0]
    print(
        f"\nthroughput, ours / the fastest in PyTorch: {ratio:.2f}; our first pass, compilation included: {first:.1f} s"
    )


if __name__ == "__main__":
    with sentences():
        main()
