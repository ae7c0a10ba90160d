"""The order of examples, and that batches do not depend on caches, processes, or where a run is resumed."""

import functools
import itertools

import numpy as np
import pytest

import data.prepare
from data.features import stored_image
from data.pipeline import EvalInput, TrainInput, global_order
from data.source import Source
from h3r_jax import augment, reference_crop
from h3r_jax.images import crop_image
from tests.data.made_up import annotations_of, texture, write_split

COUNT = 7
SHAPE = (16, 24)
AUGMENTATION = augment.Augmentation(rotation=20.0, scale=0.2, shift=0.1)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Seven images of several sizes, JPEG and PNG, grey and colour, some landmarks beyond the border."""
    folder = tmp_path_factory.mktemp("pipeline")
    rng = np.random.default_rng(0)
    images = [texture(i, *rng.integers(20, 60, 2)) for i in range(COUNT)]
    images[2], images[3] = images[2][..., 0], images[3][..., 0]
    landmarks = rng.uniform(-5, 40, (COUNT, 3, 2))
    write_split(folder / "set", "train", images, landmarks, rng.uniform(0, 1, (COUNT, 3)), suffixes=(".png", ".jpg"))
    arguments = {"data_dir": folder, "prepared_dir": folder / "prepared", "folder": "set", "num_landmarks": 3}
    return Source(data.prepare.prepare("csv", **arguments), "train")


CROP = {"box": "landmarks", "box_scale": 1.25}


@functools.cache  # a stream keeps nothing but its canvases
def train_input(source, cache_bytes=2**20):
    arguments = {"shape": SHAPE, "augmentation": AUGMENTATION, "cache_bytes": cache_bytes}
    return TrainInput(source, annotations_of(source), **arguments, **CROP)


@functools.cache
def eval_input(source, cache_bytes=2**20, shape=SHAPE, crop="exact"):
    return EvalInput(source, annotations_of(source), shape=shape, crop=crop, cache_bytes=cache_bytes, **CROP)


def take(stream, count):
    return list(itertools.islice(stream, count))


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for key in one:
        assert one[key].dtype == two[key].dtype
        np.testing.assert_array_equal(one[key], two[key])


def test_every_epoch_is_a_permutation_and_a_function_of_seed_and_epoch():
    stream = global_order(3, np.arange(5 * 50), 50).reshape(5, 50)
    for epoch in stream:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(50))
    assert len({tuple(epoch) for epoch in stream}) == 5, "epochs differ"
    # Any part of the stream, in any order, is that part.
    positions = np.random.default_rng(0).integers(0, 250, 40)
    np.testing.assert_array_equal(global_order(3, positions, 50), stream.ravel()[positions])
    assert (global_order(4, np.arange(50), 50) != stream[0]).sum() > 40


def test_permutations_are_uniform():
    counts = np.zeros((4, 4))
    for epoch in range(2000):
        counts[np.arange(4), global_order(0, np.arange(4 * epoch, 4 * epoch + 4), 4)] += 1
    assert np.abs(counts / 2000 - 0.25).max() < 0.045  # 4.6 standard deviations


def test_batches_follow_the_global_order_across_epochs(source):
    # 7 examples in batches of 4: the second batch holds the end of one epoch and the beginning of the next.
    stream = train_input(source)
    batches = take(stream.batches(seed=3, batch_size=4, start_step=0), 7)
    indices = np.concatenate([batch["index"] for batch in batches])
    np.testing.assert_array_equal(indices, global_order(3, np.arange(28), COUNT))
    for epoch in indices.reshape(4, COUNT):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(COUNT))
    annotations = annotations_of(source)
    canvases = {}
    for batch in batches:
        assert {key: (value.dtype.name, value.shape) for key, value in batch.items()} == {
            "image": ("uint8", (4, *stream.canvases.shape, 3)),
            "matrix": ("float32", (4, 2, 3)),
            "edges": ("float32", (4, 4)),
            "landmarks": ("float32", (4, 3, 2)),
            "weight": ("float32", (4, 3)),
            "index": ("int32", (4,)),
        }
        np.testing.assert_array_equal(batch["weight"], annotations.weight[batch["index"]])
        for index, image in zip(batch["index"], batch["image"]):
            np.testing.assert_array_equal(image, canvases.setdefault(index, image))
    assert len({canvas.tobytes() for canvas in canvases.values()}) == COUNT


@pytest.mark.parametrize("cache_bytes", [0, 2**20], ids=["decoded anew", "kept"])
def test_slices_of_processes_concatenate_to_the_global_batch(source, cache_bytes):
    whole = take(train_input(source).batches(seed=1, batch_size=8, start_step=0), 3)
    for processes in (1, 2, 4):
        parts = [
            take(
                train_input(source, cache_bytes).batches(
                    seed=1, batch_size=8, start_step=0, process_index=p, process_count=processes
                ),
                3,
            )
            for p in range(processes)
        ]
        for number, batch in enumerate(whole):
            assert_equal({key: np.concatenate([part[number][key] for part in parts]) for key in batch}, batch)


@pytest.mark.parametrize("cache_bytes", [0, 2**20], ids=["decoded anew", "kept"])
def test_starting_at_a_step_is_skipping_the_steps_before(source, cache_bytes):
    stream = train_input(source, cache_bytes)
    whole = take(stream.batches(seed=1, batch_size=4, start_step=0), 9)
    for one, two in zip(take(stream.batches(seed=1, batch_size=4, start_step=5), 4), whole[5:], strict=True):
        assert_equal(one, two)


def test_kept_canvases_are_those_decoded_anew_and_the_budget_decides(source):
    kept = train_input(source)
    assert kept.canvases.nbytes == sum(3 * height * width for height, width in kept.canvases.sizes.tolist())
    assert kept.canvases.cached and train_input(source, kept.canvases.nbytes).canvases.cached
    anew = train_input(source, kept.canvases.nbytes - 1)
    assert not anew.canvases.cached
    for one, two in zip(*(take(s.batches(seed=0, batch_size=3, start_step=0), 6) for s in (kept, anew)), strict=True):
        assert_equal(one, two)
        one["image"][:] = 0  # the caller's to change
    assert take(kept.batches(seed=0, batch_size=3, start_step=0), 1)[0]["image"].any()
    for one, two in zip(eval_input(source).batches(3), eval_input(source, 0).batches(3), strict=True):
        assert_equal(one, two)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10])
def test_evaluation_yields_each_example_once_whatever_the_batch_size(source, batch_size):
    stream = eval_input(source)
    (whole,) = stream.batches(COUNT)
    assert len({image.tobytes() for image in whole["image"]}) == COUNT
    batches = list(stream.batches(batch_size))
    assert all(batch["image"].shape == (batch_size, *SHAPE, 3) for batch in batches)
    images = np.concatenate([batch["image"] for batch in batches])
    assert len(images) - COUNT < batch_size and len(stream.matrices) == stream.num_examples == COUNT
    np.testing.assert_array_equal(images[:COUNT], whole["image"])


def test_evaluation_slices_of_processes_concatenate(source):
    whole = list(eval_input(source).batches(4))
    for processes in (2, 4):
        parts = [list(eval_input(source).batches(4, p, processes)) for p in range(processes)]
        assert {len(part) for part in parts} == {len(whole)}
        for number, batch in enumerate(whole):
            np.testing.assert_array_equal(np.concatenate([part[number]["image"] for part in parts]), batch["image"])


def test_a_batch_that_processes_cannot_share_is_refused(source):
    with pytest.raises(ValueError, match="batch of 8 .* 3 processes"):
        next(train_input(source).batches(seed=0, batch_size=8, start_step=0, process_count=3))
    with pytest.raises(ValueError, match="batch of 8 .* 3 processes"):
        next(eval_input(source).batches(8, process_count=3))


def test_the_references_crop_by_name(source):
    stream = eval_input(source, shape=(20, 20), crop="reference")
    (batch,) = stream.batches(COUNT)
    boxes = annotations_of(source).boxes("landmarks")
    np.testing.assert_array_equal(stream.matrices, reference_crop.matrix(boxes, (20, 20)))
    for index, (box, image) in enumerate(zip(boxes, batch["image"], strict=True)):
        np.testing.assert_array_equal(image, reference_crop.cut(source.image(index).pixels, box, (20, 20)))
    with pytest.raises(ValueError, match="is square, but the input is 16x24"):
        eval_input(source, crop="reference")
    with pytest.raises(ValueError, match="unknown crop 'rough'; known are exact, reference"):
        eval_input(source, crop="rough")


class Damaged:
    """A source in which the image of one record has lost its end."""

    def __init__(self, source, damaged):
        self._source, self._damaged = source, damaged

    def __getattr__(self, name):
        return getattr(self._source, name)

    def __len__(self):
        return len(self._source)

    def image(self, index):
        image = self._source.image(index)
        return stored_image(image.file[:60]) if index == self._damaged else image


@pytest.mark.parametrize("cache_bytes", [0, 2**20], ids=["decoded anew", "kept"])
def test_an_image_that_cannot_be_read_stops_with_its_name(source, cache_bytes):
    stream = train_input(Damaged(source, 5), cache_bytes)
    place = int(np.argmax(global_order(1, np.arange(COUNT), COUNT) == 5))
    for batch_size in (1, 3):
        with pytest.raises(OSError, match=r"train.csv line 7 \(5.jpg\): its image in .* cannot be read \(") as caught:
            take(stream.batches(seed=1, batch_size=batch_size, start_step=0), place + 1)
        message = str(caught.value)
        assert "\n" not in message and f"its image in {source.folder} cannot" in message
        assert message.endswith("check the disk, and remove that folder so that the data is prepared anew")
    if not cache_bytes:  # the batches before it come
        assert len(take(stream.batches(seed=1, batch_size=1, start_step=0), place)) == place


def test_a_landmark_absurdly_far_away_is_no_reason_to_fail():
    for scale in (1e-6, 1e-30):
        matrix = np.array([[scale, 0, 10], [0, scale, 10]])
        assert not crop_image(texture(0, 30, 30), matrix, SHAPE).any()
