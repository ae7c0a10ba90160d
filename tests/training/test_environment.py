"""Memory is kept on a CPU alone, and compiled programs in a folder; the settings of others stand."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import subprocess
import sys
from importlib import metadata

import pytest

from h3r_jax.training import environment
from tests.pages import ROOT


class RecordingLibrary:
    """Stands for glibc."""

    def __init__(self):
        self.options = {}

    def mallopt(self, option, value):
        self.options[option] = value


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is on Linux")
@pytest.mark.parametrize(
    "platforms, installed, on_cpu",
    [
        ("cpu", ["jax_plugins", "libtpu"], True),
        ("cuda", [], False),
        ("cuda,cpu", [], False),
        ("", [], True),
        (None, [], True),
        ("", ["libtpu"], False),
        (None, ["jax_plugins"], False),
        (None, ["an entry point"], False),
    ],
)
def test_memory_is_kept_on_a_cpu_alone(monkeypatch, platforms, installed, on_cpu):
    library = RecordingLibrary()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in installed else None)
    monkeypatch.setattr(metadata, "entry_points", lambda group: [x for x in installed if x == "an entry point"])
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    if platforms is not None:
        monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setenv("XLA_FLAGS", "--of_the_user")
    importlib.reload(environment)
    assert library.options == ({-8: 1, -4: 0, -1: -1} if on_cpu else {})
    assert os.environ["XLA_FLAGS"] == "--of_the_user"


CODE = """
import jax
from h3r_jax.training import environment
environment.keep_what_is_compiled()
jax.jit(lambda x: x + 1)(1.0)
"""


@pytest.mark.parametrize("chosen", [False, True])
def test_programs_are_kept_in_the_users_cache_or_the_chosen_folder(tmp_path, chosen):
    ours, theirs = tmp_path / "cache" / "h3r_jax", tmp_path / "chosen"
    variables = os.environ | {"XDG_CACHE_HOME": os.fspath(tmp_path / "cache"), "PYTHONPATH": os.fspath(ROOT)}
    del variables["JAX_COMPILATION_CACHE_DIR"]
    if chosen:
        variables["JAX_COMPILATION_CACHE_DIR"] = os.fspath(theirs)
    subprocess.run([sys.executable, "-c", CODE], env=variables, check=True)
    kept = [path.name for path in (theirs if chosen else ours).rglob("*-cache")]
    assert any(name.startswith("jit_") for name in kept) and ours.exists() != chosen
