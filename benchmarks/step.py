"""Time the inference and the train step of a network against the same network in PyTorch.

    python -m benchmarks.step [--model mobilenet_v2 --size 128 --batch 16 --landmarks 98 --dtype bfloat16 --compile]

A train step is the forward pass with statistics of the batch, the spatial softmax cross-entropy against four
weighted points per landmark, the gradient, and an update by SGD with momentum 0.9. PyTorch runs channels-last, in
bfloat16 by its autocast, and with `--compile` through `torch.compile`. It runs on the GPU if JAX does.

The four run in turn, in one process, so that a busy machine slows all of them. The table gives medians, and the
ratio of ours to PyTorch's: of the time that passed, and of the processor time, which depends less on other programs.
Both use the processors that the process may use.

On Linux a good part of a train step on a CPU goes into page faults: XLA asks for its memory anew in every step, and
glibc gives large blocks back to the system. This keeps them, as train.py does by itself:

    MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_ARENA_MAX=1 python -m benchmarks.step
"""

from __future__ import annotations

import argparse
import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from benchmarks import medians, processor, torch_device, torch_hrnet, torch_networks
from h3r_jax import models, ranges
from h3r_jax.errors import sentences

TORCH_BACKBONES = {
    "mobilenet_v2": torch_networks.MobileNetV2,
    "hrnet_w18": lambda: torch_hrnet.HRNet(**torch_hrnet.W18),
    "hrnet_w18_small": lambda: torch_hrnet.HRNet(**torch_hrnet.W18_SMALL),
}
LEARNING_RATE, MOMENTUM, POINTS = 0.01, 0.9, 4


def jax_runs(arguments, images, cells, weights):
    """The two jitted calls of ours, and seconds to trace and to compile them."""
    model = models.build(arguments.model, arguments.landmarks, dtype=arguments.dtype)
    variables = models.initialize(model, 0, images.shape)
    optimizer = optax.sgd(LEARNING_RATE, MOMENTUM)
    index = cells[..., 1] * (images.shape[2] // 4) + cells[..., 0]  # [B, K, P]

    def step(params, statistics_, state, images):
        def loss(params):
            logits, updates = model.apply(
                {"params": params, "batch_stats": statistics_}, images, train=True, mutable=["batch_stats"]
            )
            flat = logits.reshape(logits.shape[0], -1, logits.shape[-1])  # [B, cells, K]
            gathered = jnp.take_along_axis(flat, index.transpose(0, 2, 1), axis=1)  # [B, P, K]
            entropy = jax.nn.logsumexp(flat, axis=1) - (gathered * weights.transpose(0, 2, 1)).sum(1)
            return entropy.mean(), updates["batch_stats"]

        (value, statistics_), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), statistics_, state, value

    def build(function, *values, **options):
        start = time.perf_counter()
        lowered = jax.jit(function, **options).lower(*values)
        traced = time.perf_counter()
        compiled = lowered.compile()
        return compiled, traced - start, time.perf_counter() - traced

    images = jnp.asarray(images)
    carry = (variables["params"], variables["batch_stats"], optimizer.init(variables["params"]))
    infer, *infer_build = build(model.apply, variables, images)
    train, *train_build = build(step, *carry, images, donate_argnums=(0, 1, 2))
    variables = jax.tree.map(jnp.copy, variables)

    def run_train():
        nonlocal carry
        *carry, value = train(*carry, images)
        return float(value)

    return lambda: infer(variables, images).block_until_ready(), run_train, infer_build, train_build


def torch_runs(arguments, images, cells, weights):
    """The two calls of PyTorch's."""
    device = torch_device()
    model = torch_networks.Regressor(arguments.landmarks, TORCH_BACKBONES[arguments.model]())
    model = model.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, MOMENTUM)
    forward = torch.compile(model) if arguments.compile else model
    autocast = torch.autocast(device, torch.bfloat16, enabled=arguments.dtype == "bfloat16")
    images = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)  # channels-last memory
    index = torch.from_numpy(cells[..., 1] * (images.shape[3] // 4) + cells[..., 0]).long().to(device)
    weights = torch.from_numpy(weights).to(device)

    def run_infer():
        model.eval()
        with torch.no_grad(), autocast:
            forward(images)
        if device == "cuda":
            torch.cuda.synchronize()

    def run_train():
        model.train()
        with autocast:
            logits = forward(images).float().flatten(2)  # [B, K, cells]
        entropy = torch.logsumexp(logits, 2) - (logits.gather(2, index) * weights).sum(2)
        loss = entropy.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return run_infer, run_train


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mobilenet_v2", choices=sorted(TORCH_BACKBONES))
    parser.add_argument("--size", type=ranges.count, default=128, help="of the square images, in pixels")
    parser.add_argument("--batch", type=ranges.count, default=16)
    parser.add_argument("--landmarks", type=ranges.count, default=98)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="of the computation")
    parser.add_argument("--compile", action="store_true", help="PyTorch's network through torch.compile")
    parser.add_argument("--rounds", type=ranges.count, default=15)
    arguments = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)

    generator = np.random.default_rng(0)
    images = generator.standard_normal((arguments.batch, arguments.size, arguments.size, 3), dtype=np.float32)
    cells = generator.integers(0, arguments.size // 4, (arguments.batch, arguments.landmarks, POINTS, 2))
    weights = np.full(cells.shape[:3], 1 / POINTS, np.float32)

    infer, train, infer_build, train_build = jax_runs(arguments, images, cells, weights)
    torch_infer, torch_train = torch_runs(arguments, images, cells, weights)
    runs = {"infer": infer, "torch infer": torch_infer, "train": train, "torch train": torch_train}
    times = medians(runs, arguments.rounds, warm_up=3)

    settings = [f"{name}={value}" for name, value in os.environ.items() if name.startswith(("XLA_", "MALLOC_"))]
    print(
        f"{processor()}, {threads} threads; {jax.devices()[0].device_kind}; jax {jax.__version__}, "
        f"torch {torch.__version__}{', compiled' * arguments.compile}; {' '.join(settings)}"
    )
    print(
        f"{arguments.model}, {arguments.landmarks} landmarks, batch {arguments.batch}, "
        f"{arguments.size}x{arguments.size}, {arguments.dtype}; medians of {arguments.rounds}\n"
    )
    print(
        "|            | ours, ms | PyTorch, ms | ratio | ours, processor ms | PyTorch | ratio | trace, s | compile, s |"
    )
    print(
        "|------------|---------:|------------:|------:|-------------------:|--------:|------:|---------:|-----------:|"
    )
    for name, label, build in (("infer", "inference", infer_build), ("train", "train step", train_build)):
        ours, ours_processor, theirs, theirs_processor = (
            1e3 * seconds for key in (name, f"torch {name}") for seconds in times[key]
        )
        print(
            f"| {label:<11}| {ours:8.1f} | {theirs:11.1f} | {ours / theirs:5.2f} | {ours_processor:18.1f} "
            f"| {theirs_processor:7.1f} | {ours_processor / theirs_processor:5.2f} "
            f"| {build[0]:8.1f} | {build[1]:10.1f} |"
        )


if __name__ == "__main__":
    with sentences():
        main()
