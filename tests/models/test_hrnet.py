"""Every form of HRNet against PyTorch, shrunk; every network as it is; published sizes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import networks
from h3r_jax import convert, models
from h3r_jax.models import hrnet

torch = pytest.importorskip("torch")
from benchmarks import torch_hrnet, torch_networks
from tests.converting import TINY, tiny_backbones  # noqa: F401  (a fixture)

FORMS = {
    "concatenated": lambda: torch_hrnet.H3R(torch_hrnet.HRNet(**TINY), 10),
    "facial": lambda: torch_hrnet.Facial(5, **TINY),
    "pose": lambda: torch_hrnet.Pose(5, **TINY),
}
LIMIT = 1e-4  # of the standard deviation of the output


def numpy_state(network):
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def random_images(height, width):
    return np.random.default_rng(0).standard_normal((2, height, width, 3)).astype(np.float32)


def reference_output(network, images):
    with torch.no_grad():
        return network.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy().transpose(0, 2, 3, 1)


def check(spec, tensors, reference, height, width):
    """The network of `spec` with these tensors against PyTorch's; a height other than the width finds a transpose."""
    variables, _ = convert.from_torch(tensors, spec)
    apply = jax.jit(models.build(spec.model, spec.landmarks, head=spec.head).apply)
    images = random_images(height, width)
    output, expected = apply(variables, images), reference_output(reference, images)
    assert output.dtype == jnp.float32 and output.shape == expected.shape
    assert np.abs(output - expected).max() < LIMIT * expected.std()


@pytest.mark.parametrize("form", FORMS)
def test_inference_equals_pytorch(form):
    reference = torch_networks.randomize(FORMS[form]())
    tensors = numpy_state(reference)
    check(convert.recognize(tensors), tensors, reference, 32, 64)


TIMM = {
    "hrnet_w18_small": "hrnet_w18_small_v2",
    "hrnet_w18": "hrnet_w18",
    "hrnet_w32": "hrnet_w32",
    "hrnet_w48": "hrnet_w48",
}
OWN = {
    "hrnet_w18_facial": lambda: torch_hrnet.Facial(5, **torch_hrnet.W18),
    "hrnet_w32_pose": lambda: torch_hrnet.Pose(5, **torch_hrnet.W32),
    "hrnet_w48_pose": lambda: torch_hrnet.Pose(5, **torch_hrnet.W48),
}


def test_every_full_hrnet_is_compared():
    published = {
        name for name in models.BACKBONES if isinstance(models.BACKBONES[name](), hrnet.HRNet) and "tiny" not in name
    }
    assert {*TIMM, *OWN} == published


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM)
def test_full_networks_equal_timm(name):
    """timm's backbone, recognised from its checkpoint for ImageNet, under the head of H3R."""
    try:
        timm = torch_hrnet.import_timm()
    except ImportError:
        pytest.skip("timm is not installed")
    network = timm.create_model(TIMM[name])
    reference = torch_networks.randomize(torch_hrnet.H3R(torch_hrnet.TimmBackbone(network), 10))
    spec = convert.recognize(numpy_state(network))
    assert (spec.model, spec.head, spec.naming) == (name, None, "imagenet")
    _, report = convert.from_torch(numpy_state(network), spec)
    assert {part.split(".")[0] for part, reason in report.left_out.items() if reason == "classification head"} == {
        "incre_modules",
        "downsamp_modules",
        "final_layer",
        "classifier",
    }
    tensors = {
        f"backbone.{part}": tensor for part, tensor in numpy_state(network).items() if part not in report.left_out
    }
    head = {part: tensor for part, tensor in numpy_state(reference).items() if part.startswith("heatmap_head.")}
    check(convert.Spec(name, "binary", 5, "h3r"), {**tensors, **head}, reference, 64, 96)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_full_forms_that_timm_has_not_equal_pytorch(name):
    reference = torch_networks.randomize(OWN[name]())
    tensors = numpy_state(reference)
    spec = convert.recognize(tensors)
    assert spec.model == name
    check(spec, tensors, reference, 64, 96)


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
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), updates["batch_stats"], statistics
    )


@pytest.mark.parametrize("name, head, landmarks, published", [row for row in networks.NETWORKS if row[-1]])
def test_published_sizes(name, head, landmarks, published):
    """Parameters in millions and multiply-adds in billions, to the digits that were published."""
    figures = {unit: figure for figure, unit in (part.split() for part in published.split(", "))}
    model = models.build(name, landmarks, head=head)
    if "G" in figures:
        counts = dict(zip("MG", networks.count(model, 256)))
    else:
        shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
        counts = {"M": models.count_parameters(shapes["params"])}
    for unit, figure in figures.items():
        digits = len(figure.split(".")[1])
        assert f"{counts[unit] / {'M': 1e6, 'G': 1e9}[unit]:.{digits}f}" == figure


def test_published_sizes_are_of_every_kind():
    """At least one figure of each network; for landmarks, W18-small and the W48 of all branches have none."""
    assert {name for name, *_, published in networks.NETWORKS if not published} == {"hrnet_w18_small", "hrnet_w48"}
    assert {name for name, *_ in networks.NETWORKS} == {name for name in models.BACKBONES if "tiny" not in name}


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
    with_features = jax.eval_shape(
        lambda x: model.backbone.init_with_output(jax.random.key(0), x, False)[0], jnp.zeros((1, 64, 64, 3))
    )
    assert with_features.dtype == jnp.bfloat16 and with_features.shape == (1, 16, 16, 4)
