"""The smallest run of train.py that has every part of a large one: a few drawn faces, 32x32 pixels, on the CPU."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from PIL import Image

from data.phantom.drawing import draw

ROOT = Path(__file__).parents[1]
NUM_TRAIN, NUM_VALIDATION, BATCH = 40, 9, 8


def write_split(folder: Path, split: str, seed: int, count: int) -> None:
    """A split of a `csv` data set of drawn faces."""
    drawings = [draw(seed, index, 64) for index in range(count)]
    (folder / split).mkdir(parents=True)
    with (folder / f"{split}.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", *(f"{axis}{i}" for i in range(len(drawings[0].landmarks)) for axis in "xy")])
        for index, drawing in enumerate(drawings):
            Image.fromarray(drawing.image).save(folder / split / f"{index}.png")
            rows.writerow([f"{index}.png", *drawing.landmarks.ravel().round(3)])


def write_data(place: Path) -> None:
    """The data set of every tiny run below `place`."""
    write_split(place / "faces", "train", 11, NUM_TRAIN)
    write_split(place / "faces", "val", 12, NUM_VALIDATION)


def fields(place: Path, total_steps: int = 20, save_every: int = 2) -> dict[str, Any]:
    """The fields of a tiny run in which it differs from configs/quickstart.py; it is evaluated halfway and at the end.

    Args:
      place: folder of `write_data`.
      total_steps, save_every: steps of the run, and between checkpoints.
    """
    epochs = BATCH / NUM_TRAIN  # of one step
    return {
        "data_dir": str(place),
        "data.name": "csv",
        "data.folder": "faces",
        "data.validation_split": "val",
        "data.test_split": "val",
        "model.input_size": (32, 32),
        "train.batch_size": BATCH,
        "train.epochs": total_steps * epochs,
        "eval.batch_size": BATCH,
        "log.every_steps": 1,
        "log.checkpoint_every_epochs": save_every * epochs,
        "log.eval_every_epochs": total_steps * epochs / 2,
    }


def command(
    script: str, place: Path, workdir: Path, *overrides: str, total_steps: int = 20, save_every: int = 2
) -> list[str]:
    """The command line of train.py for a tiny run, or of eval.py for one that was trained.

    Args:
      script: "train.py" or "eval.py".
      place: folder of `write_data`.
      workdir: of the run.
      overrides: further arguments.
      total_steps, save_every: see `fields`; eval.py takes everything from the run.
    """
    arguments = [sys.executable, script, f"--workdir={workdir}"]
    if script == "eval.py":
        return [*arguments, *overrides]
    changes = fields(place, total_steps, save_every)
    return [
        *arguments,
        "--config=configs/quickstart.py",
        *(f"--config.{name}={value}" for name, value in changes.items()),
        *overrides,
    ]


def start(place: Path, arguments: list[str], output: int | IO[str] = subprocess.PIPE) -> subprocess.Popen:
    """The process of a command line; compiled programs are kept below `place` for the next process."""
    environment = os.environ | {
        "XLA_FLAGS": "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(place / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }
    return subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True)


def logged(workdir: Path) -> list[tuple[int, float]]:
    """Step and loss of each line in the log of a run. A last line that is cut short does not count."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    records = [json.loads(line) for line in lines]
    return [(record["step"], record["train/loss"]) for record in records if "train/loss" in record]
