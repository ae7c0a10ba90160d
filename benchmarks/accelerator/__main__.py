"""Measures what ours and PyTorch's do on an accelerator, part by part, and makes tables of it.

    python -m benchmarks.accelerator --out=DIR [PART ...]
    python -m benchmarks.accelerator --out=DIR --tables

A part is a name with numbers, such as `floors`, `decode:64:64` or `network:hrnet_w18:256:64`. Without parts, the
declared list runs, the most important first. Each part runs in a process of its own, so that only one framework holds
memory and no part takes another one with it. Its rows go to DIR/accelerator.jsonl. A part that has a line there is not
run again, unless it failed. With `--minutes` no part begins that may end later, judged by its limit.

It needs jax, flax, optax, orbax, Pillow and PyTorch, and neither TensorFlow nor ml_collections. The tables go to the
standard output: times, and ratios to what no program beats and to PyTorch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.accelerator.tables import tables
from h3r_jax.errors import UserError, sentences

LIMIT = 240  # seconds of a part
EXACT = "--xla_gpu_deterministic_ops=true"
# The part, and the flags of XLA that it runs with.
PARTS = (
    ("floors", ""),
    ("decode:64:64", ""),
    ("torch_search:64:64", ""),
    ("losses:64:64", ""),
    ("augmentation:64:256", ""),
    ("network:hrnet_w18:256:64", ""),
    ("torch_network:hrnet_w18:256:64:compiled", ""),
    ("network:mobilenet_v2:128:64", ""),
    ("torch_network:mobilenet_v2:128:64:compiled", ""),
    ("whole:hrnet_w18:256:64", ""),
    ("repeated:mobilenet_v2:128:32", ""),
    ("repeated:mobilenet_v2:128:32", EXACT),
    ("network:hrnet_w18:256:16", ""),
    ("torch_network:hrnet_w18:256:16:reduced", ""),
    ("network:hrnet_w18:256:256", ""),
    ("torch_network:hrnet_w18:256:64:eager", ""),
    ("whole:mobilenet_v2:128:64", ""),
    ("network:hrnet_w18:256:64", "--xla_gpu_enable_command_buffer=+convolution"),
    ("repeated:hrnet_w18:256:8", EXACT),
    ("network:hrnet_w32:256:64", ""),
    ("torch_network:hrnet_w32:256:64:compiled", ""),
    ("decode:64:24", ""),
)
NAMES = ("floors", "decode", "losses", "augmentation", "network", "whole", "repeated")
TORCH_NAMES = {"torch_search": "search", "torch_network": "network"}


def run(part: str) -> list[dict]:
    """The rows of a part, which runs in this process."""
    name, *values = part.split(":")
    numbers = [int(value) if value.isdigit() else value for value in values]
    if name in TORCH_NAMES:
        from benchmarks.accelerator import torch_parts

        return getattr(torch_parts, TORCH_NAMES[name])(*numbers)
    from benchmarks.accelerator import parts

    return getattr(parts, name)(*numbers)


def describe() -> dict[str, str]:
    """The device and the versions, as a process of JAX sees them."""
    program = "import jax; print(jax.devices()[0].device_kind); print(jax.__version__)"
    kind, version = subprocess.check_output([sys.executable, "-c", program], text=True).split("\n")[:2]
    return {"device": kind, "jax": version}


def in_a_process(part: str, flags: str) -> dict:
    """The rows of a part, or why there are none."""
    environment = dict(os.environ, XLA_PYTHON_CLIENT_PREALLOCATE="false")
    environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    command = [sys.executable, "-m", "benchmarks.accelerator", "--here", part]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {LIMIT} s"}
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        return {"error": (done.stderr or done.stdout)[-800:]}
    return json.loads(lines[-1])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--out", type=Path, help="folder of accelerator.jsonl")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which no part is running")
    parser.add_argument("--tables", action="store_true", help="print the tables of what was measured")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for part in arguments.parts:
        if part.split(":")[0] not in (*NAMES, *TORCH_NAMES):
            raise UserError(f"unknown part {part!r}; known are {', '.join((*NAMES, *TORCH_NAMES))}, with numbers")
    if arguments.here:
        print(json.dumps({"rows": run(arguments.parts[0])}))
        return
    if arguments.out is None:
        raise UserError("want --out=DIR, the folder of accelerator.jsonl")
    file = arguments.out / "accelerator.jsonl"
    if arguments.tables:
        if not file.exists():
            raise UserError(f"{file} does not exist; run the command without --tables first")
        print(tables([json.loads(line) for line in file.read_text().splitlines()]))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    start, machine = time.monotonic(), describe()
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(each["part"], each["flags"]) for each in known if each["device"] == machine["device"] and "rows" in each}
    for part, flags in [(part, "") for part in arguments.parts] or PARTS:
        if (part, flags) in done:
            continue
        if time.monotonic() - start + LIMIT > 60 * arguments.minutes:
            print(f"{part}: left for the next time")
            continue
        begun = time.monotonic()
        record = {"part": part, "flags": flags, **machine, **in_a_process(part, flags)}
        record["seconds"] = round(time.monotonic() - begun, 1)
        with file.open("a") as lines:
            print(json.dumps(record), file=lines)
        print(f"{part} {flags}: {record['seconds']} s{', FAILED' if 'error' in record else ''}", flush=True)


if __name__ == "__main__":
    with sentences():
        main()
