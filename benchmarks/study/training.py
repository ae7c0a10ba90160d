"""One training of the grid, with the project's own parts, on arrays in memory."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import networks
from benchmarks.study import examples, grid
from benchmarks.study.grid import Cell
from h3r_jax import augment, losses
from h3r_jax.errors import UserError
from h3r_jax.inference import Network, make_network
from h3r_jax.training import sharding
from h3r_jax.training.recipe import Recipe
from h3r_jax.training.state import create_state, make_optimizer, make_schedule
from h3r_jax.training.step import jit_train_step

BATCH = 64  # crops that the network sees at once


class Run(NamedTuple):
    """What a training leaves.

    network: Network, with the decoder that belongs to the objective.
    variables: of the network, averaged if the cell asks for an average.
    cost: `{column: value}`, see `table`.
    """

    network: Network
    variables: Any
    cost: dict[str, Any]


def network_of(cell: Cell) -> Network:
    """The network of a cell, with the decoder that belongs to its objective."""
    network = make_network(cell.model, grid.SCHEMES[cell.dataset], input_size=cell.input_size, stride=cell.stride)
    return dataclasses.replace(network, **objective_of(cell).decoder(network.heatmap_shape)._asdict())


def objective_of(cell: Cell) -> losses.Objective:
    """The objective of a cell."""
    return losses.Objective(cell.loss, **{name: getattr(cell, name) for name in grid.OBJECTIVE})


def recipe_of(cell: Cell) -> Recipe:
    """The recipe of a cell.

    Its seed is always 0, so that the seeds of a cell share one compiled step. `train` gives each seed indices of its
    own in place of it, and the random changes follow those.
    """
    return Recipe(
        network_of(cell),
        objective=objective_of(cell),
        augmentation=augment.Augmentation(**{name: getattr(cell, name) for name in grid.AUGMENTATION}),
        average_decay=cell.average_decay,
    )


def size_of(cell: Cell) -> tuple[int, int]:
    """Parameters and multiply-adds of a cell's network."""
    return _size(network_of(cell).model, cell.input_size)


_size = functools.cache(networks.count)


@functools.lru_cache(maxsize=16)
def _compiled(cell: Cell, steps: int, warmup: int, shapes: tuple[tuple[str, Any], ...]) -> tuple[Any, Any]:
    """The optimiser of a cell of seed 0, and its compiled step for batches of `shapes`."""
    schedule = make_schedule(learning_rate=cell.learning_rate, warmup_steps=warmup, total_steps=steps)
    options = {"weight_decay": cell.weight_decay, "clip_norm": cell.clip_norm}
    optimizer = make_optimizer(schedule, name=cell.optimizer, **options)
    recipe, keep_average = recipe_of(cell), cell.average_decay > 0
    start = functools.partial(create_state, optimizer=optimizer, keep_average=keep_average)
    state = jax.eval_shape(start, recipe.network.shapes())
    batch = {name: jax.ShapeDtypeStruct(*form) for name, form in shapes}
    step: Any = jit_train_step(recipe, optimizer, sharding.make_mesh(jax.devices()[:1]))
    return optimizer, step.lower(state, batch).compile()


def train(cell: Cell, arrays: examples.Examples, *, most_steps: int = 0) -> Run:
    """Trains a cell on one device.

    Args:
      cell: of the grid.
      arrays: its examples.
      most_steps: the training ends after them; 0 for the whole training.

    Raises:
      UserError: the canvases are too small for the cell's augmentation; or a loss or gradient was not finite.
    """
    recipe = recipe_of(cell)
    network, count = recipe.network, len(arrays.canvases)
    needed, there = augment.canvas_shape(recipe.augmentation, network.shape), arrays.canvases.shape[1:3]
    if any(have < need for have, need in zip(there, needed)):
        raise UserError(
            f"{cell.name}: its augmentation needs canvases of {needed}, and the arrays have {there}; "
            "write them anew with python -m benchmarks.study.arrays"
        )
    steps, warmup = cell.steps(count), max(1, round(cell.warmup_epochs * count / cell.batch_size))
    batches = examples.order(cell.seed, count, cell.batch_size, most_steps or steps)

    def batch_of(chosen: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "image": arrays.canvases[chosen],
            "matrix": arrays.matrices[chosen],
            "edges": arrays.edges[chosen],
            "landmarks": arrays.landmarks[chosen],
            "weight": arrays.weight[chosen],
            "index": (chosen + cell.seed * count).astype(np.int32),
        }

    shapes = tuple((name, (array.shape, array.dtype)) for name, array in batch_of(batches[0]).items())
    optimizer, step = _compiled(dataclasses.replace(cell, seed=0), steps, warmup, shapes)
    mesh = sharding.make_mesh(jax.devices()[:1])
    state = create_state(network.initialize(cell.seed), optimizer, keep_average=cell.average_decay > 0)
    state = jax.device_put(state, sharding.replicated(mesh))
    began = time.perf_counter()
    for chosen in batches:
        state, metrics = step(state, sharding.to_devices(batch_of(chosen), mesh))
    jax.block_until_ready(state)
    seconds = time.perf_counter() - began
    if bool(state.halted):
        raise UserError(f"{cell.name}: the loss or its gradient was not finite at step {int(state.step) + 1}")
    parameters, multiply_adds = size_of(cell)
    cost = {
        "steps": int(state.step),
        "seconds": seconds,
        "last_loss": float(metrics["loss"]),
        "parameters": parameters,
        "multiply_adds": multiply_adds,
        "device": jax.devices()[0].device_kind,
    }
    return Run(network, state.to_evaluate(True), cost)


def logit_maps(run: Run, images: np.ndarray) -> np.ndarray:
    """The network's maps `float32[M, h, w, K]` of crops `uint8[M, H, W, 3]`."""
    predict = _predict(run.network)
    return in_batches(lambda chunk: predict(run.variables, chunk), images)


@functools.lru_cache(maxsize=4)
def _predict(network: Network) -> Callable[[Any, Any], jax.Array]:
    return jax.jit(network.logit_maps)


def in_batches(function: Callable[[np.ndarray], Any], array: np.ndarray) -> Any:
    """`function` of `array [M, ...]`, `BATCH` rows at a time, as numpy arrays."""
    padding = [(0, -len(array) % min(BATCH, len(array)))] + [(0, 0)] * (array.ndim - 1)
    padded, size = np.pad(array, padding, mode="edge"), min(BATCH, len(array))
    parts = [jax.tree.map(np.asarray, function(padded[n : n + size])) for n in range(0, len(padded), size)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(array)], *parts)


def made_up(cell: Cell, count: int = 2) -> examples.Examples:
    """Examples of noise in the form of a cell's, for `--check` and tests."""
    rng, recipe = np.random.default_rng(0), recipe_of(cell)
    shape, landmarks = recipe.network.shape, recipe.network.scheme.num_landmarks
    canvas = augment.canvas_shape(recipe.augmentation, shape)

    def draw(sides: tuple[int, int]) -> Mapping[str, np.ndarray]:
        places = rng.uniform(0.3, 0.7, (count, landmarks, 2)) * sides[::-1]
        images = rng.integers(0, 256, (count, *sides, 3), dtype=np.uint8)
        return {"images": images, "landmarks": places, "weight": np.ones((count, landmarks), np.float32)}

    train, test = draw(canvas), draw(shape)
    crops = examples.Crops(**test, unit=np.full(count, 50.0))
    places = augment.central_crops(count, shape, canvas)
    return examples.Examples(
        train["images"],
        places["matrix"],
        places["edges"],
        train["landmarks"].astype(np.float32),
        train["weight"],
        crops,
    )
