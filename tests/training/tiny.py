"""A network of a few thousand parameters and made-up batches, for tests of what surrounds a network."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from h3r_jax import augment, losses
from h3r_jax.inference import Network
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.models.layers import BatchNorm, Conv3x3
from h3r_jax.training.recipe import Recipe
from h3r_jax.training.state import create_state, make_optimizer, make_schedule

SCHEME = LandmarkScheme("tiny3", 3, (1, 0, 2), (("pair", (0, 1)),))
SHAPE = (32, 32)
AUGMENTATION = augment.Augmentation(rotation=20, scale=0.2, shift=0.05, mirror=0.5, color=0.3, blur=0.5, occlusion=0.5)


class TinyNet(nn.Module):
    """Images `[B, H, W, 3]` to logits `[B, H / 4, W / 4, 3]`, with batch normalisation."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images, train=False):
        types = {"dtype": self.dtype, "param_dtype": self.dtype}
        # Without a bias, which the normalisation would undo: its gradient is rounding noise, and Adam would amplify it.
        x = nn.Conv(8, (3, 3), strides=2, use_bias=False, **types)(images)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, **types)(x))
        x = nn.relu(nn.Conv(8, (3, 3), strides=2, **types)(x))
        return nn.Conv(3, (1, 1), use_bias=False, **types)(x)


class TinyBackbone(nn.Module):
    """A backbone in three layers, for `models.BACKBONES`: images `[B, H, W, 3]` to features `[B, H / 4, W / 4, 8]`."""

    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images, train):
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = Conv3x3(8, 2, **types, name="conv1")(images)
        x = nn.relu(BatchNorm(self.param_dtype, name="bn1")(x, train))
        return nn.relu(Conv3x3(8, 2, **types, name="conv2")(x))


def make_recipe(dtype=jnp.float32, **changes):
    """A Recipe of the tiny network; `changes` are fields of the recipe or of its network."""
    network = {"model": TinyNet(dtype), "scheme": SCHEME, "shape": SHAPE}
    fields = {
        "objective": losses.Objective(target="sampled"),
        "augmentation": AUGMENTATION,
        "average_decay": 0.9,
        "seed": 3,
    }
    for name, value in changes.items():
        (fields if name in Recipe.__dataclass_fields__ else network)[name] = value
    return Recipe(Network(**network), **fields)


def make_state(recipe, total_steps=10):
    """A fresh state with its optimiser."""
    schedule = make_schedule(learning_rate=1e-2, warmup_steps=2, total_steps=total_steps)
    optimizer = make_optimizer(schedule, weight_decay=1e-4, clip_norm=1.0)
    variables = recipe.network.initialize(0)
    variables = jax.tree.map(
        lambda x: x.astype(recipe.network.model.dtype), variables
    )  # Flax starts statistics in float32
    return create_state(variables, optimizer, keep_average=recipe.average_decay > 0), optimizer


def batch_at(step_number, recipe, batch_size=8):
    """The batch of a step: random canvases and landmarks, some of them beyond the crop."""
    rng = np.random.default_rng(step_number)
    canvas = augment.canvas_shape(recipe.augmentation, recipe.network.shape)
    return {
        "image": rng.integers(0, 256, (batch_size, *canvas, 3), dtype=np.uint8),
        **augment.central_crops(batch_size, recipe.network.shape, canvas),
        "landmarks": rng.uniform(5, min(canvas) - 5, (batch_size, 3, 2)).astype(np.float32),
        "weight": (rng.uniform(size=(batch_size, 3)) < 0.8).astype(np.float32),
        "index": rng.integers(0, 1000, batch_size, dtype=np.int32),
    }


def batches_from(first_step, recipe, batch_size=8):
    """The endless stream of batches from a step on."""
    number = first_step
    while True:
        yield batch_at(number, recipe, batch_size)
        number += 1
