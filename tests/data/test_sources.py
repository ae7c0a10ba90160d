"""Raw data that changes after it was prepared."""

import os
import shutil

import pytest
import tensorflow_datasets as tfds

from data import builder as builders
from data.contents import Contents
from tests.data import test_aflw2000 as faces
from tests.data.faces import dotted, prepare, save
from tests.data.prepared_sets import COUNT, empty, flip, folder_in_place, halve, one_sentence


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
    monkeypatch.setattr("data.contents._state", lambda path: ((3, os.stat(path).st_ctime_ns, 10**9), True))
    monkeypatch.setattr("data.contents.time.time_ns", lambda: path.stat().st_ctime_ns)
    first = contents.digest("a")
    assert contents._known["a"] == (None, first)
    path.write_text("two")
    assert contents.digest("a") != first


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a")
    assert Contents(tmp_path).digest("a") == ""


@pytest.mark.trial("C5")
def test_what_tfds_keeps_is_a_source_too(tmp_path, monkeypatch, capsys):
    faces.face(tmp_path / "unpacked" / "AFLW2000", "image00001", 0)
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", lambda *_: str(tmp_path / "unpacked"))
    folder = tmp_path / "aflw2k3d"
    prepared = prepare("aflw2k3d", folder).data_path
    (records,) = folder.rglob("*.tfrecord-*")
    capsys.readouterr()
    prepare("aflw2k3d", folder)
    assert capsys.readouterr().out == ""
    keep_times(records, flip)
    with pytest.raises(
        ValueError, match=r"a file has changed .* such as aflw2k3d/1.0.0/aflw2k3d-train.tfrecord"
    ) as error:
        prepare("aflw2k3d", folder)
    one_sentence(error, prepared)
    shutil.rmtree(prepared)
    with pytest.raises(
        ValueError, match="train record 0 cannot be read .* and TFDS downloads the data set again"
    ) as error:
        prepare("aflw2k3d", folder)
    one_sentence(error, records.parent)
