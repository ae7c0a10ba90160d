"""Images per second of the input path against a PyTorch DataLoader with OpenCV, and against what a network eats.

    python -m benchmarks.input --config=configs/ytfaces68.py:mobilenet_v2_128 [--config.data_dir=DIR --rounds=5]
    python -m benchmarks.input --config=configs/wflw.py:hrnet_w18_256_p1 --images=DIR

Both paths take the images of the recipe's training split, encoded as on disk, to batches of randomly changed crops.
With --images they take the images of a folder instead, again and again, with random landmarks in the middle half.

Ours has two parts. The host decodes, crops and resizes to canvases, and keeps them if they fit into memory. The
devices rotate, mirror, colour and blur. PyTorch's path has as many workers as there are processors, and each does
all of it with OpenCV. All run in turn, in one process, so that a busy machine slows all of them. The first table gives
medians over the rounds. Its last row is the train step of the recipe on a batch that is on the devices already. The
second table says where the time of our host goes. `taskset -c 0` shows all of it on one processor.
"""

from h3r_jax.training import environment  # noqa: F401  (before jax)

# isort: split

import csv
import dataclasses
import itertools
import os
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from benchmarks import medians, processor, torch_loader
from data import inputs
from data.prepare import prepare
from data.source import Source
from h3r_jax import images
from h3r_jax.errors import sentences
from h3r_jax.training import sharding, step
from h3r_jax.training.recipe import Recipe
from h3r_jax.training.state import create_state, optimizer_of

CONFIG = config_flags.DEFINE_config_file("config", None, "the recipe")
ROUNDS = flags.DEFINE_integer("rounds", 5, "of which the table gives medians")
COUNT = flags.DEFINE_integer("count", 2000, "images of a round, at most; taken from the start of the split")
IMAGES = flags.DEFINE_string("images", None, "folder of images to take in place of those of the recipe")
flags.mark_flag_as_required("config")


def write_images(source, count, folder):
    """The first `count` images of a split as files, encoded as they are; their paths."""
    paths = []
    for index in range(count):
        paths.append(os.fspath(folder / str(index)))
        Path(paths[-1]).write_bytes(source.image(index).file)
    return paths


def write_set(images_of, count, num_landmarks, folder):
    """A `csv` set in `folder / "set"`: `count` examples of the images of a folder, with random landmarks."""
    paths = sorted(path for path in Path(images_of).iterdir() if path.suffix.lower() in images.EXTENSIONS)
    (folder / "set" / "train").mkdir(parents=True)
    random = np.random.default_rng(0)
    with open(folder / "set" / "train.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", *(f"{axis}{i}" for i in range(num_landmarks) for axis in "xy")])
        for path in itertools.islice(itertools.cycle(paths), count):
            link = folder / "set" / "train" / path.name
            if not link.exists():
                link.symlink_to(path.resolve())
            size = images.LazyImage(path).size[::-1]
            places = np.multiply(size, random.uniform(0.25, 0.75, (num_landmarks, 2)))
            rows.writerow([path.name, *places.round(1).ravel()])


def parts(source, split, count):
    """Milliseconds of one processor per image of the parts of our host's work, but for what passes images on."""
    canvases, used = split.canvases, dict.fromkeys(("read", "decode", "resize", "join"), 0.0)

    def timed(part, call):
        began = time.thread_time()
        result = call()
        used[part] += time.thread_time() - began
        return result

    results = []
    for index in range(count):
        matrix = canvases.regions[index]
        image = timed("read", lambda index=index: source.image(index))
        timed("decode", lambda image=image, matrix=matrix: image.decoded(1 / matrix[0, 0]))
        cut = lambda image=image, matrix=matrix: images.crop_image(image, matrix, canvases.shape)
        results.append(timed("resize", cut))
        if len(results) == 16:
            timed("join", lambda: np.stack(results))
            results.clear()
    return {part: 1e3 * seconds / count for part, seconds in used.items()}


def host(split, batch_size, batches):
    """Takes batches of canvases from the host's part of our path."""
    stream = split.batches(seed=0, batch_size=batch_size, start_step=0)
    for _ in itertools.islice(stream, batches):
        pass
    stream.close()


def device_runs(config, recipe, split, batch_size):
    """Two functions of a number of batches: our changes on the devices, and the train step."""
    mesh = sharding.make_mesh()
    batch = sharding.to_devices(next(split.batches(seed=0, batch_size=batch_size, start_step=0)), mesh)
    change = jax.jit(lambda batch, number: step.augment_batch(batch, number, recipe)[0])
    optimizer = optimizer_of(config.train, warmup_steps=1, total_steps=1000)
    state = create_state(recipe.network.initialize(0), optimizer, keep_average=recipe.average_decay > 0)
    state = jax.device_put(state, sharding.replicated(mesh))
    train_step = step.jit_train_step(recipe, optimizer, mesh)

    def changes(batches):
        for number in range(batches):
            result = change(batch, number)
        result.block_until_ready()

    def train(batches):
        nonlocal state
        for _ in range(batches):
            state, _ = train_step(state, batch)
        jax.block_until_ready(state)

    return changes, train


def main(_):
    config, threads = CONFIG.value, len(os.sched_getaffinity(0))
    batch_size = config.train.batch_size
    with sentences(), tempfile.TemporaryDirectory() as folder:
        recipe = Recipe.from_config(config)
        network = recipe.network
        if IMAGES.value:
            write_set(IMAGES.value, COUNT.value, network.scheme.num_landmarks, Path(folder))
            config.data.update({"name": "csv", "folder": "set", "train_split": "train"})
            config.data_dir, config.prepared_dir = folder, f"{folder}/prepared"
        builder = prepare(
            config.data.name,
            data_dir=config.data_dir,
            prepared_dir=config.prepared_dir,
            folder=config.data.folder,
            num_landmarks=network.scheme.num_landmarks,
        )
        source, cached = Source(builder, config.data.train_split), inputs.train_input(config, recipe)
        without_cache = config.copy_and_resolve_references()
        without_cache.data.cache_bytes = 0
        anew = inputs.train_input(without_cache, recipe)
        count = min(COUNT.value, len(source)) // batch_size * batch_size
        (files := Path(folder) / "files").mkdir()
        faces = torch_loader.Faces(
            write_images(source, count, files),
            cached.matrices[:count],
            cached.annotations.landmarks[:count],
            network.scheme.mirror,
            network.shape,
            dataclasses.asdict(recipe.augmentation),
        )
        loader = torch_loader.loader(faces, batch_size, threads)
        changes, train = device_runs(config, recipe, cached, batch_size)
        runs = {
            "ours, host part, decoding": (count, lambda: host(anew, batch_size, count // batch_size)),
            "ours, host part, canvases in memory": (count, lambda: host(cached, batch_size, count // batch_size)),
            f"ours, device part, {jax.device_count()} x {jax.devices()[0].device_kind}": (
                20 * batch_size,
                lambda: changes(20),
            ),
            f"PyTorch DataLoader with OpenCV, {threads} workers": (count, lambda: [None for _ in loader]),
            f"train step of {config.model.name}": (5 * batch_size, lambda: train(5)),
        }
        # The first round compiles, fills the memory and starts the workers.
        times = medians({name: run for name, (_, run) in runs.items()}, ROUNDS.value)
        pieces, whole = parts(source, anew, count), 1e3 * times["ours, host part, decoding"][1] / count
    rates = {name: images / times[name][0] for name, (images, _) in runs.items()}
    reference = rates[f"PyTorch DataLoader with OpenCV, {threads} workers"]
    height, width = np.median(cached.annotations.size[:count], axis=0).astype(int)
    print(f"{processor()}, {threads} processors; {jax.default_backend()}; jax {jax.__version__}")
    print(
        f"{count} images of {cached.name}, median {width}x{height}; "
        f"network input {network.shape[1]}x{network.shape[0]}, batch {batch_size}; medians of {ROUNDS.value}\n"
    )
    print("| | images/s | per processor | against PyTorch's |")
    print("|---|--:|--:|--:|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.0f} | {rate / threads:.0f} | {rate / reference:.2f}x |")
    height, width = cached.canvases.shape
    size = f"{width}x{height}, {cached.canvases.nbytes / 2**20:.0f} MiB for all {len(source)} examples"
    print(f"\nA canvas has {size}.\n\n| our host | ms of one processor per image |\n|---|--:|")
    for part, value in {**pieces, "pass on": whole - sum(pieces.values())}.items():
        print(f"| {part} | {value:.3f} |")


if __name__ == "__main__":
    app.run(main)
