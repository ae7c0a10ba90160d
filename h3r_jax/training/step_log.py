"""The steps since the last line of the log: their metrics, which stay on the devices, and the time that they took."""

import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np


class StepLog:
    """Steps between two lines of the log.

    The loop starts a step and does not wait for its end. So the metrics are fetched only when they are asked for.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begins the next line."""
        self._metrics: list[dict[str, jax.Array]] = []
        self._first, self._seen = 0, 0
        self._since, self._waited = time.perf_counter(), 0.0

    def next_batch(self, batches: Iterator[Any]) -> Any:
        """The next of `batches`, timed."""
        asked = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - asked
        return batch

    def add(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """A dispatched step and its metrics, arrays on the devices."""
        self._first = self._first or step
        self._metrics.append(metrics)

    def exclude(self, seconds: float) -> None:
        """Leaves time out that training did not take, such as an evaluation's."""
        self._since += seconds

    def skipped(self) -> list[tuple[int, dict[str, np.ndarray]]]:
        """The steps that were left out since the last call, as pairs of step and metrics; waits for the devices."""
        fetched = jax.device_get(self._metrics[self._seen :])
        first, self._seen = self._first + self._seen, len(self._metrics)
        return [(first + i, metrics) for i, metrics in enumerate(fetched) if metrics["skipped"]]

    def summary(self) -> dict[str, float]:
        """Name -> number; waits for the devices.

        Each metric is the mean over the steps that were not skipped; "skipped" is the number of the others. Then come
        steps_per_second; and input_wait, the share of the time in which the loop waited for the next batch. The loop
        runs ahead of the devices, so they may be busy meanwhile.
        """
        fetched = jax.device_get(self._metrics)
        elapsed = time.perf_counter() - self._since
        counted = [metrics for metrics in fetched if not metrics["skipped"]]
        result = {
            name: float(np.mean([metrics[name] for metrics in counted])) if counted else float("nan")
            for name in fetched[0]
        }
        result["skipped"] = float(len(fetched) - len(counted))
        return result | {"steps_per_second": len(fetched) / elapsed, "input_wait": self._waited / elapsed}
