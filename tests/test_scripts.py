"""train.py and eval.py as a user runs them: killed and started again, and given wrong input."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from data import phantom_drawing

ROOT = Path(__file__).parents[1]
NUM_TRAIN, BATCH, TOTAL_STEPS = 40, 8, 20


def write_split(folder, split, seed, count):
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


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of faces and what every run shares: prepared data and compiled programs."""
    place = tmp_path_factory.mktemp("scripts")
    write_split(place / "faces", "train", 11, NUM_TRAIN)
    write_split(place / "faces", "val", 12, 9)
    return place


def command(script, place, workdir, *overrides):
    fields = {
        "data_dir": place,
        "prepared_dir": place / "prepared",
        "data.name": "csv",
        "data.folder": "faces",
        "data.validation_split": "val",
        "data.test_split": "val",
        "model.input_size": "(32, 32)",
        "train.batch_size": BATCH,
        "train.epochs": TOTAL_STEPS * BATCH / NUM_TRAIN,
        "eval.batch_size": 4,
        "log.every_steps": 1,
        "log.checkpoint_every_epochs": 2 * BATCH / NUM_TRAIN,
        "log.eval_every_epochs": 2.0,
    }
    arguments = [f"--config.{name}={value}" for name, value in fields.items()]
    return [sys.executable, script, "--config=configs/quickstart.py", f"--workdir={workdir}", *arguments, *overrides]


def start(place, arguments):
    flags = "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE"
    environment = os.environ | {
        "XLA_FLAGS": flags,
        "JAX_COMPILATION_CACHE_DIR": str(place / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }
    return subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    output, _ = process.communicate(timeout=400)
    return process.returncode, output


def run(place, *arguments):
    code, output = finish(start(place, command(*arguments)))
    assert code == 0, output[-3000:]
    return output


def losses(workdir):
    """Step -> loss; a step that was run twice must have had the same loss both times."""
    result = {}
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "train/loss" in record:
            assert result.setdefault(record["step"], record["train/loss"]) == record["train/loss"]
    return result


def test_killed_and_started_again_it_ends_as_if_nothing_had_happened(place):
    straight, killed = place / "straight", place / "killed"
    first = run(place, "train.py", place, straight)
    assert "40 examples" in first and "0 -> 20 of batch 8" in first
    for picture in ("augmented.png", "targets.png"):
        assert (straight / picture).stat().st_size > 10_000
    assert list((straight / "tensorboard").iterdir())

    process = start(place, command("train.py", place, killed))
    deadline = time.monotonic() + 300
    while not any((killed / "checkpoints" / str(step)).exists() for step in range(6, TOTAL_STEPS)):
        assert process.poll() is None and time.monotonic() < deadline, finish(process)[1][-3000:]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    finish(process)
    assert not (killed / "checkpoints" / str(TOTAL_STEPS)).exists(), "killed too late to test anything"

    output = run(place, "train.py", place, killed)
    resumed_at = int(output.split("steps       ")[1].split(" ->")[0])
    assert 6 <= resumed_at < TOTAL_STEPS
    assert losses(killed) == losses(straight) and set(losses(straight)) == set(range(1, TOTAL_STEPS + 1))

    assert "is complete" in run(place, "train.py", place, killed)
    tables = [run(place, "eval.py", place, workdir) for workdir in (straight, killed)]
    assert tables[0].splitlines()[:-1] == tables[1].splitlines()[:-1]
    for decoder in ("argmax", "quarter shift", "k=4", "k=9"):
        assert decoder in tables[0]
    assert "moving average of the parameters at step 20" in tables[0] and "flip test off" in tables[0]
    result = json.loads((straight / "eval" / "faces-val.json").read_text())
    assert set(result) == {"dataset", "split", "protocol", "count", "metrics"} and result["count"] == 9
    assert {"nme", "fr@10", "auc@10"} <= set(result["metrics"])
    for picture in ("faces-val-curve.png", "faces-val-overlays.png", "faces-val-heatmaps.png"):
        assert (straight / "eval" / picture).stat().st_size > 10_000


@pytest.mark.parametrize(
    ("script", "override", "sentence"),
    [
        (
            "train.py",
            "--config.data_dir=nowhere",
            "nowhere/faces holds none of train.csv, val.csv, test.csv; is config.data_dir",
        ),
        ("train.py", "--config.loss.name=mse", "unknown loss 'mse'; known are spatial_cross_entropy, binary_cross_entropy"),
        ("train.py", "--config.data.train_split=test", "has no split 'test'; it has train, val"),
        ("eval.py", "--config.data.box=dataset", 'has no size; set config.data.box="landmarks"'),
    ],
)
def test_wrong_input_ends_in_one_sentence(place, script, override, sentence):
    workdir = place / ("straight" if script == "eval.py" else "wrong")
    code, output = finish(start(place, command(script, place, workdir, override)))
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert code == 1 and len(lines) == 1 and sentence in lines[0], output[-3000:]
    assert "Traceback" not in output
    assert not (workdir / "checkpoints").exists() or script == "eval.py"
