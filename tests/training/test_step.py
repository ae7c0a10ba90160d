"""The two jitted steps: the same on any number of devices, and what they count."""

import dataclasses
import functools
import re
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from h3r_jax import augment, codec, geometry
from h3r_jax.evaluation.evaluator import Evaluator
from h3r_jax.evaluation.protocols import Protocol
from h3r_jax.inference import FLIPS, make_network
from h3r_jax.losses import Objective
from h3r_jax.training import sharding, step
from h3r_jax.training.recipe import Recipe
from h3r_jax.training.state import create_state, make_optimizer, make_schedule
from tests.training import tiny


def losses_over(num_devices, recipe, steps):
    mesh = sharding.make_mesh(jax.devices()[:num_devices])
    state, optimizer = tiny.make_state(recipe)
    state = jax.device_put(state, sharding.replicated(mesh))
    train_step = step.jit_train_step(recipe, optimizer, mesh)
    losses = []
    for number in range(steps):
        state, metrics = train_step(state, sharding.to_devices(tiny.batch_at(number, recipe), mesh))
        losses.append(float(metrics["loss"]))
    assert train_step._cache_size() == 1, "the step was compiled more than once"
    return np.array(losses), jax.device_get(state.variables)


@pytest.mark.parametrize("counts", [(8,), pytest.param((2, 4), marks=pytest.mark.slow)], ids=str)
def test_many_devices_train_as_one_in_float64(counts):
    """But for the images: they are float32, and XLA of jax 0.12 rounds their last bit otherwise in another batch."""
    tolerance = 1e-10 if jax.__version_info__ < (0, 12) else 1e-7
    with jax.enable_x64(True):
        recipe = tiny.make_recipe(dtype=jnp.float64)
        one, variables = losses_over(1, recipe, 5)
        assert len(set(one)) == 5
        for count in counts:
            losses, others = losses_over(count, recipe, 5)
            np.testing.assert_allclose(losses, one, rtol=0, atol=tolerance)
            jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=0, atol=tolerance), others, variables)


class WithoutNorm(nn.Module):
    """A network in which examples do not see each other."""

    dtype: jnp.dtype = jnp.float64

    @nn.compact
    def __call__(self, images, train=False):
        types = {"dtype": self.dtype, "param_dtype": self.dtype}
        self.variable("batch_stats", "steps", lambda: jnp.zeros((), self.dtype)).value += train
        return nn.Conv(3, (1, 1), **types)(nn.relu(nn.Conv(8, (4, 4), strides=4, **types)(images)))


def test_micro_batches_are_one_batch_and_move_nothing_between_devices():
    with jax.enable_x64(True):
        augmentation = augment.Augmentation(mirror=0.5, shift=0.05)
        recipe = tiny.make_recipe(model=WithoutNorm(), augmentation=augmentation)
        mesh, results = sharding.make_mesh(jax.devices()[:2]), {}
        schedule = make_schedule(learning_rate=1e-2, warmup_steps=2, total_steps=10)
        optimizer = make_optimizer(schedule, weight_decay=1e-4, clip_norm=1.0)
        shapes = jax.eval_shape(
            lambda: recipe.network.model.init(jax.random.key(0), jnp.zeros((1, *recipe.network.shape, 3)))
        )
        rng = np.random.default_rng(0)
        variables = {
            "params": jax.tree.map(lambda x: 0.1 * rng.standard_normal(x.shape), shapes["params"]),
            "batch_stats": {"steps": np.zeros(())},
        }
        for count in (1, 4):
            state = jax.device_put(create_state(variables, optimizer, keep_average=True), sharding.replicated(mesh))
            batch = sharding.to_devices(tiny.batch_at(0, recipe), mesh)
            many = dataclasses.replace(recipe, accumulation=count)
            train_step = step.jit_train_step(many, optimizer, mesh).lower(state, batch).compile()
            results[count] = train_step(state, batch)
            assert not re.search("all-to-all|all-gather|collective-permute", train_step.as_text())
    (one, metrics), (four, same) = results[1], results[4]
    assert float(one.variables["batch_stats"]["steps"]) == 1 and float(four.variables["batch_stats"]["steps"]) == 4
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-10)
    jax.tree.map(close, four.variables["params"], one.variables["params"])
    jax.tree.map(close, same, metrics)
    with pytest.raises(ValueError, match="positive multiple of the 2 devices times 4 micro-batches"):
        sharding.check_batch_size(12, mesh, 4)


@pytest.mark.parametrize(
    ("head", "loss", "target"),
    [("heatmap", "spatial_cross_entropy", "expected"), ("binary", "binary_cross_entropy", "sampled")],
)
def test_full_step_has_the_same_shapes_out_as_in(target, head, loss):
    network = make_network("mobilenet_v2", "ibug68", head=head, input_size=128)
    augmentation = augment.Augmentation(30, 0.25, 0.05, 0.5, 0.3, 1.0, 0.3)
    recipe = Recipe(network, Objective(loss, target), augmentation)
    optimizer = make_optimizer(
        make_schedule(learning_rate=1e-3, warmup_steps=1, total_steps=9), weight_decay=0, clip_norm=1
    )
    state = jax.eval_shape(lambda v: create_state(v, optimizer, keep_average=True), network.shapes())
    canvas = augment.canvas_shape(augmentation, (128, 128))
    batch = {
        "image": jax.ShapeDtypeStruct((4, *canvas, 3), jnp.uint8),
        "matrix": jax.ShapeDtypeStruct((4, 2, 3), jnp.float32),
        "edges": jax.ShapeDtypeStruct((4, 4), jnp.float32),
        "landmarks": jax.ShapeDtypeStruct((4, 68, 2), jnp.float32),
        "weight": jax.ShapeDtypeStruct((4, 68), jnp.float32),
        "index": jax.ShapeDtypeStruct((4,), jnp.int32),
    }
    after, metrics = jax.eval_shape(
        functools.partial(step.train_step, recipe=recipe, optimizer=optimizer), state, batch
    )
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert metrics["loss"].shape == () and metrics["loss"].dtype == jnp.float32


def test_loss_ignores_hidden_and_outside_landmarks():
    recipe = tiny.make_recipe(augmentation=augment.Augmentation(), objective=Objective(), average_decay=0.0)
    state, optimizer = tiny.make_state(recipe)
    batch = tiny.batch_at(0, recipe)
    batch["weight"][:] = 1
    batch["weight"][:, 2] = 0
    batch["landmarks"][0, 0] = -3.0  # outside
    train_step = jax.jit(functools.partial(step.train_step, recipe=recipe, optimizer=optimizer))
    _, metrics = train_step(state, batch)
    moved = {**batch, "landmarks": batch["landmarks"].copy()}
    moved["landmarks"][:, 2] = np.nan  # not labelled
    moved["landmarks"][0, 0] = 1e6
    _, same = train_step(state, moved)
    assert float(metrics["loss"]) == float(same["loss"])
    assert np.isfinite(float(same["grad_norm"]))
    hidden = {**batch, "weight": batch["weight"] * (np.arange(8) != 5)[:, None].astype(np.float32)}
    _, one = train_step(state, hidden)
    assert float(one["loss"]) != float(metrics["loss"]) and float(one["counted"]) < float(metrics["counted"])
    crop = geometry.transform_points(batch["matrix"], batch["landmarks"])
    inside = codec.activation_points(crop, heatmap_shape=recipe.network.heatmap_shape, stride=4).inside
    assert float(metrics["counted"]) == pytest.approx(float((inside & (batch["weight"] > 0)).mean()))


@pytest.mark.parametrize("flip", FLIPS)
def test_every_example_is_predicted_once_whatever_the_batch_size(flip):
    network = tiny.make_recipe(flip=flip).network
    # Sharper maps than a fresh network's, so that decoding depends on the image.
    variables = jax.tree.map(lambda x: x * 30, tiny.make_state(tiny.make_recipe())[0].variables)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (11, 32, 32, 3), dtype=np.uint8)
    matrices = np.array([[[2.0, 0, i], [0, 2.0, -i]] for i in range(11)])

    def predict(batch_size, num_devices):
        mesh = sharding.make_mesh(jax.devices()[:num_devices])
        annotations = SimpleNamespace(
            landmarks=np.tile([[5.0, 5], [25, 5], [15, 25]], (11, 1, 1)), weight=np.ones((11, 3)), name=["it"] * 11
        )

        def batches(size, process_index, process_count):
            padded = np.concatenate([images, np.repeat(images[:1], -11 % size, axis=0)])
            return ({"image": chunk} for chunk in np.split(padded, len(padded) // size))

        for name, value in {"box": None, "object_size": None, "subsets": ()}.items():
            setattr(annotations, name, value)
        split = SimpleNamespace(annotations=annotations, matrices=matrices, batches=batches)
        decoders = {"k1": lambda maps: network.decoder(k=1)(maps).coordinates}
        evaluator = Evaluator(network, Protocol(tiny.SCHEME), split, mesh, batch_size=batch_size, decoders=decoders)
        return evaluator(jax.device_put(variables, sharding.replicated(mesh)))

    reference = predict(1, 1)
    assert list(reference.landmarks) == ["k1", ""] and list(reference.scores) == ["k1", ""]
    assert reference.confidence.shape == (11, 3) and (reference.confidence > 0).all()
    assert reference.covariance.shape == (11, 3, 2, 2) and (reference.confidence <= 1).all()
    assert reference.landmarks[""].shape == (11, 3, 2) and reference.landmarks[""].dtype == np.float64
    assert len(np.unique(reference.landmarks[""], axis=0)) == 11
    for batch_size, num_devices in ((4, 1), (8, 8)) if flip else ((4, 1), (8, 8), (16, 2), (4, 4)):
        other = predict(batch_size, num_devices)
        np.testing.assert_allclose(other.confidence, reference.confidence, atol=1e-5)
        np.testing.assert_allclose(other.covariance, reference.covariance, rtol=1e-3, atol=1e-3)
        for name, landmarks in reference.landmarks.items():
            np.testing.assert_allclose(other.landmarks[name], landmarks, atol=1e-3)
        assert other.scores[""].metrics == pytest.approx(reference.scores[""].metrics, rel=1e-4)


def test_flip_test_undoes_the_mirror():
    # A network that answers the same for every image: mirrored back, the answer is that of the mirrored scheme.
    logits = jnp.zeros((1, 8, 8, 3)).at[0, 2, 1, 0].set(50.0).at[0, 2, 5, 1].set(50.0).at[0, 6, 3, 2].set(50.0)

    class Constant:
        def apply(self, variables, images, train):
            return logits

    network = tiny.make_recipe(model=Constant(), flip="coordinates", k=1).network
    result = jax.jit(network.decode)({}, jnp.zeros((1, 32, 32, 3))).coordinates
    plain = np.array([[4, 8], [20, 8], [12, 24]], float)
    back = np.array([[31 - 20, 8], [31 - 4, 8], [31 - 12, 24]], float)
    np.testing.assert_allclose(result[0], (plain + back) / 2)
    with pytest.raises(ValueError, match="unknown flip 'maps'; known are '', 'coordinates', 'heatmaps'"):
        tiny.make_recipe(flip="maps")


@pytest.mark.parametrize(
    ("loss", "activation"), [("spatial_cross_entropy", "softmax"), ("binary_cross_entropy", "sigmoid")]
)
def test_averaging_maps_with_the_mirrored_image_loses_no_fraction(loss, activation):
    """A network that is right about the image and its mirror image: the average is right to 0.001 px."""
    network = tiny.make_recipe(objective=Objective(loss), activation=activation).network
    width, stride, mirror = network.shape[1], network.stride, list(network.scheme.mirror)
    truth = np.random.default_rng(0).uniform(5, 22, (6, 3, 2)).astype(np.float32)
    mirrored = np.stack([width - 1 - truth[..., 0], truth[..., 1]], axis=-1)[:, mirror]

    def logits(coordinates):
        maps = codec.expected_heatmap(coordinates, heatmap_shape=network.heatmap_shape)
        return jnp.log(maps) if activation == "softmax" else jax.scipy.special.logit(maps)

    @jax.jit
    def averaged(truth, mirrored):
        average = network.mean_map(logits(truth), logits(mirrored))
        return codec.decode(average, k=9, stride=stride, activation=activation)

    @jax.jit
    def not_moved(mirrored):
        probabilities = codec.expected_heatmap(mirrored, heatmap_shape=network.heatmap_shape)[..., ::-1, :]
        return codec.decode(probabilities[..., mirror], k=9, stride=stride, activation="identity")

    np.testing.assert_allclose(averaged(truth, mirrored), truth, atol=1e-3)
    # What others do, to move by a whole cell or not at all, is off by an eighth of a stride or more.
    unmoved = not_moved(mirrored)
    np.testing.assert_allclose(unmoved[..., 0] - truth[..., 0], -(stride - 1), atol=1e-3)


def test_recipe_names_what_is_known():
    with pytest.raises(ValueError, match="unknown loss 'mse'; known are spatial_cross_entropy"):
        Objective("mse")
    with pytest.raises(ValueError, match="unknown target 'all'; known are expected, sampled, threshold, coordinate"):
        Objective(target="all")
    with pytest.raises(ValueError, match="not a multiple of stride 4"):
        tiny.make_recipe(shape=(30, 32))
    with pytest.raises(ValueError, match="multiple of the 8 devices"):
        sharding.check_batch_size(12, sharding.make_mesh())
