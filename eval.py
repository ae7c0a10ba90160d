"""Evaluates a trained network on the test split of its recipe.

    python eval.py --config=configs/NAME.py --workdir=DIR [--checkpoint=PATH] [--config.field=value]

Prints a table of decoders on the same network and writes to DIR/eval: the
metrics as JSON, a cumulative error curve, a sheet of overlays and one of heatmaps with the worst cases.
"""

import functools
import json
import math

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
from h3r_jax.training import checkpoints, distributed, evaluation, protocols, sharding, step
from h3r_jax.training import config as run_config

CONFIG = config_flags.DEFINE_config_file("config", None, "the recipe that the network was trained with")
WORKDIR = flags.DEFINE_string("workdir", None, "directory of the run")
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "DIR/checkpoints/STEP, or what h3r_jax.convert reads; the last step of the workdir by default"
)
LOGITS = flags.DEFINE_string(
    "logits", None, "also write the logit maps to this .npz, for python -m benchmarks.decoders"
)
flags.mark_flags_as_required(["config", "workdir"])
distributed.define_flags()

SHOWN = 8  # examples in each row of the sheet


def main(_):
    config, workdir = CONFIG.value, epath.Path(WORKDIR.value).expanduser()
    run_config.quiet_libraries()
    with run_config.clear_errors():
        distributed.initialize(*(flags.FLAGS[name].value for name in distributed.FLAGS))
    with distributed.end_for_all():
        evaluate(config, workdir)


def evaluate(config, workdir):
    """The evaluation, from the configuration to the files; every process takes part, the first one writes."""
    mesh = sharding.make_mesh()
    with run_config.clear_errors():
        if LOGITS.value and jax.process_count() > 1:
            raise ValueError("--logits is for one process; leave it out or run eval.py alone")
        run_config.check_fields(config, common.get_config())
        sharding.check_batch_size(config.eval.batch_size, mesh)
        scheme = run_config.make_scheme(config)
        recipe = run_config.make_recipe(config, scheme)
        protocol = run_config.make_protocol(config, scheme)
        chosen, decode = run_config.make_decoder(config, recipe)
        variables, description = checkpoints.load_variables(
            workdir, CHECKPOINT.value, recipe, averaged=config.eval.averaged, sharding=sharding.replicated(mesh)
        )
        with distributed.first_process_first():
            split = inputs.test_input(config, scheme, recipe)
        protocol.check(split)
        decoders = {
            "argmax": run_config.decoder(recipe, k=1),
            "quarter shift": lambda logits: codec.quarter_shift(logits, stride=recipe.stride),
            "k=4": run_config.decoder(recipe, k=4),
            "k=9": run_config.decoder(recipe, k=9),
        } | {chosen: decode}
        eval_step = step.jit_eval_step(recipe, mesh, decoders=decoders, flip=config.eval.flip)
        step.check_eval_step(eval_step, variables, recipe, config.eval.batch_size)

    with run_config.clear_errors(OSError):
        predictions, confidence = evaluation.predict_split(
            eval_step,
            variables,
            split.batches(config.eval.batch_size, jax.process_index(), jax.process_count()),
            split.matrices,
            mesh,
        )
    if LOGITS.value:
        write_logits(LOGITS.value, variables, recipe, split, protocol, config.eval.batch_size)
    if distributed.is_first():
        with run_config.clear_errors():
            scores = {name: protocol.score(predictions[name], confidence, split) for name in decoders}
        write(config, workdir, split, predictions, scores, chosen, protocol, recipe, variables, description)
    distributed.meet()  # or JAX would end the first process, which scores, a minute after the others have finished


def write(config, workdir, split, predictions, scores, chosen, protocol, recipe, variables, description):
    """Prints the table and writes the files of an evaluation; `chosen` is the decoder that the configuration asks for."""
    described = run_config.describe_protocol(config, protocol, recipe)
    print(f"{split.name}: {split.num_examples} examples; {description}")
    if split.incomplete:
        print(f"This copy is {split.incomplete}.")
    print(f"protocol: {described}; decoder for the files: {chosen}")
    print(decoder_table(scores, predictions, split, recipe))
    parts = [*protocol.subsets, *(name.partition("/")[2] for name in scores[chosen].metrics if "/" in name)]
    if parts:
        print(part_table(scores[chosen], dict.fromkeys(parts)))

    dataset, folder = inputs.test_set(config)
    dataset = epath.Path(folder).name or dataset
    name = f"{dataset}-{config.data.test_split}"
    directory = workdir / "eval"
    directory.mkdir(parents=True, exist_ok=True)
    result = {
        "dataset": dataset,
        "split": config.data.test_split,
        "protocol": f"{described}, decoder {chosen}, {description}",
        "count": split.num_examples,
        "official_count": split.official_count,  # of the whole split, None if nobody says
        "subset_counts": scores[chosen].counts,
        "metrics": {name: value if math.isfinite(value) else None for name, value in scores[chosen].metrics.items()},
    }
    (directory / f"{name}.json").write_text(json.dumps(result, indent=2))
    pictures = sheets(split, variables, recipe, predictions[chosen], scores[chosen])
    if scores[chosen].errors is not None:
        errors = {name: score.errors for name, score in scores.items()}
        pictures["curve"] = visualize.cumulative_error_curve(errors, max(config.eval.thresholds))
    for kind, figure in pictures.items():
        visualize.save(figure, directory / f"{name}-{kind}.png")
    print(f"Wrote {directory}/{name}.json and {', '.join(f'{name}-{kind}.png' for kind in pictures)}")


def write_logits(path, variables, recipe, split, protocol, batch_size):
    """The logit maps of a split in float16, with what benchmarks.decoders needs to score them; one process only."""
    predict = jax.jit(lambda variables, images: step.predict_logits(variables, images, recipe=recipe))
    logits = [np.float16(predict(variables, batch["image"])) for batch in split.batches(batch_size)]
    landmarks = geometry.transform_points(split.matrices, split.annotations.landmarks)
    landmarks[split.annotations.weight == 0] = np.nan
    np.savez(
        path,
        logits=np.concatenate(logits)[: split.num_examples],
        landmarks=landmarks,
        stride=recipe.stride,
        normaliser=protocols.units(protocol, split.annotations, "") * split.matrices[:, 0, 0],
    )


def decoder_table(scores, predictions, split, recipe):
    """One line per decoder, of the whole split; the cell error is in heatmap cells of the network's input."""
    names = [name for name in next(iter(scores.values())).metrics if "/" not in name]
    lines = [f"{'decoder':<16}{'cells':>8}" + "".join(f"{name:>{max(10, len(name) + 2)}}" for name in names)]
    for decoder, score in scores.items():
        cells = evaluation.mean_pixel_error(predictions[decoder], split.annotations, split.matrices) / recipe.stride
        numbers = (f"{score.metrics[name]:>{max(10, len(name) + 2)}.3f}" for name in names)
        lines.append(f"{decoder:<16}{cells:>8.3f}" + "".join(numbers))
    return "\n".join(lines)


def part_table(score, parts):
    """One line per subset of the split or group of landmarks, of the chosen decoder; "-" where nothing can be said."""
    names = list(dict.fromkeys(name.partition("/")[0] for name in score.metrics if "/" in name))
    lines = [f"{'part':<16}{'count':>8}" + "".join(f"{name:>{max(10, len(name) + 2)}}" for name in names)]
    for part in parts:
        numbers = (score.metrics.get(f"{name}/{part}") for name in names)
        cells = ("-" if number is None else f"{number:.3f}" for number in numbers)
        row = "".join(f"{cell:>{max(10, len(name) + 2)}}" for name, cell in zip(names, cells))
        lines.append(f"{part:<16}{score.counts.get(part, ''):>8}{row}")
    return "\n".join(lines)


def sheets(split, variables, recipe, predictions, score):
    """Examples as the network sees them, and what it believes about the worst.

    The overlays are one row from the best to the median and one of the worst, the truth as crosses; the ellipses are of the
    plain image's maps, whatever the decoder. By this process alone, hence from its own copy of the variables.
    """
    order = np.argsort(score.per_example)
    worst = order[::-1][:SHOWN]
    typical = order[np.linspace(0, (len(order) - 1) // 2, len(worst)).astype(int)]
    shown = np.concatenate([typical, worst])
    images = next(split.canvases.batches([shown]))
    logits, covariance = jax.jit(functools.partial(believed, recipe=recipe))(jax.device_get(variables), images)
    titles = [f"{100 * score.per_example[i]:.1f} %" for i in shown]
    overlays = visualize.landmark_sheet(
        images,
        geometry.transform_points(split.matrices[shown], predictions[shown]),
        weight=split.annotations.weight[shown],
        truth=geometry.transform_points(split.matrices[shown], split.annotations.landmarks[shown]),
        covariance=covariance,
        scheme=recipe.scheme,
        titles=titles,
        columns=len(worst),
    )
    last = slice(len(typical), None)
    heatmaps = visualize.heatmap_sheet(images[last], logits[last], titles=titles[last], columns=len(worst))
    return {"overlays": overlays, "heatmaps": heatmaps}


def believed(variables, images, recipe):
    """Logit maps of crops, and the covariance of what they say, square input pixels."""
    logits = step.predict_logits(variables, images, recipe=recipe)
    k = min(step.CONFIDENCE_CELLS, math.prod(recipe.heatmap_shape))
    return logits, codec.decode_with_statistics(
        logits, k=k, stride=recipe.stride, activation=recipe.activation
    ).covariance


if __name__ == "__main__":
    app.run(main)
