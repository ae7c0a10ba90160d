"""A network without weights that finds a red, a green and a blue dot, and pictures of such dots."""

import functools

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from h3r_jax import models
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.predict import Network, Predictor
from h3r_jax.predict import __main__ as command

SCHEME = LandmarkScheme("dots", 3, (0, 1, 2), (("pair", (0, 1)),))
SHAPE, STRIDE = (64, 64), 4
BLUR = 4.0  # pixels


class Dots(nn.Module):
    """From normalised images `[B, H, W, 3]` the logarithm of each colour, blurred, at the cells: `[B, h, w, 3]`."""

    @nn.compact
    def __call__(self, images, train=False):
        deviation, mean = (
            jnp.reshape(jnp.array(values), (1, 1, 1, 3)) for values in (models.IMAGE_STD, models.IMAGE_MEAN)
        )
        colors = images * deviation + mean
        # Weights of pixels in cells, by distance; all cells are brightened alike.
        rows, columns = (
            jnp.exp(-((STRIDE * jnp.arange(size // STRIDE)[:, None] - jnp.arange(size)[None]) ** 2) / (2 * BLUR**2))
            for size in images.shape[1:3]
        )
        blurred = jnp.einsum("iy,jx,byxc->bijc", rows, columns, colors)
        return jnp.log(jnp.maximum(blurred, 0) + 1e-3)


def network(**changes):
    fields = {
        "model": Dots(),
        "head": "heatmap",
        "logits": "difference",
        "activation": "softmax",
        "k": 81,
        "selection": "top_k",
        "flip": "",
        "scheme": SCHEME,
        "shape": SHAPE,
        "stride": STRIDE,
        "box_scale": 1.25,
        "crop": "exact",
    }
    return Network(**(fields | changes))


VARIABLES = {"params": {}, "batch_stats": {}}


def picture(size, centers, sigma):
    """Three dots, `uint8[H, W, 3]`; `size` is (H, W), `centers` `[3, 2]`."""
    y, x = np.mgrid[: size[0], : size[1]]
    spots = [255 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2)) for cx, cy in centers]
    return np.stack(spots, axis=-1).round().astype(np.uint8)


@functools.cache
def predictor():
    """For all tests of a process, as it is compiled once."""
    return Predictor(network(), VARIABLES, "dots", max_batch=8)


def use(monkeypatch):
    """Has the command take this network, which is compiled in a second, whatever its checkpoint is."""
    monkeypatch.setattr(command, "load_predictor", lambda path, **options: predictor())


def run(*arguments):
    """The exit status of the command."""
    try:
        command.main([str(argument) for argument in arguments] + ["--checkpoint=dots"])
    except SystemExit as end:
        return end.code
    return 0
