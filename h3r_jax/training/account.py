"""What a training is going to do, in words and pictures, before it does it."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from matplotlib.figure import Figure

from h3r_jax import codec, geometry, models, visualize
from h3r_jax.augment import Augmentation
from h3r_jax.evaluation import report
from h3r_jax.evaluation.protocols import Protocol
from h3r_jax.run import Run
from h3r_jax.training import distributed, step
from h3r_jax.training.recipe import Durations, Recipe
from h3r_jax.training.state import TrainState

MOST_PAIRS = 8  # that are listed


def show(run: Run, config: Any, recipe: Recipe, protocol: Protocol, of_data: Any, *more: Any) -> None:
    """Prints the account of a run and draws its first examples, in the first process; arguments as `describe`."""
    if distributed.is_first():
        print(describe(config, recipe, protocol, of_data, *more), flush=True)
        draw(run, recipe, of_data[0])


def describe(
    config: Any,
    recipe: Recipe,
    protocol: Protocol,
    of_data: tuple[Any, Any],
    of_state: tuple[TrainState, str],
    durations: Durations,
    mesh: Mesh,
    warnings: Iterable[str] = (),
) -> str:
    """The account of a run, line by line.

    Args:
      config: ConfigDict.
      recipe, protocol: of the configuration.
      of_data: data.pipeline.TrainInput, and EvalInput of the validation split; None for no validation.
      of_state: the state from which the run starts or goes on, and where its weights come from, in words.
      durations: Durations of the run.
      mesh: the mesh of the devices.
      warnings: sentences; empty ones are left out.
    """
    (examples, validation), (state, weights) = of_data, of_state
    network = recipe.network
    annotations, canvases = examples.annotations, examples.canvases
    sizes = typical_sizes(annotations.boxes(config.data.box), annotations.size)
    crops = geometry.transform_points(examples.matrices, annotations.landmarks)
    points = codec.activation_points(crops, heatmap_shape=network.heatmap_shape, stride=network.stride)
    labelled = annotations.weight > 0
    counts = (
        f"{labelled.size} landmarks: {int((~labelled).sum())} without label or hidden, {annotations.outside_image()} "
        f"labelled outside their image, {int((labelled & ~np.asarray(points.inside)).sum())} outside the plain crop's "
        "heatmap (no weight there)"
    )
    kept = "kept in memory" if canvases.cached else "decoded anew every epoch (over data.cache_bytes)"
    micro = f"; {recipe.accumulation} micro-batches a step" if recipe.accumulation > 1 else ""
    lines = {
        "data": f"{report.describe_split(examples)}; {sizes}; {counts}",
        "validation": f"{report.describe_split(validation)}; chooses the best checkpoint"
        if validation
        else "none; the last checkpoint counts",
        "input": f"{network.shape[0]}x{network.shape[1]} pixels, box from {config.data.box} x {network.box_scale}; "
        f"canvases {canvases.shape[0]}x{canvases.shape[1]}, {canvases.nbytes / 2**20:.0f} MiB, {kept}",
        "model": f"{config.model.name}, head {network.head}, {network.scheme.num_landmarks} landmarks, "
        f"{models.count_parameters(state.variables['params']):,} parameters, {config.model.dtype}, "
        f"stride {network.stride}",
        "mirror": mirrored_pairs(network.scheme.mirror) if recipe.augmentation.mirror else "no image is mirrored",
        "weights": weights,
        "loss": str(recipe.objective),
        "scores": f"{report.describe_protocol(network, protocol, config.data.box)}, "
        f"decoder {report.decoder_name(network)}",
        "devices": f"{mesh.size} x {mesh.devices.flat[0].device_kind} in {jax.process_count()} process(es)",
        "steps": f"{int(state.step)} -> {durations.total} of batch {config.train.batch_size}, "
        f"{durations.total * config.train.batch_size / examples.num_examples:.4g} epochs{micro}",
    }
    described = [*lines.items(), *(("warning", warning) for warning in (*warnings, durations.warning()) if warning)]
    return "\n".join(f"{name:<12}{text}" for name, text in described)


def mirrored_pairs(mirror: Sequence[int]) -> str:
    """The landmarks that change places in a mirrored image, in words."""
    pairs = [f"{i} and {other}" for i, other in enumerate(mirror) if other > i]
    if not pairs:
        return "no landmark changes its place in a mirrored image"
    more = f" and {len(pairs) - MOST_PAIRS} more pairs" if len(pairs) > MOST_PAIRS else ""
    return f"in a mirrored image {', '.join(pairs[:MOST_PAIRS])}{more} change places"


def typical_sizes(boxes: np.ndarray, sizes: np.ndarray) -> str:
    """The median box of `[N, 4]`, x0, y0, x1, y1, and the median image of `int[N, 2]`, height and width, in words."""
    width, height = np.median(boxes[:, 2:] - boxes[:, :2] + 1, axis=0)
    across, down = np.median(sizes[:, ::-1], axis=0)
    return f"median box {width:.4g} x {height:.4g} pixels, median image {across:.4g} x {down:.4g}"


def draw(run: Run, recipe: Recipe, examples: Any, count: int = 24, magnified: int = 6) -> None:
    """Draws the first examples as the network will see them (augmented.png), and the targets of a few (targets.png).

    Also each of a few beside its mirror image, with the numbers of the landmarks (mirrored.png), if the recipe mirrors.

    Args:
      run: Run; the pictures go into its workdir.
      recipe: Recipe.
      examples: data.pipeline.TrainInput.
      count: examples that are shown.
      magnified: examples whose targets are shown, and half of whose mirror images.
    """
    scheme, stride = recipe.network.scheme, recipe.network.stride
    size = min(count, examples.num_examples)
    batch = next(examples.batches(seed=recipe.seed, batch_size=size, start_step=0))
    images, landmarks, weight = jax.jit(lambda batch: step.augment_batch(batch, 0, recipe))(batch)
    shown = slice(0, magnified)
    points = step.target_points(landmarks[shown], batch["index"][shown], 0, recipe)
    pictures = {
        "augmented": visualize.landmark_sheet(images, landmarks, weight=weight, scheme=scheme),
        "targets": visualize.activation_sheet(
            images[shown], landmarks[shown], points, stride=stride, scheme=scheme, columns=3
        ),
    }
    if recipe.augmentation.mirror:
        pictures["mirrored"] = _mirrored({name: array[: magnified // 2] for name, array in batch.items()}, recipe)
    for name, figure in pictures.items():
        visualize.save(figure, run.workdir / f"{name}.png")


def _mirrored(batch: dict[str, Any], recipe: Recipe) -> Figure:
    """Each example of a batch beside its mirror image, without other changes."""
    sides = []
    for mirror in (0.0, 1.0):
        plain = dataclasses.replace(recipe, augmentation=Augmentation(mirror=mirror))
        sides.append(jax.jit(lambda batch, plain=plain: step.augment_batch(batch, 0, plain))(batch))
    images, landmarks, weight = ([one for pair in zip(*arrays) for one in pair] for arrays in zip(*sides))
    look: dict[str, Any] = {"scheme": recipe.network.scheme, "numbers": True, "columns": 2, "side": 3.2}
    titles = ["as it is", "mirrored"] * len(batch["index"])
    return visualize.landmark_sheet(images, np.stack(landmarks), weight=np.stack(weight), titles=titles, **look)
