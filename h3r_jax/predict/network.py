"""What a network is, but for its weights: its input, what its maps mean, and how crops for it are made."""

import dataclasses
from typing import Any

import numpy as np

from h3r_jax import geometry, reference_crop
from h3r_jax.errors import UserError
from h3r_jax.images import crop_image
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.training import step

Crop = tuple[np.ndarray, np.ndarray]


def _exact(pixels: np.ndarray, box: np.ndarray, shape: tuple[int, int], scale: float) -> Crop:
    matrix = geometry.crop_matrix(box, shape=shape, scale=scale)
    return crop_image(pixels, matrix, shape), matrix


def _reference(pixels: np.ndarray, box: np.ndarray, shape: tuple[int, int], scale: float) -> Crop:
    return reference_crop.reference_crop(pixels, box, shape[0], scale), reference_crop.reference_matrix(
        box, shape[0], scale
    )


# As config.eval.crop: function(pixels, box, shape, scale) to the crop and the map from image to crop pixels.
CROPS = {"exact": _exact, "reference": _reference}


@dataclasses.dataclass(frozen=True)
class Network:
    """Everything about a network but its weights.

    model: Flax module from normalised images to head outputs.
    head, logits: how head outputs become one logit map per landmark, see `training.step.Recipe`.
    activation, k, selection: of the decoder, see `codec.decode`.
    flip: what to average with the mirrored crop: "" for nothing, "coordinates" or "heatmaps", see `training.step.eval_step`.
    scheme: LandmarkScheme.
    shape: `(H, W)` of the input, pixels.
    stride: input pixels per heatmap cell.
    box_scale: growth of a box to the crop.
    crop: key of `CROPS`.
    """

    model: Any
    head: str
    logits: str
    activation: str
    k: int
    selection: str
    flip: str
    scheme: LandmarkScheme
    shape: tuple[int, int]
    stride: int
    box_scale: float
    crop: str

    def __post_init__(self) -> None:
        for name, known in (("crop", CROPS), ("logits", step.LOGITS), ("flip", step.FLIPS)):
            if getattr(self, name) not in known:
                raise UserError(f"unknown {name} {getattr(self, name)!r}; known are {', '.join(map(repr, known))}")
        if any(size % self.stride or size < self.stride for size in self.shape):
            raise UserError(f"input of {self.shape} pixels is not a multiple of stride {self.stride}")
        if self.crop == "reference" and self.shape[0] != self.shape[1]:
            raise UserError(f'the crop "reference" is square, but the input is {self.shape[0]}x{self.shape[1]}')

    def cut(self, pixels: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The crop `uint8[H, W, 3]` of a box `[4]` of an image, and the map `float64[2, 3]` from image to crop pixels.

        Raises:
          ValueError: the box has no size, or is of a size that cannot be cropped.
        """
        try:
            return CROPS[self.crop](pixels, box, self.shape, self.box_scale)
        except ValueError:
            raise
        except Exception as error:  # such as for want of memory
            raise UserError(f"box {box.tolist()} could not be cropped ({type(error).__name__}: {error})") from error

    def __str__(self) -> str:
        return (
            f"input {self.shape[0]}x{self.shape[1]}, {self.crop} crop of the box x {self.box_scale:g}, scheme {self.scheme.name} with "
            f"{self.scheme.num_landmarks} landmarks, logits {self.logits}, {self.activation} over k={self.k} cells ({self.selection}), "
            f"flip test {f'averages {self.flip}' if self.flip else 'off'}"
        )
