"""metrics.jsonl and the event files of TensorBoard when a run goes on."""

import json

import pytest
from tensorboardX.proto import event_pb2

from h3r_jax.run import Run
from h3r_jax.training import writers

LINES = [{"step": step, "train/loss": 1 / step} for step in (2, 4, 6)]
WHOLE = "".join(json.dumps(line) + "\n" for line in LINES)


@pytest.mark.trial("C6")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (WHOLE, ""),
        (WHOLE + WHOLE[-20:-1], "1 damaged line removed"),
        (WHOLE[:-9], "1 damaged line removed"),
        (WHOLE[:50] + WHOLE[40:], "1 damaged line removed"),
        (WHOLE + "no JSON\n[]\n{}\n", "3 damaged lines removed"),
        (WHOLE + '{"step": "3"}\n{"step": null}\n{"step": [1]}\n', "3 damaged lines removed"),
        (WHOLE + '{"step": NaN}\n{"step": true}\n{"step": 1.5}\n', "3 damaged lines removed"),
        (WHOLE + "[" * 100_000 + "\n", "1 damaged line removed"),
        (WHOLE.replace("\n", "\n\n"), ""),
        ("", ""),
    ],
)
def test_metrics_go_on_after_the_step_of_the_checkpoint(tmp_path, content, said, capsys):
    (tmp_path / "metrics.jsonl").write_text(content)
    with writers.of_run(Run(tmp_path), after=4) as writer:
        writer.write(6, {"train/loss": 0.5})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    expected = [line for line in LINES[:2] if json.dumps(line) + "\n" in content]
    assert lines == [*expected, {"step": 6, "train/loss": 0.5}]
    printed = capsys.readouterr().out
    assert said in printed and bool(said) == ("damaged" in printed)


@pytest.mark.trial("C6")
def test_tensorboard_hides_what_comes_again(tmp_path):
    def read(path):
        content = path.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            yield event_pb2.Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]

    for after, values in ((0, {1: 0.1, 2: 0.2, 3: 0.3}), (2, {3: 0.33})):
        writer = writers.TensorBoardWriter(tmp_path, after)
        for step, value in values.items():
            writer.write(step, {"loss": value})
        writer.close()
    events = [event for path in sorted(tmp_path.iterdir()) for event in read(path)]
    starts = [event.step for event in events if event.session_log.status == event_pb2.SessionLog.START]
    assert sorted(starts) == [1, 3], "TensorBoard removes what earlier files have from these steps on"
    assert sorted(event.step for event in events if event.summary.value) == [1, 2, 3, 3]
