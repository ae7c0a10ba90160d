"""What every test finds: quick compilation, eight devices of the CPU, and where real data is."""

import os
from pathlib import Path

os.environ["XLA_FLAGS"] = "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE --xla_force_host_platform_device_count=8"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import pytest


@pytest.fixture(scope="session")
def shared_data():
    """Real images and landmarks kept beside the repository; a test that needs them is skipped where they are absent."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data is not beside the repository (../shared/data)")
    return folder
