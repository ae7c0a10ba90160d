"""Real processes over the loopback interface: together they are one device, and they end together."""

import functools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from h3r_jax.run import Run
from h3r_jax.training import distributed, nonfinite
from tests.training import worker

ROOT = Path(__file__).parents[2]
CLOSE = {"rtol": 0, "atol": 1e-10}


def launch(count, workdir, *arguments, victim=None, module="tests.training.worker"):
    """So many processes; `arguments` for the one called `victim`. Returns exit codes, outputs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE --xla_force_host_platform_device_count=1"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    environment |= {
        "JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    processes = []
    for number in range(count):
        command = [sys.executable, "-m", module, address, str(count), str(number), str(workdir)]
        command += map(str, arguments if number == victim else ())
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, **pipes))
    try:
        outputs = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], outputs


def last_step(workdir):
    return Run(workdir).steps()[-1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """State and predictions of one process with as many devices as asked for, nothing happening to it."""
    results = {}

    def result(devices):
        if devices not in results:
            with jax.enable_x64(True):
                results[devices] = worker.train(tmp_path_factory.mktemp("straight"), jax.devices()[:devices])
        return results[devices]

    return result


@pytest.mark.parametrize(
    ("count", "signal_number", "count_after"),
    [
        (2, signal.SIGINT, 2),
        (2, signal.SIGKILL, 2),
        (4, signal.SIGKILL, 4),
        (4, signal.SIGTERM, 2),
    ],
)
@pytest.mark.slow
def test_processes_train_as_one_and_go_on_after_one_was_killed(
    tmp_path, uninterrupted, count, signal_number, count_after
):
    codes, outputs = launch(count, tmp_path, 7, int(signal_number), victim=1)
    if signal_number == signal.SIGKILL:
        assert codes[1] == -signal.SIGKILL and all(codes), outputs
        assert "ends here" in outputs[0] or "another task died" in outputs[0], outputs[0]
        assert last_step(tmp_path) in (5, 6), "the save of step 6 was under way"
    else:
        assert codes == [128 + signal_number if i == 1 else 143 for i in range(count)], outputs
        step = last_step(tmp_path)
        assert step >= 7 and all(f"after step {step} of 20, which is saved" in output for output in outputs), outputs

    codes, outputs = launch(count_after, tmp_path)
    assert codes == [0] * count_after, outputs
    state, predictions = uninterrupted(1)
    result = nonfinite.load_arrays(tmp_path / "result.npz", {"state": state, "predictions": predictions})
    assert int(result["state"].step) == 20
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(other, one, **CLOSE), state.variables, result["state"].variables
    )
    assert result["predictions"].shape == (11, 3, 2) and len(np.unique(predictions, axis=0)) == 11
    np.testing.assert_allclose(result["predictions"], predictions, rtol=0, atol=1e-5)  # float32, of some 20 pixels


@pytest.mark.slow
def test_all_processes_end_at_a_loss_that_is_no_number_and_leave_what_made_it(tmp_path):
    codes, outputs = launch(2, tmp_path, 7, "nan", victim=1)
    assert all(codes) and "step 7 is not finite (loss nan" in outputs[0], outputs
    place = tmp_path / "nonfinite" / "7"
    assert sorted(path.name for path in place.iterdir()) == ["batch-0.npz", "batch-1.npz", "report.json", "state.npz"]
    weights = [np.load(place / f"batch-{number}.npz")["weight"] for number in range(2)]
    assert [np.isnan(weight).all() for weight in weights] == [False, True]
    assert last_step(tmp_path) == 6


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_devices(tmp_path, uninterrupted):
    class Enough(Exception):
        pass

    def stop_before(number, batch, last):
        if number == last:
            raise Enough

    with jax.enable_x64(True):
        for devices, last in ((8, 7), (2, 14)):
            with pytest.raises(Enough):
                worker.train(tmp_path, jax.devices()[:devices], functools.partial(stop_before, last=last))
        state, predictions = worker.train(tmp_path, jax.devices()[:4])
    expected, expected_predictions = uninterrupted(1)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(other, one, **CLOSE), expected, state)
    np.testing.assert_allclose(predictions, expected_predictions, rtol=0, atol=1e-5)  # float32, of some 20 pixels


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("SLURM_STEP_NUM_TASKS", "2", "start it by srun"),
        *(("JOB_COMPLETION_INDEX", i, "install kubernetes") for i in ("0", "1")),
    ],
)
def test_a_process_that_cannot_find_the_others_does_not_run_alone(variable, value, remedy):
    code = "from h3r_jax.training import distributed; distributed.initialize(num_processes=1); distributed.initialize()"
    run = [sys.executable, "-c", code]
    result = subprocess.run(
        run, cwd=ROOT, env=os.environ | {variable: value}, check=False, capture_output=True, text=True
    )
    last = result.stderr.splitlines()[-1]
    assert (
        last.startswith(f"h3r_jax.errors.UserError: {variable}={value} says that this may be one process of several")
        and remedy in last
    )


def test_processes_are_told_about_each_other_by_all_flags_or_none():
    with pytest.raises(ValueError, match="--num_processes, --process_id missing; give all of --coordinator_address"):
        distributed.initialize("127.0.0.1:1")
    distributed.initialize(num_processes=1)
    assert not jax.distributed.is_initialized()
    with distributed.first_process_first():
        pass
