"""Where eval.py writes: its own earlier result is replaced, and no other."""

import itertools
import json
import types

import numpy as np
import pytest
from etils import epath
from matplotlib.figure import Figure

from h3r_jax.evaluation import report
from h3r_jax.evaluation.protocols import Scores

ABOUT = {"dataset": "faces", "folder": "faces", "split": "test", "protocol": "nme, k=9, raw", "differs_from_run": {}}
WEIGHTS = {"params": {"kernel": np.ones((2, 3), np.float32)}}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a result that only its arguments tell from others; returns the names of its files."""
    monkeypatch.setattr(report, "sheets", lambda *_: {"overlays": Figure(figsize=(0.1, 0.1))})
    evaluator = types.SimpleNamespace(split=types.SimpleNamespace(num_examples=3, official_count=None))
    values = itertools.count()

    def write(name="step5", variables=WEIGHTS, **changes):
        scores = Scores({"nme": float(next(values))}, {}, np.zeros(3), None)
        evaluation = types.SimpleNamespace(scores={"": scores})
        place = report.prepare(tmp_path)
        paths = report.write(place, evaluation, evaluator, variables, {**ABOUT, **changes}, name)
        assert all(epath.Path(path).exists() for path in paths)
        return [epath.Path(path).name for path in paths]

    return write


def nme(tmp_path, name):
    return json.loads((tmp_path / "eval" / f"{name}.json").read_text())["metrics"]["nme"]


def test_an_evaluation_replaces_its_own_result(tmp_path, write):
    assert write() == write() == ["faces-test-step5.json", "faces-test-step5-overlays.png"]
    assert nme(tmp_path, "faces-test-step5") == 1
    assert sorted(path.name for path in (tmp_path / "eval").iterdir()) == [
        "faces-test-step5-overlays.png",
        "faces-test-step5.json",
    ]


@pytest.mark.trial("A4")
@pytest.mark.parametrize(
    "changes, name",
    [
        ({"name": "step6"}, "faces-test-step6"),
        ({"name": "model (1).pth.tar"}, "faces-test-model1.pth.tar"),
        ({"name": "../../x"}, "faces-test-....x"),
        ({"split": "train"}, "faces-train-step5"),
        ({"differs_from_run": {"eval.k": (9, 4)}}, "faces-test-step5-k=4"),
        (
            {"differs_from_run": {"data.box_scale": (1.25, 1.5), "eval.flip": ("coordinates", "")}},
            "faces-test-step5-box_scale=1.5-flip=",
        ),
        ({"differs_from_run": {"eval.thresholds": ([0.1], [0.08, 0.1])}}, "faces-test-step5-thresholds=0.08,0.1"),
        ({"differs_from_run": {"data.test_folder": ("", "/a b/ü")}}, "faces-test-step5-test_folder=abü"),
        ({"protocol": "pckh, k=9, raw"}, "faces-test-step5-2"),
        ({"folder": "elsewhere/faces"}, "faces-test-step5-2"),
        ({"variables": {"params": {"kernel": np.ones((3, 2), np.float32)}}}, "faces-test-step5-2"),
        ({"variables": {"params": {"kernel": np.zeros((2, 3), np.float32)}}}, "faces-test-step5-2"),
        ({"variables": {"params": {"other": np.ones((2, 3), np.float32)}}}, "faces-test-step5-2"),
    ],
)
def test_another_evaluation_has_a_name_of_its_own(tmp_path, write, changes, name):
    write()
    assert write(**changes)[0] == f"{name}.json" and write(**changes)[1] == f"{name}-overlays.png"
    assert nme(tmp_path, "faces-test-step5") == 0 and nme(tmp_path, name) == 2


@pytest.mark.trial("A4")
@pytest.mark.parametrize("content", ["", "{", "[]", '{"dataset": "faces"}', "\xff", None])
def test_a_file_that_is_no_such_result_is_kept(tmp_path, write, content):
    file = tmp_path / "eval" / "faces-test-step5.json"
    file.parent.mkdir()
    file.mkdir() if content is None else file.write_text(content, encoding="latin-1")
    assert write() == write() == ["faces-test-step5-2.json", "faces-test-step5-2-overlays.png"]
    assert content is None or file.read_text(encoding="latin-1") == content


@pytest.mark.trial("A4")
def test_long_names_are_cut_and_still_their_own(tmp_path, write):
    first, second = (write(differs_from_run={"data.test_folder": ("", "ü" * 200 + end)}) for end in "ab")
    assert second[0] == first[0].replace(".json", "-2.json") and len(first[0].encode()) < 140


@pytest.mark.trial("B4")
@pytest.mark.parametrize("what", ["a file", "below a file"])
def test_a_place_that_cannot_be_written_is_named_before_the_work(tmp_path, what):
    (tmp_path / "eval").write_text("")
    with pytest.raises(OSError, match="eval cannot be written: "):
        report.prepare(tmp_path if what == "a file" else tmp_path / "eval" / "run")
