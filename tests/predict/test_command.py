"""python -m h3r_jax.predict on good and bad files, folders and videos."""

import json

import numpy as np
import pytest
from PIL import Image

from h3r_jax.landmarks import SCHEMES
from h3r_jax.predict import __main__ as command
from h3r_jax.predict import faces, inputs
from tests.data.made_up import texture
from tests.predict import dots
from tests.predict.dots import run

CENTERS = np.array([[60.3, 50.8], [100.6, 61.1], [77.2, 93.4]])
BOX = [40, 30, 119, 109]


@pytest.fixture(autouse=True)
def network_of_dots(monkeypatch):
    dots.use(monkeypatch)


@pytest.fixture
def folder(tmp_path):
    """Two good images, one in a folder below, a broken one, and something else."""
    inputs = tmp_path / "in"
    (inputs / "below").mkdir(parents=True)
    Image.fromarray(dots.picture((140, 160), CENTERS, 3.0)).save(inputs / "a.png")
    Image.fromarray(dots.picture((140, 160), CENTERS + [5, 3], 3.0)).save(inputs / "below" / "a.png")
    (inputs / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    (inputs / "notes.txt").write_text("not looked at")
    for name in ("b.HEIC", "c.heic", "README"):
        (inputs / "below" / name).write_text("nor is this")
    return inputs


def test_a_folder_with_a_broken_image(folder, tmp_path, capfd):
    boxes = tmp_path / "boxes.csv"
    lines = [("a.png", BOX), (folder / "below" / "a.png", BOX), (folder / "below" / "a.png", BOX), ("broken.jpg", BOX)]
    boxes.write_text("image,x0,y0,x1,y1\n" + "".join(f"{name},{','.join(map(str, box))}\n" for name, box in lines))
    assert run(folder, f"--boxes={boxes}", f"--out={tmp_path / 'out'}") == 1
    errors = capfd.readouterr().err
    assert "broken.jpg is not an image of a known format" in errors
    assert "3 boxes; 0 images or frames without any; 1 errors" in errors and "Traceback" not in errors
    assert f"{folder}: left out: 2 .heic, 1 .txt, 1 without an ending\n" in errors
    records = [json.loads(line) for line in (tmp_path / "out" / "landmarks.jsonl").read_text().splitlines()]
    assert [record["image"] for record in records] == [str(folder / "a.png"), *[str(folder / "below" / "a.png")] * 2]
    assert set(records[0]) == {"image", "box", "landmarks", "confidence", "covariance"}
    np.testing.assert_allclose(records[0]["landmarks"], CENTERS, atol=0.05)
    np.testing.assert_allclose(records[1]["landmarks"], CENTERS + [5, 3], atol=0.05)
    assert np.shape(records[0]["covariance"]) == (3, 2, 2) and records[0]["box"] == BOX
    for name in ("a.png", "below/a.png"):
        with Image.open(tmp_path / "out" / name) as overlay:
            assert overlay.size == (640, 560)  # four times the image
    # What was written can be read as boxes.
    assert run(folder / "a.png", f"--boxes={tmp_path / 'out' / 'landmarks.jsonl'}") == 0
    assert json.loads(capfd.readouterr().out.splitlines()[0])["box"] == BOX


def test_whole_images_and_no_boxes(folder, tmp_path, capfd, monkeypatch):
    assert run(folder / "a.png", folder / "below" / "a.png", "--boxes=whole", f"--out={tmp_path / 'out'}") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a-2.png", "a.png", "landmarks.jsonl"]
    monkeypatch.setattr(faces, "find_faces", lambda pixels: np.zeros((0, 4)))
    monkeypatch.setattr(faces, "check_installed", lambda: None)
    capfd.readouterr()
    assert run(folder / "a.png", "--boxes=detect", f"--out={tmp_path / 'none'}") == 0
    errors = capfd.readouterr().err
    assert "a.png: no boxes" in errors and "0 boxes; 1 images" in errors
    (line,) = (tmp_path / "none" / "landmarks.jsonl").read_text().splitlines()
    assert json.loads(line) == {"image": str(folder / "a.png"), "box": None}
    # Given back, it says the same.
    assert run(folder / "a.png", f"--boxes={tmp_path / 'none' / 'landmarks.jsonl'}") == 0
    assert capfd.readouterr().out == line + "\n"


def test_what_was_written_is_not_looked_at_again(folder, capfd):
    (folder / "broken.jpg").unlink()
    for _ in range(2):
        assert run(folder, "--boxes=whole", f"--out={folder / 'below' / 'out'}", "--overwrite") == 0
    errors = capfd.readouterr().err
    assert errors.count("2 boxes; 0 images or frames without any; 0 errors") == 2
    assert errors.count(f"1 .txt, 3 within {folder / 'below' / 'out'}, 1 without an ending\n") == 1
    assert "is a folder of images itself; choose another" in run(folder, "--boxes=whole", f"--out={folder}")


def test_where_nothing_can_be_written(folder, tmp_path, capsys):
    file, image = tmp_path / "file", folder / "a.png"
    file.write_text("mine")
    assert run(image, "--boxes=whole", f"--out={file}") == f"error: {file} cannot be written: File exists"
    assert (
        run(image, "--boxes=whole", f"--out={file / 'x'}") == f"error: {file / 'x'} cannot be written: Not a directory"
    )
    assert file.read_text() == "mine"
    for out in ("gs://bucket/found", "https://bucket/found", ""):
        assert run(image, "--boxes=whole", f"--out={out}") == 2
        assert f"{out!r} is not on this machine; want a folder that is" in capsys.readouterr().err


@pytest.mark.trial("D")
@pytest.mark.parametrize("image", ["", "https://example.com/a.png", "gs://bucket/a.png", "file:///a.png"])
def test_an_input_of_another_machine_is_refused(image):
    assert run(image, "--boxes=whole") == (
        f"error: {image!r} is not on this machine; want an image, a folder or a video that is"
    )


@pytest.mark.trial("C10")
@pytest.mark.parametrize(
    "flag",
    ["--min_score=0.0_5", "--min_score=nan", "--max_batch=1_6", "--max_batch=0", "--k=1_0", "--k=\u0669", "--k=-3",
     "--box_scale=1_0", "--box_scale=1,25", "--box_scale=inf", "--input_size=2_56", "--input_size=256,-64"],
)  # fmt: skip
def test_flags_that_are_no_number_everywhere(folder, capsys, flag):
    assert run(folder, "--boxes=whole", flag) == 2
    assert f"argument {flag.partition('=')[0]}: " in capsys.readouterr().err


@pytest.mark.parametrize("kind", [RuntimeError, ValueError])
def test_a_detector_that_fails_on_one_image(folder, capfd, monkeypatch, kind):
    """The others go on, and the mistake, which may be one of the program, keeps its traceback."""

    def find(pixels):
        if pixels.shape[1] == 30:
            raise kind("too small for me")
        return np.array([BOX])

    monkeypatch.setattr(faces, "find_faces", find)
    monkeypatch.setattr(faces, "check_installed", lambda: None)
    Image.fromarray(texture(0, 20, 30)).save(folder / "b.png")
    (folder / "broken.jpg").unlink()
    assert run(folder, "--boxes=detect") == 1
    written = capfd.readouterr()
    assert len(written.out.splitlines()) == 2
    assert f"error: {folder / 'b.png'}: its boxes could not be found ({kind.__name__}: too small for me)" in written.err
    assert "Traceback (most recent call last)" in written.err and 'raise kind("too small for me")' in written.err


def test_a_mistake_of_the_network_keeps_its_traceback(folder, monkeypatch):
    def decode(variables, crops):
        raise ValueError("of the program")

    (folder / "broken.jpg").unlink()
    monkeypatch.setattr(dots.predictor(), "_jitted", decode)
    with pytest.raises(ValueError, match="^of the program$"):
        run(folder, "--boxes=whole")


def test_boxes_that_a_file_leaves_out_are_counted(folder, tmp_path, capfd):
    Image.open(folder / "a.png").save(folder / "7.png")
    found = {"image_id": 7, "bbox": [40, 30, 80, 80], "score": 0.9, "category_id": 1}
    records = [found, {**found, "score": 0.3}, {**found, "score": 0.2}, {**found, "category_id": 3}]
    (tmp_path / "boxes.json").write_text(json.dumps(records))
    assert run(folder / "7.png", f"--boxes={tmp_path / 'boxes.json'}") == 0
    written = capfd.readouterr()
    assert f"{tmp_path / 'boxes.json'}: left out: 2 with a score below 0.5, 1 not of people\n" in written.err
    assert [json.loads(line)["box"] for line in written.out.splitlines()] == [BOX]


def test_faces_are_looked_for_where_the_scheme_is_of_faces(monkeypatch):
    monkeypatch.setattr(faces, "check_installed", lambda: None)
    for scheme in SCHEMES.values():
        body = scheme.name in ("mpii16", "coco17")
        for choice in (None, "detect"):
            if body:
                with pytest.raises(
                    ValueError, match=f"scheme {scheme.name} is of bodies, .*; want --boxes=FILE or --boxes=whole"
                ):
                    inputs.choose_boxes(choice, None, scheme, [])
            else:
                assert inputs.choose_boxes(choice, None, scheme, []) is faces.find_faces
        assert inputs.choose_boxes("whole", None, scheme, []) is None
    # Of one's own scheme its owner must say so.
    with pytest.raises(
        ValueError,
        match="where to look for the 3 landmarks of scheme dots: want --boxes=whole if .* --boxes=FILE .* --boxes=det",
    ):
        inputs.choose_boxes(None, None, dots.SCHEME, [])
    assert inputs.choose_boxes("detect", None, dots.SCHEME, []) is faces.find_faces


def test_flags_of_the_network(capsys):
    own, settings = command.parse(["a.png", "--checkpoint=x"])
    assert own.images == ["a.png"] and own.boxes is None and settings == {}
    given = [
        "--model=hrnet_w32",
        "--head=pose",
        "--landmarks=17",
        "--scheme=coco17",
        "--selection=neighbours",
        "--crop=exact",
        "--k=5",
    ]
    own, settings = command.parse(["a.png", "--checkpoint=x", "--input_size=256,192", *given])
    assert settings.pop("input_size") == (256, 192) and settings.pop("k") == 5 and settings.pop("landmarks") == 17
    assert settings == {
        "model": "hrnet_w32",
        "head": "pose",
        "scheme": "coco17",
        "selection": "neighbours",
        "crop": "exact",
    }
    assert command.parse(["a.png", "--checkpoint=x", "--input_size=128"])[1] == {"input_size": (128, 128)}
    for size in ("256x192", "1,2,3"):
        with pytest.raises(SystemExit):
            command.parse(["a.png", "--checkpoint=x", f"--input_size={size}"])
        assert f"'{size}' is neither one number of pixels nor HEIGHT,WIDTH" in capsys.readouterr().err


def test_mistakes_end_in_one_sentence(folder, tmp_path, monkeypatch):
    (tmp_path / "others").mkdir()
    assert "holds no image or video" in run(tmp_path / "others", "--boxes=whole")
    (tmp_path / "others" / "a.heic").write_text("of no known ending")
    assert ".webm), but 1 .heic" in run(tmp_path / "others", "--boxes=whole")
    assert "want boxes, or --boxes=detect" in run(folder, "--boxes=nowhere.csv")
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\na.png,1,2,3,4\n")
    twice = run(folder / "below" / "a.png", folder / "a.png", f"--boxes={tmp_path / 'boxes.csv'}")
    assert "boxes.csv: a.png would be both " in twice
    for choice in ("whole", "detect", tmp_path / "boxes.csv"):
        assert "--min_score is for boxes of a COCO file" in run(folder, "--min_score=0.5", f"--boxes={choice}")
    assert "cannot know where to look for the 3 landmarks of scheme dots" in run(folder)
    monkeypatch.setattr(faces, "REQUIRED", ("no_such_detector",))
    assert "no_such_detector must be installed" in run(folder, "--boxes=detect")
    Image.fromarray(texture(0, 20, 20)).save(tmp_path / "one.png")
    assert run(tmp_path / "one.png", tmp_path / "absent.png", "--boxes=whole") == 1
