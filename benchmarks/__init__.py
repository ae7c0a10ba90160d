"""Commands that print the figures of the documentation."""

import platform


def processor() -> str:
    """The name of the processor, for the line above a table."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def torch_device() -> str:
    """Where PyTorch has to run to be compared with JAX: "cuda" or "cpu"."""
    import jax  # not for the workers of torch_loader

    return "cuda" if jax.default_backend() == "gpu" else "cpu"
