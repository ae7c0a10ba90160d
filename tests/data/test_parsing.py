"""Reading annotation files: numbers, hidden files, links, pipes, and names that differ in case only."""

import os

import numpy as np
import pytest
from etils import epath
from scipy import io as scipy_io

from data import parsing, w300
from data.aflw import Aflw
from data.aflw2000 import Aflw2000
from data.coco_keypoints import CocoKeypoints
from data.cofw import Cofw
from data.lapa import Lapa
from data.mpii import Mpii
from data.w300 import W300
from data.wflw import LISTS, Wflw


@pytest.fixture
def folder(tmp_path):
    return epath.Path(tmp_path)


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.trial("D")
@pytest.mark.parametrize(
    "text", ["1_0", "0x10", "", "nan", "-inf", "1e39", "1,5", "1.024,5", "1 000", "five", "1.5.2", "--1", "1e", "½"]
)
def test_what_is_no_number_is_none(text):
    assert parsing.all_numbers(["1", text]) is None
    with pytest.raises(ValueError, match="which is not a (finite )?number"):
        parsing.number(text)
    with pytest.raises(ValueError, match=r"a line: value 2 is .*; correct the line"):
        parsing.numbers(["1", text], "a line")


@pytest.mark.parametrize("text", ["1", "-1.5", "+2", " 3 ", "1e2", ".5", "5.", "-0"])
def test_what_is_a_number_is_read(text):
    assert parsing.number(text) == parsing.numbers([text], "a line")[0] == float(text)


PIPES = {  # the file, and what reads it
    "wflw": (Wflw, LISTS["train"]),
    "aflw": (Aflw, "AFLWinfo_release.mat"),
    "cofw": (Cofw, "COFW_train_color.mat"),
    "mpii": (Mpii, "annot/train.json"),
    "coco": (CocoKeypoints, "annotations/person_keypoints_val2017.json"),
    "w300": (W300, "afw/a.pts"),
    "w300 boxes": (W300, "Bounding_Boxes/bounding_boxes_afw.mat"),
    "lapa": (Lapa, "train/landmarks/a.txt"),
    "aflw2000": (Aflw2000, "image1.mat"),
}


@pytest.mark.trial("E")
@pytest.mark.parametrize(("cls", "name"), PIPES.values(), ids=PIPES)
def test_a_pipe_in_place_of_a_file_is_refused_at_once(folder, cls, name):
    touch(folder / "train2017" / "x", folder / "image1.jpg", folder / "train" / "images" / "a.jpg")
    touch(folder / "afw" / "a.jpg", folder / "afw" / "a.pts", folder / "train" / "landmarks" / "a.txt")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(ValueError, match="is a pipe, a socket or a device; want a file") as error:
        for records in cls.read_splits(folder).values():
            list(records)
    assert str(error.value).startswith(str(path))


LINKS = {
    "wflw": (Wflw, LISTS["test"], LISTS["train"]),
    "cofw": (Cofw, "COFW_test_color.mat", "COFW_train_color.mat"),
    "w300": (W300, "ibug", "afw"),
    "lapa": (Lapa, "val", "train"),
    "mpii": (Mpii, "annot/valid.json", "annot/train.json"),
    "coco": (CocoKeypoints, "annotations/person_keypoints_train2017.json", "annotations/person_keypoints_val2017.json"),
}


@pytest.mark.trial("C3")
@pytest.mark.parametrize(("cls", "part", "other"), LINKS.values(), ids=LINKS)
def test_a_link_to_nothing_is_no_absent_part(folder, cls, part, other):
    touch(folder / other, folder / "val2017" / "x")
    (folder / part).parent.mkdir(parents=True, exist_ok=True)
    os.symlink("/nowhere/at all", folder / part)
    with pytest.raises(ValueError, match="is a link to /nowhere/at all, which is not there; mend or remove the link"):
        cls.annotation_files(folder)


@pytest.mark.trial("C3")
@pytest.mark.parametrize("name", ["a.pts", "a.json", "a.mat"])
def test_a_file_that_is_a_link_to_nothing_is_named(folder, name):
    os.symlink("/nowhere/at all", folder / name)
    with pytest.raises(ValueError, match=f"/{name} is a link to /nowhere/at all, which is not there"):
        parsing.read_bytes(folder / name)


@pytest.mark.trial("C14")
@pytest.mark.parametrize("hidden", [("._a.pts", "._a.jpg"), (".DS_Store",), (".a.jpg", "._b.PTS", ".git")], ids=str)
def test_hidden_files_are_passed_over_and_counted(folder, hidden, capsys):
    touch(folder / "a.pts", folder / "a.jpg", folder / "Thumbs.db", folder / "desktop.ini")
    touch(*(folder / name for name in hidden))
    assert parsing.pair_files(folder, folder, ".pts") == [(folder / "a.pts", folder / "a.jpg")]
    assert capsys.readouterr().err == f"{folder}: {len(hidden)} hidden file(s) are passed over.\n"


@pytest.mark.trial("C14")
@pytest.mark.parametrize("image", ["a.JPG", "a.Jpeg", "a.PNG"])
def test_capitals_in_an_extension_do_not_matter(folder, image, capsys):
    touch(folder / "a.PTS", folder / image)
    assert parsing.pair_files(folder, folder, ".pts") == [(folder / "a.PTS", folder / image)]
    assert capsys.readouterr().err == ""


CLASHES = {
    "two annotations": (("a.pts", "a.PTS", "a.jpg"), "both a.PTS and a.pts are there; remove one"),
    "two images": (("a.pts", "a.JPG", "a.jpg"), "both a.JPG and a.jpg are there; remove one"),
    "an annotation in capitals": (("A.pts", "a.jpg"), "a.jpg: there is no .*/a.pts, but A, which differs in case"),
    "an image in capitals": (
        ("a.pts", "b.pts", "B.jpg", "b.jpg"),
        "B.jpg: there is no .*/B.pts, but b, which differs in case; fetch it anew or remove the image",
    ),
    "an image without annotation": (
        ("a.pts", "a.jpg", "b.png"),
        "b.png: there is no .*/b.pts; fetch it anew or remove",
    ),
    "an annotation without image": (("a.pts", "a.jpg", "b.pts"), "b.pts: there is no image b.jpg or .png in"),
    "hidden alone": (("._a.pts", "._a.jpg"), r"holds no file that ends in .pts \(but 0 other and 2 hidden files\)"),
}


@pytest.mark.trial("C12")
@pytest.mark.parametrize(("names", "message"), CLASHES.values(), ids=CLASHES)
def test_names_that_clash_are_named(folder, names, message):
    touch(*(folder / name for name in names))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        parsing.pair_files(folder, folder, ".pts")


@pytest.mark.trial("C3")
@pytest.mark.parametrize("reason", ["Permission denied", "Input/output error", "Stale file handle"])
def test_a_folder_that_cannot_be_read_is_not_taken_for_empty(folder, monkeypatch, reason):
    def refuse(path):
        raise OSError(5, reason, str(path))

    touch(folder / "a.pts")
    monkeypatch.setattr(type(folder), "iterdir", refuse)
    with pytest.raises(ValueError) as error:
        parsing.files_in(folder, (".pts",))
    assert str(error.value) == f"{folder} cannot be read ({reason}); want a folder that may be read"


def boxes(path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = np.empty((1, len(names)), object)
    cells[0] = [{"imgName": name, "bb_detector": [1.0, 2.0, 30.0, 40.0]} for name in names]
    scipy_io.savemat(path, {"bounding_boxes": cells})


@pytest.mark.trial("C12")
@pytest.mark.parametrize("names", [("A.jpg",), ("a.png", "b.jpg"), ("afw/a.jpg",)], ids=str)
def test_boxes_of_other_names_are_not_taken_for_none(folder, names):
    touch(folder / "afw" / "a.jpg", folder / "afw" / "a.pts")
    boxes(folder / "Bounding_Boxes" / "bounding_boxes_afw.mat", *names)
    with pytest.raises(ValueError, match=f"bounding_boxes_afw.mat has boxes of images such as {names[0]}, but .*a.jpg"):
        list(W300.read_splits(folder)["train"])


@pytest.mark.trial("C12")
@pytest.mark.parametrize("names", [("a.jpg", "a.jpg"), ("b.jpg", "a.jpg", "b.jpg")], ids=str)
def test_two_boxes_of_one_image_are_refused(folder, names):
    boxes(folder / "boxes.mat", *names)
    with pytest.raises(ValueError, match=rf"bounding_boxes\{{{len(names)}\}}: there is a box of {names[-1]} already"):
        w300.read_boxes(folder / "boxes.mat")
