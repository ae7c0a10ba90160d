"""What a folder of images holds besides: it is left out, counted, and said with its reason."""

import functools
import os
import socket

import numpy as np
import pytest
from PIL import Image

from h3r_jax.predict import inputs


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for name in ("a.png", "below/b.PNG"):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / name)
    return folder


def named(folder, text):
    place = folder / text
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def write(folder, name):
    named(folder, name).write_bytes(b"x")


def link(folder, name, target):
    named(folder, name).symlink_to(target)


def outside(folder):
    other = folder.parent / "elsewhere"
    other.mkdir(exist_ok=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(other / "c.png")
    return other


def listen(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # its length is limited


MADE = {
    "companion": (lambda f: write(f, "._a.png"), "1 hidden"),
    "companions and their list": (lambda f: [write(f, "below/._b.PNG"), write(f, ".DS_Store")], "2 hidden"),
    "companions in an archive": (lambda f: write(f, "__MACOSX/below/._b.PNG"), "1 hidden"),
    "previews": (lambda f: write(f, "Thumbs.db"), "1 .db"),
    "hidden video": (lambda f: write(f, ".film.mp4"), "1 hidden"),
    "hidden folder": (lambda f: write(f, ".thumbnails/a.png"), "1 hidden folder"),
    "linked folder": (lambda f: link(f, "linked", outside(f)), "1 linked folder"),
    "linked folder that loops": (lambda f: link(f, "below/loop", f), "1 linked folder"),
    "dangling link": (lambda f: link(f, "gone.png", f / "nowhere.png"), "1 dangling link"),
    "link to itself": (lambda f: link(f, "self.jpg", f / "self.jpg"), "1 dangling link"),
    "pipe": (lambda f: os.mkfifo(f / "pipe.png"), "1 pipe or device"),
    "device": (lambda f: link(f, "zero.png", "/dev/zero"), "1 pipe or device"),
    "socket": (lambda f: listen(f / "s.png"), "1 pipe or device"),
}


@pytest.mark.trial("C3")
@pytest.mark.parametrize("case", MADE)
def test_what_is_left_out_is_counted_with_its_reason(folder, case):
    make, said = MADE[case]
    make(folder)
    images, videos, left_out = inputs.expand([folder])
    assert [name for _, name in images] == ["a.png", "below/b.PNG"] and not videos
    assert left_out == [f"{folder}: left out: {said}"]


@pytest.mark.trial("C3")
def test_a_linked_file_and_a_linked_argument_are_read(folder):
    link(folder, "c.png", outside(folder) / "c.png")
    link(folder.parent, "way", folder)
    images, _, left_out = inputs.expand([folder.parent / "way"])
    assert [name for _, name in images] == ["a.png", "below/b.PNG", "c.png"] and not left_out


@pytest.mark.trial("C3")
@pytest.mark.parametrize("name", ["below", "below/deep", ""])
def test_a_folder_that_may_not_be_read(folder, monkeypatch, name):
    """Also as root, who may read everything."""
    (folder / "below" / "deep").mkdir()
    write(folder, "below/deep/d.png")
    scandir = os.scandir

    def refuse(path):
        if str(path) == str(folder / name):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    if not name:
        with pytest.raises(ValueError, match=f"^{folder} cannot be read: Permission denied$"):
            inputs.expand([folder])
        return
    images, _, left_out = inputs.expand([folder])
    assert [name for _, name in images] == ["a.png", "below/b.PNG"][: 1 + (name == "below/deep")]
    assert left_out == [f"{folder}: left out: 1 unreadable folder ({folder / name})"]


def refuse(call, path, **options):
    if str(path).endswith("b.PNG"):
        raise PermissionError(13, "Permission denied", str(path))
    return call(path, **options)


@pytest.mark.trial("C3")
def test_a_file_whose_folder_may_be_listed_but_not_entered(folder, monkeypatch):
    """Root may enter every folder, so that the system is made to refuse."""
    for call in ("stat", "lstat"):
        monkeypatch.setattr(os, call, functools.partial(refuse, getattr(os, call)))
    images, _, left_out = inputs.expand([folder])
    assert [name for _, name in images] == ["a.png"] and left_out == [f"{folder}: left out: 1 unreadable"]


@pytest.mark.trial("C3")
def test_a_folder_of_nothing_but_companions(tmp_path):
    write(tmp_path, "__MACOSX/._a.png")
    write(tmp_path, "Thumbs.db")
    with pytest.raises(ValueError, match=r"holds no image or video \(.*\), but 1 .db, 1 hidden$"):
        inputs.expand([tmp_path])
