"""What functions are told besides arrays (a stride, k, a temperature, names), checked in one place.

A number may be Python's, numpy's, or an array of no axes. A traced number cannot be compared with a range while a
program is traced, so its form alone is checked. What decides shapes must be known while tracing: a traced one is
refused.
"""

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

# input pixels per cell, one or for each axis in the order of the coordinates
Stride = ArrayLike | Sequence[ArrayLike]

LEAST, GREATEST = 1e-18, 1e18  # of what must be positive, so that its square and its inverse are float32, too
FINITE = float(np.finfo(np.float32).max)
MOST_ALONG = 2**24  # cells along an axis: float32 tells them apart
MOST = 2**31 - 1  # cells of a map: int32 numbers them


def is_traced(value: object) -> bool:
    return isinstance(value, jax.core.Tracer)


def number(name: str, value: Any, low: float = -FINITE, high: float = FINITE) -> Any:
    """`value`, a real number within [low, high], as a Python float; a traced one as it is.

    Raises:
      ValueError: another number, an array with axes, or no number; says what `name` must be.
    """
    wanted = "finite" if (low, high) == (-FINITE, FINITE) else f"within [{low:g}, {high:g}]"
    wanted = f"positive, {wanted}" if low > 0 else wanted
    array = value if is_traced(value) else _asarray(value)
    if array.ndim or not _is_real(array.dtype):
        raise ValueError(f"{name} must be one number, {wanted}, got {_shown(value)}")
    if is_traced(value):
        return value
    result = float(array)
    if not low <= result <= high:  # false for NaN
        raise ValueError(f"{name} must be {wanted}, got {_shown(value)}")
    return result


def positive(name: str, value: Any) -> Any:
    """`number` within [LEAST, GREATEST]."""
    return number(name, value, LEAST, GREATEST)


def numbers(name: str, value: Any, low: float, high: float) -> Any:
    """`value`, a number or an array of numbers within [low, high]; traced ones as they are.

    Raises:
      ValueError: another number, or no numbers; names the first.
    """
    array = value if is_traced(value) else _asarray(value)
    if array.ndim == 0:
        return number(name, value, low, high)
    if not _is_real(array.dtype):
        raise ValueError(f"{name} must be numbers within [{low:g}, {high:g}], got {_shown(value)}")
    if not is_traced(value):
        bad = ~((array >= low) & (array <= high))
        if bad.any():
            raise ValueError(f"{name} must be within [{low:g}, {high:g}], got {float(array[bad][0]):g}")
    return value


def whole(name: str, value: Any, low: int = 1, high: int | None = None) -> int:
    """`value`, a whole number of at least `low` and at most `high`, as an int.

    Raises:
      ValueError: another number, no whole number (True is none), or a traced one.
    """
    wanted = f"a whole number of at least {low}" if high is None else f"a whole number within [{low}, {high}]"
    if is_traced(value):
        raise ValueError(f"{name} must be {wanted} that is known while tracing; make it a static argument of jit")
    try:
        if isinstance(value, (bool, np.bool_)) or getattr(value, "dtype", None) == bool:
            raise TypeError
        result = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be {wanted}, got {_shown(value)}") from None
    if result < low or (high is not None and result > high):
        raise ValueError(f"{name} must be {wanted}, got {_shown(value)}")
    return result


def odd(name: str, value: Any) -> int:
    """`value`, a positive odd whole number, as an int. Raises ValueError for anything else."""
    result = whole(name, value)
    if result % 2 == 0:
        raise ValueError(f"{name} must be odd, got {_shown(value)}")
    return result


def shape_of_map(value: Any, name: str = "heatmap_shape") -> tuple[int, ...]:
    """`value`, the positive numbers of cells along the axes of a map, as a tuple of ints.

    Raises:
      ValueError: no sequence, an empty one, a number that is not whole and positive, or more cells than int32 numbers.
    """
    if not _is_sequence(value):
        raise ValueError(f"{name} must be positive whole numbers, one for each axis, got {_shown(value)}")
    if is_traced(value):
        raise ValueError(f"{name} must be known while tracing; make it a static argument of jit")
    shape = tuple(whole(f"{name} must be positive; each number", size, 1, MOST_ALONG) for size in _elements(value))
    if not shape or math.prod(shape) > MOST:
        raise ValueError(f"{name} must be positive, of at most {MOST} cells, got {_shown(value)}")
    return shape


def strides(stride: Stride, ndim: int) -> tuple[Any, ...]:
    """`stride`, a number or one for each axis in the order of the coordinates, as a tuple of `ndim` floats.

    Raises:
      ValueError: another number of strides, or one that is not within [1e-18, 1e18].
    """
    if _is_sequence(stride):
        result = tuple(positive("stride", each) for each in _elements(stride))
    else:
        result = (positive("stride", stride),) * ndim
    if len(result) != ndim:
        raise ValueError(f"stride {_shown(stride)} names {len(result)} axes, but coordinates have {ndim}")
    return result


def permutation(name: str, value: Any, count: int) -> np.ndarray:
    """`value`, the whole numbers from 0 to `count - 1` in any order, as `int[count]`. Raises ValueError otherwise."""
    if not is_traced(value):
        array = _asarray(value)
        if jnp.issubdtype(array.dtype, jnp.integer) and np.array_equal(np.sort(array, axis=None), np.arange(count)):
            return array.reshape(count)
    raise ValueError(f"{name} must name each of {count} landmarks once, from 0 to {count - 1}, got {_shown(value)}")


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """`value`, one of the `known` names. Raises ValueError with these names for another."""
    known = tuple(known)
    if not (isinstance(value, str) and value in known):
        raise ValueError(f"unknown {name} {value!r}; known are {', '.join(known)}")
    return value


def real_coordinates(coordinates: ArrayLike) -> jax.Array:
    """Coordinates as `float32` of the same shape; whole numbers beyond int32 do not wrap around on the way.

    Raises:
      ValueError: coordinates that are no real numbers.
    """
    array: Any = coordinates
    if not isinstance(coordinates, jax.Array):
        # A list may hold traced numbers, of which numpy makes no array.
        traced = any(is_traced(leaf) for leaf in jax.tree.leaves(coordinates))
        array = jnp.asarray(coordinates) if traced else _asarray(coordinates)
    if not _is_real(array.dtype):
        raise ValueError(f"coordinates must be an array of real numbers, got {_shown(coordinates)}")
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and infinite is not inside
        return jnp.asarray(array.astype(np.float32))


def _asarray(value: Any) -> np.ndarray:
    """`value` in numpy; what numpy knows as objects only becomes float64 if each is a real number."""
    try:
        array = np.asarray(value)
        if array.dtype == object and all(isinstance(each, (int, float)) for each in array.ravel()):
            array = array.astype(np.float64)  # whole numbers beyond int64
    except (ValueError, OverflowError):  # ragged, or whole numbers beyond float64
        array = np.array(None)
    return array


def _is_sequence(value: Any) -> TypeGuard[Sequence[ArrayLike]]:
    if isinstance(value, (np.ndarray, jax.Array)):
        return value.ndim == 1
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _elements(sequence: Any) -> Any:
    """What is in a sequence; of an array that is known, in numpy, since a trace that is under way would trace it."""
    return np.asarray(sequence) if isinstance(sequence, jax.Array) and not is_traced(sequence) else sequence


def _is_real(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating)


def _shown(value: Any) -> str:
    if is_traced(value):
        return f"a traced array of shape {value.shape} and {value.dtype}"
    if isinstance(value, (np.ndarray, jax.Array)) and value.ndim:
        return f"an array of shape {value.shape} and {value.dtype}"
    return repr(value.item()) if isinstance(value, (np.generic, np.ndarray, jax.Array)) else repr(value)
