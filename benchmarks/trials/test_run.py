"""train.py and eval.py as processes: owners, signals, damaged checkpoints, full disks."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from benchmarks import tiny_run
from h3r_jax.run import Run
from tests.conftest import file_system

TRAIN_ELSEWHERE = """
import runpy, socket
socket.gethostname = lambda: "elsewhere"
runpy.run_path("train.py", run_name="__main__")
"""
DEADLINE = 300


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    tiny_run.write_data(place)
    return place


def start(place, workdir, *overrides, total_steps=2000, elsewhere=False, **fields):
    arguments = tiny_run.command("train.py", place, workdir, *overrides, total_steps=total_steps, **fields)
    if elsewhere:  # another host is another host name
        arguments[1:2] = ["-c", TRAIN_ELSEWHERE]
    return tiny_run.start(place, arguments)


def until(condition, process=None):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end and (process is None or process.poll() is None), process and process.communicate()
        time.sleep(0.02)


def ended(process):
    output, _ = process.communicate(timeout=DEADLINE)
    assert "Traceback" not in output, output
    return process.returncode, output


@pytest.fixture
def running(place, tmp_path):
    """A workdir, and the process that trains in it, after a few steps."""
    process = start(place, tmp_path / "run")
    until(lambda: len(tiny_run.logged(tmp_path / "run")) > 2, process)
    yield tmp_path / "run", process
    process.kill()
    process.communicate()


@pytest.mark.trial("A2")
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_second_training_is_refused_and_the_first_goes_on(place, running, elsewhere):
    workdir, first = running
    code, output = ended(start(place, workdir, elsewhere=elsewhere))
    assert code == 1 and f"error: the run in {workdir} belongs to process {first.pid} on " in output
    steps = len(tiny_run.logged(workdir))
    until(lambda: len(tiny_run.logged(workdir)) > steps + 2, first)


@pytest.mark.trial("A2")
def test_a_job_that_is_queued_again_waits_for_the_one_that_ends(place, running):
    workdir, first = running
    second = start(place, workdir, total_steps=2000)
    time.sleep(0.5)  # it is still importing
    first.send_signal(signal.SIGTERM)
    assert ended(first)[0] == 143
    until(lambda: len(tiny_run.logged(workdir)) > Run(workdir).steps()[-1], second)
    second.send_signal(signal.SIGTERM)
    code, output = ended(second)
    assert code == 143 and "checkpoint of step" in output
    steps = [step for step, _ in tiny_run.logged(workdir)]
    assert steps == list(range(1, steps[-1] + 1))


@pytest.mark.trial("A2")
def test_after_a_kill_the_claim_is_taken_over_at_once(place, running):
    workdir, first = running
    first.kill()
    first.wait()
    second = start(place, workdir)
    until(lambda: len(tiny_run.logged(workdir)) > 6, second)
    second.send_signal(signal.SIGTERM)
    code, output = ended(second)
    assert code == 143 and f"Took over the run in {workdir} from process {first.pid}" in output


@pytest.mark.trial("D")
@pytest.mark.parametrize("moment", ["import", "start", "step"])
def test_ctrl_c_is_as_good_as_sigterm(place, tmp_path, moment):
    process = start(place, tmp_path / "run")
    if moment == "start":
        until((tmp_path / "run" / "owner.json").exists, process)
    elif moment == "step":
        until(lambda: len(tiny_run.logged(tmp_path / "run")) > 2, process)
    else:
        time.sleep(2.5)
    process.send_signal(signal.SIGINT)
    code, output = ended(process)
    assert code in (130, -signal.SIGINT), output
    if moment == "step":
        saved = Run(tmp_path / "run").steps()[-1]
        assert f"stopped by Ctrl-C after step {saved} of 2000, which is saved; the same command goes on" in output
    else:
        assert "interrupted" in output and not (tmp_path / "run" / "config.json").exists()


@pytest.mark.trial("D")
def test_a_second_ctrl_c_ends_at_once(running):
    _, process = running
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.005)
    assert ended(process)[0] in (-signal.SIGINT, 130)


@pytest.mark.trial("A3")
def test_a_damaged_checkpoint_is_refused_and_skipped_on_request(place, running):
    workdir, process = running
    until(lambda: len(Run(workdir).steps()) > 1, process)
    process.send_signal(signal.SIGTERM)
    ended(process)
    *_, before, last = Run(workdir).steps()
    path = max((workdir / "checkpoints" / str(last)).rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for arguments in (
        tiny_run.command("train.py", place, workdir, total_steps=2000),
        tiny_run.command("eval.py", place, workdir),
    ):
        code, output = ended(tiny_run.start(place, arguments))
        assert code == 1 and f"checkpoints/{last} is damaged" in output
        assert f"step {before} is the newest that is whole: train.py --skip_damaged goes on from it" in output
    process = start(place, workdir, "--skip_damaged")
    until(lambda: len(tiny_run.logged(workdir)) > last, process)
    process.send_signal(signal.SIGTERM)
    code, output = ended(process)
    assert code == 143 and f"checkpoint of step {before}; verified: " in output
    assert (workdir / "damaged" / str(last)).is_dir()
    steps = [step for step, _ in tiny_run.logged(workdir)]
    assert steps == list(range(1, steps[-1] + 1))


@pytest.mark.trial("A5")
@pytest.mark.parametrize("name", ["my run [2]", "a [x]/run", "run*"])
def test_a_name_that_the_libraries_cannot_read_is_refused_or_works(place, tmp_path, name):
    code, output = ended(start(place, tmp_path / name, total_steps=4))
    if code:
        assert "what is written there cannot be read back" in output and not list(tmp_path.rglob("*.json"))
    else:
        assert Run(tmp_path / name).steps()[-1] == 4
        assert ended(tiny_run.start(place, tiny_run.command("eval.py", place, tmp_path / name)))[0] == 0


@pytest.fixture
def disk(tmp_path):
    """A file system of 100 MB, and a function that leaves so many bytes of it free."""
    with file_system(tmp_path / "disk", "100m") as place:

        def leave(free):
            room = os.statvfs(place)
            with contextlib.suppress(OSError):  # the run may have taken it in the meantime
                (place / "fill").write_bytes(bytes(max(0, room.f_bavail * room.f_frsize - free)))

        yield place, leave


@pytest.mark.trial("A1")
@pytest.mark.parametrize("free", [0, 20_000, 200_000, 2_000_000])
def test_a_disk_that_is_full_from_the_start(place, disk, free):
    workdir, leave = disk[0] / "run", disk[1]
    leave(free)
    code, output = ended(start(place, workdir, total_steps=20))
    assert code == 1 and "error: " in output
    assert "disk is full" in output or "no room to save a checkpoint" in output
    (disk[0] / "fill").unlink()
    code, output = ended(start(place, workdir, total_steps=4))
    assert code == 0, output


@pytest.mark.trial("A1")
@pytest.mark.parametrize("free", [0, 4096, 1_000_000])
def test_a_disk_that_fills_while_it_trains(place, disk, free):
    workdir, leave = disk[0] / "run", disk[1]
    process = start(place, workdir)
    until(lambda: len(Run(workdir).steps()) > 1, process)
    leave(free)
    code, output = ended(process)
    assert code == 1 and ("disk is full" in output or "is the last that is safe" in output), output
    (disk[0] / "fill").unlink()
    saved, reached = Run(workdir).steps()[-1], tiny_run.logged(workdir)[-1][0]
    process = start(place, workdir)
    until(lambda: tiny_run.logged(workdir)[-1][0] > reached, process)
    process.send_signal(signal.SIGTERM)
    code, output = ended(process)
    assert code == 143 and f"checkpoint of step {saved}; verified" in output


@pytest.mark.trial("D")
@pytest.mark.parametrize("kind", ["a file", "below a file", "read-only"])
def test_a_workdir_that_cannot_be_one(place, tmp_path, kind):
    (tmp_path / "file").write_text("mine")
    workdir = tmp_path / {"a file": "file", "below a file": "file/run", "read-only": "disk/run"}[kind]
    if kind == "read-only":
        (tmp_path / "disk").mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path / "disk"], check=False).returncode:
            pytest.skip("mounting a file system needs root")
    try:
        code, output = ended(start(place, workdir, total_steps=4))
        assert code == 1 and "owner.json cannot be written: " in output, output
        assert (tmp_path / "file").read_text() == "mine"
    finally:
        if kind == "read-only":
            subprocess.run(["umount", "-l", tmp_path / "disk"], check=True)


@pytest.mark.trial("B4")
@pytest.mark.parametrize("script", ["eval.py", "h3r_jax.predict", "h3r_jax.export", "h3r_jax.convert"])
def test_every_command_names_a_configuration_that_is_damaged(place, tmp_path, script):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").write_text('{"model": ')
    arguments = {
        "eval.py": ["eval.py", f"--workdir={run}"],
        "h3r_jax.predict": ["-m", "h3r_jax.predict", "x.png", f"--checkpoint={run}"],
        "h3r_jax.export": ["-m", "h3r_jax.export", run, tmp_path / "x.stablehlo"],
        "h3r_jax.convert": ["-m", "h3r_jax.convert", run, tmp_path / "x.safetensors"],
    }[script]
    shutil.copyfile(next((place / "faces" / "val").glob("*.png")), tmp_path / "x.png")
    if script == "h3r_jax.predict":
        arguments[2] = tmp_path / "x.png"
    code, output = ended(tiny_run.start(place, [sys.executable, *map(str, arguments)]))
    assert code == 1 and f"error: {run}/config.json is damaged: it is no JSON" in output


@pytest.mark.trial("A4")
def test_a_killed_evaluation_leaves_no_half_file(place, running):
    workdir, process = running
    until(lambda: Run(workdir).steps(), process)
    process.send_signal(signal.SIGTERM)
    ended(process)
    for seconds in (6, 9, 12):
        evaluation = tiny_run.start(place, tiny_run.command("eval.py", place, workdir))
        time.sleep(seconds)
        evaluation.kill()
        evaluation.communicate()
        for path in (workdir / "eval").glob("*.json"):
            json.loads(path.read_text())
