"""Prediction in a process of its own: full disks, signals, closed pipes, and an image with very many boxes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.predict import dots

ROOT = Path(__file__).parents[2]
# The command with a network that is compiled in a second, whatever its checkpoint is.
COMMAND = """
import sys
from h3r_jax.training import environment
from h3r_jax.predict import __main__ as command
from tests.predict import dots
command.load_predictor = lambda *arguments, **settings: dots.predictor()
command.main(sys.argv[1:])
"""
CENTERS = np.array([[60.3, 50.8], [100.6, 61.1], [77.2, 93.4]])
SIZE = (140, 160)


def start(*arguments, boxes="whole", **options):
    call = [sys.executable, "-c", COMMAND, *map(str, arguments), "--checkpoint=dots", f"--boxes={boxes}"]
    return subprocess.Popen(call, cwd=ROOT, stderr=subprocess.PIPE, text=True, **options)


def end(process, timeout=120):
    """The status and the last line of the errors; no traceback."""
    _, errors = process.communicate(timeout=timeout)
    assert "Traceback" not in errors and "Exception ignored" not in errors, errors
    return process.returncode, errors.strip().splitlines()[-1]


def lines_of(path):
    """The lines of a file, of which each must be whole."""
    content = path.read_text() if path.exists() else ""
    assert not content or content.endswith("\n")
    return [json.loads(line) for line in content.splitlines()]


def wait_for(path, count, process):
    while not path.exists() or path.read_text().count("\n") < count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for index in range(40):
        Image.fromarray(dots.picture(SIZE, CENTERS, 3.0)).save(tmp_path / "photos" / f"{index:02}.png")
    return tmp_path / "photos"


@pytest.fixture
def film(tmp_path):
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "films" / "sub").mkdir(parents=True)
    path = tmp_path / "films" / "sub" / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, SIZE[::-1])
    for frame in range(80):
        writer.write(dots.picture(SIZE, CENTERS + 5 * (frame % 4), 5.0)[..., ::-1])
    writer.release()
    return path


@pytest.fixture
def small_disks(tmp_path):
    """A function that mounts a small file system at a path; where that may not be done, the trial is skipped."""
    mounted = []

    def mount(path, size):
        path.mkdir(parents=True)
        call = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
        if subprocess.run(call, check=False, capture_output=True).returncode:
            pytest.skip("a file system may not be mounted here")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.trial("A1")
@pytest.mark.parametrize("size", ["16k", "64k", "300k"])
def test_a_disk_that_is_full_of_overlays(photos, small_disks, tmp_path, size):
    out = small_disks(tmp_path / "disk", size) / "out"
    status, said = end(start(photos, f"--out={out}"))
    assert status == 1 and said.startswith(f"error: {out}/") and said.endswith(" cannot be written: the disk is full")
    assert len(lines_of(out / "landmarks.jsonl")) >= len(list(out.glob("*.png")))
    for path in out.iterdir():
        assert not path.name.startswith(".")
        if path.suffix == ".png":
            Image.open(path).load()


@pytest.mark.trial("A1")
@pytest.mark.parametrize("size", ["4k", "20k"])
def test_a_disk_that_is_full_of_lines(photos, small_disks, tmp_path, size):
    out = small_disks(tmp_path / "disk", size)
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x0,y0,x1,y1\n" + "00.png,40,30,119,109\n" * 500)
    status, said = end(start(photos / "00.png", f"--out={out}", boxes=boxes))
    assert status == 1 and said == f"error: {out / 'landmarks.jsonl'} cannot be written: the disk is full"
    assert 0 < len(lines_of(out / "landmarks.jsonl")) < 500


@pytest.mark.trial("A1")
@pytest.mark.parametrize("size", ["4k", "64k", "150k"])
def test_a_disk_that_is_full_of_a_video(film, small_disks, tmp_path, size):
    """OpenCV says nothing of it. The lines go to another disk."""
    disk = small_disks(tmp_path / "out" / "sub", size)
    status, said = end(start(film.parents[1], f"--out={tmp_path / 'out'}"))
    assert status == 1 and said.startswith(f"error: {disk / 'film.avi.mp4'} cannot be written: OpenCV wrote 0 of 80 f")
    assert len(lines_of(tmp_path / "out" / "landmarks.jsonl")) == 80 and not list(disk.iterdir())


@pytest.mark.trial("D")
@pytest.mark.parametrize("what", ["photos", "film"])
def test_an_interrupt(photos, film, tmp_path, what):
    out = tmp_path / "out"
    process = start(photos if what == "photos" else film, f"--out={out}")
    wait_for(out / "landmarks.jsonl", 5, process)
    process.send_signal(signal.SIGINT)
    assert end(process, timeout=20) == (130, "interrupted")
    assert len(lines_of(out / "landmarks.jsonl")) >= 5 and not list(out.glob(".*")) and not list(out.glob("*.mp4"))


@pytest.mark.trial("A4")
@pytest.mark.parametrize("what", ["photos", "film", "again"])
def test_a_kill_leaves_whole_lines(photos, film, tmp_path, what):
    out = tmp_path / "out"
    process = start(film if what == "film" else photos, f"--out={out}")
    wait_for(out / "landmarks.jsonl", 5, process)
    process.kill()
    process.communicate()
    found = lines_of(out / "landmarks.jsonl")
    assert len(found) >= 5 and not (out / "film.avi.mp4").exists()
    for path in out.glob("*.png"):
        Image.open(path).load()
    if what == "again":
        status, said = end(start(photos, f"--out={out}"))
        assert status == 1 and "landmarks.jsonl exists already, and " in said
        assert lines_of(out / "landmarks.jsonl") == found
        assert end(start(photos, f"--out={out}", "--overwrite"))[0] == 0
        assert len(lines_of(out / "landmarks.jsonl")) == 40


@pytest.mark.trial("C10")
def test_a_closed_standard_output(photos):
    call = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", COMMAND, str(photos), "--checkpoint=x"]
    done = subprocess.run([*call, "--boxes=whole"], check=False, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "error: standard output is closed; open it, or give --out=DIR" in done.stderr


@pytest.mark.trial("C10")
def test_a_closed_standard_error(photos):
    """What is said does not go among the lines."""
    call = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", COMMAND, str(photos), "--checkpoint=x"]
    done = subprocess.run([*call, "--boxes=whole"], check=False, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0 and len([json.loads(line) for line in done.stdout.splitlines()]) == 40


@pytest.mark.trial("D")
@pytest.mark.parametrize("place", ["/dev/full", "a closed pipe"])
def test_a_standard_output_that_takes_nothing(photos, place):
    if place == "/dev/full":
        with open(place, "w") as full:
            assert end(start(photos, stdout=full)) == (1, "error: standard output cannot be written: the disk is full")
        return
    reader, writer = os.pipe()
    os.close(reader)
    process = start(photos, stdout=writer)
    os.close(writer)
    assert end(process) == (1, "error: standard output cannot be written: Broken pipe")


@pytest.mark.trial("E")
def test_twenty_thousand_boxes_in_one_image(photos, tmp_path):
    """The first lines come at once, and the memory stays what it is for a few boxes."""
    boxes, out = tmp_path / "boxes.csv", tmp_path / "out"
    boxes.write_text("image,x0,y0,x1,y1\n" + "00.png,40,30,119,109\n" * 20000)
    process = start(photos / "00.png", f"--out={out}", boxes=boxes)
    wait_for(out / "landmarks.jsonl", 1, process)
    assert (out / "landmarks.jsonl").read_text().count("\n") < 10000
    most = 0
    while process.poll() is None:
        peak = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        most = max(most, int(peak[1]) if peak else 0)
        time.sleep(0.05)
    status, _ = end(process, timeout=600)
    assert status == 0 and len(lines_of(out / "landmarks.jsonl")) == 20000
    assert 0 < most < 700 * 1024, "20,000 crops of 64x64 would be 240 MiB alone"
