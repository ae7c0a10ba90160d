"""HRNet: branches at 1/4, 1/8, 1/16 and 1/32 of the resolution, side by side, with exchanges between them.

Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition", TPAMI 2020
(arXiv 1908.07919). There are two forms:
- HRNetV2, for H3R and faces: all branches, enlarged to 1/4 of the resolution and concatenated;
- HRNetV1, for human pose: the highest branch alone (Sun et al., CVPR 2019, arXiv 1902.09212).

Names are those of the PyTorch code with `_` for the dot before a number, `conv` and `bn` for the members 0
and 1 of a sequence: `stage3_1/branches_2_0/conv1` is `stage3.1.branches.2.0.conv1`, and
`stage3_1/fuse_layers_2_0_1/bn` is `stage3.1.fuse_layers.2.0.1.1`.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from h3r_jax.errors import UserError
from h3r_jax.models import tpu
from h3r_jax.models.layers import BatchNorm, Conv3x3, Layer, PointwiseConv, resize_bilinear

STEM_FEATURES = 64
BOTTLENECK_FEATURES = 64  # inside a bottleneck of the first stage
BOTTLENECK_EXPANSION = 4


def enlarge_nearest(x: jax.Array, factor: int) -> jax.Array:
    """[B, H, W, C] -> [B, factor * H, factor * W, C], every cell repeated."""
    batch, height, width, channels = x.shape
    blocks = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, factor, width, factor, channels))
    return blocks.reshape(batch, height * factor, width * factor, channels)


# How a fuse layer enlarges a lower branch to the resolution of a higher one. H3R and pose repeat cells. The HRNet for
# faces (HRNet-Facial-Landmark-Detection) interpolates.
ENLARGE = {"nearest": enlarge_nearest, "bilinear": resize_bilinear}


class ConvNorm(Layer):
    """A convolution of 1x1, or 3x3 with a stride, batch normalisation and, if `active`, ReLU."""

    features: int
    size: int
    stride: int = 1
    active: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if self.size == 1:
            x = PointwiseConv(self.features, **self.types, name="conv")(x)
        else:
            x = Conv3x3(self.features, self.stride, **self.types, name="conv")(x)
        x = BatchNorm(self.param_dtype, name="bn")(x, train)
        return nn.relu(x) if self.active else x


@functools.partial(nn.jit, static_argnums=(2,))
class BasicBlock(Layer):
    """Two 3x3 convolutions, then the input is added: [B, H, W, C] -> the same shape; or of blocked images.

    A network has up to a hundred blocks, but they have few shapes. Each block is jitted by itself, so JAX traces and
    lowers it once for each shape, which halves the time to trace and lower a train step. XLA inlines it again.
    """

    block: tpu.Block = tpu.ONE_PIXEL

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        features = tpu.plain_shape(x.shape, self.block)[-1]
        y = Conv3x3(features, block=self.block, **self.types, name="conv1")(x)
        y = nn.relu(BatchNorm(self.param_dtype, self.block, name="bn1")(y, train))
        y = Conv3x3(features, block=self.block, **self.types, name="conv2")(y)
        return nn.relu(x + BatchNorm(self.param_dtype, self.block, name="bn2")(y, train))


class Bottleneck(Layer):
    """Narrow (1x1), filter (3x3), widen (1x1), add the input: [B, H, W, C] -> [B, H, W, 256]."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        features = BOTTLENECK_FEATURES * BOTTLENECK_EXPANSION
        y = PointwiseConv(BOTTLENECK_FEATURES, **self.types, name="conv1")(x)
        y = nn.relu(BatchNorm(self.param_dtype, name="bn1")(y, train))
        y = Conv3x3(BOTTLENECK_FEATURES, **self.types, name="conv2")(y)
        y = nn.relu(BatchNorm(self.param_dtype, name="bn2")(y, train))
        y = PointwiseConv(features, **self.types, name="conv3")(y)
        y = BatchNorm(self.param_dtype, name="bn3")(y, train)
        if x.shape[-1] != features:
            x = ConvNorm(features, 1, active=False, **self.types, name="downsample")(x, train)
        return nn.relu(x + y)


class Exchange(Layer):
    """One module of a stage: `blocks` basic blocks on every branch, then each branch is added to each other.

    branches, a tuple of [B, H/2^i, W/2^i, C_i] -> a tuple of the same shapes; with `highest_only` the first alone.
    """

    blocks: int
    fuse: str
    highest_only: bool = False

    @nn.compact
    def __call__(self, branches: tuple[jax.Array, ...], train: bool) -> tuple[jax.Array, ...]:
        filtered = []
        for i, x in enumerate(branches):
            block = tpu.block_of(x.shape)
            x = tpu.blocked(x, block)
            for number in range(self.blocks):
                x = BasicBlock(block, **self.types, name=f"branches_{i}_{number}")(x, train)
            filtered.append(tpu.unblocked(x, block))
        widths = [branch.shape[-1] for branch in filtered]

        def bring(source: int, target: int) -> jax.Array:
            """Branch `source` at the resolution and width of branch `target`."""
            x, name = filtered[source], f"fuse_layers_{target}_{source}"
            if source > target:
                x = ConvNorm(widths[target], 1, active=False, **self.types, name=name)(x, train)
                return ENLARGE[self.fuse](x, 2 ** (source - target))
            for step in range(target - source):
                last = step == target - source - 1
                width = widths[target if last else source]
                x = ConvNorm(width, 3, 2, active=not last, **self.types, name=f"{name}_{step}")(x, train)
            return x

        outputs = []
        for target in range(1 if self.highest_only else len(filtered)):
            first, *others = (bring(source, target) for source in range(len(filtered)))
            outputs.append(nn.relu(sum(others, first)))
        return tuple(outputs)


class HRNet(Layer):
    """images [B, H, W, 3], normalised -> features [B, H/4, W/4, C], in `dtype`.

    C is the sum of `widths`, or the first of them with `highest_only`. H and W are multiples of 32 for four branches,
    as in all published networks, or of 2 to the power of 1 + the number of branches. Anything else is a ValueError.

    widths: channels of the branches.
    modules: exchanges in the stages of 2, 3, ... branches.
    blocks: basic blocks per branch and exchange.
    bottlenecks: in the first stage, of one branch.
    fuse: key of `ENLARGE`.
    highest_only: the pose form, without the other branches at the end.
    """

    widths: tuple[int, ...] = (18, 36, 72, 144)
    modules: tuple[int, ...] = (1, 4, 3)
    blocks: int = 4
    bottlenecks: int = 4
    fuse: str = "nearest"
    highest_only: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        largest_stride = 2 ** (1 + len(self.widths))
        if images.ndim != 4 or images.shape[1] % largest_stride or images.shape[2] % largest_stride:
            raise UserError(f"images must be [B, H, W, 3], H and W multiples of {largest_stride}, got {images.shape}")
        if self.fuse not in ENLARGE or len(self.modules) != len(self.widths) - 1:
            wanted = f"fuse must be one of {', '.join(ENLARGE)} and modules one fewer than widths"
            raise UserError(f"{wanted}, got {self.fuse!r}, {self.modules}, {self.widths}")
        x = Conv3x3(STEM_FEATURES, 2, **self.types, name="conv1")(images)
        x = nn.relu(BatchNorm(self.param_dtype, name="bn1")(x, train))
        x = Conv3x3(STEM_FEATURES, 2, **self.types, name="conv2")(x)
        x = nn.relu(BatchNorm(self.param_dtype, name="bn2")(x, train))
        for block in range(self.bottlenecks):
            x = Bottleneck(**self.types, name=f"layer1_{block}")(x, train)

        branches: tuple[jax.Array, ...] = (x,)
        for stage, count in enumerate(self.modules, start=2):
            branches = self._transition(branches, stage, train)
            for index in range(count):
                first_only = self.highest_only and stage == len(self.widths) and index == count - 1
                exchange = Exchange(self.blocks, self.fuse, first_only, **self.types, name=f"stage{stage}_{index}")
                branches = exchange(branches, train)
        return jnp.concatenate([resize_bilinear(branch, 2**i) for i, branch in enumerate(branches)], axis=-1)

    def _transition(self, branches: tuple[jax.Array, ...], stage: int, train: bool) -> tuple[jax.Array, ...]:
        """The branches of stage `stage`: each with the width of this stage, and a new one made from the lowest."""
        name = f"transition{stage - 1}"
        result = []
        for i, branch in enumerate(branches):
            if branch.shape[-1] != self.widths[i]:
                branch = ConvNorm(self.widths[i], 3, **self.types, name=f"{name}_{i}")(branch, train)
            result.append(branch)
        i = stage - 1
        result.append(ConvNorm(self.widths[i], 3, 2, **self.types, name=f"{name}_{i}_0")(branches[-1], train))
        return tuple(result)
