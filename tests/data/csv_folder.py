"""A `csv` data set in a temporary directory, for tests."""

import numpy as np
import pytest
from PIL import Image

import data.prepare
from data.source import Source

HEADER = "image,x0,y0,x1,y1"
GOOD = "0.png,1,2.5,30,20"


class Folder:
    """A data set in a temporary directory."""

    def __init__(self, root):
        self.root, self.path = root, root / "mine"
        (self.path / "train").mkdir(parents=True)
        for name in ("0.png", "1.png"):
            self.image(name)

    def image(self, name, size=(40, 24), value=0):
        Image.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).save(self.path / "train" / name)

    def csv(self, *lines, split="train", encoding="utf-8", end="\n"):
        (self.path / f"{split}.csv").write_bytes("".join(line + end for line in lines).encode(encoding))
        return self

    def prepare(self, num_landmarks=2):
        return data.prepare.prepare(
            "csv", data_dir=self.root, prepared_dir=self.root / "prepared", folder="mine", num_landmarks=num_landmarks
        )

    def annotations(self, split="train"):
        return Source(self.prepare(), split).annotations()

    def error(self, **arguments):
        """The message that stops the preparation."""
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            self.prepare(**arguments)
        message = str(caught.value)
        assert "\n" not in message and len(message) < 600, "one sentence"
        return message
