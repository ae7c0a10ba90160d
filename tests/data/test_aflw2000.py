"""AFLW2000-3D and 300W-LP, from their own files and through TFDS: the same pixels."""

import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds

from data import aflw2000
from data.source import Source
from tests.data.faces import check_split, dotted, error, prepare, save

SIZE = (450, 450)


def face(folder, name, seed, yaw=0.0, **changes):
    """Writes an image with its .mat file, 1-based; the landmarks, 0-based."""
    image, points = dotted(seed, 68, SIZE)
    save(image, folder / f"{name}.jpg")
    depth = np.random.default_rng(seed).normal(size=(1, 68))
    pose = np.float32([[0.3, np.radians(yaw), -0.2, 200, 200, -90, 1e-3]])  # pitch, yaw, roll, ...
    variables = {"pt3d_68": np.float32(np.concatenate([points.T + 1, depth])), "Pose_Para": pose, **changes}
    scipy.io.savemat(folder / f"{name}.mat", {key: value for key, value in variables.items() if value is not None})
    return points


def test_landmarks_and_subsets_by_yaw(tmp_path):
    folder = tmp_path / "aflw2000"
    yaws = (-29.9, 30.1, -75, 95)
    points = [face(folder, f"image{i:05d}", i, yaw) for i, yaw in enumerate(yaws)]
    annotations = check_split(prepare("aflw2000", folder), "test", points)
    assert annotations.subsets == ({"yaw_0_30"}, {"yaw_30_60"}, {"yaw_60_90"}, {*()})
    assert annotations.name[3].endswith("aflw2000/image00003.mat")
    assert np.isnan(annotations.box).all() and np.isnan(annotations.object_size).all()


def test_edges_of_the_subsets():
    subsets = [aflw2000.yaw_subset(yaw) for yaw in (0, 29.99, 30, -30, 59.99, 60, 90, -90, 90.01, np.nan)]
    low, middle, high = ("yaw_0_30",), ("yaw_30_60",), ("yaw_60_90",)
    assert subsets == [low, low, middle, middle, middle, high, high, high, (), ()]


NAN = np.ones((3, 68))
NAN[1, 5] = np.nan
FAULTS = {
    "2-D landmarks only": ({"pt3d_68": None, "pt2d": np.ones((2, 21))}, "image2.mat holds no variable pt3d_68; "),
    "transposed": ({"pt3d_68": np.ones((68, 3))}, "image2.mat: variable pt3d_68 has shape (68, 3), want (3, 68)"),
    "no pose": ({"Pose_Para": None}, "image2.mat holds no variable Pose_Para; "),
    "nan": ({"pt3d_68": NAN}, "image2.mat: landmark 5 is at [1.0, nan]; want finite"),
}


@pytest.mark.parametrize(("changes", "expected"), FAULTS.values(), ids=FAULTS)
def test_faults_are_named(tmp_path, changes, expected):
    folder = tmp_path / "aflw2000"
    face(folder, "image1", 0)
    face(folder, "image2", 1, **changes)
    assert expected in error("aflw2000", folder)


def test_files_without_their_other_half(tmp_path):
    folder = tmp_path / "aflw2000"
    folder.mkdir()
    assert "aflw2000 holds no file that ends in .mat; is config.data_dir right" in error("aflw2000", folder)
    face(folder, "image1", 0)
    mat = folder / "image1.mat"
    whole = mat.read_bytes()
    mat.write_bytes(whole[:300])
    assert error("aflw2000", folder).startswith(f"{mat} is not a readable MATLAB file (")
    mat.write_bytes(whole)
    (folder / "image1.jpg").rename(folder / "image2.jpg")
    assert "image2.jpg: there is no " in error("aflw2000", folder)
    (folder / "image2.jpg").rename(folder / "image1.bmp")
    assert "holds no file that ends in .jpg or .jpeg or .png" in error("aflw2000", folder)


@pytest.fixture
def unpacked(tmp_path, monkeypatch):
    """The directory that TFDS finds when it has downloaded and unpacked an archive."""
    folder = tmp_path / "unpacked"
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", lambda self, url: str(folder))
    return folder


def test_aflw2k3d_of_tfds(tmp_path, unpacked):
    points = [face(unpacked / "AFLW2000", f"image0{i:04d}", i) for i in range(3)]
    builder = prepare("aflw2k3d", tmp_path / "aflw2k3d")
    assert list(builder.info.splits) == ["test"]
    annotations = check_records(builder, "test", points)
    assert annotations.name == tuple(f"aflw2k3d train record {i}" for i in range(3))
    assert annotations.subsets == (frozenset(),) * 3


def test_the300w_lp_of_tfds_takes_the_landmarks_in_three_dimensions(tmp_path, unpacked, monkeypatch):
    parameters = {"Illum_Para": 10, "Color_Para": 7, "Tex_Para": 199, "Shape_Para": 199, "Exp_Para": 29, "roi": 4}
    points = []
    for i, part in enumerate(("AFW", "HELEN", "HELEN_Flip")):
        zeros = {name: np.zeros((1, length), np.float32) for name, length in parameters.items()}
        points.append(face(unpacked / "300W_LP" / part, f"{i}_0", i, pt2d=np.ones((2, 68)), **zeros))
        path = unpacked / "300W_LP" / "landmarks" / part / f"{i}_0_pts.mat"
        path.parent.mkdir(parents=True)
        scipy.io.savemat(path, {"pts_2d": np.ones((68, 2)), "pts_3d": points[-1] + 1})
    builder = prepare("the300w_lp", tmp_path / "the300w_lp")
    annotations = check_records(builder, "train", points[:2])  # no mirrored copies
    assert annotations.name[0] == "the300w_lp train record 0"
    # What TFDS has prepared is enough.
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", None)
    (tmp_path / "the300w_lp").rename(tmp_path / "copied")
    check_records(prepare("the300w_lp", tmp_path / "copied"), "train", points[:2])


def check_records(builder, split, points):
    """As `check_split`, in the order of TFDS, which is its own."""
    stored = Source(builder, split).annotations().landmarks
    order = [int(np.argmin([np.abs(landmarks - each).max() for each in points])) for landmarks in stored]
    assert sorted(order) == list(range(len(points)))
    return check_split(builder, split, [points[i] for i in order])


def test_no_download(tmp_path, monkeypatch):
    def fail(self, url):
        raise ConnectionError("no route\nto the host")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", fail)
    message = error("aflw2k3d", tmp_path / "aflw2k3d")
    assert message.startswith(
        f"TFDS cannot download and prepare aflw2k3d into {tmp_path / 'aflw2k3d'} (no route to the host); "
    )
    assert "run `tfds build aflw2k3d --data_dir=DIR` where there is one and copy DIR/aflw2k3d to " in message
