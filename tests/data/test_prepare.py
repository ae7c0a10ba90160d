"""The command that prepares a data set and says what is in it."""

import re

import numpy as np
import pytest
import scipy.io

from data import prepare
from tests.data.faces import dotted, save
from tests.data.made_up import write_split
from tests.data.test_lapa import face
from tests.pages import ROOT


def run(capsys, *arguments):
    prepare.main(arguments)
    return capsys.readouterr().out


def test_an_incomplete_copy_says_so(tmp_path, capsys, monkeypatch):
    for i in range(2):
        face(tmp_path / "copy", "test", f"{i}", i)
    arguments = ("lapa", f"--data_dir={tmp_path}", "--folder=copy", f"--prepared_dir={tmp_path / 'prepared'}")
    output = run(capsys, *arguments)
    assert "\ntrain 0 of 18176: this copy is not complete\n" in output
    assert "\ntest 2 of 2000: this copy is not complete\n  landmarks outside their image: 0 of 212\n  records without box: 2\n" in output
    assert "lapa/copy-" in output.splitlines()[-1] and " is ready in " in output and "subset" not in output
    monkeypatch.setattr(prepare.lapa.Lapa, "OFFICIAL_COUNTS", {"test": 2})
    assert "test 2 of 2\n" in run(capsys, *arguments)
    monkeypatch.setattr(prepare.lapa.Lapa, "OFFICIAL_COUNTS", {"test": 1})
    assert "test 2, more than the official 1\n" in run(capsys, *arguments)


def test_subsets_boxes_and_landmarks_outside_are_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(prepare.aflw, "TRAIN_COUNT", 0)
    monkeypatch.setattr(prepare.aflw.Aflw, "OFFICIAL_SUBSETS", {"test": {"frontal": 1, "profile": 9}})
    names = np.empty((2, 1), object)
    names[:, 0] = "0/1.png"
    points = np.full((2, 38), 5.0)
    points[0, 0], points[1, 1] = 64, -1
    mask = np.ones((2, 19))
    mask[1, 0] = 0
    path = tmp_path / "aflw" / "AFLWinfo_release.mat"
    save(dotted(0, 1)[0], path.parent / "flickr" / "0" / "1.png")
    scipy.io.savemat(path, {"nameList": names, "bbox": [[1, 9, 1, 9]] * 2, "data": points, "mask_new": mask, "ra": [[1, 2]]})
    output = run(capsys, "aflw", f"--data_dir={tmp_path}", f"--prepared_dir={tmp_path / 'prepared'}")
    assert "train 0 of 20000" in output and "test 2 of 4386" in output
    assert "  landmarks outside their image: 2 of 38\n  records without box: 0\n" in output
    assert "\n  subset frontal 1 of 1\n  subset profile 0 of 9: this copy is not complete\n" in output


def test_csv_needs_the_number_of_landmarks_and_directories_have_defaults(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("H3R_DATA", str(tmp_path))
    monkeypatch.setenv("H3R_PREPARED", str(tmp_path / "prepared"))
    write_split(tmp_path / "csv", "train", np.zeros((2, 8, 8, 3), np.uint8), np.ones((2, 3, 2)))
    output = run(capsys, "csv", "--landmarks=3")
    assert "\ntrain 2\n" in output and f" in {tmp_path / 'prepared'}" in output
    with pytest.raises(SystemExit) as caught:
        prepare.main(["csv"])
    assert caught.value.code == "error: a csv data set does not say how many landmarks it has; give --landmarks=K"


def test_the_documentation_names_every_data_set_with_its_folder():
    rows = (line.split("|") for line in (ROOT / "docs" / "datasets.md").read_text().splitlines())
    names = [[re.findall(r"`(\w+)`", cell) for cell in cells[2:4]] for cells in rows if len(cells) == 10]
    known = {name: folder for row, folders in names for name, folder in zip(row, folders or [None])}
    assert known == {name: prepare.FOLDERS.get(name, name) for name in prepare.DATASETS} | {"phantom": None}  # reads no folder


def test_what_is_missing_ends_with_an_error(tmp_path, capsys):
    arguments = (f"--data_dir={tmp_path / 'raw'}", f"--prepared_dir={tmp_path / 'prepared'}")
    with pytest.raises(SystemExit) as caught:  # a sentence, with which Python exits with status 1
        prepare.main(["wflw", *arguments])
    assert str(caught.value.code).startswith(f"error: {tmp_path / 'raw' / 'wflw'} holds none of WFLW_annotations/")
    for name, folder in (("w300", "300w"), ("coco_keypoints", "coco")):
        with pytest.raises(SystemExit) as caught:
            prepare.main([name, *arguments])
        assert str(caught.value.code).startswith(f"error: {tmp_path / 'raw' / folder} holds n"), "the owners' name"
    with pytest.raises(SystemExit) as caught:
        prepare.main(["wlfw"])
    assert caught.value.code == 2 and "invalid choice: 'wlfw'" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(set(prepare.DATASETS) - {"csv"}))
def test_another_number_of_landmarks_than_the_schemes_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=r"has \d+ landmarks, but the landmark scheme has 5"):
        prepare.prepare(name, data_dir=tmp_path, prepared_dir=tmp_path, folder="", num_landmarks=5)
