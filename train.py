"""Trains a heatmap regressor.

    python train.py --config=configs/NAME.py --workdir=DIR [--config.field=value] [--profile]

Stopped and started again with the same arguments, it goes on from its last checkpoint, also on another number of
devices or hosts. SIGTERM makes it save first and exit with 143. On several hosts, the same command on each: docs/scaling.md.
"""

import contextlib
import functools
import sys

from h3r_jax.training import environment  # noqa: F401  (before jax)

# isort: split

import jax
import numpy as np
from absl import app, flags
from etils import epath
from ml_collections import config_flags

from configs import common
from data import inputs
from h3r_jax import codec, convert, geometry, models, visualize
from h3r_jax.training import checkpoints, distributed, evaluation, loop, nonfinite, preemption, sharding, step, writers
from h3r_jax.training import config as run_config
from h3r_jax.training.state import create_state, make_optimizer, make_schedule

CONFIG = config_flags.DEFINE_config_file("config", None, "the recipe, such as configs/quickstart.py")
WORKDIR = flags.DEFINE_string("workdir", None, "directory of the run")
PROFILE = flags.DEFINE_bool("profile", False, "write a profile of ten steps to WORKDIR/profile")
flags.mark_flags_as_required(["config", "workdir"])
distributed.define_flags()


def account(config, recipe, protocol, train_input, validation, variables, beginning, start, total_steps, mesh):
    """What is going to happen, for the user to read before it does."""
    annotations = train_input.annotations
    crops = geometry.transform_points(train_input.matrices, annotations.landmarks)
    inside = codec.activation_points(crops, heatmap_shape=recipe.heatmap_shape, stride=recipe.stride).inside
    labelled = annotations.weight > 0
    canvases = train_input.canvases
    counts = (
        f"{labelled.size} landmarks: {int((~labelled).sum())} without label or hidden, {annotations.outside_image()} labelled "
        f"outside their image, {int((labelled & ~np.asarray(inside)).sum())} outside the plain crop's heatmap (no weight there)"
    )
    kept = "kept in memory" if canvases.cached else "decoded anew every epoch (over data.cache_bytes)"

    def described(split):
        return f"{split.name}, {split.num_examples} examples{f' ({split.incomplete})' if split.incomplete else ''}"

    lines = {
        "data": f"{described(train_input)}; {counts}",
        "validation": f"{described(validation)}; chooses the best checkpoint"
        if validation
        else "none; the last checkpoint counts",
        "input": f"{recipe.shape[0]}x{recipe.shape[1]} pixels, box from {config.data.box} x {config.data.box_scale}; "
        f"canvases {canvases.shape[0]}x{canvases.shape[1]}, {canvases.nbytes / 2**20:.0f} MiB, {kept}",
        "model": f"{config.model.name}, head {recipe.head}, {recipe.scheme.num_landmarks} landmarks, "
        f"{models.count_parameters(variables['params']):,} parameters, {config.model.dtype}, stride {recipe.stride}",
        "weights": beginning if start == 0 else f"checkpoint of step {start}",
        "loss": f"{recipe.loss} against {recipe.target} activation points",
        "scores": f"{run_config.describe_protocol(config, protocol, recipe)}, decoder {run_config.make_decoder(config, recipe)[0]}",
        "devices": f"{mesh.size} x {mesh.devices.flat[0].device_kind} in {jax.process_count()} process(es)",
        "steps": f"{start} -> {total_steps} of batch {config.train.batch_size}, {config.train.epochs:g} epochs"
        + (f"; {recipe.accumulation} micro-batches a step" if recipe.accumulation > 1 else ""),
    }
    return "\n".join(f"{name:<12}{text}" for name, text in lines.items())


def sheets(config, recipe, train_input, count=24, magnified=6):
    """The first examples of the run as the network will see them, and what the loss will aim at in a few of them."""
    batch = next(train_input.batches(seed=config.seed, batch_size=min(count, train_input.num_examples), start_step=0))
    images, landmarks, weight = jax.jit(lambda batch: step.augment_batch(batch, 0, recipe))(batch)
    shown = slice(0, magnified)
    points = step.target_points(landmarks[shown], batch["index"][shown], 0, recipe)
    return {
        "augmented": visualize.landmark_sheet(images, landmarks, weight=weight, scheme=recipe.scheme),
        "targets": visualize.activation_sheet(images[shown], landmarks[shown], points, stride=recipe.stride, columns=3),
    }


def main(_):
    config, workdir = CONFIG.value, epath.Path(WORKDIR.value).expanduser()
    run_config.quiet_libraries()
    with run_config.clear_errors():
        distributed.initialize(*(flags.FLAGS[name].value for name in distributed.FLAGS))
    try:
        with distributed.end_for_all():
            train(config, workdir)
    except preemption.Preempted as stop:
        if distributed.is_first():
            print(f"{stop}; the same command goes on from there.")
        sys.exit(preemption.EXIT_CODE)


def train(config, workdir):
    """The run, from its configuration to its last checkpoint."""
    mesh = sharding.make_mesh()
    with run_config.clear_errors(), distributed.first_process_first():
        run_config.check_fields(config, common.get_config())
        run_config.check_numbers(config)
        sharding.check_batch_size(config.train.batch_size, mesh, config.train.accumulation)
        sharding.check_batch_size(config.eval.batch_size, mesh)
        scheme = run_config.make_scheme(config)
        recipe = run_config.make_recipe(config, scheme)
        protocol = run_config.make_protocol(config, scheme)
        decoder = dict([run_config.make_decoder(config, recipe)])
        train_input = inputs.train_input(config, scheme, recipe)
        validation = inputs.validation_input(config, scheme, recipe)
        variables = models.initialize(recipe.model, config.seed, (*recipe.shape, 3))
        eval_step = step.jit_eval_step(recipe, mesh, decoders=decoder, flip=config.eval.flip)
        if validation:  # what evaluation would refuse after the first epochs, it refuses now
            protocol.check(validation)
            step.check_eval_step(eval_step, variables, recipe, config.eval.batch_size)
        run_config.check_same_run(config, workdir)

    batch_size = config.train.batch_size

    def steps_of(epochs):
        return run_config.steps_of(epochs, train_input.num_examples, batch_size)

    total_steps = steps_of(config.train.epochs)
    schedule = make_schedule(
        learning_rate=config.train.learning_rate,
        warmup_steps=steps_of(config.train.warmup_epochs),
        total_steps=total_steps,
    )
    optimizer = make_optimizer(schedule, weight_decay=config.train.weight_decay, clip_norm=config.train.clip_norm)
    beginning = f"drawn from seed {config.seed}"
    if config.init_from:
        with run_config.clear_errors():
            variables, report = convert.load_initial(
                config.init_from, variables, model=config.model.name, head=config.model.head
            )
        beginning = f"{config.init_from}: {report}"
    state = create_state(variables, optimizer, keep_average=config.train.average_decay > 0)
    # Placed on the mesh before the first step: a step of unplaced arrays would be compiled a second time.
    state = jax.device_put(state, sharding.replicated(mesh))

    data = {"name": train_input.name, "examples": train_input.num_examples}
    about = functools.partial(run_config.describe_run, config, data)
    saved = checkpoints.Checkpoints(workdir, keep=config.log.keep_checkpoints, best=protocol.best, about=about)
    latest = saved.latest()
    if latest is not None:
        with run_config.clear_errors():
            name = f"{workdir}: the checkpoint of step {latest}"
            warning = run_config.check_checkpoint(config, data, saved.about(latest), name)
        if warning and distributed.is_first():
            print(f"warning: {warning}")
        state = saved.restore(latest, state)
    start = int(state.step)

    def batches_from(step):
        return train_input.batches(
            seed=config.seed,
            batch_size=batch_size,
            start_step=step,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    if distributed.is_first():
        print(
            account(config, recipe, protocol, train_input, validation, variables, beginning, start, total_steps, mesh),
            flush=True,
        )
        for name, sheet in sheets(config, recipe, train_input).items():
            visualize.save(sheet, workdir / f"{name}.png")
        if start >= total_steps:
            print(f"The run in {workdir} is complete.")
    if start >= total_steps:
        saved.close()
        return

    def evaluate(state):
        averaged = config.eval.averaged and state.average is not None
        predictions, confidence = evaluation.predict_split(
            eval_step,
            state.average if averaged else state.variables,
            validation.batches(config.eval.batch_size, jax.process_index(), jax.process_count()),
            validation.matrices,
            mesh,
        )
        (landmarks,) = predictions.values()
        return protocol.score(landmarks, confidence, validation).metrics

    outputs = []
    if distributed.is_first():
        outputs = [
            writers.JsonLinesWriter(workdir / "metrics.jsonl"),
            writers.TensorBoardWriter(workdir / "tensorboard"),
        ]
    writer = writers.MultiWriter(*outputs)
    # An error ends this process at once, before it would wait for the others in closing; and closing writes as well.
    training, closing = run_config.clear_errors(FloatingPointError, OSError), run_config.clear_errors(OSError)
    with closing, contextlib.closing(saved), contextlib.closing(writer), distributed.end_for_all(), training:
        loop.fit(
            state,
            batches_from(start),
            train_step=step.jit_train_step(recipe, optimizer, mesh),
            mesh=mesh,
            total_steps=total_steps,
            intervals=loop.Intervals(
                log=config.log.every_steps,
                evaluate=steps_of(config.log.eval_every_epochs),
                save=steps_of(config.log.checkpoint_every_epochs),
            ),
            writer=writer,
            checkpoints=saved,
            evaluate=evaluate if validation else None,
            incidents=nonfinite.Incidents(workdir, config.train.nonfinite, lambda step: next(batches_from(step - 1))),
            profile_to=workdir / "profile" if PROFILE.value else None,
        )
        saved.wait()
    if distributed.is_first():
        best = f" and step {saved.best()} (the best on validation)" if validation else ""
        print(f"Done: {workdir}/checkpoints holds step {total_steps} (the last){best}.")


if __name__ == "__main__":
    app.run(main)
