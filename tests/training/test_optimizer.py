"""The optimisers: what a step of Muon is, and that its state survives a checkpoint."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from h3r_jax.errors import UserError
from h3r_jax.run import Run
from h3r_jax.training import checkpoints, sharding
from h3r_jax.training.state import create_state, make_optimizer
from tests.training import tiny

RATE = 0.1
OPTIONS = {"weight_decay": 0.0, "clip_norm": 1e9}


def first_step(optimizer, params, gradient):
    step = jax.jit(lambda params, gradient: optimizer.update(gradient, optimizer.init(params), params)[0])
    return jax.tree.map(np.asarray, step(params, gradient))


def test_muon_makes_the_steps_of_kernels_orthogonal_and_leaves_the_others_to_adam():
    rng = np.random.default_rng(0)
    shapes = {"pointwise": (1, 1, 8, 24), "full": (3, 3, 4, 6), "depthwise": (3, 3, 1, 8), "bias": (8,)}
    params = {name: {"kernel": rng.normal(size=shape).astype(np.float32)} for name, shape in shapes.items()}
    gradient = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), params)
    step = first_step(make_optimizer(RATE, name="muon", **OPTIONS), params, gradient)
    adam = first_step(optax.adam(RATE, nesterov=True), params, gradient)
    for name in ("depthwise", "bias"):
        np.testing.assert_allclose(step[name]["kernel"], adam[name]["kernel"], rtol=1e-5)
    for name in ("pointwise", "full"):
        matrix = step[name]["kernel"].reshape(-1, shapes[name][-1])
        singular = np.linalg.svd(matrix, compute_uv=False)
        # Five steps of Newton and Schulz bring every singular value near one, not to it.
        size = RATE * 0.2 * np.sqrt(max(matrix.shape))
        assert 0.5 * size < singular.min() and singular.max() < 1.4 * size
        # Downhill: against the gradient in all of its singular directions.
        left, _, right = np.linalg.svd(gradient[name]["kernel"].reshape(matrix.shape), full_matrices=False)
        assert (np.diag(left.T @ matrix @ right.T) < -0.5 * size).all()


def test_the_state_of_muon_survives_a_checkpoint(tmp_path):
    recipe = tiny.make_recipe()
    optimizer = make_optimizer(RATE, name="muon", **OPTIONS)
    whole = sharding.replicated(sharding.make_mesh(jax.devices()[:1]))
    state = create_state(recipe.network.initialize(0), optimizer, keep_average=True)
    gradient = jax.tree.map(lambda p: p + 1, state.variables["params"])
    _, opt_state = optimizer.update(gradient, state.opt_state, state.variables["params"])
    state = jax.device_put(state.replace(step=np.int32(2), opt_state=opt_state), whole)
    with checkpoints.Checkpoints(Run(tmp_path), keep=1, about=lambda step: {}) as saved:
        saved.save(state, None)
    with checkpoints.Checkpoints(Run(tmp_path), keep=1, about=lambda step: {}) as saved:
        restored, _ = saved.resume(
            jax.device_put(jax.tree.map(jnp.zeros_like, state), whole), "", lambda about, name: ""
        )
    jax.tree.map(np.testing.assert_array_equal, restored, state)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(UserError, match="unknown optimizer 'sgd'; known are adamw, muon"):
        make_optimizer(RATE, name="sgd", **OPTIONS)
