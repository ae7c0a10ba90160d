"""Commands that print the figures of the documentation."""

import platform
import signal
import statistics
import time
from collections.abc import Callable, Mapping


def processor() -> str:
    """The name of the processor, for the line above a table."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def torch_device() -> str:
    """The device on which PyTorch is compared with JAX: "cuda" or "cpu"."""
    import jax  # not for the workers of torch_loader

    return "cuda" if jax.default_backend() == "gpu" else "cpu"


def hear_interrupts() -> None:
    """Lets Ctrl-C reach this process and those that it starts. Without this, a background job of a shell ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def medians(calls: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> dict[str, tuple[float, float]]:
    """The median time of each call. All run in turn in every round, so that a busy machine slows all of them.

    Args:
      calls: name -> function that waits for its result.
      rounds: that count.
      warm_up: further rounds before these.

    Returns:
      name -> seconds that passed, and seconds of processor time of this process.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for number in range(warm_up + rounds):
        for name, call in calls.items():
            passed, used = time.perf_counter(), time.process_time()
            call()
            if number >= warm_up:
                times[name].append((time.perf_counter() - passed, time.process_time() - used))
    return {
        name: (statistics.median(passed for passed, _ in pairs), statistics.median(used for _, used in pairs))
        for name, pairs in times.items()
    }
