"""Convolutions in the form that is fast on the platform of the program: XLA's own, or one of `cpu` or `tpu`.

Images are [B, H, W, C], kernels [height, width, C / groups, features].
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from h3r_jax.models import cpu, tpu
from h3r_jax.models.tpu import ONE_PIXEL, Block

Form = Callable[[jax.Array, jax.Array], jax.Array]  # of images and kernel


def _plain(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return lax.conv_general_dilated(
        images,
        kernel,
        (stride, stride),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=images.shape[-1] // kernel.shape[2],
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolution(images: jax.Array, kernel: jax.Array, stride: int, block: Block = ONE_PIXEL) -> jax.Array:
    """A 3x3 convolution, in the form that is fast on the platform of the program.

    [B, H, W, C] and [3, 3, C / groups, features] -> [B, H/stride, W/stride, features], rounded up. With a `block`,
    images and result are blocked (`tpu.blocked`), the kernel is not, and the stride is 1.

    Reverse mode only: `jax.grad` and `jax.vjp` work; forward mode, `jax.jvp`, raises a TypeError on every platform.
    """
    forms = {"default": _default_form(stride, block)}
    if block != ONE_PIXEL:
        forms["tpu"] = _tpu_form(block)
    elif faster := cpu.faster(images.shape[-1], kernel):
        forms["cpu"] = lambda images, kernel: faster(images, kernel, stride)
    return lax.platform_dependent(images, kernel, **forms) if len(forms) > 1 else forms["default"](images, kernel)


def _default_form(stride: int, block: Block) -> Form:
    """XLA's convolution of images that are blocked as on other platforms than a TPU, or not at all."""

    def convolve(images: jax.Array, kernel: jax.Array) -> jax.Array:
        if block == ONE_PIXEL:
            return _plain(images, kernel, stride)
        plain = images.reshape(tpu.plain_shape(images.shape, block))
        return _plain(plain, kernel, stride).reshape(*images.shape[:3], -1)

    return convolve


def _tpu_form(block: Block) -> Form:
    """XLA's convolution of blocked images."""
    return lambda images, kernel: _plain(images, tpu.block_kernel(kernel, block), 1)


def _convolution_forward(
    images: jax.Array, kernel: jax.Array, stride: int, block: Block
) -> tuple[jax.Array, cpu.Gradients]:
    return convolution(images, kernel, stride, block), (images, kernel)


def _convolution_backward(
    stride: int, block: Block, operands: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> cpu.Gradients:
    def derived(form: Form) -> Callable[..., cpu.Gradients]:
        return lambda images, kernel, gradient: jax.vjp(form, images, kernel)[1](gradient)

    def on_cpu(images: jax.Array, kernel: jax.Array, gradient: jax.Array) -> cpu.Gradients:
        x, y = (each.reshape(tpu.plain_shape(each.shape, block)) for each in (images, gradient))
        by_images, by_kernel = cpu.gradients(x, kernel, stride, y)
        return by_images.reshape(images.shape), by_kernel

    forms = {"cpu": on_cpu, "default": derived(_default_form(stride, block))}
    if block != ONE_PIXEL:
        forms["tpu"] = derived(_tpu_form(block))
    return lax.platform_dependent(*operands, gradient, **forms)


convolution.defvjp(_convolution_forward, _convolution_backward)


def pointwise_convolution(images: jax.Array, kernel: jax.Array, output_dtype: jnp.dtype | None) -> jax.Array:
    """[B, H, W, C] and [1, 1, C, features] -> [B, H, W, features], in `output_dtype` or that of the images."""
    # As a matrix of pixels: with four axes, the derivative by the kernel would transpose whole images on a CPU.
    rows = images.reshape(-1, images.shape[-1])
    product = jnp.matmul(rows, kernel[0, 0].astype(images.dtype), preferred_element_type=output_dtype)
    return product.reshape(*images.shape[:-1], kernel.shape[-1])
