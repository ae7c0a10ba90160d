"""Drawn discs, to a fraction of a pixel: what the examples train on, and how they are scored."""

import jax
import jax.numpy as jnp

from h3r_jax import codec

SIZE, STRIDE = 48, 4
grid = jnp.arange(float(SIZE))


def batch(key, count=32):
    """Noisy images `[N, SIZE, SIZE, 1]` and the discs' centres `[N, 1, 2]`, pixels."""
    place, noise = jax.random.split(key)
    center = jax.random.uniform(place, (count, 1, 2), minval=6.0, maxval=SIZE - 10.0)
    x, y = grid[None, None, :] - center[:, :, :1], grid[None, :, None] - center[:, :, 1:]
    disc = jax.nn.sigmoid(2 * (4 - jnp.sqrt(x**2 + y**2)))
    return (disc + 0.2 * jax.random.normal(noise, disc.shape))[..., None], center


def report(logits, centers):
    """Prints the error of maps `[N, SIZE / STRIDE, SIZE / STRIDE, 1]`."""
    error = jnp.linalg.norm(codec.decode(logits, k=9, stride=STRIDE) - centers, axis=-1)
    print(f"mean error {error.mean():.3f} pixels; the nearest cell alone would be off by {0.383 * STRIDE:.2f}")
