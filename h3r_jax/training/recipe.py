"""The recipe: what a training step needs of a configuration, checked."""

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any, Self

import jax

from h3r_jax import augment, losses, ranges
from h3r_jax.errors import UserError, of_the_user
from h3r_jax.inference import Network, make_network, objective_of, settings_of
from h3r_jax.run import flatten
from h3r_jax.training.nonfinite import POLICIES

MOST_STEPS = 2**31 - 1  # the state counts them in int32


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a training step needs and does not change. Hashable, so that `jit` can close over it.

    network: the Network that is trained.
    objective: losses.Objective.
    augmentation: ranges of the random changes.
    average_decay: of the moving average of variables; 0 for none.
    seed: of every random choice in the step.
    accumulation: micro-batches whose gradients make one step.
    nonfinite: the answer to a loss or gradient that is not finite: "stop" keeps the state before it from then on,
      "skip" leaves that step out.

    Raises:
      UserError: an unknown name, or a number out of its range (`h3r_jax.ranges`).
    """

    network: Network
    objective: losses.Objective = dataclasses.field(default_factory=losses.Objective)
    augmentation: augment.Augmentation = dataclasses.field(default_factory=augment.Augmentation)
    average_decay: float = 0.998
    seed: int = 0
    accumulation: int = 1
    nonfinite: str = "stop"

    def __post_init__(self) -> None:
        if self.nonfinite not in POLICIES:
            raise UserError(f"unknown nonfinite {self.nonfinite!r}; known are {', '.join(POLICIES)}")
        with of_the_user():
            for field in ("seed", "train.accumulation", "train.average_decay"):
                name = field.rpartition(".")[2]
                ranges.check(field, getattr(self, name), name)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The recipe of a configuration (nested mappings, such as a ConfigDict).

        Raises:
          UserError: an unknown name, an augmentation out of range, or values that do not go together.
        """
        train, network, objective = config["train"], make_network(**settings_of(config)), objective_of(config)
        if network.instead_of:
            raise UserError(
                f"config.eval.activation is {network.activation!r}, and {network.instead_of!r} belongs to the loss "
                f"{objective.name}; train without the field, and give it to eval.py to see what the wrong decoder costs"
            )
        with of_the_user():
            augmentation = augment.Augmentation(**dict(config["augment"]))
        return cls(
            network=network,
            objective=objective,
            augmentation=augmentation,
            average_decay=train["average_decay"],
            seed=config["seed"],
            accumulation=train["accumulation"],
            nonfinite=train["nonfinite"],
        )


def check_config(config: Mapping[str, Any]) -> None:
    """UserError if a field of a configuration (nested dicts) is missing, is not known, or is out of its range."""
    with of_the_user():
        ranges.check_fields(flatten(config))


def check_memory(field: str, batch_size: int, shape: tuple[int, int]) -> None:
    """UserError if the main memory of a process cannot even hold its images of a batch.

    Args:
      field: of the configuration that says the size of the batch, for the message.
      batch_size: of all processes together.
      shape: `(H, W)` of an image, pixels.
    """
    needed = 12 * math.prod(shape) * batch_size / jax.process_count()  # bytes of float32, three channels
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise UserError(
            f"config.{field} is {batch_size}: the images of a batch take {needed / 2**30:.0f} GiB in each process, and "
            f"this machine has {there / 2**30:.0f} GiB of memory; want a smaller batch"
        )


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
        """The Durations of a ConfigDict; `num_examples` training examples make an epoch.

        Raises:
          UserError: the run has more steps than can be counted.
        """

        def steps(epochs: float) -> int:
            return steps_of(epochs, num_examples, config.train.batch_size)

        total, warmup = config.train.steps or steps(config.train.epochs), steps(config.train.warmup_epochs)
        for field, count in (("epochs", total), ("warmup_epochs", warmup)):
            if count > MOST_STEPS:
                raise UserError(
                    f"config.train.{field} is {config.train[field]}, {count:.3g} steps; want fewer than 2**31"
                )
        return cls(
            total=total,
            warmup=warmup,
            evaluate=steps(config.log.eval_every_epochs),
            save=steps(config.log.checkpoint_every_epochs),
            log=config.log.every_steps,
        )

    def warning(self) -> str:
        """A sentence for the account if the learning rate never comes to its peak; empty otherwise."""
        if self.warmup < self.total:
            return ""
        return (
            f"the warm-up takes {self.warmup} steps and the run has {self.total}: the learning rate stays below its "
            "peak; lower config.train.warmup_epochs, or train longer"
        )


def steps_of(epochs: float, num_examples: int, batch_size: int) -> int:
    """Epochs as a number of steps: at least one, unless there are none."""
    return max(1, round(epochs * num_examples / batch_size)) if epochs else 0
