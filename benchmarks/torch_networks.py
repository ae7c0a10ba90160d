"""The networks in PyTorch, written from their papers: the reference for parity tests and benchmarks.

Module names are torchvision's (`features.N.conv.M`), images are [B, 3, H, W].
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def conv_norm(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int):
        super().__init__()
        hidden = inputs * expansion
        layers = [] if expansion == 1 else [conv_norm(inputs, hidden, 1)]
        layers += [
            conv_norm(hidden, hidden, 3, stride, hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """Images to 152 features at a quarter of their resolution; `counts` are the blocks of the five stages."""

    def __init__(self, counts=(1, 2, 3, 4, 3)):
        super().__init__()
        blocks, inputs = [conv_norm(3, 32, 3, 2)], 32
        stages = ((1, 16, 1), (6, 24, 2), (6, 32, 2), (6, 64, 2), (6, 96, 1))
        self.ends = [1 + sum(counts[:2]), 1 + sum(counts[:3])]
        for (expansion, outputs, stride), count in zip(stages, counts):
            for block in range(count):
                blocks.append(InvertedResidual(inputs, outputs, expansion, stride if block == 0 else 1))
                inputs = outputs
        self.features = nn.Sequential(*blocks)
        self.channels = 24 + 32 + 96

    def forward(self, x):
        first, second = self.ends
        quarter = self.features[:first](x)
        eighth = self.features[first:second](quarter)
        sixteenth = self.features[second:](eighth)
        enlarged = [
            functional.interpolate(tap, size=quarter.shape[2:], mode="bilinear", align_corners=False)
            for tap in (eighth, sixteenth)
        ]
        return torch.cat([quarter, *enlarged], 1)


class Regressor(nn.Module):
    """A backbone and the head of H3R: [B, 3, H, W] -> [B, channels, H/4, W/4]."""

    def __init__(self, channels: int, backbone: nn.Module | None = None):
        super().__init__()
        self.backbone = backbone or MobileNetV2()
        inputs = self.backbone.channels
        self.head = nn.Sequential(
            nn.Conv2d(inputs, inputs, 1, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, channels, 1, bias=False),
        )

    def forward(self, x):
        return self.head(self.backbone(x))


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and running statistics far from the identity, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.ndim == 4:
                value.normal_(0, (1 / value[0].numel()) ** 0.5, generator=generator)
            elif name.endswith(("weight", "running_var")):
                value.uniform_(0.5, 1.5, generator=generator)
            elif value.ndim:
                value.normal_(0, 0.2, generator=generator)
    return model


def to_flax(model: Regressor) -> dict:
    """The state of a MobileNetV2 regressor as variables of `h3r_jax.models`, numpy arrays."""
    variables = {"params": {}, "batch_stats": {}}

    def put(collection, path, leaf, value):
        node = variables[collection]
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value.detach().numpy()

    def conv(path, module):
        put("params", path, "kernel", module.weight.permute(2, 3, 1, 0))

    def norm(path, module):
        put("params", path, "scale", module.weight)
        put("params", path, "bias", module.bias)
        put("batch_stats", path, "mean", module.running_mean)
        put("batch_stats", path, "var", module.running_var)

    for index, block in enumerate(model.backbone.features):
        path = ("backbone", f"features_{index}")
        if index == 0:
            parts = {(): (block[0], block[1])}
        else:
            names = ["depthwise"] if len(block.conv) == 3 else ["expand", "depthwise"]
            parts = {(name,): (part[0], part[1]) for name, part in zip(names, block.conv)}
            parts[("project",)] = (block.conv[-2], block.conv[-1])
        for name, (convolution, normalization) in parts.items():
            conv((*path, *name, "conv"), convolution)
            norm((*path, *name, "bn"), normalization)
    conv(("head", "conv"), model.head[0])
    norm(("head", "bn"), model.head[1])
    conv(("head", "predict"), model.head[3])
    return variables
