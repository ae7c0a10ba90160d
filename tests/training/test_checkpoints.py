"""Checkpoints whose files are damaged, places that cannot hold any, metrics that go on: nothing wrong in silence."""

import contextlib
import os
import random
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from h3r_jax import digests
from h3r_jax.errors import UserError
from h3r_jax.run import AVERAGE, PROGRESS, VARIABLES, Run
from h3r_jax.training import checkpoints, sharding, writers
from tests.test_digests import forget
from tests.training import tiny

# Where orbax fails, its threads fail too, and leave coroutines that nobody waits for.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]
RECIPE = tiny.make_recipe()
MESH = sharding.make_mesh(jax.devices()[:1])
STATE = jax.device_put(tiny.make_state(RECIPE)[0], sharding.replicated(MESH))
OPTIONS = {"shapes": RECIPE.network.shapes(), "sharding": sharding.replicated(MESH)}


def save(workdir, *steps, metrics=None):
    """A run with checkpoints of `steps`; returns it."""
    with checkpoints.Checkpoints(Run(workdir), keep=3, about=lambda step: {"step": step}) as saved:
        for step in steps:
            saved.save(STATE.replace(step=np.int32(step)), metrics)
    return Run(workdir)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return save(tmp_path_factory.mktemp("original"), 2, 4, metrics={"nme": 1.0}).workdir


@pytest.fixture
def run(tmp_path, original):
    """A run with the steps 2 and 4, to be damaged."""
    shutil.copytree(original, tmp_path / "run")
    return Run(tmp_path / "run")


def files_of(run, step):
    folder = Path(run.checkpoints / str(step))
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def flip(path, byte, bit=0):
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(bytes(content))


def largest(run, item):
    return max(files_of(run, f"4/{item}"), key=lambda path: path.stat().st_size)


DAMAGE = {
    "a flipped bit in the variables": lambda run: flip(largest(run, VARIABLES), -9),
    "a flipped bit in the average": lambda run: flip(largest(run, AVERAGE), 5),
    "a flipped bit in the optimiser": lambda run: flip(largest(run, PROGRESS), 5),
    "a flipped bit in the description": lambda run: flip(run.checkpoints / "4/about/metadata", 3),
    "a flipped bit in the metrics": lambda run: flip(next((run.checkpoints / "4/metrics").glob("*")), 3),
    "a flipped bit in the digests": lambda run: flip(run.checkpoints / "4" / digests.NAME, 3),
    "digests without the variables": lambda run: forget(run.checkpoints / "4", f"  {VARIABLES}/"),
    "digests without the average": lambda run: forget(run.checkpoints / "4", f"  {AVERAGE}/"),
    "a file cut short": lambda run: largest(run, VARIABLES).write_bytes(b"short"),
    "an empty file": lambda run: largest(run, AVERAGE).write_bytes(b""),
    "a file gone": lambda run: largest(run, VARIABLES).unlink(),
    "the average gone": lambda run: shutil.rmtree(run.checkpoints / "4" / AVERAGE),
    "the optimiser gone": lambda run: shutil.rmtree(run.checkpoints / "4" / PROGRESS),
    "a file of another step": lambda run: (run.checkpoints / "4/variables/extra").write_text("x"),
}


@pytest.mark.trial("A3")
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_offered(run, damage):
    DAMAGE[damage](run)
    sentence = (
        r"checkpoints/4 is damaged \(.*\); step 2 is the newest that is whole: train.py --skip_damaged goes on from"
    )
    with pytest.raises(UserError, match=sentence):
        run.variables(**OPTIONS)
    with pytest.raises(UserError, match=sentence):
        checkpoints.prepare(run)
    assert "raw" in run.variables(step=2, averaged=False, **OPTIONS)[1]
    assert checkpoints.prepare(run, skip_damaged=True).startswith("verified: ")
    assert run.steps() == [2] and (run.workdir / "damaged" / "4").is_dir()


@pytest.mark.trial("B3")
@pytest.mark.parametrize("damage", ["variables gone", "half a file", "a manifest of nothing", "empty folders"])
def test_a_damaged_checkpoint_without_digests_is_named_too(run, damage):
    folder = run.checkpoints / "4"
    (folder / digests.NAME).unlink()
    if damage == "variables gone":
        shutil.rmtree(folder / VARIABLES)
    elif damage == "empty folders":
        for item in folder.iterdir():
            shutil.rmtree(item) if item.is_dir() else item.unlink()
            (folder / item.name).mkdir()
    else:
        name = "manifest.ocdbt" if damage == "a manifest of nothing" else "_METADATA"
        path = folder / VARIABLES / name
        path.write_bytes(path.read_bytes()[:20] if damage == "half a file" else b"")
    with pytest.raises(
        UserError, match=r"checkpoints/4 (is damaged|cannot be read) \(.*\); step 2 is the newest"
    ) as bad:
        run.variables(averaged=False, **OPTIONS)
    assert len(str(bad.value)) < 700 and "\n" not in str(bad.value)


@pytest.mark.trial("B3")
@pytest.mark.parametrize("name", ["9", "5", "12"])
def test_an_empty_folder_is_no_checkpoint(run, name):
    (run.checkpoints / name).mkdir()
    with pytest.raises(UserError, match=r"is damaged \(variables is missing and 1 more\); step 4 is the newest"):
        checkpoints.prepare(run)
    checkpoints.prepare(run, skip_damaged=True)
    assert run.steps() == [2, 4]


@pytest.mark.trial("B3")
@pytest.mark.parametrize("name", ["3", "9"])
def test_a_checkpoint_with_the_name_of_another_step_is_refused(run, name):
    shutil.copytree(run.checkpoints / "4", run.checkpoints / name)
    with (
        checkpoints.Checkpoints(run, keep=3) as saved,
        pytest.raises(UserError, match=rf"checkpoints/{name} holds step 4; remove it, or give it its own name$"),
    ):
        saved.restore(int(name), STATE)


def test_a_checkpoint_without_digests_is_read_with_a_sentence(run):
    (run.checkpoints / "4" / digests.NAME).unlink()
    assert run.variables(**OPTIONS)[1].endswith("at step 4, not verified, since it has no digests")
    assert checkpoints.prepare(run) == "not verified, since it has no digests"


@pytest.mark.trial("A3")
def test_every_bit_that_is_read_is_verified(run):
    """The files beside the items, which orbax changes last, are not; what is read does not depend on them."""
    rng, whole = random.Random(0), jax.device_get(run.variables(**OPTIONS)[0])
    paths = files_of(run, 4)
    for _ in range(40):
        path = rng.choice(paths)
        content = path.read_bytes()
        flip(path, rng.randrange(len(content)), rng.randrange(8))
        if path.parent == Path(run.checkpoints / "4") and path.name != digests.NAME:
            jax.tree.map(np.testing.assert_array_equal, run.variables(**OPTIONS)[0], whole)
        else:
            assert run.faults(4), path
        path.write_bytes(content)


@pytest.mark.trial("A5")
@pytest.mark.parametrize(
    "name",
    ["my run [2]", "a[b]/run", "run*", "what?", "[", "with space", "später", "100%", "#1", "a&b;c", "-run", "a\nb"],
)
def test_a_workdir_is_read_back_or_refused_before_the_first_step(tmp_path, name):
    run = Run(tmp_path / name)
    try:
        checkpoints.prepare(run)
    except UserError as error:
        assert "what is written there cannot be read back" in str(error)
        assert not run.checkpoints.exists()
        return
    save(run.workdir, 2)
    assert run.variables(**OPTIONS)[1] == "moving average of the parameters at step 2"


@pytest.mark.trial("A5")
@pytest.mark.parametrize("change", ["gone", "another", "unreadable"])
def test_what_was_saved_is_looked_at(tmp_path, change):
    with checkpoints.Checkpoints(Run(tmp_path), keep=2) as saved:
        saved.save(STATE)
        saved.confirm(STATE)
        folder = tmp_path / "checkpoints" / "0"
        if change == "unreadable":
            (folder / VARIABLES / "manifest.ocdbt").write_bytes(b"")
        elif change == "gone":
            shutil.rmtree(folder)
        other = (
            STATE.replace(variables=jax.tree.map(lambda x: x + 1, STATE.variables)) if change == "another" else STATE
        )
        with pytest.raises(
            (UserError, OSError), match=r"checkpoints/0 (does not hold what was saved|is damaged|is gone)"
        ):
            saved.confirm(other)


@pytest.mark.trial("B6")
def test_the_first_error_is_the_one_that_is_told():
    class Failing:
        def write(self, step, scalars):
            raise OSError("first")

        def close(self):
            raise OSError("second")

    with pytest.raises(OSError, match="first"), writers.MultiWriter(Failing()) as writer:
        writer.write(1, {})
    with pytest.raises(OSError, match="second"), writers.MultiWriter(Failing()):
        pass


@pytest.mark.trial("B6")
@pytest.mark.parametrize(
    ("first", "told"),
    [
        (UserError("the loss is not finite"), "the loss is not finite. And no room"),
        (OSError("metrics.jsonl cannot be written"), "metrics.jsonl cannot be written. And no room"),
        (RuntimeError("a mistake in the program"), "a mistake in the program"),
        (None, "no room"),
    ],
)
def test_a_disk_that_is_full_at_the_end_too_is_told_after_the_first_error(tmp_path, monkeypatch, first, told):
    def close():
        raise OSError("no room")

    saved = checkpoints.Checkpoints(Run(tmp_path), keep=2)
    with pytest.raises((OSError, RuntimeError)) as error, saved:
        monkeypatch.setattr(saved, "close", close)
        if first:
            raise first
    assert str(error.value) == told


def fill(disk):
    room = os.statvfs(disk)
    (disk / "fill").write_bytes(bytes(max(0, room.f_bavail - 1) * room.f_frsize))


def write_metrics(writer):
    try:
        for step in range(200):
            writer.write(step, {f"name/{i}": 0.5 for i in range(20)})
    finally:
        with contextlib.suppress(OSError):
            writer.close()


@pytest.mark.trial("A1")
@pytest.mark.parametrize(
    ("write", "name"),
    [
        (lambda disk: write_metrics(writers.TensorBoardWriter(disk / "tensorboard")), "tensorboard"),
        (lambda disk: write_metrics(writers.JsonLinesWriter(disk / "metrics.jsonl")), "metrics.jsonl"),
        (lambda disk: write_metrics(writers.of_run(Run(disk), after=0)), "(metrics.jsonl|tensorboard)"),
        (lambda disk: checkpoints.prepare(Run(disk)), "checkpoints"),
        (lambda disk: Run(disk).write_config({"much": "x" * 10_000}), "config.json"),
    ],
)
def test_a_full_disk_is_told_by_the_write_that_meets_it(small_disk, write, name):
    fill(small_disk)
    with pytest.raises(OSError, match=rf"small/{name} cannot be written: the disk is full") as raised:
        write(small_disk)
    opened = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
    assert not [path for path in opened if Path(path).is_relative_to(small_disk)], raised  # whose frames hold them
