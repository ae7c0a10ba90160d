"""Two prepared data sets, and what may happen to a file."""

import os

import numpy as np

import data.prepare
from data.source import Source

COUNT = 12  # records of each split


class Raw:
    """The data sets `lapa` and `csv` in a directory, where they are prepared too."""

    def __init__(self, root):
        self.root = root

    def builder(self, name="csv"):
        folder = {"lapa": "lapa", "csv": "mine"}[name]
        count = {"lapa": None, "csv": 3}[name]
        arguments = {"data_dir": self.root, "prepared_dir": self.root / "prepared"}
        return data.prepare.prepare(name, folder=folder, num_landmarks=count, **arguments)

    def source(self, name="csv", split="train"):
        return Source(self.builder(name), split)

    def prepared(self, name="csv"):
        """The folder of the prepared set."""
        (note,) = self.root.glob(f"prepared/{name}*/*/*/prepared.json")
        return note.parent

    def records(self):
        """A file of records."""
        return next(self.prepared().glob("*train.array_record*"))

    def image(self, name="lapa"):
        return self.root / {"lapa": "lapa/test/images/b.jpg", "csv": "mine/train/1.png"}[name]


def one_sentence(error, folder):
    message = str(error.value)
    assert "\n" not in message and len(message) < 700 and str(folder) in message
    return message


def halve(path):
    os.truncate(path, path.stat().st_size // 2)


def cut(path):
    os.truncate(path, 3000)


def flip(path, place=0.4):
    """Flips a bit, at a place in 0..1 among the bytes that are not zero: array_record fills its files up with zeros."""
    content = bytearray(path.read_bytes())
    places = np.flatnonzero(np.frombuffer(content, np.uint8))
    content[places[int(place * len(places))]] ^= 8
    path.write_bytes(content)


def folder_in_place(path):
    path.unlink()
    path.mkdir()


def empty(path):
    path.write_bytes(b"")
