"""LaPa: one text file per image."""

import numpy as np
import pytest
from PIL import Image

from tests.data.faces import check_split, dotted, error, prepare, save, turned


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "lapa"


def face(folder, split, name, seed):
    """Writes an image and its file of landmarks; the landmarks."""
    image, points = dotted(seed, 106)
    save(image, folder / split / "images" / f"{name}.jpg")
    path = folder / split / "landmarks" / f"{name}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["106", *(f"{x:.4f} {y:.4f}" for x, y in points)]))
    return points


def test_splits_that_are_there_by_name(folder):
    test = [face(folder, "test", name, seed) for seed, name in enumerate(("10_0", "1_0", "9_0"))]
    val = [face(folder, "val", "1_0", 4)]
    (folder / "val" / "labels").mkdir()
    builder = prepare("lapa", folder)
    assert set(builder.info.splits) == {"val", "test"}
    check_split(builder, "val", val)
    annotations = check_split(builder, "test", test)
    assert annotations.name[0].endswith("lapa/test/landmarks/10_0.txt")
    assert np.isnan(annotations.box).all() and np.isnan(annotations.object_size).all()


def test_landmarks_are_of_the_pixels_as_they_are_stored(folder):
    """As in all official data sets: an image that asks its viewer to turn it stays as it is."""
    points = face(folder, "test", "a", 0)
    path = folder / "test" / "images" / "a.jpg"
    with Image.open(path) as image:
        image.load()
    image.save(path, quality=100, subsampling=0, exif=turned())
    check_split(prepare("lapa", folder), "test", [points])


def edit(change):
    def apply(split):
        path = split / "landmarks" / "b.txt"
        path.write_text("\n".join(change(path.read_text().splitlines())))

    return apply


FAULTS = {
    "68 landmarks": (edit(lambda lines: ["68", *lines[1:69]]), "b.txt: want 106 in its first line"),
    "no first line": (edit(lambda lines: lines[1:]), "b.txt: want 106 in its first line"),
    "105 lines": (edit(lambda lines: lines[:-1]), "b.txt: 105 lines of points, want 106"),
    "comma": (edit(lambda lines: [*lines[:3], "1,2", *lines[4:]]), "b.txt line 4: 1 values, want x and y"),
    "empty": (edit(lambda lines: []), "b.txt is empty"),
    "not text": (
        lambda split: (split / "landmarks" / "b.txt").write_bytes(b"106\n\xff"),
        "b.txt: byte 4 is not UTF-8 text",
    ),
    "no image": (lambda split: (split / "images" / "b.jpg").unlink(), "b.txt: there is no image b.jpg or .png in "),
    "no landmarks": (lambda split: (split / "landmarks" / "b.txt").unlink(), "b.jpg: there is no "),
    "broken image": (
        lambda split: (split / "images" / "b.jpg").write_bytes(b""),
        "b.jpg is not an image of a known format",
    ),
    "empty directory": (
        lambda split: (split.parent / "val" / "landmarks").mkdir(parents=True),
        "val/landmarks holds no file",
    ),
    "no directory": (lambda split: (split.parent / "val").mkdir(), "val/landmarks holds no file that ends in .txt"),
}


@pytest.mark.parametrize(("fault", "expected"), FAULTS.values(), ids=FAULTS)
def test_faults_are_named(folder, fault, expected):
    face(folder, "train", "a", 0)
    face(folder, "train", "b", 1)
    fault(folder / "train")
    assert expected in error("lapa", folder)


def test_no_splits(folder):
    folder.mkdir()
    assert "lapa holds none of train, val, test; data.lapa says how it is laid out" in error("lapa", folder)
