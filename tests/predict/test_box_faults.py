"""Files of boxes that are wrong in a way that some programs would not notice."""

import json

import numpy as np
import pytest

from h3r_jax.predict.boxes import BoxFile
from tests.predict.test_boxes import coco, named, write


@pytest.mark.trial("C10")
@pytest.mark.parametrize(
    "cell", ["1_0", "0x10", "inf", "-Infinity", "nan", "1e999", "1,5", '"1,5"', "\uff11", "1.5.2", "", "1 0", "1e", "٣"]
)
def test_what_python_alone_takes_for_a_number(tmp_path, cell):
    path = write(tmp_path / "boxes.csv", f"image,x0,y0,x1,y1\na,1,2,{cell},40\n")
    with pytest.raises(ValueError, match="boxes.csv, line 2: .* is not "):
        BoxFile(path, named("a"))


@pytest.mark.trial("C10")
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "1_0", "0x10", '"10"', "true", "[10]"])
def test_what_is_no_number_in_json(tmp_path, value):
    line = f'{{"image": "a", "image_id": 1, "box": [1, 2, {value}, 40], "bbox": [1, 2, {value}, 40]'
    for name, text in (("a.jsonl", line + "}"), ("a.json", f'[{line}, "score": 1, "category_id": 1}}]')):
        with pytest.raises(ValueError, match=f"{name}, (line 1|record 0|the whole): "):
            BoxFile(write(tmp_path / name, text), named("a1.png", "a"))


@pytest.mark.trial("C10")
@pytest.mark.parametrize("number", ["\u0661", "\uff11", "1_0", "1.0", "", "-1", True, None, 1.0])
def test_what_is_no_number_of_an_image(tmp_path, number):
    path = write(tmp_path / "a.json", coco(image_id=number))
    with pytest.raises(ValueError, match="a.json, record 0: image_id .* is not a number"):
        BoxFile(path, named("a1.png"))


@pytest.mark.trial("C12")
def test_an_empty_list_is_said_to_be_empty(tmp_path):
    with pytest.raises(ValueError, match="a.json is an empty list; want detections"):
        BoxFile(write(tmp_path / "a.json", "[]"), named("a1.png"))


@pytest.mark.trial("C10")
@pytest.mark.parametrize("cell", ["10", "+10", "10.", "1e1", "1.0E+1", " 10 ", "010"])
def test_numbers_in_every_common_form(tmp_path, cell):
    boxes = BoxFile(write(tmp_path / "boxes.csv", f"image,x0,y0,x1,y1\na,-.5,2,{cell},40\n"), named("a"))
    np.testing.assert_array_equal(boxes("a"), [[-0.5, 2, 10, 40]])


@pytest.mark.trial("C14")
@pytest.mark.parametrize("box", [[5, 5, 5, 5], [5, 5, 5, 9], [5, 5, 9, 5], [5, 5, 4, 9]])
def test_a_box_of_no_size_is_refused(tmp_path, box):
    x0, y0, x1, y1 = box
    detection = {"image_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": 1, "category_id": 1}
    for name, text, place in (
        ("a.csv", f"image,x0,y0,x1,y1\na,{x0},{y0},{x1},{y1}\n", "line 2: box"),
        ("a.jsonl", json.dumps({"image": "a", "box": box}), "line 1: box"),
        ("a.json", json.dumps([detection]), "record 0: bbox"),
    ):
        with pytest.raises(ValueError, match=f"{name}, {place} .* is not .* finite, with "):
            BoxFile(write(tmp_path / name, text), named("a"))


@pytest.mark.trial("C14")
@pytest.mark.parametrize("name", [" a.png", "a.png ", "\ta.png", " ./in/a.png "])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_spaces_round_a_name_do_not_count(tmp_path, name, kind):
    lines = {"csv": f"image,x0,y0,x1,y1\n{name},1,2,3,4\n", "jsonl": json.dumps({"image": name, "box": [1, 2, 3, 4]})}
    boxes = BoxFile(write(tmp_path / f"boxes.{kind}", lines[kind]), named("in/a.png"))
    np.testing.assert_array_equal(boxes("in/a.png"), [[1, 2, 3, 4]])


@pytest.mark.trial("C14")
def test_spaces_that_are_part_of_a_name(tmp_path):
    """What the command writes of such files is read again."""
    lines = [{"image": name, "box": [1, 2, 3 + i, 4]} for i, name in enumerate((" a.png", "a.png"))]
    boxes = BoxFile(write(tmp_path / "boxes.jsonl", "\n".join(map(json.dumps, lines))), named(" a.png", "a.png"))
    assert [boxes(name)[0, 2] for name in (" a.png", "a.png")] == [3, 4]


@pytest.mark.trial("C12")
@pytest.mark.parametrize(
    ("changes", "min_score", "said"),
    [
        ([{"category_id": 0}], None, "category_id 0 and scores from 0.9 to 0.9; .* category_id 1, .* 0.5 or more"),
        ([{"category_id": 18}, {"category_id": 3}], None, "2 detections .* category_id 3, 18 and scores"),
        ([{"score": 0.2}, {"score": 0.49}], None, "category_id 1 and scores from 0.2 to 0.49"),
        ([{"score": 0.2}, {"category_id": 2}], None, "category_id 1, 2 and scores from 0.2 to 0.9"),
        ([{}], 0.95, "category_id 1 and scores from 0.9 to 0.9; .* a score of 0.95 or more"),
        ([{"score": 90}], 100.0, "scores from 90 to 90; .* a score of 100 or more"),
    ],
)
def test_a_file_of_which_nothing_is_taken(tmp_path, changes, min_score, said):
    records = [{"image_id": 785, "bbox": [20, 5, 61, 71], "score": 0.9, "category_id": 1, **each} for each in changes]
    with pytest.raises(ValueError, match=f"found.json: none of its .*{said}"):
        BoxFile(write(tmp_path / "found.json", json.dumps(records)), named("000000000785.png"), min_score)


@pytest.mark.trial("C13")
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_shares_of_an_image_in_place_of_pixels(tmp_path, kind):
    text = {
        "csv": "image,x0,y0,x1,y1\na1,0.1,0.2,0.5,1\na1,0,0,1,1\n",
        "jsonl": json.dumps({"image": "a1", "box": [0.1, 0.2, 0.5, 1]}),
        "json": coco(bbox=[0.1, 0.2, 0.4, 0.8]),
    }[kind]
    with pytest.raises(ValueError, match=f"boxes.{kind}: every box lies within 0 to 1, as shares of an image do"):
        BoxFile(write(tmp_path / f"boxes.{kind}", text), named("a1"))
