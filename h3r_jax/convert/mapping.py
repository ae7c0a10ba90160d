"""PyTorch tensors to Flax variables and back, every one accounted for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import numpy as np
from flax import traverse_util

from h3r_jax.convert import naming
from h3r_jax.convert.recognition import left_out_reason
from h3r_jax.convert.values import as_weights, listed, problems
from h3r_jax.errors import UserError

# Axes of a kernel: [O, I/groups, kh, kw] in PyTorch, [kh, kw, I/groups, O] here.
TO_FLAX, TO_TORCH = (2, 3, 1, 0), (3, 2, 0, 1)


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of the arrays of a source.

    taken: names in the source.
    left_out: name in the source -> why it is not used.
    fresh: name here -> why the source does not provide it.
    notes: sentences on what differs from the source although its arrays are taken.
    """

    taken: tuple[str, ...]
    left_out: dict[str, str]
    fresh: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The report as short lines: how many arrays were taken, which were not and why, and the notes."""
        lines = [f"{len(self.taken)} arrays taken"]
        for verb, reasons in (("left out", self.left_out), ("starting fresh", self.fresh)):
            for reason in dict.fromkeys(reasons.values()):
                group = [name for name, value in reasons.items() if value == reason]
                lines.append(f"{len(group)} {verb} ({reason}): {listed(group)}")
        return [*lines, *self.notes]

    def __str__(self) -> str:
        return "; ".join(self.lines())


def _complain(source: str, spec: object, **found: list[str]) -> None:
    if text := problems(found):
        raise UserError(f"{source} are not those of {spec}; {text}")


def from_torch(tensors: Mapping[str, np.ndarray], spec: naming.Spec) -> tuple[dict, Report]:
    """The variables of a network from PyTorch's tensors.

    Args:
      tensors: name -> numpy array, in the naming of `spec`; convolutions are `[O, I/groups, kh, kw]`.
      spec: see `recognize`.

    Returns:
      variables {"params": ..., "batch_stats": ...} of numpy float32 arrays, kernels `[kh, kw, I/groups, O]`;
      a backbone alone has {"backbone": ...} in each. And the Report, which notes arrays of other types.

    Raises:
      UserError: tensors are missing, unexpected or of another shape, or hold values that no network can work with
        (`values.as_weights`); lists their names.
    """
    shapes = naming.shapes(spec)
    names = naming.names(shapes, spec.naming)
    flat, missing, misshapen = {}, [], []
    for path, name in names.items():
        if name not in tensors:
            missing.append(name)
            continue
        wanted = tuple(shapes[path][axis] for axis in TO_TORCH) if path[-1] == "kernel" else shapes[path]
        if tensors[name].shape != wanted:
            misshapen.append(f"{name} {tensors[name].shape} for {wanted}")
            continue
        flat[path] = tensors[name]
    rest = [name for name in tensors if name not in set(names.values())]
    left_out = {name: reason for name in rest if (reason := left_out_reason(name, spec.naming))}
    unexpected = [name for name in rest if name not in left_out]
    _complain("the tensors", spec, missing=missing, unexpected=unexpected, misshapen=misshapen)
    flat, notes = as_weights(flat, names)
    for path, array in flat.items():
        flat[path] = np.ascontiguousarray(array.transpose(TO_FLAX) if path[-1] == "kernel" else array)
    return traverse_util.unflatten_dict(flat), Report(tuple(names.values()), left_out, notes=notes)


def to_torch(variables: dict, spec: naming.Spec) -> dict[str, np.ndarray]:
    """The PyTorch tensors of a network: `from_torch` backwards.

    They do not say the heatmap's stride, which is 4 in the programs that these names belong to.

    Args:
      variables: {"params", "batch_stats"}, arrays.
      spec: its naming names the tensors.

    Returns:
      name -> numpy array, with the counters `num_batches_tracked` that PyTorch expects of every normalisation.

    Raises:
      ValueError: the variables are not those of `spec`, or the naming has no name for its head.
    """
    flat = traverse_util.flatten_dict(variables)
    shapes = naming.shapes(spec)
    _complain(
        "the arrays",
        spec,
        missing=["/".join(path) for path in shapes if path not in flat],
        unexpected=["/".join(path) for path in flat if path not in shapes],
        misshapen=["/".join(path) for path in shapes if path in flat and flat[path].shape != shapes[path]],
    )
    tensors = {}
    for path, name in naming.names(shapes, spec.naming).items():
        array = np.asarray(flat[path])
        tensors[name] = np.ascontiguousarray(array.transpose(TO_TORCH) if path[-1] == "kernel" else array)
        if path[-1] == "var":
            counter = name.replace("running_var", naming.COUNTER)
            counts = spec.batches_tracked
            tensors[counter] = np.asarray(counts.get(counter, 0) if isinstance(counts, dict) else counts, np.int64)
    return tensors


def merge(source: dict, target: dict, *, other_head: str = "") -> tuple[dict, Report]:
    """Freshly initialised variables with those of `source` in them: the backbone, and what fits of the head.

    Args:
      source: variables of a whole model or of a backbone, numpy.
      target: variables of a model; numpy or JAX arrays.
      other_head: why the head's last layer must start fresh, whatever its shape; empty if the layer may be taken.

    Returns:
      The variables, in the types of `target`, and the Report.

    Raises:
      ValueError: the backbones differ; lists the arrays.
    """
    flat, ours = traverse_util.flatten_dict(source), traverse_util.flatten_dict(target)
    taken: list[str] = []
    fresh: dict[str, str] = {}
    missing, misshapen = [], []
    for path, value in ours.items():
        name = "/".join(path)
        if other_head and path in flat and path[1] == "head" and path[2].startswith("predict"):
            fresh[name] = other_head
        elif path in flat and flat[path].shape == value.shape:
            ours[path] = np.asarray(flat[path], value.dtype)
            taken.append(name)
        elif path[1] == "head":
            fresh[name] = f"{flat[path].shape} there, {value.shape} here" if path in flat else "not there"
        elif path in flat:
            misshapen.append(f"{name} {flat[path].shape} for {value.shape}")
        else:
            missing.append(name)
    left_out, unexpected = {}, []
    last = max((path[2] for path in flat if path[2].startswith("stage")), default="")  # the last exchange of an HRNet
    pose = not any(_lower_fusion(path, last) for path in ours)
    for path in flat:
        name = "/".join(path)
        if path in ours:
            continue
        if path[1] == "head":
            left_out[name] = "this head has no such array"
        elif pose and _lower_fusion(path, last):
            left_out[name] = "the pose form has no other branches at the end"
        else:
            unexpected.append(name)
    _complain("the arrays", "this backbone", missing=missing, unexpected=unexpected, misshapen=misshapen)
    return traverse_util.unflatten_dict(ours), Report(tuple(taken), left_out, fresh)


def _lower_fusion(path: naming.Path, exchange: str) -> bool:
    """Whether an array makes a branch below the highest at the end of that exchange of an HRNet."""
    return path[2] == exchange and re.match("fuse_layers_[1-9]", path[3]) is not None
