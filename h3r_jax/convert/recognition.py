"""Which network a set of PyTorch tensors is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from h3r_jax import models
from h3r_jax.convert.naming import BACKBONE_PREFIX, COUNTER, HEAD_MODULES, Spec
from h3r_jax.errors import UserError
from h3r_jax.models.hrnet import HRNet

Tensors = Mapping[str, np.ndarray]  # name -> array

CLASSIFICATION = re.compile(r"(incre_modules|downsamp_modules|final_layer|classifier)\.")
MOST_CHANNELS = 2**20  # of a layer; more would not fit into a network's shapes
COUNTED = "PyTorch's counts of training steps, kept beside the arrays"


def recognize(
    tensors: Tensors, *, model: str | None = None, head: str | None = None, landmarks: int | None = None
) -> Spec:
    """The network that PyTorch tensors belong to.

    Args:
      tensors: name -> array; only names, shapes and PyTorch's counters are looked at.
      model: key of `models.BACKBONES`, if it is known; it must agree with the tensors.
      head: key of `models.HEADS`, if it is known. Otherwise a head of H3R is taken to be "binary", as the released ones
        are, unless its channels are as many as `landmarks` or odd.
      landmarks: K, if it is known; it must agree with the tensors.

    Raises:
      UserError: the tensors are of no known network, or not of the one that was named; or a counter is none.
    """
    if landmarks is not None and landmarks < 1:
        raise UserError(f"want at least one landmark, not {landmarks}")
    for kind, name, known in (("model", model, models.BACKBONES), ("head", head, models.HEADS)):
        if name is not None and name not in known:
            raise UserError(f"unknown {kind} {name!r}; known are {', '.join(known)}")
    naming = _naming(tensors)
    prefix = BACKBONE_PREFIX.get(naming, "")
    found = _backbones({name[len(prefix) :]: x for name, x in tensors.items() if name.startswith(prefix)}, naming)
    if model is None:
        model = found[0]
    elif model not in found:
        raise UserError(f"the tensors are those of {' or '.join(found)}, not of {model}")
    tracked = _batches_tracked(tensors, naming)
    last = tensors.get(f"{HEAD_MODULES[naming].get('predict')}.weight")
    if last is None:
        if head or landmarks:
            raise UserError(
                f"the tensors are those of {model} without a head for landmarks; "
                "a backbone alone can start a training, not replace a trained model"
            )
        return Spec(model, None, 0, naming, tracked)
    channels = _channels(last)
    head = _head(naming, channels, head, landmarks)
    count = channels // models.HEADS[head]
    if not count or channels % models.HEADS[head] or (landmarks and count != landmarks):
        wanted = landmarks or "a whole number"
        raise UserError(f"the head has {channels} channels, {count} landmarks for a head {head!r}, not {wanted}")
    return Spec(model, head, count, naming, tracked)


def without_prefix(tensors: Tensors) -> tuple[Tensors, str]:
    """The tensors without the prefix that all their names have before those of a known network, and the prefix.

    Training programs put such a prefix, as `model.` of Lightning or `_orig_mod.` of `torch.compile`. It is empty where
    there is none.
    """
    prefix, count = next(iter(_hidden(tensors).items()), ("", 0))
    if count < len(tensors):
        return tensors, ""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}, prefix


def _hidden(tensors: Tensors) -> dict[str, int]:
    """The prefixes that stand before the names of a known network, and how many have each; none if one has none."""
    prefixes = {match[1] for name in tensors if (match := re.match(r"(|.*?\.)(backbone\.)?(stage2|features)\.", name))}
    if "" in prefixes:
        return {}
    return {prefix: sum(name.startswith(prefix) for name in tensors) for prefix in sorted(prefixes)}


def _naming(tensors: Tensors) -> str:
    if any(name.startswith(BACKBONE_PREFIX["h3r"]) for name in tensors):
        return "h3r"
    if "features.1.conv.0.0.weight" in tensors:
        return "torchvision"
    if any(name.startswith("head.3.") for name in tensors):
        return "facial"
    if "final_layer.weight" in tensors and not any(re.match("(incre_modules|classifier)", name) for name in tensors):
        return "pose"
    return "imagenet"


def _backbones(tensors: Tensors, naming: str) -> list[str]:
    """Keys of `models.BACKBONES`, the likeliest first, that `tensors` without prefix may be."""
    if any(name.startswith("features.") for name in tensors):
        return ["mobilenet_v2"]
    if not any(name.startswith("stage2.") for name in tensors):
        first, known_names = ", ".join(list(tensors)[:3]), ", ".join(models.BACKBONES)
        inner = "".join(
            f"; {count} of them are named as in one after the prefix {prefix!r}: save these alone, without the prefix"
            for prefix, count in _hidden(tensors).items()
        )
        raise UserError(f"the tensors ({first}, ...) are of no known network; known are {known_names}{inner}")
    fields = _hrnet_fields(tensors)
    known = {name: builder() for name, builder in models.BACKBONES.items()}
    found = [
        name
        for name, module in known.items()
        if isinstance(module, HRNet) and all(getattr(module, field) == value for field, value in fields.items())
    ]
    if not found:
        text = ", ".join(f"{field} {value}" for field, value in fields.items())
        raise UserError(f"an HRNet with {text} is none of {', '.join(known)}")
    wanted = "bilinear" if naming == "facial" else "nearest"
    return sorted(found, key=lambda name: known[name].fuse != wanted)


def _hrnet_fields(tensors: Tensors) -> dict[str, Any]:
    """The fields of `HRNet` that its tensors show."""

    def count(pattern: str) -> int:
        return len({match.group(1) for name in tensors if (match := re.match(pattern, name))})

    stages = range(2, 2 + count(r"stage(\d+)\."))
    widths = {}
    for name, tensor in tensors.items():
        if match := re.fullmatch(r"stage\d+\.\d+\.branches\.(\d+)\.\d+\.conv1\.weight", name):
            widths[int(match.group(1))] = _channels(tensor)
    modules = tuple(count(rf"stage{stage}\.(\d+)\.") for stage in stages)
    last = f"stage{stages[-1]}.{modules[-1] - 1}.fuse_layers."
    return {
        "widths": tuple(width for _, width in sorted(widths.items())),
        "modules": modules,
        "blocks": count(r"stage2\.0\.branches\.0\.(\d+)\."),
        "bottlenecks": count(r"layer1\.(\d+)\."),
        "highest_only": not any(name.startswith(last) and not name.startswith(last + "0.") for name in tensors),
    }


def _head(naming: str, channels: int, head: str | None, landmarks: int | None) -> str:
    if naming != "h3r":
        if head not in (None, naming):
            raise UserError(f"the tensors have the head {naming!r}, not {head!r}")
        return naming
    if head is None:
        head = "heatmap" if channels == landmarks or channels % 2 else "binary"
    if head not in ("heatmap", "binary"):
        raise UserError(f"the tensors have a head of H3R, 'binary' or 'heatmap', not {head!r}")
    return head


def _batches_tracked(tensors: Tensors, naming: str) -> int | dict[str, int]:
    counts = {name: _count(name, x) for name, x in tensors.items() if left_out_reason(name, naming) == COUNTED}
    return counts if len(set(counts.values())) > 1 else next(iter(counts.values()), 0)


def _channels(weight: np.ndarray) -> int:
    """The outputs of a convolution; 0 of what is none."""
    return weight.shape[0] if weight.ndim == 4 and weight.shape[0] < MOST_CHANNELS else 0


def _count(name: str, counter: np.ndarray) -> int:
    value = counter.item() if counter.size == 1 else counter.shape
    if not isinstance(value, (int, float)) or not 0 <= value < 2**63 or value != int(value):
        raise UserError(f"{name} is {value}; want a count of training steps")
    return int(value)


def left_out_reason(name: str, naming: str) -> str | None:
    """Why a tensor of that name is left out on purpose, if no array takes it; None if it is not."""
    if naming == "imagenet" and CLASSIFICATION.match(name):
        return "classification head"
    if naming in ("imagenet", "torchvision") and re.match(r"(features\.1[4-8]|conv|classifier)\.", name):
        return "layers beyond the last tap, and classification head"
    return COUNTED if name.endswith(f".{COUNTER}") else None
