"""Bring your own data: what is read."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data import builder
from data.source import Source
from tests.data.csv_folder import GOOD, HEADER, Folder


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_rows_are_read_as_they_stand_and_in_order(folder):
    folder.image("other.png", size=(10, 12))
    folder.csv(HEADER, GOOD, "other.png,-3.25,0.125,9,1e1", "0.png,1,2,3,4")
    for name in ("2.png", "3.png"):
        folder.image("../" + name)
    folder.csv(HEADER, "2.png,0,0,5,5", "3.png,1,1,6,6", split="val")  # images beside the CSV file
    train = folder.annotations()
    np.testing.assert_array_equal(train.landmarks[:2], [[[1, 2.5], [30, 20]], [[-3.25, 0.125], [9, 10]]])
    np.testing.assert_array_equal(train.size, [[24, 40], [12, 10], [24, 40]])
    np.testing.assert_array_equal(train.weight, 1)
    assert np.isnan(train.box).all()
    assert [name.split("train.csv ")[1] for name in train.name] == [
        "line 2 (0.png)",
        "line 3 (other.png)",
        "line 4 (0.png)",
    ]
    np.testing.assert_array_equal(folder.annotations("val").landmarks[:, 0], [[0, 0], [1, 1]])


def test_columns_may_stand_in_any_order_with_box_and_visibility(folder):
    folder.csv("v1,v0,y1,x1,y0,x0,box_y1,box_x1,box_y0,box_x0, image ", "0,0.5,,,2,1,23,39,4,3, 0.png ")
    train = folder.annotations()
    np.testing.assert_array_equal(train.landmarks, [[[1, 2], [np.nan, np.nan]]])
    np.testing.assert_array_equal(train.weight, [[0.5, 0]])
    np.testing.assert_array_equal(train.boxes("dataset"), [[3, 4, 39, 23]])
    with pytest.raises(ValueError, match=r"line 2 \(0.png\): its landmarks box .* no size; label at least two"):
        train.boxes("landmarks")
    with pytest.raises(ValueError, match="unknown box 'face'; known are landmarks, dataset"):
        train.boxes("face")


def test_many_rows_keep_their_order(folder):
    folder.csv(HEADER, *(f"{i % 2}.png,{i},0,1,1" for i in range(600)))  # more than one chunk of annotations
    np.testing.assert_array_equal(folder.annotations().landmarks[:, 0, 0], np.arange(600))


def test_parts_of_a_split_share_images_that_are_stored_once(folder):
    folder.image("0.png", value=10)
    folder.image("1.png", value=200)
    rows = ("0.png,0,0,9,9", "1.png,1,0,9,9", "1.png,2,0,9,9", "0.png,3,0,9,9")
    folder.csv(HEADER, *rows)
    builder = folder.prepare()
    for part, chosen in (("train", range(4)), ("train[2:]", (2, 3)), ("train[-1:]", (3,)), ("train[25%:75%]", (1, 2))):
        source = Source(builder, part)
        assert len(source) == len(chosen) and source.whole == (part == "train")
        np.testing.assert_array_equal(source.annotations().landmarks[:, 0, 0], chosen)
        for index, row in enumerate(chosen):
            np.testing.assert_array_equal(source.image(index).pixels, 10 if rows[row].startswith("0") else 200)
    stored = Source(builder, "train")._records
    assert len(stored[2]) < len(stored[1]) and len(stored[3]) < len(stored[0])
    for part, message in (
        ("train[9:]", "is no split or part of one .*incompatible with 4"),
        ("train[2:2]", "is empty"),
        ("train[a]", "no split or part of one .* want, for instance, train"),
    ):
        with pytest.raises(ValueError, match=message):
            Source(builder, part)


@pytest.mark.trial("C14")
@pytest.mark.parametrize(
    ("encoding", "end"), [("utf-8-sig", "\r\n"), ("utf-8", "\n\n"), ("utf-8", "\r"), ("utf-8-sig", "\r\n \r\n")]
)
def test_byte_order_mark_line_ends_and_blank_lines_do_not_matter(folder, encoding, end):
    folder.csv(HEADER.replace("x0", '"x0"'), GOOD, " 1.png ,5, 6,7 ,8", encoding=encoding, end=end)
    np.testing.assert_array_equal(folder.annotations().landmarks[:, 0], [[1, 2.5], [5, 6]])


def test_finite_landmarks_outside_the_image_are_legal_and_counted(folder):
    # The image covers x from -0.5 to 39.5 and y from -0.5 to 23.5.
    folder.csv(HEADER + ",v0,v1", "0.png,-0.5,23.5,-0.6,3,1,1", "1.png,39.6,0,3,500,1,0", "0.png,1,1,,,1,0")
    assert folder.annotations().outside_image() == 2


def test_only_changes_are_prepared_anew(folder, monkeypatch):
    reads, original = [], builder.read_image
    monkeypatch.setattr(
        builder, "read_image", lambda path, name, **options: reads.append(path) or original(path, name, **options)
    )

    def fresh():
        reads.clear()
        builder = folder.prepare()
        return bool(reads), Source(builder, "train").annotations()

    folder.csv(HEADER, GOOD)
    assert fresh()[0] and not fresh()[0]
    folder.csv(HEADER, GOOD.replace("30", "31"))
    changed, annotations = fresh()
    assert changed and annotations.landmarks[0, 1, 0] == 31
    image = pathlib.Path(folder.path / "train" / "0.png")
    Image.new("RGB", (50, 24)).save(image, compress_level=0)
    changed, annotations = fresh()
    assert changed and annotations.size.tolist() == [[24, 50]]
    before = image.stat()
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))
    assert not fresh()[0], "another time alone is no change"
    Image.new("RGB", (50, 24), "red").save(image, compress_level=0)
    assert image.stat().st_size == before.st_size
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert fresh()[0] and not fresh()[0], "of the same length and time"


def test_a_set_of_an_older_version_is_made_anew_and_named(folder, capsys, monkeypatch):
    folder.csv(HEADER, GOOD)
    with monkeypatch.context() as patch:
        patch.setattr(builder.LandmarkBuilder, "VERSION", tfds.core.Version("1.0.0"))
        old = folder.prepare().data_path
    capsys.readouterr()
    new = folder.prepare().data_path
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("Preparing csv_landmarks/mine-") and f" in {new}, once" in first
    assert second == f"It takes the place of {old}, which may be removed if no training reads from there."
    assert new != old and new.parent == old.parent and old.exists(), "the old folder is the user's to remove"
    monkeypatch.setattr(builder, "read_image", None)  # a set of this version is recognised: no image is read
    assert len(folder.annotations().name) == 1 and capsys.readouterr().out == ""


def test_preparing_says_so_once_and_speaks_of_no_download(folder, capsys):
    folder.csv(HEADER, GOOD)
    folder.prepare()
    output = capsys.readouterr().out
    assert output.count("\n") == 1 and output.startswith("Preparing csv_landmarks/mine-") and "ownload" not in output
    folder.prepare()
    assert capsys.readouterr().out == ""
