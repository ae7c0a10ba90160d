"""The codec on a network in plain JAX, without Flax: find a bright disc to a fraction of a pixel.

python examples/plain_jax.py        # jax and h3r_jax alone; about half a minute on two CPU cores
"""

import jax
import jax.numpy as jnp

from h3r_jax import codec, losses

SIZE, STRIDE = 48, 4
grid = jnp.arange(float(SIZE))


def batch(key, count=32):
    """Noisy images `[N, SIZE, SIZE, 1]` and the discs' centres `[N, 1, 2]`, pixels."""
    place, noise = jax.random.split(key)
    center = jax.random.uniform(place, (count, 1, 2), minval=6.0, maxval=SIZE - 10.0)
    x, y = grid[None, None, :] - center[:, :, :1], grid[None, :, None] - center[:, :, 1:]
    disc = jax.nn.sigmoid(2 * (4 - jnp.sqrt(x**2 + y**2)))
    return (disc + 0.2 * jax.random.normal(noise, disc.shape))[..., None], center


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
    logits = network(params, images)
    points = codec.activation_points(centers, heatmap_shape=logits.shape[1:3], stride=STRIDE)
    return losses.spatial_cross_entropy(logits, points).mean()


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
found = codec.decode_with_statistics(network(params, images), k=9, stride=STRIDE)
error = jnp.linalg.norm(found.coordinates - centers, axis=-1)
print(f"mean error {error.mean():.3f} pixels; the nearest cell alone would be off by {0.383 * STRIDE:.2f}")
