"""Figures of an accelerator, part by part: `python -m benchmarks.accelerator`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]  # of a part: "name", and its figures


def milliseconds(call: Callable[[], Any], wait: Callable[[Any], Any], rounds: int = 5) -> float:
    """The time of one of many calls in flight: the median over rounds, each with one wait at its end.

    Args:
      call: starts the work and returns its result, or a promise of it.
      wait: waits for such a result.
      rounds: that count. Each takes about half a second.
    """
    for _ in range(2):  # compiles, and warms up
        wait(call())
    start = time.perf_counter()
    wait(call())
    repeats = max(1, min(30, int(0.5 / max(time.perf_counter() - start, 1e-5))))
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(repeats):
            result = call()
        wait(result)
        times.append((time.perf_counter() - start) / repeats)
    return 1e3 * statistics.median(times)
