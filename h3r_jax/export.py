"""A trained network as a file that runs without this library: crops in, landmarks out, the decoder inside.

    python -m h3r_jax.export SOURCE DESTINATION [--format=stablehlo|savedmodel|onnx] [--input_size=SIDE|H,W --k=K ...]

SOURCE is what `h3r_jax.load_predictor` takes: a workdir, a step of it, a PyTorch checkpoint, a `.safetensors`
file or a converted directory. A run's config.json says how its maps are decoded, and what was converted from a run
keeps that. DESTINATION is a file ("stablehlo", "onnx") or a directory ("savedmodel") to create. Each maps

    images uint8[b, H, W, 3] -> {"landmarks": float32[b, K, 2] in input pixels, "confidence": float32[b, K]}

for every b, with normalisation, network and decoder inside:

    stablehlo   what `jax.export` writes, for CPU, CUDA and TPU; runs wherever JAX is, without Flax
    savedmodel  a TensorFlow SavedModel for CPU, without JAX; needs TensorFlow to be written
    onnx        what `jax2onnx` writes, for onnxruntime and other runtimes of ONNX; the default for a name in .onnx.
                The network computes in float32. Needs requirements-onnx.txt to be written

No format has checksums. The command prints the SHA-256 of a file; the directory has a file SHA256SUMS. What is at
DESTINATION already is replaced only with --overwrite.
"""

import argparse
import os
from collections.abc import Callable, Sequence

import jax
import jax.export  # not an attribute of jax by itself
import numpy as np
from etils import epath

from h3r_jax import digests, onnx_export
from h3r_jax.convert import destinations
from h3r_jax.errors import UserError, sentences
from h3r_jax.files import write_whole
from h3r_jax.predict import Predictor, load_predictor, options

PLATFORMS = ("cpu", "cuda", "tpu")


def landmark_function(predictor: Predictor) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """The function from `uint8[b, H, W, 3]` to {"landmarks": `float32[b, K, 2]`, "confidence": `float32[b, K]`}.

    The predictor's weights become constants of the function, and so does its flip test if it has one.
    """
    variables = jax.tree.map(np.asarray, predictor.variables)  # on no device

    def find_landmarks(images: jax.Array) -> dict[str, jax.Array]:
        decoded = predictor.network.decode(variables, images)
        return {"landmarks": decoded.coordinates, "confidence": decoded.confidence}

    return find_landmarks


def write_stablehlo(path: str | os.PathLike, predictor: Predictor, *, overwrite: bool = False) -> None:
    """Writes a file for `jax.export.deserialize`, for all of `PLATFORMS`; whole or not at all.

    Raises:
      UserError: there is something at `path`, and `overwrite` is not set.
      OSError: it cannot be written; names the path.
    """
    (batch,) = jax.export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, *predictor.network.shape, 3), "uint8")

    def write(temporary: epath.Path) -> None:
        exported = jax.export.export(jax.jit(landmark_function(predictor)), platforms=PLATFORMS)(images)
        temporary.write_bytes(exported.serialize())

    write_whole(path, write, overwrite=overwrite)


def write_savedmodel(path: str | os.PathLike, predictor: Predictor, *, overwrite: bool = False) -> None:
    """Writes a directory, a SavedModel with the signature "serving_default" and SHA256SUMS; whole or not at all.

    For CPU alone: TensorFlow's reader is older than JAX's writer, and knows no `top_k` as it is lowered for
    the other platforms.

    Raises:
      UserError: there is something at `path`, and `overwrite` is not set; or TensorFlow is not installed or cannot read
        what this JAX writes.
      OSError: it cannot be written; names the path.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise UserError("the format savedmodel needs TensorFlow (pip install tensorflow-cpu)") from error
    if jax.__version_info__ >= (0, 11) and tf.__version__ < "2.22":
        raise UserError(
            f"TensorFlow {tf.__version__} cannot read what JAX {jax.__version__} writes; want --format=stablehlo, or "
            "jax 0.10"
        )
    from jax.experimental import jax2tf

    def write(temporary: epath.Path) -> None:
        height, width = predictor.network.shape
        converted = jax2tf.convert(
            landmark_function(predictor),
            with_gradient=False,
            native_serialization_platforms=("cpu",),
            polymorphic_shapes=[f"(b, {height}, {width}, 3)"],
        )
        images = tf.TensorSpec((None, height, width, 3), tf.uint8, name="images")
        module = tf.Module()
        module.find_landmarks = tf.function(converted, autograph=False, input_signature=[images])
        tf.saved_model.save(module, str(temporary), signatures=module.find_landmarks.get_concrete_function())
        digests.write(temporary)

    write_whole(path, write, overwrite=overwrite)


def write_onnx(path: str | os.PathLike, predictor: Predictor, *, overwrite: bool = False) -> None:
    """Writes an ONNX file with the input "images" and the outputs "landmarks" and "confidence"; whole or not at all.

    For every number of crops. The description in the file says which network it is, and how crops are cut for it.

    Raises:
      UserError: there is something at `path`, and `overwrite` is not set; or jax2onnx is not installed, or cannot
        convert the network, such as one that computes in bfloat16.
      OSError: it cannot be written; names the path.
    """

    def write(temporary: epath.Path) -> None:
        description = f"{predictor.description}; {predictor.network}"
        names = ("landmarks", "confidence")
        shape = predictor.network.shape
        temporary.write_bytes(onnx_export.to_onnx(landmark_function(predictor), shape, names, description))

    write_whole(path, write, overwrite=overwrite)


FORMATS = {"stablehlo": write_stablehlo, "savedmodel": write_savedmodel, "onnx": write_onnx}
FOLDERS = {"savedmodel": ("saved_model.pb", "variables")}  # what is in a folder of the format; the others are files


def main(arguments: Sequence[str] | None = None) -> None:
    """Exports, and prints what; one sentence and status 1 if it cannot."""
    parser = argparse.ArgumentParser(
        prog="python -m h3r_jax.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="SOURCE", help="a workdir, a step of one, or what h3r_jax.convert reads")
    parser.add_argument("destination", metavar="DESTINATION", help="file or directory to create")
    parser.add_argument(
        "--format", choices=FORMATS, help="kind of file, see above (default: onnx for .onnx, else stablehlo)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is at DESTINATION, if it is of its kind")
    options.add_network(parser)
    settings = vars(parser.parse_args(arguments))
    source, destination, form = (settings.pop(name) for name in ("source", "destination", "format"))
    form = form or ("onnx" if destination.endswith(".onnx") else "stablehlo")
    if form == "onnx":
        settings["dtype"] = "float32"  # onnxruntime has no convolution in bfloat16
    overwrite = settings.pop("overwrite")
    with sentences():
        destinations.check(destination, source, overwrite=overwrite, folder=FOLDERS.get(form, ()))
        predictor = load_predictor(source, devices=jax.local_devices()[:1], **settings)
        FORMATS[form](destination, predictor, overwrite=overwrite)
        print(f"{predictor.description}; {predictor.network}\nWrote {destination}")
        if form not in FOLDERS:
            with epath.Path(destination).expanduser().open("rb") as file:
                print(f"SHA-256 {digests.of_file(file)}")


if __name__ == "__main__":
    main()
