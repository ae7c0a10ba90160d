"""What the value of each field of a configuration may be, in one place.

`configs/common.py` has the same fields, with their defaults and what they mean. Everything that takes one of these
numbers looks here: `train.py`, `eval.py`, whoever reads a config.json, and the classes that are made from Python.
"""

import argparse
import dataclasses
import difflib
import numbers
import re
from collections.abc import Mapping
from typing import Any

LARGEST, SMALLEST = 3.4e38, 1.2e-38  # of float32, in which networks compute; a smaller number would become zero


@dataclasses.dataclass(frozen=True)
class Number:
    """A finite number. A truth value is none, nor is a text.

    whole: whether it is an integer; 2.0 is none.
    least, most: ends that belong to the range; None for no such end.
    above, below: ends that do not belong to it.
    """

    whole: bool = False
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, value: Any) -> bool:
        number = isinstance(value, numbers.Integral if self.whole else numbers.Real)
        if not number or isinstance(value, bool):
            return False
        if not self.whole and value != 0 and not SMALLEST <= abs(value) <= LARGEST:  # NaN is not between them either
            return False
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            ends = [f"from {self.least} to {self.most}"]
        else:
            words = {"of at least": self.least, "above": self.above, "of at most": self.most, "below": self.below}
            ends = [f"{word} {end}" for word, end in words.items() if end is not None]
        return f"a {'whole' if self.whole else 'finite'} number {' and '.join(ends)}"


@dataclasses.dataclass(frozen=True)
class Text:
    """A text; `empty` says whether it may be the empty one. Whoever takes a name knows the known ones.

    path: whether it is a path, local or in a cloud (`gs://`).
    """

    empty: bool = True
    path: bool = False

    def __contains__(self, value: Any) -> bool:
        if not isinstance(value, str) or not (value or self.empty):
            return False
        return not self.path or ("\0" not in value and ("://" not in value or value.startswith("gs://")))

    def __str__(self) -> str:
        return "a path, local or gs://" if self.path else "a text" if self.empty else "a name"


@dataclasses.dataclass(frozen=True)
class Switch:
    """A truth value."""

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "true or false"


@dataclasses.dataclass(frozen=True)
class Several:
    """A tuple, or a list as JSON has it.

    each: of its values.
    example: how a command line has one.
    counts: the numbers of values that it may have; empty for any.
    """

    each: Number | Text
    example: str
    counts: tuple[int, ...] = ()

    def __contains__(self, value: Any) -> bool:
        right = isinstance(value, (tuple, list)) and (not self.counts or len(value) in self.counts)
        return right and all(each in self.each for each in value)

    def __str__(self) -> str:
        count = f" of {max(self.counts)}" if self.counts else ""
        none = " ('()' for none)" if 0 in (self.counts or (0,)) else ""
        return f"a tuple{count}, each value {self.each}, such as '{self.example}'{none}"


TEXT, PATH, SWITCH = Text(), Text(path=True), Switch()
COUNT, POSITIVE, NOT_NEGATIVE = Number(whole=True, least=1), Number(above=0), Number(least=0)
# BELOW_ONE: what is nearer to one becomes one in float32.
PROBABILITY, BELOW_ONE = Number(least=0, most=1), Number(least=0, most=0.999999)

RANGES: dict[str, Number | Text | Switch | Several] = {
    "seed": Number(whole=True, least=0, most=2**32 - 1),  # JAX keeps 32 bits
    "data_dir": PATH,
    "prepared_dir": PATH,
    "data.name": TEXT,
    "data.folder": PATH,
    "data.train_split": TEXT,
    "data.validation_split": TEXT,
    "data.test_name": TEXT,
    "data.test_folder": PATH,
    "data.test_split": TEXT,
    "data.box": TEXT,
    "data.box_scale": Number(above=0.001, most=10),
    "data.cache_bytes": Number(whole=True, least=0),
    "landmarks.scheme": TEXT,
    "landmarks.mirror": Several(Number(whole=True, least=0), "(1, 0, 2)"),
    "landmarks.normalizer": Several(Number(whole=True, least=0), "(0, 1)", counts=(0, 2)),
    "landmarks.connections": Several(Number(whole=True, least=0), "(0, 1, 1, 2)"),
    "landmarks.sigmas": Several(POSITIVE, "(0.05, 0.05)"),
    "model.name": TEXT,
    "model.head": TEXT,
    "model.logits": TEXT,
    "model.input_size": Several(Number(whole=True, least=1, most=2**14), "(128, 128)", counts=(2,)),
    "model.stride": Number(whole=True, least=1, most=16),
    "model.dtype": TEXT,
    "init_from": PATH,
    "loss.name": TEXT,
    "loss.target": TEXT,
    "loss.threshold": PROBABILITY,
    "loss.sigma": Number(least=0, most=1000),
    "loss.weight": POSITIVE,
    "loss.margin": NOT_NEGATIVE,
    "loss.eps": Number(above=0.001, most=1000),
    "augment.rotation": Number(least=0, most=360),
    "augment.scale": Number(least=0, most=3),  # with this and the next, a canvas has at most 56 times the crop's pixels
    "augment.shift": Number(least=0, most=1),
    "augment.mirror": PROBABILITY,
    "augment.color": BELOW_ONE,
    "augment.blur": Number(least=0, most=10),  # the kernel has 6 * blur rows, and each is compiled
    "augment.occlusion": PROBABILITY,
    "augment.half_body": PROBABILITY,
    "train.batch_size": Number(whole=True, least=1, most=2**20),
    "train.accumulation": COUNT,
    "train.epochs": POSITIVE,
    "train.steps": Number(whole=True, least=0, most=2**31 - 1),
    "train.optimizer": TEXT,
    # A step multiplies weights by 1 - learning_rate * weight_decay, which must not become negative.
    "train.learning_rate": Number(above=0, most=1),
    "train.warmup_epochs": NOT_NEGATIVE,
    "train.weight_decay": Number(least=0, most=1),
    "train.clip_norm": POSITIVE,
    "train.average_decay": BELOW_ONE,
    "train.nonfinite": TEXT,
    "eval.batch_size": Number(whole=True, least=1, most=2**20),
    "eval.k": Number(whole=True, least=0),
    "eval.selection": TEXT,
    "eval.activation": TEXT,
    "eval.flip": TEXT,
    "eval.crop": TEXT,
    "eval.averaged": SWITCH,
    "eval.metric": TEXT,
    "eval.normalizers": Several(Text(empty=False), "('inter_ocular', 'box')"),
    "eval.thresholds": Several(Number(above=1e-6, below=1), "(0.08, 0.1)"),
    "eval.subsets": Several(Text(empty=False), "('pose', 'blur')"),
    "log.every_steps": COUNT,
    "log.eval_every_epochs": POSITIVE,
    "log.checkpoint_every_epochs": POSITIVE,
    "log.keep_checkpoints": COUNT,
}


def check(field: str, value: Any, name: str = "") -> None:
    """ValueError if a value is out of its range.

    Args:
      field: key of `RANGES`.
      value: of the field.
      name: how the message calls it; empty for `config.FIELD`.
    """
    if value not in RANGES[field]:
        shown = tuple(value) if isinstance(value, list) else value
        raise ValueError(f"{name or f'config.{field}'} is {shown!r}; want {RANGES[field]}")


def check_name(field: str) -> None:
    """ValueError if there is no field of that name; names one that is like it."""
    if field not in RANGES:
        section = [name for name in RANGES if name.startswith(f"{field}.")]
        if section:
            raise ValueError(f"config.{field} is a section; want one of its fields, such as config.{section[0]}")
        similar = difflib.get_close_matches(field, RANGES, n=1)
        hint = f"did you mean config.{similar[0]}?" if similar else "configs/common.py lists the fields"
        raise ValueError(f"there is no field config.{field}; {hint}")


def check_fields(fields: Mapping[str, Any]) -> None:
    """ValueError if a field of a configuration is missing, is not known, or is out of its range.

    Args:
      fields: "section.field" -> value, such as `run.flatten` gives.
    """
    for field in fields:
        check_name(field)
    for field in RANGES:
        if field not in fields:
            raise ValueError(f"config.{field} is missing; configs/common.py has its default")
        check(field, fields[field])


def count(text: str) -> int:
    """A flag of a command that is a whole number above zero, for argparse."""
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no such number; want a whole number, 1 or more")
    return int(text)


def decimal(text: str) -> float:
    """The number that a text is to every program; Python alone would read 1_5 as 15.

    Raises:
      ValueError: it is none.
    """
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text.strip(), re.ASCII | re.IGNORECASE):
        raise ValueError(f"{text.strip()!r} is not a number with a decimal point")
    return float(text)
