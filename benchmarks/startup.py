"""The time from the start of a program to the first batch of a large data set that is prepared already.

    python -m benchmarks.startup [--people=150000 --images=5000]

The command makes a file of COCO keypoints with so many people in small images, prepares it, and starts a second
process that reads the set as `train.py` does. It prints the seconds of each part. Nothing is trained.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

CHILD = """
import time
began = time.perf_counter()
from h3r_jax.training import environment
import sys
from configs import coco
from data import inputs
from h3r_jax.training.recipe import Recipe
imported = time.perf_counter()
config = coco.get_config()
config.data_dir, config.prepared_dir, config.data.train_split, config.data.cache_bytes = *sys.argv[1:], "train", 0
stream = inputs.train_input(config, Recipe.from_config(config))
opened = time.perf_counter()
next(stream.batches(seed=0, batch_size=32, start_step=0))
first = time.perf_counter()
print(stream.num_examples, imported - began, opened - imported, first - opened)
"""


def write_people(folder: Path, people: int, images: int, random: np.random.Generator) -> None:
    """A training split of COCO's form: people in rows of boxes, with all joints labelled."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "train2017").mkdir()
    for number in range(images):
        pixels = random.integers(0, 256, (96, 128, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "train2017" / f"{number:012d}.jpg")
    joints = np.concatenate([random.uniform(20, 80, (people, 17, 2)).round(1), np.full((people, 17, 1), 2)], axis=-1)
    annotations = [
        {
            "id": number,
            "image_id": number % images,
            "category_id": 1,
            "iscrowd": 0,
            "num_keypoints": 17,
            "keypoints": joints[number].ravel().tolist(),
            "bbox": [10.0, 10.0, 80.0, 80.0],
            "area": 3000.0,
        }
        for number in range(people)
    ]
    listed = [{"id": i, "file_name": f"{i:012d}.jpg", "width": 128, "height": 96} for i in range(images)]
    content = {"images": listed, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (folder / "annotations" / "person_keypoints_train2017.json").write_text(json.dumps(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=150_000, help="of the training split")
    parser.add_argument("--images", type=int, default=5_000, help="that they are in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, prepared = Path(place) / "coco", Path(place) / "prepared"
        write_people(folder, options.people, options.images, np.random.default_rng(0))
        began = time.perf_counter()
        command = ["data.prepare", "coco_keypoints", f"--data_dir={place}", f"--prepared_dir={prepared}"]
        subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
        print(f"prepared in {time.perf_counter() - began:.1f} s")
        run = [sys.executable, "-c", CHILD, place, os.fspath(prepared)]
        output = subprocess.run(run, check=True, capture_output=True, text=True).stdout
        count, *seconds = output.splitlines()[-1].split()
        print(f"{count} people\n\n| part | seconds |\n|---|--:|")
        for part, value in zip(("imports", "annotations read and checked", "first batch of 32"), map(float, seconds)):
            print(f"| {part} | {value:.1f} |")


if __name__ == "__main__":
    main()
