"""Bring your own data: what is read, and that every fault is one sentence with file, row and remedy."""

import os
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

import data.prepare
from data import builder
from data.features import decode_image
from data.source import Source
from tests.data.faces import turned

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
    folder.csv(HEADER, *(f"{i % 2}.png,{i},0,9,9" for i in range(600)))  # more than one chunk of annotations
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
        examples = list(source.examples(tf.data.Dataset.range(len(chosen))).as_numpy_iterator())
        for example, row in zip(examples, chosen, strict=True):
            assert example["landmarks"][0, 0] == row
            np.testing.assert_array_equal(decode_image(example["image"]), 10 if rows[row].startswith("0") else 200)
    stored = Source(builder, "train")._records
    assert len(stored[2]) < len(stored[1]) and len(stored[3]) < len(stored[0])
    for part, message in (
        ("train[9:]", "is no split or part of one .*incompatible with 4"),
        ("train[2:2]", "is empty"),
        ("train[a]", "no split or part of one .* want, for instance, train"),
    ):
        with pytest.raises(ValueError, match=message):
            Source(builder, part)


@pytest.mark.parametrize(
    ("encoding", "end"), [("utf-8-sig", "\r\n"), ("utf-8", "\n\n"), ("utf-8", "\r"), ("utf-8-sig", "\r\n \r\n")]
)
def test_byte_order_mark_line_ends_and_blank_lines_do_not_matter(folder, encoding, end):
    folder.csv(HEADER, GOOD, "1.png,5,6,7,8", encoding=encoding, end=end)
    np.testing.assert_array_equal(folder.annotations().landmarks[:, 0], [[1, 2.5], [5, 6]])


def test_finite_landmarks_outside_the_image_are_legal_and_counted(folder):
    # The image covers x from -0.5 to 39.5 and y from -0.5 to 23.5.
    folder.csv(HEADER + ",v0,v1", "0.png,-0.5,23.5,-0.6,3,1,1", "1.png,39.6,0,3,500,1,0", "0.png,1,1,,,1,0")
    assert folder.annotations().outside_image() == 2


ROWS = {
    "too few columns": ("1.png,5,6,7", "4 columns, but the header names 5; correct or remove"),
    "too many columns": ("1.png,5,6,7,8,9", "6 columns, but the header names 5; correct or remove"),
    "commas only": (",,,,", "column x0 is '', which is not a number"),
    "word": ("1.png,5,six,7,8", "column y0 is 'six', which is not a number; correct it"),
    "empty": ("1.png,5,,7,8", "column y0 is '', which is not a number; correct it, or give the landmark weight 0"),
    "grouped digits": ("1.png,1_5,2,7,8", "column x0 is '1_5', which is not a number"),
    "nan": ("1.png,5,6,nan,8", "column x1 is 'nan', which is not a finite number"),
    "inf": ("1.png,5,6,7,-inf", "column y1 is '-inf', which is not a finite number"),
    "too large to store": ("1.png,5,6,7,1e39", "column y1 is '1e39', which is not a finite number"),
    "no image": (",5,6,7,8", "the column image is ''; name a file or remove the row"),
    "missing image": ("2.png,5,6,7,8", "there is no image "),
    "image is a folder": (".,5,6,7,8", "there is no image "),
    "broken image": (
        "broken.png,5,6,7,8",
        "broken.png is not an image of a known format; replace it or remove the row",
    ),
    "empty image": ("empty.png,5,6,7,8", "empty.png is not an image of a known format; replace it or remove the row"),
    "truncated image": ("cut.jpg,5,6,7,8", "cut.jpg is not a readable image (image file is truncated"),
    "turned image": (
        "turned.jpg,5,6,7,8",
        "turned.jpg carries EXIF orientation 6, so its pixels and its landmarks may not agree",
    ),
    "quote": ('"1.png,5,6,7,8', "correct the quotes"),
}


@pytest.mark.parametrize(("row", "expected"), ROWS.values(), ids=ROWS)
def test_bad_rows_are_named_with_a_remedy_and_nothing_is_left_behind(folder, row, expected):
    (folder.path / "train" / "broken.png").write_bytes(b"\x89PNG and then nothing of the kind")
    (folder.path / "train" / "empty.png").write_bytes(b"")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    image.save(folder.path / "train" / "whole.jpg")
    image.save(folder.path / "train" / "turned.jpg", exif=turned())
    (folder.path / "train" / "cut.jpg").write_bytes((folder.path / "train" / "whole.jpg").read_bytes()[:-300])
    folder.csv(HEADER, GOOD, row)
    message = folder.error()
    assert re.search(f"{folder.path / 'train.csv'} line 3(: | [(])", message)
    assert expected in message
    # What could be read so far must not be taken for the whole the next time.
    prepared = folder.root / "prepared"
    assert not [path for path in prepared.rglob("*") if path.is_file()]
    assert folder.error() == message
    folder.csv(HEADER, GOOD, "1.png,5,6,7,8")
    assert len(folder.annotations().landmarks) == 2


HEADERS = {
    "missing": ("image,x0,y0,x1", "missing: 'y1'"),
    "unknown": (HEADER + ",colour", "unknown: 'colour'"),
    "another number of landmarks": (
        HEADER + ",x2,y2",
        "unknown: 'x2', 'y2' (is config.landmarks right about 2 landmarks?)",
    ),
    "repeated": (HEADER + ",x1", "repeated: 'x1'"),
    "part of a box": (HEADER + ",box_x0,box_y0", "missing: 'box_x1', 'box_y1'"),
    "part of the weight": (HEADER + ",v1", "missing: 'v0'"),
    "none": ("0.png,1,2,3,4", "missing: 'image'"),
    "empty file": ("", "missing: 'image'"),
}


@pytest.mark.parametrize(("header", "expected"), HEADERS.values(), ids=HEADERS)
def test_bad_headers_say_what_is_wrong_and_what_is_wanted(folder, header, expected):
    message = folder.csv(header, GOOD).error()
    assert message.startswith(f"{folder.path / 'train.csv'}: the first line must name the columns image, x0, y0, ")
    assert expected in message


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        (HEADER + ",v0,v1", GOOD + ",1,-1", "column v1 is negative; want 0 or a positive weight"),
        (HEADER + ",v0,v1", "0.png,1,,3,4,1,1", "column y0 is ''"),  # empty, but labelled
        (
            HEADER + ",box_x0,box_y0,box_x1,box_y1",
            GOOD + ",5,5,4,9",
            "the box [5.0, 5.0, 4.0, 9.0] has no size; want x0 <= x1",
        ),
        (
            HEADER + ",box_x0,box_y0,box_x1,box_y1",
            GOOD + ",5,5,5,5",
            "the box [5.0, 5.0, 5.0, 5.0] has no size; want x0 <= x1",
        ),
        (HEADER + ",box_x0,box_y0,box_x1,box_y1", GOOD + ",5,5,,9", "column box_x1 is '', which is not a number"),
    ],
    ids=["negative weight", "labelled without coordinates", "negative box", "point", "no box"],
)
def test_bad_visibility_and_boxes_are_named(folder, header, row, expected):
    message = folder.csv(header, row).error()
    assert message.startswith(f"{folder.path / 'train.csv'} line 2: ") and expected in message


def test_an_empty_split_and_an_absent_one_are_told_apart(folder):
    message = folder.csv(HEADER).error()
    assert message == f"{folder.path / 'train.csv'}: no rows below the header; a split needs at least one image"
    folder.csv(HEADER, GOOD)
    with pytest.raises(ValueError, match="has no split 'val'; it has train"):
        folder.annotations("val")


def test_no_csv_and_no_folder_ask_for_the_data_directory(folder):
    with pytest.raises(FileNotFoundError, match="holds none of train.csv, val.csv, test.csv; is config.data_dir right"):
        folder.prepare()
    with pytest.raises(FileNotFoundError, match="nowhere holds none"):
        data.prepare.prepare("csv", data_dir=folder.root, prepared_dir=folder.root, folder="nowhere", num_landmarks=2)
    with pytest.raises(ValueError, match="unknown data set 'cvs'; known are phantom, csv"):
        data.prepare.prepare("cvs", data_dir=folder.root, prepared_dir=folder.root, folder="", num_landmarks=2)


def test_a_file_that_is_not_text_is_named(folder):
    (folder.path / "train.csv").write_bytes(f"{HEADER}\nM\xfcller.png,1,2,3,4\n".encode("latin-1"))
    assert "train.csv: byte 19 is not UTF-8 text; save the file as UTF-8" in folder.error()


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
