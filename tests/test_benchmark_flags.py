"""Flags of the benchmarks that are no number of anything."""

import importlib
import sys

import pytest

pytest.importorskip("torch")


@pytest.mark.trial("D")
@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("codec", ["--repeats=0"]),
        ("codec", ["--size=-1"]),
        ("export", ["--rounds=0"]),
        ("export", ["--batches", "1", "0"]),
        ("networks", ["--size=0"]),
        ("onnx", ["faces68", "--data_dir=.", "--count=0"]),
        ("predict", ["--images=.", "--count=0"]),
        ("preemption", ["--kills=0"]),
        ("quantization", ["--sizes", "64", "0"]),
        ("soak", ["--steps=1_0"]),
        ("step", ["--batch=0"]),
    ],
)
def test_numbers_are_refused_before_the_work(monkeypatch, capsys, name, flags):
    benchmark = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [name, *flags])
    with pytest.raises(SystemExit, match="2"):
        benchmark.main()
    assert "want a whole number, 1 or more" in capsys.readouterr().err
