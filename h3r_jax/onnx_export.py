"""A function of images as an ONNX file, by `jax2onnx`; for `h3r_jax.export`."""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from h3r_jax.codec import top_k as strongest
from h3r_jax.errors import UserError, first_line
from h3r_jax.models import convolutions, tpu

OPSET = 18  # version of the operators; older runtimes know it
INPUT = "images"


def _search(maps: jax.Array, k: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    return *lax.top_k(jnp.swapaxes(maps, -1, -2), k), strongest.usable(maps)


def _unravel_index(index: jax.Array, shape: Sequence[int]) -> tuple[jax.Array, ...]:
    cells = []
    for size in reversed(shape):
        quotient = lax.div(index, jnp.full_like(index, size))
        cells.append(index - quotient * size)
        index = quotient
    return tuple(reversed(cells))


def _softmax(x: jax.Array, axis: int | Sequence[int]) -> jax.Array:
    masses = jnp.exp(x - jnp.max(x, axis, keepdims=True))
    return masses / jnp.sum(masses, axis, keepdims=True)


def _pointwise_convolution(images: jax.Array, kernel: jax.Array, output_dtype: DTypeLike | None) -> jax.Array:
    order = ("NHWC", "HWIO", "NHWC")
    maps = lax.conv_general_dilated(images, kernel.astype(images.dtype), (1, 1), "VALID", dimension_numbers=order)
    return maps if output_dtype is None else maps.astype(output_dtype)


# What jax2onnx 0.17.1 cannot convert as it is called here, with a form that it can convert.
FORMS: dict[tuple[Any, str], Callable] = {
    (lax, "platform_dependent"): lambda *operands, default, **_: default(*operands),  # it knows no platforms
    (strongest, "search"): _search,  # ONNX has an operator for this; the passes for a TPU cannot be converted
    (tpu, "block_of"): lambda shape: tpu.ONE_PIXEL,  # reshapes for the sake of TPUs would remain
    (jax.nn, "softmax"): _softmax,  # it takes one axis only
    # In these two it asks for a number of images.
    (lax, "clamp"): lambda least, x, greatest: jnp.clip(x, least, greatest),
    (jnp, "unravel_index"): _unravel_index,
    # Beside the other convolutions onnxruntime needs no other order of axes, and joins them with what follows.
    (convolutions, "pointwise_convolution"): _pointwise_convolution,
}


@contextlib.contextmanager
def convertible() -> Iterator[None]:
    """In the block, JAX traces the forms in `FORMS`.

    `jax.jit` does nothing in the block: so it keeps no trace with these forms, and gives none without them.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.disable_jit())
        for (module, name), form in FORMS.items():
            stack.enter_context(mock.patch.object(module, name, form))
        yield


def to_onnx(
    function: Callable[[jax.Array], dict[str, jax.Array]],
    shape: tuple[int, int],
    outputs: Sequence[str],
    description: str = "",
) -> bytes:
    """The content of an ONNX file that computes a function, for every number of images.

    Args:
      function: from images `uint8[b, H, W, 3]` to a dictionary of arrays `[b, ...]`. The input is named "images".
      shape: `(H, W)` of the images, pixels.
      outputs: keys of the dictionary, in the order that the outputs have in the file.
      description: what the file says of itself.

    Raises:
      UserError: jax2onnx or onnxruntime is not installed, the function cannot be converted, or onnxruntime cannot load
        what it became.
    """
    try:
        import jax2onnx
        import onnx_ir
        import onnx_ir.passes.common as passes
        import onnxruntime
    except ImportError as error:
        raise UserError(
            "the format onnx needs jax2onnx and onnxruntime, in an environment of its own: "
            "pip install -r requirements-onnx.txt"
        ) from error

    def traced(images: jax.Array) -> tuple[jax.Array, ...]:
        with convertible():  # here, since jax2onnx replaces functions too
            found = function(images)
        return tuple(found[name] for name in outputs)

    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it warns of each array whose type it does not write
    images = jax.ShapeDtypeStruct(("b", *shape, 3), "uint8")
    names = {"input_names": [INPUT], "output_names": list(outputs)}
    with _refusal(), warnings.catch_warnings():
        # It makes float64 of Python's numbers, and JAX makes float32 of that.
        warnings.filterwarnings("ignore", "Explicitly requested dtype float64", UserWarning)
        model = jax2onnx.to_onnx(traced, [images], opset=OPSET, return_mode="ir", **names)
    model = passes.RemoveUnusedNodesPass()(model).model
    model.doc_string = description
    content = onnx_ir.to_proto(model).SerializeToString()
    with _refusal():
        onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content


@contextlib.contextmanager
def _refusal() -> Iterator[None]:
    """Makes one sentence of any error in the block, since each library has classes of its own."""
    try:
        yield
    except Exception as error:
        version, reason = metadata.version("jax2onnx"), first_line(error) or type(error).__name__
        raise UserError(
            f"jax2onnx {version} cannot convert this network ({reason}); want --format=stablehlo"
        ) from error
