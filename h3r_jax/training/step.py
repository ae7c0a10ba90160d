"""The two pure functions that run on the devices: one training step, one evaluation step."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from h3r_jax import augment, codec, geometry, losses, models
from h3r_jax.errors import UserError
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.training import nonfinite, sharding
from h3r_jax.training.state import update_average

TARGETS = ("sampled", "expected")
FLIPS = ("", "coordinates", "heatmaps")
ACTIVATION_OF_LOSS = {
    "spatial_cross_entropy": "softmax",
    "binary_cross_entropy": "sigmoid",
}  # with which decoding is exact
CONFIDENCE_CELLS = 9  # whose share of the probability is the confidence
LOGITS = {  # of head "binary", from outputs [B, h, w, 2K] with the off maps first
    "difference": codec.binary_logits,
    "on": lambda outputs: outputs[..., outputs.shape[-1] // 2 :],  # what the released H3R networks are decoded from
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a step needs and training does not change. Hashable, so that it can be closed over by `jit`.

    model: Flax module from normalised images to head outputs.
    head: name in `models.HEADS`.
    logits: how the two channels of head "binary" become one logit map, see `LOGITS`.
    shape: `(H, W)` of the network's input, pixels.
    stride: input pixels per heatmap cell.
    scheme: LandmarkScheme.
    loss: name in `losses.LOSSES`.
    target: "sampled", one activation point drawn each step (the paper), or "expected", all of them by weight.
    augmentation: ranges of the random changes.
    average_decay: of the moving average of variables; 0 for none.
    seed: of every random choice in the step.
    accumulation: micro-batches whose gradients make one step.
    nonfinite: what a step does whose loss or gradient is not finite: "stop", keep the state before it from then on, or
      "skip", leave that step out.
    activation: of the decoder, see `codec.decode`; empty for the one that belongs to the loss.
    """

    model: Any
    head: str
    logits: str
    shape: tuple[int, int]
    stride: int
    scheme: LandmarkScheme
    loss: str
    target: str
    augmentation: augment.Augmentation
    average_decay: float
    seed: int
    accumulation: int = 1
    nonfinite: str = "stop"
    activation: str = ""

    def __post_init__(self):
        choices = {"loss": losses.LOSSES, "target": TARGETS, "logits": LOGITS, "nonfinite": nonfinite.POLICIES}
        for name, known in choices.items():
            value = getattr(self, name)
            if value not in known:
                raise UserError(f"unknown {name} {value!r}; known are {', '.join(known)}")
        if any(size % self.stride for size in self.shape):
            raise UserError(f"input of {self.shape} pixels is not a multiple of stride {self.stride}")
        if not self.activation:
            object.__setattr__(self, "activation", ACTIVATION_OF_LOSS[self.loss])
        elif self.activation not in codec.ACTIVATIONS:
            raise UserError(
                f"unknown eval.activation {self.activation!r}; known are '', {', '.join(codec.ACTIVATIONS)}"
            )

    @property
    def heatmap_shape(self):
        return tuple(size // self.stride for size in self.shape)


def augment_batch(batch, step, recipe):
    """The training examples of a batch at a step; each depends on (seed, step, example index) alone.

    Args:
      batch: {"image" `uint8[B, H', W', 3]` canvases, "landmarks" `[B, K, 2]` canvas pixels,
        "weight" `[B, K]`, "index" `int32[B]`}, and "readable" `bool[B]` where images may be missing.
      step: `int32[]`.
      recipe: Recipe.

    Returns:
      images `float32[B, H, W, 3]` (0 to 255), landmarks `float32[B, K, 2]` (input pixels), weight `[B, K]`.
    """
    keys = _example_keys(batch["index"], step, recipe, stream=0)

    def one(key, canvas, landmarks, weight):
        return augment.augment(
            key,
            canvas,
            landmarks,
            weight,
            augmentation=recipe.augmentation,
            shape=recipe.shape,
            mirror_order=recipe.scheme.mirror,
        )

    return jax.vmap(one)(keys, batch["image"], batch["landmarks"], batch["weight"])


def _example_keys(index, step, recipe, stream):
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(recipe.seed), stream), step)
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


def target_points(landmarks, index, step, recipe):
    """Activation points `[B, K, P, 2]` that the loss aims at, for landmarks `[B, K, 2]` in input pixels."""
    arguments = {"heatmap_shape": recipe.heatmap_shape, "stride": recipe.stride}
    if recipe.target == "expected":
        return codec.activation_points(landmarks, **arguments)
    keys = _example_keys(index, step, recipe, stream=1)
    return jax.vmap(lambda key, x: codec.randomized_rounding(key, x, **arguments))(keys, landmarks)


def landmark_logits(outputs, recipe):
    """One logit map per landmark, `[B, h, w, K]`, of head outputs."""
    return LOGITS[recipe.logits](outputs) if recipe.head == "binary" else outputs


def _loss_and_gradient(variables, batch, step, recipe):
    """Loss, gradient, new batch statistics and weight (of all landmarks that count) of a batch or micro-batch."""
    images, landmarks, weight = augment_batch(batch, step, recipe)
    points = target_points(landmarks, batch["index"], step, recipe)
    weights = losses.landmark_weights(points, weight)
    if "readable" in batch:
        weights = jnp.where(batch["readable"][:, None], weights, 0)

    def objective(params):
        inputs = models.normalize_images(images)
        outputs, updates = recipe.model.apply(
            {**variables, "params": params}, inputs, train=True, mutable=["batch_stats"]
        )
        values = losses.LOSSES[recipe.loss](landmark_logits(outputs, recipe), points)
        return losses.weighted_mean(values, weights), updates["batch_stats"]

    (loss, batch_stats), gradient = jax.value_and_grad(objective, has_aux=True)(variables["params"])
    return loss, gradient, batch_stats, jnp.sum(weights), jnp.mean(weights > 0)


def _accumulated(variables, batch, step, recipe):
    """As `_loss_and_gradient`, from `recipe.accumulation` micro-batches one after the other.

    The same function of the parameters as the whole batch, except for batch normalisation: each micro-batch is
    normalised by its own statistics, and each updates the running ones in turn.
    """
    count = recipe.accumulation
    # Micro-batch m holds the examples m, m + count, ...: every device splits its own share, and nothing is moved.
    parts = jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, count, *x.shape[1:]), 0, 1), batch)

    def add(carry, part):
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


def train_step(state, batch, *, recipe, optimizer):
    """One optimiser step on one global batch.

    A loss or gradient that is not finite changes nothing; see `Recipe.nonfinite`.

    Args:
      state: TrainState.
      batch: see `augment_batch`; an example that is not "readable" has no weight in the loss.
      recipe: Recipe.
      optimizer: optax GradientTransformation.

    Returns:
      The next TrainState, and float metrics: loss (nats per counted landmark), grad_norm,
      counted (landmarks with weight, of all), skipped (1 if the state was kept), unreadable (examples).
    """
    compute = _loss_and_gradient if recipe.accumulation == 1 else _accumulated
    loss, gradient, batch_stats, _, counted = compute(state.variables, batch, state.step, recipe)
    grad_norm = optax.tree.norm(gradient)
    updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.variables["params"])
    params = optax.apply_updates(state.variables["params"], updates)
    variables = {"params": params, "batch_stats": batch_stats}
    average = state.average
    if average is not None:
        average = update_average(average, variables, state.step, recipe.average_decay)
    after = state.replace(step=state.step + 1, variables=variables, optimizer=optimizer_state, average=average)

    applied = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    if recipe.nonfinite == "stop":
        applied &= ~state.halted
        kept = state.replace(halted=jnp.ones((), bool))
    else:
        kept = state.replace(step=state.step + 1)
    after = jax.tree.map(lambda new, old: jnp.where(applied, new, old), after, kept)
    unreadable = jnp.sum(~batch["readable"]) if "readable" in batch else 0
    metrics = {"loss": loss, "grad_norm": grad_norm, "counted": counted, "skipped": ~applied, "unreadable": unreadable}
    metrics = {name: jnp.asarray(value, jnp.promote_types(loss.dtype, jnp.float32)) for name, value in metrics.items()}
    return after, metrics


def predict_logits(variables, images, *, recipe):
    """Logit maps `float32[B, h, w, K]` of images `[B, H, W, 3]` (0 to 255), with running statistics."""
    outputs = recipe.model.apply(variables, models.normalize_images(images), train=False)
    return landmark_logits(outputs, recipe)


def mirror_average(logits, mirrored, recipe):
    """Logit maps of the mean of the probabilities that `logits` and those of the mirrored image `[B, h, w, K]` say.

    Maps that are decoded as they are ("identity") are averaged as they are.
    """
    if recipe.activation == "identity":
        return (logits + geometry.mirror_heatmaps(mirrored, recipe.stride, recipe.scheme.mirror)) / 2
    if recipe.activation == "softmax":
        maps, back = (jax.nn.softmax(x, axis=(1, 2)) for x in (logits, mirrored))
        return jnp.log((maps + geometry.mirror_heatmaps(back, recipe.stride, recipe.scheme.mirror)) / 2)
    maps, back = jax.nn.sigmoid(logits), jax.nn.sigmoid(mirrored)
    return jax.scipy.special.logit((maps + geometry.mirror_heatmaps(back, recipe.stride, recipe.scheme.mirror)) / 2)


def eval_step(variables, images, *, recipe, decoders, flip):
    """Landmarks of a batch of crops, by each decoder, from one run of the network.

    Args:
      variables: {"params", "batch_stats"}.
      images: `uint8[B, H, W, 3]`, crops of the network's input size.
      recipe: Recipe.
      decoders: name -> function from logit maps `[B, h, w, K]` to `[B, K, 2]` in input pixels.
      flip: what to average with the mirrored image: "" for nothing, "coordinates", or "heatmaps" of probabilities.

    Returns:
      name -> `float32[B, K, 2]`, input pixels; and the confidence `float32[B, K]` of `codec.decode_with_statistics`
      in the maps that are decoded, with "coordinates" the mean of both.

    Raises:
      ValueError: unknown flip.
    """
    if flip not in FLIPS:
        raise UserError(f"unknown eval.flip {flip!r}; known are {', '.join(map(repr, FLIPS))}")

    def confidence(logits):
        k = min(CONFIDENCE_CELLS, math.prod(recipe.heatmap_shape))
        return codec.decode_with_statistics(logits, k=k, stride=recipe.stride, activation=recipe.activation).confidence

    logits = predict_logits(variables, images, recipe=recipe)
    if not flip:
        return {name: decode(logits) for name, decode in decoders.items()}, confidence(logits)
    mirrored = predict_logits(variables, images[:, :, ::-1], recipe=recipe)
    if flip == "heatmaps":
        logits = mirror_average(logits, mirrored, recipe)
        return {name: decode(logits) for name, decode in decoders.items()}, confidence(logits)
    width, order = recipe.shape[1], np.asarray(recipe.scheme.mirror)
    result = {
        name: (decode(logits) + geometry.mirror_landmarks(decode(mirrored), width, order)) / 2
        for name, decode in decoders.items()
    }
    return result, (confidence(logits) + confidence(mirrored)[:, order]) / 2


def jit_train_step(recipe, optimizer, mesh):
    """`train_step` compiled over a mesh; the state is donated."""
    whole, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    return jax.jit(
        lambda state, batch: train_step(state, batch, recipe=recipe, optimizer=optimizer),
        in_shardings=(whole, split),
        out_shardings=(whole, whole),
        donate_argnums=0,
    )


def jit_eval_step(recipe, mesh, *, decoders, flip):
    """`eval_step` compiled over a mesh; results are whole on every device, so that each host reads all of them."""
    whole, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    return jax.jit(
        lambda variables, images: eval_step(variables, images, recipe=recipe, decoders=decoders, flip=flip),
        in_shardings=(whole, split),
        out_shardings=whole,
    )


def check_eval_step(jitted, variables, recipe, batch_size):
    """Traces what `jit_eval_step` returned for a global batch, without compiling it; ValueError for what it refuses."""
    jitted.eval_shape(variables, jax.ShapeDtypeStruct((batch_size, *recipe.shape, 3), np.uint8))
