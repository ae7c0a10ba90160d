"""Landmark localisation by heatmap regression with randomized rounding, in JAX.

The public face is loaded lazily (PEP 562), so that a program which wants the
codec alone does not import Flax, and nothing here imports TensorFlow or torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what a type checker cannot see through the loading on demand
    from h3r_jax.predict import load_predictor as load_predictor
    from h3r_jax.weights import list_models as list_models

__version__ = "0.1.0"

_MODULES = (
    "augment",
    "codec",
    "convert",
    "evaluation",
    "export",
    "geometry",
    "images",
    "inference",
    "landmarks",
    "losses",
    "metrics",
    "models",
    "predict",
    "reference_crop",
    "training",
    "visualize",
    "weights",
)

_NAMES = {"list_models": "weights", "load_predictor": "predict"}  # name -> the module that has it

__all__ = ["__version__", *_MODULES, *_NAMES]  # noqa: PLE0604  (they are strings)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"h3r_jax.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"h3r_jax.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'h3r_jax' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
