"""The smallest run of train.py that has every part of a large one: a few drawn faces on disk, 32x32 pixels."""

import csv
import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

from data.phantom import drawing as phantom_drawing

ROOT = Path(__file__).parents[1]
NUM_TRAIN, NUM_VALIDATION, BATCH = 40, 9, 8


def write_split(folder, split, seed, count):
    """A split of a `csv` data set of drawn faces."""
    rows = []
    for index in range(count):
        drawing = phantom_drawing.draw(seed, index, 64)
        path = folder / split / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawing.image).save(path)
        rows.append([path.name, *drawing.landmarks.ravel().round(3)])
    with (folder / f"{split}.csv").open("w", newline="") as file:
        names = [f"{axis}{i}" for i in range(phantom_drawing.NUM_LANDMARKS) for axis in "xy"]
        csv.writer(file).writerows([["image", *names], *rows])


def write_data(place):
    """The data set of every tiny run below `place`."""
    write_split(place / "faces", "train", 11, NUM_TRAIN)
    write_split(place / "faces", "val", 12, NUM_VALIDATION)


def command(script, place, workdir, *overrides, total_steps, save_every=2):
    """The command line of train.py or eval.py; the model is evaluated once more often than at the end."""
    epochs = BATCH / NUM_TRAIN  # of one step
    fields = {
        "data_dir": place,
        "prepared_dir": place / "prepared",
        "data.name": "csv",
        "data.folder": "faces",
        "data.validation_split": "val",
        "data.test_split": "val",
        "model.input_size": "(32, 32)",
        "train.batch_size": BATCH,
        "train.epochs": total_steps * epochs,
        "eval.batch_size": 4,
        "log.every_steps": 1,
        "log.checkpoint_every_epochs": save_every * epochs,
        "log.eval_every_epochs": total_steps * epochs / 2,
    }
    arguments = [f"--config.{name}={value}" for name, value in fields.items()]
    return [sys.executable, script, "--config=configs/quickstart.py", f"--workdir={workdir}", *arguments, *overrides]


def start(place, arguments, output=subprocess.PIPE):
    """The process; what it compiles is kept below `place` for the next."""
    environment = os.environ | {
        "XLA_FLAGS": "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE",
        "JAX_COMPILATION_CACHE_DIR": str(place / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }
    return subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True)
