"""The codec on a network in plain JAX, without Flax: find a bright disc to a fraction of a pixel.

python examples/plain_jax.py        # jax and h3r_jax alone; about half a minute on two CPU cores
"""

import jax
import jax.numpy as jnp
from discs import STRIDE, batch, report

from h3r_jax import losses


def network(params, images):
    """Heatmaps of logits `[N, SIZE / 4, SIZE / 4, 1]`."""
    for n, (kernel, bias) in enumerate(params):
        step = 2 if n < 2 else 1
        images = jax.lax.conv_general_dilated(
            images, kernel, (step, step), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        images = images + bias if n == len(params) - 1 else jax.nn.relu(images + bias)
    return images


def loss(params, images, centers):
    return losses.landmark_loss(network(params, images), centers, stride=STRIDE)


@jax.jit
def step(params, speed, key):
    gradient = jax.grad(loss)(params, *batch(key))
    speed = jax.tree.map(lambda s, g: 0.9 * s + g, speed, gradient)
    return jax.tree.map(lambda p, s: p - 0.02 * s, params, speed), speed


keys = jax.random.split(jax.random.key(0), 605)
widths = (1, 16, 32, 32, 1)
shapes = [(5, 5, a, b) for a, b in zip(widths, widths[1:], strict=False)]
params = [
    (jax.random.normal(k, s) / (25 * s[2]) ** 0.5, jnp.zeros((1, 1, 1, s[3])))
    for k, s in zip(keys, shapes, strict=False)
]
speed = jax.tree.map(jnp.zeros_like, params)
for key in keys[5:]:
    params, speed = step(params, speed, key)
images, centers = batch(keys[4], 500)
report(network(params, images), centers)
