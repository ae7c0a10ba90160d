"""Boxes of faces in people's own images, as the networks are trained with them.

The detector is `mtcnn`. It was chosen over OpenCV's cascades and dlib on real photographs: docs/predict.md.
"""

import importlib.util

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from h3r_jax.errors import UserError
from h3r_jax.predict import mtcnn
from h3r_jax.predict.boxes import outside

# From a detected box to the box around the landmarks (`geometry.landmark_box`), whose centre and longer side make the
# crop: the centre moves down by SHIFT, and the longer side changes by SIZE, both relative to the longer side of the
# detected box. Medians, measured by
#     python -m benchmarks.faces --data_dir=DIR
SHIFT, SIZE = 0.14, 0.82
LONGEST = 1280  # pixels on the longer side of the image that the detector sees; a larger one is shrunk
REQUIRED = ("mtcnn", "lz4")  # the first for its files alone: see `mtcnn_weights`


def find_faces(pixels: np.ndarray) -> np.ndarray:
    """The boxes of the faces in an image, as `Predictor` takes them.

    Args:
      pixels: `uint8[H, W, 3]`.

    Returns:
      `float64[n, 4]`, x0, y0, x1, y1: squares with the centre and the side of a box around landmarks, the surest first.
      A face whose landmarks would lie outside the image is left out.

    Raises:
      ValueError: the detector is not installed.
    """
    boxes = landmark_boxes(detect(pixels))
    return boxes[~outside(boxes, pixels.shape)]


def landmark_boxes(detected: ArrayLike) -> np.ndarray:
    """Boxes around landmarks, `float64[n, 4]`, of the boxes `[n, 4]` that the detector finds."""
    detected = np.asarray(detected, np.float64).reshape(-1, 4)
    longer = (detected[:, 2:] - detected[:, :2]).max(axis=1, keepdims=True) + 1
    center = (detected[:, :2] + detected[:, 2:]) / 2 + longer * [0, SHIFT]
    half = np.maximum(SIZE * longer - 1, 0) / 2
    return np.concatenate([center - half, center + half], axis=1)


def detect(pixels: np.ndarray) -> np.ndarray:
    """The boxes that the detector finds in `uint8[H, W, 3]`: `float64[n, 4]`, x0, y0, x1, y1, the surest first."""
    seen, ratio = shrunk(pixels)
    boxes = mtcnn.detect([seen])[0][:, :4]
    # Half-pixel terms: a resized pixel covers `ratio` of the original's.
    return (boxes + 0.5) * ratio - 0.5


def shrunk(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """What the detector sees of `uint8[H, W, 3]`, and how many times as large the image is."""
    ratio = max(1.0, max(pixels.shape[:2]) / LONGEST)
    if ratio > 1:
        size = [max(1, round(side / ratio)) for side in pixels.shape[1::-1]]
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    return pixels, ratio


def check_installed() -> None:
    """ValueError unless the detector can be loaded; loads nothing."""
    missing = [name for name in REQUIRED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"to find faces {', '.join(missing)} must be installed: pip install '.[predict]'; or give boxes"
        )
