"""The forms for a CPU equal XLA's own, are used on a CPU, and are used nowhere else."""

from __future__ import annotations

import collections
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from h3r_jax.models import convolutions, cpu, layers

KERNELS = {"depthwise": (3, 3, 1, 4), "of three channels": (3, 3, 3, 5), "dense": (3, 3, 4, 5)}


def random(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def operands(kind, height, width):
    return random((2, height, width, 3 if kind == "of three channels" else 4)), random(KERNELS[kind], 1)


def xla_convolution(images, kernel, stride):
    padding, axes = ((1, 1), (1, 1)), ("NHWC", "HWIO", "NHWC")
    groups = images.shape[-1] // kernel.shape[2]
    return lax.conv_general_dilated(
        images, kernel, (stride, stride), padding, dimension_numbers=axes, feature_group_count=groups
    )


def xla_normalize(x, scale, bias):
    mean, variance = x.mean((0, 1, 2), keepdims=True), x.var((0, 1, 2), keepdims=True)
    y = (x - mean) * lax.rsqrt(variance + layers.BATCH_NORM_EPSILON) * scale.reshape(1, 1, 1, -1)
    return y + bias.reshape(1, 1, 1, -1)


def results(function, *values):
    """The value and the gradients of the sum of the values times random numbers."""
    output, pullback = jax.vjp(function, *values)
    return output, *pullback(random(output.shape, 2))


def lowered(function, platform, *values):
    """How often each operation is in the program of the gradients for `platform`; without what holds no computation."""
    gradients = jax.jit(jax.grad(lambda *values: (function(*values) ** 2).sum(), argnums=range(len(values))))
    text = gradients.trace(*values).lower(lowering_platforms=(platform,)).as_text()
    counts = collections.Counter(re.findall(r"stablehlo\.(\w+)", text))
    for name in ("case", "return", "constant"):
        counts.pop(name, None)
    return counts


@pytest.mark.parametrize("height, width, stride", [(6, 8, 1), (6, 8, 2), (5, 7, 2)])
@pytest.mark.parametrize("kind", KERNELS)
def test_convolution_and_gradients_equal_xla(kind, height, width, stride):
    values = operands(kind, height, width)
    ours, expected = (
        jax.jit(functools.partial(results, functools.partial(function, stride=stride)))(*values)
        for function in (convolutions.convolution, xla_convolution)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", KERNELS)
def test_convolution_follows_the_platform(kind, stride):
    """The program for an accelerator is the one of XLA's convolution and JAX's derivatives."""
    ours, plain = (
        functools.partial(function, stride=stride) for function in (convolutions.convolution, xla_convolution)
    )
    values = operands(kind, 6, 8)
    for platform in ("cuda", "tpu"):
        assert lowered(ours, platform, *values) == lowered(plain, platform, *values)
    assert ("convolution" in lowered(ours, "cpu", *values)) == (kind == "dense")
    assert lowered(ours, "cpu", *values) != lowered(plain, "cpu", *values)


def test_normalization_and_gradients_equal_their_definition():
    values = 3 * random((4, 6, 8, 5)) + 1, random((5,), 1), random((5,), 2)
    ours, expected = (
        jax.jit(functools.partial(results, function))(*values)
        for function in (lambda *values: layers.normalize_batch(*values)[0], xla_normalize)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), ours, expected)


def test_normalization_follows_the_platform():
    """On an accelerator two sums over the pixels forwards and two backwards; on a CPU more."""
    values = random((4, 16, 8, 5)), random((5,), 1), random((5,), 2)
    function = lambda *values: layers.normalize_batch(*values)[0]
    for platform in ("cuda", "tpu"):
        assert lowered(function, platform, *values)["reduce"] == 4
    assert lowered(function, "cpu", *values)["reduce"] > 4


@pytest.mark.parametrize("height", [5, 12, 16])
def test_channel_sums(height):
    values = random((3, height, 7, 4)), random((3, height, 7, 4), 1)
    for ours, value in zip(cpu.channel_sums(*values), values):
        np.testing.assert_allclose(ours, value.sum((0, 1, 2)), rtol=1e-5, atol=1e-5)


def test_forward_mode_raises():
    images = jnp.ones((1, 4, 4, 2))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: convolutions.convolution(x, jnp.ones((3, 3, 1, 2)), 1), (images,), (images,))
