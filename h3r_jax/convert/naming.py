"""What each array of a model is called in PyTorch.

Arrays here have paths, `("params", "backbone", "stage2_0", "branches_0_0", "conv1", "kernel")`; the same
array of a PyTorch checkpoint has a name, `backbone.stage2.0.branches.0.0.conv1.weight`. A *naming* is a
family of such names:

    h3r          the released H3R networks (`torchalign`): `backbone.*`, `heatmap_head.head.layers.N`
    facial       HRNet-Facial-Landmark-Detection: the backbone without a prefix, `head.N`
    pose         HRNet for human pose: the backbone without a prefix, `final_layer`
    imagenet     backbones for classification, the official ones and timm's: no prefix; no head is taken
    torchvision  MobileNetV2 for classification, with one more level of nesting: no prefix; no head is taken

The names of H3R are the ones that its classes give. Its own checkpoints were not at hand; a network that others
trained with the same classes was, and loads.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

import jax
from flax import traverse_util

from h3r_jax import models
from h3r_jax.errors import UserError

Path = tuple[str, ...]

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
SEQUENCE = {"conv": "0", "bn": "1"}  # members of a sequence of convolution and normalisation
BACKBONE_PREFIX = {"h3r": "backbone."}
H3R_HEAD = "heatmap_head.head.layers"
HEAD_MODULES: dict[str, dict[str, str]] = {
    "h3r": {"conv": f"{H3R_HEAD}.0", "bn": f"{H3R_HEAD}.1", "predict": f"{H3R_HEAD}.3"},
    "facial": {"conv": "head.0", "conv_bias": "head.0", "bn": "head.1", "predict": "head.3", "predict_bias": "head.3"},
    "pose": {"predict": "final_layer", "predict_bias": "final_layer"},
    "imagenet": {},
    "torchvision": {},
}
NAMING_OF_HEAD = {"heatmap": "h3r", "binary": "h3r", "facial": "facial", "pose": "pose", None: "imagenet"}
COUNTER = "num_batches_tracked"


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a set of weights is.

    model: key of `models.BACKBONES`.
    head: key of `models.HEADS`; None for a backbone alone.
    landmarks: K; 0 for a backbone alone.
    naming: of its tensors in PyTorch, see the module's docstring.
    batches_tracked: PyTorch's count of training steps, which it keeps beside the running statistics of every
      normalisation. Where the counts differ, as after training a part alone: name of the counter -> count.
    """

    model: str
    head: str | None
    landmarks: int
    naming: str
    batches_tracked: int | dict[str, int] = dataclasses.field(default=0, hash=False)

    @classmethod
    def stored(cls, fields: Any, where: str) -> "Spec":
        """The Spec of fields that were stored as JSON; further ones are passed over.

        Raises:
          UserError: a field is missing or is not what it must be; names it and `where` it was stored.
        """
        fields = fields if isinstance(fields, dict) else {}
        head, landmarks, tracked = fields.get("head"), fields.get("landmarks"), fields.get("batches_tracked")
        fits = {
            "model": _one_of(fields.get("model"), models.BACKBONES),
            "head": head is None or _one_of(head, models.HEADS),
            "landmarks": _is_count(landmarks) and (landmarks == 0) == (head is None),
            "naming": _one_of(fields.get("naming"), HEAD_MODULES),
            "batches_tracked": all(map(_is_count, tracked.values() if isinstance(tracked, dict) else [tracked])),
        }
        if wrong := [f"{name} is {fields[name]!r}" if name in fields else f"{name} is missing"
                     for name, right in fits.items() if not right or name not in fields]:  # fmt: skip
            raise UserError(f"{where} does not describe a network of this version: {', '.join(wrong)[:200]}")
        return cls(**{name: fields[name] for name in fits})

    def __str__(self) -> str:
        head = f"head {self.head} for {self.landmarks} landmarks" if self.head else "the backbone alone"
        return f"{self.model}, {head}"


def _one_of(value: Any, known: Iterable[str | None]) -> bool:
    return isinstance(value, str) and value in known


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


@functools.lru_cache(maxsize=16)
def _shapes(backbone: Callable[..., Any], head: str | None, landmarks: int) -> dict[Path, tuple[int, ...]]:
    """path -> shape of every array; `backbone` is a value of `models.BACKBONES`."""
    name = next(name for name, builder in models.BACKBONES.items() if builder is backbone)
    model = models.build(name, landmarks or 1, head=head or "pose")
    variables = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 64, 64, 3), "float32"))
    flat = traverse_util.flatten_dict(variables)
    return {path: leaf.shape for path, leaf in flat.items() if head or path[1] == "backbone"}


def shapes(spec: Spec) -> dict[Path, tuple[int, ...]]:
    """The shape of every array of `spec`, by its path."""
    return _shapes(models.BACKBONES[spec.model], spec.head, spec.landmarks)


def names(paths: Iterable[Path], naming: str) -> dict[Path, str]:
    """The PyTorch name of every path of a model's arrays: path -> name, in `naming`, a key of `HEAD_MODULES`."""
    expanded = {path[2] for path in paths if path[3] == "expand"}
    return {path: _module(path, naming, expanded) + "." + LEAVES[path[-1]] for path in paths}


def _module(path: Path, naming: str, expanded: set[str]) -> str:
    part, modules = path[1], path[2:-1]
    if part == "head":
        return HEAD_MODULES[naming][modules[0]]
    prefix = BACKBONE_PREFIX.get(naming, "")
    if len(modules) == 3 and modules[0].startswith("features_"):
        block, step, layer = modules
        return prefix + _inverted_residual(block, step, layer, block in expanded, naming == "torchvision")
    return prefix + ".".join(re.sub(r"_(\d+)", r".\1", SEQUENCE.get(module, module)) for module in modules)


def _inverted_residual(block: str, step: str, layer: str, expanded: bool, nested: bool) -> str:
    """The module of a layer in a block of MobileNetV2, which is one sequence of all its layers.

    Every step but the last has convolution, normalisation and activation. If `nested`, these three are a sequence of
    their own.
    """
    position = ("expand", "depthwise", "project").index(step) - (not expanded)
    within = int(SEQUENCE[layer])
    if nested and step != "project":
        index = f"{position}.{within}"
    else:
        index = str(position * (1 if nested else 3) + within)
    return f"{block.replace('_', '.')}.conv.{index}"
