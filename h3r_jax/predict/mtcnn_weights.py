"""The weights of MTCNN's three networks, from the files inside the package `mtcnn`.

The package itself is not imported, as it would load TensorFlow. Each of its files is a pickle of numpy arrays, packed
with LZ4, as joblib writes them: an array's numbers stand in the stream after its description. A pickle can run any code
when it is read; this reader makes descriptions of arrays, and refuses whatever else is named.
"""

import importlib.util
import io
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from h3r_jax.errors import UserError

FOLDER = Path("assets") / "weights"  # within the package


def read(name: str) -> list[np.ndarray]:
    """The arrays `float32[...]` of a network, in the order of its layers.

    Args:
      name: "pnet", "rnet" or "onet".

    Raises:
      UserError: the package or its file is not there; or the file is damaged, or holds more than arrays.
    """
    import lz4.frame

    package = importlib.util.find_spec("mtcnn")
    if package is None or not package.submodule_search_locations:
        raise UserError("the package mtcnn is not installed, whose files hold the weights of the face detector")
    path = Path(package.submodule_search_locations[0]) / FOLDER / f"{name}.lz4"
    remedy = "install mtcnn anew: pip install --force-reinstall --no-deps mtcnn"
    try:
        found = _Reader(io.BytesIO(lz4.frame.decompress(path.read_bytes()))).load()
        arrays = [each.array for each in found]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
    except Exception as error:  # a damaged file ends in any class
        raise UserError(f"{path} is damaged, or holds more than arrays ({error}); {remedy}") from error
    return arrays


class _Named:
    """Stands for what a pickle names, and does nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        pass


class _Array(_Named):
    """An array's description; its numbers follow in the stream, and are read with it."""

    stream: ClassVar[io.BytesIO]
    array: np.ndarray

    def __setstate__(self, state: Any) -> None:
        kind = state["dtype"].arguments[0]
        if kind != "f4" or state["order"] not in ("C", "F"):
            raise pickle.UnpicklingError(f"an array of {kind!r} in the order {state['order']!r}")
        if "numpy_array_alignment_bytes" in state:
            self.stream.read(self.stream.read(1)[0])
        size = int(np.prod(state["shape"], dtype=np.int64))
        numbers = np.frombuffer(self.stream.read(4 * size), "<f4")
        self.array = numbers.reshape(state["shape"], order=state["order"])


class _Reader(pickle._Unpickler):  # the one in Python: it reads no byte beyond what it needs
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        array = type("Array", (_Array,), {"stream": stream})
        self.known = {
            ("joblib.numpy_pickle", "NumpyArrayWrapper"): array,
            ("numpy", "ndarray"): _Named,
            ("numpy", "dtype"): _Named,
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return self.known[module, name]
