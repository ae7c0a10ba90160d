"""Fetching ytfaces68: the conversion on a small archive, and what happens without a network."""

import io
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

import data.prepare
from data import fetch_ytfaces68
from data.source import Source

PEOPLE = [f"{chr(ord('A') + i)}da_Al-{i}" for i in range(17)]  # A to Q: the first, ninth and seventeenth are in `val`


def landmarks(name):
    return np.random.default_rng(list(name.encode())).integers(0, 60, (68, 2))


def picture(name):
    """A uniform picture per name, so that JPEG keeps it."""
    return np.full((64, 48, 3), landmarks(name)[0, 0] * 4, np.uint8)


def annotations(names, value="{}"):
    lines = ["," + ",".join(map(str, range(136)))]
    lines += [",".join([name, *(value.format(v) for v in landmarks(name).ravel())]) for name in names]
    return "\n".join(lines) + "\n"


def make_archive(path, prefix="data/", changes=None):
    """Three frames of each person; every second is also in the test part, with the same name, as in the real one."""
    names = [f"{person}_{frame}.jpg" for person in PEOPLE for frame in ("00", "10", "52")]
    files = {
        "training_frames_keypoints.csv": annotations(names[::-1]),
        "test_frames_keypoints.csv": annotations(names[::2], "{}.0"),
    }
    for folder, members in (("training", names), ("test", names[::2])):
        for name in members:
            content = io.BytesIO()
            pixels = picture(name)
            if name == names[4]:  # some of the real files are PNG with alpha under a JPEG's name
                alpha = np.full((64, 48, 1), 255, np.uint8)
                Image.fromarray(np.concatenate([pixels, alpha], axis=2)).save(content, "PNG")
            else:
                Image.fromarray(pixels).save(content, "JPEG", quality=95)
            files[f"{folder}/{name}"] = content.getvalue()
    files.update(changes or {})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__MACOSX/" + prefix + "training_frames_keypoints.csv", b"\0junk")
        for name, content in files.items():
            if content is not None:
                archive.writestr(prefix + name, content)
    return names


@pytest.mark.parametrize("prefix", ["", "P1_Facial_Keypoints-master/data/"])
def test_the_archive_becomes_a_csv_data_set_with_people_apart(tmp_path, prefix):
    names = make_archive(tmp_path / "a.zip", prefix)
    folder = tmp_path / "raw" / "ytfaces68"
    folder.parent.mkdir()
    assert fetch_ytfaces68.convert(tmp_path / "a.zip", folder) == {"train": 42, "val": 9}
    assert sorted(path.name for path in folder.parent.iterdir()) == ["ytfaces68"]
    builder = data.prepare.prepare(
        "csv", data_dir=folder.parent, prepared_dir=tmp_path / "prepared", folder="ytfaces68", num_landmarks=68
    )
    seen = set()
    for split, numbers in (("train", set(range(17)) - {0, 8, 16}), ("val", {0, 8, 16})):
        records = Source(builder, split).annotations()
        for number, line in enumerate(records.name):
            stored = line.rsplit("(", 1)[1][:-1]
            person, frame = int(stored[6:9]), stored[10:12]
            assert stored == f"person{person:03d}_{frame}.jpg" and person in numbers
            name = f"{PEOPLE[person]}_{frame}.jpg"
            np.testing.assert_array_equal(records.landmarks[number], landmarks(name))
            with Image.open(folder / split / stored) as image:
                assert image.format == "JPEG" and image.mode == "RGB"
                np.testing.assert_allclose(np.asarray(image, int), picture(name), atol=1)
            seen.add(name)
    assert seen == set(names)


def test_the_conversion_is_deterministic(tmp_path):
    make_archive(tmp_path / "a.zip")
    for name in ("one", "two"):
        fetch_ytfaces68.convert(tmp_path / "a.zip", tmp_path / name)
    one, two = (sorted(p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*")) for n in ("one", "two"))
    assert one == two and len(one) == 51 + 4
    for path in one:
        if (tmp_path / "one" / path).is_file():
            assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()


NAME = PEOPLE[3] + "_10.jpg"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_frames_keypoints.csv": None}, "holds no test_frames_keypoints.csv; is it the archive of"),
        ({"training/" + NAME: None}, f"the archive holds no data/training/{NAME}; fetch it anew"),
        ({"training/" + NAME: b"not an image"}, f"data/training/{NAME} is not a readable image"),
        (
            {"test_frames_keypoints.csv": "name\nA_00.jpg,1,2\n"},
            "test_frames_keypoints.csv line 2: want PERSON_FRAME.jpg and 136",
        ),
        ({"test_frames_keypoints.csv": annotations(["Nobody.jpg"])}, "line 2: want PERSON_FRAME.jpg"),
        (
            {"test_frames_keypoints.csv": annotations([NAME], "{}x")},
            "test_frames_keypoints.csv line 2: value 1 is '",
        ),
    ],
    ids=["no annotations", "no image", "broken image", "short row", "no frame", "no number"],
)
def test_a_damaged_archive_is_named_and_leaves_nothing(tmp_path, changes, message):
    make_archive(tmp_path / "a.zip", changes=changes)
    with pytest.raises(ValueError) as error:
        fetch_ytfaces68.convert(tmp_path / "a.zip", tmp_path / "ytfaces68")
    assert message in str(error.value) and "a.zip" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_cut_archive_is_no_zip_file(tmp_path):
    make_archive(tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:2000])
    with pytest.raises(ValueError, match="a.zip is not a whole zip file"):
        fetch_ytfaces68.convert(tmp_path / "a.zip", tmp_path / "ytfaces68")


def test_fetching_goes_on_to_the_next_source_and_cleans_up(tmp_path):
    (tmp_path / "web").mkdir()
    make_archive(tmp_path / "web" / "good.zip")
    (tmp_path / "raw").mkdir()
    make_archive(tmp_path / "web" / "bare.zip", changes={"test_frames_keypoints.csv": None})
    sources = [(tmp_path / "web" / name).as_uri() for name in ("gone.zip", "bare.zip", "good.zip")]
    assert fetch_ytfaces68.fetch(tmp_path / "raw", sources) == {"train": 42, "val": 9}
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["ytfaces68"]


def test_without_a_network_the_message_says_what_to_do(tmp_path, monkeypatch, capsys):
    nowhere = ("http://127.0.0.1:9/master.zip",)  # nothing listens on the discard port
    with pytest.raises(
        ConnectionError, match=r"could not be fetched \(http://127.0.0.1:9/.*efused.*pass it as --archive"
    ):
        fetch_ytfaces68.fetch(tmp_path, nowhere)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(fetch_ytfaces68.fetch, "__defaults__", (nowhere,))
    with pytest.raises(SystemExit, match="error: the archive could not be fetched"):
        fetch_ytfaces68.main([f"--data_dir={tmp_path}"])


def test_a_broken_connection_is_noticed(tmp_path, monkeypatch):
    class Answer(io.BytesIO):
        headers = {"Content-Length": "1000"}  # noqa: RUF012

    monkeypatch.setattr(fetch_ytfaces68.urllib.request, "urlopen", lambda *_, **__: Answer(b"x" * 700))
    with pytest.raises(OSError, match="broke after 700 of 1000 bytes"):
        fetch_ytfaces68.download("http://somewhere/a.zip", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_the_command_converts_an_archive_at_hand_once(tmp_path, capsys):
    make_archive(tmp_path / "a.zip")
    arguments = [f"--data_dir={tmp_path / 'raw'}", f"--archive={tmp_path / 'a.zip'}"]
    fetch_ytfaces68.main(arguments)
    assert "ytfaces68: 42 images in train, 9 images in val" in capsys.readouterr().out
    fetch_ytfaces68.main(arguments)
    assert "is there already; remove it" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "raw")
    with pytest.raises(SystemExit, match="error: .*No such file"):
        fetch_ytfaces68.main([arguments[0], "--archive=" + str(tmp_path / "b.zip")])
