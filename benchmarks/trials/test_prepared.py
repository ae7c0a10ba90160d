"""Preparing data: several processes at once, kills, full disks, and places that cannot be written."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import data.prepare
from tests.data.made_up import texture, write_split

DEADLINE = 300
# A smaller data set of drawn faces. "elsewhere" is another host.
PREPARE = """
import runpy, socket, sys
from data.phantom import builder
builder.COUNTS = {"train": 400, "test": 20}
if sys.argv.pop(1) == "elsewhere":
    socket.gethostname = lambda: "elsewhere"
sys.argv[0] = "prepare"
runpy.run_module("data.prepare", run_name="__main__", alter_sys=False)
"""


def start(place, host="here"):
    arguments = [sys.executable, "-c", PREPARE, host, "phantom", f"--data_dir={place}"]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition, process):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end and process.poll() is None, process.communicate()
        time.sleep(0.01)


def half_made(place):
    return sorted(place.glob("prepared/phantom/*/incomplete.*"))


def whole(place):
    return sorted(place.glob("prepared/phantom/*/*/SHA256SUMS"))


def ended(process):
    output, errors = process.communicate(timeout=DEADLINE)
    assert "Traceback" not in errors, errors
    return process.returncode, output, errors


@pytest.mark.trial("B5")
@pytest.mark.parametrize("hosts", [("here", "here"), ("here", "elsewhere"), ("here", "elsewhere", "here")])
def test_one_of_several_processes_prepares_and_the_others_wait(tmp_path, hosts):
    processes = [start(tmp_path, host) for host in hosts]
    results = [ended(process) for process in processes]
    assert [status for status, _, _ in results] == [0] * len(hosts), results
    outputs = [output for _, output, _ in results]
    assert sum("Preparing phantom" in output for output in outputs) == 1
    for output in outputs:
        assert " is ready in " in output and "train 400" in output
        if "Preparing phantom" not in output and "is ready now" in output:
            assert "Waiting for the preparation of phantom: it belongs to process " in output
    assert len(whole(tmp_path)) == 1 and not half_made(tmp_path)


@pytest.mark.trial("B5")
@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_a_second_process_waits_and_finds_the_set_ready(tmp_path, host):
    first = start(tmp_path)
    until(lambda: half_made(tmp_path), first)
    first.send_signal(signal.SIGSTOP)
    second = start(tmp_path, host)
    time.sleep(15)
    assert second.poll() is None
    first.send_signal(signal.SIGCONT)
    (status, output, _), (first_status, _, _) = ended(second), ended(first)
    assert (first_status, status) == (0, 0)
    assert "Waiting for the preparation of phantom: it belongs to process " in output and " is ready now.\n" in output


@pytest.mark.trial("B5")
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_after_a_kill_the_next_preparation_cleans_up(tmp_path, kill):
    first = start(tmp_path)
    until(lambda: half_made(tmp_path), first)
    first.send_signal(kill)
    status, _, errors = ended(first)
    assert not whole(tmp_path)
    if kill == signal.SIGINT:
        assert status == 130 and errors.rstrip().endswith("interrupted") and not half_made(tmp_path)
    left = half_made(tmp_path)
    status, output, _ = ended(start(tmp_path))
    assert status == 0 and all(f"Removed {path}: the preparation that wrote it did not end." in output for path in left)
    assert whole(tmp_path) and not half_made(tmp_path)


def prepare(place, prepared):
    """Prepares a set of more than 200 KiB; the sentence that it ends with, or None."""
    if not (place / "mine").exists():
        images = [texture(seed, 60, 60) for seed in range(12)]
        write_split(place / "mine", "train", images, np.random.default_rng(0).uniform(0, 20, (12, 3, 2)))
    try:
        data.prepare.main(
            ["csv", f"--data_dir={place}", "--folder=mine", "--landmarks=3", f"--prepared_dir={prepared}"]
        )
    except SystemExit as error:
        message = str(error.code)
        assert "\n" not in message
        return message
    return None


@pytest.mark.trial("B5")
@pytest.mark.parametrize("room", [0, 4, 8, 60, 120, 200, 208, 216, 224, 232, 400])
def test_a_full_disk_leaves_nothing_that_counts_as_done(tmp_path, small_disk, room):
    """`room` is in KiB."""
    free = os.statvfs(small_disk)
    (small_disk / "fill").write_bytes(bytes(free.f_bavail * free.f_frsize - room * 1024))
    message = prepare(tmp_path, small_disk / "prepared")
    if message:
        assert message.startswith(f"error: {small_disk}/prepared/csv_landmarks/mine-"), message
        assert (
            f"(the disk is full); make room there, or choose another place for prepared data than {small_disk}"
            in message
        )
    assert bool(message) == (room < 300) or room > 200  # the last files are small
    if message:
        assert not [path for path in (small_disk / "prepared").rglob("*") if path.is_file()]
    (small_disk / "fill").unlink()
    assert prepare(tmp_path, small_disk / "prepared") is None


@pytest.mark.trial("B5")
@pytest.mark.parametrize("kind", ["a file", "below a file", "read-only", "a file in it", "a link to nothing"])
def test_a_place_that_cannot_be_written(tmp_path, small_disk, kind):
    place = tmp_path / "prepared"
    if kind == "a file":
        place.touch()
    elif kind == "below a file":
        place.touch()
        place = place / "below"
    elif kind == "a file in it":
        place.mkdir()
        (place / "csv_landmarks").touch()
    elif kind == "a link to nothing":
        place.symlink_to(tmp_path / "file" / "nothing")
        (tmp_path / "file").touch()
    else:
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        place = small_disk / "prepared"
    message = prepare(tmp_path, place)
    assert (
        message.startswith(f"error: {place}/csv_landmarks/mine-")
        and "make it a directory that you may write" in message
    )


@pytest.mark.trial("B5")
def test_a_prepared_set_is_read_from_a_disk_that_is_full_or_read_only(tmp_path, small_disk):
    assert prepare(tmp_path, small_disk / "prepared") is None
    free = os.statvfs(small_disk)
    (small_disk / "fill").write_bytes(bytes(free.f_bavail * free.f_frsize))
    (tmp_path / "mine" / "train" / "0.png").touch()
    assert prepare(tmp_path, small_disk / "prepared") is None
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert prepare(tmp_path, small_disk / "prepared") is None
