"""What every test runs under: quick compilation that is kept, strict broadcasting, eight devices of the CPU."""

import contextlib
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]

# By environment variables, so that workers and the programs that tests start run under the same.
os.environ["XLA_FLAGS"] = "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE --xla_force_host_platform_device_count=8"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# Compiled programs are kept between runs, by their contents. Without access to the folder, JAX warns and compiles.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.fspath(ROOT / ".pytest_cache" / "jax"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# Arrays of different ranks do not broadcast by themselves: the axes are written out, or it is a mistake.
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"

import pytest


def pytest_collection_modifyitems(items):
    """A trial says its kind in the report, for `python -m benchmarks.trials`."""
    for item in items:
        item.user_properties += [("trial", mark.args[0]) for mark in item.iter_markers("trial")]


@pytest.fixture(scope="session")
def shared_data():
    """Real images and landmarks kept beside the repository; a test that needs them is skipped where they are absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data is not beside the repository (../shared/data)")
    return folder


@contextlib.contextmanager
def file_system(place, size):
    """A file system in memory at the new folder `place`, of a size as mount takes it; skips a test that may not."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 600 KB, for full disks."""
    with file_system(tmp_path / "small", "600k") as place:
        yield place
