"""What blocks of pixels in the channels save on a TPU: HRNet's basic blocks compiled with and without, without a TPU.

    pip install "libtpu==0.0.42.*"
    python -m benchmarks.blocks [--batch=16 --channels=18 --size=64 --effort=-1]

Forward and backward pass in bfloat16 on one chip of a v5e, by `benchmarks.tpu_program`. The effort of the compiler is
from -1 to 1; train.py compiles with 0, which takes minutes here.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no TPU to ask

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from benchmarks import tpu_program
from h3r_jax import ranges
from h3r_jax.errors import sentences
from h3r_jax.models import hrnet, tpu


class Branch(nn.Module):
    """The basic blocks of a branch between two exchanges."""

    block: tpu.Block

    @nn.compact
    def __call__(self, x):
        x = tpu.blocked(x, self.block)
        for number in range(4):
            x = hrnet.BasicBlock(self.block, dtype=jnp.bfloat16, name=f"block{number}")(x, True)
        return tpu.unblocked(x, self.block)


def cost(images, block, device):
    """The account of the gradients by images and parameters."""
    model = Branch(block)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), images)

    def loss(params, statistics, images):
        output, changed = model.apply({"params": params, "batch_stats": statistics}, images, mutable=["batch_stats"])
        return jnp.sum(output.astype(jnp.float32) ** 2), changed

    place = SingleDeviceSharding(device)
    arguments = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        (variables["params"], variables["batch_stats"], images),
    )
    gradients = jax.jit(jax.grad(loss, (0, 2), has_aux=True), out_shardings=place)
    return tpu_program.account(gradients.lower(*arguments).compile().as_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=ranges.count, default=16)
    parser.add_argument("--channels", type=ranges.count, default=18)
    parser.add_argument("--size", type=ranges.count, default=64, help="of the square images, in pixels")
    parser.add_argument("--effort", type=float, default=-1.0, help="of the compiler")
    arguments = parser.parse_args()
    jax.config.update("jax_exec_time_optimization_effort", arguments.effort)
    jax.config.update("jax_memory_fitting_effort", arguments.effort)
    images = jax.ShapeDtypeStruct((arguments.batch, arguments.size, arguments.size, arguments.channels), jnp.bfloat16)
    device = topologies.get_topology_desc("v5e:2x2", "tpu").devices[0]
    for block in dict.fromkeys((tpu.ONE_PIXEL, tpu.block_of(images.shape))):
        print(f"block of {block[0]}x{block[1]} pixels: {cost(images, block, device)}", flush=True)


if __name__ == "__main__":
    with sentences():
        main()
