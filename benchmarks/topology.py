"""The train and evaluation steps of a recipe, compiled for TPU chips and lowered for GPUs, without any of them.

    pip install "libtpu==0.0.42.*"
    python -m benchmarks.topology --config=configs/NAME.py [--topology="v5e:2x2 v5e:2x4 v5e:16x16" --per_device=16]

The command compiles for TPU topologies, by default 4, 8 and 256 chips of a v5e: the training step of train.py, the
network with its decoder as eval.py runs it, and the loss with its gradient alone. It prints for each

- the memory and the operations per device,
- the cycles by the compiler's estimates, and the bytes to and from memory (`benchmarks.tpu_program`),
- examples a second per chip, as a range: up to this many if memory and computation overlap in full, and so many if not
  at all, at 1.5 GHz and 819 GB/s. Neither was measured.
- the collectives: how often each stands in the compiled program, and the bytes of its result on one device.

Then it lowers all three for CUDA, which checks that every operation has a form there; to compile that takes a GPU.

The global batch is `per_device` examples on every chip; 0 takes the recipe's batch sizes as they are. To save time
the compiler for TPUs works with its least effort, so the costs are upper bounds; `--effort=0` is what train.py has.
"""

import os
import time

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no TPU to ask

import jax
import jax.numpy as jnp
from absl import app, flags
from jax.experimental import topologies
from ml_collections import config_flags

from benchmarks import tpu_program
from benchmarks.collectives import collectives
from h3r_jax import augment
from h3r_jax.errors import sentences
from h3r_jax.training import sharding, step
from h3r_jax.training.recipe import Recipe
from h3r_jax.training.state import create_state, optimizer_of

CONFIG = config_flags.DEFINE_config_file("config", None, "the recipe")
TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x2 v5e:2x4 v5e:16x16", "TPU topologies, separated by spaces")
PER_DEVICE = flags.DEFINE_multi_integer("per_device", [16], "examples on every chip; 0 for the recipe's batch sizes")
STEPS = flags.DEFINE_string("steps", "", "only those steps whose name contains this, such as train")
EFFORT = flags.DEFINE_float("effort", -1.0, "of the compiler, from -1 to 1; train.py compiles with 0")
flags.mark_flag_as_required("config")


def steps(config, mesh, per_device):
    """The jitted train and evaluation step over a mesh, and the loss, each with the shapes of its arguments."""
    recipe = Recipe.from_config(config)
    network, landmarks = recipe.network, recipe.network.scheme.num_landmarks
    optimizer = optimizer_of(config.train, warmup_steps=100, total_steps=1000)
    variables, keep_average = network.shapes(), recipe.average_decay > 0
    state = jax.eval_shape(lambda v: create_state(v, optimizer, keep_average=keep_average), variables)

    def images(batch_size, shape):
        return jax.ShapeDtypeStruct((batch_size, *shape, 3), jnp.uint8)

    train_size = per_device * mesh.size or config.train.batch_size
    eval_size = per_device * mesh.size or config.eval.batch_size
    sharding.check_batch_size(train_size, mesh, config.train.accumulation)
    sharding.check_batch_size(eval_size, mesh)
    batch = {
        "image": images(train_size, augment.canvas_shape(recipe.augmentation, network.shape)),
        "matrix": jax.ShapeDtypeStruct((train_size, 2, 3), jnp.float32),
        "edges": jax.ShapeDtypeStruct((train_size, 4), jnp.float32),
        "landmarks": jax.ShapeDtypeStruct((train_size, landmarks, 2), jnp.float32),
        "weight": jax.ShapeDtypeStruct((train_size, landmarks), jnp.float32),
        "index": jax.ShapeDtypeStruct((train_size,), jnp.int32),
    }
    whole, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    eval_step = jax.jit(network.decode, in_shardings=(whole, split), out_shardings=whole)

    def loss(logits, landmarks):
        place = {"heatmap_shape": network.heatmap_shape, "stride": network.stride}
        points = recipe.objective.points(jax.random.key(0), landmarks, **place)
        return recipe.objective.values(logits, points, landmarks, stride=network.stride).mean()

    logits = jax.ShapeDtypeStruct((train_size, *network.heatmap_shape, landmarks), jnp.float32)
    both = jax.jit(jax.value_and_grad(loss), in_shardings=split, out_shardings=(whole, split))
    return {
        f"loss with gradient, batch {train_size}": (both, (logits, batch["landmarks"])),
        f"train step, batch {train_size}": (step.jit_train_step(recipe, optimizer, mesh), (state, batch)),
        f"eval step, batch {eval_size}": (eval_step, (variables, images(eval_size, network.shape))),
    }


def report(name, compiled, seconds, per_chip):
    """One line about a compiled step of so many examples per chip."""
    memory = compiled.memory_analysis()
    parts = {"arguments": memory.argument_size_in_bytes, "temporary": memory.temp_size_in_bytes}
    parts["in all"] = sum(parts.values()) + memory.output_size_in_bytes - memory.alias_size_in_bytes
    sizes = ", ".join(f"{part} {size / 2**20:.1f} MiB" for part, size in parts.items())
    moved = ", ".join(
        f"{n} x {kind} ({size / 2**20:.2f} MiB)" for kind, (n, size) in collectives(compiled.as_text()).items()
    )
    cost = tpu_program.account(compiled.as_text())
    overlapped, memory = cost.cycles / tpu_program.CLOCK, cost.memory_bytes / tpu_program.MEMORY_RATE
    rate = f"{per_chip / (overlapped + memory):.0f} to {per_chip / max(overlapped, memory):.0f} examples a second"
    work = f"{compiled.cost_analysis()['flops'] / 1e9:.1f} GFLOP, {cost}; {rate}"
    print(f"  {name}: per device {sizes}; {work}; {moved or 'no collectives'}; compiled in {seconds:.0f} s", flush=True)


def main(_):
    config = CONFIG.value
    jax.config.update("jax_exec_time_optimization_effort", EFFORT.value)
    jax.config.update("jax_memory_fitting_effort", EFFORT.value)
    with sentences():
        for name in TOPOLOGY.value.split():
            devices = topologies.get_topology_desc(name, "tpu").devices
            mesh = sharding.make_mesh(devices)
            chips = f"{mesh.size} chips of {devices[0].device_kind}"
            print(f"{config.model.name} {config.model.input_size} on {name}, {chips}:")
            for per_device in PER_DEVICE.value:
                for label, (function, arguments) in steps(config, mesh, per_device).items():
                    if STEPS.value not in label:
                        continue
                    start = time.perf_counter()
                    compiled = function.lower(*arguments).compile()
                    examples = int(label.rpartition(" ")[2]) / mesh.size
                    report(label, compiled, time.perf_counter() - start, examples)
        one = sharding.make_mesh(jax.devices()[:1])
        for label, (function, arguments) in steps(config, one, PER_DEVICE.value[0]).items():
            if STEPS.value not in label:
                continue
            text = function.trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()
            print(f"cuda, {label}: lowered to {len(text.splitlines())} lines of StableHLO")


if __name__ == "__main__":
    app.run(main)
