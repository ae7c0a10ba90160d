"""train.py and eval.py as processes: their command lines, killed and started again, and two as one."""

import json
import signal
import socket
import time

import pytest

from benchmarks import tiny_run

TOTAL_STEPS = 20


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of faces and what every run shares: prepared data and compiled programs."""
    place = tmp_path_factory.mktemp("scripts")
    tiny_run.write_data(place)
    return place


def command(script, place, workdir, *overrides):
    return tiny_run.command(script, place, workdir, *overrides, total_steps=TOTAL_STEPS)


def finish(process):
    output, _ = process.communicate(timeout=400)
    return process.returncode, output


def run(place, *arguments):
    code, output = finish(tiny_run.start(place, command(*arguments)))
    assert code == 0, output[-3000:]
    return output


@pytest.mark.parametrize(
    ("script", "arguments", "sentence"),
    [
        (
            "train.py",
            ["--config.train.epoch=3"],
            "there is no field config.train.epoch; did you mean config.train.epochs?",
        ),
        ("eval.py", [], "--config is missing, and the workdir holds no run"),
    ],
)
def test_a_wrong_command_line_ends_in_one_sentence(tmp_path, script, arguments, sentence):
    code, output = finish(tiny_run.start(tmp_path, command(script, tmp_path, tmp_path / "none", *arguments)))
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert code == 1 and len(lines) == 1 and sentence in lines[0], output[-3000:]
    assert "Traceback" not in output and not (tmp_path / "none").exists()


def losses(workdir):
    """Step -> loss; a step that was run twice must have had the same loss both times."""
    result = {}
    for step, loss in tiny_run.logged(workdir):
        assert result.setdefault(step, loss) == loss
    return result


@pytest.fixture(scope="module")
def straight(place):
    """The workdir of a run that nothing happened to."""
    run(place, "train.py", place, place / "straight")
    return place / "straight"


@pytest.mark.slow
def test_killed_and_started_again_it_ends_as_if_nothing_had_happened(place, straight):
    killed = place / "killed"
    process = tiny_run.start(place, command("train.py", place, killed))
    deadline = time.monotonic() + 300
    while not any((killed / "checkpoints" / str(step)).exists() for step in range(6, TOTAL_STEPS)):
        assert process.poll() is None and time.monotonic() < deadline, finish(process)[1][-3000:]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    finish(process)
    assert not (killed / "checkpoints" / str(TOTAL_STEPS)).exists(), "killed too late to test anything"

    output = run(place, "train.py", place, killed)
    resumed_at = int(output.split("steps       ")[1].split(" ->")[0])
    assert 6 <= resumed_at < TOTAL_STEPS
    assert losses(killed) == losses(straight) and set(losses(straight)) == set(range(1, TOTAL_STEPS + 1))

    assert "is complete" in run(place, "train.py", place, killed)
    tables = [run(place, "eval.py", place, workdir) for workdir in (straight, killed)]
    assert tables[0].splitlines()[:-1] == tables[1].splitlines()[:-1]


def run_two(script, place, workdir):
    """Two processes of a script: their exit codes and outputs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"--coordinator_address=127.0.0.1:{free.getsockname()[1]}"
    ranks = (f"--process_id={number}" for number in range(2))
    processes = [
        tiny_run.start(place, command(script, place, workdir, address, "--num_processes=2", rank)) for rank in ranks
    ]
    try:
        return [finish(process) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
def test_two_processes_train_and_evaluate_as_one(place, straight):
    workdir = place / "two"
    results = run_two("train.py", place, workdir)
    assert [code for code, _ in results] == [0, 0], results
    assert f"steps       0 -> {TOTAL_STEPS}" in results[0][1] and "2 x cpu in 2 process(es)" in results[0][1]
    assert "steps       " not in results[1][1], "one process speaks for all"
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "train/loss" in record] == list(range(1, TOTAL_STEPS + 1))
    # Summed in another order, in float32, they drift apart: 5e-5 at step 5, 2e-4 at 6, 2e-2 at 12.
    first = range(1, 6)
    assert [losses(workdir)[step] for step in first] == pytest.approx(
        [losses(straight)[step] for step in first], rel=5e-4
    )

    figures = []
    for code, output in (
        run_two("eval.py", place, workdir)[0],
        finish(tiny_run.start(place, command("eval.py", place, workdir))),
    ):
        assert code == 0, output[-3000:]
        figures.append(json.loads((workdir / "eval" / "faces-val.json").read_text()))
    assert figures[0]["count"] == figures[1]["count"] == 9
    assert figures[0]["metrics"] == pytest.approx(figures[1]["metrics"], rel=1e-5)
