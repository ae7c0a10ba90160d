"""Networks: images to raw heatmaps. A model is a backbone, a resampling to the heatmap's stride, and a head.

model = build("mobilenet_v2", num_landmarks=98, head="binary")
variables = initialize(model, 0, (128, 128, 3))
heatmaps = model.apply(variables, normalize_images(images))                      # inference
heatmaps, updates = model.apply(variables, images, train=True, mutable=["batch_stats"])
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from h3r_jax.models import layers
from h3r_jax.models.heads import HEADS, PREDICTION_STD, make_head
from h3r_jax.models.hrnet import HRNet
from h3r_jax.models.mobilenet_v2 import MobileNetV2

# A backbone is a Linen module with the fields `dtype` and `param_dtype` that maps normalised images
# [B, H, W, 3] and the flag `train` to features [B, H/4, W/4, C] in `dtype`.
_W18, _W32, _W48 = (tuple(width << i for i in range(4)) for width in (18, 32, 48))
BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "mobilenet_v2": MobileNetV2,
    # In timm this is hrnet_w18_small_v2; its hrnet_w18_small has one exchange in every stage.
    "hrnet_w18_small": functools.partial(HRNet, widths=_W18, modules=(1, 3, 2), blocks=2, bottlenecks=2),
    "hrnet_w18": functools.partial(HRNet, widths=_W18),
    "hrnet_w32": functools.partial(HRNet, widths=_W32),
    "hrnet_w48": functools.partial(HRNet, widths=_W48),
    "hrnet_w18_facial": functools.partial(HRNet, widths=_W18, fuse="bilinear"),  # with the head "facial"
    "hrnet_w32_pose": functools.partial(HRNet, widths=_W32, highest_only=True),  # with the head "pose"
    "hrnet_w48_pose": functools.partial(HRNet, widths=_W48, highest_only=True),
}
BACKBONE_STRIDE = 4
STRIDES = (2, 4, 8, 16)

IMAGE_MEAN = (123.675, 116.28, 103.53)  # ImageNet, RGB, of 0..255
IMAGE_STD = (58.395, 57.12, 57.375)


class HeatmapRegressor(nn.Module):
    """Normalised images [B, H, W, 3] -> raw head output [B, H/stride, W/stride, channels].

    The output is float32 whatever the compute type of the backbone, or float64 if the parameters are float64. With
    `train`, the statistics of the batch normalise it, and the running statistics move. These are the collection
    "batch_stats": pass `mutable=["batch_stats"]` to `apply`.
    """

    backbone: nn.Module
    head: nn.Module
    stride: int = BACKBONE_STRIDE

    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        features = self.backbone(images, train)
        if self.stride < BACKBONE_STRIDE:
            features = layers.resize_bilinear(features, BACKBONE_STRIDE // self.stride)
        elif self.stride > BACKBONE_STRIDE:
            features = layers.average_pool(features, self.stride // BACKBONE_STRIDE)
        return self.head(features, train)


def build(
    name: str, num_landmarks: int, *, head: str = "heatmap", stride: int = BACKBONE_STRIDE, dtype: str = "float32"
) -> HeatmapRegressor:
    """A backbone with a head.

    Args:
      name: key of `BACKBONES`.
      num_landmarks: K; the head has `HEADS[head]` channels for each.
      head: key of `HEADS`.
      stride: of the heatmap, input pixels per cell; one of 2, 4, 8, 16.
      dtype: of the computation, "float32" or "bfloat16"; parameters and statistics are float32 in both.
        "float64" makes all of it float64, for tests with `jax_enable_x64`.

    Returns:
      HeatmapRegressor: normalised images [B, H, W, 3] -> [B, H/stride, W/stride, channels].

    Raises:
      ValueError: a name, stride or type that is not known; lists those that are.
    """
    for what, value, known in (
        ("model", name, BACKBONES),
        ("head", head, HEADS),
        ("stride", stride, STRIDES),
        ("dtype", dtype, ("float32", "bfloat16", "float64")),
    ):
        if value not in known:
            raise ValueError(f"unknown {what} {value!r}; known: {', '.join(map(str, known))}")
    compute = jnp.dtype(dtype)
    types: dict[str, Any] = {"dtype": compute, "param_dtype": jnp.promote_types(compute, jnp.float32)}
    return HeatmapRegressor(BACKBONES[name](**types), make_head(head, num_landmarks, **types), stride)


def initialize(model: nn.Module, seed: int | jax.Array, image_shape: tuple[int, ...]) -> dict[str, Any]:
    """Fresh variables of `model`, a function of the seed alone.

    Convolutions are drawn from a normal distribution with variance 2 / fan_out (He et al., 2015), the last one
    of the head with `PREDICTION_STD`; normalisation starts as the identity. Only shapes go through the model,
    and numpy draws the values: compiling or running `model.init` takes many times longer.

    Args:
      model: what `build` returns.
      seed: an integer or a JAX key.
      image_shape: (H, W, 3) or (B, H, W, 3); pixels that the network can take.

    Returns:
      {"params": ..., "batch_stats": ...} of JAX arrays.

    Raises:
      ValueError: H or W is not a multiple of the backbone's largest stride.
    """
    if isinstance(seed, jax.Array):
        key = seed if jnp.issubdtype(seed.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(seed)
        entropy = np.asarray(jax.random.key_data(key)).ravel().tolist()
    else:
        entropy = [int(seed)]
    images = jax.ShapeDtypeStruct((1, *image_shape)[-4:], jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)

    def draw(path: tuple[jax.tree_util.DictKey, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        names = [entry.key for entry in path]
        if names[-1] == "kernel":
            std = math.sqrt(2 / (leaf.shape[0] * leaf.shape[1] * leaf.shape[-1]))
            if names[-3:-1] == ["head", "predict"]:
                std = PREDICTION_STD
            generator = np.random.default_rng([*entropy, zlib.crc32("/".join(names).encode())])
            return (std * generator.standard_normal(leaf.shape)).astype(leaf.dtype)
        return np.full(leaf.shape, {"scale": 1, "bias": 0, "mean": 0, "var": 1}[names[-1]], leaf.dtype)

    return jax.tree.map(jnp.asarray, jax.tree_util.tree_map_with_path(draw, shapes))


def count_parameters(params: Any) -> int:
    """The number of scalars in `variables["params"]`."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def normalize_images(images: jax.Array | np.ndarray, dtype: DTypeLike = jnp.float32) -> jax.Array:
    """RGB images [..., 3] with values 0..255, of any type -> ImageNet mean 0 and deviation 1."""
    images = jnp.asarray(images, dtype)
    mean, deviation = (jnp.asarray(x, dtype).reshape((1,) * (images.ndim - 1) + (3,)) for x in (IMAGE_MEAN, IMAGE_STD))
    return (images - mean) / deviation
