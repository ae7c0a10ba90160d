"""Files of boxes, and boxes of faces."""

import json
from pathlib import Path

import numpy as np
import pytest

from h3r_jax.geometry import landmark_box
from h3r_jax.images import read_image
from h3r_jax.predict import faces
from h3r_jax.predict.boxes import BoxFile


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def named(*paths):
    """Inputs that were given one by one."""
    return [(Path(path), Path(path).name) for path in paths]


def test_lines_of_csv_and_json(tmp_path):
    text = "image,x0,y0,x1,y1\na.png,1,2,3,4.5\n./in/b.png,0,0,9,9\na.png,5,6,7,8\n"
    # Some programs write a mark before a text, end lines in another way, or write quotes.
    quoted = text.replace("image,", '"image",').replace("a.png", '"a.png"')
    for content in (text, "\ufeff" + text, text.replace("\n", "\r\n"), quoted):
        table = BoxFile(write(tmp_path / "boxes.csv", content), named("some/where/a.png", "in/b.png", "c.png"))
        np.testing.assert_array_equal(table("some/where/a.png"), [[1, 2, 3, 4.5], [5, 6, 7, 8]])
        np.testing.assert_array_equal(table("in/b.png"), [[0, 0, 9, 9]])
    lines = [{"image": "in/a.png", "box": [1, 2, 3, 4], "landmarks": [[0, 0]]}, {"image": "in/b.png", "box": None}]
    own = BoxFile(
        write(tmp_path / "landmarks.jsonl", "\n".join(map(json.dumps, lines)) + "\n"), named("in/a.png", "in/b.png")
    )
    np.testing.assert_array_equal(own("in/a.png"), [[1, 2, 3, 4]])
    assert own("in/b.png").shape == (0, 4)
    assert not own.left_out, "a line that says that there is no box"
    with pytest.raises(ValueError, match="c.png: .*boxes.csv has no box for it"):
        table("c.png")
    # Boxes of an image are those of every frame.
    np.testing.assert_array_equal(table("in/b.png", 7), [[0, 0, 9, 9]])


def test_boxes_of_frames(tmp_path):
    lines = [{"image": "film.mp4", "frame": frame, "box": [frame, 0, 9, 9]} for frame in (0, 0, 2)]
    lines += [{"image": "film.mp4", "frame": 1, "box": None}]
    lines += [{"image": "film.mp4", "box": [5, 5, 9, 9]}, {"image": "other.mp4", "frame": 1, "box": [1, 1, 2, 2]}]
    boxes = BoxFile(
        write(tmp_path / "landmarks.jsonl", "\n".join(map(json.dumps, lines))), named("in/film.mp4", "other.mp4")
    )
    expected = {0: [[0, 0, 9, 9], [0, 0, 9, 9], [5, 5, 9, 9]], 1: [[5, 5, 9, 9]], 2: [[2, 0, 9, 9], [5, 5, 9, 9]]}
    for frame, box in expected.items():
        np.testing.assert_array_equal(boxes("in/film.mp4", frame), box)
    assert boxes("other.mp4", 0).shape == (0, 4)
    with pytest.raises(ValueError, match="film.mp4: .*landmarks.jsonl has boxes of frames for it, but it is an image"):
        boxes("in/film.mp4")


def test_which_name_in_a_file_is_which_image(tmp_path):
    """As given, within the folder that was given, or alone; and nothing serves two images."""
    inputs = [
        (Path(path), name) for path, name in (("d/1.png", "1.png"), ("d/sub/1.png", "sub/1.png"), ("d/2.png", "2.png"))
    ]

    def found(*names):
        text = "".join(f"{name},-1,0,{index},9\n" for index, name in enumerate(names))
        boxes = BoxFile(write(tmp_path / "boxes.csv", "image,x0,y0,x1,y1\n" + text), inputs)
        return [boxes(path)[:, 2].tolist() for path, _ in inputs]

    assert found("1.png", "sub/1.png", "2.png") == [[0], [1], [2]]
    assert found("2.png", "d/1.png", "sub/1.png") == [[1], [2], [0]]
    # What is the path of one image is not taken for the name of another.
    inputs = [*inputs[:2], (Path("1.png"), "1.png")]
    assert found("1.png", "d/1.png", "sub/1.png", "1.png") == [[1], [2], [0, 3]]
    with pytest.raises(ValueError, match="d/sub/1.png: .*boxes.csv has no box for it"):
        found("1.png", "d/1.png")
    inputs = [(Path(path), "1.png") for path in ("a/1.png", "b/1.png")]
    with pytest.raises(
        ValueError, match="boxes.csv: 1.png would be both a/1.png and b/1.png; want paths in place of names"
    ):
        found("1.png")
    inputs = [*inputs[:1], *inputs]
    assert found("b/1.png", "a/1.png") == [[1], [1], [0]]  # the same one twice


def test_coco_detections(tmp_path, shared_data):
    path = shared_data / "coco" / "person_detection_results" / "COCO_val2017_detections_AP_H_56_person.json"
    records = json.loads(path.read_text())
    image = "val2014/COCO_val2014_000000000785.jpg"
    inputs = named(image, "000000000001.jpg", "photo.jpg")
    boxes = BoxFile(path, inputs, min_score=0.9)
    found = boxes(image)
    expected = [r["bbox"] for r in records if r["image_id"] == 785 and r["score"] >= 0.9 and r["category_id"] == 1]
    assert len(expected) == len(found) >= 1
    x, y, width, height = expected[0]
    np.testing.assert_allclose(found[0], [x, y, x + width - 1, y + height - 1])
    # An image whose people are all below the threshold, or in which none was detected, has none, which is no mistake.
    best = max(record["score"] for record in records if record["image_id"] == 785)
    none = BoxFile(path, inputs, min_score=best + 1e-6)
    assert none(image).shape == (0, 4) and none.count_left_out(image) == sum(r["image_id"] == 785 for r in records)
    assert not any(record["image_id"] == 1 for record in records)
    assert boxes("000000000001.jpg").shape == (0, 4)
    with pytest.raises(
        ValueError, match="photo.jpg: its name does not end in a number, by which .*person.json has images"
    ):
        boxes("photo.jpg")
    with pytest.raises(ValueError, match="person.json has no record of any input; want names that end in an image_id"):
        BoxFile(path, named("000000000001.jpg", "photo.jpg"))


def test_people_of_a_coco_file(tmp_path):
    record = {"image_id": "007", "bbox": [1, 2, 3, 4], "score": 0.5, "category_id": 1}
    records = [record, {**record, "score": 0.49}, {**record, "image_id": 8, "category_id": 2}]
    records += [{**record, "image_id": 9, "category_id": 3}]  # of an image that is not asked for
    path = write(tmp_path / "found.json", json.dumps(records))
    boxes = BoxFile(path, named("a7.png", "b8.png"))
    np.testing.assert_array_equal(boxes("a7.png"), [[1, 2, 3, 5]])
    assert boxes("b8.png").shape == (0, 4)
    assert boxes.left_out == {"with a score below 0.5": 1, "not of people": 1}
    with pytest.raises(
        ValueError, match="found.json: 7 would be both a/7.png and b/07.png; want names that end in different numbers"
    ):
        BoxFile(path, named("a/7.png", "b/07.png"))


def coco(**changes):
    return json.dumps([{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 1, "category_id": 1, **changes}])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "name,x0,y0,x1,y1\n", "begins with 'name,x0,y0,x1,y1'; want the header image,x0,y0,x1,y1"),
        ("a.csv", "image,x0,y0,x1,y1\na,1,2,3,four\n", "a.csv, line 2: 'four' is not a number with a decimal point"),
        ("a.csv", "image,x0,y0,x1,y1\na,1,2,3\n", r"a.csv, line 2: box \[1.0, 2.0, 3.0\] is not \[x0, y0, x1, y1\]"),
        (
            "a.csv",
            "image,x0,y0,x1,y1\na,5,2,3,4\n",
            r"line 2: box \[5.0, 2.0, 3.0, 4.0\] is not \[x0, y0, x1, y1\], finite, with x0 < x1",
        ),
        ("a.jsonl", '{"image": "a", "box": [1, 2, 3, 4]}\n{"image": 3}\n', "a.jsonl, line 2: has no box"),
        (
            "a.jsonl",
            '{"image": "a", "box": [1, 2, 3, 4], "frame": "2"}',
            "line 1: frame '2' is not a number of a frame",
        ),
        ("a.jsonl", "[1\n", "a.jsonl, line 1: not JSON"),
        ("a.jsonl", '\n{"image": 3, "box": [1, 2, 3, 4]}', "a.jsonl, line 2: image 3 is not a path"),
        ("a.jsonl", '{"image": "a", "box": "1234"}', r"line 1: box '1234' is not \[x0, y0, x1, y1\]"),
        ("a.jsonl", '{"image": "a", "box": [1, 2, 3, NaN]}', r"line 1: box \[1, 2, 3, nan\] is not .* finite"),
        ("a.jsonl", b'{"image": "a", "box": null}\n{"image": "\xff", "box": null}', "a.jsonl, line 2: not UTF-8"),
        (
            "a.csv",
            b"image,x0,y0,x1,y1\na,1,2,3,4\n\xe9,1,2,3,4\n",
            "a.csv, line 3: not UTF-8; store the text in that encoding",
        ),
        ("a.csv", "image,x0,y0,x1,y1\n" + "a" * 200000 + ",1,2,3,4\n", "a.csv, line 2: field larger than field limit"),
        ("a.json", b"[\xff]", "a.json, line 1: not UTF-8"),
        ("a.json", coco(image_id="a"), "a.json, record 0: image_id 'a' is not a number"),
        ("a.json", coco(bbox=[1, 2, 3]), r"record 0: bbox \[1, 2, 3\] is not \[x, y, width, height\]"),
        (
            "a.json",
            coco(bbox=[1, 2, -3, 4]),
            r"record 0: bbox \[1, 2, -3, 4\] is not .* with a width and a height above 0",
        ),
        ("a.json", coco(score=None), "a.json, record 0: score None is not a finite number"),
        ("a.json", '[{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]', "a.json, record 0: has no category_id"),
        (
            "a.json",
            '[{"image_id": 1, "bbox": [1, 2, null, 4], "score": 1, "category_id": 1}]',
            r"record 0: bbox \[1, 2, None, 4\] is not \[x, y, width, height\], finite",
        ),
        ("a.json", '{"annotations": []}', "a.json, the whole: not a list of COCO detections"),
        ("a.txt", "", "a.txt is of no known kind of boxes; known endings are .csv, .jsonl, .json"),
    ],
)
def test_mistakes_are_named(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        BoxFile(write(tmp_path / name, text), named("a"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="no.csv is not a file; want boxes, or --boxes=detect"):
        BoxFile(tmp_path / "no.csv", named("a"))


def test_from_the_detector_to_landmarks():
    box = faces.landmark_boxes([10, 20, 89, 119])[0]  # 80 wide, 100 high
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, [49.5, 69.5 + 100 * faces.SHIFT])
    np.testing.assert_allclose(box[2:] - box[:2] + 1, 100 * faces.SIZE)
    assert faces.landmark_boxes(np.zeros((0, 4))).shape == (0, 4)


def test_a_face_at_the_lower_border_whose_landmarks_lie_outside(monkeypatch):
    """The box moves down from where the detector saw it."""
    monkeypatch.setattr(faces, "detect", lambda pixels: np.array([[10.0, 20, 59, 69], [10, 95, 59, 144]]))
    assert faces.find_faces(np.zeros((100, 80, 3), np.uint8)).shape == (1, 4)


def test_a_detector_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(faces, "REQUIRED", ("numpy", "no_such_detector"))
    with pytest.raises(
        ValueError, match=r"no_such_detector must be installed: pip install '.\[predict\]'; or give boxes"
    ):
        faces.check_installed()


def test_faces_are_found_where_their_landmarks_are(shared_data, monkeypatch):
    pytest.importorskip("mtcnn")
    rows = [line.split(",") for line in (shared_data / "ytfaces68" / "val.csv").read_text().splitlines()[1::200]]
    for row in rows:
        pixels = read_image(shared_data / "ytfaces68" / "val" / row[0])
        truth = landmark_box(np.array(row[1:], float).reshape(-1, 2))
        (box,) = faces.find_faces(pixels)
        side = (truth[2:] - truth[:2]).max()
        assert np.abs(box[:2] + box[2:] - truth[:2] - truth[2:]).max() / 2 < 0.1 * side
        assert 0.85 < (box[2] - box[0]) / side < 1.2
    # The same face in an image that is shrunk before it is looked at.
    monkeypatch.setattr(faces, "LONGEST", max(pixels.shape) // 2)
    (found,) = faces.find_faces(pixels)
    np.testing.assert_allclose(found, box, atol=0.08 * side)
    assert not np.array_equal(found, box)


def test_no_faces():
    pytest.importorskip("mtcnn")
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    for pixels in (noise, np.zeros((90, 120, 3), np.uint8), noise[:1, :1], noise[:5]):
        assert faces.find_faces(pixels).shape == (0, 4)
