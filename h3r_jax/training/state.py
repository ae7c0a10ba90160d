"""What training changes: the step, the variables and their moving average, and the state of the optimiser."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from h3r_jax import convert
from h3r_jax.inference import Network


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


def initial_variables(config: Mapping[str, Any], network: Network) -> tuple[Any, str]:
    """The variables that a training starts from, and a phrase that says where they are from.

    Args:
      config: of the run; the fields "seed" and "init_from" decide.
      network: inference.Network of the run.

    Raises:
      UserError, OSError: `init_from` is missing, damaged, unsafe, or of another backbone.
    """
    variables = network.initialize(config["seed"])
    if not config["init_from"]:
        return variables, f"drawn from seed {config['seed']}"
    names = {"model": config["model"]["name"], "head": config["model"]["head"]}
    variables, report = convert.load_initial(config["init_from"], variables, **names)
    return variables, f"{config['init_from']}: {report}"


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
    """The optimiser that the section "train" of a ConfigDict asks for."""
    schedule = make_schedule(learning_rate=train.learning_rate, warmup_steps=warmup_steps, total_steps=total_steps)
    return make_optimizer(schedule, weight_decay=train.weight_decay, clip_norm=train.clip_norm)


def make_schedule(*, learning_rate: float, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Linear warm-up from zero, then a cosine down to zero at the last step."""
    return optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup_steps, max(total_steps, warmup_steps + 1))


def make_optimizer(
    schedule: optax.ScalarOrSchedule, *, weight_decay: float, clip_norm: float
) -> optax.GradientTransformation:
    """AdamW on clipped gradients; only kernels decay.

    Args:
      schedule: learning rate by step.
      weight_decay: decoupled, multiplied by the learning rate.
      clip_norm: largest global norm of the gradient.
    """

    def is_kernel(params: Any) -> Any:
        return jax.tree.map(lambda p: p.ndim > 1, params)

    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.adamw(schedule, weight_decay=weight_decay, mask=is_kernel),
    )
