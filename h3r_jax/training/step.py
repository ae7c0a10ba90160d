"""The training step: a pure function that runs on the devices."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from h3r_jax import augment, codec, losses, models
from h3r_jax.training import sharding
from h3r_jax.training.recipe import Recipe
from h3r_jax.training.state import TrainState, update_average

Batch = dict[str, jax.Array]


def augment_batch(batch: Batch, step: jax.typing.ArrayLike, recipe: Recipe) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The augmented examples of a batch at a step. The random changes depend on (seed, step, example index) alone.

    Args:
      batch: {"image" `uint8[B, H', W', 3]` canvases, "matrix" `[B, 2, 3]` from canvas pixels to input pixels, "edges"
        `[B, 4]` of the original images, canvas pixels (`augment.augment_example`), "landmarks" `[B, K, 2]` canvas
        pixels, "weight" `[B, K]`, "index" `int32[B]`}.
      step: `int32[]`.
      recipe: Recipe.

    Returns:
      images `float32[B, H, W, 3]` (0 to 255), landmarks `float32[B, K, 2]` (input pixels), weight `[B, K]`.
    """
    keys = _example_keys(batch["index"], step, recipe, stream=0)

    one = functools.partial(
        augment.augment_example,
        augmentation=recipe.augmentation,
        shape=recipe.network.shape,
        mirror_order=recipe.network.scheme.mirror,
    )
    return jax.vmap(one)(keys, *(batch[name] for name in ("image", "matrix", "edges", "landmarks", "weight")))


def _example_keys(index: jax.Array, step: jax.typing.ArrayLike, recipe: Recipe, stream: int) -> jax.Array:
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(recipe.seed), stream), step)
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


def target_points(
    landmarks: jax.Array, index: jax.Array, step: jax.typing.ArrayLike, recipe: Recipe
) -> codec.ActivationPoints:
    """The activation points `[B, K, P, 2]` that the loss aims at, for landmarks `[B, K, 2]` in input pixels."""
    place: dict[str, Any] = {"heatmap_shape": recipe.network.heatmap_shape, "stride": recipe.network.stride}
    keys = _example_keys(index, step, recipe, stream=1)
    return jax.vmap(lambda key, x: recipe.objective.points(key, x, **place))(keys, landmarks)


def _loss_and_gradient(variables: dict, batch: Batch, step: jax.Array, recipe: Recipe) -> tuple[Any, ...]:
    """Loss, gradient, new batch statistics and weight (of all landmarks that count) of a batch or micro-batch."""
    images, landmarks, weight = augment_batch(batch, step, recipe)
    points = target_points(landmarks, batch["index"], step, recipe)
    weights = losses.landmark_weights(points, weight)
    network = recipe.network

    def objective(params: Any) -> tuple[jax.Array, Any]:
        inputs = models.normalize_images(images)
        outputs, updates = network.model.apply(
            {**variables, "params": params}, inputs, train=True, mutable=["batch_stats"]
        )
        maps = network.map_of_outputs(outputs)
        values = recipe.objective.values(maps, points, landmarks, stride=network.stride)
        return losses.weighted_mean(values, weights), updates["batch_stats"]

    (loss, batch_stats), gradient = jax.value_and_grad(objective, has_aux=True)(variables["params"])
    return loss, gradient, batch_stats, jnp.sum(weights), jnp.mean(weights > 0)


def _accumulated(variables: dict, batch: Batch, step: jax.Array, recipe: Recipe) -> tuple[Any, ...]:
    """As `_loss_and_gradient`, from `recipe.accumulation` micro-batches one after the other.

    The same function of the parameters as the whole batch, except for batch normalisation: each micro-batch is
    normalised by its own statistics, and each updates the running ones in turn.
    """
    count = recipe.accumulation
    # Micro-batch m holds the examples m, m + count, ...: every device splits its own share, and nothing is moved.
    parts = jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, count, *x.shape[1:]), 0, 1), batch)

    def add(carry: Any, part: Batch) -> Any:
        batch_stats, sums, total = carry
        loss, gradient, batch_stats, weight, counted = _loss_and_gradient(
            {**variables, "batch_stats": batch_stats}, part, step, recipe
        )
        # The mean over the batch, from means over its parts: each by the weight of its landmarks.
        sums = jax.tree.map(lambda s, x: s + weight.astype(x.dtype) * x, sums, (loss, gradient))
        return (batch_stats, sums, total + weight), counted

    part_shapes = jax.eval_shape(
        lambda: _loss_and_gradient(variables, jax.tree.map(lambda x: x[0], parts), step, recipe)
    )
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), part_shapes[:2])
    start = (variables["batch_stats"], zeros, jnp.zeros_like(part_shapes[3]))
    (batch_stats, sums, total), counted = jax.lax.scan(add, start, parts)
    loss, gradient = jax.tree.map(lambda s: s / jnp.maximum(total, math.ulp(1.0)).astype(s.dtype), sums)
    return loss, gradient, batch_stats, total, jnp.mean(counted)


def train_step(
    state: TrainState, batch: Batch, *, recipe: Recipe, optimizer: optax.GradientTransformation
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One optimiser step on one global batch.

    A step whose loss or gradient is not finite changes nothing; see `Recipe.nonfinite`.

    Args:
      state: TrainState.
      batch: see `augment_batch`.
      recipe: Recipe.
      optimizer: optax GradientTransformation.

    Returns:
      The next TrainState, and float metrics: loss (nats per counted landmark), grad_norm,
      counted (the share of landmarks with a weight), skipped (1 if the step changed nothing).
    """
    compute = _loss_and_gradient if recipe.accumulation == 1 else _accumulated
    loss, gradient, batch_stats, _, counted = compute(state.variables, batch, state.step, recipe)
    grad_norm = optax.tree.norm(gradient)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.variables["params"])
    params = optax.apply_updates(state.variables["params"], updates)
    variables = {"params": params, "batch_stats": batch_stats}
    average = state.average
    if average is not None:
        average = update_average(average, variables, state.step, recipe.average_decay)
    after = state.replace(step=state.step + 1, variables=variables, opt_state=opt_state, average=average)

    applied = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    if recipe.nonfinite == "stop":
        applied &= ~state.halted
        kept = state.replace(halted=jnp.ones((), bool))
    else:
        kept = state.replace(step=state.step + 1)
    after = jax.tree.map(lambda new, old: jnp.where(applied, new, old), after, kept)
    metrics = {"loss": loss, "grad_norm": grad_norm, "counted": counted, "skipped": ~applied}
    kind = jnp.promote_types(loss.dtype, jnp.float32)
    return after, {name: jnp.asarray(value, kind) for name, value in metrics.items()}


def jit_train_step(
    recipe: Recipe, optimizer: optax.GradientTransformation, mesh: Mesh
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """`train_step`, jitted over a mesh. It takes over the memory of the state: do not use that state again."""
    whole, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    return jax.jit(
        lambda state, batch: train_step(state, batch, recipe=recipe, optimizer=optimizer),
        in_shardings=(whole, split),
        out_shardings=(whole, whole),
        donate_argnums=0,
    )
