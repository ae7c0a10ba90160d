"""WFLW: the list's tokens, and a fault in each of them."""

import numpy as np
import pytest

from tests.data.faces import check_split, dotted, error, prepare, save

LIST = "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{}.txt"


def line(points, box=(4, 5, 40, 41), flags="0 0 0 0 0 0", image="1--Parade/1_Parade_0.jpg"):
    """A line in the official form."""
    return " ".join([*(f"{value:.6f}" for value in np.ravel(points)), *map(str, box), flags, image])


@pytest.fixture
def folder(tmp_path):
    """Writes lists and two images; `folder(train=[...], test=[...])` is the data set's directory."""
    for i in range(2):
        save(dotted(i, 98)[0], tmp_path / "wflw" / "WFLW_images" / "1--Parade" / f"1_Parade_{i}.jpg")

    def write(**lists):
        for split, lines in lists.items():
            path = tmp_path / "wflw" / LIST.format(split)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(each + "\n" for each in lines))
        return tmp_path / "wflw"

    return write


def test_faces_boxes_and_attributes(folder):
    first, second = dotted(0, 98)[1], dotted(1, 98)[1]
    train = [line(first), line(first, box=(0, 1, 30, 20), flags="1 0 0 1 0 1")]  # two faces of one image
    test = [line(second, flags=flags, image="1--Parade/1_Parade_1.jpg") for flags in ("0 1 0 0 0 0", "0 0 1 0 1 0")]
    builder = prepare("wflw", folder(train=train, test=test))
    annotations = check_split(builder, "train", [first, first])
    np.testing.assert_array_equal(annotations.box, [[4, 5, 40, 41], [0, 1, 30, 20]])
    assert annotations.subsets == ({*()}, {"pose", "makeup", "blur"})
    assert annotations.name[1].endswith("list_98pt_rect_attr_train.txt line 2 (1--Parade/1_Parade_0.jpg)")
    assert np.isnan(annotations.object_size).all() and np.isnan(annotations.score).all()
    assert check_split(builder, "test", [second, second]).subsets == ({"expression"}, {"illumination", "occlusion"})


def test_one_list_alone_and_a_changed_list(folder):
    points = dotted(0, 98)[1]
    path = folder(test=[line(points)])
    builder = prepare("wflw", path)
    assert list(builder.info.splits) == ["test"]
    folder(test=[line(points), line(points)])
    assert len(check_split(prepare("wflw", path), "test", [points, points]).name) == 2


POINTS = dotted(0, 98)[1]
LINES = {
    "206 tokens": (
        " ".join(line(POINTS).split()[1:]),
        "206 values, want 207: 196 coordinates, 4 of the box, 6 flags and an image",
    ),
    "a word": (line(POINTS).replace("40 41", "40 ?"), "value 200 is '?', which is not a number; correct the line"),
    "nan": (line(POINTS).replace("40 41", "40 nan"), "value 200 is 'nan', which is not a finite number"),
    "flag": (line(POINTS, flags="0 0 2 0 0 0"), "the flags are 0 0 2 0 0 0, want 0 or 1"),
    "box": (line(POINTS, box=(40, 5, 4, 41)), "(1--Parade/1_Parade_0.jpg): the box [40.0, 5.0, 4.0, 41.0] has no size"),
    "missing image": (line(POINTS, image="1--Parade/2.jpg"), "(1--Parade/2.jpg): there is no image "),
    "zero byte": (line(POINTS, image="1--Parade/2\0.jpg"), "2\0.jpg cannot be read (embedded null byte); correct that"),
    "broken image": (line(POINTS, image="1--Parade/broken.jpg"), "broken.jpg is not an image of a known format"),
    "truncated image": (
        line(POINTS, image="1--Parade/cut.jpg"),
        "cut.jpg is not a readable image (image file is truncated",
    ),
}


@pytest.mark.parametrize(("bad", "expected"), LINES.values(), ids=LINES)
def test_bad_lines_are_named(folder, bad, expected):
    path = folder(train=[line(POINTS), bad])
    images = path / "WFLW_images" / "1--Parade"
    (images / "broken.jpg").write_bytes(b"\xff\xd8 and then nothing of the kind")
    (images / "cut.jpg").write_bytes((images / "1_Parade_0.jpg").read_bytes()[:-300])
    message = error("wflw", path)
    assert message.startswith(f"{path / LIST.format('train')} line 2") and expected in message


def test_no_lists_and_empty_lists(folder):
    message = error("wflw", folder())
    assert LIST.format("test") in message and message.endswith(
        "data.wflw says how it is laid out; is config.data_dir right?"
    )
    path = folder(train=[])
    assert error("wflw", path) == f"{path / LIST.format('train')} is empty; fetch the file anew"
