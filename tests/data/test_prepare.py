"""The command that prepares a data set and says what is in it."""

import re

import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from PIL import Image

from configs import variants
from data import aflw, lapa, overlays, prepare
from data.builder import LandmarkBuilder
from data.from_tfds import TfdsFaces
from h3r_jax import visualize
from h3r_jax.landmarks import get_scheme
from tests.data.bodies import CocoFolder
from tests.data.faces import dotted, save
from tests.data.made_up import write_split
from tests.data.test_lapa import face
from tests.pages import ROOT
from tests.test_visualize import colored


def run(capsys, *arguments):
    prepare.main(arguments)
    return capsys.readouterr().out


def test_an_incomplete_copy_says_so(tmp_path, capsys, monkeypatch):
    for i in range(2):
        face(tmp_path / "copy", "test", f"{i}", i)
    arguments = ("lapa", f"--data_dir={tmp_path}", "--folder=copy", f"--prepared_dir={tmp_path / 'prepared'}")
    output = run(capsys, *arguments)
    assert "\ntrain 0 of 18176: this copy is not complete\n" in output
    assert (
        "\ntest 2 of 2000: this copy is not complete\n  landmarks outside their image: 0 of 212\n"
        "  records without box: 2\n" in output
    )
    assert "lapa/copy-" in output.splitlines()[-1] and " is ready in " in output and "subset" not in output
    monkeypatch.setattr(lapa.Lapa, "OFFICIAL_COUNTS", {"test": 2})
    assert "test 2 of 2\n" in run(capsys, *arguments)
    monkeypatch.setattr(lapa.Lapa, "OFFICIAL_COUNTS", {"test": 1})
    assert "test 2, more than the official 1\n" in run(capsys, *arguments)


def test_subsets_boxes_and_landmarks_outside_are_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(aflw, "TRAIN_COUNT", 0)
    monkeypatch.setattr(aflw.Aflw, "OFFICIAL_SUBSETS", {"test": {"frontal": 1, "profile": 9}})
    names = np.empty((2, 1), object)
    names[:, 0] = "0/1.png"
    points = np.full((2, 38), 5.0)
    points[0, 0], points[1, 1] = 64, -1
    mask = np.ones((2, 19))
    mask[1, 0] = 0
    path = tmp_path / "aflw" / "AFLWinfo_release.mat"
    save(dotted(0, 1)[0], path.parent / "flickr" / "0" / "1.png")
    scipy.io.savemat(
        path, {"nameList": names, "bbox": [[1, 9, 1, 9]] * 2, "data": points, "mask_new": mask, "ra": [[1, 2]]}
    )
    output = run(capsys, "aflw", f"--data_dir={tmp_path}", f"--prepared_dir={tmp_path / 'prepared'}")
    assert "train 0 of 20000" in output and "test 2 of 4386" in output
    assert "  landmarks outside their image: 2 of 38\n  records without box: 0\n" in output
    assert "\n  subset frontal 1 of 1\n  subset profile 0 of 9: this copy is not complete\n" in output


def test_overlays_show_the_first_images_with_what_belongs_to_them(tmp_path, capsys):
    folder = CocoFolder(tmp_path / "coco", images=True)
    arguments = (f"--data_dir={tmp_path}", f"--prepared_dir={tmp_path / 'prepared'}", f"--overlays={tmp_path / 'seen'}")
    output = run(capsys, "coco_keypoints", *arguments)
    sheets = [tmp_path / "seen" / f"coco_keypoints-{split}.png" for split in ("train", "val", "val_detections")]
    assert [line for line in output.splitlines() if line.startswith("Wrote ")] == [f"Wrote {path}" for path in sheets]
    for path in sheets:
        with Image.open(path) as image:
            drawn = np.asarray(image.convert("RGB"))
        assert len(colored(drawn, visualize.TRUE)[0]) > 500, "boxes"
        joints = sum(len(colored(drawn, to_hex(color))[0]) for color in visualize.part_colors(get_scheme("coco17"), 17))
        assert (joints > 500) == (path != sheets[2]), "joints, where they are known"
    # The joints of the first are on its dots, as drawn: white shows around every one of them.
    builder = prepare.prepare(
        "coco_keypoints", data_dir=tmp_path, prepared_dir=tmp_path / "prepared", folder="", num_landmarks=None
    )
    axes = overlays.sheet(builder, "val").axes[0]
    shown = np.asarray(axes.images[0].get_array())
    labelled = next(drawn for drawn in axes.collections if isinstance(drawn, PathCollection))
    x, y = np.asarray(labelled.get_offsets()).round().astype(int).T
    assert len(x) == 17 and shown[y, x].min() > 200
    assert shown.shape == (360, 300, 3), "what is around box and joints, which is all of it"
    (box,) = axes.patches
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((30.5, 40.5), 239, 299)
    assert axes.get_title() == "..." + f"{folder.path('val')} annotation 5010"[-48:]


def test_surroundings_are_a_part_of_the_image():
    image = np.arange(100 * 80 * 3).reshape(100, 80, 3)
    nowhere = np.full(4, np.nan)
    part, origin = overlays.surroundings(image, np.array([[40.0, 50], [np.nan, np.nan], [44.0, 58]]), nowhere)
    assert origin.tolist() == [36, 46] and part.shape == (17, 13, 3)  # 4 more on each side
    np.testing.assert_array_equal(part, image[46:63, 36:49])
    part, origin = overlays.surroundings(
        image, np.array([[40.0, 50]]), np.array([-30.0, 90, 10, 130])
    )  # beyond two borders
    assert origin.tolist() == [0, 10] and part.shape == (90, 80, 3)
    part, origin = overlays.surroundings(image, np.full((2, 2), np.nan), nowhere)
    assert part is image and origin.tolist() == [0, 0]


BUILDERS = [*LandmarkBuilder.__subclasses__(), *TfdsFaces.__subclasses__()]


@pytest.mark.parametrize("cls", BUILDERS, ids=lambda cls: cls.__name__)
def test_builders_and_recipes_agree_about_the_scheme(cls):
    if cls.SCHEME:
        assert get_scheme(cls.SCHEME).num_landmarks == cls.NUM_LANDMARKS
    for config in variants.all_recipes().values():
        if cls.name in (config.data.name, config.data.test_name):
            assert config.landmarks.scheme == cls.SCHEME


@pytest.mark.parametrize("cls", BUILDERS, ids=lambda cls: cls.__name__)
def test_no_builder_is_in_the_global_list_of_tfds(cls):
    try:
        known = tfds.builder_cls(cls.name)  # TFDS has data sets of its own by some of these names
    except tfds.core.registered.DatasetNotFoundError:
        return
    assert known is not cls


def test_csv_needs_the_number_of_landmarks_and_directories_have_defaults(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("H3R_DATA", str(tmp_path / "raw"))
    write_split(tmp_path / "raw" / "csv", "train", np.zeros((2, 8, 8, 3), np.uint8), np.ones((2, 3, 2)))
    monkeypatch.setenv("H3R_PREPARED", "")
    output = run(capsys, "csv", "--landmarks=3")
    assert "\ntrain 2\n" in output and f" in {tmp_path / 'raw' / 'prepared'}" in output
    write_split(tmp_path / "csv", "train", np.zeros((2, 8, 8, 3), np.uint8), np.ones((2, 3, 2)))
    output = run(capsys, "csv", "--landmarks=3", f"--data_dir={tmp_path}")
    assert f" in {tmp_path / 'prepared'}" in output
    monkeypatch.setenv("H3R_PREPARED", str(tmp_path / "elsewhere"))
    assert f" in {tmp_path / 'elsewhere'}" in run(capsys, "csv", "--landmarks=3")
    arguments = {"data_dir": tmp_path, "folder": "csv", "num_landmarks": 3}
    paths = [prepare.prepare("csv", prepared_dir=empty, **arguments).data_path for empty in ("", None)]
    assert paths[0] == paths[1] and paths[0].is_relative_to(tmp_path / "prepared")
    assert not (tmp_path / "home").exists()
    with pytest.raises(SystemExit) as caught:
        prepare.main(["csv"])
    assert caught.value.code == "error: a csv data set does not say how many landmarks it has; give --landmarks=K"


def test_the_documentation_names_every_data_set_with_its_folder():
    rows = (line.split("|") for line in (ROOT / "docs" / "datasets.md").read_text().splitlines())
    names = [[re.findall(r"`(\w+)`", cell) for cell in cells[2:4]] for cells in rows if len(cells) == 10]
    known = {name: folder for row, folders in names for name, folder in zip(row, folders or [None])}
    assert known == {name: prepare.FOLDERS.get(name, name) for name in prepare.DATASETS} | {
        "phantom": None
    }  # reads no folder


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


@pytest.mark.parametrize("name", sorted(set(prepare.DATASETS) - {"csv", "coco_file"}))
def test_another_number_of_landmarks_than_the_schemes_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=r"has \d+ landmarks, but the landmark scheme has 5"):
        prepare.prepare(name, data_dir=tmp_path, prepared_dir=tmp_path, folder="", num_landmarks=5)
