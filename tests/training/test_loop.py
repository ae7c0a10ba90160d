"""The loop and its checkpoints: resumption to the last bit, what is kept, when it stops."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import time

import jax
import numpy as np
import pytest

from configs import common
from h3r_jax import augment
from h3r_jax.errors import UserError
from h3r_jax.losses import Objective
from h3r_jax.run import Run
from h3r_jax.training import checkpoints, loop, nonfinite, preemption, same_run, sharding, step, writers
from h3r_jax.training.recipe import Durations
from h3r_jax.training.step_log import StepLog
from tests.training import tiny

DURATIONS = Durations(total=10, warmup=2, log=2, evaluate=4, save=2)
RECIPE = tiny.make_recipe()
MESH = sharding.make_mesh(jax.devices()[:2])
_, OPTIMIZER = tiny.make_state(RECIPE)
TRAIN_STEP = step.jit_train_step(RECIPE, OPTIMIZER, MESH)


def fresh_state():
    return jax.device_put(tiny.make_state(RECIPE)[0], sharding.replicated(MESH))


def run(workdir, total_steps, *, evaluate=lambda state: {"nme": 1.0}, batches=None, incidents=None, about=None):
    """Trains from the last checkpoint of `workdir`, or from the start."""
    saved = checkpoints.Checkpoints(Run(workdir), keep=2, about=about)
    state = fresh_state()
    if saved.latest() is not None:
        state = saved.restore(saved.latest(), state)
    writer = writers.JsonLinesWriter(workdir / "metrics.jsonl")
    try:
        return loop.fit(
            state,
            batches or tiny.batches_from(int(state.step), RECIPE),
            train_step=TRAIN_STEP,
            mesh=MESH,
            durations=dataclasses.replace(DURATIONS, total=total_steps),
            writer=writer,
            checkpoints=saved,
            evaluate=evaluate,
            incidents=incidents,
        )
    finally:
        saved.close()
        writer.close()


def assert_bitwise_equal(first, second):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(first), jax.device_get(second))


def test_a_resumed_run_ends_where_the_uninterrupted_one_does(tmp_path):
    straight = run(tmp_path / "straight", 10)
    run(tmp_path / "resumed", 6)
    resumed = run(tmp_path / "resumed", 10)
    assert int(resumed.step) == 10
    assert_bitwise_equal(straight, resumed)
    assert not np.array_equal(*(jax.tree.leaves(s.variables)[0] for s in (straight, fresh_state())))


def test_the_latest_and_the_best_are_kept(tmp_path):
    scores = {4: 5.0, 8: 7.0, 10: 6.0}
    run(tmp_path, 10, evaluate=lambda state: {"nme": scores[int(state.step)]})
    with checkpoints.Checkpoints(Run(tmp_path), keep=2) as saved:
        assert saved.steps() == Run(tmp_path).steps() == [4, 8, 10] and saved.latest() == 10 and saved.best() == 4
    # A run may go on with another metric. What was scored by the first is then never the best.
    saved = checkpoints.Checkpoints(Run(tmp_path), keep=1, best=("pckh@0.5", False))
    assert saved.best() is None
    for number, value in ((12, 30.0), (14, 20.0)):
        saved.save(fresh_state().replace(step=np.int32(number)), {"pckh@0.5": value})
    saved.wait()
    assert saved.steps() == [12, 14] and saved.best() == 12
    saved.close()


def test_evaluation_restores_raw_or_averaged_variables(tmp_path):
    state = run(tmp_path, 4)
    options = {"shapes": RECIPE.network.shapes(), "sharding": sharding.replicated(MESH)}
    for averaged, expected in ((True, state.average), (False, state.variables)):
        variables, description = Run(tmp_path).variables(averaged=averaged, **options)
        assert_bitwise_equal(variables, expected)
        assert ("moving average" in description) == averaged and "step 4" in description
    with pytest.raises(FileNotFoundError, match=r"holds steps \[2, 4\], not 3"):
        Run(tmp_path).variables(step=3, **options)
    with pytest.raises(FileNotFoundError, match=r"holds steps \[\], train first"):
        Run(tmp_path / "elsewhere").variables(**options)
    other = jax.tree.map(lambda x: jax.ShapeDtypeStruct((*x.shape, 2), x.dtype), options["shapes"])
    with pytest.raises(
        UserError,
        match=r"checkpoints/4 does not hold the network .*\(batch_stats/BatchNorm_0/mean has shape \(8,\) there",
    ):
        Run(tmp_path).variables(**{**options, "shapes": other})


def test_metrics_are_written_and_averaged_over_the_interval(tmp_path):
    run(tmp_path, 4)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 4]
    assert {"train/loss", "train/grad_norm", "train/counted", "train/input_wait"} <= set(lines[0])
    assert lines[2] == {"step": 4, "validation/nme": 1.0}
    state, losses = fresh_state(), []
    for number in range(2):
        state, metrics = TRAIN_STEP(state, sharding.to_devices(tiny.batch_at(number, RECIPE), MESH))
        losses.append(float(metrics["loss"]))
    assert lines[0]["train/loss"] == pytest.approx(np.mean(losses), rel=1e-6)


def broken_batch(step):
    """The batch of a step counted from 1; those of steps 6 and 7 hold a weight that is not a number."""
    batch = tiny.batch_at(step - 1, RECIPE)
    if step in (6, 7):
        batch["weight"][0] = np.nan
    return batch


def broken_batches(start):
    return (broken_batch(step) for step in itertools.count(start + 1))


def test_a_step_that_is_not_finite_stops_the_run_and_leaves_what_made_it(tmp_path):
    incidents = nonfinite.Incidents(Run(tmp_path), "stop", broken_batch)
    with pytest.raises(FloatingPointError, match=r"step 6 is not finite \(loss nan.*nonfinite/6.*train.nonfinite="):
        run(tmp_path, 10, batches=broken_batches(0), incidents=incidents)
    assert Run(tmp_path).steps()[-1] == 4
    (place,) = (tmp_path / "nonfinite").iterdir()
    assert json.loads((place / "report.json").read_text())["state_after_step"] == 5
    before = nonfinite.load_arrays(place / "state.npz", fresh_state())
    assert_bitwise_equal(before.variables, run(tmp_path / "straight", 5).variables)
    batch = nonfinite.load_arrays(place / "batch-0.npz", broken_batch(6))
    before = jax.device_put(before.replace(halted=np.zeros((), bool)), sharding.replicated(MESH))
    _, metrics = TRAIN_STEP(before, sharding.to_devices(batch, MESH))
    assert np.isnan(metrics["loss"]) and metrics["skipped"] == 1


def test_steps_that_are_not_finite_can_be_skipped_and_are_counted(tmp_path, monkeypatch):
    recipe = dataclasses.replace(RECIPE, nonfinite="skip", objective=Objective(), augmentation=augment.Augmentation())
    monkeypatch.setitem(globals(), "TRAIN_STEP", step.jit_train_step(recipe, OPTIMIZER, MESH))
    state = run(
        tmp_path, 8, batches=broken_batches(0), incidents=nonfinite.Incidents(Run(tmp_path), "skip", broken_batch)
    )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {line["step"]: line["train/skipped"] for line in lines if "train/loss" in line} == {2: 0, 4: 0, 6: 1, 8: 1}
    assert all(line.get("train/loss", 0) is not None for line in lines), "the mean is over the steps that count"
    assert sorted(path.name for path in (tmp_path / "nonfinite").iterdir()) == ["6", "7"]
    assert int(state.step) == 8
    # Without augmentation and rounding a step depends on its number by the moving average alone.
    without = fresh_state()
    for number in (1, 2, 3, 4, 5, 8):
        without, _ = TRAIN_STEP(without, sharding.to_devices(broken_batch(number), MESH))
    assert_bitwise_equal((state.variables, state.opt_state), (without.variables, without.opt_state))
    endless = nonfinite.Incidents(Run(tmp_path), "skip", broken_batch)
    with pytest.raises(FloatingPointError, match="the last of 10 in a row"):
        for number in range(1, 11):
            endless(number, state, {"loss": np.nan, "grad_norm": np.nan})


@pytest.mark.parametrize(("number", "name", "code"), [(signal.SIGTERM, "SIGTERM", 143), (signal.SIGINT, "Ctrl-C", 130)])
def test_asked_to_stop_it_saves_the_running_step(tmp_path, number, name, code):
    def batches():
        for index, batch in enumerate(tiny.batches_from(0, RECIPE)):
            if index == 4:  # while step 5 is being prepared
                os.kill(os.getpid(), number)
            yield batch

    before = signal.getsignal(number)
    with pytest.raises(preemption.Preempted, match=f"stopped by {name} after step 5 of 10, which is saved") as stop:
        run(tmp_path / "stopped", 10, batches=batches())
    assert stop.value.code == code and signal.getsignal(number) is before
    assert Run(tmp_path / "stopped").steps()[-1] == 5
    assert_bitwise_equal(run(tmp_path / "stopped", 10), run(tmp_path / "straight", 10))


@pytest.mark.trial("B3")
@pytest.mark.parametrize("about", [{}, [], "text", 5, {"config": {}}, {"config": {}, "versions": None}])
def test_a_description_that_is_of_no_run_is_named(about):
    with pytest.raises(ValueError, match="^runs/a/4 is damaged: its part about is not of a run; remove runs/a/4 to do"):
        same_run.Identity({}, "faces train", 40).check(about, "runs/a/4")


def test_a_checkpoint_says_what_it_is(tmp_path):
    config = json.loads(common.get_config().to_json())
    identity = same_run.Identity(config, "faces train", 40)
    check = identity.check
    run(tmp_path, 2, about=identity.describe)
    with checkpoints.Checkpoints(Run(tmp_path), keep=2) as saved:
        about = saved.about(2)
        state, origin = saved.resume(fresh_state(), "", check)
    assert int(state.step) == 2 and origin.startswith("checkpoint of step 2; verified: ")
    assert about["step"] == 2 and about["examples_seen"] == 2 * 16 and about["seed"] == config["seed"]
    assert about["versions"]["jax"] == jax.__version__ and about["config"]["train"]["batch_size"] == 16
    assert about["data"] == {"name": "faces train", "examples": 40}
    assert check(about, "it") == ""
    config["log"]["every_steps"] = 7
    about["versions"]["flax"] = "0.1"
    assert "flax 0.1 there, " in check(about, "it")
    other = same_run.Identity(config, "faces/2 train", 40).check(about, "it")
    assert "data faces train there, faces/2 train here" in other
    with pytest.raises(ValueError, match=r"it is of a run on 40 examples \(faces train\), and now there are 41"):
        same_run.Identity(config, "faces train", 41).check(about, "it")
    config["train"]["learning_rate"] = 0.5
    with pytest.raises(ValueError, match=r"it is of another run \(train.learning_rate: 0.008 there, 0.5 here\)"):
        check(about, "it")


def test_half_a_checkpoint_is_never_chosen_and_is_removed(tmp_path):
    run(tmp_path, 4)
    folder = tmp_path / "checkpoints"
    half = folder / "5.orbax-checkpoint-tmp"
    shutil.copytree(folder / "4", half)
    shutil.rmtree(half / "progress")
    assert Run(tmp_path).steps()[-1] == 4
    assert half.exists(), "reading changes nothing"
    run(tmp_path, 6)
    assert not half.exists()


@pytest.mark.trial("A1")
# Each thread of orbax dies of the full disk too, and leaves coroutines that nobody waits for.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_full_disk_stops_the_run_and_leaves_the_last_checkpoint(small_disk):
    def evaluate(state):
        if state.step == 4:
            while Run(small_disk).steps() != [2]:  # saved in the background
                time.sleep(0.01)
            room = os.statvfs(small_disk)
            (small_disk / "fill").write_bytes(bytes(max(0, room.f_bavail * room.f_frsize - 16384)))
        return {"nme": 1.0}

    with pytest.raises(OSError, match=r"no room to save a checkpoint by step \d+; step 2 is the last that is safe"):
        run(small_disk, 10, evaluate=evaluate)
    (small_disk / "fill").unlink()
    assert Run(small_disk).steps()[-1] == 2
    assert int(run(small_disk, 4).step) == 4


def test_the_log_says_how_long_the_loop_waited_for_data():
    def batches():
        while True:
            time.sleep(0.05)
            yield {}

    log, stream = StepLog(), batches()
    for number in (1, 2):
        log.next_batch(stream)
        time.sleep(0.05)  # the step
        log.add(number, {"loss": np.float32(number), "skipped": np.float32(0)})
    summary = log.summary()
    assert summary["loss"] == 1.5 and 0.3 < summary["input_wait"] < 0.7
