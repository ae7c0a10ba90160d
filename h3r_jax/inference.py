"""A network: a model with everything that turns crops into landmarks.

    network = make_network("mobilenet_v2", get_scheme("ibug68"), input_size=(128, 128))
    variables = network.initialize(seed=0)
    network.decode(variables, crops)        # codec.Decoded, in pixels of the crop

Evaluation, prediction and export all call these functions, so that they agree.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from h3r_jax import codec, geometry, images, losses, models, ranges
from h3r_jax.errors import UserError, of_the_user
from h3r_jax.landmarks import LandmarkScheme, get_scheme
from h3r_jax.landmarks.scheme import BOX, DELIVERED_DIAGONAL

FLIPS = ("", "coordinates", "heatmaps")
LOGITS: dict[str, Callable[[jax.Array], jax.Array]] = {  # of head "binary", whose outputs have the off maps first
    "difference": codec.binary_logits,
    "on": lambda outputs: outputs[..., outputs.shape[-1] // 2 :],  # the released H3R networks are decoded from these
}
# By activation: from logit maps to probabilities, and back.
_PROBABILITIES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "softmax": (lambda maps: jax.nn.softmax(maps, axis=(1, 2)), jnp.log),
    "sigmoid": (jax.nn.sigmoid, jax.scipy.special.logit),
    "identity": (lambda maps: maps, lambda maps: maps),
}


@dataclasses.dataclass(frozen=True)
class Network:
    """Everything about a network except its variables. Hashable, so that `jit` can close over it.

    model: Flax module from normalised images `[B, H, W, 3]` to head outputs.
    scheme: LandmarkScheme.
    shape: `(H, W)` of the input, pixels.
    stride: input pixels per heatmap cell.
    head: name in `models.HEADS`.
    logits: how the two channels of head "binary" become one logit map, key of `LOGITS`.
    activation, k, selection, temperature: of the decoder, see `codec.decode`.
    instead_of: the activation that belongs to the loss, if another one is taken on purpose; for what is printed.
    flip: what is averaged with the mirrored crop: "" for nothing, "coordinates", or "heatmaps" of probabilities.
    crop: key of `images.CROPS`.
    box_scale: the factor by which a box grows to the crop.

    Raises:
      UserError: an unknown name, a number out of its range (`h3r_jax.ranges`), or a decoder that the heatmaps of this
        size do not allow.
    """

    model: Any
    scheme: LandmarkScheme
    shape: tuple[int, int]
    stride: int = models.BACKBONE_STRIDE
    head: str = "heatmap"
    logits: str = "difference"
    activation: str = "softmax"
    k: int = 9
    selection: str = "top_k"
    temperature: float = 1.0
    instead_of: str = ""
    flip: str = ""
    crop: str = "exact"
    box_scale: float = 1.25

    def __post_init__(self) -> None:
        choices: dict[str, Iterable[str]] = {
            "logits": LOGITS,
            "activation": codec.ACTIVATIONS,
            "selection": codec.SELECTIONS,
            "flip": FLIPS,
            "crop": images.CROPS,
        }
        for name, known in choices.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in known:
                raise UserError(f"unknown {name} {value!r}; known are {', '.join(map(repr, known))}")
        with of_the_user():
            ranges.check("model.input_size", self.shape, "shape")
            for field in ("model.stride", "data.box_scale"):
                name = field.rpartition(".")[2]
                ranges.check(field, getattr(self, name), name)
        if self.k not in ranges.COUNT:
            raise UserError(f"k is {self.k!r}; want {ranges.COUNT}")
        if any(size % self.stride for size in self.shape):
            raise UserError(f"input of {self.shape} pixels is not a multiple of stride {self.stride}")
        if self.crop == "reference" and self.shape[0] != self.shape[1]:
            size = f"{self.shape[0]}x{self.shape[1]}"
            raise UserError(f'the crop "reference" is square, but the input is {size}; want the crop "exact"')
        with of_the_user():  # the codec knows which k goes with which map
            maps = jax.ShapeDtypeStruct((1, *self.heatmap_shape, self.scheme.num_landmarks), jnp.float32)
            jax.eval_shape(self.decoder(), maps)

    @property
    def heatmap_shape(self) -> tuple[int, int]:
        """`(h, w)`, cells."""
        return self.shape[0] // self.stride, self.shape[1] // self.stride

    def initialize(self, seed: int) -> dict:
        """Fresh variables {"params", "batch_stats"}, which depend on the seed alone."""
        return models.initialize(self.model, seed, (*self.shape, 3))

    def shapes(self) -> dict:
        """The shapes and types of the variables, `jax.ShapeDtypeStruct`; computes nothing."""
        crops = jax.ShapeDtypeStruct((1, *self.shape, 3), jnp.float32)
        return jax.eval_shape(self.model.init, jax.random.key(0), crops)

    def cut(self, image: images.LazyImage | images.Source, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The crop of a box.

        Args:
          image: LazyImage, or what makes one, such as pixels `uint8[H', W', 3]`.
          box: `[4]`, x0, y0, x1, y1; image pixels.

        Returns:
          `uint8[H, W, 3]`, and the map `float64[2, 3]` from image pixels to crop pixels.

        Raises:
          UserError: the box has no size, or a size that cannot be cropped; or the image cannot be read.
        """
        crop = images.CROPS[self.crop]
        with of_the_user():
            try:
                image, matrix = images.lazy(image), crop.matrix(box, self.shape, self.box_scale)
                result = crop.cut(image, box, self.shape, self.box_scale)
                if (pixel := 1 / matrix[0, 0]) > max(image.size):
                    size = f"{image.size[1]}x{image.size[0]} pixels"
                    raise UserError(
                        f"a crop with {pixel:.3g} image pixels to a pixel shows nothing of an image of {size}"
                    )
                return result, matrix
            except MemoryError as error:
                raise UserError(f"box {np.asarray(box).tolist()} needs more memory than there is") from error

    def map_of_outputs(self, outputs: jax.Array) -> jax.Array:
        """One logit map per landmark, `[B, h, w, K]`, of head outputs."""
        return LOGITS[self.logits](outputs) if self.head == "binary" else outputs

    def logit_maps(self, variables: dict, crops: jax.Array) -> jax.Array:
        """Logit maps `float32[B, h, w, K]` of crops `[B, H, W, 3]` (0 to 255), with the running statistics."""
        return self.map_of_outputs(self.model.apply(variables, models.normalize_images(crops), train=False))

    def maps(self, variables: dict, crops: jax.Array) -> tuple[jax.Array, ...]:
        """The logit maps `float32[B, h, w, K]` to decode: one; with flip "coordinates" two, the second mirrored."""
        straight = self.logit_maps(variables, crops)
        if not self.flip:
            return (straight,)
        mirrored = self.logit_maps(variables, crops[:, :, ::-1])
        return (straight, mirrored) if self.flip == "coordinates" else (self.mean_map(straight, mirrored),)

    def mean_map(self, straight: jax.Array, mirrored: jax.Array) -> jax.Array:
        """The logit map of the mean probability of two logit maps `[B, h, w, K]`; the second is of the mirrored crop.

        With activation "identity" the values themselves are averaged.
        """
        probability, value = _PROBABILITIES[self.activation]
        straight, mirrored = (probability(maps / self.temperature) for maps in (straight, mirrored))
        back = geometry.mirror_heatmaps(mirrored, self.stride, self.scheme.mirror)
        return value((straight + back) / 2) * self.temperature

    def decoder(self, **changes: Any) -> Callable[[jax.Array], codec.Decoded]:
        """The decoder of logit maps `[B, h, w, K]`; `changes` replace `k` or `selection`."""
        options: dict[str, Any] = {
            "k": self.k,
            "selection": self.selection,
            "activation": self.activation,
            "temperature": self.temperature,
            "stride": self.stride,
        }
        options |= changes

        def decode(maps: jax.Array) -> codec.Decoded:
            return codec.decode_with_statistics(maps, **options)

        return decode

    def decode(self, variables: dict, crops: jax.Array) -> codec.Decoded:
        """The landmarks of crops `uint8[B, H, W, 3]`, in pixels of the crop; a pure function, for `jit`."""
        return self.decode_maps(self.maps(variables, crops))

    def decode_maps(self, maps: Sequence[jax.Array]) -> codec.Decoded:
        """The landmarks of what `maps` returns; of two, their mean, with the covariance of the mixture."""
        straight, *mirrored = map(self.decoder(), maps)
        if not mirrored:
            return straight
        (turned,), order = mirrored, np.asarray(self.scheme.mirror)
        coordinates = self.mirror_back(turned.coordinates)
        sign = np.array([[[[1.0, -1.0], [-1.0, 1.0]]]], np.float32)  # mirrored, x and y vary the other way round
        apart = (straight.coordinates - coordinates) / 2
        return codec.Decoded(
            (straight.coordinates + coordinates) / 2,
            (straight.confidence + turned.confidence[:, order]) / 2,
            (straight.covariance + turned.covariance[:, order] * sign) / 2 + apart[..., :, None] * apart[..., None, :],
        )

    def mirror_back(self, coordinates: jax.Array) -> jax.Array:
        """Landmarks `[B, K, 2]` of the mirrored crop as landmarks of the crop; input pixels."""
        return geometry.mirror_landmarks(coordinates, self.shape[1], self.scheme.mirror)

    def __str__(self) -> str:
        return (
            f"input {self.shape[0]}x{self.shape[1]}, {self.crop} crop of the box x {self.box_scale:g}, "
            f"scheme {self.scheme.name} with {self.scheme.num_landmarks} landmarks, logits {self.logits}, "
            f"{self.activation} over k={self.k} cells ({self.selection}), "
            f"flip test {f'averages {self.flip}' if self.flip else 'off'}"
        )


def make_network(
    model: str,
    scheme: str | LandmarkScheme,
    *,
    input_size: int | Sequence[int],
    head: str = "heatmap",
    stride: int = models.BACKBONE_STRIDE,
    dtype: str = "float32",
    **decoding: Any,
) -> Network:
    """A Network by names.

    Args:
      model: key of `models.BACKBONES`.
      scheme: LandmarkScheme, or the name of one in `landmarks.SCHEMES`.
      input_size: pixels: one number, or height and width.
      head, stride, dtype: see `models.build`.
      **decoding: further fields of `Network`.

    Raises:
      UserError: an unknown name, a number out of its range (`h3r_jax.ranges`), or values that do not go together.
    """
    scheme = get_scheme(scheme) if isinstance(scheme, str) else scheme
    shape: Any = tuple(input_size) if isinstance(input_size, Iterable) else (input_size, input_size)
    if dtype == "float64" and not jax.config.read("jax_enable_x64"):  # or JAX would take float32
        raise UserError('dtype "float64" needs JAX_ENABLE_X64=1; want "float32" or "bfloat16"')
    with of_the_user():
        module = models.build(model, scheme.num_landmarks, head=head, stride=stride, dtype=dtype)
    return Network(module, scheme, shape, stride, head, **decoding)


def scheme_of(config: Mapping[str, Any]) -> LandmarkScheme:
    """The landmark scheme of `config["landmarks"]`; UserError if its fields do not make one."""
    landmarks = config["landmarks"]
    own = {field: tuple(landmarks[field]) for field in ("mirror", "normalizer", "connections", "sigmas")}
    if name := landmarks["scheme"]:
        if given := [field for field, values in own.items() if values]:
            remedy = "for landmarks of one's own leave the scheme empty (--config.landmarks.scheme=)"
            raise UserError(f"config.landmarks has the scheme {name!r}, and {' and '.join(given)} as well; {remedy}")
        return get_scheme(name)
    mirror, unit, ends, sigmas = own.values()
    if not mirror:
        wanted = "a mirror order with one index per landmark (range(K) where nothing mirrors)"
        raise UserError(f"config.landmarks needs a scheme, or {wanted}")
    if len(ends) % 2:
        raise UserError(f"config.landmarks.connections has {len(ends)} numbers; want two for each line")
    box = BOX if len(mirror) > 1 else DELIVERED_DIAGONAL  # one landmark has no box around it
    more = {"connections": tuple(zip(ends[::2], ends[1::2])), "sigmas": sigmas}
    return LandmarkScheme("custom", len(mirror), mirror, (("custom", unit or box),), **more)


def objective_of(config: Mapping[str, Any]) -> losses.Objective:
    """The objective that a configuration (nested mappings, such as a ConfigDict) asks for in "loss".

    Raises:
      UserError: an unknown name, a number out of its range, or fields that do not go together.
    """
    with of_the_user():
        return losses.Objective(**dict(config["loss"]))


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `make_network` for a configuration (nested mappings, such as a ConfigDict).

    Raises:
      UserError: see `scheme_of` and `objective_of`.
    """
    try:
        model, evaluation, stride = config["model"], config["eval"], config["model"]["stride"]
        decoder = objective_of(config).decoder([size // max(stride, 1) for size in model["input_size"]])
        activation = evaluation["activation"] or decoder.activation
        return {
            "model": model["name"],
            "scheme": scheme_of(config),
            "input_size": tuple(model["input_size"]),
            **{name: model[name] for name in ("head", "stride", "dtype", "logits")},
            "activation": activation,
            "temperature": decoder.temperature if activation == "softmax" else 1.0,
            "instead_of": decoder.activation if activation != decoder.activation else "",
            "k": evaluation["k"] or max(decoder.k, 1),
            **{name: evaluation[name] for name in ("selection", "flip", "crop")},
            "box_scale": config["data"]["box_scale"],
        }
    except KeyError as error:
        raise UserError(f"the configuration lacks the field {error}; see configs/common.py") from error
