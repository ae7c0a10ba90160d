"""Exports of labelling programs become a data set `csv` with the same landmarks; a fault is one sentence."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import data.prepare
from data import from_labels
from data.description import of_csv
from data.source import Source

POINTS = {"left_ear": (11.5, 8.25), "right_ear": (30.0, 9.0), "nose": (20.5, 21.0)}
NAMES = tuple(POINTS)


@pytest.fixture
def images(tmp_path):
    """Ten images of 40x32 pixels below "images/train"."""
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    for number in range(10):
        Image.fromarray(np.full((32, 40, 3), 20 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


def annotations(tmp_path, split, num_landmarks=3):
    arguments = {"data_dir": tmp_path, "prepared_dir": tmp_path / "prepared", "folder": "out"}
    builder = data.prepare.prepare("csv", num_landmarks=num_landmarks, **arguments)
    return Source(builder, split).annotations()


def labelme(images, number, *, points=POINTS, extra=(), group=None):
    shapes = [
        {"label": name, "points": [[x + 0.5, y + 0.5]], "group_id": group, "shape_type": "point", "flags": {}}
        for name, (x, y) in points.items()
    ]
    path = images / f"{number}.json"
    content = json.loads(path.read_text()) if path.exists() else {"version": "5.4.1", "flags": {}, "shapes": []}
    content["shapes"] += [*shapes, *extra]
    content |= {"imagePath": f"{number}.png", "imageData": None, "imageHeight": 32, "imageWidth": 40}
    path.write_text(json.dumps(content))


def test_labelme(tmp_path, images, capsys):
    box = {"label": "cat", "points": [[5, 4], [36, 30]], "group_id": 1, "shape_type": "rectangle", "flags": {}}
    for number in range(10):
        labelme(images, number, extra=[box], group=1)
    from_labels.main(["labelme", str(images), str(tmp_path / "out"), "--validation=0.2"])
    printed = capsys.readouterr().out
    assert "   0 left_ear   in a mirrored image: right_ear" in printed and "   2 nose\n" in printed
    train = annotations(tmp_path, "train")
    assert len(train.name) == 8 and len(annotations(tmp_path, "val").name) == 2
    np.testing.assert_allclose(train.landmarks[0], list(POINTS.values()), atol=1e-3)
    np.testing.assert_allclose(train.box[0], [5, 4, 35, 29])  # its outermost pixels
    assert of_csv(tmp_path / "out")[:3] == (3, NAMES, (1, 0, 2))


def test_two_objects_of_an_image_stay_in_one_split_and_a_missing_landmark_has_no_weight(tmp_path, images):
    labelme(images, 0, group=1)
    labelme(images, 0, group=2, points={"nose": (3.0, 4.0)})
    labelme(images, 1)
    from_labels.main(["labelme", str(images), str(tmp_path / "out"), "--validation=0.5", "--names=nose,left_ear"])
    train, val = annotations(tmp_path, "train", 2), annotations(tmp_path, "val", 2)
    np.testing.assert_array_equal(train.weight, [[1, 1], [1, 0]])
    np.testing.assert_allclose(train.landmarks[:, 0], [POINTS["nose"], (3, 4)], atol=1e-3)
    assert len(val.name) == 1 and np.isnan(train.landmarks[1, 1]).all()


def deeplabcut(path, animals=("",)):
    columns = [(animal, name, axis) for animal in animals for name in NAMES for axis in "xy"]
    head = [["scorer", "", "", *["me"] * len(columns)]]
    if animals != ("",):
        head.append(["individuals", "", "", *(animal for animal, _, _ in columns)])
    head.append(["bodyparts", "", "", *(name for _, name, _ in columns)])
    head.append(["coords", "", "", *(axis for _, _, axis in columns)])
    values = [str(value) for _ in animals for point in POINTS.values() for value in point]
    values[4:6] = ["", ""]  # the first nose is not labelled
    rows = [["images", "train", f"{number}.png", *values] for number in range(10)]
    path.write_text("\n".join(",".join(row) for row in [*head, *rows]) + "\n")


@pytest.mark.parametrize("animals", [("",), ("a", "b")], ids=["one animal", "two"])
def test_deeplabcut(tmp_path, images, animals):
    deeplabcut(tmp_path / "CollectedData_me.csv", animals)
    from_labels.main(
        ["deeplabcut", str(tmp_path / "CollectedData_me.csv"), str(tmp_path / "out"), f"--images={tmp_path}"]
    )
    train = annotations(tmp_path, "train")
    assert len(train.name) == 9 * len(animals)
    np.testing.assert_allclose(train.landmarks[0, :2], list(POINTS.values())[:2], atol=1e-3)
    np.testing.assert_array_equal(train.weight[0], [1, 1, 0])


@pytest.mark.parametrize("score", ["instance.score", "score"], ids=["Export Analysis CSV", "sleap-io's instances"])
def test_sleap(tmp_path, images, score):
    header = f"track,frame_idx,{score}," + ",".join(f"{n}.x,{n}.y,{n}.score" for n in NAMES)
    values = ",".join(f"{x},{y},0.9" for x, y in POINTS.values())
    rows = [f",{number},,{values}" for number in range(10)]
    rows.append(f",3,0.8,{values}")  # a prediction
    (tmp_path / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    pattern = f"{images}/{{}}.png"
    from_labels.main(["sleap", str(tmp_path / "labels.csv"), str(tmp_path / "out"), f"--images={pattern}"])
    train = annotations(tmp_path, "train")
    assert len(train.name) == 9
    np.testing.assert_allclose(train.landmarks[3], list(POINTS.values()), atol=1e-3)


def test_yolo(tmp_path, images):
    (tmp_path / "labels" / "train").mkdir(parents=True)
    triples = " ".join(
        f"{(x + 0.5) / 40} {(y + 0.5) / 32} {2 if name != 'nose' else 0}" for name, (x, y) in POINTS.items()
    )
    for number in range(3):  # the other images have no objects
        line = f"0 0.5 0.5 0.5 0.25 {triples}"
        (tmp_path / "labels" / "train" / f"{number}.txt").write_text(line + "\n")
    content = "path: .\ntrain: images/train\nkpt_shape: [3, 3]\nflip_idx: [1, 0, 2]\nnames:\n  0: cat\n"
    content += "kpt_names: {0: [l, r, tip]}\n"
    (tmp_path / "cats.yaml").write_text(content)
    from_labels.main(["yolo", str(tmp_path / "cats.yaml"), str(tmp_path / "out")])
    train = annotations(tmp_path, "train")
    np.testing.assert_allclose(train.landmarks[0, :2], list(POINTS.values())[:2], atol=1e-3)
    np.testing.assert_array_equal(train.weight[:, 2], 0)
    # 20x8 pixels in the middle of 40x32: the first pixel is (10, 12), the last (29, 19).
    np.testing.assert_allclose(train.box[0], [10, 12, 29, 19])
    assert of_csv(tmp_path / "out").mirror == (1, 0, 2)
    assert json.loads((tmp_path / "out" / "landmarks.json").read_text())["names"] == ["l", "r", "tip"]


def test_yolo_as_sleap_writes_it(tmp_path, images, capsys):
    """Its flips are those of no landmark, whatever the names are; its coordinates are divided as they are."""
    (tmp_path / "labels" / "train").mkdir(parents=True)
    numbers = " ".join(f"{x / 40} {y / 32} 2" for x, y in POINTS.values())
    (tmp_path / "labels" / "train" / "0.txt").write_text(f"0 .5 .5 .5 .5 {numbers}\n")
    content = "names: {0: animal}\npath: .\ntrain: images/train\nkpt_shape: [3, 3]\nflip_idx: [0, 1, 2]\n"
    for names, mirror in ((NAMES, (1, 0, 2)), (("head", "back", "tail"), (0, 1, 2))):
        (tmp_path / "data.yaml").write_text(content + f"node_names: [{', '.join(names)}]\n")
        from_labels.main(["yolo", str(tmp_path / "data.yaml"), str(tmp_path / "out"), "--overwrite"])
        assert of_csv(tmp_path / "out")[1:3] == (names, mirror)
        assert ("the names count" in capsys.readouterr().out) == (names == NAMES)
    np.testing.assert_allclose(annotations(tmp_path, "train").landmarks[0], list(POINTS.values()), atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda shape: shape.pop("label"), "shape 0: label is missing; want a str"),
        (lambda shape: shape.update(points=[["a", 1]]), "its points are .* want pairs of numbers"),
        (lambda shape: shape.update(shape_type="circle"), "its shape_type is 'circle'; want point, or rectangle"),
        (
            lambda shape: shape.update(label="nose"),
            "'nose' is labelled twice in one group; give each object a group_id",
        ),
    ],
)
def test_a_faulty_labelme_file_is_named(tmp_path, images, change, message):
    labelme(images, 0)
    content = json.loads((images / "0.json").read_text())
    change(content["shapes"][0])
    (images / "0.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit) as ended:
        from_labels.main(["labelme", str(images), str(tmp_path / "out")])
    text = str(ended.value.code)
    assert text.startswith(f"error: {images / '0.json'}") and "\n" not in text
    assert re.search(message, text), text


def test_other_faults(tmp_path, images):
    def error(*arguments):
        with pytest.raises(SystemExit) as ended:
            from_labels.main([*map(str, arguments)])
        return str(ended.value.code)

    labelme(images, 0)
    assert "there is no landmark 'tail'; known are left_ear" in error("labelme", images, tmp_path / "o", "--names=tail")
    (images / "0.png").unlink()
    assert "there is no image" in error("labelme", images, tmp_path / "o")
    assert "deeplabcut needs --images" in error("deeplabcut", tmp_path / "a.csv", tmp_path / "o")
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    assert "want DeepLabCut's lines" in error("deeplabcut", tmp_path / "a.csv", tmp_path / "o", "--images=.")
    assert "want SLEAP's columns" in error("sleap", tmp_path / "a.csv", tmp_path / "o", "--images={}")
    (tmp_path / "f.csv").write_text("frame_idx,inst0.track,inst0.nose.x,inst0.nose.y\n0,,1,2\n")
    assert "one row for each object" in error("sleap", tmp_path / "f.csv", tmp_path / "o", "--images={}")
    (tmp_path / "a.yaml").write_text("names: [cat]\n")
    assert "it has no kpt_shape" in error("yolo", tmp_path / "a.yaml", tmp_path / "o")
    (tmp_path / "a.yaml").write_text("kpt_shape: [2, 2]\ntrain: [a, b]\n")
    assert "train is ['a', 'b']" in error("yolo", tmp_path / "a.yaml", tmp_path / "o")
    (tmp_path / "a.yaml").write_text("kpt_shape: [2, 2]\nflip_idx: [0]\n")
    assert "want kpt_shape: [K, 2]" in error("yolo", tmp_path / "a.yaml", tmp_path / "o")
    assert "names one image for all frames" in error("sleap", tmp_path / "a.csv", tmp_path / "o", "--images=a.png")
    deeplabcut(tmp_path / "b.csv")
    (tmp_path / "b.csv").write_text((tmp_path / "b.csv").read_text() + "images,train,1.png,1\n")
    assert "b.csv line 14: it has 4 columns" in error("deeplabcut", tmp_path / "b.csv", tmp_path / "o", "--images=.")


def test_nothing_is_written_before_all_is_right_and_nothing_is_replaced_unasked(tmp_path, images):
    for number in range(10):
        labelme(images, number)
    (images / "9.png").unlink()  # of the validation
    arguments = ["labelme", str(images), str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="there is no image"):
        from_labels.main(arguments)
    assert not (tmp_path / "out").exists()
    (images / "9.json").unlink()
    from_labels.main(arguments)
    with pytest.raises(SystemExit, match="exists already"):
        from_labels.main(arguments)
    from_labels.main([*arguments, "--overwrite"])


def test_names_without_sides_leave_the_mirror_order_to_the_user(tmp_path, images, capsys):
    labelme(images, 0, points={"a": (1.0, 2.0), "b": (3.0, 4.0)})
    labelme(images, 1, points={"a": (1.0, 2.0), "b": (3.0, 4.0)})
    from_labels.main(["labelme", str(images), str(tmp_path / "out")])
    assert "write the mirror order into" in capsys.readouterr().out
    assert of_csv(tmp_path / "out").mirror == ()
