"""Blocks of pixels in the channels change nothing but the form of the program for a TPU."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from h3r_jax.models import convolutions, tpu
from h3r_jax.models.hrnet import Exchange

BLOCKS = [(2, 2), (1, 2), (2, 1)]


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def take_branch(monkeypatch, platform):
    """Lets every `lax.platform_dependent` take the form of `platform`, whatever the program runs on."""

    def chosen(*operands, default, **forms):
        return forms.get(platform, default)(*operands)

    monkeypatch.setattr(lax, "platform_dependent", chosen)


def test_block_of_narrow_images():
    assert tpu.block_of((1, 64, 64, 18)) == tpu.block_of((1, 64, 64, 32)) == (2, 2)
    assert tpu.block_of((1, 32, 32, 36)) == tpu.block_of((1, 32, 32, 64)) == (1, 2)
    assert tpu.block_of((1, 16, 16, 72)) == (1, 1)
    assert tpu.block_of((1, 15, 16, 18)) == (1, 2)
    assert tpu.block_of((1, 16, 15, 18)) == (1, 1)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("block", BLOCKS)
def test_blocked_and_back(monkeypatch, platform, block):
    take_branch(monkeypatch, platform)
    images = random(2, 4, 6, 3)
    blocked = tpu.blocked(images, block)
    assert blocked.shape == (2, 4 // block[0], 6 // block[1], 3 * block[0] * block[1])
    assert tpu.plain_shape(blocked.shape, block) == images.shape
    np.testing.assert_array_equal(tpu.unblocked(blocked, block), images)
    if platform == "tpu":
        rows, columns = block
        np.testing.assert_array_equal(
            blocked[1, 1, 2].reshape(rows, columns, 3), images[1, rows:, 2 * columns :][:rows, :columns]
        )


@pytest.mark.parametrize("platform", ["tpu", "cpu", "cuda"])
@pytest.mark.parametrize("block", BLOCKS)
def test_convolution_of_blocked_images(monkeypatch, platform, block):
    """Forward and both gradients, in float64."""
    take_branch(monkeypatch, platform)
    images, kernel, weights = random(2, 4, 6, 3), random(3, 3, 3, 5, seed=1), random(2, 4, 6, 5, seed=2)

    def blocked(images, kernel):
        return tpu.unblocked(convolutions.convolution(tpu.blocked(images, block), kernel, 1, block), block)

    def plain(images, kernel):
        padding, axes = ((1, 1), (1, 1)), ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(images, kernel, (1, 1), padding, dimension_numbers=axes)

    for form, reference in (
        (blocked, plain),
        *(
            (
                jax.grad(lambda *x, f=blocked: (f(*x) * weights).sum(), i),
                jax.grad(lambda *x, f=plain: (f(*x) * weights).sum(), i),
            )
            for i in (0, 1)
        ),
    ):
        np.testing.assert_allclose(form(images, kernel), reference(images, kernel), rtol=0, atol=1e-12)


@pytest.mark.parametrize("train", [False, True])
def test_branches_are_the_same_on_every_platform(monkeypatch, train):
    """Outputs, running statistics and gradients of the form for TPUs equal those of the plain form, in float64."""
    model = Exchange(1, "nearest", dtype=jnp.float64, param_dtype=jnp.float64)
    branches = random(2, 8, 8, 18), random(2, 4, 4, 36, seed=1)
    variables = model.init(jax.random.key(0), branches, False)

    def loss(params):
        outputs, changed = model.apply({**variables, "params": params}, branches, train, mutable=["batch_stats"])
        return sum((output**2).sum() for output in outputs), changed

    def results():
        jax.clear_caches()  # a block that was traced is not traced again
        return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])

    expected = results()
    take_branch(monkeypatch, "tpu")
    got = results()
    jax.clear_caches()
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9), got, expected)
