"""Whatever holds a trained network, to a Predictor."""

import json
import os
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from h3r_jax import convert, models
from h3r_jax.convert.files import stored_config
from h3r_jax.errors import UserError
from h3r_jax.landmarks import SCHEMES, LandmarkScheme, get_scheme
from h3r_jax.landmarks.scheme import BOX
from h3r_jax.predict.network import Network
from h3r_jax.predict.predictor import Predictor
from h3r_jax.training import checkpoints, sharding, step
from h3r_jax.training import config as run_config

# What a file of weights does not say. The size is that of the published networks for faces.
DEFAULTS = {
    "stride": models.BACKBONE_STRIDE,
    "dtype": "float32",
    "input_size": (256, 256),
    "box_scale": 1.25,
    "crop": "exact",
    "logits": "on",  # of a two-channel head, as the released H3R networks are decoded
    "k": 9,
    "selection": "top_k",
    "flip": "",
}
# The activation by head of networks trained elsewhere: those of H3R take the softmax of their "on" maps, those trained to
# draw a Gaussian the values themselves.
ACTIVATIONS = {"heatmap": "softmax", "binary": "softmax", "facial": "identity", "pose": "identity"}


def load_predictor(
    path: str | os.PathLike,
    *,
    model: str | None = None,
    head: str | None = None,
    landmarks: int | None = None,
    scheme: str | LandmarkScheme | None = None,
    max_batch: int = 16,
    devices: Sequence[jax.Device] | None = None,
    **settings: Any,
) -> Predictor:
    """The predictor of a trained network.

    Args:
      path: a workdir (its last checkpoint, the moving average where there is one), a step `WORKDIR/checkpoints/STEP`, or
        anything that `h3r_jax.convert` reads or writes: an orbax directory, a .safetensors or a PyTorch file. A run's
        config.json says all that follows, and what was converted from a run keeps it.
      model, head, landmarks: of a file of weights, if its tensors do not say it; see `convert.recognize`.
      scheme: name in `landmarks.SCHEMES`, or a LandmarkScheme; by default the known one with that number of landmarks,
        else one without a mirror order, which cannot be flipped.
      max_batch, devices: see `Predictor`.
      **settings: `input_size` (a number, or height and width; pixels), `stride`, `dtype`, `box_scale`, `crop`, `logits`,
        `activation`, `k`, `selection`, `flip`, in place of what the run says or of `DEFAULTS` and the head.

    Returns:
      Predictor.

    Raises:
      FileNotFoundError: there is no such source.
      ValueError: it is damaged or of another network, or a setting is not known or not one that the network can be run with.
    """
    source = epath.Path(path).expanduser()
    known = {*DEFAULTS, "activation"}
    if unknown := set(settings) - known:
        raise UserError(f"unknown setting {min(unknown)!r}; known are {', '.join(sorted(known))}")
    devices = jax.local_devices() if devices is None else devices
    whole = sharding.replicated(sharding.make_mesh(devices))
    workdir = source if (source / run_config.FILE).exists() else source.parent.parent
    if source == workdir or (source.parent.name == checkpoints.DIRECTORY and source.name.isdigit()):
        config = _read_config(workdir / run_config.FILE)
        found, recipe = _from_config(config, workdir / run_config.FILE)
        for name, wanted in (("model", model), ("head", head), ("landmarks", landmarks)):
            theirs = recipe.scheme.num_landmarks if name == "landmarks" else found[name]
            if wanted not in (None, theirs):
                raise UserError(f"{source} is a run with {name} {theirs}; {wanted} was asked for")
        network = _network({**found, **settings}, scheme)
        variables, description = checkpoints.load_variables(
            workdir, None if source == workdir else source, recipe, averaged=config.eval.averaged, sharding=whole
        )
    else:
        variables, spec, _ = convert.read(source, model=model, head=head, landmarks=landmarks)
        if spec.head is None:
            raise UserError(f"{source} holds {spec}; want a network with a head for landmarks")
        stored = stored_config(source)
        if stored:
            found, _ = _from_config(ConfigDict(stored), source)
        else:
            log_odds = spec.head == "binary" and settings.get("logits") == "difference"
            activation = "sigmoid" if log_odds else ACTIVATIONS[spec.head]
            seen = {"model": spec.model, "head": spec.head, "scheme": _scheme(spec.landmarks)}
            found = {**DEFAULTS, "activation": activation, **seen}
        network = _network({**found, **settings}, scheme)
        description = f"{spec} of {source.name}"
    return Predictor(network, variables, description, max_batch=max_batch, devices=devices)


def _read_config(path: epath.Path) -> ConfigDict:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; it says what the network of a run is")
    try:
        return ConfigDict(json.loads(path.read_text()))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: it is not the JSON of a run's configuration ({error})") from error


def _from_config(config: ConfigDict, path: epath.Path) -> tuple[dict[str, Any], step.Recipe]:
    """Settings and Recipe of a run's configuration; `path` is for messages."""
    try:
        recipe = run_config.make_recipe(config, run_config.make_scheme(config))
        settings = {
            "model": config.model.name,
            "head": config.model.head,
            "logits": config.model.logits,
            "stride": config.model.stride,
            "dtype": config.model.dtype,
            "input_size": config.model.input_size,
            "scheme": recipe.scheme,
            "box_scale": config.data.box_scale,
            "activation": recipe.activation,
            "crop": config.eval.crop,
            "k": config.eval.k,
            "selection": config.eval.selection,
            "flip": config.eval.flip,
        }
    except (AttributeError, TypeError) as error:
        raise UserError(f"{path} has not the fields of this version ({str(error).splitlines()[0]})") from error
    return settings, recipe


def _scheme(num_landmarks: int) -> LandmarkScheme:
    """The only known scheme with that number of landmarks, else one that mirrors nothing."""
    found = [scheme for scheme in SCHEMES.values() if scheme.num_landmarks == num_landmarks]
    plain = LandmarkScheme(_plain(num_landmarks), num_landmarks, tuple(range(num_landmarks)), (("box", BOX),))
    return found[0] if len(found) == 1 else plain


def _plain(num_landmarks: int) -> str:
    return f"plain{num_landmarks}"


def _network(settings: dict[str, Any], scheme: str | LandmarkScheme | None) -> Network:
    settings = dict(settings)
    found = settings.pop("scheme")
    if scheme is not None:
        scheme = get_scheme(scheme) if isinstance(scheme, str) else scheme
        if scheme.num_landmarks != found.num_landmarks:
            raise UserError(
                f"the network has {found.num_landmarks} landmarks, scheme {scheme.name} has {scheme.num_landmarks}"
            )
        found = scheme
    if settings["flip"] and found.name == _plain(found.num_landmarks):
        raise UserError(f"flip needs the mirror order of the {found.num_landmarks} landmarks; give a scheme")
    size = settings.pop("input_size")
    model = models.build(
        settings.pop("model"),
        found.num_landmarks,
        head=settings["head"],
        stride=settings["stride"],
        dtype=settings.pop("dtype"),
    )
    return Network(model=model, scheme=found, shape=(size, size) if isinstance(size, int) else tuple(size), **settings)
