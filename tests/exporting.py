"""Small networks whose exports are compared with them."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from h3r_jax import models
from h3r_jax.models import hrnet, layers

SHAPE = (64, 32)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, *SHAPE, 3), dtype=np.uint8)
TOLERANCE = 1e-3  # pixels; of confidence too


class Small(nn.Module):
    """A backbone of every kind of layer that has a form for each platform."""

    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images, train):
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = layers.relu6(layers.Conv3x3(8, 2, **types, name="stem")(images))
        x = layers.DepthwiseConv(2, **types, name="filter")(x)
        return layers.BatchNorm(self.param_dtype, name="bn1")(layers.PointwiseConv(16, **types, name="mix")(x), train)


@pytest.fixture(autouse=True)
def more_backbones(monkeypatch):
    fields = {"widths": (4, 8, 16, 32), "modules": (1, 1, 1), "blocks": 1, "bottlenecks": 1}
    monkeypatch.setitem(models.BACKBONES, "small", Small)
    monkeypatch.setitem(models.BACKBONES, "tiny_hrnet", functools.partial(hrnet.HRNet, **fields))


def variables_of(name, landmarks, head):
    """Of a network whose maps have clear maxima, so that rounding does not choose other cells."""
    variables = models.initialize(models.build(name, landmarks, head=head), 0, (*SHAPE, 3))
    variables["params"]["head"]["predict"]["kernel"] *= 1000
    return jax.tree.map(np.asarray, variables)
