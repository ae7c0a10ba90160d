"""Two prepared data sets, to be damaged."""

import shutil

import numpy as np
import pytest

from tests.data.made_up import texture, write_split
from tests.data.prepared_sets import COUNT, Raw
from tests.data.test_lapa import face


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Both sets, prepared once."""
    raw = Raw(tmp_path_factory.mktemp("template"))
    for seed, name in enumerate("abc"):
        face(raw.root / "lapa", "test", name, seed)
    for seed, split in enumerate(("train", "val")):
        images = [texture(seed + i, 24, 32) for i in range(COUNT)]
        write_split(raw.root / "mine", split, images, np.random.default_rng(seed).uniform(0, 20, (COUNT, 3, 2)))
    raw.builder("lapa"), raw.builder("csv")
    return raw


@pytest.fixture
def raw(template, tmp_path):
    """A copy of both, to be damaged."""
    shutil.copytree(template.root, tmp_path / "copy")
    return Raw(tmp_path / "copy")
