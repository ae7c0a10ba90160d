"""A long tiny training: does the memory of the process grow?

    python -m benchmarks.soak [--steps=20000 --decode_anew]

Runs train.py in a process of its own, with a checkpoint every 200 steps and an evaluation every 2,000. Reads the
resident memory of that process from /proc meanwhile, and prints a line fitted to the last three quarters. With
--decode_anew no image is kept, so that every epoch decodes every image, as runs on large data sets do.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import tiny_run
from h3r_jax import ranges
from h3r_jax.errors import sentences

SAMPLES = 400  # about as many readings


def resident_mib(pid):
    """Resident memory of a process, MiB; None once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return None
    sizes = [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")]
    return sizes[0] if sizes else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=ranges.count, default=20_000, help="of the run")
    parser.add_argument("--decode_anew", action="store_true", help="decode every image in every epoch")
    options = parser.parse_args()
    total = options.steps
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        tiny_run.write_data(place)
        epochs = tiny_run.BATCH / tiny_run.NUM_TRAIN
        overrides = [f"--config.log.eval_every_epochs={2000 * epochs}", "--config.log.every_steps=10"]
        overrides += ["--config.data.cache_bytes=0"] if options.decode_anew else []
        arguments = tiny_run.command("train.py", place, place / "run", *overrides, total_steps=total, save_every=200)
        start = time.monotonic()
        with (place / "output.txt").open("w") as file:
            process = tiny_run.start(place, arguments, file)
        steps, sizes = [], []
        while process.poll() is None:
            step, size = max(tiny_run.logged(place / "run"), default=(0, 0))[0], resident_mib(process.pid)
            if size and step >= (steps[-1] + total / SAMPLES if steps else 1):
                steps.append(step)
                sizes.append(size)
            time.sleep(0.2)
        if process.returncode:
            raise SystemExit((place / "output.txt").read_text()[-3000:])
        seconds = time.monotonic() - start
    steps, sizes = np.array(steps), np.array(sizes)
    late = steps > total / 4
    slope, _ = np.polyfit(steps[late] / 1000, sizes[late], 1)
    print(f"{total} steps in {seconds:.0f} s; images {'decoded anew' if options.decode_anew else 'kept in memory'}")
    for quarter in range(1, 5):
        at = int(np.argmin(np.abs(steps - total * quarter / 4)))
        print(f"  step {steps[at]:>6}: {sizes[at]:.1f} MiB")
    print(f"slope over the last three quarters: {slope:+.3f} MiB per 1000 steps ({late.sum()} readings)")


if __name__ == "__main__":
    with sentences():
        main()
