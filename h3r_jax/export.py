"""A trained network as a file that runs without this library: crops in, landmarks out, the decoder inside.

    python -m h3r_jax.export SOURCE DESTINATION [--format=stablehlo|savedmodel] [--input_size=H,W --k=K ...]

SOURCE is what `h3r_jax.convert` reads: a PyTorch checkpoint, a `.safetensors` file, a converted directory, or
a step `WORKDIR/checkpoints/STEP` of a run, whose config.json then says how its maps are decoded. DESTINATION
is a file ("stablehlo") or a directory ("savedmodel") to create. Either maps

    images uint8[b, H, W, 3] -> {"landmarks": float32[b, K, 2] in input pixels, "confidence": float32[b, K]}

for every b, with normalisation, network and decoder inside:

    stablehlo   what `jax.export` writes, for CPU, CUDA and TPU; runs wherever JAX is, without Flax
    savedmodel  a TensorFlow SavedModel for CPU, without JAX; needs TensorFlow to be written
"""

import argparse
import dataclasses
import json
import sys
from typing import Any

import jax
import jax.export  # not an attribute of jax by itself
import ml_collections
from etils import epath

from h3r_jax import codec, convert, models
from h3r_jax.convert import files
from h3r_jax.training import config as run_config
from h3r_jax.training import step

PLATFORMS = ("cpu", "cuda", "tpu")
# By head, for weights that come without the config.json of a run: how the networks of others are decoded.
ACTIVATIONS = {"heatmap": "softmax", "binary": "softmax", "facial": "identity", "pose": "identity"}


@dataclasses.dataclass(frozen=True)
class Network:
    """A network, and how its outputs become landmarks.

    model: Flax module from normalised images to head outputs.
    head: name in `models.HEADS`.
    logits: of head "binary", see `step.LOGITS`.
    shape: `(H, W)` of the input, pixels.
    stride: input pixels per heatmap cell.
    k, activation, selection: see `codec.decode`.
    """

    model: Any
    head: str
    logits: str
    shape: tuple[int, int]
    stride: int
    k: int
    activation: str
    selection: str

    def __post_init__(self):
        for name, known in (("logits", step.LOGITS), ("activation", codec.ACTIVATIONS), ("selection", codec.SELECTIONS)):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}; known are {', '.join(known)}")

    def __str__(self):
        maps = f"{self.logits} logits, " if self.head == "binary" else ""
        return f"input {self.shape[0]}x{self.shape[1]}, stride {self.stride}, {maps}{self.activation}, {self.selection}, k={self.k}"


def load(source, *, model=None, head=None, landmarks=None, **changes):
    """Variables and description of what is to be exported.

    Args:
      source: see `convert.read`.
      model, head, landmarks: see `convert.read`.
      changes: fields of Network (shape, k, logits, activation, selection) in place of what the run's config.json
        says or, without one, of 256x256 pixels, the nine strongest cells, and the decoder that goes with the
        head in the programs of others.

    Returns:
      variables {"params", "batch_stats"}, Spec, Network.

    Raises:
      FileNotFoundError, ValueError: see `convert.read`; or the weights are of a backbone alone, or a change has no meaning.
    """
    variables, spec, _ = convert.read(source, model=model, head=head, landmarks=landmarks)
    if spec.head is None:
        raise ValueError(f"{source} is {spec}, which finds no landmarks; export a model with a head")
    network = _network_of_run(source) or _network_of_others(spec, changes)
    return variables, spec, dataclasses.replace(network, **changes)


def _network_of_run(source):
    """Network by the config.json of the run that `source` is a step of; None if it is of no run."""
    source = epath.Path(source).expanduser().resolve()
    if not source.is_dir() or (source / files.DESCRIPTION).exists():
        return None
    path = source.parent.parent / run_config.FILE
    try:
        config = ml_collections.ConfigDict(json.loads(path.read_text()))
        recipe = run_config.make_recipe(config, run_config.make_scheme(config))
        return Network(recipe.model, recipe.head, recipe.logits, recipe.shape, recipe.stride, config.eval.k, recipe.activation,
                       config.eval.selection)
    except (AttributeError, KeyError) as error:
        raise ValueError(f"{path} is not of this version: {error}") from error


def _network_of_others(spec, changes):
    model = models.build(spec.model, spec.landmarks, head=spec.head)
    difference = spec.head == "binary" and changes.get("logits") == "difference"
    return Network(model, spec.head, "on", (256, 256), models.BACKBONE_STRIDE, 9,
                   "sigmoid" if difference else ACTIVATIONS[spec.head], "top_k")


def landmark_function(variables, network):
    """The function from `uint8[b, H, W, 3]` to {"landmarks": `float32[b, K, 2]`, "confidence": `float32[b, K]`}."""

    def find_landmarks(images):
        found = codec.decode_with_statistics(step.predict_logits(variables, images, recipe=network), k=network.k,
                                             stride=network.stride, activation=network.activation, selection=network.selection)
        return {"landmarks": found.coordinates, "confidence": found.confidence}

    return find_landmarks


def write_stablehlo(path, variables, network):
    """Writes what `jax.export.deserialize` reads, for all of `PLATFORMS`; whole or not at all.

    Args:
      path: of the file; must not exist.
      variables, network: see `load`.

    Raises:
      ValueError: the file exists, or the network cannot be run on that input or decoded so.
    """
    batch, = jax.export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, *network.shape, 3), "uint8")

    def write(temporary):
        exported = jax.export.export(jax.jit(landmark_function(variables, network)), platforms=PLATFORMS)(images)
        temporary.write_bytes(exported.serialize())

    files.write_whole(path, write)


def write_savedmodel(path, variables, network):
    """Writes a SavedModel with the signature "serving_default"; whole or not at all.

    For CPU alone: TensorFlow's reader is older than JAX's writer, and knows no `top_k` as it is lowered for
    the other platforms.

    Args:
      path: of the directory; must not exist.
      variables, network: see `load`.

    Raises:
      ValueError: as `write_stablehlo`; or TensorFlow is not installed.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ValueError("the format savedmodel needs TensorFlow (pip install tensorflow-cpu)") from error
    from jax.experimental import jax2tf

    def write(temporary):
        converted = jax2tf.convert(landmark_function(variables, network), with_gradient=False, native_serialization_platforms=("cpu",),
                                   polymorphic_shapes=[f"(b, {network.shape[0]}, {network.shape[1]}, 3)"])
        images = tf.TensorSpec((None, *network.shape, 3), tf.uint8, name="images")
        module = tf.Module()
        module.find_landmarks = tf.function(converted, autograph=False, input_signature=[images])
        tf.saved_model.save(module, str(temporary), signatures=module.find_landmarks.get_concrete_function())

    files.write_whole(path, write)


FORMATS = {"stablehlo": write_stablehlo, "savedmodel": write_savedmodel}


def height_and_width(text):
    height, width = map(int, text.split(","))
    return height, width


def main(arguments=None):
    """Exports, and prints what; one sentence and status 1 if it cannot."""
    parser = argparse.ArgumentParser(prog="python -m h3r_jax.export", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("destination")
    parser.add_argument("--format", choices=FORMATS, default="stablehlo")
    parser.add_argument("--model", choices=models.BACKBONES, help="if the tensors do not say it")
    parser.add_argument("--head", choices=models.HEADS, help="if the tensors do not say it")
    parser.add_argument("--landmarks", type=int, help="that the head must be for")
    group = parser.add_argument_group("decoding", "by default as the run's config.json says; without one, the nine strongest cells by the "
                                      "activation that the head has in the programs of others")
    group.add_argument("--input_size", type=height_and_width, metavar="H,W", help="pixels; 256,256 without a run")
    group.add_argument("--k", type=int, help="number of cells")
    group.add_argument("--logits", choices=step.LOGITS, help="of a head with two channels; without a run: on, as released by H3R")
    group.add_argument("--activation", choices=codec.ACTIVATIONS, help="that belongs to the loss, see docs/method.md")
    group.add_argument("--selection", choices=codec.SELECTIONS)
    options = vars(parser.parse_args(arguments))
    source, destination, write = options.pop("source"), options.pop("destination"), FORMATS[options.pop("format")]
    options["shape"] = options.pop("input_size")
    try:
        variables, spec, network = load(source, **{name: value for name, value in options.items() if value is not None})
        write(destination, variables, network)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    print(f"{spec}; {network}\nWrote {destination}")


if __name__ == "__main__":
    main()
