"""The parts that run ours. Each returns its rows."""

from __future__ import annotations

import collections
import functools
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from benchmarks.accelerator import Row, milliseconds
from benchmarks.objectives import loss_programs
from h3r_jax import augment, codec, geometry, models
from h3r_jax.codec import top_k
from h3r_jax.inference import make_network
from h3r_jax.training import sharding, step
from h3r_jax.training.recipe import Recipe
from h3r_jax.training.state import create_state, make_optimizer

LANDMARKS, K = 98, 9
AUGMENTATION = augment.Augmentation(
    rotation=30.0, scale=0.25, shift=0.05, mirror=0.5, color=0.3, blur=1.0, occlusion=0.3
)
STEPS = 4  # of each run that is repeated


def timed(function: Callable[..., Any], *arguments: Any) -> float:
    """Milliseconds of a call of `function`, jitted."""
    compiled = jax.jit(function).lower(*arguments).compile()
    return milliseconds(lambda: compiled(*arguments), jax.block_until_ready)


def floors() -> list[Row]:
    """What no program beats: copies of memory, and products of large matrices."""
    on_cpu = jax.default_backend() == "cpu"
    values = jnp.ones(2**22 if on_cpu else 2**28, jnp.float32)
    side = 512 if on_cpu else 8192
    matrix = jax.random.normal(jax.random.key(0), (side, side), jnp.bfloat16)
    copy, product = timed(lambda x: x + 1, values), timed(lambda x: x @ x, matrix)
    return [
        {"name": "copy", "ms": copy, "TB/s": 2 * values.nbytes / copy / 1e9},
        {"name": "product in bfloat16", "ms": product, "TFLOP/s": 2 * side**3 / product / 1e9},
    ]


def decode(batch: int = 64, cells: int = 64) -> list[Row]:
    """The search for the strongest cells, in all forms, and whole decoders."""
    rows = []
    for dtype in ("float32", "bfloat16"):
        maps = jax.random.normal(jax.random.key(0), (batch, cells * cells, LANDMARKS), dtype)
        first = jnp.swapaxes(maps, 1, 2).copy()
        grid = maps.reshape(batch, cells, cells, LANDMARKS)
        calls: dict[str, tuple[Callable[[jax.Array], Any], jax.Array]] = {
            "search": (lambda m: top_k.top_k(m, K), maps),
            "search by XLA's kernel": (lambda m: top_k._by_kernel(m, K), maps),
            "search in passes": (lambda m: top_k._in_passes(m, K), maps),
            "search by blocks": (lambda m: top_k._on_cpu(m, K), maps),
            "lax.top_k, channels-first": (lambda m: lax.top_k(m, K), first),
            "reading once": (lambda m: m.max(1), maps),
            "decode": (lambda m: codec.decode(m, k=K), grid),
            "decode with statistics": (lambda m: codec.decode_with_statistics(m, k=K), grid),
            "decode, neighbours": (lambda m: codec.decode(m, k=K, selection="neighbours"), grid),
            "DARK": (codec.CODECS["dark"].decode, grid),
        }
        for name, (function, values) in calls.items():
            rows.append({"name": f"{name}, {dtype}", "ms": timed(function, values), "bytes": maps.nbytes})
    return rows


def losses(batch: int = 64, cells: int = 64) -> list[Row]:
    """The objectives with their gradients. At the least they read the logits twice and write the gradient."""
    maps = jax.random.normal(jax.random.key(0), (batch, cells, cells, LANDMARKS))
    programs, coordinates = loss_programs(maps)
    return [
        {
            "name": name,
            "ms": milliseconds(functools.partial(program, maps, coordinates), jax.block_until_ready),
            "bytes": 3 * maps.nbytes,
            "temporary bytes": program.memory_analysis().temp_size_in_bytes,
        }
        for name, program in programs.items()
    ]


def recipe_of(model: str, size: int) -> Recipe:
    """A recipe of WFLW's kind in bfloat16."""
    network = make_network(model, "wflw98", input_size=size, dtype="bfloat16")
    return Recipe(network, augmentation=AUGMENTATION)


def batch_of(recipe: Recipe, count: int) -> dict[str, jax.Array]:
    """A batch of noise."""
    generator = np.random.default_rng(0)
    canvas = augment.canvas_shape(recipe.augmentation, recipe.network.shape)
    batch = {
        "image": generator.integers(0, 256, (count, *canvas, 3), np.uint8),
        **augment.central_crops(count, recipe.network.shape, canvas),
        "landmarks": generator.uniform(0.3, 0.7, (count, LANDMARKS, 2)).astype(np.float32) * canvas[0],
        "weight": np.ones((count, LANDMARKS), np.float32),
        "index": np.arange(count, dtype=np.int32),
    }
    return sharding.to_devices(batch, sharding.make_mesh(jax.devices()[:1]))


def augmentation(batch: int = 64, size: int = 256) -> list[Row]:
    """The augmentation of a batch, and of it the warp alone."""
    recipe = recipe_of("mobilenet_v2", size)
    examples = batch_of(recipe, batch)
    turn = jnp.tile(jnp.asarray([[0.6, 0.3, 20.0], [-0.3, 0.6, 90.0]]), (batch, 1, 1))
    warp = jax.vmap(lambda image, matrix: geometry.warp_image(image, matrix, recipe.network.shape))
    moved = examples["image"].nbytes + 12 * batch * size * size
    return [
        {"name": "whole", "ms": timed(lambda b: step.augment_batch(b, 0, recipe), examples), "bytes": moved},
        {"name": "warp", "ms": timed(warp, examples["image"], turn), "bytes": moved},
    ]


def network(model: str, size: int, batch: int) -> list[Row]:
    """Inference without and with the decoder, and forward and backward with an update by SGD."""
    recipe = recipe_of(model, size)
    ours = recipe.network
    variables = ours.initialize(0)
    images = jax.random.randint(jax.random.key(0), (batch, size, size, 3), 0, 256, jnp.uint8)
    landmarks = jax.random.uniform(jax.random.key(1), (batch, LANDMARKS, 2), maxval=size - 8.0)
    optimizer = optax.sgd(0.01, 0.9)

    def train(params: Any, statistics: Any, state: Any, images: jax.Array) -> Any:
        points = step.target_points(landmarks, jnp.arange(batch), 0, recipe)

        def loss(params: Any) -> Any:
            inputs, held = models.normalize_images(images), {"params": params, "batch_stats": statistics}
            maps, changed = ours.model.apply(held, inputs, train=True, mutable=["batch_stats"])
            return recipe.objective.values(maps, points, landmarks, stride=ours.stride).mean(), changed["batch_stats"]

        (value, changed), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), changed, state, value

    rows = []
    carry = [variables["params"], variables["batch_stats"], optimizer.init(variables["params"])]
    start = time.perf_counter()
    infer = jax.jit(ours.logit_maps).lower(variables, images).compile()
    compiled = time.perf_counter() - start
    ms = milliseconds(lambda: infer(variables, images), jax.block_until_ready)
    rows.append({"name": "inference", "ms": ms, "images": batch, "compile s": compiled})
    ms = timed(ours.decode, variables, images)
    rows.append({"name": "inference with decoder", "ms": ms, "images": batch})
    start = time.perf_counter()
    program = jax.jit(train, donate_argnums=(0, 1, 2)).lower(*carry, images).compile()
    compiled = time.perf_counter() - start

    def one() -> jax.Array:
        *carry[:], value = program(*carry, images)
        return value

    row = {"name": "training", "ms": milliseconds(one, jax.block_until_ready), "images": batch, "compile s": compiled}
    text = program.as_text()
    kinds = {kind: text.count(f" {kind}(") for kind in ("fusion", "sort", "gather", "transpose", "convert", "pad")}
    memory = program.memory_analysis().temp_size_in_bytes
    return [*rows, row | {"temporary bytes": memory, "cudnn": text.count("__cudnn$conv"), **kinds}]


def _whole_step(model: str, size: int, batch: int) -> tuple[Any, Callable[[], Any], dict[str, jax.Array]]:
    """The compiled step of train.py, what makes a fresh state for it, and a batch."""
    recipe, optimizer = recipe_of(model, size), make_optimizer(1e-3, name="muon", weight_decay=1e-4, clip_norm=10.0)
    mesh = sharding.make_mesh(jax.devices()[:1])

    def fresh() -> Any:
        state = create_state(recipe.network.initialize(0), optimizer, keep_average=True)
        return jax.device_put(state, sharding.replicated(mesh))

    examples = batch_of(recipe, batch)
    run: Any = step.jit_train_step(recipe, optimizer, mesh)
    return run.lower(fresh(), examples).compile(), fresh, examples


def whole(model: str, size: int, batch: int) -> list[Row]:
    """The step of train.py with augmentation and optimiser, and its kernels on a GPU by name."""
    program, fresh, examples = _whole_step(model, size, batch)
    carry = [fresh()]

    def one() -> jax.Array:
        carry[0], metrics = program(carry[0], examples)
        return metrics["loss"]

    rows: list[Row] = [{"name": "step", "ms": milliseconds(one, jax.block_until_ready), "images": batch}]
    total: collections.Counter[str] = collections.Counter()
    count: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(3):
                value = one()
            jax.block_until_ready(value)
        for file in Path(folder).rglob("*.xplane.pb"):
            for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
                for line in plane.lines if "GPU" in plane.name or "TPU" in plane.name else ():
                    for event in line.events if "Stream" in line.name or "XLA Ops" in line.name else ():
                        kind = event.name.rstrip("0123456789_.")
                        total[kind] += event.duration_ns / 3e6
                        count[kind] += 1
    rows += [{"name": f"kernel {kind[:60]}", "ms": ms, "calls": count[kind] / 3} for kind, ms in total.most_common(30)]
    return rows


def repeated(model: str, size: int, batch: int) -> list[Row]:
    """Whether three runs of four steps leave the same bits."""
    program, fresh, examples = _whole_step(model, size, batch)
    digests = []
    for _ in range(3):
        state = fresh()
        for _ in range(STEPS):
            state, _metrics = program(state, examples)
        leaves = jax.tree.leaves(jax.device_get(state))
        digests.append(hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest()[:16])
    return [{"name": "runs", "equal": len(set(digests)) == 1, "digests": digests}]
