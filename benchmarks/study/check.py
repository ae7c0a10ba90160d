"""Whether the declared grid runs: two steps of every cell, with a small backbone in place of its own, on noise."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.study import decoders, grid, table, training
from benchmarks.study.grid import Cell
from h3r_jax import models
from h3r_jax.models.layers import BatchNorm, Conv3x3

NAME = "study_check"  # of the backbone, among the others for the time of the check


class Backbone(nn.Module):
    """Two convolutions: images `[B, H, W, 3]` to features `[B, H / 4, W / 4, 8]`."""

    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = Conv3x3(8, 2, **types, name="conv1")(images)
        x = nn.relu(BatchNorm(self.param_dtype, name="bn1")(x, train))
        return nn.relu(Conv3x3(8, 2, **types, name="conv2")(x))


def check(cells: Mapping[str, Cell]) -> None:
    """Trains and evaluates every cell for two steps, and makes its own network from shapes.

    Cells that differ by seed or length share a program, which runs once.
    """
    models.BACKBONES[NAME] = Backbone
    # Compiling is nearly all of the time. The flags are read when JAX starts, which it has not yet.
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    )
    began = time.perf_counter()
    done: set[Cell] = set()
    try:
        for cell in cells.values():
            parameters, multiply_adds = training.size_of(cell)
            small = dataclasses.replace(cell, model=NAME, seed=0, epochs=1.0, batch_size=2, held_out=False)
            if small in done:
                continue
            done.add(small)
            arrays = training.made_up(small)
            trained = training.train(small, arrays, most_steps=2)
            scores = decoders.evaluate(trained.network, training.logit_maps(trained, arrays.test.images), arrays.test)
            rows = table.rows_of(cell, grid.group_of(cell), scores, trained.cost)
            assert math.isfinite(rows[-1]["error_cells"]), cell.name
            numbers = f"{parameters / 1e6:.2f} M parameters, {multiply_adds / 1e9:.3f} G multiply-adds"
            print(f"{cell.name}: {len(rows)} decoders, {numbers}", flush=True)
    finally:
        del models.BACKBONES[NAME]
    seconds = time.perf_counter() - began
    print(f"{len(cells)} cells run, {len(done)} of them different programs; {seconds:.0f} s")
