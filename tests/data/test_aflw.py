"""AFLW: the permutation, x before y, and what its box and mask are for."""

import numpy as np
import pytest
import scipy.io

from data import aflw
from data.source import Source
from tests.data.faces import check_split, dotted, error, prepare, save

NAMES = ("0/image1.jpg", "2/image2.jpg", "3/image3.jpg", "0/image1.jpg")
SEEDS = (0, 1, 2, 0)  # the last face is in the image of the first
POINTS = [dotted(seed, 19)[1] for seed in SEEDS]
BOXES = ([2, 42, 3, 33], [4, 24, 5, 45], [0, 10, 0, 10], [1, 9, 2, 9])  # x0, x1, y0, y1


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Writes the file with changed variables; the first two faces of `ra` are in "train"."""
    monkeypatch.setattr(aflw, "TRAIN_COUNT", 2)
    for name, seed in zip(NAMES, SEEDS):
        save(dotted(seed, 19)[0], tmp_path / "aflw" / "flickr" / name)

    def write(**changes):
        names = np.empty((len(NAMES), 1), object)
        names[:, 0] = [changes.pop("last_name", name) if i == 3 else name for i, name in enumerate(NAMES)]
        mask = np.ones((4, 19), np.uint8)
        mask[2, 7] = 0
        variables = {
            "nameList": names,
            "bbox": np.float64(BOXES),
            "data": np.array([points.T.ravel() for points in POINTS]),
            "mask_new": mask,
            "ra": np.array([[4, 2, 3, 1]]),
            **changes,
        }
        path = tmp_path / "aflw" / "AFLWinfo_release.mat"
        scipy.io.savemat(path, {name: array for name, array in variables.items() if array is not None})
        return tmp_path / "aflw"

    return write


def test_faces_in_the_order_of_the_permutation(folder):
    builder = prepare("aflw", folder())
    train = check_split(builder, "train", [POINTS[3], POINTS[1]])
    np.testing.assert_array_equal(train.box, [[1, 2, 9, 9], [4, 5, 24, 45]])
    np.testing.assert_array_equal(train.object_size, [8, 40])  # the longer side
    assert train.subsets == (frozenset(),) * 2
    assert train.name[0].endswith("AFLWinfo_release.mat face 4 (0/image1.jpg)")
    test = check_split(builder, "test", [POINTS[2], POINTS[0]])  # a landmark called invisible counts
    assert test.subsets == ({*()}, {"frontal"})
    np.testing.assert_array_equal(test.object_size, [10, 40])


def test_landmarks_outside_the_image_are_kept(folder):
    data = np.array([points.T.ravel() for points in POINTS])
    data[0, :3] = -7.5, 0, 64
    annotations = Source(prepare("aflw", folder(data=data)), "test").annotations()
    assert annotations.outside_image() == 2
    np.testing.assert_array_equal(annotations.landmarks[1, :3, 0], [-7.5, 0, 64])


NAN = np.array([points.T.ravel() for points in POINTS])
NAN[3, 20] = np.nan  # y of landmark 1
FAULTS = {
    "beyond": ({"ra": np.array([[1, 2, 3, 5]])}, ": variable ra holds 1 to 5, want each of 1 to 4 once"),
    "from zero": ({"ra": np.array([[0, 1, 2, 3]])}, ": variable ra holds 0 to 3, want each of 1 to 4 once"),
    "twice": ({"ra": np.array([[1, 2, 3, 3]])}, ": variable ra holds 1 to 3, want each of 1 to 4 once"),
    "short": ({"ra": np.array([[1, 2, 3]])}, ": variable ra has shape (1, 3), want (1, 4)"),
    "no mask": ({"mask_new": None}, " holds no variable mask_new; is it the file of the data set's own distribution?"),
    "21 landmarks": ({"data": np.ones((4, 42))}, ": variable data has shape (4, 42), want (4, 38)"),
    "nan": ({"data": NAN}, " face 4 (0/image1.jpg): landmark 1 is at ["),
    "x0 y0 x1 y1": (
        {"bbox": np.float64(BOXES)[:, ::-1]},
        " face 4 (0/image1.jpg): the box [9.0, 9.0, 2.0, 1.0] has no size",
    ),
    "missing image": ({"last_name": "3/no.jpg"}, " face 4 (3/no.jpg): there is no image "),
}


@pytest.mark.parametrize(("changes", "expected"), FAULTS.values(), ids=FAULTS)
def test_faults_are_named(folder, changes, expected):
    path = folder(**changes)
    assert error("aflw", path).startswith(f"{path / 'AFLWinfo_release.mat'}{expected}")


def test_truncated_and_missing_file(folder):
    path = folder() / "AFLWinfo_release.mat"
    whole = path.read_bytes()
    for part in (whole[:-500], whole[:150], b""):
        path.write_bytes(part)
        assert error("aflw", path.parent).startswith(f"{path} is not a readable MATLAB file (")
    path.unlink()
    assert "aflw holds none of AFLWinfo_release.mat; data.aflw says" in error("aflw", path.parent)
