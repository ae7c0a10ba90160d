"""PyTorch weights in and out, every tensor accounted for.

    python -m h3r_jax.convert SOURCE DESTINATION [--model=NAME --landmarks=N --head=NAME --half]

SOURCE is a `.pth`, `.pth.tar`, `.pt` or `.bin` file (torch must be installed), a `.safetensors` file, a directory that
this command wrote, or a run or one of its steps, `WORKDIR/checkpoints/STEP`. DESTINATION ends in `.safetensors`, or is
an orbax directory to create. What is there already is replaced only with --overwrite.

    variables, spec, report = convert.read("model.pth")       # for inference
    variables, report = convert.load_initial("hrnet.pth", variables)    # for a training's start

It reads checkpoints of H3R, of HRNet-Facial-Landmark-Detection and of HRNet for human pose, and backbones for ImageNet:
HRNet (the official ones and timm's) and torchvision's MobileNetV2. `naming` has their names.
"""

from __future__ import annotations

import dataclasses
import os

import jax
from etils import epath
from flax import traverse_util

from h3r_jax import models
from h3r_jax.convert import destinations, files
from h3r_jax.convert.files import load_torch
from h3r_jax.convert.mapping import Report, from_torch, merge, to_torch
from h3r_jax.convert.naming import Spec
from h3r_jax.convert.recognition import recognize, without_prefix
from h3r_jax.convert.values import as_weights, halved
from h3r_jax.errors import UserError
from h3r_jax.files import user_path
from h3r_jax.inference import Network

__all__ = [
    "Report",
    "Spec",
    "convert_weights",
    "from_torch",
    "load_initial",
    "load_network",
    "load_torch",
    "read",
    "recognize",
    "to_torch",
]


def read(
    path: str | os.PathLike, *, model: str | None = None, head: str | None = None, landmarks: int | None = None
) -> tuple[dict, Spec, Report]:
    """The variables of any source.

    Args:
      path: of a PyTorch or safetensors file, an orbax directory, or a run or a step of one.
      model, head, landmarks: of the network, if they are known; see `recognize`.

    Returns:
      variables {"params", "batch_stats"} of numpy arrays, Spec, Report.

    Raises:
      FileNotFoundError: there is no such source.
      UserError: it is damaged, unsafe, of another network, or holds values that no network can work with.
    """
    source = user_path(path)
    if source.is_dir():
        variables, spec, about_file = files.load_directory(source)
        for name, wanted in {"model": model, "head": head, "landmarks": landmarks}.items():
            if wanted not in (None, getattr(spec, name)):
                raise UserError(f"{source} holds {spec}; {name} {wanted} was asked for")
        names = to_torch(variables, spec)  # which also checks that the arrays are those of `spec`
        flat = traverse_util.flatten_dict(variables)
        try:
            flat, notes = as_weights(flat, {path: "/".join(path) for path in flat})
        except UserError as error:
            raise UserError(f"{source}: {error}") from error
        return traverse_util.unflatten_dict(flat), spec, Report(tuple(names), {}, notes=(*notes, *about_file))
    content = files.read_file(source)
    stored = files.stored_spec(source)
    tensors, prefix = without_prefix(content.tensors)
    about_file = content.notes
    if prefix:
        about_file += (f"all names begin with {prefix!r} there, which is removed",)
    try:
        if stored:  # a head "heatmap" cannot be told from "binary" by its tensors
            head = head or stored.head
            model = model or stored.model
        spec = recognize(tensors, model=model, head=head, landmarks=landmarks)
        variables, report = from_torch(tensors, spec)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    left_out = {**report.left_out, **content.left_out}
    return variables, spec, dataclasses.replace(report, left_out=left_out, notes=(*report.notes, *about_file))


def convert_weights(
    source: str | os.PathLike,
    destination: str | os.PathLike,
    *,
    model: str | None = None,
    head: str | None = None,
    landmarks: int | None = None,
    half: bool = False,
    overwrite: bool = False,
) -> tuple[Spec, Report]:
    """Reads `source` and writes `destination`, which is there whole or not at all.

    Args:
      source: see `read`.
      destination: ends in `.safetensors`, or is a directory to create.
      model, head, landmarks: see `recognize`.
      half: whether kernels are written in float16, which halves a `.safetensors` file.
      overwrite: whether to replace a file or directory of the same kind at `destination`.

    Raises:
      FileNotFoundError: there is no such source.
      UserError: it cannot be read, see `read`; it has values beyond float16, or no `.safetensors` file is to be halved;
        or the destination may not be written, see `destinations.check`.
      OSError: the destination cannot be written; names it.
    """
    if str(destination).endswith(files.TORCH_SUFFIXES):
        raise UserError(
            f"{destination}: PyTorch's files are read, not written; want an ending {files.SAFETENSORS_SUFFIX}"
        )
    one_file = str(destination).endswith(files.SAFETENSORS_SUFFIX)
    if half and not one_file:
        raise UserError(f"{destination}: only a file that ends in {files.SAFETENSORS_SUFFIX} can be written in float16")
    parts = () if one_file else (files.DESCRIPTION, files.ARRAYS)
    destinations.check(destination, source, overwrite=overwrite, folder=parts)
    if not one_file:
        files.check_name(destination)
    variables, spec, report = read(source, model=model, head=head, landmarks=landmarks)
    config = files.stored_config(source)
    if one_file:
        tensors = halved(to_torch(variables, spec)) if half else to_torch(variables, spec)
        files.write_safetensors(destination, tensors, spec, config, overwrite=overwrite)
        stride = (config or {}).get("model", {}).get("stride", models.BACKBONE_STRIDE)
        if stride != models.BACKBONE_STRIDE:
            note = (
                f"its heatmaps have stride {stride}, which this library finds in the file; PyTorch programs with these "
                f"names have stride {models.BACKBONE_STRIDE}, load the file and compute something else"
            )
            report = dataclasses.replace(report, notes=(*report.notes, note))
    else:
        files.write_directory(destination, variables, spec, source, report, config, overwrite=overwrite)
    return spec, report


def load_initial(
    path: str | os.PathLike, variables: dict, *, model: str | None = None, head: str | None = None
) -> tuple[dict, Report]:
    """Freshly initialised variables, with trained ones in place of those that the source has.

    The backbone must be there in full. Of the head, arrays of the same shape are taken, and the rest starts fresh: the
    whole head after a backbone alone, its last layer where the kind of head or the number of landmarks differs.

    Args:
      path: of a backbone or a whole model, see `read`.
      variables: {"params", "batch_stats"} of the model, initialised.
      model, head: of these variables, keys of `models.BACKBONES` and `models.HEADS`; None if they are those of `path`.

    Returns:
      The variables, and the Report: the arrays that were taken, the arrays that start fresh, and a note if an HRNet
      joins its branches in another way than in the source.

    Raises:
      FileNotFoundError: there is no such source.
      ValueError: it is damaged, unsafe, or has another backbone.
    """
    trained, spec, reading = read(path)
    differs = None not in (head, spec.head) and head != spec.head
    reason = f"of a head {spec.head!r} for {spec.landmarks} landmarks there, a head {head!r} here"
    try:
        variables, report = merge(trained, variables, other_head=reason if differs else "")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    notes = reading.notes
    theirs, ours = (getattr(models.BACKBONES[name](), "fuse", None) for name in (spec.model, model or spec.model))
    if theirs != ours:
        notes += (f"branches are joined by {ours!r} here, by {theirs!r} in {spec.model}; the features differ",)
    return variables, Report(report.taken, {**reading.left_out, **report.left_out}, report.fresh, notes)


def load_network(path: str | os.PathLike, network: Network, *, sharding: jax.sharding.Sharding) -> tuple[dict, str]:
    """Weights of others for a network that is known.

    Args:
      path: see `read`.
      network: inference.Network of the weights.
      sharding: of every array.

    Returns:
      {"params", "batch_stats"}, and a phrase that says which they are.

    Raises:
      FileNotFoundError: there is no such source.
      UserError: it is damaged, unsafe, or of another network.
    """
    try:
        variables, spec, report = read(path, head=network.head, landmarks=network.scheme.num_landmarks)
    except UserError as error:
        wanted = f"config.model.head={network.head}, {network.scheme.num_landmarks} landmarks"
        raise UserError(f"{error} (the configuration says {wanted})") from error
    theirs, ours = (jax.tree.map(lambda x: x.shape, tree) for tree in (variables, network.shapes()))
    if theirs != ours:
        raise UserError(f"{path} holds {spec}, which is not the network of the configuration; correct config.model")
    return jax.device_put(variables, sharding), f"{spec} of {epath.Path(path).name} ({report})"
