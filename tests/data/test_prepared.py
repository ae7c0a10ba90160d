"""Prepared sets that are damaged, and sources that change after they were prepared."""

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
from data import builder as builders
from data.contents import Contents
from data.overlays import sheet
from data.pipeline import EvalInput, TrainInput
from data.source import Source
from h3r_jax import augment
from tests.data.faces import dotted, save
from tests.data.made_up import texture, write_split
from tests.data.test_lapa import face

COUNT = 12  # records of each split


class Raw:
    """The data sets `lapa` and `csv` in a directory, where they are prepared too."""

    def __init__(self, root):
        self.root = root

    def builder(self, name="csv"):
        folder = {"lapa": "lapa", "csv": "mine"}[name]
        count = {"lapa": None, "csv": 3}[name]
        arguments = {"data_dir": self.root, "prepared_dir": self.root / "prepared"}
        return data.prepare.prepare(name, folder=folder, num_landmarks=count, **arguments)

    def source(self, name="csv", split="train"):
        return Source(self.builder(name), split)

    def prepared(self, name="csv"):
        """The folder of the prepared set."""
        (note,) = self.root.glob(f"prepared/{name}*/*/*/prepared.json")
        return note.parent

    def records(self):
        """A file of records."""
        return next(self.prepared().glob("*train.array_record*"))

    def image(self, name="lapa"):
        return self.root / {"lapa": "lapa/test/images/b.jpg", "csv": "mine/train/1.png"}[name]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Both sets, prepared once."""
    raw = Raw(tmp_path_factory.mktemp("template"))
    for seed, name in enumerate("abc"):
        face(raw.root / "lapa", "test", name, seed)
    for seed, split in enumerate(("train", "val")):
        images = [texture(seed + i, 24, 32) for i in range(COUNT)]
        write_split(raw.root / "mine", split, images, np.random.default_rng(seed).uniform(0, 20, (COUNT, 3, 2)))
    raw.builder("lapa"), raw.builder("csv")
    return raw


@pytest.fixture
def raw(template, tmp_path):
    """A copy of both, to be damaged."""
    shutil.copytree(template.root, tmp_path / "copy")
    return Raw(tmp_path / "copy")


def one_sentence(error, folder):
    message = str(error.value)
    assert "\n" not in message and len(message) < 700 and str(folder) in message
    return message


# ---- Damage.


def halve(path):
    os.truncate(path, path.stat().st_size // 2)


def cut(path):
    os.truncate(path, 3000)


def flip(path, place=0.4):
    """Flips a bit, at a place in 0..1 among the bytes that are not zero: array_record fills its files up with zeros."""
    content = bytearray(path.read_bytes())
    places = np.flatnonzero(np.frombuffer(content, np.uint8))
    content[places[int(place * len(places))]] ^= 8
    path.write_bytes(content)


def of_another_form(path):
    path.write_text(json.dumps([{"name": 1}]))


def folder_in_place(path):
    path.unlink()
    path.mkdir()


def other_records(path):
    """Records of the other split, which has as many of the same length."""
    (other,) = path.parent.glob("*val.array_record*")
    assert other.stat().st_size == path.stat().st_size
    shutil.copy(other, path)


def empty(path):
    path.write_bytes(b"")


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
        raw.source().annotations()
    assert one_sentence(caught, folder).endswith("remove that folder, and the next start prepares the data anew")
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
@pytest.mark.parametrize("change", [cut, empty, flip])
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
    left = [folder.parents[1] / f"mine-{'0' * 12}" / "incomplete.ABCDEF_2.1.0", folder.parent / "incomplete.X_2.1.0"]
    of_others = folder.parents[1] / f"mine-too-{'0' * 12}" / "incomplete.ABCDEF_2.1.0"
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


# ---- Sources.


def keep_times(path, change):
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path):
    """Another picture."""
    save(dotted(9, 50)[0], path)


def same_length_and_time(path):
    keep_times(path, flip)


def link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.parent / ("0.png" if path.suffix == ".png" else "a.jpg"))


CHANGES = {
    "another picture": replace,
    "a bit": flip,
    "same length and time": same_length_and_time,
    "halved": halve,
    "halved at the same time": lambda path: keep_times(path, halve),
    "emptied": empty,
    "a link to another": link,
    "a folder": folder_in_place,
}


@pytest.mark.trial("C5")
@pytest.mark.parametrize("change", CHANGES)
def test_an_image_of_an_official_set_that_was_replaced_is_named(raw, change):
    folder = raw.prepared("lapa")
    raw.builder("lapa")
    CHANGES[change](raw.image())
    with pytest.raises(ValueError) as caught:
        raw.builder("lapa")
    message = one_sentence(caught, folder)
    assert message.startswith(f"{raw.root / 'lapa'}: a file has changed since") and "test/images/b.jpg; " in message
    assert f"remove {folder} so that the data is prepared anew" in message


@pytest.mark.trial("C5")
@pytest.mark.parametrize("change", ["another picture", "same length and time", "a link to another"])
def test_an_image_of_csv_that_was_replaced_is_prepared_anew(raw, change):
    raw.builder()
    before = raw.source().folder
    path = raw.image("csv")
    if change == "same length and time":
        keep_times(path, lambda path: shutil.copyfile(path.parent / "0.png", path))
    else:
        CHANGES[change](path)
    assert raw.source().folder != before
    assert len(raw.source().annotations().name) == COUNT and os.path.exists(before)


@pytest.mark.trial("C5")
def test_many_that_were_replaced_are_counted(raw):
    for name in "ac":
        replace(raw.image().with_name(f"{name}.jpg"))
    with pytest.raises(
        ValueError, match="2 of 3 files have changed since the data was prepared, such as test/images/a"
    ):
        raw.builder("lapa")


@pytest.mark.trial("C5")
@pytest.mark.parametrize("change", ["touched", "copied", "put back", "times of all", "another place"])
def test_the_same_content_is_no_change(raw, monkeypatch, capsys, change):
    monkeypatch.setattr(builders, "read_image", None)  # nothing is prepared
    path = raw.image()
    if change == "touched":
        path.touch()
    elif change == "copied":
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    elif change == "put back":
        content = path.read_bytes()
        replace(path)
        with pytest.raises(ValueError, match="has changed"):
            raw.builder("lapa")
        path.write_bytes(content)
    elif change == "times of all":
        for each in (*raw.root.rglob("*.txt"), *raw.root.rglob("*.csv"), *raw.root.rglob("*.png")):
            os.utime(each, (1, 1))
    else:
        raw.root = raw.root.rename(raw.root.with_name("elsewhere"))
    capsys.readouterr()
    for name in ("lapa", "csv"):
        raw.builder(name)
    assert capsys.readouterr().out == ""


@pytest.mark.trial("C5")
@pytest.mark.parametrize("images", ["b.jpg", "*.jpg"])
def test_images_that_are_gone_are_told_of(raw, capsys, images):
    gone = sorted(raw.image().parent.glob(images))
    for path in gone:
        path.unlink()
    assert len(raw.source("lapa", "test").annotations().name) == 3
    output = capsys.readouterr().out
    assert output.startswith(
        f"{raw.root / 'lapa'}: {len(gone)} of 3 files cannot be read any more, such as test/images/"
    )
    assert output.endswith(f"the prepared set in {raw.prepared('lapa')} has what it needs.\n")


def test_a_changed_annotation_is_prepared_anew_and_the_earlier_set_is_named(raw, capsys):
    path, before = raw.root / "lapa" / "test" / "landmarks" / "b.txt", raw.prepared("lapa")
    lines = path.read_text().splitlines()
    keep_times(path, lambda path: path.write_text("\n".join([lines[0], lines[2], lines[1], *lines[3:]])))
    builder = raw.builder("lapa")
    assert builder.data_path != before
    assert f"It takes the place of {before}, which may be removed" in capsys.readouterr().out


# ---- Contents.


def test_contents_are_read_once_while_they_stay_as_they_are(tmp_path, monkeypatch):
    path, memory = tmp_path / "a", tmp_path / "memory" / "contents.json"
    path.write_text("one")
    os.utime(path, (1, 1))
    monkeypatch.setattr("data.contents.SETTLED_NS", -(10**10))  # every time is old enough
    first = Contents(tmp_path, memory)
    digests = first.digests(["a", "none"])
    assert set(digests) == {"a", "none"} and len(digests["a"]) == 64 and digests["none"] == ""
    first.remember()
    with monkeypatch.context() as patch:
        patch.setattr("data.contents._digest", None)
        assert Contents(tmp_path, memory).digests(["a", "none"]) == digests
    keep_times(path, lambda path: path.write_text("two"))
    assert Contents(tmp_path, memory).digest("a") not in ("", digests["a"])
    memory.write_text("[]")
    assert Contents(tmp_path, memory).digest("a"), "a damaged memory is none"


def test_a_file_that_has_just_changed_is_read_again(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("one")
    contents = Contents(tmp_path)
    monkeypatch.setattr("data.contents._state", lambda path: ((3, path.stat().st_ctime_ns, 10**9), True))
    monkeypatch.setattr("data.contents.time.time_ns", lambda: path.stat().st_ctime_ns)
    first = contents.digest("a")
    assert contents._known["a"] == (None, first)
    path.write_text("two")
    assert contents.digest("a") != first


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a")
    assert Contents(tmp_path).digest("a") == ""
