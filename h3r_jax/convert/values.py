"""Whether arrays are weights that a network can have."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from h3r_jax.convert.naming import Path
from h3r_jax.errors import UserError

SHOWN = 8  # names in an error or a summary


def listed(names: list[str]) -> str:
    """Names in one line, the first few of many."""
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def problems(found: Mapping[str, list[str]]) -> str:
    """Kinds of problem and the names that have them, in words; empty if there are none."""
    return "; ".join(f"{len(names)} {kind}: {listed(names)}" for kind, names in found.items() if names)


def as_weights(
    arrays: Mapping[Path, np.ndarray], names: Mapping[Path, str]
) -> tuple[dict[Path, np.ndarray], tuple[str, ...]]:
    """The arrays in float32, and a note on each other type.

    Args:
      arrays: path -> array of any shape and type.
      names: path -> name, for messages.

    Raises:
      UserError: integers, complex or logical values; NaN or infinity; values beyond the range of float32; a variance
        below zero.
    """
    others: dict[str, list[str]] = {}  # type there -> names
    types: list[str] = []
    infinite: list[str] = []
    beyond: list[str] = []
    negative: list[str] = []
    result = {}
    for path, array in arrays.items():
        name = names[path]
        if not jnp.issubdtype(array.dtype, jnp.floating):
            types.append(f"{name} {array.dtype}")
            continue
        if array.dtype != np.float32:
            others.setdefault(str(array.dtype), []).append(name)
        with np.errstate(over="ignore"):  # counted below
            result[path] = np.asarray(array, np.float32)
        if wrong := int(np.sum(~np.isfinite(result[path]))):
            missed = int(np.sum(~np.isfinite(array)))
            (infinite if missed else beyond).append(f"{name} ({missed or wrong} of {array.size} values)")
        elif path[-1] == "var" and (wrong := int(np.sum(result[path] < 0))):
            negative.append(f"{name} ({wrong} of {array.size} values)")
    kinds = {
        "of another type than floats": types,
        "not finite": infinite,
        "beyond the range of float32": beyond,
        "with variances below zero": negative,
    }
    if text := problems(kinds):
        raise UserError(f"no network can work with these weights: {text}")
    return result, tuple(
        f"{len(group)} {type_} there, float32 here: {listed(group)}" for type_, group in others.items()
    )


def halved(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors with their kernels in float16: half the bytes. Vectors, which are few bytes, stay as they are.

    Raises:
      UserError: a kernel has values beyond the range of float16.
    """
    with np.errstate(over="ignore"):  # looked at below
        found = {name: array.astype(np.float16) if array.ndim > 1 else array for name, array in tensors.items()}
    if beyond := [name for name, array in found.items() if not np.isfinite(array).all()]:
        raise UserError(f"values beyond the range of float16, which ends at 65504: {listed(beyond)}; leave out --half")
    return found
