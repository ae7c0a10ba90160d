"""HRNet in PyTorch, written from its papers with the official names: the reference for parity tests and benchmarks.

timm has an HRNet that others wrote, in one of these forms; a test compares with it too.
"""

from __future__ import annotations

import torch
from torch import library, nn
from torch.nn import functional

from benchmarks.torch_networks import MobileNetV2

# What differs between the networks; all have a stem of 64 and bottlenecks of 64 -> 256 channels.
W18 = {"widths": (18, 36, 72, 144), "modules": (1, 4, 3), "blocks": 4, "bottlenecks": 4}
W18_SMALL = {**W18, "modules": (1, 3, 2), "blocks": 2, "bottlenecks": 2}
W32 = {**W18, "widths": (32, 64, 128, 256)}
W48 = {**W18, "widths": (48, 96, 192, 384)}
TINY = {"widths": (4, 6, 8), "modules": (2, 1), "blocks": 1, "bottlenecks": 2}


def enlarge(x: torch.Tensor, like: torch.Tensor, mode: str) -> torch.Tensor:
    """x [B, C, h, w] at the height and width of `like`; as it is where it has them, which costs no pass over it."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return functional.interpolate(
        x, size=like.shape[2:], mode=mode, align_corners=False if mode == "bilinear" else None
    )


def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


def conv_norm(inputs: int, outputs: int, size: int, stride: int = 1, active: bool = True) -> nn.Sequential:
    layers = [conv(inputs, outputs, size, stride), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU()) if active else nn.Sequential(*layers)


class Basic(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.bn1 = conv(channels, channels, 3), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv(channels, channels, 3), nn.BatchNorm2d(channels)

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(y)))


class Bottleneck(nn.Module):
    def __init__(self, inputs: int):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, 64, 1), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = conv(64, 64, 3), nn.BatchNorm2d(64)
        self.conv3, self.bn3 = conv(64, 256, 1), nn.BatchNorm2d(256)
        self.downsample = None if inputs == 256 else conv_norm(inputs, 256, 1, active=False)

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Exchange(nn.Module):
    def __init__(self, widths: tuple[int, ...], blocks: int, fuse: str, targets: int):
        super().__init__()
        self.fuse = fuse
        self.branches = nn.ModuleList(nn.Sequential(*(Basic(width) for _ in range(blocks))) for width in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self.path(widths, source, target) for source in range(len(widths)))
            for target in range(targets)
        )

    @staticmethod
    def path(widths, source, target):
        if source == target:
            return nn.Identity()
        if source > target:
            return conv_norm(widths[source], widths[target], 1, active=False)
        steps = [conv_norm(widths[source], widths[source], 3, 2) for _ in range(target - source - 1)]
        return nn.Sequential(*steps, conv_norm(widths[source], widths[target], 3, 2, active=False))

    def forward(self, xs):
        xs = [branch(x) for branch, x in zip(self.branches, xs)]
        results = []
        for target, paths in enumerate(self.fuse_layers):
            first, *others = (enlarge(path(x), xs[target], self.fuse) for path, x in zip(paths, xs))
            results.append(torch.relu(sum(others, first)))
        return results


class HRNet(nn.Module):
    """Images to features at a quarter of their resolution; fields as in `h3r_jax.models.hrnet.HRNet`."""

    def __init__(self, widths, modules, blocks, bottlenecks, fuse="nearest", highest_only=False):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 64, 3, 2), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = conv(64, 64, 3, 2), nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(*(Bottleneck(256 if i else 64) for i in range(bottlenecks)))
        before = (256,)
        for stage, count in enumerate(modules, start=2):
            now = widths[:stage]
            transition = [nn.Identity() if a == b else conv_norm(a, b, 3) for a, b in zip(before, now)]
            transition.append(nn.Sequential(conv_norm(before[-1], now[-1], 3, 2)))
            setattr(self, f"transition{stage - 1}", nn.ModuleList(transition))
            last = [stage == len(widths) and i == count - 1 for i in range(count)]
            setattr(
                self,
                f"stage{stage}",
                nn.Sequential(*(Exchange(now, blocks, fuse, 1 if highest_only and end else stage) for end in last)),
            )
            before = now
        self.stages = len(modules)
        self.channels = widths[0] if highest_only else sum(widths)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        xs = [self.layer1(x)]
        for stage in range(2, self.stages + 2):
            transition = getattr(self, f"transition{stage - 1}")
            xs = [layer(x) for layer, x in zip(transition, [*xs, xs[-1]])]
            xs = getattr(self, f"stage{stage}")(xs)
        return torch.cat([enlarge(x, xs[0], "bilinear") for x in xs], 1)


def flat_mobilenet_v2() -> nn.Module:
    """MobileNetV2 with the names of H3R: every block is one flat sequence."""
    network = MobileNetV2()
    for block in network.features[1:]:
        block.conv = nn.Sequential(*(layer for layer in block.conv.modules() if not list(layer.children())))
    return network


class BinaryHead(nn.Module):
    """The head of H3R with its names, `head.layers.N`."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.head = nn.Module()
        self.head.layers = nn.Sequential(
            conv(inputs, inputs, 1), nn.BatchNorm2d(inputs), nn.ReLU(), conv(inputs, outputs, 1)
        )

    def forward(self, x):
        return self.head.layers(x)


class H3R(nn.Module):
    """A network with the names of `torchalign`: `backbone.*`, `heatmap_head.head.layers.N`."""

    def __init__(self, backbone: nn.Module, outputs: int):
        super().__init__()
        self.backbone, self.heatmap_head = backbone, BinaryHead(backbone.channels, outputs)

    def forward(self, x):
        return self.heatmap_head(self.backbone(x))


class Facial(HRNet):
    """HRNet-Facial-Landmark-Detection: bilinear exchange, a head with biases."""

    def __init__(self, landmarks: int, **fields):
        super().__init__(**fields, fuse="bilinear")
        channels = self.channels
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, landmarks, 1)
        )

    def forward(self, x):
        return self.head(super().forward(x))


class Pose(HRNet):
    """HRNet for human pose: the highest branch and one convolution."""

    def __init__(self, landmarks: int, **fields):
        super().__init__(**fields, highest_only=True)
        self.final_layer = nn.Conv2d(self.channels, landmarks, 1)

    def forward(self, x):
        return self.final_layer(super().forward(x))


class TimmBackbone(nn.Module):
    """timm's HRNet without its head for classification, as a backbone for `H3R`."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.channels = sum(network.stage4[-1].num_in_chs)

    def forward(self, x):
        net = self.network
        x = net.act2(net.bn2(net.conv2(net.act1(net.bn1(net.conv1(x))))))
        xs = net.stages(x)
        return torch.cat([enlarge(x, xs[0], "bilinear") for x in xs], 1)


def import_timm():
    """timm; an ImportError where it is not installed.

    It imports torchvision, which fails to load beside a torch that it was not built for, for want of two
    operators that HRNet does not use: they are declared, and the import tried once more.
    """
    try:
        import timm
    except RuntimeError:
        for operator in ("nms", "qnms"):
            library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import timm
    return timm
