"""The examples of a data set at one input size, as the arrays that `benchmarks.study.arrays` writes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np

from h3r_jax.errors import UserError

HELD_OUT = 0.15  # of the training people's frames


@dataclasses.dataclass(frozen=True)
class Crops:
    """Examples to evaluate.

    images: `uint8[M, H, W, 3]`, what the network sees.
    landmarks: `float64[M, K, 2]`, pixels of the crop.
    weight: `float32[M, K]`.
    unit: `float64[M]`, what the error of an example is divided by, pixels of the crop.
    """

    images: np.ndarray
    landmarks: np.ndarray
    weight: np.ndarray
    unit: np.ndarray

    def where(self, chosen: np.ndarray) -> Self:
        """Those that `bool[M]` chooses."""
        return type(self)(**{name: array[chosen] for name, array in vars(self).items()})


@dataclasses.dataclass(frozen=True)
class Examples:
    """Examples to train on, and to evaluate.

    canvases: `uint8[N, H', W', 3]`.
    matrices, edges: `float32[N, 2, 3]` and `float32[N, 4]`, see `h3r_jax.augment.augment_example`.
    landmarks: `float32[N, K, 2]`, pixels of the canvas.
    weight: `float32[N, K]`.
    test: Crops.
    """

    canvases: np.ndarray
    matrices: np.ndarray
    edges: np.ndarray
    landmarks: np.ndarray
    weight: np.ndarray
    test: Crops


TRAIN = ("canvases", "matrices", "edges", "landmarks", "weight")
CROPS = tuple(field.name for field in dataclasses.fields(Crops))


def names(dataset: str) -> set[str]:
    """The arrays of a file: those of Examples and Crops; for faces also the people, and all training frames as crops.

    `person` is `str[N]`. `train_images` and its like are as those of Crops, in the order of the canvases.
    """
    found = {*TRAIN, *(f"test_{name}" for name in CROPS)}
    return found | {"person", *(f"train_{name}" for name in CROPS)} if dataset == "ytfaces68" else found


def held_out(person: np.ndarray) -> np.ndarray:
    """Which frames are kept out of a training, `bool[N]`: all those of some people, at least `HELD_OUT` of the frames.

    The people are taken in the order of the hashes of their names. So the choice depends on the names alone.

    Args:
      person: `str[N]`, who is seen in each frame.
    """
    people, frames = np.unique(person, return_counts=True)
    order = np.argsort([hashlib.sha256(str(name).encode()).hexdigest() for name in people], kind="stable")
    before = np.cumsum(frames[order]) - frames[order]
    return np.isin(person, people[order][before < HELD_OUT * len(person)])


def _file(folder: str, dataset: str, input_size: int) -> tuple[Path, str]:
    """The path, and how to write it."""
    path = Path(folder).expanduser() / f"{dataset}-{input_size}.npz"
    return path, f"write it with python -m benchmarks.study.arrays --out={folder} --only {path.stem}"


def check_there(folder: str, files: Iterable[tuple[str, int]]) -> None:
    """UserError if `folder` lacks one of the files, which are pairs of a data set and an input size."""
    for dataset, input_size in sorted(files):
        path, remedy = _file(folder, dataset, input_size)
        if not path.exists():
            raise UserError(f"{path} is not there; {remedy}")


@functools.lru_cache(maxsize=1)
def load(folder: str, dataset: str, input_size: int, part_held_out: bool = False) -> Examples:
    """The examples of a file in `folder`, all in memory.

    Args:
      part_held_out: whether the people of `held_out` are evaluated in place of the test split, and not trained on.

    Raises:
      UserError: the file is missing, damaged, or of another form; names it and the command that writes it.
    """
    path, remedy = _file(folder, dataset, input_size)
    check_there(folder, {(dataset, input_size)})
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if set(file.files) != names(dataset):
                raise UserError(f"{path} has the arrays {', '.join(sorted(file.files))}; {remedy}")
            wanted = file.files if part_held_out else [name for name in file.files if not name.startswith("train_")]
            arrays = {name: file[name] for name in wanted}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged ({error}); {remedy}") from error
    prefix, train = "test", {name: arrays[name] for name in TRAIN}
    if part_held_out:
        if "person" not in arrays:
            raise UserError(f"{path} does not say who is seen, so nobody can be held out; want ytfaces68")
        out = held_out(arrays["person"])
        prefix, train = "train", {name: array[~out] for name, array in train.items()}
    test = Crops(**{name: arrays[f"{prefix}_{name}"] for name in CROPS})
    return Examples(**train, test=test.where(out) if part_held_out else test)


def order(seed: int, count: int, batch_size: int, steps: int) -> np.ndarray:
    """The examples of each batch, `int64[steps, batch_size]`: a permutation for each epoch, drawn from (seed, epoch).

    It is the order of `data.pipeline`.
    """
    epochs = -(-steps * batch_size // count)
    parts = [np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(count) for epoch in range(epochs)]
    return np.concatenate(parts)[: steps * batch_size].reshape(steps, batch_size)
