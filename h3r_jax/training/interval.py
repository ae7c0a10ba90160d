"""What happened since the last line of the log: metrics that are still on the devices, and where the time went."""

import concurrent.futures
import time

import jax
import numpy as np


class Interval:
    """The steps between two lines of the log.

    A step is dispatched and not waited for, so the host asks for the next batch while the devices compute. They
    wait for data only from the moment they have finished the last step; a thread of its own notes that moment.
    """

    def __init__(self):
        self._watch = concurrent.futures.ThreadPoolExecutor(1)
        self.restart()

    def restart(self):
        """Begins the next interval."""
        self._first, self._metrics, self._finished, self._waits = None, [], [], []
        self._seen, self._since = 0, time.perf_counter()

    def next_batch(self, batches):
        """The next of `batches`, timed."""
        asked = time.perf_counter()
        batch = next(batches)
        self._waits.append((asked, time.perf_counter()))
        return batch

    def add(self, step, metrics):
        """A dispatched step and its metrics, arrays on the devices."""
        self._first = step if self._first is None else self._first
        self._metrics.append(metrics)
        self._finished.append(self._watch.submit(_when_ready, metrics))

    def exclude(self, seconds):
        """Leaves time out that training did not take, such as an evaluation's."""
        self._since += seconds

    def skipped(self):
        """The steps not yet told of that were left out, as pairs of step and metrics; waits for the devices."""
        fetched = jax.device_get(self._metrics[self._seen :])
        first, self._seen = self._first + self._seen, len(self._metrics)
        return [(first + i, metrics) for i, metrics in enumerate(fetched) if metrics["skipped"]]

    def summary(self):
        """Name -> number: means of the metrics over the steps that counted, sums of counts, speed; waits for the devices."""
        fetched = jax.device_get(self._metrics)
        elapsed = time.perf_counter() - self._since
        counted = [metrics for metrics in fetched if not metrics["skipped"]]
        result = {}
        for name in fetched[0]:
            if name in ("skipped", "unreadable"):
                result[name] = float(sum(metrics[name] for metrics in fetched))
            else:
                result[name] = float(np.mean([metrics[name] for metrics in counted])) if counted else float("nan")
        result["steps_per_second"] = len(fetched) / elapsed
        result["input_wait"] = starved_seconds(self._waits, [future.result() for future in self._finished]) / elapsed
        return result

    def close(self):
        self._watch.shutdown(wait=False)


def _when_ready(metrics):
    jax.block_until_ready(metrics)
    return time.perf_counter()


def starved_seconds(waits, finished):
    """How long the devices had nothing to do because a batch was missing.

    Args:
      waits: per step, when its batch was asked for and when it arrived, seconds.
      finished: per step, when the devices were done with it; before the first step they had nothing to do.
    """
    before = [-float("inf"), *finished]
    return sum(max(0.0, arrived - max(asked, idle)) for (asked, arrived), idle in zip(waits, before))
