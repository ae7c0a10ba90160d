"""From whatever holds a trained network to a Predictor."""

import os
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

from h3r_jax import convert, weights
from h3r_jax import run as runs
from h3r_jax.convert.files import stored_config
from h3r_jax.errors import UserError
from h3r_jax.files import user_path
from h3r_jax.inference import Network, make_network, settings_of
from h3r_jax.landmarks import SCHEMES, LandmarkScheme, get_scheme
from h3r_jax.landmarks.scheme import BOX
from h3r_jax.predict.predictor import Predictor
from h3r_jax.training import sharding

# Settings that a file of weights does not say, as the published networks for faces have them.
DEFAULTS = {"input_size": (256, 256), "logits": "on"}  # "on": the released H3R networks are decoded from these maps
# The activation by head, for networks trained elsewhere. Networks of H3R take the softmax of their "on" maps. Networks
# that were trained to draw a Gaussian take the values themselves.
ACTIVATIONS = {"heatmap": "softmax", "binary": "softmax", "facial": "identity", "pose": "identity"}
# Arguments of `make_network` that a caller may replace.
SETTINGS = ["activation", "box_scale", "crop", "dtype", "flip", "input_size", "k", "logits", "selection", "stride"]
PLAIN = "plain"  # name of a scheme that mirrors nothing


def load_predictor(
    path: str | os.PathLike = weights.FACES,
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
      path: the name of a network that ships with the package (`weights.list_models`), by default the one for faces; or
        a workdir (its last checkpoint, the moving average where there is one), a step `WORKDIR/checkpoints/STEP`,
        or anything that `h3r_jax.convert` reads or writes: an orbax directory, a .safetensors or a PyTorch file. The
        config.json of a run says all that follows, and a file converted from a run keeps it. Where a file or folder has
        the name of a network that ships, it is taken.
      model, head, landmarks: of a file of weights, if its tensors do not say it; see `convert.recognize`.
      scheme: name in `landmarks.SCHEMES`, or a LandmarkScheme; by default the known one with that number of landmarks,
        else one without a mirror order, which cannot be flipped.
      max_batch, devices: see `Predictor`.
      **settings: `input_size` (a number, or height and width; pixels), `stride`, `dtype`, `box_scale`, `crop`,
        `logits`, `activation`, `k`, `selection`, `flip`, in place of the settings of the run or the file.

    Returns:
      Predictor.

    Raises:
      FileNotFoundError: there is neither such a source nor a network of that name.
      UserError: it is damaged or of another network, or a setting is unknown or does not suit the network.
    """
    source, shipped = _source(path)
    if unknown := set(settings) - set(SETTINGS):
        raise UserError(f"unknown setting {min(unknown)!r}; known are {', '.join(SETTINGS)}")
    devices = jax.local_devices() if devices is None else devices
    whole = sharding.replicated(sharding.make_mesh(devices))
    if found := runs.find(source):
        run, step = found
        config = run.config()
        said = settings_of(config)
        theirs = {"model": said["model"], "head": said["head"], "landmarks": said["scheme"].num_landmarks}
        for name, wanted in (("model", model), ("head", head), ("landmarks", landmarks)):
            if wanted not in (None, theirs[name]):
                raise UserError(f"{source} is a run with {name} {theirs[name]}; {wanted} was asked for")
        network = _network({**said, **settings}, scheme)
        averaged = config["eval"]["averaged"]
        variables, description = run.variables(network.shapes(), step=step, averaged=averaged, sharding=whole)
        return Predictor(network, variables, description, max_batch=max_batch, devices=devices)
    variables, spec, report = convert.read(source, model=model, head=head, landmarks=landmarks)
    if spec.head is None:
        raise UserError(f"{source} holds {spec}; want a network with a head for landmarks")
    if stored := stored_config(source):
        said = settings_of(stored)
    else:
        log_odds = spec.head == "binary" and settings.get("logits") == "difference"
        activation = "sigmoid" if log_odds else ACTIVATIONS[spec.head]
        seen = {"model": spec.model, "head": spec.head, "scheme": _scheme(spec.landmarks)}
        said = {**DEFAULTS, "activation": activation, **seen}
    network = _network({**said, **settings}, scheme)
    description = str(shipped) if shipped else "; ".join([f"{spec} of {source.name}", *report.notes])
    return Predictor(network, variables, description, max_batch=max_batch, devices=devices)


def _source(path: str | os.PathLike) -> tuple[epath.Path, weights.Model | None]:
    """Where the weights are: a path that is there, or the file of a network that ships, which is returned too."""
    source, models = user_path(path), weights.list_models()
    if source.exists() or runs.find(source):  # the latter knows of steps that are missing
        return source, None
    if shipped := models.get(os.fspath(path)):
        return epath.Path(shipped.path), shipped
    names = ", ".join(models)
    raise FileNotFoundError(f"{path} is no file or folder, and no network that ships with h3r_jax ({names})")


def _network(settings: dict[str, Any], scheme: str | LandmarkScheme | None) -> Network:
    """The Network of `settings`, with `scheme` in place of theirs unless it is None."""
    count = settings["scheme"].num_landmarks
    if scheme is not None:
        scheme = get_scheme(scheme) if isinstance(scheme, str) else scheme
        if scheme.num_landmarks != count:
            raise UserError(f"the network has {count} landmarks, scheme {scheme.name} has {scheme.num_landmarks}")
        settings = {**settings, "scheme": scheme}
    if settings.get("flip") and settings["scheme"].name == PLAIN:
        raise UserError(f"flip needs the mirror order of the {count} landmarks; give a scheme")
    return make_network(**settings)


def _scheme(num_landmarks: int) -> LandmarkScheme:
    """The only known scheme with that number of landmarks, else one that mirrors nothing."""
    found = [scheme for scheme in SCHEMES.values() if scheme.num_landmarks == num_landmarks]
    plain = LandmarkScheme(PLAIN, num_landmarks, tuple(range(num_landmarks)), (("box", BOX),))
    return found[0] if len(found) == 1 else plain
