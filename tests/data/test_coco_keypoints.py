"""COCO's format: who is a record and who is left out, boxes, detections, and every way in which a file can be wrong."""

import json

import numpy as np
import pytest

import data.prepare
from configs import coco
from data.coco_keypoints import CocoKeypoints
from data.pipeline import EvalInput
from data.source import Source
from h3r_jax import geometry
from h3r_jax.evaluation.protocols import Protocol
from h3r_jax.inference import scheme_of
from h3r_jax.metrics import average_precision, person_results
from tests.data.bodies import SIGMA, CocoFolder, centroids
from tests.data.faces import error
from tests.data.made_up import annotations_of

SIGMAS = np.linspace(0.02, 0.1, 17)  # the data set does not know them


def sources(folder, prepared, parts=()):
    arguments = {"data_dir": folder.parent, "prepared_dir": prepared, "folder": folder.name, "num_landmarks": 17}
    builder = data.prepare.prepare("coco_keypoints", **arguments)
    return {split: Source(builder, split) for split in (*builder.info.splits, *parts)}


@pytest.fixture
def folder(tmp_path):
    return CocoFolder(tmp_path / "coco")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with images, and its splits."""
    folder = CocoFolder(tmp_path_factory.mktemp("drawn") / "coco", images=True)
    parts = "train[:2]", "train[1:2]", "val_detections[:3]"  # of the second and last image one of the two people
    return folder, sources(folder.folder, folder.folder.parent / "prepared", parts)


def score_truth(source, annotation_file):
    """Average precision of the labels themselves as predictions; a joint without a label is put in the middle."""
    records = annotations_of(source)
    middle = np.nanmean(records.landmarks, axis=1, keepdims=True)
    results = person_results(
        np.where(np.isnan(records.landmarks), middle, records.landmarks),
        np.ones(records.weight.shape),
        score=records.score,
        image_id=records.image_id,
        areas=np.prod(records.box[:, 2:] - records.box[:, :2], axis=1),
        sigmas=SIGMAS,
    )
    assert len(results) == len(source) and {result["score"] for result in results} == {1.0}
    return average_precision(results, annotation_file, sigmas=SIGMAS)


def test_records_are_the_labelled_people(drawn):
    folder, splits = drawn
    assert list(splits)[:3] == ["train", "val", "val_detections"]
    for split, first in (("train", 1), ("val", 501)):
        records = annotations_of(splits[split])
        assert records.image_id.tolist() == [first, first + 1, first + 1]
        counts = [np.ones(17), np.arange(17) < 9, np.arange(17) >= 9]  # hidden joints count as others
        np.testing.assert_array_equal(records.weight, counts)
        for joints, seen, image in zip(records.landmarks, records.weight, records.image_id):
            np.testing.assert_allclose(joints[seen > 0], folder.joints[image][seen > 0], atol=1e-4)
            assert np.isnan(joints[seen == 0]).all()
        np.testing.assert_allclose(records.box, [[30.5, 40.5, 269.5, 339.5]] * 3)
        np.testing.assert_allclose(records.object_size, np.sqrt(0.25 * 240 * 300), rtol=1e-6)
        assert np.isnan(records.score).all()
        assert records.name[0] == f"{folder.path(split)} annotation {10 * first}"
    assert score_truth(splits["val"], folder.path("val"))["ap"] == pytest.approx(100)


def test_detections_have_boxes_and_scores_and_no_landmarks(drawn):
    records = annotations_of(drawn[1]["val_detections"])
    assert records.image_id.tolist() == [501, 501, 502, 502]
    np.testing.assert_allclose(records.score, [0.9, 0.25] * 2, rtol=1e-6)
    np.testing.assert_allclose(records.box, [[20.25, 30.5, 269.25, 349.5]] * 4)
    assert np.isnan(records.landmarks).all() and not records.weight.any() and np.isnan(records.object_size).all()
    assert records.name[1].endswith("COCO_val2017_detections_AP_H_56_person.json detection 2")


def test_of_a_part_those_images_count_all_of_whose_people_are_in_it(drawn):
    _, splits = drawn
    config = coco.get_config()
    protocol = Protocol.from_config(config, scheme_of(config))

    def part(name):
        crops = {"shape": (64, 48), "box": "dataset", "box_scale": 1.25, "crop": "exact", "cache_bytes": 0}
        return EvalInput(splits[name], annotations_of(splits[name]), **crops)

    first = part("train[:2]")
    truth = np.nan_to_num(first.annotations.landmarks)
    metrics = protocol.score(truth, np.ones(truth.shape[:2]), first).metrics
    assert (metrics["ap"], metrics["ar"]) == pytest.approx((100, 100))
    with pytest.raises(ValueError, match=r"train\[1:2\]: of no image are all people in it"):
        protocol.check(part("train[1:2]"))
    # In whichever order what is outside of a part comes.
    ids = {
        name: (set(part(name).annotations.image_id), part(name).divided_images)
        for name in ("val_detections[:3]", "train")
    }
    assert ids == {"val_detections[:3]": ({501, 502}, {502}), "train": ({1, 2}, set())}


def test_people_are_read_image_by_image(folder):
    folder.contents["train"]["annotations"].sort(key=lambda person: -person["id"])
    folder.detections.sort(key=lambda detection: -detection["score"])
    folder.write()
    for people in CocoKeypoints.read_splits(folder.folder).values():
        images = [record.image_id for record in people]
        assert images == sorted(images) and len(set(images)) == 2


@pytest.mark.parametrize("shape", [(128, 96), (256, 192), (384, 288)], ids=str)
@pytest.mark.parametrize("split", ["val", "val_detections"])
def test_joints_lie_on_their_dots_in_the_crop_of_the_box(drawn, split, shape):
    folder, splits = drawn
    records = annotations_of(splits[split])
    crops = EvalInput(splits[split], records, shape=shape, box="dataset", box_scale=1.25, crop="exact", cache_bytes=0)
    (batch,) = crops.batches(len(records.name))
    errors = []
    for image, matrix, number in zip(batch["image"], crops.matrices, records.image_id):
        places = geometry.transform_points(matrix, folder.joints[number])
        errors.append(centroids(image, places, SIGMA * matrix[0, 0]) - places)
    errors = np.concatenate(errors)
    assert np.isfinite(errors).all(), "the crop holds the person"
    assert np.linalg.norm(errors, axis=1).max() < 0.05 and np.abs(errors.mean(axis=0)).max() < 0.01


def test_who_is_left_out_is_counted(folder):
    people = folder.contents["train"]["annotations"]
    people[0]["area"] = 0.0
    people.append({**people[-1], "id": 90, "category_id": 18})
    beyond = next(person for person in people if person["id"] == 20)
    beyond["bbox"] = [310.0, 20.0, 40.0, 40.0]
    folder.write()
    splits = CocoKeypoints.read_splits(folder.folder)
    assert {split: len(records) for split, records in splits.items()} == {"train": 1, "val": 3, "val_detections": 4}
    assert splits["train"].left_out == {
        "a crowd": 2,
        "without a labelled joint": 2,
        "without an area": 1,
        "with a box outside the image": 1,
        "no person": 1,
    }
    assert splits["val_detections"].left_out == {"no person": 2}


def test_the_command_says_each_time_who_is_left_out_and_what_is_missing(tmp_path, capsys):
    folder = CocoFolder(tmp_path / "coco", images=True)
    (folder.folder / "person_detection_results" / "COCO_val2017_detections_AP_H_56_person.json").unlink()
    reasons = "left out as the protocol says: 2 a crowd, 2 without a labelled joint\n"
    for prepared in (False, True):
        data.prepare.main(["coco_keypoints", f"--data_dir={tmp_path}", f"--prepared_dir={tmp_path / 'prepared'}"])
        output = capsys.readouterr().out
        assert output.startswith("train 3 of 149813" if prepared else "Preparing ")
        assert (
            "\nval 3 of 6352: this copy is not complete\n  landmarks outside their image: 0 of 34\n"
            f"  records without box: 0\n  {reasons}" in output
        )
        assert "\nval_detections 0 of 104125: this copy is not complete\n" in output


def test_boxes_are_cut_off_at_the_border(folder):
    for person in folder.contents["train"]["annotations"]:
        person["bbox"] = [-10.0, 100.0, 330.0, 0.5]
    folder.write()
    box = CocoKeypoints.read_splits(folder.folder)["train"][0].box
    assert box.tolist() == [0.0, 100.0, 299.0, 100.0]


def test_what_a_detector_found_may_be_of_a_single_pixel(tmp_path):
    folder = CocoFolder(tmp_path / "coco", images=True)
    folder.detections[0]["bbox"] = [20.0, 30.0, 0.5, 1.0]
    folder.write()
    assert (
        sources(folder.folder, tmp_path / "prepared")["val_detections"].annotations().boxes("dataset")[0].tolist()
        == [20, 30] * 2
    )


def test_splits_without_their_files_are_not_there(folder, capsys):
    for image in (folder.folder / "train2017").iterdir():
        image.unlink()
    assert list(CocoKeypoints.read_splits(folder.folder)) == ["val", "val_detections"]
    assert "has no image of train, so that split is left out" in capsys.readouterr().err
    (folder.folder / "person_detection_results" / "COCO_val2017_detections_AP_H_56_person.json").unlink()
    folder.path("train").unlink()
    assert list(CocoKeypoints.read_splits(folder.folder)) == ["val"]
    folder.path("val").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"none of .*train2017.json, .*val2017.json; data.coco_keypoints .* config.data_dir right",
    ):
        CocoKeypoints.read_splits(folder.folder)


def test_images_that_come_later_change_the_fingerprint(folder):
    states = [[(path, path.stat().st_mtime_ns) for path in CocoKeypoints.annotation_files(folder.folder)]]
    (folder.folder / "train2017" / "000000000009.jpg").touch()
    states.append([(path, path.stat().st_mtime_ns) for path in CocoKeypoints.annotation_files(folder.folder)])
    assert states[0] != states[1]


def test_an_image_of_the_other_folder_is_found(folder):
    image = folder.folder / "train2017" / "000000000001.jpg"
    image.rename(folder.folder / "val2017" / image.name)
    assert CocoKeypoints.read_splits(folder.folder)["train"][0].image == folder.folder / "val2017" / image.name


def test_broken_images_are_named(tmp_path):
    folder = CocoFolder(tmp_path / "coco", images=True)
    image = folder.folder / "val2017" / "000000000502.jpg"
    for content, message in (
        (b"", " is not an image of a known format"),
        (image.read_bytes()[:-300], " is not a readable image ("),
    ):
        image.write_bytes(content)
        assert error("coco_keypoints", folder.folder).startswith(
            f"{folder.path('val')} annotation 5020: {image}{message}"
        )


def test_a_file_of_another_kind_is_named(folder):
    folder.path("val").write_text(json.dumps([]))
    with pytest.raises(ValueError, match="person_keypoints_val2017.json: holds a list, want a dict"):
        CocoKeypoints.read_splits(folder.folder)


def test_the_real_people(tmp_path, shared_data):
    raw = shared_data / "coco"
    if not raw.is_dir():
        pytest.skip("real COCO data is not beside the repository (../shared/data/coco)")
    splits = sources(raw, tmp_path)
    assert {split: len(source) for split, source in splits.items()} == {"train": 12, "val": 12, "val_detections": 118}
    annotation_file = raw / "annotations" / "person_keypoints_val2017.json"
    assert list(score_truth(splits["val"], annotation_file).values()) == pytest.approx([100] * 10)
    records = annotations_of(splits["val"])
    assert records.outside_image() == 0
    detections = annotations_of(splits["val_detections"])
    # The best detection of each image is one of its people.
    for image in np.unique(detections.image_id):
        best = detections.box[detections.image_id == image][np.argmax(detections.score[detections.image_id == image])]
        assert np.abs(records.box[records.image_id == image] - best).max(axis=1).min() < 30
    crops = EvalInput(
        splits["val"], records, shape=(64, 48), box="dataset", box_scale=1.25, crop="exact", cache_bytes=0
    )
    (batch,) = crops.batches(12)
    assert (batch["image"].reshape(12, -1).std(axis=1) > 20).all()
    places = geometry.transform_points(crops.matrices, records.landmarks)[records.weight > 0]
    assert (places > 0).all() and (places < [47, 63]).all(), "the crop holds the person"
