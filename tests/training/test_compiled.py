"""Compiled programs are kept where they should be."""

import os
import subprocess
import sys

import pytest

from tests.pages import ROOT

CODE = """
import jax
from h3r_jax.training import environment
environment.keep_what_is_compiled()
jax.jit(lambda x: x + 1)(1.0)
"""


@pytest.mark.parametrize("chosen", [False, True])
def test_programs_are_kept_in_the_users_cache_or_the_chosen_folder(tmp_path, chosen):
    ours, theirs = tmp_path / "cache" / "h3r_jax", tmp_path / "chosen"
    environment = os.environ | {"XDG_CACHE_HOME": os.fspath(tmp_path / "cache"), "PYTHONPATH": os.fspath(ROOT)}
    del environment["JAX_COMPILATION_CACHE_DIR"]
    if chosen:
        environment["JAX_COMPILATION_CACHE_DIR"] = os.fspath(theirs)
    subprocess.run([sys.executable, "-c", CODE], env=environment, check=True)
    kept = [path.name for path in (theirs if chosen else ours).rglob("*-cache")]
    assert any(name.startswith("jit_") for name in kept) and ours.exists() != chosen
