"""python -m h3r_jax.predict on good and bad files, folders and videos."""

import json

import numpy as np
import pytest
from PIL import Image

from h3r_jax.predict import Predictor
from h3r_jax.predict import __main__ as command
from tests.data.made_up import texture
from tests.predict import dots

CENTERS = np.array([[60.3, 50.8], [100.6, 61.1], [77.2, 93.4]])
BOX = [40, 30, 119, 109]


@pytest.fixture(autouse=True)
def network_of_dots(monkeypatch):
    """The command with a network that is compiled in a second."""
    predictor = Predictor(dots.network(), dots.VARIABLES, "dots", max_batch=8)
    monkeypatch.setattr(command, "load_predictor", lambda path, **options: predictor)


@pytest.fixture
def folder(tmp_path):
    """Two good images, one in a folder below, a broken one, and something else."""
    inputs = tmp_path / "in"
    (inputs / "below").mkdir(parents=True)
    Image.fromarray(dots.picture((140, 160), CENTERS, 3.0)).save(inputs / "a.png")
    Image.fromarray(dots.picture((140, 160), CENTERS + [5, 3], 3.0)).save(inputs / "below" / "a.png")
    (inputs / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    (inputs / "notes.txt").write_text("not looked at")
    return inputs


def run(*arguments):
    """The exit status."""
    try:
        command.main([str(argument) for argument in arguments] + ["--checkpoint=dots"])
    except SystemExit as end:
        return end.code
    return 0


def test_a_folder_with_a_broken_image(folder, tmp_path, capfd):
    boxes = tmp_path / "boxes.csv"
    lines = [("a.png", BOX), (folder / "below" / "a.png", BOX), (folder / "below" / "a.png", BOX), ("broken.jpg", BOX)]
    boxes.write_text("image,x0,y0,x1,y1\n" + "".join(f"{name},{','.join(map(str, box))}\n" for name, box in lines))
    assert run(folder, f"--boxes={boxes}", f"--out={tmp_path / 'out'}") == 1
    errors = capfd.readouterr().err
    assert "broken.jpg is not an image of a known format" in errors
    assert "3 boxes; 0 images or frames without any; 1 files passed over" in errors and "Traceback" not in errors
    records = [json.loads(line) for line in (tmp_path / "out" / "landmarks.jsonl").read_text().splitlines()]
    assert [record["image"] for record in records] == [str(folder / "a.png"), *[str(folder / "below" / "a.png")] * 2]
    assert set(records[0]) == {"image", "box", "landmarks", "confidence", "covariance"}
    np.testing.assert_allclose(records[0]["landmarks"], CENTERS, atol=0.05)
    np.testing.assert_allclose(records[1]["landmarks"], CENTERS + [5, 3], atol=0.05)
    assert np.shape(records[0]["covariance"]) == (3, 2, 2) and records[0]["box"] == BOX
    for name in ("a.png.png", "below/a.png.png"):
        with Image.open(tmp_path / "out" / name) as overlay:
            assert overlay.size == (640, 560)  # four times the image
    # What was written can be read as boxes.
    assert run(folder / "a.png", f"--boxes={tmp_path / 'out' / 'landmarks.jsonl'}") == 0
    assert json.loads(capfd.readouterr().out.splitlines()[0])["box"] == BOX


def test_whole_images_and_no_boxes(folder, tmp_path, capfd, monkeypatch):
    assert run(folder / "a.png", folder / "below" / "a.png", "--boxes=whole", f"--out={tmp_path / 'out'}") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png-2.png", "a.png.png", "landmarks.jsonl"]
    monkeypatch.setattr(command.faces, "find_faces", lambda pixels: np.zeros((0, 4)))
    monkeypatch.setattr(command.faces, "check_installed", lambda: None)
    capfd.readouterr()
    assert run(folder / "a.png") == 0
    written = capfd.readouterr()
    assert written.out == "" and "a.png: no boxes" in written.err and "0 boxes; 1 images" in written.err


def test_a_video_is_annotated(tmp_path, capfd):
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (160, 140))
    for frame in range(3):
        writer.write(dots.picture((140, 160), CENTERS + 5 * frame, 5.0)[..., ::-1])
    writer.release()
    (tmp_path / "boxes.csv").write_text(f"image,x0,y0,x1,y1\nfilm.avi,{','.join(map(str, BOX))}\n")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    assert run(path, tmp_path / "broken.mp4", f"--boxes={tmp_path / 'boxes.csv'}", f"--out={out}") == 1
    assert "broken.mp4 is not a readable video: it has no frame" in capfd.readouterr().err
    records = [json.loads(line) for line in (out / "landmarks.jsonl").read_text().splitlines()]
    assert [record["frame"] for record in records] == [0, 1, 2]
    for record in records:
        np.testing.assert_allclose(record["landmarks"], CENTERS + 5 * record["frame"], atol=2)  # the codec mixes colours
    written = cv2.VideoCapture(str(out / "film.avi.mp4"))
    sizes = [written.read()[1].shape for _ in range(3)]
    assert sizes == [(560, 640, 3)] * 3 and not written.read()[0]


def test_mistakes_end_in_one_sentence(folder, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    assert "holds no image or video" in run(tmp_path / "empty", "--boxes=whole")
    assert "want boxes, or --boxes=detect" in run(folder, "--boxes=nowhere.csv")
    monkeypatch.setattr(command.faces, "REQUIRED", ("no_such_detector",))
    assert "no_such_detector must be installed" in run(folder)
    Image.fromarray(texture(0, 20, 20)).save(tmp_path / "one.png")
    assert run(tmp_path / "one.png", tmp_path / "absent.png", "--boxes=whole") == 1
