"""1,000 random bits of a checkpoint, flipped one at a time: every one that changes what is read is found."""

import random

import jax
import numpy as np
import pytest

from tests.training.test_checkpoints import OPTIONS, files_of, flip, save

FLIPS = 1000


@pytest.mark.trial("A3")
def test_a_thousand_flipped_bits(tmp_path, capsys):
    run, rng = save(tmp_path, 2, 4, metrics={"nme": 1.0}), random.Random(0)
    whole = jax.device_get(run.variables(**OPTIONS)[0])
    paths, found, unread = files_of(run, 4), 0, 0
    for index in range(FLIPS):
        # Half of them over the files, half over the bytes: the largest file has most of these.
        sizes = [path.stat().st_size if index % 2 else 1 for path in paths]
        path = rng.choices(paths, sizes)[0]
        content = path.read_bytes()
        flip(path, rng.randrange(len(content)), rng.randrange(8))
        if run.faults(4):
            found += 1
        else:
            jax.tree.map(np.testing.assert_array_equal, jax.device_get(run.variables(**OPTIONS)[0]), whole)
            unread += 1
        path.write_bytes(content)
    assert run.faults(4) == []
    with capsys.disabled():
        print(f"\n{FLIPS} bits flipped in {len(paths)} files: {found} found, {unread} in files that change nothing")
