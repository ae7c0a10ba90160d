"""The codec: time of its search, its decoders and its losses, beside the functions of other libraries.

    python -m benchmarks.codec [--batch 64 --landmarks 98 --size 64 --k 9 --dtype float32 --repeats 15 --threads 2]

It prints three tables of medians. In each table all candidates run in turn, in one process. Quote the ratios.

1. The search for the k strongest cells. Ours takes channels-last maps, in which a network leaves them. `lax.top_k`
   and `torch.topk` take these too, and channels-first maps, on which they are fastest; `np.argpartition` takes
   channels-first maps. The last row reads the maps once.
2. Whole decoders, in maps per second; the last one is the same as the first in PyTorch, of channels-first maps.
3. The objectives with their gradients, and three of them in the dense form that builds the target heatmap: time, its
   ratio to the spatial cross-entropy, and the memory that the compiled program allocates besides its arguments and
   results.

If JAX runs on an NVIDIA GPU, PyTorch must run there too. Numpy stays on the CPU.
"""

from __future__ import annotations

import argparse
import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax

from benchmarks import medians, processor, torch_device
from benchmarks.objectives import loss_programs
from h3r_jax import codec, ranges
from h3r_jax.codec.top_k import top_k
from h3r_jax.errors import sentences


def jitted(function, *arguments):
    """A call of `function`, compiled, that waits for the result."""
    compiled = jax.jit(function)
    return lambda: jax.block_until_ready(compiled(*arguments))


def waiting(function):
    """A call of PyTorch's `function` that waits for the GPU, if there is one."""

    def call():
        result = function()
        if torch_device() == "cuda":
            torch.cuda.synchronize()
        return result

    return call


def searches(maps, k):
    """`{name: call}` of the searches for the k strongest cells of `maps [N, S, K]`."""
    first = jnp.asarray(np.ascontiguousarray(np.swapaxes(np.asarray(maps), 1, 2)))  # [N, K, S]
    as_float = np.asarray(first, np.float32)
    device = torch_device()
    tensor = torch.from_numpy(as_float.copy()).to(device, getattr(torch, str(maps.dtype)))
    ours, theirs = jax.jit(top_k, static_argnums=1)(maps, k), torch.topk(tensor, k)
    np.testing.assert_array_equal(np.asarray(ours[0], np.float32), theirs.values.float().cpu().numpy())
    last = tensor.transpose(1, 2).contiguous().transpose(1, 2)
    place = device if device == "cuda" else f"{torch.get_num_threads()} threads"
    return {
        "ours, channels-last": jitted(lambda m: top_k(m, k), maps),
        "lax.top_k, channels-first": jitted(lambda m: lax.top_k(m, k), first),
        "lax.top_k, channels-last": jitted(lambda m: lax.top_k(jnp.swapaxes(m, 1, 2), k), maps),
        f"torch.topk, channels-first, {place}": waiting(lambda: torch.topk(tensor, k)),
        f"torch.topk, channels-last, {place}": waiting(lambda: torch.topk(last, k)),
        "np.argpartition, channels-first": lambda: np.argpartition(as_float, -k, axis=-1),
        "reading once (a maximum)": jitted(jnp.max, maps),
    }


def decoders(maps, k):
    """`{name: call}` of whole decoders of `maps [N, H, W, K]`."""
    calls = {f"decode, top {k}": jitted(functools.partial(codec.decode, k=k), maps)}
    calls["decode, 3x3 neighbours"] = jitted(functools.partial(codec.decode, selection="neighbours"), maps)
    calls[f"decode_with_statistics, top {k}"] = jitted(functools.partial(codec.decode_with_statistics, k=k), maps)
    calls |= {name: jitted(pair.decode, maps) for name, pair in codec.CODECS.items() if "rounding" not in name}
    width, device = maps.shape[2], torch_device()
    first = np.moveaxis(np.asarray(maps, np.float32), 3, 1).reshape(maps.shape[0], maps.shape[3], -1)
    tensor = torch.from_numpy(first.copy()).to(device, getattr(torch, str(maps.dtype)))

    def theirs():
        values, cells = torch.topk(tensor, k)
        weights = torch.softmax(values.float(), -1)
        places = torch.stack([cells % width, cells // width], -1)
        return 4.0 * (weights[..., None] * places).sum(-2)

    apart = np.abs(theirs().cpu().numpy() - codec.decode(maps, k=k))
    assert (apart < 1e-2).mean() > 0.999  # of equal values, PyTorch takes any
    calls[f"torch.topk {k}, softmax, expectation, channels-first"] = waiting(theirs)
    return calls


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=ranges.count, default=64)
    parser.add_argument("--landmarks", type=ranges.count, default=98)
    parser.add_argument("--size", type=ranges.count, default=64, help="cells per side of a heatmap")
    parser.add_argument("--k", type=ranges.count, default=9)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--repeats", type=ranges.count, default=15)
    parser.add_argument(
        "--threads", type=ranges.count, default=2, help="of PyTorch; XLA takes all processors that it may use"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shape = (arguments.batch, arguments.size, arguments.size, arguments.landmarks)
    maps = jax.random.normal(jax.random.key(0), shape, arguments.dtype)
    count = arguments.batch * arguments.landmarks
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    place = f"{cores} processors, {processor()}" if jax.default_backend() == "cpu" else jax.devices()[0].device_kind
    print(
        f"{count} maps of {arguments.size}x{arguments.size} {arguments.dtype}, k = {arguments.k}; "
        f"{place}; jax {jax.__version__}, torch {torch.__version__}"
    )

    print(f"\n{'the k strongest cells':45s} {'ms':>8s} {'to ours':>8s}")
    flat = maps.reshape(arguments.batch, -1, arguments.landmarks)
    times = medians(searches(flat, arguments.k), arguments.repeats)
    ours, _ = next(iter(times.values()))
    for name, (seconds, _) in times.items():
        print(f"{name:45s} {1e3 * seconds:8.1f} {seconds / ours:8.2f}")

    print(f"\n{'decoders':55s} {'ms':>8s} {'maps/s':>9s}")
    for name, (seconds, _) in medians(decoders(maps, arguments.k), max(3, arguments.repeats // 3)).items():
        print(f"{name:55s} {1e3 * seconds:8.1f} {count / seconds:9.0f}")

    print(f"\n{'objectives with gradient':45s} {'ms':>8s} {'ratio':>7s} {'MiB':>9s}")
    maps = maps.astype(jnp.float32)
    programs, coordinates = loss_programs(maps)
    calls = {
        name: functools.partial(lambda p: jax.block_until_ready(p(maps, coordinates)), p)
        for name, p in programs.items()
    }
    times = medians(calls, max(3, arguments.repeats // 3))
    entropy, _ = next(iter(times.values()))
    for name, (seconds, _) in times.items():
        memory = programs[name].memory_analysis().temp_size_in_bytes
        print(f"{name:45s} {1e3 * seconds:8.1f} {seconds / entropy:7.2f} {memory / 2**20:9.1f}")


if __name__ == "__main__":
    with sentences():
        main()
