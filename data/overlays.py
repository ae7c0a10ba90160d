"""Sheets of pictures that show whether images, landmarks and boxes of a prepared split belong together."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from data.builder import LandmarkBuilder
from data.source import Source
from h3r_jax import visualize
from h3r_jax.landmarks import SCHEMES

COUNT, COLUMNS = 12, 4
SIDE = 3.2  # inches, of a picture
MARGIN = 0.5  # around landmarks and box, as a share of their longer side
TITLE = 48  # characters


def surroundings(image: np.ndarray, landmarks: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of an image around landmarks and box.

    Args:
      image: `[H, W, 3]`.
      landmarks: `[K, 2]`, image pixels; may be NaN.
      box: `[4]`, x0, y0, x1, y1, image pixels; may be NaN.

    Returns:
      The part `[H', W', 3]`, and the image pixel `int[2]`, x and y, where it begins. If landmarks and box are all NaN,
      the part is the whole image.
    """
    places = np.concatenate([landmarks, np.reshape(box, (2, 2))])
    places = places[np.isfinite(places).all(axis=1)]
    last = np.array([image.shape[1], image.shape[0]]) - 1
    if not len(places):
        return image, np.zeros(2, int)
    low, high = places.min(axis=0), places.max(axis=0)
    margin = MARGIN * (high - low).max()
    x0, y0 = np.clip(np.floor(low - margin), 0, last).astype(int)
    x1, y1 = np.clip(np.ceil(high + margin), 0, last).astype(int)
    return image[y0 : y1 + 1, x0 : x1 + 1], np.array([x0, y0])


def sheet(builder: LandmarkBuilder, split: str) -> Figure:
    """A figure of the first `COUNT` records of a split of a prepared builder, with landmarks, boxes and names."""
    source = Source(builder, split)
    annotations, shown = source.annotations(), []
    for index in range(min(COUNT, len(source))):
        landmarks, box, name = annotations.landmarks[index], annotations.box[index], annotations.name[index]
        part, origin = surroundings(source.image(index).pixels, landmarks, box)
        title = name if len(name) <= TITLE else f"...{name[-TITLE:]}"  # the end tells records apart
        shown.append((part, landmarks - origin, annotations.weight[index], box - np.tile(origin, 2), title))
    columns: dict[str, Any] = dict(zip(("images", "landmarks", "weight", "boxes", "titles"), zip(*shown)))
    return visualize.landmark_sheet(**columns, scheme=SCHEMES.get(builder.SCHEME), columns=COLUMNS, side=SIDE)
