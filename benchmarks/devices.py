"""One device against eight: how far the losses of the same training drift apart.

    python -m benchmarks.devices

MobileNetV2 at 32x32 on random canvases, ten steps, on one and on eight virtual CPU devices, in float64
and in float32. The mathematics is the same; only the order of summation differs.
"""

import argparse
import os

os.environ["XLA_FLAGS"] = "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE --xla_force_host_platform_device_count=8"

import jax
import numpy as np

from h3r_jax import augment
from h3r_jax.inference import make_network
from h3r_jax.training import sharding, step
from h3r_jax.training.recipe import Recipe
from h3r_jax.training.state import create_state, make_optimizer, make_schedule

STEPS, BATCH = 10, 16


def losses(num_devices, dtype):
    """The losses `float64[STEPS]` of a training on that many devices."""
    augmentation = augment.Augmentation(rotation=20, scale=0.2, shift=0.05, mirror=0.5, color=0.2)
    network = make_network("mobilenet_v2", "phantom23", input_size=32, dtype=dtype)
    recipe = Recipe(network, target="sampled", augmentation=augmentation, average_decay=0.0)
    schedule = make_schedule(learning_rate=8e-3, warmup_steps=2, total_steps=STEPS)
    optimizer = make_optimizer(schedule, weight_decay=1e-4, clip_norm=10.0)
    mesh = sharding.make_mesh(jax.devices()[:num_devices])
    state = create_state(network.initialize(recipe.seed), optimizer, keep_average=False)
    state = jax.device_put(state, sharding.replicated(mesh))
    train_step = step.jit_train_step(recipe, optimizer, mesh)
    canvas, landmarks = augment.canvas_shape(augmentation, network.shape), network.scheme.num_landmarks
    result = []
    for number in range(STEPS):
        rng = np.random.default_rng(number)
        batch = {
            "image": rng.integers(0, 256, (BATCH, *canvas, 3), dtype=np.uint8),
            **augment.central_crops(BATCH, network.shape, canvas),
            "landmarks": rng.uniform(10, min(canvas) - 10, (BATCH, landmarks, 2)).astype(np.float32),
            "weight": np.ones((BATCH, landmarks), np.float32),
            "index": np.arange(BATCH, dtype=np.int32),
        }
        state, metrics = train_step(state, sharding.to_devices(batch, mesh))
        result.append(float(metrics["loss"]))
    return np.array(result)


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(
        f"largest difference of the loss over {STEPS} steps, 1 device against 8 (virtual, CPU, jax {jax.__version__})"
    )
    for dtype in ("float64", "float32"):
        with jax.enable_x64(dtype == "float64"):
            one, eight = losses(1, dtype), losses(8, dtype)
        print(f"{dtype}: {np.abs(one - eight).max():.1e} (losses {one[0]:.4f} to {one[-1]:.4f})")


if __name__ == "__main__":
    main()
