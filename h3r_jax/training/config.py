"""From a configuration to the objects that training needs, and what makes two configurations the same run."""

import contextlib
import hashlib
import importlib.metadata
import json
import platform
import sys

import jax
from absl import flags, logging
from etils import epath

import h3r_jax
from h3r_jax import augment, codec, models
from h3r_jax.errors import UserError
from h3r_jax.landmarks import LandmarkScheme, get_scheme
from h3r_jax.landmarks.scheme import BOX
from h3r_jax.training.protocols import Protocol
from h3r_jax.training.step import Recipe

FILE = "config.json"
# Fields that change paths, evaluation, logging or what happens after an accident, but not the function that is trained.
FREE_FIELDS = (
    "data_dir", "prepared_dir", "data.cache_bytes", "data.on_error", "data.test_name", "data.test_folder", "data.test_split",
    "train.nonfinite", "eval", "log",
)  # fmt: skip
# Whose versions may change a result, where they are installed; tensorflow decodes and resizes images.
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow", "tensorflow-cpu")


def quiet_libraries():
    """Only warnings of the libraries below, unless `--verbosity` asks for more."""
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
        # Orbax warns of every save without an evaluation, of which there are meant to be many.
        logging.get_absl_logger().addFilter(lambda record: "tracked_metric" not in record.getMessage())


@contextlib.contextmanager
def clear_errors(*kinds):
    """What a user can put right ends the program with one sentence; `--verbosity=1` shows the trace.

    Args:
      kinds: classes of exceptions; ValueError and FileNotFoundError by default.
    """
    kinds = kinds or (ValueError, FileNotFoundError)
    try:
        yield
    except kinds as error:
        if logging.get_verbosity() >= logging.DEBUG:
            raise
        sys.exit(f"error: {error}")


def check_fields(config, base):
    """ValueError if `config` has fields that `base`, the configuration of all defaults, has not."""
    known = _flatten(base.to_dict())
    for field in _flatten(config.to_dict()):
        if field not in known:
            raise UserError(f"unknown field config.{field}; known are {', '.join(sorted(known))}")


def check_numbers(config):
    """ValueError if a length or an interval of training is not positive, or the warm-up is negative; names the field."""
    for field in (
        "train.epochs",
        "log.every_steps",
        "log.eval_every_epochs",
        "log.checkpoint_every_epochs",
        "log.keep_checkpoints",
    ):
        section, name = field.split(".")
        if not config[section][name] > 0:
            raise UserError(f"config.{field} must be positive, got {config[section][name]}")
    if not config.train.warmup_epochs >= 0:
        raise UserError(f"config.train.warmup_epochs must not be negative, got {config.train.warmup_epochs}")


def steps_of(epochs, num_examples, batch_size):
    """Epochs as a number of steps: at least one, unless there are none."""
    return max(1, round(epochs * num_examples / batch_size)) if epochs else 0


def check_same_run(config, workdir):
    """Writes the configuration of a new run; ValueError if the workdir holds a run of another function.

    Args:
      config: ConfigDict.
      workdir: of the run; created if it is not there.
    """
    workdir = epath.Path(workdir)
    mine = json.loads(config.to_json())
    path = workdir / FILE
    if path.exists():
        changes = _changes(json.loads(path.read_text()), mine)
        if changes:
            raise UserError(
                f"{path} is of another run ({'; '.join(changes)}); choose another --workdir, or make the fields agree to resume"
            )
        return
    workdir.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(mine, indent=2))


def _changes(theirs, mine):
    """Fields of the function that is trained in which two configurations differ, in words."""
    theirs = _flatten(theirs)
    return [
        f"{field}: {theirs.get(field)!r} there, {value!r} here"
        for field, value in _flatten(mine).items()
        if theirs.get(field) != value and not field.startswith(FREE_FIELDS)
    ]


def fingerprint(config):
    """A hash of the fields that make two configurations the same run."""
    fields = {
        name: value
        for name, value in _flatten(json.loads(config.to_json())).items()
        if not name.startswith(FREE_FIELDS)
    }
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _versions():
    installed = {"python": platform.python_version(), "h3r_jax": h3r_jax.__version__}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


def describe_run(config, data, step):
    """What a checkpoint says of its run: where it stands, of which configuration and data, made by which libraries.

    `data` is {"name", "examples"} of the training split.
    """
    return {
        "step": step,
        "examples_seen": step * config.train.batch_size,  # the position in the one global order
        "data": data,
        "seed": config.seed,
        "config_hash": fingerprint(config),
        "config": json.loads(config.to_json()),
        "versions": _versions(),
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind} in {jax.process_count()} process(es)",
    }


def check_checkpoint(config, data, about, name):
    """Whether a run may go on from a checkpoint.

    Args:
      config: ConfigDict of the run.
      data: {"name", "examples"} of the training split.
      about: what `describe_run` stored there; None if nothing was.
      name: of the checkpoint, for messages.

    Returns:
      A sentence about data or library versions that differ; empty if none do.

    Raises:
      ValueError: the checkpoint is of another function, or of another number of examples, which have another order.
    """
    if about is None:
        return f"{name} does not say which configuration and library versions it is of"
    if about["config_hash"] != fingerprint(config):
        changes = (
            "; ".join(_changes(about["config"], json.loads(config.to_json()))) or "fields that are no longer there"
        )
        raise UserError(
            f"{name} is of another run ({changes}); choose another --workdir, or make the fields agree to resume"
        )
    theirs = about.get("data", data)  # which the first checkpoints of this format do not say
    if theirs["examples"] != data["examples"]:
        raise UserError(
            f"{name} is of a run on {theirs['examples']} examples ({theirs['name']}), and now there are {data['examples']} "
            f"({data['name']}): they would come in another order. Choose another --workdir, or bring back the data to resume"
        )
    mine = {"data": data["name"]} | _versions()
    there = {"data": theirs["name"]} | about["versions"]
    changed = [
        f"{part} {there.get(part)} there, {value} here" for part, value in mine.items() if there.get(part) != value
    ]
    return (
        f"{name} is of other data or libraries ({', '.join(changed)}); the run may not repeat to the last bit"
        if changed
        else ""
    )


def _flatten(tree, prefix=""):
    result = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            result |= _flatten(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return result


def make_scheme(config):
    """The landmark scheme of `config.landmarks`: a known one, or one's own by mirror order and normaliser."""
    if config.landmarks.scheme:
        if config.landmarks.mirror or config.landmarks.normalizer:
            raise UserError(
                f"config.landmarks has the scheme {config.landmarks.scheme!r}, and a mirror order or normaliser as well; "
                "for those of one's own leave the scheme empty (--config.landmarks.scheme=)"
            )
        return get_scheme(config.landmarks.scheme)
    if not config.landmarks.mirror:
        raise UserError(
            "config.landmarks needs a scheme, or a mirror order with one index per landmark (range(K) where nothing mirrors)"
        )
    mirror = tuple(config.landmarks.mirror)
    normalizer = tuple(config.landmarks.normalizer) or BOX
    return LandmarkScheme("custom", len(mirror), mirror, (("custom", normalizer),))


def make_protocol(config, scheme):
    """How `config.eval` says that predictions are scored; ValueError for an unknown name."""
    return Protocol(
        scheme,
        metric=config.eval.metric,
        normalizers=tuple(config.eval.normalizers),
        thresholds=tuple(config.eval.thresholds),
        subsets=tuple(config.eval.subsets),
    )


def describe_protocol(config, protocol, recipe):
    """The protocol in one line, for printing beside every figure."""
    size = "x".join(map(str, config.model.input_size))
    unit = ", ".join(
        f"{name or protocol.scheme.normalizers[0][0]} {protocol.scheme.normalizer(name)}"
        for name in protocol.normalizers or ("",)
    )
    maps = f'the "{recipe.logits}" maps' if recipe.head == "binary" else "the maps"
    flip = f"averages {config.eval.flip}" if config.eval.flip else "off"
    thresholds = (
        f", thresholds {', '.join(f'{value:g}' for value in protocol.thresholds)}" if protocol.thresholds else ""
    )
    subsets = f", subsets {', '.join(protocol.subsets)}" if protocol.subsets else ""
    return (
        f"{protocol.metric}, box from {config.data.box} x {config.data.box_scale:g}, {config.eval.crop} crop, "
        f"input {size}, {recipe.activation} of {maps}, normaliser {unit}{thresholds}{subsets}, flip test {flip}"
    )


def make_recipe(config, scheme):
    """The static part of training and evaluation steps.

    Raises:
      ValueError: unknown names or values out of range; names the field.
    """
    model = models.build(
        config.model.name,
        scheme.num_landmarks,
        head=config.model.head,
        stride=config.model.stride,
        dtype=config.model.dtype,
    )
    return Recipe(
        model=model,
        head=config.model.head,
        logits=config.model.logits,
        shape=tuple(config.model.input_size),
        stride=config.model.stride,
        scheme=scheme,
        loss=config.loss.name,
        target=config.loss.target,
        augmentation=augment.Augmentation(**config.augment.to_dict()),
        average_decay=config.train.average_decay,
        seed=config.seed,
        accumulation=config.train.accumulation,
        nonfinite=config.train.nonfinite,
        activation=config.eval.activation,
    )


def make_decoder(config, recipe):
    """The name and function of the decoder that `config.eval` asks for."""
    selection = config.eval.selection
    name = f"k={config.eval.k}" + ("" if selection == "top_k" else f" {selection}")
    return name, decoder(recipe, k=config.eval.k, selection=selection)


def decoder(recipe, *, k, selection="top_k"):
    """A function from logit maps `[B, h, w, K]` to `[B, K, 2]`, with the recipe's activation."""

    def decode(logits):
        return codec.decode(logits, k=k, stride=recipe.stride, activation=recipe.activation, selection=selection)

    return decode
