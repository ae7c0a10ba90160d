"""Results whose names cannot be: found before the network is loaded."""

import pytest
from PIL import Image

from tests.predict import dots
from tests.predict.dots import run


@pytest.fixture
def image(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.trial("A4")
@pytest.mark.parametrize("name", ["n" * 251 + ".jpg", "n" * 248 + ".jpg", "n" * 247 + ".mp4", "\xe9" * 124 + ".jpg"])
def test_a_result_whose_name_is_too_long_is_found_at_once(image, tmp_path, name, nothing_is_loaded):
    message = run(image, tmp_path / name, "--boxes=whole", f"--out={tmp_path / 'out'}")
    assert message.startswith("error: ") and message.endswith(" cannot be written: File name too long")
    assert not (tmp_path / "out").exists()


@pytest.mark.trial("A4")
def test_a_result_with_the_longest_name_is_written(image, tmp_path, monkeypatch):
    dots.use(monkeypatch)
    image = image.rename(tmp_path / ("n" * 247 + ".jpg"))
    assert run(image, "--boxes=whole", f"--out={tmp_path / 'out'}") == 0
    assert sorted(len(path.name) for path in (tmp_path / "out").iterdir()) == [15, 255]


@pytest.mark.trial("A4")
@pytest.mark.parametrize(
    ("names", "both"),
    [
        (("b.jpg", "b.jpg.png/c.png"), "b.jpg.png"),
        (("c.avi", "c.avi.mp4/far/c.png"), "c.avi.mp4"),
        (("landmarks.jsonl/c.png",), "landmarks.jsonl"),
    ],
)
def test_a_result_that_would_be_a_folder_is_refused(tmp_path, names, both, nothing_is_loaded):
    for path in (tmp_path / "in" / name for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("not looked at")
    message = run(tmp_path / "in", "--boxes=whole", f"--out={tmp_path / 'out'}")
    place = tmp_path / "out" / both
    assert message == f"error: {place} would be a result and the folder of another; give their inputs in two calls"
    assert not place.parent.exists()
