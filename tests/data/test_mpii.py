"""MPII's format: what it counts from 1, its boxes, head sizes, and every way in which a file can be wrong."""

import types

import numpy as np
import pytest

import data.prepare
from configs import mpii
from data.mpii import Mpii
from data.pipeline import EvalInput
from data.source import Source
from h3r_jax import geometry
from h3r_jax.evaluation.protocols import Protocol
from h3r_jax.inference import scheme_of
from h3r_jax.metrics import head_errors
from tests.data.bodies import SIGMA, MpiiFolder, centroids
from tests.data.faces import error
from tests.data.made_up import annotations_of


def sources(folder, prepared):
    arguments = {"data_dir": folder.parent, "prepared_dir": prepared, "folder": folder.name, "num_landmarks": 16}
    builder = data.prepare.prepare("mpii", **arguments)
    return {split: Source(builder, split) for split in builder.info.splits}


@pytest.fixture
def folder(tmp_path):
    return MpiiFolder(tmp_path / "mpii")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with images, and its splits."""
    folder = MpiiFolder(tmp_path_factory.mktemp("drawn") / "mpii", images=True)
    return folder, sources(folder.folder, folder.folder.parent / "prepared")


def test_records_are_what_the_files_say_from_zero(drawn):
    folder, splits = drawn
    assert list(splits) == ["train", "valid"] and len(splits["valid"]) == 3
    for split, source in splits.items():
        records = annotations_of(source)
        np.testing.assert_array_equal(records.weight, folder.visible[split])
        expected = np.where(folder.visible[split][..., None] > 0, folder.joints[split], np.nan)
        np.testing.assert_allclose(records.landmarks, expected, atol=1e-4)
        for i, (x0, y0, x1, y1) in enumerate(records.box):
            scale = 1.5 + 0.1 * i
            assert (x1 - x0 + 1, y1 - y0 + 1) == pytest.approx((200 * scale, 200 * scale), abs=1e-3)
            assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((150 + i - 1, 150 - i + 15 * scale - 1), abs=1e-3)
        assert records.name[1] == f"{folder.folder / 'annot' / split}.json person 1"
    assert np.isnan(annotations_of(splits["train"]).object_size).all()
    heads = [0.6 * ((30 + i) ** 2 + 40**2) ** 0.5 for i in range(3)]
    np.testing.assert_allclose(annotations_of(splits["valid"]).object_size, heads, rtol=1e-6)
    # A prediction of the truth is right for every joint.
    records = annotations_of(splits["valid"])
    scores = head_errors(records.landmarks, records.landmarks, records.weight, records.object_size).summary(
        (0.5, 0.1, 0.11)
    )
    assert set(scores.values()) == {100.0}


def test_nothing_of_train_can_be_scored_and_the_recipe_does_not_try(drawn):
    config = mpii.get_config()
    protocol = Protocol.from_config(config, scheme_of(config))
    splits = {split: types.SimpleNamespace(annotations=annotations_of(source)) for split, source in drawn[1].items()}
    protocol.check(splits["valid"])
    with pytest.raises(ValueError, match="train.json person 0: its head size is nan, .* none for validation"):
        protocol.check(splits["train"])
    assert (config.data.train_split, config.data.validation_split) == ("train", "")


@pytest.mark.parametrize("shape", [(64, 48), (256, 256)], ids=str)
def test_joints_lie_on_their_dots_in_the_crop_of_the_box(drawn, shape):
    source = drawn[1]["valid"]
    records = annotations_of(source)
    crops = EvalInput(source, records, shape=shape, box="dataset", box_scale=1.25, crop="exact", cache_bytes=0)
    (batch,) = crops.batches(3)
    errors = []
    for i, (image, matrix, joints) in enumerate(zip(batch["image"], crops.matrices, records.landmarks)):
        assert matrix[0, 0] == pytest.approx(min(shape) / (1.25 * 200 * (1.5 + 0.1 * i)), rel=1e-5)
        places = geometry.transform_points(matrix, joints)
        errors.append(centroids(image, places, SIGMA * matrix[0, 0]) - places)
    errors = np.concatenate(errors)
    errors = errors[np.isfinite(errors).all(axis=1)]
    assert len(errors) > 30 and np.linalg.norm(errors, axis=1).max() < 0.05 and np.abs(errors.mean(axis=0)).max() < 0.01


def test_a_center_of_minus_one_is_no_place(folder):
    folder.entries["train"][1]["center"] = [-1.0, -1.0]
    folder.write()
    records = Mpii.read_splits(folder.folder)["train"]
    assert records[1].box is None and records[0].box is not None


def test_a_split_without_its_file_is_not_there(folder):
    (folder.folder / "annot" / "train.json").unlink()
    assert list(Mpii.read_splits(folder.folder)) == ["valid"]
    (folder.folder / "annot" / "gt_valid.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no .*gt_valid.mat; valid.json is scored"):
        Mpii.read_splits(folder.folder)
    (folder.folder / "annot" / "valid.json").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"holds none of annot/train.json, annot/valid.json; data.mpii says .* config.data_dir right",
    ):
        Mpii.read_splits(folder.folder)


def test_one_person_whose_last_axis_matlab_drops(tmp_path):
    folder = MpiiFolder(tmp_path / "mpii", people=1)
    folder.truth = {name: values[..., 0] if values.ndim == 3 else values for name, values in folder.truth.items()}
    folder.write()
    (record,) = Mpii.read_splits(folder.folder)["valid"]
    np.testing.assert_allclose(record.landmarks, folder.joints["valid"][0])


def change(entry, key, value):
    def apply(folder):
        folder.entries["valid"][entry][key] = value

    return apply


def truth(change):
    def apply(folder):
        change(folder.truth)

    return apply


def swap_people(truth):
    for name, values in truth.items():
        truth[name] = values[..., [1, 0, 2]]


ONES = [1] * 16
FAULTS = {
    "no scale": (
        lambda folder: folder.entries["valid"][2].pop("scale"),
        r"valid.json person 2: KeyError 'scale'; want image",
    ),
    "no record": (lambda folder: folder.entries["valid"].__setitem__(0, 7), "valid.json person 0: TypeError"),
    "text": (change(1, "center", ["a", 2]), "valid.json person 1: ValueError .*center"),
    "size": (change(1, "scale", 0.0), r"valid.json person 1: center .* and scale 0.0; want .* 200 \* scale > 1"),
    "infinite": (change(0, "center", [float("nan"), 1.0]), r"person 0: center \[nan, 1.0\]"),
    "joints": (change(1, "joints", [[1, 2]] * 15), r"person 1: .*joints \(15, 2\).*want"),
    "visible": (change(1, "joints_vis", [2] + ONES[1:]), "person 1: joints_vis is .*want 0 or 1"),
    "nowhere": (change(0, "joints", [[float("inf"), 1]] * 16), "person 0: joint 0 is labelled, but lies at"),
    "beyond every number": (change(1, "scale", 10**400), "valid.json person 1: OverflowError"),
    "a joint beyond every number": (change(1, "joints", [[10**400, 1]] * 16), "valid.json person 1: OverflowError"),
    "a joint that float32 has not": (change(0, "joints", [[1e300, 1]] * 16), "person 0: joint 0 is labelled, but lies"),
    "a scale that float32 has not": (change(0, "scale", 1e300), r"person 0: center .* and scale 1e\+300; want numbers"),
    "no image": (change(0, "image", ""), "valid.json person 0: ValueError image ''; want image"),
    "a web address": (change(0, "image", "s3://a/b.jpg"), "valid.json person 0: ValueError image 's3://a/b.jpg'; want"),
    "fewer": (
        lambda folder: folder.entries["valid"].pop(),
        "annot: valid.json has 2 people, gt_valid.mat 3; want as many",
    ),
    "others": (
        truth(swap_people),
        r"gt_valid.mat column 0: its joints lie .* those of .*valid.json person 0; want the same",
    ),
    "no head": (
        truth(lambda t: t["headboxes_src"].__setitem__((1, ..., 2), t["headboxes_src"][0, :, 2])),
        "column 2: .* head size of 0.0",
    ),
    "no joints": (truth(lambda t: t.pop("pos_gt_src")), r"gt_valid.mat: pos_gt_src is \(0,\); want \(16, 2, 'N'\)"),
    "lengths": (
        truth(lambda t: t.update(jnt_missing=np.zeros((16, 2)))),
        "gt_valid.mat: its variables are of different .*jnt_missing 2",
    ),
    "missing": (truth(lambda t: t["jnt_missing"].__setitem__((3, 1), 0.5)), "gt_valid.mat column 1: jnt_missing"),
    "not finite": (
        truth(lambda t: t["pos_gt_src"].__setitem__((4, 0, 0), np.nan)),
        "gt_valid.mat column 0: joint 4 is labelled",
    ),
}


@pytest.mark.trial("D")
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_named(folder, fault):
    spoil, message = FAULTS[fault]
    spoil(folder)
    folder.write()
    with pytest.raises(ValueError, match=message) as error:
        Mpii.read_splits(folder.folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.json", b"[{", "train.json: not a JSON file"),
        ("train.json", b"\xff\xff", "train.json: not a JSON file"),
        ("train.json", b"[" * 100_000, "train.json: not a JSON file"),
        ("train.json", b"{}", "train.json: holds a dict, want a list"),
        ("gt_valid.mat", b"nothing", "gt_valid.mat is not a readable MATLAB file"),
    ],
)
def test_broken_files_are_named(folder, name, content, message):
    (folder.folder / "annot" / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Mpii.read_splits(folder.folder)


def test_missing_and_broken_images_are_named(tmp_path):
    folder = MpiiFolder(tmp_path / "mpii", people=2, images=True)
    image = folder.folder / "images" / "train1.png"
    whole = image.read_bytes()
    for content, message in (
        (None, f"there is no image {image}"),
        (b"", f"{image} is not an image of a known format"),
        (whole[:-100], f"{image} is not a readable image ("),
    ):
        image.unlink(missing_ok=True)
        if content is not None:
            image.write_bytes(content)
        assert error("mpii", folder.folder).startswith(f"{folder.folder / 'annot' / 'train.json'} person 1: {message}")


def test_the_ground_truth_file_decides_for_valid(folder):
    folder.truth["pos_gt_src"][5, :, 0] += 3
    folder.truth["jnt_missing"][6, 0] = 1
    folder.write()
    record = Mpii.read_splits(folder.folder)["valid"][0]
    np.testing.assert_allclose(record.landmarks[5], folder.joints["valid"][0, 5] + 3)
    assert record.weight[6] == 0 and np.isnan(record.landmarks[6]).all()


def test_the_real_people(tmp_path, shared_data):
    if not (shared_data / "mpii").is_dir():
        pytest.skip("real MPII data is not beside the repository (../shared/data/mpii)")
    splits = sources(shared_data / "mpii", tmp_path)
    assert {split: len(source) for split, source in splits.items()} == {"train": 5, "valid": 5}
    records = annotations_of(splits["valid"])
    assert records.outside_image() == 0
    neck_to_top = np.linalg.norm(records.landmarks[:, 8] - records.landmarks[:, 9], axis=1)
    assert (np.abs(np.log(records.object_size / neck_to_top)) < 0.7).all()
    crops = EvalInput(
        splits["valid"], records, shape=(64, 64), box="dataset", box_scale=1.25, crop="exact", cache_bytes=0
    )
    places = geometry.transform_points(crops.matrices, records.landmarks)[records.weight > 0]
    assert places.min() > 0 and places.max() < 63, "the crop holds the person"
    (batch,) = crops.batches(5)
    assert (batch["image"].reshape(5, -1).std(axis=1) > 20).all()
