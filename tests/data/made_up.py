"""Made-up data sets, and an image seen through an affine map in one step, written apart from the library."""

import functools

import numpy as np
from PIL import Image

from data.source import Source

annotations_of = functools.cache(Source.annotations)  # tests of a module share a source and what is read of it


def warp(image, matrix, shape):
    """A one-step antialiased warp: a tent filter of `max(1, 1 / scale)` source pixels around each output pixel.

    The tent is normalised by the weight that falls into the image, so that the image
    is not darkened towards its border; beyond its border the result is zero.

    Args:
      image: `[H, W, C]`.
      matrix: `[2, 3]`, pixels of the image to pixels of the result; a similarity, mirrored or not.
      shape: `(H', W')` of the result.

    Returns:
      `float64[H', W', C]`.
    """
    x, y = source_positions(matrix, shape)
    reach = max(1.0, 1 / np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    total = np.zeros((*shape, image.shape[2]))
    weights = np.zeros((*shape, 1))
    for dx, column in _taps(x, reach):
        for dy, row in _taps(y, reach):
            within = (column >= 0) & (column < image.shape[1]) & (row >= 0) & (row < image.shape[0])
            weight = (dx * dy * within)[..., None]
            total += weight * image[np.where(within, row, 0), np.where(within, column, 0)]
            weights += weight
    visible = inside(x, y, image.shape, margin=-0.5)
    return np.where(visible[..., None], total / np.maximum(weights, 1e-12), 0.0)


def source_positions(matrix, shape):
    """Where in the image each pixel of the result looks: x and y, `float64[H', W']` each."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    x, y, _ = np.einsum("ij,jhw->ihw", inverse, np.stack([columns, rows, np.ones(shape)]))
    return x, y


def inside(x, y, shape, margin):
    """Whether positions lie within an image, at least `margin` pixels from its outer pixel centres."""
    return (x >= margin) & (x <= shape[1] - 1 - margin) & (y >= margin) & (y <= shape[0] - 1 - margin)


def _taps(position, reach):
    first = np.ceil(position - reach).astype(int)
    for offset in range(int(2 * reach) + 1):
        yield np.maximum(0.0, 1 - np.abs(first + offset - position) / reach), first + offset


def fit_affine(source, target):
    """The map `[2, 3]` that takes points `[N, 2]` to `[N, 2]`, by least squares."""
    ones = np.ones((len(source), 1))
    return np.linalg.lstsq(np.hstack([source, ones]), target, rcond=None)[0].T


def texture(seed, height, width):
    """A picture with the spectrum of a photograph, sharp edges and lines, `uint8[H, W, 3]`."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    falloff = np.maximum(np.hypot(fy, fx), 1 / max(height, width)) ** -1.3
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(3, height, width))) * falloff, s=(height, width))
    image = 128 + 45 * noise / noise.std(axis=(1, 2), keepdims=True)
    y, x = np.mgrid[:height, :width] / max(height, width)
    image += 60 * (np.hypot(x - 0.5, y - 0.4) < 0.25) - 60 * (np.abs(x + 0.6 * y - 0.8) < 0.05)
    return np.clip(image, 0, 255).round().astype(np.uint8).transpose(1, 2, 0)


def write_split(folder, split, images, landmarks, weight=None, suffixes=(".png",)):
    """A `csv` split: images `uint8[H, W(, 3)]`, landmarks `[N, K, 2]`, weight `[N, K]`, suffixes in turn."""
    count = np.shape(landmarks)[1]
    (folder / split).mkdir(parents=True, exist_ok=True)
    header = ["image", *(f"{axis}{i}" for i in range(count) for axis in "xy")]
    header += [f"v{i}" for i in range(count)] if weight is not None else []
    lines = [",".join(header)]
    for i, (image, points) in enumerate(zip(images, landmarks, strict=True)):
        name = f"{i}{suffixes[i % len(suffixes)]}"
        Image.fromarray(image).save(folder / split / name)
        values = [*np.ravel(points), *(weight[i] if weight is not None else ())]
        lines.append(",".join([name, *(repr(float(value)) for value in values)]))
    (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
