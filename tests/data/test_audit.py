"""Wrong units, repetitions and overlaps: what is refused, what is said, and that right data is left in peace."""

import dataclasses

import numpy as np
import pytest

from data import audit
from data.prepare import prepare
from data.source import Annotations, Source
from tests.data.made_up import texture, write_split

WIDTH, HEIGHT = 640, 400


def made(landmarks, *, box=None, size=(HEIGHT, WIDTH), weight=None, name="record", image_id=-1, digest=None):
    """Annotations of N records with landmarks `[N, K, 2]` in images of one size."""
    landmarks = np.asarray(landmarks, np.float64)
    count = len(landmarks)
    return Annotations(
        landmarks=landmarks,
        weight=np.ones(landmarks.shape[:2], np.float32) if weight is None else np.asarray(weight, np.float32),
        box=np.full((count, 4), np.nan) if box is None else np.asarray(box, np.float64),
        subsets=(frozenset(),) * count,
        object_size=np.full(count, np.nan),
        score=np.full(count, np.nan),
        image_id=np.broadcast_to(np.asarray(image_id), count),
        size=np.tile(np.array(size, np.int32), (count, 1)),
        name=tuple(f"{name} {i}" for i in range(count)),
        digest=np.arange(count) if digest is None else np.array(digest),
    )


def objects(count=8, landmarks=5, seed=0):
    """Landmarks `[N, K, 2]` of objects anywhere in the image."""
    return np.random.default_rng(seed).uniform((5, 5), (WIDTH - 5, HEIGHT - 5), (count, landmarks, 2))


def around(landmarks):
    return np.concatenate([landmarks.min(axis=1) - 3, landmarks.max(axis=1) + 3], axis=1)


SIZE = np.array([WIDTH, HEIGHT])
RIGHT = {
    "anywhere": made(objects()),
    "with boxes": made(objects(), box=around(objects())),
    "tight boxes without their last pixel": made(
        objects(landmarks=2), box=around(objects(landmarks=2)) + [3, 3, -4, -4]
    ),
    "one in five outside": made(objects() + [WIDTH / 5, 0]),
    "in the upper left, two records": made(objects(2) / 3),
    "at the border": made(np.concatenate([objects(), np.zeros((8, 1, 2))], axis=1)),
    "whole pixels of tiny images": made(np.tile([[0, 0], [1, 1]], (8, 1, 1)), size=(2, 2)),
    "one landmark": made(objects(landmarks=1), box=around(objects(landmarks=1))),
    "square images, as if exchanged": made(objects() * 0.6, size=(WIDTH, WIDTH)),
    "nothing labelled": made(np.full((8, 5, 2), np.nan), weight=np.zeros((8, 5)), box=around(objects())),
}


@pytest.mark.parametrize("annotations", RIGHT.values(), ids=RIGHT)
def test_what_an_image_can_have_is_left_in_peace(annotations):
    audit.check(annotations)
    assert audit.doubts(annotations) == []


IMPOSSIBLE = {
    "0 to 1": (made(objects() / SIZE), "x and y of the landmarks lie between 0.0.*, within one pixel; want pixels: "),
    "-1 to 1": (made(2 * objects() / SIZE - 1), "the x and y of the landmarks lie between -0.9"),
    "0 to 1, some outside": (made(1.04 * objects(40) / SIZE), "x and y of the landmarks lie between .* and 1.03, "),
    "x alone": (made(objects() / [WIDTH, 1]), "the x of the landmarks .* multiply x by the width of its image"),
    "y alone": (made(objects() / [1, HEIGHT]), "the y of the landmarks .* multiply y by the height of its image"),
    "boxes": (made(objects(), box=around(objects()) / np.tile(SIZE, 2)), "the x and y of the boxes lie between"),
    "a slip": (made(np.where(np.arange(8)[:, None, None] == 3, 1e7, objects())), "record 3: a landmark lies at 1e"),
    "a slip of a box": (made(objects(), box=around(objects()) * 1e5), "record 0: a box lies at .*, where no image"),
    "of images twice as large": (
        made(2.5 * objects(50)),
        r"record 0 and others: \d+ of 250 landmarks lie outside .* in 640 x 400; .* same image in another size",
    ),
    "from the middle": (made(objects(50) - SIZE / 2), "landmarks lie outside their images, such as "),
    "exchanged, upright": (
        made((objects(50) * [0.05, 0.5] + [600, 100])[..., ::-1]),
        "250 of 250 landmarks lie outside .* of x and y exchanged 0 would, so exchange the columns",
    ),
}  # fmt: skip


@pytest.mark.trial("C13")
@pytest.mark.parametrize(("annotations", "message"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_no_image_can_have_is_refused(annotations, message):
    with pytest.raises(ValueError, match=message) as error:
        audit.check(annotations)
    assert str(error.value).startswith("record ") and "\n" not in str(error.value)


UNLIKELY = {
    "per cent": (made(100 * objects() / SIZE), "upper left 16% x 25% of their images; are they percentages, or"),
    "of a smaller copy": (made(objects() / 2.1), "upper left 47% x 47% of their images"),
    "exchanged": (made(objects(20)[..., ::-1]), r"\d+ of 100 landmarks .*, and 0 would if x and y were exchanged; are"),
    "boxes as width and height": (
        made(objects() / 2 + 150, box=np.concatenate([around(objects() / 2 + 150)[:, :2], [[330, 230]] * 8], axis=1)),
        "in the box of their record, but 40 if the last two numbers were width and height",
    ),
    "boxes of a smaller copy": (made(objects(), box=around(objects()) / 20), "0 of 40 landmarks lie in the box of"),
    "boxes of a larger copy": (made(objects(), box=around(objects()) * 5), "8 of 8 boxes have their centre outside"),
}  # fmt: skip


@pytest.mark.trial("C13")
@pytest.mark.parametrize(("annotations", "message"), UNLIKELY.values(), ids=UNLIKELY)
def test_what_is_unlikely_is_said(annotations, message):
    audit.check(annotations)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(audit.doubts(annotations))


def test_a_word_about_overlap_counts_and_gives_an_example():
    train = audit.Part(made(objects(6), name="train", digest=[1, 2, 2, 3, 4, 5]))
    validation = audit.Part(made(objects(4, seed=1), name="val", digest=[7, 2, 5, 8]))
    (sentence,) = audit.findings({"train": train, "validation": validation})
    assert sentence == (
        "validation: 2 of 4 records show an image that train has as well, such as val 1 and train 1; "
        "their error says nothing about new images"
    )
    assert audit.findings({"train": train}) == [], "several people in one image are as they should be"


def test_the_image_that_the_end_of_a_part_divides_is_none_of_the_overlap():
    train = audit.Part(made(objects(3), image_id=[1, 2, 2], digest=[1, 2, 2]), {2})
    validation = audit.Part(made(objects(2, seed=1), image_id=[2, 3], digest=[2, 3]), {2})
    assert audit.findings({"train": train, "validation": validation}) == []
    faces = audit.Part(made(objects(2, seed=1), digest=[2, 3]), {-1})
    assert "1 of 2 records show an image" in audit.findings({"train": train, "validation": faces})[0]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A csv set whose validation has two images of training and one row twice."""
    folder = tmp_path_factory.mktemp("drawn") / "mine"
    images = [texture(seed, 40, 60) for seed in range(10)]
    landmarks = np.random.default_rng(0).uniform(2, 38, (10, 3, 2))
    write_split(folder, "train", images[:6], landmarks[:6])
    write_split(folder, "val", images[4:], landmarks[4:])
    rows = folder / "val.csv"
    rows.write_text(rows.read_text() + rows.read_text().splitlines()[-1] + "\n")
    place = {"data_dir": folder.parent, "prepared_dir": None, "folder": folder.name}
    return prepare("csv", num_landmarks=3, **place)


@pytest.fixture(scope="module")
def parts(drawn):
    """The Parts of the splits, and of a half whose images are stored with the split."""
    return {name: audit.Part(Source(drawn, name).annotations()) for name in ("train", "val", "train[50%:]")}


def of_part(part, start, stop):
    """A Part of the records from `start` to `stop` of a Part."""
    columns = {field.name: getattr(part.annotations, field.name) for field in dataclasses.fields(Annotations)}
    chosen = {name: column[start:stop] for name, column in columns.items()}
    return audit.Part(Annotations(**chosen))


@pytest.mark.trial("C9")
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (("train", 0, 6), ("val", 0, 7), ["b: 1 of 7 records repeat image and landmarks", "b: 2 of 7 records show an"]),
        (("train", 0, 6), ("train", 0, 6), ["b: 6 of 6 records show an image that a has as well, such as "]),
        (("train", 0, 5), ("train[50%:]", 0, 3), ["b: 2 of 3 records show an image that a has as well"]),
        (("train", 0, 6), ("train", 5, 6), ["b: 1 of 1 records show an image that a"]),
        (("train", 0, 3), ("train[50%:]", 0, 3), []),
        (("train", 0, 4), ("val", 0, 6), []),
        (("val", 0, 7), ("train", 0, 4), ["a: 1 of 7 records repeat"]),
    ],
    ids=str,
)
def test_overlaps_and_repetitions_of_a_prepared_set(parts, first, second, expected):
    (name, *chosen), (other, *others) = first, second
    found = audit.findings({"a": of_part(parts[name], *chosen), "b": of_part(parts[other], *others)})
    assert len(found) == len(expected) and all(map(str.startswith, found, expected)), found


@pytest.mark.trial("C9")
@pytest.mark.parametrize("same", ["landmarks", "image", "labels"])
def test_a_repetition_has_the_same_image_landmarks_and_labels(same):
    landmarks = objects(2)
    landmarks[1] = landmarks[0] if same != "image" else landmarks[1]
    weight = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1 if same != "labels" else 0]])
    digest = [1, 1 if same != "landmarks" else 2]
    assert audit.repetitions(made(landmarks, weight=weight, digest=digest)) == []
    twice = np.repeat(landmarks[:1], 2, axis=0)
    (sentence,) = audit.repetitions(made(twice, weight=np.repeat(weight[1:], 2, axis=0), digest=[1, 1]))
    assert sentence == "1 of 2 records repeat image and landmarks of another one, such as record 1 of record 0"


def test_images_are_told_by_their_bytes(parts):
    digests = {split: part.annotations.digest for split, part in parts.items()}
    assert len(set(digests["train"])) == 6 and len(set(digests["val"])) == 6 and digests["val"].shape == (7,)
    np.testing.assert_array_equal(digests["train"][4:], digests["val"][:2])
    np.testing.assert_array_equal(digests["train"][3:], digests["train[50%:]"])
    assert digests["val"][5] == digests["val"][6], "an image that is stored once"
