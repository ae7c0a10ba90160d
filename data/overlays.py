"""Sheets of pictures that show whether images, landmarks and boxes of a prepared split belong together."""

import numpy as np
import tensorflow as tf

from data.features import decode_image
from data.source import Source
from h3r_jax import visualize
from h3r_jax.landmarks import SCHEMES

COUNT, COLUMNS = 12, 4
SIDE = 3.2  # of a picture, inches
MARGIN = 0.5  # around landmarks and box, of their longer side
TITLE = 48  # characters


def surroundings(image, landmarks, box):
    """The part of an image around landmarks and box, which may be NaN.

    Args:
      image: `[H, W, 3]`.
      landmarks: `[K, 2]`, pixels of the image.
      box: `[4]`, likewise.

    Returns:
      The part, and the pixel `int[2]`, x and y, of the image where it begins. All of the image if nothing is known.
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


def sheet(builder, split):
    """The first `COUNT` records of a split of a prepared LandmarkBuilder, with landmarks, boxes and names.

    Returns:
      matplotlib Figure.
    """
    source = Source(builder, split)
    columns = {"images": [], "landmarks": [], "weight": [], "boxes": [], "titles": []}
    for example in source.examples(tf.data.Dataset.range(min(COUNT, len(source)))):
        landmarks, box = example["landmarks"].numpy(), example["box"].numpy()
        part, origin = surroundings(decode_image(example["image"]).numpy(), landmarks, box)
        columns["images"].append(part)
        columns["landmarks"].append(landmarks - origin)
        columns["weight"].append(example["weight"].numpy())
        columns["boxes"].append(box - np.tile(origin, 2))
        name = example["name"].numpy().decode()
        columns["titles"].append(name if len(name) <= TITLE else f"...{name[-TITLE:]}")  # the end tells which it is
    return visualize.landmark_sheet(**columns, scheme=SCHEMES.get(builder.SCHEME), columns=COLUMNS, side=SIDE)
