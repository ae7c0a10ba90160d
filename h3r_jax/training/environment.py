"""Settings of Python, JAX, TensorFlow and glibc that must be made before JAX is imported; import this module first."""

import ctypes
import hashlib
import importlib.util
import os
import sys
from importlib import metadata
from pathlib import Path

from h3r_jax.errors import watch_for_interrupts

watch_for_interrupts()
# Compiles a training step on a CPU in a third of the time and runs it no slower; other platforms ignore it.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE")
# TensorFlow only reads images here, so it need not warn of accelerators that it does not see.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def runs_on_cpu() -> bool:
    """Whether it is certain, before JAX starts, that JAX will run on the CPU.

    The first platform of JAX_PLATFORMS decides. Where the variable is empty or not set, JAX takes an accelerator if it
    finds one, which needs a plugin: the answer is yes only if none is installed.
    """
    platforms = os.environ.get("JAX_PLATFORMS")
    if platforms:
        return platforms.split(",")[0] == "cpu"
    installed = any(importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu"))
    return not installed and not metadata.entry_points(group="jax_plugins")


def keep_freed_memory() -> None:
    """Tells glibc to keep the memory that the process frees, for the next step.

    On a CPU, XLA asks for hundreds of megabytes in every step. By default glibc returns them to the system each time.
    A quarter of a step's processor time then goes into page faults (`python -m benchmarks.step` shows it). The call has
    no effect on threads that have asked for memory already, so it comes before JAX starts.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc, not musl
        for option, value in ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1)):
            libc.mallopt(option, value)


def keep_what_is_compiled() -> None:
    """Lets JAX keep compiled programs in the user's cache folder for the next start, unless another folder is chosen.

    A program for a CPU may have instructions that another CPU lacks, so each kind of CPU has a folder of its own.
    """
    import jax

    if jax.config.values["jax_compilation_cache_dir"]:
        return
    cpu = Path("/proc/cpuinfo")  # of Linux; elsewhere machines seldom share a home
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    kind = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "h3r_jax"
    jax.config.update("jax_compilation_cache_dir", str(folder / hashlib.sha256(kind.encode()).hexdigest()[:8]))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


if sys.platform == "linux" and runs_on_cpu():
    keep_freed_memory()
