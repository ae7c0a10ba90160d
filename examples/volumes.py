"""Landmarks in volumes: a toy 3-D network finds the two ends of a rod, and says how sure it is of each.

    python examples/volumes.py          # jax and h3r_jax alone; about a minute on two CPU cores

The voxels are twice as thick along z: the heatmap has a stride of 2 there and of 4 along x and y.
"""

import jax
import jax.numpy as jnp

from h3r_jax import codec, losses

SHAPE = (12, 24, 24)  # z, y, x
STRIDE = (4, 4, 2)  # x, y, z: the order of coordinates
MAP = (6, 6, 6)


def batch(key, count=16):
    """Volumes `[N, *SHAPE, 1]` and the ends of their rods `[N, 2, 3]` as (x, y, z), the brighter end first."""
    place, noise = jax.random.split(key)
    limits = jnp.array([20.0, 20.0, 10.0]).reshape(1, 1, 3)
    ends = jax.random.uniform(place, (count, 2, 3)) * limits
    z, y, x = jnp.meshgrid(*(jnp.arange(float(size)) for size in SHAPE), indexing="ij")
    voxels = jnp.stack([x, y, z], axis=-1).reshape(1, -1, 3)
    rod = ends[:, 1:] - ends[:, :1]
    along = jnp.sum((voxels - ends[:, :1]) * rod, axis=-1) / jnp.maximum(jnp.sum(rod**2, axis=-1), 1e-6)
    along = jnp.clip(along, 0, 1)  # [N, voxels]
    offset = voxels - ends[:, :1] - along[..., None] * rod
    thickness = jnp.array([1.5, 1.5, 1.0]).reshape(1, 1, 3)
    value = (1.5 - along) * jnp.exp(-jnp.sum((offset / thickness) ** 2, axis=-1) / 2)
    value = value + 0.05 * jax.random.normal(noise, value.shape)
    return value.reshape(count, *SHAPE, 1), ends


def convolve(inputs, layer):
    kernel, bias = layer
    numbers = ("NDHWC", "DHWIO", "NDHWC")
    return jax.lax.conv_general_dilated(inputs, kernel, (1, 1, 1), "SAME", dimension_numbers=numbers) + bias


def network(params, volumes):
    """Logits `[N, *MAP, 2]`. The voxels of each heatmap cell enter as its channels."""
    cells = volumes.reshape(-1, 6, 2, 6, 4, 6, 4).transpose(0, 1, 3, 5, 2, 4, 6).reshape(-1, *MAP, 32)
    hidden = jax.nn.relu(convolve(cells, params[0]))
    hidden = hidden + jax.nn.relu(convolve(hidden, params[1]))
    hidden = hidden + jax.nn.relu(convolve(hidden, params[2]))
    return convolve(hidden, params[3])


def loss(params, volumes, ends):
    points = codec.activation_points(ends, heatmap_shape=MAP, stride=STRIDE)
    values = losses.spatial_cross_entropy(network(params, volumes), points)
    return losses.weighted_mean(values, losses.landmark_weights(points))


@jax.jit
def step(params, speed, key):
    value, gradient = jax.value_and_grad(loss)(params, *batch(key))
    speed = jax.tree.map(lambda s, g: 0.9 * s + g, speed, gradient)
    return jax.tree.map(lambda p, s: p - 0.02 * s, params, speed), speed, value


def main(steps=400):
    keys = jax.random.split(jax.random.key(0), steps + 5)
    widths = [(32, 32), (32, 32), (32, 32), (32, 2)]
    params = [
        (jax.random.normal(key, (3, 3, 3, *width)) / (27 * width[0]) ** 0.5, jnp.zeros((1, 1, 1, 1, width[1])))
        for key, width in zip(keys, widths, strict=False)
    ]
    speed = jax.tree.map(jnp.zeros_like, params)
    for n, key in enumerate(keys[5:]):
        params, speed, value = step(params, speed, key)
        if n % 100 == 0:
            print(f"step {n}, loss {value:.3f}")
    volumes, ends = batch(keys[4], 200)
    found = codec.decode_with_statistics(network(params, volumes), k=27, stride=STRIDE, ndim=3)
    error = jnp.linalg.norm(found.coordinates - ends, axis=-1).ravel()
    order = jnp.argsort(found.confidence.ravel())
    half = len(order) // 2
    blind = jnp.linalg.norm(ends - ends.mean(axis=(0, 1), keepdims=True), axis=-1)
    print(f"mean error {error.mean():.2f} voxels; always the centre would be off by {blind.mean():.2f}")
    print(f"less confident half {error[order[:half]].mean():.2f}, more confident half {error[order[half:]].mean():.2f}")


if __name__ == "__main__":
    main()
