"""What the tests of the face builders share: images with a bright dot at every landmark, and what is stored of them."""

import numpy as np
import pytest
from PIL import Image

import data.prepare
from data.source import Source
from h3r_jax.image_files import EXIF_ORIENTATION

SIZE = (64, 48)  # width and height: unequal, so that a transposed image is found out
SPACING = 4


def dotted(seed, count, size=SIZE):
    """A black image `uint8[H, W, 3]` and `float64[count, 2]` points, 0-based, where it has its white pixels."""
    width, height = size
    x, y = np.meshgrid(np.arange(2, width - 1, SPACING), np.arange(2, height - 1, SPACING))
    cells = np.random.default_rng(seed).permutation(x.size)[:count]
    points = np.stack([x.ravel()[cells], y.ravel()[cells]], axis=1)
    image = np.zeros((height, width, 3), np.uint8)
    image[points[:, 1], points[:, 0]] = 255
    return image, points.astype(np.float64)


def save(image, path):
    """Writes pixels to a file whose parent is made; JPEG as true as it goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **({"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}))


def turned(orientation=6):
    """EXIF data that asks a viewer to turn the image, a quarter to the right by default."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    return exif


def prepare(name, folder):
    """The prepared builder of the data set `name` in `folder`."""
    return data.prepare.prepare(
        name, data_dir=folder.parent, prepared_dir=folder.parent / "prepared", folder=folder.name, num_landmarks=None
    )


def error(name, folder):
    """The sentence that stops the preparation; nothing stays that could be taken for the data set."""
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        prepare(name, folder)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600, "one sentence"
    assert not [path for path in (folder.parent / "prepared").rglob("*") if path.is_file()]
    return message


def stored_images(source):
    """The images `uint8[H, W, 3]` of a source, decoded."""
    return [source.image(index).pixels for index in range(len(source))]


def check_split(builder, split, points):
    """Holds the landmarks of a split to `points`, and both to the dots of the stored images.

    Returns:
      The split's Annotations.
    """
    source = Source(builder, split)
    annotations = source.annotations()
    np.testing.assert_allclose(annotations.landmarks, points, atol=1e-4)
    assert annotations.outside_image() == 0
    assert (annotations.weight == 1).all()
    assert len(set(annotations.name)) == len(annotations.name)
    for image, landmarks in zip(stored_images(source), annotations.landmarks, strict=True):
        x, y = landmarks.round().astype(int).T
        assert image[y, x].min() > 200, "a landmark is not where its dot is"
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            assert image[y + dy, x + dx].max() < 60, "dots are a pixel wide"
    return annotations
