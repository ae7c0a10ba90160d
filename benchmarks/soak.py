"""A long tiny training: does the memory of the process grow?

    python -m benchmarks.soak [--steps=20000 --decode_anew]

Runs train.py as a process of its own, with a checkpoint every 200 steps and an evaluation every 2,000, reads its
resident memory from /proc while it runs, and prints a line fitted to the last three quarters. With --decode_anew no
image is kept, so that the whole input pipeline runs throughout.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks import tiny_run

STEPS = flags.DEFINE_integer("steps", 20_000, "of the run")
DECODE_ANEW = flags.DEFINE_bool(
    "decode_anew", False, "decode every image in every epoch, as runs on large data sets do"
)

SAMPLES = 400  # about as many readings


def resident_mib(pid):
    """Resident memory of a process, MiB; None once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return None
    sizes = [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")]
    return sizes[0] if sizes else None


def last_step(path):
    """The step of the last complete line of a log."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = file.read().split(b"\n")
    return int(lines[-2].split(b'"step": ')[1].split(b",")[0]) if len(lines) > 1 else 0


def main(_):
    with tempfile.TemporaryDirectory() as temporary:
        place, total = Path(temporary), STEPS.value
        tiny_run.write_data(place)
        epochs = tiny_run.BATCH / tiny_run.NUM_TRAIN
        overrides = [f"--config.log.eval_every_epochs={2000 * epochs}", "--config.log.every_steps=10"]
        overrides += ["--config.data.cache_bytes=0"] if DECODE_ANEW.value else []
        arguments = tiny_run.command("train.py", place, place / "run", *overrides, total_steps=total, save_every=200)
        start = time.monotonic()
        with (place / "output.txt").open("w") as file:
            process = tiny_run.start(place, arguments, file)
        steps, sizes = [], []
        while process.poll() is None:
            step, size = last_step(place / "run" / "metrics.jsonl"), resident_mib(process.pid)
            if size and step >= (steps[-1] + total / SAMPLES if steps else 1):
                steps.append(step)
                sizes.append(size)
            time.sleep(0.05)
        if process.returncode:
            raise SystemExit((place / "output.txt").read_text()[-3000:])
        seconds = time.monotonic() - start
    steps, sizes = np.array(steps), np.array(sizes)
    late = steps > total / 4
    slope, _ = np.polyfit(steps[late] / 1000, sizes[late], 1)
    print(f"{total} steps in {seconds:.0f} s; images {'decoded anew' if DECODE_ANEW.value else 'kept in memory'}")
    for quarter in range(1, 5):
        at = int(np.argmin(np.abs(steps - total * quarter / 4)))
        print(f"  step {steps[at]:>6}: {sizes[at]:.1f} MiB")
    print(f"slope over the last three quarters: {slope:+.3f} MiB per 1000 steps ({late.sum()} readings)")


if __name__ == "__main__":
    app.run(main)
