"""Files of COCO's form with any class become records, a scheme and a score; what is wrong is named."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import data.prepare
from configs import own
from data import coco_file, inputs
from data.description import SIGMA, of_coco
from data.prepare import left_out
from data.source import Source
from h3r_jax.errors import UserError
from h3r_jax.evaluation.protocols import Protocol
from h3r_jax.inference import make_network, scheme_of, settings_of
from tests.data.made_up import texture

NAMES = ["left_ear", "right_ear", "nose", "tail"]
SIZE = (60, 80)


def an_object(number, image, points, **others):
    keypoints = [value for x, y in points for value in (x, y, 2)]
    return {"id": number, "image_id": image, "category_id": 3, "keypoints": keypoints, **others}


POINTS = [(20, 10), (50, 12), (35, 30), (36, 50)]
CATEGORY = {"id": 3, "name": "cat", "keypoints": NAMES, "skeleton": [[1, 3], [2, 3], [3, 4]]}


class Folder:
    """A data set `coco_file` in a temporary directory: four images of a split, an object in each."""

    def __init__(self, root, place="images"):
        self.root, self.path = root, root / "cats"
        (self.path / place).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(texture(number, *SIZE)).save(self.path / place / f"{number}.jpg")
        self.content = {
            "images": [{"id": i, "file_name": f"{i}.jpg", "width": 80, "height": 60} for i in range(4)],
            "annotations": [
                an_object(10 + i, i, POINTS, bbox=[15, 5, 45, 50], area=900.0, iscrowd=0) for i in range(4)
            ],
            "categories": [{"id": 1, "name": "dog"}, CATEGORY],
        }

    def write(self, name="train.json", content=None):
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content or self.content))

    def builder(self, num_landmarks=4):
        arguments = {"data_dir": self.root, "prepared_dir": self.root / "prepared", "folder": "cats"}
        return data.prepare.prepare("coco_file", num_landmarks=num_landmarks, **arguments)

    def annotations(self, split="train"):
        return Source(self.builder(), split).annotations()

    def error(self):
        self.write()
        with pytest.raises((UserError, FileNotFoundError)) as caught:
            self.builder()
        message = str(caught.value)
        assert "\n" not in message and str(self.path) in message
        return message


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.mark.parametrize("place", ["images", "train", "."])
def test_objects_of_any_class(tmp_path, place):
    folder = Folder(tmp_path, place)
    folder.content["annotations"][1]["keypoints"][11] = 0  # the tail is not labelled
    folder.write()
    annotations = folder.annotations()
    np.testing.assert_array_equal(annotations.landmarks[0], POINTS)
    np.testing.assert_array_equal(annotations.weight[1], [1, 1, 1, 0])
    np.testing.assert_array_equal(annotations.box[0], [15, 5, 59, 54])
    np.testing.assert_array_equal(annotations.object_size, 30)
    np.testing.assert_array_equal(annotations.image_id, range(4))


@pytest.mark.parametrize("path", ["../../label-studio/media/upload/1/{}.jpg", "images\\{}.jpg"])
def test_paths_of_another_machine_count_by_their_last_part(folder, path):
    for number, image in enumerate(folder.content["images"]):
        image["file_name"] = path.format(number)
    folder.write()
    assert [name.split("(")[-1] for name in map(str, folder.annotations().name)] == [f"{i}.jpg)" for i in range(4)]
    folder.content["images"][0]["file_name"] = path.format("b/1")  # two images would be one
    assert "correct the path" in folder.error()


def test_what_coco_leaves_out_is_left_out_and_counted(folder):
    folder.content["annotations"] += [
        an_object(20, 0, POINTS, iscrowd=1),
        an_object(21, 0, POINTS) | {"keypoints": [0] * 12},
        {"id": 22, "image_id": 0, "category_id": 1},
    ]
    folder.write()
    builder = folder.builder()
    assert len(Source(builder, "train")) == 4
    said = left_out(builder, "train")
    assert all(f"1 {each}" in said for each in ("of another category", "a crowd", "without a labelled landmark"))


def test_tools_that_write_no_box_and_no_area(folder):
    for annotation in folder.content["annotations"]:
        for key in ("bbox", "area", "iscrowd"):
            del annotation[key]
    folder.content["annotations"][0]["bbox"] = [1, 2, 9, 4]
    folder.write()
    annotations = folder.annotations()
    assert annotations.object_size[0] == 6 and np.isnan(annotations.object_size[1:]).all()
    assert np.isnan(annotations.box[1:]).all() and np.isfinite(annotations.boxes("landmarks")).all()


def test_several_files_and_classes_with_the_same_landmarks(folder):
    lion = CATEGORY | {"id": 4, "name": "lion"}
    folder.content["categories"].append(lion)
    folder.content["annotations"][0]["category_id"] = 4
    folder.write("val.json")
    folder.write("train/a.json")
    folder.write("train/b.json")
    assert len(folder.annotations("val").name) == 4
    annotations = folder.annotations()
    assert len(annotations.name) == 8 and len(set(annotations.image_id.tolist())) == 8


def test_every_file_has_the_same_landmarks_in_the_same_order(folder):
    folder.write()
    folder.content["categories"][1] = CATEGORY | {"keypoints": NAMES[::-1]}
    folder.write("val.json")
    with pytest.raises(
        UserError, match="val.json: its keypoints are tail, nose, .* those of the first file are left_ear"
    ):
        folder.builder()


def test_the_file_says_the_scheme(folder):
    folder.content["categories"][1] = CATEGORY | {"sigmas": [0.03, 0.03, 0.02, 0.1]}
    folder.write()
    config = own.get_config()
    config.data_dir, config.data.name, config.data.folder = str(folder.root), "coco_file", "cats"
    scheme = scheme_of(inputs.with_landmarks(config))
    assert scheme.mirror == (1, 0, 2, 3) and scheme.connections == ((0, 2), (1, 2), (2, 3))
    assert scheme.sigmas == (0.03, 0.03, 0.02, 0.1)
    folder.content["categories"][1] = CATEGORY
    folder.write()
    assert of_coco(folder.path).sigmas == (SIGMA,) * 4


def test_true_landmarks_score_the_best_average_precision(folder):
    """Also without the fields that pycocotools wants."""
    for annotation in folder.content["annotations"][:2]:
        del annotation["iscrowd"], annotation["area"], annotation["bbox"]
    folder.write("val.json")
    config = own.get_config()
    config.data_dir, config.data.name, config.data.folder = str(folder.root), "coco_file", "cats"
    config.prepared_dir, config.eval.metric, config.eval.thresholds = str(folder.root / "prepared"), "coco", ()
    config = inputs.with_landmarks(config)
    network = make_network(**settings_of(config))
    split = inputs.test_input(config, network)
    protocol = Protocol.from_config(config, network.scheme)
    protocol.check(split)
    truth = split.annotations.landmarks
    assert protocol.score(truth, np.ones(truth.shape[:2]), split).metrics["ap"] == pytest.approx(100)
    worse = protocol.score(truth + 3.0, np.ones(truth.shape[:2]), split).metrics["ap"]
    assert worse < 90


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(categories=[{"id": 3}]), "none of its categories has keypoints"),
        (
            lambda content: content["categories"].append(CATEGORY | {"id": 9, "keypoints": ["a"]}),
            "its categories have different keypoints",
        ),
        (lambda content: content["categories"].append(CATEGORY | {"skeleton": [[0, 1]]}), "its skeleton or its sigmas"),
        (lambda content: content["categories"].append(CATEGORY | {"sigmas": [1]}), "its skeleton or its sigmas"),
        (
            lambda content: content["annotations"][2].update(keypoints=[1, 2]),
            "annotation 12: keypoints are not 4 times",
        ),
        (lambda content: content["annotations"][2].update(image_id=77), "annotation 12: there is no image 77"),
        (
            lambda content: content["images"][3].update(file_name="none.jpg"),
            "annotation 13 .*: there is no image .*none.jpg",
        ),
        (lambda content: content.update(annotations=[]), "no object is left: there are no annotations"),
    ],
)
def test_faults_are_named(folder, change, message):
    change(folder.content)
    assert re.search(message, folder.error())


def test_another_number_of_landmarks_and_no_file(folder):
    with pytest.raises(FileNotFoundError, match="holds none of train.json"):
        folder.builder()
    folder.write()
    with pytest.raises(UserError, match="has 4 keypoints, but the landmark scheme has 5"):
        folder.builder(5)


def test_a_class_is_read_without_the_objects(folder):
    """At a start of a training, from the entry "categories" alone, wherever it stands; not from one of an object."""
    folder.write()
    path, expected = coco_file.first_class(folder.path)
    assert expected.names == tuple(NAMES)
    for content in (folder.content, dict(reversed(folder.content.items()))):
        path.write_text(json.dumps(content).replace('"annotations": [', '"annotations": [nonsense', 1))
        assert coco_file.first_class(folder.path) == (path, expected)
    folder.content["images"][0]["categories"] = [{"id": 5, "keypoints": ["another"]}]
    folder.write()
    assert coco_file.first_class(folder.path) == (path, expected)
