"""Every form of HRNet against PyTorch, shrunk; HRNet-W18 as it is; published sizes."""
from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import networks
from h3r_jax import convert, models
from h3r_jax.models import hrnet

torch = pytest.importorskip("torch")
from tests.models import torch_hrnet, torch_networks

TINY = torch_hrnet.TINY
FORMS = {
    "concatenated": lambda: torch_hrnet.H3R(torch_hrnet.HRNet(**TINY), 10),
    "facial": lambda: torch_hrnet.Facial(5, **TINY),
    "pose": lambda: torch_hrnet.Pose(5, **TINY),
}
LIMIT = 1e-4  # of the standard deviation of the output


@pytest.fixture(autouse=True)
def tiny_backbones(monkeypatch):
    """The shrunk networks by name, so that tensors are recognised as theirs."""
    for name, fields in {"tiny": {}, "tiny_facial": {"fuse": "bilinear"}, "tiny_pose": {"highest_only": True}}.items():
        monkeypatch.setitem(models.BACKBONES, name, functools.partial(hrnet.HRNet, **TINY, **fields))


def numpy_state(network):
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def random_images(height, width):
    return np.random.default_rng(0).standard_normal((2, height, width, 3)).astype(np.float32)


def reference_output(network, images):
    with torch.no_grad():
        return network.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize("form", FORMS)
def test_inference_equals_pytorch(form):
    reference = torch_networks.randomize(FORMS[form]())
    tensors = numpy_state(reference)
    spec = convert.recognize(tensors)
    variables, _ = convert.from_torch(tensors, spec)
    apply = jax.jit(models.build(spec.model, spec.landmarks, head=spec.head).apply)
    for height, width in ((32, 32), (32, 64)):
        images = random_images(height, width)
        output, expected = apply(variables, images), reference_output(reference, images)
        assert output.dtype == jnp.float32 and output.shape == expected.shape
        assert np.abs(output - expected).max() < LIMIT * expected.std()


@functools.cache
def full_w18():
    """HRNet-W18 with 5 landmarks and the binary head, compiled once; a function of its variables and images."""
    return jax.jit(models.build("hrnet_w18", 5, head="binary").apply)


def check_full_w18(reference, tensors):
    images = random_images(64, 96)
    variables, _ = convert.from_torch(tensors, convert.Spec("hrnet_w18", "binary", 5, "h3r"))
    expected = reference_output(reference, images)
    assert np.abs(full_w18()(variables, images) - expected).max() < LIMIT * expected.std()


def test_full_w18_equals_pytorch():
    reference = torch_networks.randomize(torch_hrnet.H3R(torch_hrnet.HRNet(**torch_hrnet.W18), 10))
    check_full_w18(reference, numpy_state(reference))


def test_full_w18_equals_timm():
    try:
        timm = torch_hrnet.import_timm()
    except ImportError:
        pytest.skip("timm is not installed")
    network = timm.create_model("hrnet_w18")
    reference = torch_networks.randomize(torch_hrnet.H3R(torch_hrnet.TimmBackbone(network), 10))
    spec = convert.recognize(numpy_state(network))
    assert (spec.model, spec.head, spec.naming) == ("hrnet_w18", None, "imagenet")
    _, report = convert.from_torch(numpy_state(network), spec)
    assert {name.split(".")[0] for name, reason in report.left_out.items() if reason == "classification head"} == {
        "incre_modules", "downsamp_modules", "final_layer", "classifier"}
    tensors = {f"backbone.{name}": tensor for name, tensor in numpy_state(network).items() if name not in report.left_out}
    head = {name: tensor for name, tensor in numpy_state(reference).items() if name.startswith("heatmap_head.")}
    check_full_w18(reference, {**tensors, **head})


def test_training_equals_pytorch():
    """Output and running statistics where the statistics are those of the batch."""
    reference = torch_networks.randomize(FORMS["concatenated"]()).train()
    tensors = {name: tensor.copy() for name, tensor in numpy_state(reference).items()}
    spec = convert.recognize(tensors)
    variables, _ = convert.from_torch(tensors, spec)
    images = random_images(64, 64)
    model = models.build(spec.model, spec.landmarks, head=spec.head)
    output, updates = jax.jit(lambda x: model.apply(variables, x, train=True, mutable=["batch_stats"]))(images)
    with torch.no_grad():
        expected = reference(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy().transpose(0, 2, 3, 1)
    assert np.abs(output - expected).max() < LIMIT * expected.std()
    statistics = convert.from_torch(numpy_state(reference), spec)[0]["batch_stats"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), updates["batch_stats"], statistics)


@pytest.mark.parametrize("height, width, stride", [(6, 8, 1), (6, 8, 2), (5, 7, 2)])
def test_gradients_of_the_convolution(height, width, stride):
    """In the form for a CPU, and as JAX derives them; and the form for a CPU is the one that is used there."""
    generator = np.random.default_rng(0)
    images = generator.standard_normal((2, height, width, 3), np.float32)
    kernel = generator.standard_normal((3, 3, 3, 4), np.float32)
    output, pullback = jax.vjp(lambda x, k: hrnet.dense(x, k, stride), images, kernel)
    gradient = generator.standard_normal(output.shape, np.float32)
    expected = pullback(gradient)
    used = jax.vjp(lambda x, k: hrnet.dense_convolution(x, k, stride), images, kernel)[1](gradient)
    for gradients in (hrnet.dense_gradients(images, kernel, stride, gradient), used):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), tuple(gradients), expected)


@pytest.mark.parametrize("name, head, landmarks, parameters, gigamacs", [
    ("mobilenet_v2", "binary", 98, 0.60, 0.51), ("hrnet_w18", "binary", 98, 9.69, 4.84),
    ("hrnet_w32", "binary", 106, 29.6, None),
    ("hrnet_w32_pose", "pose", 17, 28.5, None), ("hrnet_w18_facial", "facial", 98, 9.66, None)])
def test_published_sizes(name, head, landmarks, parameters, gigamacs):
    model = models.build(name, landmarks, head=head)
    if gigamacs is None:
        count = models.count_parameters(jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"])
    else:
        count, macs = networks.count(model, 256)
        assert round(macs / 1e9, 2) == gigamacs
    assert round(count / 1e6, len(str(parameters).split(".")[1])) == parameters


def test_image_size_must_divide():
    with pytest.raises(ValueError, match="multiples of 32"):
        jax.eval_shape(models.build("hrnet_w18", 5).init, jax.random.key(0), jnp.zeros((1, 48, 64, 3)))


@pytest.mark.parametrize("fields", [{"fuse": "cubic"}, {"modules": (1, 1, 1)}])
def test_fields_that_do_not_fit(fields):
    with pytest.raises(ValueError, match="nearest, bilinear and modules one fewer than widths"):
        jax.eval_shape(hrnet.HRNet(**{**TINY, **fields}).init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)), False)


def test_bfloat16_computes_narrow_and_answers_wide():
    model = models.build("tiny_pose", 5, head="pose", dtype="bfloat16")
    output, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    assert output.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    with_features = jax.eval_shape(lambda x: model.backbone.init_with_output(jax.random.key(0), x, False)[0],
                                   jnp.zeros((1, 64, 64, 3)))
    assert with_features.dtype == jnp.bfloat16 and with_features.shape == (1, 16, 16, 4)
