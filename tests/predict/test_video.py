"""python -m h3r_jax.predict on videos: whole, cut short, with broken frames, with boxes of frames."""

import json

import numpy as np
import pytest

from h3r_jax.predict import faces, video
from tests.predict import dots
from tests.predict.dots import run

cv2 = pytest.importorskip("cv2")

SIZE = (140, 160)
CENTERS = np.array([[60.3, 50.8], [100.6, 61.1], [77.2, 93.4]])
BOX = [40, 30, 119, 109]


@pytest.fixture(autouse=True)
def network_of_dots(monkeypatch):
    dots.use(monkeypatch)


def film(path, count, codec="MJPG"):
    """A video of dots that move; the brightness of its upper left corner counts the frames in steps of four."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10.0, SIZE[::-1])
    for frame in range(count):
        pixels = dots.picture(SIZE, CENTERS + 5 * (frame % 4), 5.0)
        pixels[:16, :16] = 4 * frame
        writer.write(pixels[..., ::-1])
    writer.release()
    return path


def damage(path, share, content):
    """Writes over a video from a share of its length."""
    data = bytearray(path.read_bytes())
    start = int(share * len(data))
    data[start : start + len(content)] = content
    path.write_bytes(data)


def records(folder):
    return [json.loads(line) for line in (folder / "landmarks.jsonl").read_text().splitlines()]


def test_a_video_is_annotated(tmp_path, capfd):
    path = film(tmp_path / "film.avi", 3)
    (tmp_path / "boxes.csv").write_text(f"image,x0,y0,x1,y1\nfilm.avi,{','.join(map(str, BOX))}\n")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    assert run(path, f"--boxes={tmp_path / 'boxes.csv'}", f"--out={out}") == 0
    assert run(path, tmp_path / "broken.mp4", "--boxes=whole") == 1
    assert "broken.mp4 is not a readable video: it has no frame" in capfd.readouterr().err
    found = records(out)
    assert [record["frame"] for record in found] == [0, 1, 2]
    for record in found:
        np.testing.assert_allclose(
            record["landmarks"], CENTERS + 5 * record["frame"], atol=2
        )  # the codec mixes colours
    written = cv2.VideoCapture(str(out / "film.avi.mp4"))
    sizes = [written.read()[1].shape for _ in range(3)]
    assert sizes == [(560, 640, 3)] * 3 and not written.read()[0]


def test_what_was_written_is_read_as_boxes_of_its_frames(tmp_path, capfd):
    """Frames with two boxes, none and one give the same landmarks again."""
    path = film(tmp_path / "film.avi", 3)
    boxes = [(0, BOX), (0, [x + 7 for x in BOX]), (1, None), (2, [x + 3 for x in BOX])]
    lines = [json.dumps({"image": "film.avi", "frame": frame, "box": box}) for frame, box in boxes]
    (tmp_path / "boxes.jsonl").write_text("\n".join(lines))
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(path, f"--boxes={tmp_path / 'boxes.jsonl'}", f"--out={first}") == 0
    assert run(path, f"--boxes={first / 'landmarks.jsonl'}", f"--out={second}") == 0
    assert "3 boxes; 1 images or frames without any; 0 errors" in capfd.readouterr().err
    assert [record["frame"] for record in records(first)] == [0, 0, 1, 2]
    assert records(first)[2] == {"image": str(path), "frame": 1, "box": None}
    assert records(second) == records(first)


def test_faces_are_followed(tmp_path, capfd, monkeypatch):
    path, looks = film(tmp_path / "film.avi", 4), []
    monkeypatch.setattr(faces, "find_faces", lambda pixels: looks.append(1) or np.array([BOX], float))
    monkeypatch.setattr(faces, "check_installed", lambda: None)
    for flags in ((), ("--smooth",)):
        looks.clear()
        assert run(path, "--boxes=detect", f"--out={tmp_path / 'out'}", "--overwrite", *flags) == 0
        found = records(tmp_path / "out")
        assert [(record["frame"], record["track"]) for record in found] == [(0, 0), (1, 0), (2, 0), (3, 0)]
        assert len(looks) == 1
        np.testing.assert_allclose(found[0]["landmarks"], CENTERS, atol=2)
    assert run(tmp_path / "out", "--boxes=whole", "--smooth") == "error: " + (
        "--smooth is for videos in which faces are followed, without --boxes or with --boxes=detect"
    )


def test_a_video_that_is_cut_short(tmp_path, capfd):
    path = film(tmp_path / "film.avi", 20)
    data = path.read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    assert run(tmp_path / "cut.avi", path, "--boxes=whole") == 1
    written = capfd.readouterr()
    counts = [sum(name in line for line in written.out.splitlines()) for name in ("cut.avi", "film.avi")]
    assert 5 < counts[0] < 15 and counts[1] == 20
    assert f"error: {tmp_path / 'cut.avi'}: {counts[0]} frames could be read of 20 that it promises" in written.err
    assert "1 errors" in written.err


def test_a_broken_frame_does_not_end_a_video(tmp_path):
    path = film(tmp_path / "film.mp4", 60, "mp4v")
    whole = list(video.read_video(path))
    damage(path, 0.5, np.random.default_rng(0).integers(0, 256, len(path.read_bytes()) // 100, np.uint8).tobytes())
    frames = list(video.read_video(path))
    assert 50 < len(frames) <= 60 == video.frame_rate(path)[1]
    assert not all(np.array_equal(a, b) for a, b in zip(frames, whole)), "nothing was broken"
    assert abs(frames[-1][4:12, 4:12].mean() - whole[-1][4:12, 4:12].mean()) < 8


def test_a_frame_that_cannot_be_predicted_is_passed_over(tmp_path, capfd):
    path = film(tmp_path / "film.avi", 3)
    lines = [
        {"image": "film.avi", "frame": frame, "box": [400, 0, 440, 40] if frame == 1 else BOX} for frame in range(3)
    ]
    (tmp_path / "boxes.jsonl").write_text("\n".join(map(json.dumps, lines)))
    out = tmp_path / "out"
    assert run(path, f"--boxes={tmp_path / 'boxes.jsonl'}", f"--out={out}") == 1
    errors = capfd.readouterr().err
    assert f"error: {path}: 1 of 3 frames were passed over, the first being frame 1: box [400.0, " in errors
    assert [record["frame"] for record in records(out)] == [0, 2]
    assert len(list(video.read_video(out / "film.avi.mp4"))) == 3


def test_a_video_that_the_boxes_do_not_know(tmp_path, capfd):
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\nother.avi,1,2,3,4\n")
    assert run(film(tmp_path / "film.avi", 3), f"--boxes={tmp_path / 'boxes.csv'}") == 1
    assert capfd.readouterr().err.count("boxes.csv has no box for it") == 1


def test_a_mistake_of_the_network_keeps_its_traceback(tmp_path, monkeypatch):
    def decode(variables, crops):
        raise ValueError("of the program")

    monkeypatch.setattr(dots.predictor(), "_jitted", decode)
    with pytest.raises(ValueError, match="^of the program$"):
        run(film(tmp_path / "film.avi", 3), "--boxes=whole")


def test_a_video_that_is_not_there(tmp_path, capfd):
    assert run(tmp_path / "absent.mp4", "--boxes=whole") == 1
    assert f"error: {tmp_path / 'absent.mp4'}: there is no such file\n" in capfd.readouterr().err


def test_landmarks_are_kept_where_the_video_cannot_be_written(tmp_path, capfd, monkeypatch):
    path, out = film(tmp_path / "film.avi", 3), tmp_path / "out"
    monkeypatch.setattr(video, "frame_rate", lambda path: (90000.0, 3))
    assert run(path, "--boxes=whole", f"--out={out}") == 1
    errors = capfd.readouterr().err
    assert errors.count("cannot be written") == 1 and "3 boxes; 0 images or frames without any; 1 errors" in errors
    assert f"error: {path}: {out / 'film.avi.mp4'} cannot be written as a video of 90000 frames per second" in errors
    assert [record["frame"] for record in records(out)] == [0, 1, 2]
