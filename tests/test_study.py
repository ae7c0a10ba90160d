"""The laboratory: its grid, its table, and a study that is interrupted."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.study import __main__ as command
from benchmarks.study import check, decoders, examples, grid, report, table, training
from configs import quickstart, ytfaces68
from h3r_jax import codec, models
from h3r_jax.claims import Claim
from h3r_jax.errors import UserError
from h3r_jax.run import flatten
from tests.pages import ROOT

CELLS = {cell.name: cell for cell in (grid.make("phantom", seed=seed) for seed in range(3))}
SCORE = dict.fromkeys((*table.ACCURACY, "landmarks"), 1)
COST = {"steps": 2, "seconds": 3.5, "last_loss": 0.1, "parameters": 7, "multiply_adds": 9, "device": "cpu"}


def rows_of(cell, **changes):
    """Rows of two decoders, for tables that are made up."""
    scores = {name: SCORE | changes for name in ("own", "argmax", "DARK")}
    scores["own"] = scores["own"] | dict.fromkeys(table.CALIBRATION, 0.5)
    return table.rows_of(cell, grid.group_of(cell), scores, COST)


def test_no_cell_is_declared_twice():
    for name, group in grid.GROUPS.items():
        assert len(set(group.cells)) == len(group.cells), name
    different = {cell for group in grid.GROUPS.values() for cell in group.cells}
    assert set(grid.cells().values()) == different  # a name that two cells share would lose one
    assert set(grid.CPU) <= set(grid.GROUPS)


@pytest.mark.parametrize(
    ("dataset", "config", "others"),
    [("phantom", quickstart.get_config(), {}), ("ytfaces68", ytfaces68.get_config(), {"epochs": 5.0})],
)
def test_a_base_is_its_configuration(dataset, config, others):
    fields = {name.rpartition(".")[2]: value for name, value in flatten(config.to_dict()).items()}
    model, loss, train = (
        {name: config[section][name] for name in config[section]} for section in ("model", "loss", "train")
    )
    fields |= {**train, **loss, "loss": loss["name"], "model": model["name"], "input_size": model["input_size"][0]}
    fields |= {"dataset": dataset, "held_out": False, **dict(config.augment), **others}
    for field, value in dataclasses.asdict(grid.make(dataset)).items():
        assert value == fields[field], field
    assert config.landmarks.scheme == grid.SCHEMES[dataset]
    network = training.network_of(grid.make(dataset))
    assert (network.head, network.selection, network.box_scale) == ("heatmap", "top_k", config.data.box_scale)
    assert (config.augment.half_body, config.train.accumulation, config.eval.flip) == (0, 1, "")


def test_the_order_of_examples_is_that_of_the_pipeline():
    pipeline = pytest.importorskip("data.pipeline")
    found = examples.order(seed=3, count=10, batch_size=4, steps=6)
    assert found.ravel().tolist() == pipeline.global_order(3, np.arange(24), 10).tolist()


def test_whole_people_are_held_out():
    person = np.random.default_rng(0).choice([f"person{n:03d}" for n in range(60)], 900)
    out = examples.held_out(person)
    assert 0.15 <= out.mean() < 0.19
    assert not set(person[out]) & set(person[~out])
    assert (examples.held_out(person[::-1]) == out[::-1]).all()


def write_arrays(folder, dataset="phantom", **changes):
    cell = grid.make(dataset)
    made = training.made_up(cell, count=3)
    arrays = {name: getattr(made, name) for name in examples.TRAIN}
    for part in ("test", "train"):
        arrays |= {f"{part}_{name}": array for name, array in vars(made.test).items()}
    arrays |= {"person": np.array(["a", "a", "b"])} | changes
    wanted = examples.names(dataset)
    path = folder / f"{dataset}-{cell.input_size}.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if name in wanted})
    return path


def test_people_who_are_held_out_are_evaluated(tmp_path):
    write_arrays(tmp_path, "ytfaces68", train_unit=np.array([1.0, 1.0, 2.0]))
    parts = [examples.load(str(tmp_path), "ytfaces68", 128, part) for part in (False, True)]
    assert [(len(part.canvases), len(part.test.images)) for part in parts] in ([(3, 3), (1, 2)], [(3, 3), (2, 1)])
    assert len(set(parts[1].test.unit)) == 1


def test_arrays_that_are_missing_or_damaged_are_named(tmp_path):
    with pytest.raises(UserError, match=r"phantom-96\.npz is not there; write it with .*--only phantom-96"):
        examples.load(str(tmp_path), "phantom", 96)
    path = write_arrays(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"phantom-96\.npz is damaged"):
        examples.load(str(tmp_path), "phantom", 96)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A table, and a study whose cells take no time; `trained` says which ones ran."""
    trained = []

    def run(cell, arrays):
        trained.append(cell.seed)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return rows_of(cell)

    monkeypatch.setattr(command, "run", run)
    write_arrays(tmp_path)
    return tmp_path / "results.csv", trained


def test_an_interrupted_study_goes_on_and_counts_nothing_twice(place):
    path, trained = place
    with pytest.raises(KeyboardInterrupt):
        command.study(CELLS, str(path.parent), path)
    assert [row["seed"] for row in table.read(path)] == [0, 0, 0]
    command.study(CELLS, str(path.parent), path)
    command.study(CELLS, str(path.parent), path)
    assert trained == [0, 1, 1, 2]
    rows = table.read(path)
    assert [row["seed"] for row in rows] == [0] * 3 + [1] * 3 + [2] * 3
    assert rows == [row for cell in CELLS.values() for row in rows_of(cell)]
    assert sorted(file.name for file in path.parent.iterdir()) == ["phantom-96.npz", "results.csv"]


def test_a_study_stops_before_a_cell_that_would_not_fit(place, monkeypatch):
    path, trained = place
    clock = iter(np.arange(100) * 50.0)  # seconds
    monkeypatch.setattr(command.time, "monotonic", lambda: next(clock))
    said = []
    command.study(CELLS, str(path.parent), path, minutes=1.5, say=said.append)
    assert trained == [0]
    assert "seed 1 would not end within 1.5 minutes" in said[-1]


def test_two_studies_of_one_table_are_refused(place):
    path, trained = place
    with Claim(path.parent / "results.running.json", "the study"), pytest.raises(UserError, match="study"):
        command.study(CELLS, str(path.parent), path)
    assert not trained


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-5], r"line 7: .*"),
        (lambda text: text[: text.rindex("\n", 0, -1) + 1], "line 5: the run .*seed 1' begins there and does not end"),
        (lambda text: text.replace(",3.5,", ",x,", 1), "line 2: seconds is 'x', no float"),
        (lambda text: text + text.splitlines(True)[3], "line 8: the decoder 'own' of the run .* in line 4 already"),
        (lambda text: text.replace("error_cells", "error"), "line 1: the columns are not those of the study"),
        (lambda text: "a,b\n1,2\n", "line 1: the columns are not those of the study"),
        (lambda text: text.replace("phantom: spatial", '"phantom: spatial', 1), "line 2: .*"),
    ],
)
def test_a_torn_or_foreign_table_is_refused(tmp_path, damage, message):
    path = tmp_path / "results.csv"
    for cell in list(CELLS.values())[:2]:
        table.add(path, rows_of(cell))
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=rf"results\.csv {message}"):
        table.read(path)


def test_rows_of_another_grid_are_refused(tmp_path):
    path, cell = tmp_path / "results.csv", CELLS["phantom: spatial cross entropy expected"]
    rows = [{**row, "epochs": 7.0} for row in rows_of(cell)]
    with pytest.raises(UserError, match="line 2: .* has epochs 7.0, and the grid wants 6.0"):
        table.done(path, rows, CELLS)


@pytest.mark.slow
def test_a_cell_is_trained_and_every_decoder_has_a_row(monkeypatch):
    monkeypatch.setitem(models.BACKBONES, check.NAME, check.Backbone)
    wanted, make = ("argmax", "soft-argmax", "top 1", "top 9", "mismatched: identity"), decoders.decoders
    few = lambda *form: {name: decode for name, decode in make(*form).items() if name in wanted}
    monkeypatch.setattr(decoders, "decoders", few)  # all of them take long to compile
    still = dict.fromkeys(("rotation", "scale", "shift", "color"), 0.0)
    cell = grid.make("phantom", model=check.NAME, input_size=32, batch_size=2, epochs=2.0, **still)
    monkeypatch.setattr(grid, "group_of", lambda cell: "none")
    rows = command.run(cell, training.made_up(cell, count=3))
    by_name = {row["decoder"]: row for row in rows}
    assert rows[-1]["decoder"] == "own"
    assert by_name["own"]["error_cells"] == by_name["top 9"]["error_cells"] > 0  # what belongs to a cross-entropy
    assert by_name["own"]["error_pixels"] == pytest.approx(4 * by_name["own"]["error_cells"])
    assert by_name["argmax"]["error_cells"] == by_name["top 1"]["error_cells"]
    assert {*wanted, "own"} == set(by_name)
    assert rows[-1]["steps"] == 3
    assert rows[-1]["parameters"] == training.size_of(cell)[0] > 0


def test_decoders_that_need_a_larger_map_are_left_out():
    everything = decoders.decoders((24, 24), "sigmoid")
    assert {"mismatched: softmax", "mismatched: identity", "DARK", "UDP", "local soft-argmax"} < set(everything)
    assert {f"top {k}" for k in decoders.TOP_K} | {f"neighbours {k}" for k in decoders.NEIGHBOURS} < set(everything)
    found = decoders.decoders((4, 4), "softmax")
    assert [name for name in found if name[0] in "tn"][-4:] == [
        "top 16",
        "neighbours 4",
        "neighbours 5",
        "neighbours 9",
    ]
    assert "local soft-argmax" not in found


def test_accuracy_of_a_constant_shift():
    truth, weight = np.full((2, 3, 2), 10.0), np.ones((2, 3), np.float32)
    weight[1, 2] = 0
    crops = examples.Crops(np.zeros((2, 8, 8, 3), np.uint8), truth, weight, np.array([10.0, 100.0]))
    found = decoders.accuracy(truth + (3.0, -4.0), crops, weight > 0, stride=4)
    assert found == pytest.approx(
        {
            "error_cells": 1.25,
            "error_pixels": 5,
            "bias_x": 0.75,
            "bias_y": -1,
            "nme": 27.5,
            "failures": 50,
            "landmarks": 5,
        }
    )


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_calibration_of_a_normal_error(width):
    rng, half = np.random.default_rng(0), np.array([[2.0, 0.0], [1.0, 0.5]])
    truth = np.zeros((400, 50, 2))
    covariance = np.broadcast_to(half @ half.T * width**2, (400, 50, 2, 2))
    decoded = codec.Decoded(rng.normal(size=truth.shape) @ half.T, np.ones((400, 50)), covariance)
    crops = examples.Crops(truth, truth, np.ones((400, 50)), np.ones(400))
    found = decoders.calibration(decoded, crops, np.ones((400, 50), bool))
    inside = [1 - (1 - share) ** (width**2) for share in (0.5, 0.9)]
    wanted = dict(zip(table.CALIBRATION, [1 / width, *inside, 0.5, 0.9]))
    assert found == pytest.approx(wanted, abs=0.012)


def test_a_covariance_without_width_holds_only_its_centre():
    apart = np.array([[0.0, 0.0], [1.0, 0.0]])
    assert decoders.mahalanobis(apart, np.diag([1.0, 0.0])[None].repeat(2, 0)).tolist() == [0, np.inf]


def test_the_report_shows_spreads_and_invents_nothing(tmp_path, monkeypatch, capsys):
    path = tmp_path / "results.csv"
    contender = [cell for cell in grid.GROUPS["contenders"].cells if cell.target == "sampled" and not cell.sigma]
    for cell, error in zip(contender[:2], (0.25, 0.75)):
        table.add(path, rows_of(cell, error_cells=error))
    high = next(cell for cell in grid.GROUPS["threshold"].cells if cell.threshold == 1)
    table.add(path, rows_of(high, bias_x=-0.49, bias_y=-0.51))
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- study: bias -->\n\n| earlier |\n|---|\n| 1 |\n\nafter\n")
    arguments = [f"--table={path}", f"--out={tmp_path / 'figures'}", f"--page={page}"]
    monkeypatch.setattr(sys, "argv", ["report", *arguments])
    report.main()
    lines = capsys.readouterr().out.splitlines()
    spread = "0.5000 (0.2500 to 0.7500)"
    assert f"| spatial cross entropy sampled | 2 | {spread} | {spread} | {spread} | DARK | {spread} |" in lines
    assert "| integral | 0 | - | - | - | - | - |" in lines
    assert "| 1 | own | -0.4900 | -0.5100 | -0.5000 |" in lines
    assert "| 0 | own | - | - | +0.5000 |" in lines
    assert len(list((tmp_path / "figures").glob("study_*.png"))) == 3
    written = page.read_text()
    assert written.startswith("before\n\n<!-- study: bias -->\n\n| threshold |") and written.endswith("|\n\nafter\n")
    assert "| 1 | own | -0.4900 | -0.5100 | -0.5000 |" in written and "earlier" not in written
    assert report.fill(written, report.tables(table.read(path))) == written


def test_the_page_shows_the_committed_results():
    page = (ROOT / "docs" / "results.md").read_text()
    assert "<!-- study: objectives -->" in page
    assert report.fill(page, report.tables(table.read(ROOT / "benchmarks" / "study" / "results.csv"))) == page


def test_the_study_needs_neither_tensorflow_nor_configurations():
    code = "import sys, benchmarks.study.__main__, benchmarks.study.report; print(*sys.modules)"
    root = Path(__file__).parents[1]
    loaded = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    absent = {"tensorflow", "tensorflow_datasets", "ml_collections", "torch", "configs", "data"}
    assert not absent & set(loaded.stdout.split())
