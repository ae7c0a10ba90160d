"""`benchmarks.accelerator` measures each part once, in a process of its own, and says what failed."""

import json
import os
import subprocess
import sys

from benchmarks.accelerator.tables import tables


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.accelerator", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )


def test_a_part_runs_once_and_failures_are_kept(tmp_path):
    parts = ("augmentation:2:32", "decode:1:0")
    first = command(f"--out={tmp_path}", *parts)
    assert first.returncode == 0 and "decode:1:0" in first.stdout and "FAILED" in first.stdout, first.stderr
    records = [json.loads(line) for line in (tmp_path / "accelerator.jsonl").read_text().splitlines()]
    assert [each["part"] for each in records] == list(parts)
    assert [row["name"] for row in records[0]["rows"]] == ["whole", "warp"]
    assert "error" in records[1]
    assert command(f"--out={tmp_path}", parts[0]).stdout == ""
    shown = command(f"--out={tmp_path}", "--tables").stdout
    assert "| warp |" in shown and "decode:1:0 failed" in shown


def test_what_is_not_known_is_refused(tmp_path):
    assert "unknown part 'nonsense'" in command(f"--out={tmp_path}", "nonsense").stderr
    assert "--out=DIR" in command("floors").stderr
    assert "does not exist" in command(f"--out={tmp_path}", "--tables").stderr


def test_tables_set_ours_beside_the_floor_and_pytorch():
    def record(part, *rows, flags=""):
        return {"part": part, "flags": flags, "device": "card", "jax": "1", "rows": list(rows)}

    text = tables(
        [
            record("floors", {"name": "copy", "ms": 1.0, "TB/s": 2.0}),
            record("decode:1:8", {"name": "decode", "ms": 0.003, "bytes": 3_000_000}),
            record("network:n:64:8", {"name": "training", "ms": 4.0, "images": 8}),
            record("torch_network:n:64:8:eager", {"name": "training", "ms": 6.0, "images": 8}),
            record("repeated:n:64:8", {"name": "runs", "equal": False}),
            {"part": "whole:n:64:8", "flags": "", "device": "card", "jax": "1", "error": "x\nOut of memory"},
        ]
    )
    assert "| decode | 0.003 | 2.00 |" in text
    assert "| n:64:8 | training | 4.00 | 2000 | 6.00 eager, 1.50 |" in text
    assert "three runs are not equal" in text
    assert "whole:n:64:8 failed: Out of memory" in text
