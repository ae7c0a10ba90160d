"""Fixtures of the command's tests."""

import pytest

from h3r_jax.predict import __main__ as command


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    """A mistake has to be found before the network is loaded."""

    def load(*arguments, **settings):
        raise AssertionError("the network was loaded")

    monkeypatch.setattr(command, "load_predictor", load)
