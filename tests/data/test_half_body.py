"""Half-body crops in training: which there are, which is chosen when, and that joints lie on their dots in each."""

import dataclasses
import functools
import itertools
import types

import jax
import numpy as np
import pytest

import data.prepare
from data.pipeline import TrainInput, global_order, random_variants
from data.source import Source
from h3r_jax import augment, geometry
from h3r_jax.landmarks import get_scheme
from h3r_jax.training import step
from tests.data.bodies import SIGMA, MpiiFolder, centroids
from tests.data.made_up import annotations_of, fit_affine

SCHEME = get_scheme("mpii16")
UPPER = tuple(range(7, 16))
SHAPE = (128, 96)  # large enough that dots do not reach into each other
AUGMENTATION = augment.Augmentation(rotation=20.0, scale=0.2, mirror=0.5)
PEOPLE = 4


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Four people: two with both halves, one with the upper alone, one with too few joints."""
    folder = MpiiFolder(tmp_path_factory.mktemp("half") / "mpii", people=PEOPLE, images=True)
    for entry, hidden in ((2, range(5)), (3, range(8))):
        folder.entries["train"][entry]["joints_vis"] = [int(i not in hidden) for i in range(16)]
    for entry in (0, 1):
        folder.entries["train"][entry]["joints_vis"] = [1] * 16
    for entry, joints in zip(folder.entries["train"], folder.joints["train"]):
        entry["joints"] = (joints + 1).tolist()
    folder.write()
    arguments = {"data_dir": folder.folder.parent, "prepared_dir": folder.folder.parent / "prepared", "folder": "mpii"}
    return Source(data.prepare.prepare("mpii", **arguments, num_landmarks=16), "train")


@functools.cache  # a stream keeps nothing but its canvases
def train_input(source, half_body, cache_bytes=2**30, upper_body=SCHEME.upper_body):
    return TrainInput(
        source,
        annotations_of(source),
        shape=SHAPE,
        box="dataset",
        box_scale=1.25,
        augmentation=dataclasses.replace(AUGMENTATION, half_body=half_body),
        cache_bytes=cache_bytes,
        upper_body=upper_body,
    )


def take(stream, count, **options):
    return list(itertools.islice(stream.batches(**{"seed": 3, "batch_size": 4, "start_step": 0, **options}), count))


def crop_scale(stream, batch):
    """Input pixels per image pixel of each example before augmentation, from its landmarks."""
    result = []
    for index, matrix, landmarks in zip(batch["index"], batch["matrix"], batch["landmarks"]):
        original = stream.annotations.landmarks[index]
        seen = np.isfinite(original[:, 0])
        result.append(
            fit_affine(original[seen], geometry.transform_points(matrix, landmarks[seen]).astype(float))[0, 0]
        )
    return np.array(result)


def test_boxes_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    landmarks = rng.uniform(0, 200, (300, 16, 2))
    weight = (rng.uniform(size=(300, 16)) < rng.uniform(0.3, 0.9, (300, 1))).astype(np.float32)
    landmarks[weight == 0] = np.nan
    boxes = geometry.half_body_boxes(landmarks, weight, UPPER)
    there = 0
    for points, seen, found in zip(landmarks, weight, boxes, strict=True):
        for half, box in zip((UPPER, range(7)), found, strict=True):
            chosen = [points[i] for i in half if seen[i] > 0]
            if sum(seen) <= 8 or len(chosen) < 3:
                assert np.isnan(box).all()
                continue
            there += 1
            for axis in range(2):
                low, high = min(p[axis] for p in chosen), max(p[axis] for p in chosen)
                assert (box[axis] + box[axis + 2]) / 2 == pytest.approx((low + high) / 2)
                assert box[axis + 2] - box[axis] + 1 == pytest.approx(1.2 * (high - low + 1))
    assert 150 < there < 450


def test_the_limits_of_what_is_half_a_body():
    landmarks = np.random.default_rng(0).uniform(0, 50, (16, 2))

    def halves(*seen):
        return np.isfinite(geometry.half_body_boxes(landmarks, np.isin(np.arange(16), seen), UPPER)[:, 0]).tolist()

    assert halves(*range(7, 15)) == [False, False]  # 8 joints
    assert halves(*range(7, 16)) == [True, False]  # 9, and none below
    assert halves(0, 1, *range(9, 16)) == [True, False]
    assert halves(0, 1, 2, *range(10, 16)) == [True, True]
    assert halves(*range(9)) == [False, True]


def test_variants_follow_seed_epoch_and_index_and_the_probability():
    available = np.array([[True, True], [True, False], [False, True], [False, False]] * 25)
    positions = np.arange(100 * 400)
    indices = global_order(7, positions, 100)
    variants = random_variants(7, positions, indices, available, 0.3)
    shares = [[np.mean(variants[indices % 4 == kind] == variant) for variant in range(3)] for kind in range(4)]
    np.testing.assert_allclose(shares, [[0.7, 0.15, 0.15], [0.7, 0.3, 0], [0.7, 0, 0.3], [1, 0, 0]], atol=0.02)
    assert not variants[indices % 4 == 3].any(), "nobody without halves is halved"
    # Every epoch another choice of people, and any part of the stream is that part.
    halved = {
        epoch: frozenset(indices[100 * epoch : 100 * (epoch + 1)][variants[100 * epoch : 100 * (epoch + 1)] > 0])
        for epoch in range(50)
    }
    assert len(set(halved.values())) == 50
    some = np.random.default_rng(0).permutation(positions)[:500]
    np.testing.assert_array_equal(random_variants(7, some, indices[some], available, 0.3), variants[some])
    assert (random_variants(8, positions, indices, available, 0.3) != variants).mean() > 0.2
    assert random_variants(7, positions, indices, available, 1.0)[indices % 4 != 3].all()


def test_without_half_bodies_nothing_changes(source):
    plain, halved = train_input(source, 0.0, upper_body=()), train_input(source, 0.5)
    assert 3 * plain.canvases.nbytes == halved.canvases.nbytes
    np.testing.assert_array_equal(plain.matrices, halved.matrices)
    whole = {int(i): image for batch in take(plain, 2) for i, image in zip(batch["index"], batch["image"])}
    assert len(whole) == PEOPLE
    same = [
        np.array_equal(image, whole[int(i)])
        for batch in take(halved, 30)
        for i, image in zip(batch["index"], batch["image"])
    ]
    assert 0.5 < np.mean(same) < 0.75  # 1 - 0.5 * 3/4, nearly
    for one, two in zip(take(plain, 5), take(halved, 5), strict=True):
        np.testing.assert_array_equal(one["index"], two["index"])


@pytest.mark.parametrize("cache_bytes", [0, 2**30], ids=["decoded anew", "kept"])
def test_streams_are_resumed_and_divided(source, cache_bytes):
    whole = take(train_input(source, 0.5), 8)
    stream = train_input(source, 0.5, cache_bytes)
    assert stream.canvases.cached == (cache_bytes > 0)
    parts = [take(stream, 4, start_step=4, process_index=p, process_count=2) for p in range(2)]
    for number, batch in enumerate(whole[4:]):
        for key, values in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[number][key] for part in parts]), values)


def test_halves_are_always_shown_at_probability_one(source):
    stream = train_input(source, 1.0)
    whole = stream.matrices[:, 0, 0]
    seen = {index: set() for index in range(PEOPLE)}
    for batch in take(stream, 20):
        for index, scale in zip(batch["index"].tolist(), crop_scale(stream, batch)):
            seen[index].add(round(float(scale / whole[index]), 3))
    assert [len(seen[index]) for index in range(PEOPLE)] == [2, 2, 1, 1]
    assert seen[3] == {1.0}, "too few joints: the whole"
    assert min(min(seen[index]) for index in range(3)) > 1.1, "a half is shown larger"


def test_joints_lie_on_their_dots_in_training_crops(source):
    stream = train_input(source, 0.5)
    network = types.SimpleNamespace(shape=SHAPE, scheme=SCHEME)
    recipe = types.SimpleNamespace(seed=5, augmentation=AUGMENTATION, network=network)
    examples = jax.jit(functools.partial(step.augment_batch, recipe=recipe))
    errors, scales = [], []
    for number, batch in enumerate(take(stream, 24)):
        images, landmarks, weight = map(np.asarray, examples(batch, number))
        for index, image, places, weights in zip(batch["index"], images, landmarks.astype(np.float64), weight):
            assert (np.isfinite(places[:, 0]) == (weights > 0)).all()
            original = stream.annotations.landmarks[index]
            fits = []
            for order in (range(16), SCHEME.mirror):
                joints = original[list(order)]
                good = np.isfinite(joints[:, 0]) & np.isfinite(places[:, 0])
                matrix = fit_affine(joints[good], places[good])
                fits.append((np.abs(joints[good] @ matrix[:, :2].T + matrix[:, 2] - places[good]).max(), matrix))
            error, matrix = min(fits, key=lambda fit: fit[0])
            assert error < 2e-3
            scales.append(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
            errors.append(centroids(image, places, SIGMA * scales[-1]) - places)
    errors = np.concatenate(errors)
    errors = errors[np.isfinite(errors).all(axis=1)]
    assert len(errors) > 500 and max(scales) > 2 * min(scales)
    distances = np.linalg.norm(errors, axis=1)
    print(f"dots in training crops at {SHAPE}: {distances.mean():.4f} px on average, {distances.max():.4f} px at most")
    # The crops have whole grey levels: of 1,187 small dots the worst is at 0.0525.
    assert np.quantile(distances, 0.99) < 0.04 and distances.max() < 0.06 and np.abs(errors.mean(axis=0)).max() < 0.01


def test_bad_settings_are_named(source):
    with pytest.raises(ValueError, match="config.augment.half_body is 1.5; want a finite number from 0 to 1"):
        train_input(source, 1.5)
    with pytest.raises(
        ValueError, match="augment.half_body needs a landmark scheme that says which landmarks are the upper body"
    ):
        train_input(source, 0.3, upper_body=())
