"""MobileNetV2 and the layers under it against PyTorch, and the interface of `h3r_jax.models`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from h3r_jax import models
from h3r_jax.models import layers, mobilenet_v2

torch = pytest.importorskip("torch")
from tests.models import torch_networks


def random(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def nchw(x):
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def nhwc(x):
    return x.detach().numpy().transpose(0, 2, 3, 1)


@pytest.fixture
def short(monkeypatch):
    """MobileNetV2 in fewer blocks, which still has one of every kind; the same in PyTorch, with random weights."""
    counts = (1, 1, 2, 1, 1)
    stages = [(*stage[:2], count, stage[3]) for stage, count in zip(mobilenet_v2.STAGES, counts)]
    monkeypatch.setattr(mobilenet_v2, "STAGES", stages)
    monkeypatch.setattr(mobilenet_v2, "TAPS", {2: 1, 4: 2, 6: 4})
    return torch_networks.randomize(torch_networks.Regressor(10, torch_networks.MobileNetV2(counts)))


def test_inference_equals_pytorch():
    """The whole network with 5 landmarks and the binary head, on images of other height than width."""
    reference = torch_networks.randomize(torch_networks.Regressor(10))
    images = random((2, 48, 96, 3))
    with torch.no_grad():
        expected = nhwc(reference.eval()(nchw(images)))
    output = jax.jit(models.build("mobilenet_v2", 5, head="binary").apply)(torch_networks.to_flax(reference), images)
    assert output.shape == (2, 12, 24, 10) and output.dtype == jnp.float32
    assert np.abs(output - expected).max() < 1e-4 * expected.std()


def test_training_equals_pytorch(short):
    """Output, gradients of the parameters and running statistics, with statistics of the batch."""
    reference = short
    variables = jax.tree.map(np.copy, torch_networks.to_flax(reference))
    reference = reference.double().train()
    images, weights = random((3, 32, 48, 3)), random((3, 8, 12, 10), 1)
    output = reference(nchw(images).double())
    (output * nchw(weights)).mean().backward()

    with jax.enable_x64(True):
        model = models.build("mobilenet_v2", 5, head="binary", dtype="float64")
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables)

        @jax.jit
        def step(params, images):
            def loss(params):
                output, updates = model.apply(
                    {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
                )
                return (output * weights).mean(), (output, updates["batch_stats"])

            return jax.grad(loss, has_aux=True)(params)

        gradients, (ours, statistics) = jax.device_get(step(variables["params"], jnp.asarray(images, jnp.float64)))
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, nhwc(output), atol=1e-9)
    expected_statistics = torch_networks.to_flax(reference)["batch_stats"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), statistics, expected_statistics)
    for parameter in reference.parameters():
        parameter.data = parameter.grad
    expected = torch_networks.to_flax(reference)["params"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9 * max(1e-3, np.abs(b).max())), gradients, expected
    )


def test_parameter_count():
    model = models.build("mobilenet_v2", 98, head="binary")
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    assert set(variables) == {"params", "batch_stats"}
    count = sum(p.numel() for p in torch_networks.Regressor(2 * 98).parameters())
    assert models.count_parameters(variables["params"]) == count == 595_728


def test_initialization_is_a_function_of_the_seed_and_keeps_the_signal(short):
    model = models.build("mobilenet_v2", 5)
    first, again, other = (jax.device_get(models.initialize(model, seed, (64, 64, 3))) for seed in (1, 1, 2))
    key = models.initialize(model, jax.random.key(1), (2, 32, 32, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), first) == jax.tree.map(lambda x: (x.shape, x.dtype), shapes)
    assert jax.tree.structure(key) == jax.tree.structure(first)
    assert jax.tree.all(jax.tree.map(np.array_equal, first, again))
    kernel = lambda variables: variables["params"]["backbone"]["features_6"]["expand"]["conv"]["kernel"]
    assert not np.allclose(kernel(first), kernel(other))
    assert float(kernel(first).std()) == pytest.approx((2 / 384) ** 0.5, rel=0.02)
    assert float(first["params"]["head"]["predict"]["kernel"].std()) < 0.01


@pytest.mark.parametrize("arguments", [{"name": "resnet"}, {"head": "regression"}, {"stride": 3}, {"dtype": "int8"}])
def test_unknown_name(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments.values()))}.*known: "):
        models.build(**{"name": "mobilenet_v2", "num_landmarks": 5, **arguments})


def test_image_size_must_divide():
    with pytest.raises(ValueError, match="multiples of 16"):
        models.initialize(models.build("mobilenet_v2", 5), 0, (40, 64, 3))


@pytest.mark.parametrize("stride", [2, 8, 16])
def test_stride(stride):
    model = models.build("mobilenet_v2", 5, stride=stride)
    shapes = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), jnp.zeros((2, 64, 96, 3)))[0])
    assert shapes.shape == (2, 64 // stride, 96 // stride, 5)


def test_bfloat16_is_as_near_to_float32_as_pytorch(short):
    """The root mean square of the error is hardly more than the error of PyTorch's network in bfloat16."""
    variables, images = torch_networks.to_flax(short), random((4, 32, 48, 3))
    narrow = models.build("mobilenet_v2", 5, head="binary", dtype="bfloat16")
    output = jax.jit(narrow.apply)(variables, images)
    with torch.no_grad():
        expected = nhwc(short.eval()(nchw(images)))
        with torch.autocast("cpu", torch.bfloat16):
            theirs = nhwc(short(nchw(images)).float())
    error, their_error = (np.sqrt(np.mean((values - expected) ** 2)) for values in (output, theirs))
    assert 0 < error < 1.2 * their_error
    features = jax.eval_shape(
        lambda x: narrow.apply(variables, x, method=lambda model, x: model.backbone(x, False)), images
    )
    assert (features.dtype, output.dtype) == (jnp.bfloat16, jnp.float32)
    _, updates = jax.eval_shape(lambda x: narrow.apply(variables, x, train=True, mutable=["batch_stats"]), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_resize_equals_pytorch(factor):
    images = random((2, 3, 5, 4))
    expected = torch.nn.functional.interpolate(nchw(images), scale_factor=factor, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(layers.resize_bilinear(images, factor), nhwc(expected), atol=1e-6)


def test_average_pool_equals_pytorch():
    images = random((2, 4, 8, 3))
    np.testing.assert_allclose(
        layers.average_pool(images, 4), nhwc(torch.nn.functional.avg_pool2d(nchw(images), 4)), atol=1e-6
    )


def test_normalize_images():
    images = np.array([[124, 116, 104]], np.uint8)
    assert np.abs(models.normalize_images(images)).max() < 0.01
    expected = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(models.normalize_images(images), expected, atol=1e-5)
