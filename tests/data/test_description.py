"""A data set of one's own says its number of landmarks, their mirror order and the unit, or what is missing is said."""

import json

import pytest

from configs import own
from data import inputs
from data.description import of_csv
from data.labels import mirror_of
from h3r_jax.errors import UserError
from h3r_jax.inference import scheme_of

HEADER = "image,x0,y0,x1,y1,x2,y2"


def write(folder, **content):
    (folder / "train.csv").write_text(f"{HEADER}\n0.png,1,2,3,4,5,6\n")
    if content:
        (folder / "landmarks.json").write_text(json.dumps(content))
    config = own.get_config()
    config.data_dir, config.data.folder = str(folder.parent), folder.name
    return config


@pytest.mark.parametrize(
    ("content", "mirror", "unit"),
    [
        ({"mirror": [1, 0, 2]}, (1, 0, 2), "box"),
        ({"mirror": [1, 0, 2], "unit": [0, 2]}, (1, 0, 2), (0, 2)),
        ({"names": ["nose", "left ear", "right ear"]}, (0, 2, 1), "box"),
    ],
)
def test_what_the_folder_says_becomes_the_scheme(tmp_path, content, mirror, unit):
    config = inputs.with_landmarks(write(tmp_path, **content))
    scheme = scheme_of(config)
    assert scheme.num_landmarks == 3 and scheme.mirror == mirror and scheme.normalizer() == unit


def test_what_the_command_says_counts(tmp_path):
    config = write(tmp_path, mirror=[1, 0, 2])
    config.landmarks.normalizer = (1, 2)
    found = inputs.with_landmarks(config).landmarks
    assert (tuple(found.mirror), tuple(found.normalizer)) == ((1, 0, 2), (1, 2))
    assert tuple(config.landmarks.mirror) == ()  # the configuration of the caller stays as it is
    config.landmarks.mirror, config.landmarks.normalizer = (2, 1, 0), ()
    assert tuple(inputs.with_landmarks(config).landmarks.mirror) == (2, 1, 0)
    assert inputs.with_landmarks(inputs.with_landmarks(config)) == inputs.with_landmarks(config)


def test_one_landmark_has_one_mirror_order(tmp_path):
    (tmp_path / "val.csv").write_text("image,x0,y0,box_x0,box_y0,box_x1,box_y1\n")
    assert of_csv(tmp_path)[:3] == (1, (), (0,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, r"3 landmarks, .*--config.landmarks.mirror='\(1, 0, 2\)' if .* '\(0, 1, 2\)' if none does"),
        ({"names": ["a", "b", "c"]}, "3 landmarks, and nothing says how they change places"),
        ({"mirror": [0, 1]}, r"landmarks.json: mirror is \[0, 1\]; want a list of 3 whole numbers"),
        ({"names": ["a", 1, "c"]}, "landmarks.json: names is .*; want a list of 3 texts"),
        ({"unit": [1]}, r"landmarks.json: unit is \[1\]; want a list of 2 whole numbers"),
        ({"flip": []}, "landmarks.json: unknown entry 'flip'; want names, mirror, unit"),
    ],
)
def test_what_is_missing_or_wrong_is_one_sentence(tmp_path, content, message):
    with pytest.raises(UserError, match=message) as caught:
        inputs.with_landmarks(write(tmp_path, **content))
    assert "\n" not in str(caught.value)


def test_a_file_without_landmarks(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds none of train.csv"):
        of_csv(tmp_path)
    (tmp_path / "train.csv").write_text("picture,left\n")
    with pytest.raises(UserError, match="train.csv: the first line must name the columns image, x0"):
        of_csv(tmp_path)
    (tmp_path / "train.csv").write_text("image;x0;y0\n")
    with pytest.raises(UserError, match="it is separated by ';'"):
        of_csv(tmp_path)


@pytest.mark.parametrize(
    ("names", "mirror"),
    [
        (("nose", "left_eye", "right_eye"), (0, 2, 1)),
        (("Right ear", "Left ear"), (1, 0)),
        (("l_hip", "knee", "r_hip"), (2, 1, 0)),
        (("paw_R", "paw_L", "tail"), (1, 0, 2)),
        (("left_eye", "nose"), ()),  # its other side is not there
        (("bright", "blight"), ()),
    ],
)
def test_a_mirror_order_from_names(names, mirror):
    assert mirror_of(names) == mirror
