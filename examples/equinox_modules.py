"""The codec on a network in Equinox, whose maps are channels-first: find a bright disc to a fraction of a pixel.

python examples/equinox_modules.py        # needs equinox and optax
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from discs import STRIDE, batch, report

from h3r_jax import losses


class Network(eqx.Module):
    """Heatmaps of logits `[H / 4, W / 4, 1]` of one image `[H, W, 1]`."""

    layers: list

    def __init__(self, key):
        steps = ((1, 16, 2), (16, 32, 2), (32, 32, 1), (32, 1, 1))
        keys = jax.random.split(key, len(steps))
        self.layers = [eqx.nn.Conv2d(a, b, 5, s, padding="SAME", key=k) for (a, b, s), k in zip(steps, keys)]

    def __call__(self, image):
        image = jnp.moveaxis(image, -1, 0)
        *hidden, last = self.layers
        for layer in hidden:
            image = jax.nn.relu(layer(image))
        return jnp.moveaxis(last(image), 0, -1)  # the codec takes maps with the landmarks in the last axis


def loss(network, images, centers):
    return losses.landmark_loss(jax.vmap(network)(images), centers, stride=STRIDE)


optimizer = optax.adam(3e-3)


@eqx.filter_jit
def step(network, state, key):
    gradient = eqx.filter_grad(loss)(network, *batch(key))
    changes, state = optimizer.update(gradient, state)
    return eqx.apply_updates(network, changes), state


keys = jax.random.split(jax.random.key(0), 302)
network = Network(keys[0])
state = optimizer.init(eqx.filter(network, eqx.is_array))
for key in keys[2:]:
    network, state = step(network, state, key)
images, centers = batch(keys[1], 500)
report(jax.vmap(network)(images), centers)
