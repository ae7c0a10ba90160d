"""What the command writes replaces nothing that it should not, and is whole when writing fails."""

import errno
import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

from h3r_jax import files
from h3r_jax.predict import __main__ as command
from h3r_jax.predict import faces, over_files
from h3r_jax.predict.predictor import Predictor
from tests.predict import dots
from tests.predict.dots import run

CENTERS = np.array([[60.3, 50.8], [100.6, 61.1], [77.2, 93.4]])
BOX = [40, 30, 119, 109]
MINE = "yesterday's\n"


@pytest.fixture(autouse=True)
def network_of_dots(monkeypatch):
    dots.use(monkeypatch)


@pytest.fixture
def image(tmp_path):
    Image.fromarray(dots.picture((140, 160), CENTERS, 3.0)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.trial("A4")
@pytest.mark.parametrize("name", ["landmarks.jsonl", "a.png", "film.mp4", "b-2.png"])
def test_what_is_there_is_not_replaced(image, tmp_path, name, nothing_is_loaded):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text(MINE)
    inputs = [image, tmp_path / "film.mp4", tmp_path / "b.png", tmp_path / "other" / "b.png"]
    message = run(*inputs, "--boxes=whole", f"--out={out}")
    assert message == f"error: {out / name} exists already; choose another --out, or give --overwrite to replace"
    assert [path.name for path in out.iterdir()] == [name] and (out / name).read_text() == MINE


@pytest.mark.trial("A4")
@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize("case", ["boxes", "link to boxes", "image", "video"])
def test_what_is_read_is_never_written(image, tmp_path, case, overwrite, nothing_is_loaded):
    out = tmp_path / "out"
    out.mkdir()
    boxes, inputs = "whole", [image]
    if case.endswith("boxes"):
        written = boxes = out / "landmarks.jsonl"
        if case == "link to boxes":
            boxes = tmp_path / "link.jsonl"
            boxes.symlink_to(written)
    else:
        written = out / ("a.png" if case == "image" else "film.mp4")
        inputs = [image, out / "film.mp4", written]
    written.write_text(MINE)
    message = run(*inputs, f"--boxes={boxes}", f"--out={out}", *overwrite)
    assert message == f"error: {written} is read by this call, which would write it; choose another --out"
    assert written.read_text() == MINE


@pytest.mark.trial("A4")
@pytest.mark.parametrize("kind", ["folder", "link", "dangling link"])
def test_a_folder_or_link_in_the_place_of_a_result_stays(image, tmp_path, kind, nothing_is_loaded):
    place, other = tmp_path / "out" / "a.png", tmp_path / "other.png"
    place.parent.mkdir()
    if kind == "folder":
        place.mkdir()
        other = place / "mine"
    else:
        place.symlink_to(other)
    if kind != "dangling link":
        other.write_text(MINE)
    message = run(image, "--boxes=whole", f"--out={place.parent}", "--overwrite")
    assert message == f"error: {place} would be written, but is a link, folder or device; choose another --out"
    assert not other.exists() if kind == "dangling link" else other.read_text() == MINE


@pytest.mark.trial("A4")
def test_overwriting_replaces_the_files_of_this_call_alone(image, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("landmarks.jsonl", "a.png", "b.png.png", "notes"):
        (out / name).write_text(MINE)
    assert run(image, "--boxes=whole", f"--out={out}", "--overwrite") == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png.png", "landmarks.jsonl", "notes"]
    assert sorted(path.name for path in out.iterdir() if path.read_bytes() == MINE.encode()) == ["b.png.png", "notes"]
    (line,) = (out / "landmarks.jsonl").read_text().splitlines()
    assert json.loads(line)["image"] == str(image)


@pytest.mark.trial("A4")
@pytest.mark.parametrize("case", ["no image can be read", "the checkpoint is missing", "the boxes are bad"])
def test_a_call_without_a_result_leaves_the_old_lines(image, tmp_path, monkeypatch, capsys, case):
    lines = tmp_path / "out" / "landmarks.jsonl"
    lines.parent.mkdir()
    lines.write_text(MINE)
    boxes = "whole"
    if case == "no image can be read":
        image.write_text("no image")
    elif case == "the boxes are bad":
        boxes = tmp_path / "boxes.csv"
        boxes.write_text("image,x0\n")
    else:

        def load(*arguments, **settings):
            raise FileNotFoundError("there is none")

        monkeypatch.setattr(command, "load_predictor", load)
    assert run(image, f"--boxes={boxes}", f"--out={lines.parent}", "--overwrite") != 0
    assert lines.read_text() == MINE and len(list(lines.parent.iterdir())) == 1
    if case == "no image can be read":
        assert f"1 errors; nothing was written to {lines.parent}\n" in capsys.readouterr().err


@pytest.mark.trial("A4")
def test_lines_are_there_as_they_come(image, tmp_path, monkeypatch):
    """What is found in the first image is on the disk before the second one is looked at."""
    lines, seen = tmp_path / "out" / "landmarks.jsonl", []
    parts = Predictor.parts

    def watched(predictor, items):
        for part in parts(predictor, items):
            yield part
            seen.append(lines.read_text())

    monkeypatch.setattr(Predictor, "parts", watched)
    assert run(image, image, image, "--boxes=whole", f"--out={lines.parent}") == 0
    assert [content.count("\n") for content in seen] == [1, 2, 3] and all(x.endswith("}\n") for x in seen)


def test_an_image_given_twice_has_its_lines_twice(image, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    same = Image.open(image)
    same.save(tmp_path / "other" / "a.png")
    out = tmp_path / "out"
    assert run(image, image, tmp_path / "other", "--boxes=whole", f"--out={out}") == 0
    found = [json.loads(line)["image"] for line in (out / "landmarks.jsonl").read_text().splitlines()]
    assert found == [str(image), str(image), str(tmp_path / "other" / "a.png")]
    assert sorted(path.name for path in out.glob("*.png")) == ["a-2.png", "a-3.png", "a.png"]


def full(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.trial("A1")
@pytest.mark.parametrize(
    ("what", "name"), [("write_whole", "a.png"), ("Lines", "landmarks.jsonl"), ("stdout", "standard output")]
)
def test_a_full_disk_is_one_sentence_with_the_path(image, tmp_path, monkeypatch, what, name):
    out = tmp_path / "out"
    if what == "stdout":
        if not os.path.exists("/dev/full"):
            pytest.skip("this system has no /dev/full")
        with open("/dev/full", "w") as device:
            monkeypatch.setattr(sys, "stdout", device)
            message = run(image, "--boxes=whole")
        place = name
    else:
        if what == "Lines":
            monkeypatch.setattr(files.Lines, "write", lambda lines, record: fail(lines._path))
        else:
            monkeypatch.setattr(files.epath.Path(out).__class__, "write_bytes", full)
        message = run(image, "--boxes=whole", f"--out={out}")
        place = out / name
    assert message == f"error: {place} cannot be written: the disk is full"
    assert not list(out.glob(".*")), "a part of a file was left"


def fail(path):
    with files.writing(path):
        full()


@pytest.mark.trial("C10")
@pytest.mark.parametrize("boxes", ["whole", "detect"])
def test_a_closed_standard_output_is_refused_before_any_work(image, monkeypatch, nothing_is_loaded, boxes):
    monkeypatch.setattr(sys, "stdout", None)
    assert run(image, f"--boxes={boxes}") == "error: standard output is closed; open it, or give --out=DIR"


@pytest.mark.trial("C10")
def test_a_closed_standard_output_does_not_matter_with_a_folder(image, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert run(image, "--boxes=whole", f"--out={tmp_path / 'out'}") == 0
    assert (tmp_path / "out" / "landmarks.jsonl").read_text().count("\n") == 1


@pytest.mark.trial("D")
def test_a_reader_of_the_lines_that_ends_early(image, monkeypatch):
    """As `| head -1` does."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        message = run(image, image, "--boxes=whole")
    assert message == "error: standard output cannot be written: Broken pipe"


@pytest.mark.trial("D")
def test_a_folder_that_may_not_be_written(image, tmp_path, monkeypatch, nothing_is_loaded):
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(tmp_path / "out"))
    message = run(image, "--boxes=whole", f"--out={tmp_path / 'out'}")
    assert message == f"error: {tmp_path / 'out'} cannot be written: Permission denied"


@pytest.mark.trial("D")
@pytest.mark.parametrize(
    ("place", "reason"), [("file", "File exists"), ("file/x", "Not a directory"), ("file/x/y", "Not a directory")]
)
def test_a_folder_that_cannot_be_made(image, tmp_path, nothing_is_loaded, place, reason):
    (tmp_path / "file").write_text(MINE)
    message = run(image, "--boxes=whole", f"--out={tmp_path / place}")
    assert message == f"error: {tmp_path / place} cannot be written: {reason}"
    assert (tmp_path / "file").read_text() == MINE


@pytest.mark.trial("E")
@pytest.mark.parametrize("count", [17, 64, 100])
def test_many_boxes_are_written_as_they_are_found(image, tmp_path, monkeypatch, capsys, count):
    """Each batch before the next but two is cut; the picture shows some of them, which is said."""
    out, cut, most = tmp_path / "out", 0, 0
    predictor = dots.predictor()
    network_cut = type(predictor.network).cut

    def counted(network, pixels, box):
        nonlocal cut, most
        cut += 1
        lines = out / "landmarks.jsonl"
        most = max(most, cut - (lines.read_text().count("\n") if lines.exists() else 0))
        return network_cut(network, pixels, box)

    monkeypatch.setattr(type(predictor.network), "cut", counted)
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # one reader
    monkeypatch.setattr(over_files, "MOST_DRAWN", 10)
    monkeypatch.setattr(over_files, "REFRESH", 0.0)
    boxes = [[40 + i % 7, 30, 119, 109] for i in range(count)]
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\n" + "".join(f"a.png,{str(b)[1:-1]}\n" for b in boxes))
    assert run(image, f"--boxes={tmp_path / 'boxes.csv'}", f"--out={out}") == 0
    records = [json.loads(line) for line in (out / "landmarks.jsonl").read_text().splitlines()]
    assert [record["box"] for record in records] == boxes
    np.testing.assert_allclose([record["landmarks"] for record in records], [CENTERS] * count, atol=0.1)
    assert cut == count and most <= 6 * predictor.max_batch
    said = capsys.readouterr().err
    assert f"{image}: the first 10 of {count} boxes are drawn" in said
    assert f"{predictor.max_batch} boxes of it" in said, "no progress was shown"


@pytest.mark.trial("E")
def test_a_box_that_cannot_be_cropped_among_many(image, tmp_path, capsys):
    """The boxes before its batch are written; it and the others are said to be left out."""
    boxes = [BOX] * 20 + [[-1e9, -1e9, 1e9, 1e9]] + [BOX] * 20
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\n" + "".join(f"a.png,{str(b)[1:-1]}\n" for b in boxes))
    assert run(image, f"--boxes={tmp_path / 'boxes.csv'}") == 1
    written = capsys.readouterr()
    assert written.out.count("\n") == 16  # two batches of 8
    assert "shows nothing of an image of 160x140 pixels; its boxes from number 16 on, counted from 0, are left out" in (
        written.err
    )


@pytest.mark.trial("E")
@pytest.mark.parametrize("name", ["pipe.png", "pipe.mp4", "pipe"])
def test_a_pipe_is_refused_at_once(image, tmp_path, capsys, name):
    os.mkfifo(tmp_path / name)
    assert run(tmp_path / name, image, "--boxes=whole") == 1
    written = capsys.readouterr()
    assert f"error: {tmp_path / name} is not a" in written.err and "1 boxes; 0 images" in written.err


@pytest.mark.trial("E")
@pytest.mark.parametrize("name", ["boxes.csv", "boxes.jsonl", "boxes.json"])
def test_a_pipe_of_boxes_is_refused_at_once(image, tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert f"{tmp_path / name} is not a file; want boxes" in run(image, f"--boxes={tmp_path / name}")


def test_a_detector_may_find_many_faces(image, monkeypatch, capsys):
    monkeypatch.setattr(faces, "find_faces", lambda pixels: np.array([BOX] * 30))
    monkeypatch.setattr(faces, "check_installed", lambda: None)
    assert run(image, "--boxes=detect") == 0
    assert capsys.readouterr().out.count("\n") == 30
