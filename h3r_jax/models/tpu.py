"""Narrow images for a TPU: blocks of neighbouring pixels become channels, so that its matrix unit has more to do.

The matrix unit of a TPU multiplies 128 channels by 128. An image of 18 channels fills 2 % of it. With 2x2 pixels in its
channels, an image has 72 channels and a quarter of the pixels, and a 3x3 convolution is a 3x3 convolution again: its
kernel has zeros where two pixels are further apart than one.

A *block*, `(rows, columns)`, is what lies in the channels of a *blocked* image: [B, H, W, C] becomes
[B, H / rows, W / columns, rows * columns * C]. Only on a TPU is it a block of pixels. On other platforms the blocked
image is the image itself in the same memory, under another shape, and a convolution undoes that: nothing is moved. Sums
and products per channel are the same on all platforms, as C is the fastest axis.

The parameters are those of the plain layers everywhere.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

Block = tuple[int, int]
ONE_PIXEL = (1, 1)
LANES = 128  # of the matrix unit


def block_of(shape: tuple[int, ...]) -> Block:
    """The block for 3x3 convolutions of [B, H, W, C] into as many channels: it fills the matrix unit best."""
    _, height, width, channels = shape
    for block in ((2, 2), (1, 2)):
        if channels * block[0] * block[1] <= LANES and height % block[0] == 0 and width % block[1] == 0:
            return block
    return ONE_PIXEL


def blocked(images: jax.Array, block: Block) -> jax.Array:
    """The blocked image of [B, H, W, C]."""
    if block == ONE_PIXEL:
        return images
    batch, height, width, channels = images.shape
    rows, columns = block
    shape = (batch, height // rows, width // columns, rows * columns * channels)

    def on_tpu(images: jax.Array) -> jax.Array:
        blocks = images.reshape(batch, height // rows, rows, width // columns, columns, channels)
        return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(shape)

    return lax.platform_dependent(images, tpu=on_tpu, default=lambda images: images.reshape(shape))


def unblocked(images: jax.Array, block: Block) -> jax.Array:
    """The image [B, H, W, C] of a blocked one."""
    if block == ONE_PIXEL:
        return images

    def on_tpu(images: jax.Array) -> jax.Array:
        batch, height, width, channels = images.shape
        rows, columns = block
        pixels = images.reshape(batch, height, width, rows, columns, channels // (rows * columns))
        return pixels.transpose(0, 1, 3, 2, 4, 5).reshape(plain_shape(images.shape, block))

    return lax.platform_dependent(
        images, tpu=on_tpu, default=lambda images: images.reshape(plain_shape(images.shape, block))
    )


def plain_shape(shape: tuple[int, ...], block: Block) -> tuple[int, ...]:
    """The shape [B, H, W, C] of a blocked image."""
    batch, height, width, channels = shape
    rows, columns = block
    return batch, height * rows, width * columns, channels // (rows * columns)


def block_kernel(kernel: jax.Array, block: Block) -> jax.Array:
    """The kernel [3, 3, n * C, n * features] for blocked images, of [3, 3, C, features]; n pixels are in a block."""
    for axis in (1, 0):  # rows are the slower axis of the channels
        if block[axis] > 1:
            kernel = _block_axis(kernel, axis, block[axis])
    return kernel


def _block_axis(kernel: jax.Array, axis: int, size: int) -> jax.Array:
    """`block_kernel` for a block of `size` pixels along one axis of the image."""
    taps = [lax.index_in_dim(kernel, i, axis, keepdims=False) for i in range(3)]
    nothing = jnp.zeros_like(taps[0])

    def tap(offset: int) -> jax.Array:
        return taps[offset + 1] if abs(offset) <= 1 else nothing

    # From pixel `source` of a block to pixel `target` of the one in the middle.
    grid = [
        jnp.concatenate(
            [
                jnp.concatenate([tap(size * blocks + source - target) for target in range(size)], axis=-1)
                for source in range(size)
            ],
            axis=-2,
        )
        for blocks in (-1, 0, 1)
    ]
    return jnp.stack(grid, axis)
