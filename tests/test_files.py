"""Files that are there whole or not at all, lines that are whole, and errors that name them."""

import contextlib
import errno
import json
import os
import signal
import time

import pytest

from h3r_jax import files
from h3r_jax.errors import UserError, is_full_disk, sentences
from h3r_jax.run import find


def fail(temporary):
    temporary.write_text("half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("old", [None, "before"])
def test_what_cannot_be_written_as_a_whole_leaves_what_was_there(tmp_path, old):
    place = tmp_path / "file.json"
    if old:
        place.write_text(old)
    with pytest.raises(OSError, match=r"file\.json cannot be written: the disk is full"):
        files.write_whole(place, fail, overwrite=True)
    assert (place.read_text() if place.exists() else None) == old
    assert [path.name for path in tmp_path.iterdir()] == ([place.name] if old else [])


@pytest.mark.trial("A4")
@pytest.mark.parametrize("kind", ["file", "empty file", "folder", "link"])
def test_what_exists_is_replaced_on_request_alone(tmp_path, kind):
    place = tmp_path / "there"
    if kind == "folder":
        place.mkdir()
        (place / "mine").write_text("mine")
    elif kind == "link":
        (tmp_path / "mine").write_text("mine")
        place.symlink_to(tmp_path / "mine")
    else:
        place.write_text("" if kind == "empty file" else "mine")
    with pytest.raises(UserError, match=r"there exists already; .* --overwrite"):
        files.write_whole(place, lambda temporary: temporary.write_text("new"))
    files.write_whole(place, lambda temporary: temporary.write_text("new"), overwrite=True)
    assert place.read_text() == "new" and not list(tmp_path.glob(".*"))


def test_a_folder_takes_the_place_of_a_folder(tmp_path):
    def write(temporary):
        temporary.mkdir()
        (temporary / "new").write_text("new")

    for _ in range(2):
        files.write_whole(tmp_path / "folder", write, overwrite=True)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["folder", "folder/new"]


@pytest.mark.trial("B4")
@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1', b"\xff\xfe\x00", b"[1,]", b"\x00" * 40, b"[" * 100_000])
def test_json_that_is_damaged_is_named(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json is damaged: it is no JSON"):
        files.read_json(path)


def test_lines_are_added_whole(tmp_path):
    for value in (1, 2):
        with files.Lines(tmp_path / "new" / "lines.jsonl") as lines:
            lines.write({"value": value})
            assert json.loads((tmp_path / "new" / "lines.jsonl").read_text().splitlines()[-1]) == {"value": value}
    assert (tmp_path / "new" / "lines.jsonl").read_text() == '{"value": 1}\n{"value": 2}\n'


@pytest.mark.trial("A1")
def test_a_line_without_room_is_taken_back(small_disk):
    path = small_disk / "lines.jsonl"
    lines = files.Lines(path)
    with pytest.raises(OSError, match=r"lines\.jsonl cannot be written: the disk is full"):
        for value in range(10_000):
            lines.write({"value": value, "text": "x" * 997})
    lines.close()
    content = path.read_text()
    assert content.endswith("\n") and [json.loads(line)["value"] for line in content.splitlines()] == list(range(value))


def full(error, cause=None):
    error.__cause__ = cause
    return error


NO_SPACE = OSError(errno.ENOSPC, "x")
WRITING = "RESOURCE_EXHAUSTED: Error opening driver: Failed writing: to file 31: %s"


@pytest.mark.trial("B6")
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NO_SPACE, True),
        (OSError(errno.EDQUOT, "x"), True),
        (ValueError(WRITING % "quota"), True),
        (ValueError("INTERNAL: [Errno 28] No space left on device"), True),
        (full(RuntimeError("the save failed"), NO_SPACE), True),
        (full(RuntimeError("the save failed"), full(ValueError("inside"), ValueError(WRITING % "x"))), True),
        (OSError(errno.EACCES, "x"), False),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12 bytes"), False),
    ],
)
def test_a_full_disk_is_one_sentence_in_the_words_of_every_library(tmp_path, error, expected):
    assert is_full_disk(error) == expected
    if expected:
        with pytest.raises(OSError, match=r"place cannot be written: the disk is full$"), files.writing("place"):
            raise error
        with pytest.raises(SystemExit, match=r"^error: ") as stop, sentences():
            raise error
        assert "\n" not in stop.value.code


@pytest.mark.trial("D")
@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 8.00 TiB for an array"),
        MemoryError(),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes.\nmore"),
    ],
)
def test_memory_that_is_used_up_is_one_sentence(error):
    with pytest.raises(SystemExit, match=r"^error: out of memory \(.*\); lower the batch size") as stop, sentences():
        raise error
    assert "\n" not in stop.value.code


class Deleted:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)


def _xla_gc_callback():
    """Python calls JAX's function of this name where no exception can be raised."""
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.trial("D")
@pytest.mark.parametrize("moment", [Deleted, _xla_gc_callback])
def test_ctrl_c_is_not_lost_where_nothing_can_be_raised(capsys, moment):
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as stop, sentences():
            moment()
            time.sleep(5)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert stop.value.code == 130 and capsys.readouterr().err == "interrupted\n"


@pytest.mark.trial("D")
def test_ctrl_c_is_no_traceback(capsys):
    with pytest.raises(SystemExit) as stop, sentences():
        raise KeyboardInterrupt
    assert stop.value.code == 130 and capsys.readouterr().err == "interrupted\n"


@pytest.mark.trial("D")
@pytest.mark.parametrize("path", ["", "https://x/y", "http://x", "file:///y", "hf://model"])
def test_a_path_that_leads_nowhere_is_refused(path):
    with pytest.raises(
        UserError, match="a path is empty; want one" if not path else f"^'{path}' cannot be read; want a path, local"
    ):
        files.user_path(path)


@pytest.mark.trial("D")
@pytest.mark.parametrize("name", ["\xb2", "\u0663", "3_0", "-3", "best"])
def test_a_step_with_such_a_name_is_none(tmp_path, name):
    assert find(tmp_path / "run" / "checkpoints" / name) is None
