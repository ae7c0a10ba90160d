"""The recipe: what a training step needs of a configuration, checked."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from h3r_jax import augment, losses
from h3r_jax.errors import UserError, of_the_user
from h3r_jax.inference import Network, make_network, settings_of
from h3r_jax.run import flatten
from h3r_jax.training.nonfinite import POLICIES

TARGETS = ("sampled", "expected")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a training step needs and does not change. Hashable, so that `jit` can close over it.

    network: the Network that is trained.
    loss: name in `losses.LOSSES`.
    target: "sampled", one activation point drawn each step (the paper), or "expected", all of them by weight.
    augmentation: ranges of the random changes.
    average_decay: of the moving average of variables; 0 for none.
    seed: of every random choice in the step.
    accumulation: micro-batches whose gradients make one step.
    nonfinite: the answer to a loss or gradient that is not finite: "stop" keeps the state before it from then on,
      "skip" leaves that step out.

    Raises:
      UserError: an unknown name.
    """

    network: Network
    loss: str = "spatial_cross_entropy"
    target: str = "expected"
    augmentation: augment.Augmentation = dataclasses.field(default_factory=augment.Augmentation)
    average_decay: float = 0.998
    seed: int = 0
    accumulation: int = 1
    nonfinite: str = "stop"

    def __post_init__(self) -> None:
        for name, known in {"loss": losses.LOSSES, "target": TARGETS, "nonfinite": POLICIES}.items():
            if getattr(self, name) not in known:
                raise UserError(f"unknown {name} {getattr(self, name)!r}; known are {', '.join(known)}")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The recipe of a configuration (nested mappings, such as a ConfigDict).

        Raises:
          UserError: an unknown name, an augmentation out of range, or values that do not go together.
        """
        train = config["train"]
        with of_the_user("config."):
            augmentation = augment.Augmentation(**dict(config["augment"]))
        return cls(
            network=make_network(**settings_of(config)),
            loss=config["loss"]["name"],
            target=config["loss"]["target"],
            augmentation=augmentation,
            average_decay=train["average_decay"],
            seed=config["seed"],
            accumulation=train["accumulation"],
            nonfinite=train["nonfinite"],
        )


def check_config(config: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """UserError for a field of a configuration that the base of all recipes lacks, or a duration out of range.

    Args:
      config, base: nested dicts.
    """
    fields, known = flatten(config), flatten(base)
    for field in fields:
        if field not in known:
            raise UserError(f"unknown field config.{field}; known are {', '.join(sorted(known))}")
    for field in (
        "train.epochs",
        "log.every_steps",
        "log.eval_every_epochs",
        "log.checkpoint_every_epochs",
        "log.keep_checkpoints",
    ):
        if not fields[field] > 0:
            raise UserError(f"config.{field} must be positive, got {fields[field]}")
    for field in ("train.warmup_epochs", "train.steps"):
        if not fields[field] >= 0:
            raise UserError(f"config.{field} must not be negative, got {fields[field]}")


@dataclasses.dataclass(frozen=True)
class Durations:
    """The durations of a configuration, in steps."""

    total: int
    warmup: int
    evaluate: int
    save: int
    log: int

    @classmethod
    def from_config(cls, config: Any, num_examples: int) -> Self:
        """The Durations of a ConfigDict; `num_examples` training examples make an epoch."""

        def steps(epochs: float) -> int:
            return steps_of(epochs, num_examples, config.train.batch_size)

        return cls(
            total=config.train.steps or steps(config.train.epochs),
            warmup=steps(config.train.warmup_epochs),
            evaluate=steps(config.log.eval_every_epochs),
            save=steps(config.log.checkpoint_every_epochs),
            log=config.log.every_steps,
        )


def steps_of(epochs: float, num_examples: int, batch_size: int) -> int:
    """Epochs as a number of steps: at least one, unless there are none."""
    return max(1, round(epochs * num_examples / batch_size)) if epochs else 0
