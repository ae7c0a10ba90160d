"""300W: MATLAB's pixels, directories as lists, boxes of a detector."""

import numpy as np
import pytest
import scipy.io

from tests.data.faces import check_split, dotted, error, prepare, save


class Folder:
    """A copy of 300W in a temporary directory."""

    def __init__(self, root):
        self.path = root / "w300"
        self.path.mkdir()

    def face(self, part, name, seed, suffix=".png", end="\n"):
        """Writes an image and its .pts file, 1-based; the landmarks, 0-based."""
        image, points = dotted(seed, 68)
        save(image, self.path / part / f"{name}{suffix}")
        self.pts(part, name, points + 1, end)
        return points

    def pts(self, part, name, points, end="\n"):
        lines = ["version: 1", "n_points:  68", "{", *(f"{x:.6f} {y:.6f}" for x, y in points), "}"]
        (self.path / part / f"{name}.pts").write_text(end.join(lines) + end)

    def boxes(self, file, **boxes):
        """Writes a file of boxes: name of the image -> x0, y0, x1, y1, 1-based."""
        cells = np.empty((1, len(boxes)), object)
        for i, (name, box) in enumerate(boxes.items()):
            cells[0, i] = {"imgName": name, "bb_detector": [box], "bb_ground_truth": [[1.0, 2.0, 3.0, 4.0]]}
        (self.path / "Bounding_Boxes").mkdir(exist_ok=True)
        scipy.io.savemat(self.path / "Bounding_Boxes" / f"bounding_boxes_{file}.mat", {"bounding_boxes": cells})


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_splits_subsets_and_landmarks(folder):
    train = [
        folder.face("afw", "1_2", 0, ".jpg"),
        folder.face("helen/trainset", "a.b", 1, ".jpg", end="\r\n"),  # only the last dot begins the suffix
        folder.face("lfpw/trainset", "image_0001", 2, end="\n\n"),
    ]
    test = [
        folder.face("helen/testset", "1", 3, ".jpg"),
        folder.face("lfpw/testset", "1", 4),
        folder.face("ibug", "image_092 _01", 5, ".jpg"),
        folder.face("ibug", "image_1", 6, ".JPG"),
    ]
    private = [folder.face("300W/01_Indoor", "indoor_001", 7), folder.face("300W/02_Outdoor", "outdoor_001", 8)]
    (folder.path / "ibug" / "._image_1.JPG").write_bytes(b"of an archive made on a Mac")
    builder = prepare("w300", folder.path)
    assert set(builder.info.splits) == {"train", "test", "private"}
    assert check_split(builder, "train", train).subsets == (frozenset(),) * 3
    annotations = check_split(builder, "test", test)
    assert annotations.subsets == ({"common"}, {"common"}, {"challenge"}, {"challenge"})
    assert annotations.name[2].endswith("ibug/image_092 _01.pts")
    assert np.isnan(check_split(builder, "private", private).box).all()


def test_boxes_are_the_detectors_and_count_from_one(folder):
    points = [folder.face("afw", name, i, ".jpg") for i, name in enumerate(("a", "b"))]
    points.append(folder.face("lfpw/trainset", "a", 2))
    folder.boxes("afw", **{"b.jpg": (3.5, 4, 40, 41), "of another copy.jpg": (1, 1, 2, 2)})
    folder.boxes("lfpw_trainset", **{"a.png": (1, 1, 64, 48)})
    annotations = check_split(prepare("w300", folder.path), "train", points)
    np.testing.assert_array_equal(annotations.box, [[np.nan] * 4, [2.5, 3, 39, 40], [0, 0, 63, 47]])
    # Another box makes another data set.
    folder.boxes("lfpw_trainset", **{"a.png": (1, 1, 60, 48)})
    assert check_split(prepare("w300", folder.path), "train", points).box[2, 2] == 59


def edit(change):
    """A fault in the .pts file of the second of two faces: the change of its lines."""

    def apply(folder):
        path = folder.path / "ibug" / "b.pts"
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return apply


FAULTS = {
    "67 points": (edit(lambda lines: lines[:5] + lines[6:]), "b.pts: 67 lines of points, want 68"),
    "three numbers": (edit(lambda lines: [*lines[:5], "1 2 3", *lines[6:]]), "b.pts line 6: 3 values, want x and y"),
    "word": (
        edit(lambda lines: [*lines[:5], "1 x", *lines[6:]]),
        "b.pts line 6: value 2 is 'x', which is not a number",
    ),
    "no braces": (
        edit(lambda lines: lines[:-1]),
        "b.pts: want the points between one line that is { and one that is }",
    ),
    "empty": (edit(lambda lines: []), "b.pts is empty; fetch the file anew"),
    "no image": (lambda f: (f.path / "ibug" / "b.jpg").unlink(), "b.pts: there is no image b.jpg or .png in "),
    "no landmarks": (lambda f: (f.path / "ibug" / "b.pts").unlink(), "b.jpg: there is no "),
    "two images": (
        lambda f: save(dotted(0, 68)[0], f.path / "ibug" / "b.png"),
        "both b.jpg and b.png are there; remove one",
    ),
    "broken image": (
        lambda f: (f.path / "ibug" / "b.jpg").write_bytes(b"JPEG"),
        "b.jpg is not an image of a known format",
    ),
    "empty directory": (
        lambda f: (f.path / "afw").mkdir(),
        "afw holds no file that ends in .pts; is config.data_dir right, and the data set whole?",
    ),
    "box": (
        lambda f: f.boxes("ibug", **{"b.jpg": (9, 9, 5, 40)}),
        "bounding_boxes_ibug.mat bounding_boxes{1}: the box [9.0, ",
    ),
    "half a box": (
        lambda f: f.boxes("ibug", **{"b.jpg": (9, 9)}),
        "bounding_boxes{1}: want imgName and bb_detector with four",
    ),
}


@pytest.mark.parametrize(("fault", "expected"), FAULTS.values(), ids=FAULTS)
def test_faults_are_named(folder, fault, expected):
    for i, name in enumerate(("a", "b")):
        folder.face("ibug", name, i, ".jpg")
    fault(folder)
    assert expected in error("w300", folder.path)


def test_broken_boxes_and_no_directories(folder):
    assert "w300 holds none of afw, helen/trainset, " in error("w300", folder.path)
    folder.face("afw", "a", 0, ".jpg")
    folder.boxes("afw", **{"a.jpg": (1, 2, 3, 4)})
    path = folder.path / "Bounding_Boxes" / "bounding_boxes_afw.mat"
    path.write_bytes(path.read_bytes()[:400])
    assert error("w300", folder.path).startswith(f"{path} is not a readable MATLAB file (")
    scipy.io.savemat(path, {"boxes": np.ones(4)})
    assert f"{path} holds no variable bounding_boxes; " in error("w300", folder.path)
