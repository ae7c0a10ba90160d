"""The loop and its checkpoints: resumption to the last bit, what is kept, when it stops."""

import json

import jax
import numpy as np
import pytest

from h3r_jax.training import checkpoints, loop, sharding, step, writers
from tests.training import tiny

INTERVALS = loop.Intervals(log=2, evaluate=4, save=2)
RECIPE = tiny.make_recipe()
MESH = sharding.make_mesh(jax.devices()[:2])
_, OPTIMIZER = tiny.make_state(RECIPE)
TRAIN_STEP = step.jit_train_step(RECIPE, OPTIMIZER, MESH)


def fresh_state():
    return jax.device_put(tiny.make_state(RECIPE)[0], sharding.replicated(MESH))


def run(workdir, total_steps, *, evaluate=lambda state: {"nme": 1.0}, batches=None):
    """Trains from the last checkpoint of `workdir`, or from the start."""
    saved = checkpoints.Checkpoints(workdir, keep=2)
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
            total_steps=total_steps,
            intervals=INTERVALS,
            writer=writer,
            checkpoints=saved,
            evaluate=evaluate,
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
    saved = checkpoints.Checkpoints(tmp_path)
    assert saved.steps() == [4, 8, 10] and saved.latest() == 10 and saved.best() == 4
    saved.close()


def test_evaluation_restores_raw_or_averaged_variables(tmp_path):
    state = run(tmp_path, 4)
    whole = sharding.replicated(MESH)
    for averaged, expected in ((True, state.average), (False, state.variables)):
        variables, description = checkpoints.load_variables(tmp_path, None, RECIPE, averaged=averaged, sharding=whole)
        assert_bitwise_equal(variables, expected)
        assert ("moving average" in description) == averaged and "step 4" in description
    with pytest.raises(FileNotFoundError, match=r"holds steps \[2, 4\], not 3"):
        checkpoints.load_variables(tmp_path, tmp_path / "checkpoints" / "3", RECIPE, averaged=True, sharding=whole)
    with pytest.raises(FileNotFoundError, match="does not exist; train first"):
        checkpoints.load_variables(tmp_path / "elsewhere", None, RECIPE, averaged=True, sharding=whole)


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


def test_a_loss_that_is_not_finite_stops_the_run_and_is_not_saved(tmp_path):
    def broken():
        for number, batch in enumerate(tiny.batches_from(0, RECIPE)):
            if number == 5:
                batch["visibility"][0, 0] = np.nan
            yield batch

    with pytest.raises(FloatingPointError, match="between steps 5 and 6"):
        run(tmp_path, 10, batches=broken())
    saved = checkpoints.Checkpoints(tmp_path)
    assert saved.latest() == 4
    saved.close()
