"""Files in COCO's form that are not COCO's own: ids, names, folders, categories and fields as others write them."""

import json

import numpy as np
import pytest
from PIL import Image

from data.coco_keypoints import CocoKeypoints
from data.prepare import left_out, prepare
from data.source import Source
from h3r_jax.metrics import average_precision, person_results
from tests.data.bodies import CocoFolder
from tests.data.faces import stored_images

SIGMAS = np.linspace(0.02, 0.1, 17)


@pytest.fixture
def folder(tmp_path):
    return CocoFolder(tmp_path / "coco")


def rename(folder, split, old, new, file=None):
    """Calls an image `new` in the annotation file, and its file `file` in the folder of the split."""
    for entry in folder.contents[split]["images"]:
        if entry["file_name"] == old:
            entry["file_name"] = new
    target = folder.folder / f"{split}2017" / (file or new)
    target.parent.mkdir(parents=True, exist_ok=True)
    (folder.folder / f"{split}2017" / old).rename(target)


def images_of(folder, split):
    folder.write()
    return [record.image for record in CocoKeypoints.read_splits(folder.folder)[split]]


NAMES = {
    "begun anew in each split": ("frame_001.jpg", None),
    "with a folder in it": ("clip 3/frame_001.jpg", None),
    "with the folder of the split": ("val2017/frame_001.jpg", "frame_001.jpg"),
    "with spaces round it": (" frame_001.jpg ", "frame_001.jpg"),
}


@pytest.mark.trial("C12")
@pytest.mark.parametrize(("name", "file"), NAMES.values(), ids=NAMES)
def test_each_split_reads_its_own_folder(folder, name, file):
    rename(folder, "val", "000000000501.jpg", name, file)
    for split in ("train", "val"):  # the same names in the other folder
        other = folder.folder / f"{split}2017" / "clip 3"
        other.mkdir(exist_ok=True)
    rename(folder, "train", "000000000001.jpg", "frame_001.jpg")
    (folder.folder / "train2017" / "clip 3" / "frame_001.jpg").touch()
    image = images_of(folder, "val")[0]
    assert image.exists() and str(image).startswith(str(folder.folder / "val2017"))


@pytest.mark.trial("C12")
def test_two_images_of_one_name_stay_two(tmp_path):
    folder = CocoFolder(tmp_path / "coco", images=True)
    for split, first, value in (("train", "000000000001.jpg", 60), ("val", "000000000501.jpg", 200)):
        rename(folder, split, first, "frame_001.png")
        Image.new("RGB", (300, 360), (value,) * 3).save(folder.folder / f"{split}2017" / "frame_001.png")
    folder.write()
    place = {"data_dir": tmp_path, "prepared_dir": None, "folder": "coco", "num_landmarks": 17}
    builder = prepare("coco_keypoints", **place)
    for split, value in (("train", 60), ("val", 200)):
        image = stored_images(Source(builder, split))[0]
        assert image.min() == image.max() == value


@pytest.mark.trial("C12")
@pytest.mark.parametrize("name", ["frame_502.jpg", "502.jpg", "000000000777.jpg"])
def test_an_image_of_another_split_does_not_take_its_place(folder, name):
    rename(folder, "val", "000000000502.jpg", name)
    (folder.folder / "val2017" / name).rename(folder.folder / "train2017" / name)
    folder.write()
    with pytest.raises(ValueError, match=f"annotation 5020: there is no image .*val2017/{name}; 2 of 3 people"):
        CocoKeypoints.read_splits(folder.folder)


def people(folder, **values):
    for person in folder.contents["val"]["annotations"]:
        person.update(values)


def first(folder, kind="annotations", place=0):
    return folder.contents["val"][kind][place]


REFUSED = {
    "two images of one id": (lambda f: first(f, "images", 1).update(id=501), "val2017.json image 1: another one has"),
    "two people of one id": (lambda f: first(f, place=1).update(id=5010), "annotation at place 1: another one has"),
    "a truth value for an id": (lambda f: first(f).update(id=True), "annotation at place 0: id is True; want a int"),
    "a name in another case": (
        lambda f: first(f, "images").update(file_name="000000000501.JPG"),
        "there is no image .*000000000501.JPG, but 000000000501.jpg, which differs in case; 1 of 3 people",
    ),
    "an image of no width": (lambda f: first(f, "images").update(width=0), "image 0: width is 0; want pixels"),
    "no iscrowd": (lambda f: first(f).pop("iscrowd"), "annotation 5010: iscrowd is missing; want a int"),
    "a crowd without area": (
        lambda f: [f.contents["val"]["annotations"][1].pop("area")],
        "annotation 5011: area is missing; want a number",
    ),
    "a crowd without box": (lambda f: first(f, place=1).pop("bbox"), "annotation 5011: bbox is None; want x, y, and"),
    "num_keypoints without joints": (
        lambda f: first(f).update(num_keypoints=0),
        r"annotation 5010: num_keypoints is 0, but 17 of its joints are labelled \(v above 0\)",
    ),
    "num_keypoints as text": (lambda f: first(f).update(num_keypoints="17"), "num_keypoints is '17'; want a int"),
    "every category another": (
        lambda f: people(f, category_id=0),
        r"val2017.json: all of its 7 entries are left out: 7 no person \(category_id is 0; want 1 for a person\)",
    ),
    "everybody a crowd": (lambda f: people(f, iscrowd=1), "all of its 7 entries are left out: 7 a crowd; want people"),
    "nobody labelled": (
        lambda f: people(f, keypoints=[0] * 51, num_keypoints=0),
        "all of its 7 entries are left out: 5 without a labelled joint, 2 a crowd; want people",
    ),
    "no area": (lambda f: people(f, area=0), "left out: 5 without an area, 2 a crowd; want people"),
    "boxes beyond": (lambda f: people(f, bbox=[900, 9, 9, 9]), "left out: 3 with a box outside the image, 2 a crowd"),
    "an empty list": (lambda f: f.contents["val"].update(annotations=[]), "val2017.json: its list of people is empty"),
    "detections of others": (
        lambda f: [detection.update(category_id=0) for detection in f.detections],
        r"AP_H_56_person.json: all of its 6 entries are left out: 6 no person \(category_id is 0; want 1",
    ),
    "an area beyond every number": (lambda f: first(f).update(area=10**400), "annotation 5010: area is 10+; want a"),
    "a width beyond every number": (lambda f: first(f, "images").update(width=10**400), "image 0: width is 10+; want"),
    "a box beyond every number": (lambda f: first(f).update(bbox=[10**400, 0, 5, 5]), r"bbox is \[10+, 0, 5, 5\]"),
    "a joint beyond every number": (
        lambda f: first(f).update(keypoints=[10**400] * 51),
        "annotation 5010: keypoints are not 17 times x, y, v",
    ),
    "a joint that float32 has not": (
        lambda f: first(f).update(keypoints=[1e300, 5, 2] * 17),
        r"annotation 5010: joint 0 is \[1e\+300, 5.0, 2.0\]; want x, y and 0",
    ),
    "an id beyond every number": (lambda f: first(f, "images").update(id=2**70), "image 0: id is 118.*; want a"),
    "an id below zero": (lambda f: first(f, "images").update(id=-1), "image 0: id is -1; want a whole number from 0"),
    "a web address": (
        lambda f: first(f, "images").update(file_name="http://a/000000000501.jpg"),
        "image 0: file_name is 'http://a/000000000501.jpg'; want the name of a file",
    ),
    "a zero byte in a name": (lambda f: first(f, "images").update(file_name="a\0.jpg"), "image 0: file_name is 'a.x00"),
    "no name": (lambda f: first(f, "images").update(file_name=" "), "image 0: file_name is ''; want the name"),
    "no detections": (lambda f: f.detections.clear(), "AP_H_56_person.json: its list of people is empty"),
}  # fmt: skip


@pytest.mark.trial("C12")
@pytest.mark.parametrize(("spoil", "message"), REFUSED.values(), ids=REFUSED)
def test_the_true_cause_is_said(folder, spoil, message):
    spoil(folder)
    folder.write()
    with pytest.raises(ValueError, match=message) as error:
        CocoKeypoints.read_splits(folder.folder)
    assert "\n" not in str(error.value)


def set_person(key, value):
    def apply(folder):
        folder.contents["val"]["annotations"][0][key] = value

    return apply


def set_detection(key, value):
    def apply(folder):
        folder.detections[2][key] = value

    return apply


KEYPOINTS = [10.0, 20.0, 2.0] * 17
FAULTS = {
    "absent image": (
        lambda f: (f.folder / "val2017" / "000000000502.jpg").unlink(),
        "annotation 5020: there is no image .*/val2017/000000000502.jpg; 2 of 3 people have no image: unpack",
    ),
    "few keypoints": (set_person("keypoints", KEYPOINTS[3:]), "annotation 5010: keypoints are not 17 times x, y, v"),
    "flag": (
        set_person("keypoints", [*KEYPOINTS[:5], 3.0, *KEYPOINTS[6:]]),
        r"annotation 5010: joint 1 is \[10.0, 20.0, 3.0\]; want",
    ),
    "infinite": (
        set_person("keypoints", [float("nan"), *KEYPOINTS[1:]]),
        r"annotation 5010: joint 0 is \[nan, 20.0, 2.0\]",
    ),
    "text": (set_person("keypoints", ["a", *KEYPOINTS[1:]]), "annotation 5010: keypoints are not"),
    "no keypoints": (
        lambda f: f.contents["val"]["annotations"][0].pop("keypoints"),
        "annotation 5010: keypoints are not 17 times x, y, v",
    ),
    "box": (set_person("bbox", [1.0, 2.0, 3.0]), r"annotation 5010: bbox is \[1.0, 2.0, 3.0\]; want x, y, and"),
    "negative box": (set_person("bbox", [1.0, 2.0, -3.0, 4.0]), "annotation 5010: bbox is .*; want x, y, and"),
    "area": (
        set_person("area", float("nan")),
        "annotation 5010: area is nan; want a number, correct or remove the entry",
    ),
    "image": (set_person("image_id", 12345), "annotation 5010: there is no image 12345 in the annotation file"),
    "number": (set_person("id", "x"), "val2017.json annotation at place 0: id is 'x'; want a int"),
    "people": (lambda f: f.contents["val"].pop("annotations"), "val2017.json: annotations is missing; want a list"),
    "width": (
        lambda f: f.contents["val"]["images"][1].pop("width"),
        "val2017.json image 1: width is missing; want a number",
    ),
    "score": (set_detection("score", None), "person.json detection 2: score is None; want a number"),
    "other image": (
        set_detection("image_id", 3),
        "person.json detection 2: there is no image 3 in the annotation file",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_named(folder, fault):
    spoil, message = FAULTS[fault]
    spoil(folder)
    folder.write()
    with pytest.raises(ValueError, match=message) as error:
        CocoKeypoints.read_splits(folder.folder)
    assert "\n" not in str(error.value)


@pytest.mark.trial("C12")
@pytest.mark.parametrize("absent", ["another name", "no file", "no folder", "hidden"])
def test_where_no_image_is_there_it_is_said_what_is(folder, absent):
    for image in sorted((folder.folder / "val2017").iterdir()):
        image.rename(image.with_name(f"._{image.name}" if absent == "hidden" else f"{image.stem}.png"))
        if absent in ("no file", "no folder"):
            image.with_suffix(".png").unlink()
    folder.path("train").unlink()
    if absent == "no folder":
        (folder.folder / "val2017").rmdir()
    holds = {
        "another name": "which holds 2 other files, such as 000000000501.png",
        "no folder": "which is not there",
        "hidden": "which holds nothing else (2 hidden files)",
    }.get(absent, "which holds nothing else (0 hidden files)")
    with pytest.raises(FileNotFoundError) as error:
        CocoKeypoints.read_splits(folder.folder)
    place = folder.folder / "val2017"
    found = f"there is no image 000000000501.jpg in {place}, {holds}"
    assert str(error.value).endswith(f"coco holds no image of its people: {found}")


@pytest.mark.trial("C12")
@pytest.mark.parametrize("spoil", ["num_keypoints", "categories", "dogs", "info", "ids from 0"])
def test_what_others_leave_out_does_not_change_the_score(folder, spoil, tmp_path):
    """`num_keypoints` is counted; a category that is no person takes no part in the mean; the first id may be 0."""
    truth = [person for person in folder.contents["val"]["annotations"] if person["num_keypoints"]]
    truth = [person for person in truth if not person["iscrowd"]]
    joints = np.array([person["keypoints"] for person in truth], np.float64).reshape(-1, 17, 3)
    content = {"info": {}, **folder.contents["val"]}
    if spoil == "num_keypoints":
        for person in content["annotations"]:
            del person["num_keypoints"]
    elif spoil == "ids from 0":
        for number, person in enumerate(content["annotations"]):
            person["id"] = number
    elif spoil == "dogs":
        content["categories"] = [*content["categories"], {"id": 2, "name": "dog"}]
        content["annotations"] = [*content["annotations"], {**truth[0], "id": 1, "category_id": 2}]
    else:
        del content[spoil]
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(content))
    results = person_results(
        joints[..., :2],
        np.ones(joints.shape[:2]),
        score=np.full(len(truth), np.nan),
        image_id=[person["image_id"] for person in truth],
        areas=[person["area"] for person in truth],
        sigmas=SIGMAS,
    )
    assert average_precision(results, path, sigmas=SIGMAS)["ap"] == pytest.approx(100)


@pytest.mark.trial("C12")
@pytest.mark.parametrize("reason", ["no person", "a crowd", "without a labelled joint"])
def test_who_is_left_out_is_not_taken_for_nobody(tmp_path, reason):
    folder = CocoFolder(tmp_path / "coco", images=True)
    person = first(folder)
    changes = {"no person": {"category_id": 2}, "a crowd": {"iscrowd": 1}}
    person.update(changes.get(reason, {"keypoints": [0] * 51, "num_keypoints": 0}))
    folder.write()
    place = {"data_dir": tmp_path, "prepared_dir": None, "folder": "coco", "num_landmarks": 17}
    builder = prepare("coco_keypoints", **place)
    assert len(Source(builder, "val")) == 2
    expected = {"a crowd": 2, "without a labelled joint": 2, "no person": 0}
    expected[reason] += 1
    words = left_out(builder, "val")
    assert all(f"{count} {text}" in words for text, count in expected.items() if count), words
