"""Settings of the libraries below that must stand before they are loaded; import this first in a script."""

import ctypes
import os
import sys

# Compiles a training step on a CPU in a third of the time and runs it no slower; other platforms ignore it.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE")
# TensorFlow only reads images here: no warnings of accelerators it does not see.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

# XLA on a CPU asks for hundreds of megabytes in every step and glibc returns them to the system each time, so that
# a quarter of a step's processor time goes into page faults (python -m benchmarks.step shows it). Keep freed memory.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
if sys.platform == "linux":
    _libc = ctypes.CDLL(None)
    if hasattr(_libc, "mallopt"):  # glibc, not musl
        for _option, _value in ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1)):
            _libc.mallopt(_option, _value)
