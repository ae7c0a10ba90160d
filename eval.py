"""Evaluates a trained network on the test split of its recipe.

    python eval.py --config=configs/NAME.py --workdir=DIR [--checkpoint=PATH] [--config.field=value]

Prints a table of decoders on the same network and writes to DIR/eval: the
metrics as JSON, a cumulative error curve, a sheet of overlays and one of heatmaps with the worst cases.
"""

import json

from h3r_jax.training import environment  # noqa: F401  (before jax)

# isort: split

import jax
import numpy as np
from absl import app, flags
from etils import epath
from ml_collections import config_flags

from configs import common
from data import inputs
from h3r_jax import codec, geometry, visualize
from h3r_jax.training import checkpoints, evaluation, sharding, step
from h3r_jax.training import config as run_config

CONFIG = config_flags.DEFINE_config_file("config", None, "the recipe that the network was trained with")
WORKDIR = flags.DEFINE_string("workdir", None, "directory of the run")
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "DIR/checkpoints/STEP, or what h3r_jax.convert reads; the last step of the workdir by default"
)
LOGITS = flags.DEFINE_string("logits", None, "also write the logit maps to this .npz, for python -m benchmarks.decoders")
flags.mark_flags_as_required(["config", "workdir"])

SHOWN = 8  # examples in each row of the sheet


def main(_):
    config, workdir = CONFIG.value, epath.Path(WORKDIR.value).expanduser()
    run_config.quiet_libraries()
    mesh = sharding.make_mesh()
    with run_config.clear_errors():
        run_config.check_fields(config, common.get_config())
        sharding.check_batch_size(config.eval.batch_size, mesh)
        scheme = run_config.make_scheme(config)
        recipe = run_config.make_recipe(config, scheme)
        chosen, decode = run_config.make_decoder(config, recipe)
        variables, description = checkpoints.load_variables(
            workdir, CHECKPOINT.value, recipe, averaged=config.eval.averaged, sharding=sharding.replicated(mesh)
        )
        split = inputs.eval_input(config, scheme, recipe, config.data.test_split)

    decoders = {
        "argmax": run_config.decoder(recipe, k=1),
        "quarter shift": lambda logits: codec.quarter_shift(logits, stride=recipe.stride),
        "k=4": run_config.decoder(recipe, k=4),
        "k=9": run_config.decoder(recipe, k=9),
    } | {chosen: decode}
    predictions = evaluation.predict_split(
        step.jit_eval_step(recipe, mesh, decoders=decoders, flip=config.eval.flip),
        variables,
        split.batches(config.eval.batch_size, jax.process_index(), jax.process_count()),
        split.matrices,
        mesh,
    )
    if LOGITS.value:
        write_logits(LOGITS.value, variables, recipe, split, scheme, config.eval.batch_size)
    if jax.process_index() > 0:
        return
    distances = split.annotations.normalizing_distances(scheme)
    errors = {name: evaluation.score(predictions[name], split.annotations, distances) for name in decoders}
    protocol = (
        f"box from {config.data.box} x {config.data.box_scale:g}, {config.eval.crop} crop, input {recipe.shape[0]}x{recipe.shape[1]}, normaliser "
        f"{scheme.normalizer}, flip test {'on' if config.eval.flip else 'off'}"
    )
    print(f"{split.name}: {split.num_examples} examples; {description}")
    print(f"protocol: {protocol}; decoder for the files: {chosen}")
    print(table(errors, predictions, split, recipe, config.eval.thresholds))

    name = f"{config.data.folder or config.data.name}-{config.data.test_split}"
    directory = workdir / "eval"
    directory.mkdir(parents=True, exist_ok=True)
    result = {
        "dataset": config.data.folder or config.data.name,
        "split": config.data.test_split,
        "protocol": f"{protocol}, decoder {chosen}, {description}",
        "count": errors[chosen].count,
        "metrics": errors[chosen].summary(config.eval.thresholds),
    }
    (directory / f"{name}.json").write_text(json.dumps(result, indent=2))
    curve = visualize.cumulative_error_curve(errors, max(config.eval.thresholds))
    visualize.save(curve, directory / f"{name}-curve.png")
    visualize.save(overlays(split, predictions[chosen], errors[chosen], scheme), directory / f"{name}-overlays.png")
    visualize.save(heatmaps(split, variables, recipe, errors[chosen]), directory / f"{name}-heatmaps.png")
    print(f"Wrote {directory}/{name}.json, {name}-curve.png, {name}-overlays.png and {name}-heatmaps.png")


def write_logits(path, variables, recipe, split, scheme, batch_size):
    """The logit maps of a split in float16, with what benchmarks.decoders needs to score them; one process only."""
    predict = jax.jit(lambda variables, images: step.predict_logits(variables, images, recipe=recipe))
    logits = [np.float16(predict(variables, batch["image"])) for batch in split.batches(batch_size)]
    landmarks = geometry.transform_points(split.matrices, split.annotations.landmarks)
    landmarks[split.annotations.visibility == 0] = np.nan
    np.savez(
        path,
        logits=np.concatenate(logits)[: split.num_examples],
        landmarks=landmarks,
        stride=recipe.stride,
        normaliser=split.annotations.normalizing_distances(scheme) * split.matrices[:, 0, 0],
    )


def table(errors, predictions, split, recipe, thresholds):
    """One line per decoder; the cell error is in heatmap cells of the network's input."""
    names = list(next(iter(errors.values())).summary(thresholds))
    lines = [f"{'decoder':<16}{'cells':>8}" + "".join(f"{name:>10}" for name in names)]
    for decoder, sample in errors.items():
        cells = evaluation.mean_pixel_error(predictions[decoder], split.annotations, split.matrices) / recipe.stride
        metrics = sample.summary(thresholds)
        lines.append(f"{decoder:<16}{cells:>8.3f}" + "".join(f"{metrics[name]:>10.3f}" for name in names))
    return "\n".join(lines)


def overlays(split, predictions, errors, scheme):
    """Examples as the network saw them, with the truth as crosses: one row from the best to the median, one of the worst."""
    order = np.argsort(errors.values)
    typical = order[np.linspace(0, (len(order) - 1) // 2, min(SHOWN, len(order))).astype(int)]
    shown = np.concatenate([typical, order[::-1][:SHOWN]])
    return visualize.landmark_sheet(
        next(split.canvases.batches([shown])),
        geometry.transform_points(split.matrices[shown], predictions[shown]),
        visibility=split.annotations.visibility[shown],
        truth=geometry.transform_points(split.matrices[shown], split.annotations.landmarks[shown]),
        scheme=scheme,
        titles=[f"{100 * errors.values[i]:.1f} %" for i in shown],
        columns=SHOWN,
    )


def heatmaps(split, variables, recipe, errors):
    """What the network believes about the worst examples."""
    shown = np.argsort(errors.values)[::-1][:SHOWN]
    images = next(split.canvases.batches([shown]))
    logits = jax.jit(lambda variables, images: step.predict_logits(variables, images, recipe=recipe))(variables, images)
    return visualize.heatmap_sheet(images, logits, titles=[f"{100 * errors.values[i]:.1f} %" for i in shown], columns=SHOWN)


if __name__ == "__main__":
    app.run(main)
