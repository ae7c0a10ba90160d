"""What training changes: the step, the variables and their moving average, and the state of the optimiser."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jax.sharding import Mesh

from h3r_jax import convert
from h3r_jax.errors import UserError
from h3r_jax.inference import Network
from h3r_jax.training import sharding


class TrainState(flax.struct.PyTreeNode):
    """One training run at one step.

    step: `int32[]`, steps done, the skipped ones included.
    halted: `bool[]`, whether a step was not finite and ends the run (`Recipe.nonfinite`): nothing changes any more.
      Never saved.
    variables: {"params", "batch_stats"} of the model.
    opt_state: the state of the optimiser.
    average: exponential moving average of `variables`; None if the recipe keeps none.
    """

    step: jax.Array
    halted: jax.Array
    variables: Any
    opt_state: Any
    average: Any

    def to_evaluate(self, averaged: bool) -> Any:
        """The moving average if it is asked for and kept, else the variables."""
        return self.variables if self.average is None or not averaged else self.average


def initial_state(
    config: Mapping[str, Any], network: Network, optimizer: optax.GradientTransformation, mesh: Mesh
) -> tuple[TrainState, str]:
    """The state that a training starts from, on all devices of a mesh, and a phrase that says where it is from.

    Args:
      config: of the run.
      network: inference.Network of the run.
      optimizer: optax GradientTransformation.
      mesh: of the training step.

    Raises:
      UserError, OSError: `config.init_from` is missing, damaged, unsafe, or of another backbone.
    """
    variables, origin = network.initialize(config["seed"]), f"drawn from seed {config['seed']}"
    if source := config["init_from"]:
        names = {"model": config["model"]["name"], "head": config["model"]["head"]}
        variables, report = convert.load_initial(source, variables, **names)
        origin = f"{source}: {report}"
    state = create_state(variables, optimizer, keep_average=config["train"]["average_decay"] > 0)
    return jax.device_put(state, sharding.replicated(mesh)), origin  # or the second step would be compiled anew


def create_state(variables: dict, optimizer: optax.GradientTransformation, *, keep_average: bool) -> TrainState:
    """The state before step 1.

    Args:
      variables: {"params", "batch_stats"}.
      optimizer: optax GradientTransformation.
      keep_average: whether to keep an exponential moving average.
    """
    average = jax.tree.map(jnp.array, variables) if keep_average else None
    return TrainState(
        jnp.zeros((), jnp.int32), jnp.zeros((), bool), variables, optimizer.init(variables["params"]), average
    )


def update_average(average: dict, variables: dict, step: jax.Array, decay: float) -> dict:
    """The moving average after `step` (counted from 0), with a short memory while the run is young."""
    kept = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: old + (1 - kept).astype(old.dtype) * (new - old), average, variables)


def optimizer_of(train: Any, *, warmup_steps: int, total_steps: int) -> optax.GradientTransformation:
    """The optimiser that the section "train" of a ConfigDict asks for; UserError if it is not known."""
    schedule = make_schedule(learning_rate=train.learning_rate, warmup_steps=warmup_steps, total_steps=total_steps)
    return make_optimizer(schedule, name=train.optimizer, weight_decay=train.weight_decay, clip_norm=train.clip_norm)


def make_schedule(*, learning_rate: float, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Linear warm-up from zero, then a cosine down to zero at the last step."""
    return optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup_steps, max(total_steps, warmup_steps + 1))


def make_optimizer(
    schedule: optax.ScalarOrSchedule, *, name: str = "adamw", weight_decay: float, clip_norm: float
) -> optax.GradientTransformation:
    """An optimiser on clipped gradients. With "adamw" all kernels decay, with "muon" those that mix channels.

    Args:
      schedule: the learning rate, or a function from the step to it.
      name: "adamw"; or "muon": the momentum of each kernel that mixes channels is made orthogonal (Jordan et al.,
        2024), and has the size of AdamW's steps (Liu et al., 2025). All other parameters get
        Adam's steps with Nesterov's momentum.
      weight_decay: decoupled, multiplied by the learning rate.
      clip_norm: largest global norm of the gradient.

    Raises:
      UserError: an unknown name.
    """
    if name not in OPTIMIZERS:
        raise UserError(f"unknown optimizer {name!r}; known are {', '.join(OPTIMIZERS)}")
    return optax.chain(optax.clip_by_global_norm(clip_norm), OPTIMIZERS[name](schedule, weight_decay))


def _adamw(schedule: optax.ScalarOrSchedule, weight_decay: float) -> optax.GradientTransformation:
    def is_kernel(params: Any) -> Any:
        return jax.tree.map(lambda p: p.ndim > 1, params)

    return optax.adamw(schedule, weight_decay=weight_decay, mask=is_kernel)


def _muon(schedule: optax.ScalarOrSchedule, weight_decay: float) -> optax.GradientTransformation:
    def matrix(kernel: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
        """Kernels `[height, width, in, out]` as matrices; a depthwise one, with one channel in, is none."""
        if kernel.ndim != 4 or kernel.shape[2] == 1:
            return None
        return optax.contrib.MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)

    return optax.contrib.muon(
        schedule,
        consistent_rms=0.2,  # root mean square of AdamW's usual steps, so that one learning rate serves both
        weight_decay=weight_decay,
        muon_weight_dimension_numbers=lambda params: jax.tree.map(matrix, params),
    )


OPTIMIZERS = {"adamw": _adamw, "muon": _muon}
