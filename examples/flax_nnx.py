"""The codec on a network in Flax NNX: find a bright disc to a fraction of a pixel.

python examples/flax_nnx.py        # needs flax and optax
"""

import jax
import optax
from discs import STRIDE, batch, report
from flax import nnx

from h3r_jax import losses


class Network(nnx.Module):
    """Heatmaps of logits `[N, H / 4, W / 4, 1]` of images `[N, H, W, 1]`."""

    def __init__(self, rngs):
        steps = ((1, 16, 2), (16, 32, 2), (32, 32, 1), (32, 1, 1))
        self.layers = nnx.List([nnx.Conv(a, b, (5, 5), strides=s, rngs=rngs) for a, b, s in steps])

    def __call__(self, images):
        *hidden, last = self.layers
        for layer in hidden:
            images = jax.nn.relu(layer(images))
        return last(images)


@nnx.jit
def step(network, optimizer, key):
    images, centers = batch(key)
    gradient = nnx.grad(lambda network: losses.landmark_loss(network(images), centers, stride=STRIDE))(network)
    optimizer.update(network, gradient)


network = Network(nnx.Rngs(0))
optimizer = nnx.Optimizer(network, optax.adam(3e-3), wrt=nnx.Param)
keys = jax.random.split(jax.random.key(0), 301)
for key in keys[1:]:
    step(network, optimizer, key)
images, centers = batch(keys[0], 500)
report(network(images), centers)
