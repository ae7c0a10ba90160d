"""Bring your own data: every fault is one sentence with file, row and remedy, and is said in seconds."""

import os
import re
import time
import unittest.mock

import numpy as np
import pytest
from etils import epath
from PIL import Image

import data.prepare
from data import builder, csv_landmarks
from data.source import Source
from h3r_jax.inference import scheme_of
from tests.data.csv_folder import GOOD, HEADER, Folder
from tests.data.faces import turned


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


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
    "decimal comma": (
        '1.png,"1,5",6,7,8',
        "column x0 is '1,5', which is not a number (want a point before the decimals",
    ),
    "thousands": ('1.png,5,6,"1,024.5",8', "column x1 is '1,024.5', which is not a number (want a point before"),
    "hexadecimal": ("1.png,0x10,6,7,8", "column x0 is '0x10', which is not a number"),
    "unit": ("1.png,5px,6,7,8", "column x0 is '5px', which is not a number"),
    "beyond any image": ("1.png,5,6,7,1e30", "a landmark lies at 1e+30, where no image reaches; want pixels"),
    "no image": (",5,6,7,8", "the column image is ''; name a file or remove the row"),
    "a web address": (
        "https://a.org/1.png,5,6,7,8",
        "the column image is 'https://a.org/1.png'; name a file or remove",
    ),
    "a cloud": ("gs://bucket/1.png,5,6,7,8", "the column image is 'gs://bucket/1.png'; name a file or remove the row"),
    "missing image": ("2.png,5,6,7,8", "there is no image "),
    "another case": ("1.PNG,5,6,7,8", "1.PNG, but 1.png, which differs in case; correct the path or remove the row"),
    "a Mac's companion": ("._1.png,5,6,7,8", "there is no image "),
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


@pytest.mark.trial("D")
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
    "capitals": ("Image,X0,Y0,x1,y1", "unknown: 'Image', 'X0', 'Y0' (write the names in small letters)"),
    "semicolons": (HEADER.replace(",", ";"), "it is separated by ';'; want ',' in all lines"),
    "tabulators": (HEADER.replace(",", "\t"), "it is separated by '\\t'; want ','"),
    "spaces": (HEADER.replace(",", " "), "it is separated by ' '; want ','"),
    "colons": (HEADER.replace(",", ":"), "it is separated by ':'; want ','"),
    "none": ("0.png,1,2,3,4", "missing: 'image'"),
    "empty file": ("", "missing: 'image'"),
}


@pytest.mark.trial("D")
@pytest.mark.parametrize(("header", "expected"), HEADERS.values(), ids=HEADERS)
def test_bad_headers_say_what_is_wrong_and_what_is_wanted(folder, header, expected):
    message = folder.csv(header, GOOD).error()
    assert message.startswith(f"{folder.path / 'train.csv'}: the first line must name the columns image, x0, y0, ")
    assert expected in message


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        (HEADER + ",v0,v1", GOOD + ",1,-1", "column v1 is negative; want 0 or a positive weight"),
        (HEADER + ",v0,v1", GOOD + ",1,1e-60", "column v1 is 1e-60; want 0, or a weight from 1e-30 to 1e+30"),
        (HEADER + ",v0,v1", GOOD + ",1e38,1", "column v0 is 1e+38; want 0, or a weight from 1e-30 to 1e+30"),
        (HEADER + ",v0,v1", "0.png,1,,3,4,1,1", "column y0 is ''"),  # empty, but labelled
        (
            HEADER + ",box_x0,box_y0,box_x1,box_y1",
            GOOD + ",5,5,4,9",
            "the box [5.0, 5.0, 4.0, 9.0] has no size; want x0 < x1",
        ),
        (
            HEADER + ",box_x0,box_y0,box_x1,box_y1",
            GOOD + ",5,5,5,5",
            "the box [5.0, 5.0, 5.0, 5.0] has no size; want x0 < x1",
        ),
        (HEADER + ",box_x0,box_y0,box_x1,box_y1", GOOD + ",5,5,,9", "column box_x1 is '', which is not a number"),
    ],
    ids=[
        "negative weight",
        "zero in float32",
        "too large",
        "labelled without coordinates",
        "negative box",
        "point",
        "no box",
    ],
)
def test_bad_visibility_and_boxes_are_named(folder, header, row, expected):
    message = folder.csv(header, row).error()
    assert message.startswith(f"{folder.path / 'train.csv'} line 2: ") and expected in message


@pytest.mark.trial("C14")
@pytest.mark.parametrize("box", ["5,5,5,5", "5,5,5,9", "5,9,9,9", "9,5,5,9", "5,5,9,4.5"])
def test_a_box_of_no_size_is_refused(folder, box):
    message = folder.csv(HEADER + ",box_x0,box_y0,box_x1,box_y1", GOOD + ",1,1,9,9", f"1.png,5,6,7,8,{box}").error()
    assert message.startswith(f"{folder.path / 'train.csv'} line 3: ")
    assert "has no size; want x0 < x1 and y0 < y1" in message


@pytest.mark.trial("C12")
def test_each_split_reads_its_own_folder(folder):
    """Names begin anew in each split; one that is missing in its folder is not taken from elsewhere."""
    folder.csv(HEADER, GOOD)
    folder.csv(HEADER, "0.png,2,2,9,9", "1.png,2,2,9,9", split="val")
    (folder.path / "val").mkdir()
    folder.image("../val/0.png", value=200)
    folder.image("../1.png", value=100)
    assert f"val.csv line 3 (1.png): there is no image {folder.path / 'val' / '1.png'}; correct" in folder.error()
    folder.image("../val/1.png", value=200)
    np.testing.assert_array_equal(Source(folder.prepare(), "val").image(0).pixels, 200)


@pytest.mark.trial("C13")
@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (("0.png,0.2,0.3,0.9,0.8", "1.png,0.1,0.3,0.7,0.9"), "x and y of the landmarks lie between 0.1 and 0.9"),
        (("0.png,-0.2,0.3,0.9,-0.8",), "x and y of the landmarks lie between -0.8 and 0.9, within one pixel"),
        (("0.png,0.2,30,0.9,80", "1.png,0.1,30,0.7,90"), "the x of the landmarks lie between 0.1 and 0.9"),
    ],
)
def test_shares_are_told_from_pixels_before_an_image_is_read(folder, monkeypatch, rows, found):
    monkeypatch.setattr(builder, "read_image", None)
    message = folder.csv(HEADER, *rows).error()
    assert message.startswith(f"{folder.path / 'train.csv'} line 2 and the others: the {found.removeprefix('the ')}")


@pytest.mark.trial("D")
@pytest.mark.parametrize("columns", ["", ",v0"])
def test_one_landmark_needs_a_box(folder, columns):
    message = folder.csv(f"image,x0,y0{columns}", "0.png,3,4" + columns.replace("v0", "1")).error(num_landmarks=1)
    assert "train.csv: one landmark has no box around it" in message
    assert message.endswith("add the columns box_x0, box_y0, box_x1, box_y1")
    folder.csv(f"image,x0,y0{columns},box_x0,box_y0,box_x1,box_y1", f"0.png,3,4{columns.replace('v0', '1')},1,1,9,9")
    annotations = Source(folder.prepare(num_landmarks=1), "train").annotations()
    np.testing.assert_array_equal(annotations.boxes("dataset"), [[1, 1, 9, 9]])
    with pytest.raises(ValueError, match='its landmarks box .* has no size; set config.data.box="dataset"'):
        annotations.boxes("landmarks")
    scheme = scheme_of({"landmarks": {"scheme": "", "mirror": (0,), "normalizer": (), "connections": (), "sigmas": ()}})
    assert scheme.normalizing_distance(annotations.landmarks, box=annotations.box) == pytest.approx(8 * 2**0.5)


@pytest.mark.trial("D")
@pytest.mark.parametrize("place", ["folder", "forbidden", "link"])
def test_a_csv_that_cannot_be_read_is_named(folder, monkeypatch, place):
    path = folder.path / "train.csv"
    if place == "folder":
        path.mkdir()
    elif place == "link":
        path.symlink_to(folder.path / "nowhere.csv")
    else:
        folder.csv(HEADER, GOOD)  # root reads everything, so the refusal is made up
        refuse = unittest.mock.Mock(side_effect=PermissionError(13, "Permission denied", str(path)))
        monkeypatch.setattr(type(epath.Path(path)), "read_bytes", refuse)
    reasons = {"folder": "cannot be read (Is a directory)", "forbidden": "cannot be read (Permission denied)"}
    reason = reasons.get(place, "is a link to ")
    assert folder.error().startswith(f"{path} {reason}")


@pytest.mark.trial("E")
@pytest.mark.parametrize("num_landmarks", [50_000, 68], ids=["right", "another number of landmarks"])
def test_a_hundred_thousand_columns_take_seconds(folder, num_landmarks):
    numbers = ",".join(str(i % 97) for i in range(100_000))
    folder.csv("image," + ",".join(f"x{i},y{i}" for i in range(50_000)), *(f"{i}.png,{numbers}" for i in range(3)))
    start, path = time.process_time(), epath.Path(folder.path / "train.csv")
    if num_landmarks == 50_000:
        assert csv_landmarks.read_rows(path, num_landmarks)[2].landmarks.shape == (50_000, 2)
    else:
        with pytest.raises(ValueError, match="unknown: 'x68', 'y68', 'x69', .*is config.landmarks right"):
            csv_landmarks.read_rows(path, num_landmarks)
    assert time.process_time() - start < 5


@pytest.mark.trial("E")
@pytest.mark.parametrize("count", [20_000])
def test_many_rows_take_seconds(folder, count):
    folder.csv(HEADER, *(f"{i}.png,{i},2.5,30,20" for i in range(count)))
    start = time.process_time()
    assert len(csv_landmarks.read_rows(epath.Path(folder.path / "train.csv"), 2)) == count
    assert time.process_time() - start < 5


@pytest.mark.trial("E")
@pytest.mark.parametrize("place", ["train.csv", "train/1.png", "a link"])
def test_a_pipe_is_refused_at_once(folder, place):
    folder.csv(HEADER, GOOD, "1.png,5,6,7,8")
    path = folder.path / ("train.csv" if place == "a link" else place)
    path.unlink()
    if place == "a link":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)
    assert f"{path} is a pipe, a socket or a device; want a file" in folder.error()


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
