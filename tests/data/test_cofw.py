"""COFW: MATLAB arrays as HDF5 has them, colour and grey, pixels counted from 1."""

import h5py
import numpy as np
import pytest

from data.source import Source
from tests.data.faces import check_split, dotted, error, prepare, stored_images


def write(path, end, images, points, boxes=None, **changes):
    """A file in the official form.

    Args:
      path: of the file.
      end: of the variables' names.
      images: `uint8[H, W, 3]` or `uint8[H, W]`.
      points: `[N, 29, 2]`, 0-based.
      boxes: `[N, 4]`, x, y, width and height, 1-based.
      changes: variable -> another array, or None to leave it out.
    """
    path.parent.mkdir(exist_ok=True)
    count = len(images)
    occluded = np.random.default_rng(0).integers(0, 2, (29, count)).astype(np.float64)
    one_based = np.transpose(np.asarray(points) + 1, (2, 1, 0)).reshape(58, count)  # all x, then all y
    variables = {
        f"phis{end}": np.concatenate([one_based, occluded]),
        f"bboxes{end}": np.transpose(np.full((count, 4), (3.0, 2, 40, 30)) if boxes is None else np.float64(boxes)),
        **changes,
    }
    with h5py.File(path, "w") as file:
        cells = np.empty((1, count), h5py.ref_dtype)
        for i, image in enumerate(images):
            cells[0, i] = file.create_dataset(f"#refs#/{i}", data=np.transpose(image)).ref  # [3, W, H] or [W, H]
        variables = {f"Is{end}": cells, **variables}
        for name, array in variables.items():
            if array is not None:
                file[name] = array


FACES = [dotted(i, 29) for i in range(3)]
IMAGES, POINTS = [image for image, _ in FACES], [points for _, points in FACES]


def test_colour_and_grey_faces_with_boxes(tmp_path):
    folder = tmp_path / "cofw"
    tinted = IMAGES[0] * np.uint8([1, 1, 0]) + np.uint8([0, 0, 7])  # blue comes last
    write(
        folder / "COFW_train_color.mat",
        "Tr",
        [*IMAGES[:2], IMAGES[2][..., 0]],
        POINTS,
        [[1, 1, 64, 48], [2, 3, 10, 20], [5, 5, 1, 9]],
    )
    write(folder / "COFW_test_color.mat", "T", [tinted], POINTS[:1])
    builder = prepare("cofw", folder)
    annotations = check_split(builder, "train", POINTS)
    # The first covers the image: the outermost pixel centres.
    np.testing.assert_array_equal(annotations.box, [[0, 0, 63, 47], [1, 2, 10, 21], [4, 4, 4, 12]])
    assert annotations.name[2].endswith("COFW_train_color.mat IsTr[0, 2]")
    assert annotations.subsets == (frozenset(),) * 3
    np.testing.assert_array_equal(stored_images(Source(builder, "test"))[0], tinted)


FAULTS = {
    "no landmarks": ({"phisTr": None}, " holds no variable phisTr; is it the file of the data set's own"),
    "no images": ({"IsTr": None}, " holds no variable IsTr; is it the file of the data set's own"),
    "not transposed": ({"phisTr": np.ones((2, 87))}, ": variable phisTr has shape (2, 87), want (87, 2)"),
    "another number of boxes": ({"bboxesTr": np.ones((4, 3))}, ": variable bboxesTr has shape (4, 3), want (4, 2)"),
    "box": (
        {"bboxesTr": np.float64([[3, 3], [2, 2], [9, -9], [9, 9]])},
        " IsTr[0, 1]: the box [2.0, 1.0, -8.0, 9.0] has no size",
    ),
    "nan": ({"phisTr": np.full((87, 2), np.nan)}, " IsTr[0, 0]: landmark 0 is at [nan, nan]; want finite coordinates"),
}


@pytest.mark.parametrize(("changes", "expected"), FAULTS.values(), ids=FAULTS)
def test_faults_are_named(tmp_path, changes, expected):
    path = tmp_path / "cofw" / "COFW_train_color.mat"
    write(path, "Tr", IMAGES[:2], POINTS[:2], **changes)
    assert error("cofw", path.parent).startswith(f"{path}{expected}")


def test_unreadable_files_and_images(tmp_path):
    folder = tmp_path / "cofw"
    path = folder / "COFW_test_color.mat"
    folder.mkdir()
    assert "holds none of COFW_train_color.mat, COFW_test_color.mat; data.cofw says" in error("cofw", folder)
    write(path, "T", IMAGES[:2], POINTS[:2])
    whole = path.read_bytes()
    for part in (whole[:-200], whole[:100], b""):
        path.write_bytes(part)
        assert error("cofw", folder).startswith(f"{path} is not a readable HDF5 file (")
    write(path, "T", [IMAGES[0], IMAGES[1].astype(np.float64)], POINTS[:2])
    assert error("cofw", folder).startswith(
        f"{path} IsT[0, 1]: its image is float64[3, 64, 48] in the file, want uint8[3, W, H]"
    )
    write(path, "T", [IMAGES[0][:0]], POINTS[:1])
    assert error("cofw", folder).startswith(f"{path} IsT[0, 0]: its image is uint8[3, 64, 0] in the file, want")
