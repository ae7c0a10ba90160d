"""Prepared sets that are damaged: one sentence names the folder and the remedy."""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile

import numpy as np
import pytest
from array_record.python.array_record_data_source import ArrayRecordDataSource

import data.prepare
from data.overlays import sheet
from data.pipeline import EvalInput, TrainInput
from h3r_jax import augment
from tests.data.prepared_sets import COUNT, cut, empty, flip, folder_in_place, halve, one_sentence


def of_another_form(path):
    path.write_text(json.dumps([{"name": 1}]))


def other_records(path):
    """Records of the other split, which has as many of the same length."""
    (other,) = path.parent.glob("*val.array_record*")
    assert other.stat().st_size == path.stat().st_size
    shutil.copy(other, path)


DAMAGES = {
    "records gone": ("*train.array_record*", os.unlink),
    "records emptied": ("*train.array_record*", empty),
    "records halved": ("*train.array_record*", halve),
    "a bit of a record": ("*train.array_record*", flip),
    "records of another split": ("*train.array_record*", other_records),
    "records are a folder": ("*train.array_record*", folder_in_place),
    "info gone": ("dataset_info.json", os.unlink),
    "info emptied": ("dataset_info.json", empty),
    "info halved": ("dataset_info.json", halve),
    "info of another form": ("dataset_info.json", of_another_form),
    "a bit of the info": ("dataset_info.json", flip),
    "features gone": ("features.json", os.unlink),
    "features emptied": ("features.json", empty),
    "features of another form": ("features.json", of_another_form),
    "metadata of another form": ("metadata.json", of_another_form),
    "note gone": ("prepared.json", os.unlink),
    "note of another form": ("prepared.json", of_another_form),
    "digests gone": ("SHA256SUMS", os.unlink),
    "digests emptied": ("SHA256SUMS", empty),
    "digests not text": ("SHA256SUMS", lambda path: path.write_bytes(b"\xff" * 300)),
    "all emptied": ("*", empty),
}


@pytest.mark.trial("B5")
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_at_the_start_and_removing_the_folder_is_the_remedy(raw, damage):
    folder, (pattern, change) = raw.prepared(), DAMAGES[damage]
    for path in sorted(folder.glob(pattern)):
        change(path)
    with pytest.raises(OSError) as caught:
        raw.builder()
    message = one_sentence(caught, folder)
    assert message.startswith(f"{folder} is damaged (")
    assert message.endswith("); remove that folder, and the next start prepares the data anew")


def test_the_remedy_helps(raw):
    halve(raw.records())
    shutil.rmtree(raw.prepared())
    assert len(raw.source().annotations().name) == COUNT


@pytest.mark.trial("B5")
@pytest.mark.parametrize("change", ["gone", "emptied", "halved", "a bit"])
def test_damage_of_a_large_set_is_found_when_it_is_prepared_or_read(raw, monkeypatch, capsys, change):
    """Files of records that are too large to be digested at every start."""
    monkeypatch.setattr("data.prepared.DIGESTED_BYTES", 0)
    folder, records = raw.prepared(), raw.records()
    {"gone": os.unlink, "emptied": empty, "halved": halve, "a bit": flip}[change](records)
    with pytest.raises(OSError) as caught:
        source = raw.source()
        for index in range(COUNT):
            source.image(index)
    assert "remove that folder" in one_sentence(caught, folder)
    with pytest.raises(SystemExit) as ended:
        data.prepare.main(["csv", f"--data_dir={raw.root}", "--folder=mine", "--landmarks=3"])
    assert str(ended.value.code).startswith(f"error: {folder} is damaged ({records.name} ")


@pytest.mark.trial("B5")
@pytest.mark.parametrize("place", np.linspace(0, 0.999, 30).tolist())
def test_a_flipped_bit_changes_no_record_unseen(template, tmp_path, place):
    """What array_record itself finds, wherever the bit is."""
    path = template.records()
    copy = pathlib.Path(shutil.copy(path, tmp_path))
    flip(copy, place)
    expected = ArrayRecordDataSource([str(path)]).__getitems__(range(COUNT))
    with contextlib.suppress(RuntimeError):  # it is found
        assert ArrayRecordDataSource([str(copy)]).__getitems__(range(COUNT)) == expected


SHAPE = (16, 24)
AUGMENTATION = augment.Augmentation(rotation=20.0, scale=0.2, shift=0.1)
CROP = {"shape": SHAPE, "box": "landmarks", "box_scale": 1.25, "cache_bytes": 0}


def train(source, annotations):
    return TrainInput(source, annotations, augmentation=AUGMENTATION, **CROP).batches(
        seed=0, batch_size=4, start_step=0
    )


def evaluate(source, annotations):
    return EvalInput(source, annotations, crop="exact", **CROP).batches(4)


@pytest.mark.trial("B5")
@pytest.mark.parametrize("read", [train, evaluate])
@pytest.mark.parametrize("change", [cut, flip])
def test_damage_while_records_stream_stops_with_the_name_of_the_record(raw, read, change):
    source = raw.source()
    batches, folder = read(source, source.annotations()), raw.prepared()
    change(raw.records())
    with pytest.raises(OSError, match=r"train.csv line \d+ \(\d+.png\): its image in ") as caught:
        for _ in zip(range(20), batches):
            pass
    message = one_sentence(caught, folder)
    assert message.startswith(f"{raw.root / 'mine' / 'train.csv'} line ") and "remove that folder" in message


@pytest.mark.trial("B5")
@pytest.mark.parametrize("change", [halve, empty, os.unlink])
def test_damage_before_a_picture_is_drawn(raw, change):
    builder, folder = raw.builder(), raw.prepared()
    change(raw.records())
    with pytest.raises(OSError) as caught:
        sheet(builder, "train")
    assert "remove that folder" in one_sentence(caught, folder)


@pytest.mark.trial("B5")
@pytest.mark.parametrize("closed", [".", "*train.array_record*", "dataset_info.json"])
def test_files_that_may_not_be_read(raw, closed, request):
    if os.geteuid() == 0:  # then as another user, who may not enter the directories of the tests
        place = pathlib.Path(tempfile.mkdtemp())
        request.addfinalizer(lambda: shutil.rmtree(place))
        raw.root = pathlib.Path(shutil.move(raw.root, place))
        place.chmod(0o755), raw.root.chmod(0o755)
    folder = raw.prepared()
    path = next(folder.glob(closed)) if closed != "." else folder
    path.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        with pytest.raises(OSError) as caught:
            raw.source()
    finally:
        if user == 0:
            os.seteuid(user)
        path.chmod(0o755)
    assert "permission to read all files in it" in one_sentence(caught, folder)


@pytest.mark.trial("B5")
def test_an_empty_folder_is_mended(raw, capsys):
    folder = raw.prepared()
    for path in folder.iterdir():
        path.unlink()
    assert len(raw.source().annotations().name) == COUNT
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{folder} was empty, so it is removed." and lines[1].startswith("Preparing csv_landmarks/mine-")


@pytest.mark.trial("B5")
def test_a_file_in_place_of_the_folder(raw):
    folder = raw.prepared()
    shutil.rmtree(folder)
    folder.touch()
    with pytest.raises(OSError) as caught:
        raw.builder()
    assert "is damaged (" in one_sentence(caught, folder)


@pytest.mark.trial("B5")
def test_what_a_killed_preparation_left_is_removed_by_the_next_one_alone(raw, capsys):
    folder = raw.prepared()
    left = [folder.parents[1] / f"mine-{'0' * 12}" / "incomplete.ABCDEF_2.2.0", folder.parent / "incomplete.X_2.2.0"]
    of_others = folder.parents[1] / f"mine-too-{'0' * 12}" / "incomplete.ABCDEF_2.2.0"
    for path in (*left, of_others):
        path.mkdir(parents=True)
    raw.builder()
    assert all(path.exists() for path in left), "perhaps another process writes there"
    shutil.rmtree(folder)
    capsys.readouterr()
    raw.builder()
    output = capsys.readouterr().out
    assert all(f"Removed {path}: the preparation that wrote it did not end.\n" in output for path in left)
    assert of_others.exists() and not any(path.exists() for path in left)


def test_a_file_beside_the_records_is_no_damage(raw, monkeypatch):
    (raw.prepared() / ".DS_Store").touch()
    assert len(raw.source()) == COUNT
