"""Parameters and multiply-adds of every network, from shapes alone.

    python -m benchmarks.networks [--size 256]

Multiply-adds are of one image: those of the convolutions, and two for every value that is normalised. The published
numbers were counted in this way (by thop). Activations and resampling are not counted. Nothing is compiled or run.
The published numbers are of H3R (68, 98 and 106 landmarks, two channels each), of HRNet-Facial-Landmark-Detection,
and of HRNet for human pose.
"""

from __future__ import annotations

import argparse
import math

import flax.linen as nn
import jax

from h3r_jax import models, ranges
from h3r_jax.errors import sentences

# backbone, head, landmarks, what was published
NETWORKS = (
    ("mobilenet_v2", "binary", 68, "0.47 G"),
    ("mobilenet_v2", "binary", 98, "0.60 M, 0.51 G"),
    ("mobilenet_v2", "binary", 106, "0.60 M, 0.52 G"),
    ("hrnet_w18_small", "binary", 98, ""),
    ("hrnet_w18", "binary", 68, "4.77 G"),
    ("hrnet_w18", "binary", 98, "9.69 M, 4.84 G"),
    ("hrnet_w18", "binary", 106, "4.86 G"),
    ("hrnet_w32", "binary", 106, "29.6 M"),
    ("hrnet_w48", "binary", 98, ""),
    ("hrnet_w18_facial", "facial", 98, "9.66 M"),
    ("hrnet_w32_pose", "pose", 17, "28.5 M"),
    ("hrnet_w48_pose", "pose", 17, "63.6 M"),
)


def count(model: nn.Module, size: int) -> tuple[int, int]:
    """Parameters and multiply-adds of `model` on one image of `size` x `size` pixels."""
    macs = 0

    def observe(call, arguments, options, context):
        nonlocal macs
        output = call(*arguments, **options)
        module = context.module
        if context.method_name == "__call__" and module.has_variable("params", "kernel"):
            # Every output pixel of a convolution meets every number of its kernel once, groups included.
            kernel = module.get_variable("params", "kernel").shape
            macs += math.prod(output.shape) // kernel[-1] * math.prod(kernel)
        if context.method_name == "__call__" and module.has_variable("params", "scale"):
            macs += 2 * math.prod(output.shape)
        return output

    with nn.intercept_methods(observe), jax.disable_jit():  # a jitted block would be seen once for all of its shape
        image = jax.ShapeDtypeStruct((1, size, size, 3), "float32")
        variables = jax.eval_shape(model.init, jax.random.key(0), image)
    return models.count_parameters(variables["params"]), macs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--size", type=ranges.count, default=256, help="of the square image, in pixels; a multiple of 32"
    )
    size = parser.parse_args().size
    print(
        f"| network ({size}x{size})        | head   | landmarks | parameters, M | multiply-adds, G | published at 256 |"
    )
    print("|--------------------------|--------|----------:|--------------:|-----------------:|------------------|")
    for name, head, landmarks, published in NETWORKS:
        parameters, macs = count(models.build(name, landmarks, head=head), size)
        numbers = f"{parameters / 1e6:13.3f} | {macs / 1e9:16.3f}"
        print(f"| {name:<24} | {head:<6} | {landmarks:9} | {numbers} | {published:<16} |")


if __name__ == "__main__":
    with sentences():
        main()
