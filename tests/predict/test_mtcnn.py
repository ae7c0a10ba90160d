"""The face detector in JAX, against the package whose weights it runs with."""

import collections
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import lz4.frame
import matplotlib
import numpy as np
import pytest
from PIL import Image

from h3r_jax.errors import UserError
from h3r_jax.images import read_image
from h3r_jax.predict import mtcnn, mtcnn_networks, mtcnn_weights

PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def portraits():
    """One face and several, at sizes that are odd, even, large and as small as can be."""
    face = Image.fromarray(read_image(PORTRAIT)[40:440, 60:460])
    images = [np.asarray(face.resize(size, Image.Resampling.BILINEAR)) for size in ((64, 64), (101, 90), (333, 387))]
    crowd = np.full((301, 502, 3), 90, np.uint8)
    for index, side in enumerate((50, 80, 120, 170)):
        small = np.asarray(face.resize((side, side), Image.Resampling.BILINEAR))
        crowd[40 : 40 + side, 70 * index + 10 :][:, :side] = small
    return [*images, crowd, read_image(PORTRAIT)]


def check_against_the_package(images):
    """Compares all boxes and scores; their number."""
    theirs = pytest.importorskip("mtcnn").MTCNN()
    total = 0
    for image in images:
        faces = theirs.detect_faces(image, fit_to_image=False, box_format="xyxy", min_face_size=mtcnn.SMALLEST) or []
        faces.sort(key=lambda face: -face["confidence"])
        (found,) = mtcnn.detect([image])
        assert len(found) == len(faces)
        for box, face in zip(found, faces):
            np.testing.assert_allclose(box[:4], face["box"], atol=0.51)  # theirs are rounded
            assert box[4] == pytest.approx(face["confidence"], abs=1e-4)
        total += len(faces)
    return total


# On Python 3.13 the package's way to read its weights, joblib with lz4, flushes files that are closed.
package = pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.BufferedReader>")


@package
def test_it_finds_what_the_package_finds():
    assert check_against_the_package(portraits()) >= 7


@package
def test_of_equal_scores_it_keeps_what_the_package_keeps(shared_data):
    folder = shared_data / "ytfaces68" / "val"
    assert check_against_the_package([read_image(folder / f"person{name}.jpg") for name in ("145_40", "209_30")]) == 2


def test_several_images_at_once_as_one_by_one():
    images = portraits()
    for together, image in zip(mtcnn.detect(images), images):
        np.testing.assert_allclose(together, mtcnn.detect([image])[0], atol=1e-3)


def test_a_new_size_compiles_nothing_new():
    mtcnn.detect(portraits())
    for name in mtcnn_networks.NETWORKS:
        assert mtcnn_networks.network(name).func._cache_size() == 1


def test_shrinking_takes_means_over_areas():
    """Enlarged by whole numbers first, a mean over an area is a mean over whole pixels."""
    image = np.random.default_rng(0).normal(size=(26, 35, 3)).astype(np.float32)
    found = mtcnn._shrink(image, 0.6)
    assert found.shape == (15, 21, 3)
    large = image.astype(np.float64).repeat(15, axis=0).repeat(21, axis=1)
    np.testing.assert_allclose(found, large.reshape(15, 26, 21, 35, 3).mean(axis=(1, 3)), atol=1e-6)


def test_which_boxes_are_dropped(monkeypatch):
    """The third box overlaps the second, which is dropped for the first; so the third one is dropped too."""
    boxes = np.array([[0, 0, 10, 10, 0.7], [8, 0, 18, 10, 0.5], [4, 0, 14, 10, 0.6], [30, 0, 40, 10, 0.1]])
    for rows in (1, 2, 256):
        monkeypatch.setattr(mtcnn, "ROWS", rows)
        np.testing.assert_array_equal(mtcnn._drop(boxes, 0.4), boxes[[0, 3]])
        np.testing.assert_array_equal(mtcnn._drop(boxes, 0.5), boxes[[0, 2, 1, 3]])
    inner = np.array([[0, 0, 10, 10, 0.9], [2, 2, 4, 4, 0.8]])
    assert len(mtcnn._drop(inner, 0.5)) == 2
    assert len(mtcnn._drop(inner, 0.5, of_smaller=True)) == 1


def test_no_tensorflow_is_loaded():
    code = (
        "import sys, matplotlib; from h3r_jax.predict.faces import find_faces; from h3r_jax.images import read_image\n"
        f"print(len(find_faces(read_image({str(PORTRAIT)!r}))), {{'tensorflow', 'mtcnn', 'keras'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1 set()"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder for files of weights in place of the package's."""
    found = collections.namedtuple("Spec", "submodule_search_locations")([str(tmp_path)])
    monkeypatch.setattr(mtcnn_weights.importlib.util, "find_spec", lambda name: found)
    (tmp_path / mtcnn_weights.FOLDER).mkdir(parents=True)
    return tmp_path / mtcnn_weights.FOLDER / "pnet.lz4"


def test_weights_are_read_as_they_were_written(package):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 3, 2, 4), (4,), (1, 1))]
    joblib.dump([*arrays, np.asfortranarray(arrays[0])], package, compress="lz4")
    for found, array in zip(mtcnn_weights.read("pnet"), [*arrays, arrays[0]], strict=True):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, array)


class Hostile:
    def __reduce__(self):
        return (print, ("this was run",))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lz4.frame.compress(pickle.dumps([Hostile()])), "it names builtins.print"),
        (lz4.frame.compress(pickle.dumps([1.0])), "no attribute 'array'"),
        (lz4.frame.compress(b""), "damaged"),
        (b"no lz4", "damaged"),
    ],
)
def test_other_files_are_refused(package, content, reason, capfd):
    package.write_bytes(content)
    with pytest.raises(UserError, match=f"pnet.lz4 is damaged, or holds more than arrays .*{reason}|{reason}"):
        mtcnn_weights.read("pnet")
    assert "this was run" not in capfd.readouterr().out


def test_torn_and_odd_files_are_refused(package):
    joblib.dump([np.zeros((3, 5), np.float32)], package, compress="lz4")
    whole = lz4.frame.decompress(package.read_bytes())
    package.write_bytes(lz4.frame.compress(whole[:-30]))
    with pytest.raises(UserError, match=r"pnet.lz4 is damaged.* install mtcnn anew"):
        mtcnn_weights.read("pnet")
    for odd in (np.zeros(3), np.array([Hostile()], object), np.zeros(3, "f4,f4")):
        joblib.dump([odd], package, compress="lz4")
        with pytest.raises(UserError, match="pnet.lz4 is damaged, or holds more than arrays"):
            mtcnn_weights.read("pnet")
    package.unlink()
    with pytest.raises(UserError, match=r"pnet.lz4 cannot be read \(No such file"):
        mtcnn_weights.read("pnet")
