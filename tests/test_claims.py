"""One owner at a time: who is refused, who waits, and when a claim is taken over. Another host is another host name."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from h3r_jax import claims
from h3r_jax.errors import UserError

QUICK = {"BEAT_SECONDS": 0.05, "SILENT_SECONDS": 0.6}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, seconds in QUICK.items():
        monkeypatch.setattr(claims, name, seconds)


def claim(tmp_path, said=None, **options):
    return claims.Claim(
        tmp_path / "run" / "owner.json", "the run", say=[].append if said is None else said.append, **options
    )


def on_another_host(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")


def left_behind(tmp_path, **changes):
    """The file of an owner that is gone: of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    place = tmp_path / "run" / "owner.json"
    place.parent.mkdir()
    owner = {
        **claims._machine(),
        "process": ended.pid,
        "start": "1",
        "since": "then",
        "id": "x",
        "heartbeat": time.time(),
    }
    place.write_text(json.dumps(owner | changes))


@pytest.mark.trial("A2")
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_second_owner_is_refused_while_the_first_lives(tmp_path, monkeypatch, elsewhere):
    with claim(tmp_path) as first:
        if elsewhere:
            on_another_host(monkeypatch)
        with pytest.raises(UserError, match=rf"the run belongs to process {os.getpid()} on .*, which is running"):
            claim(tmp_path).__enter__()
        first.check()
    assert not (tmp_path / "run").exists(), "the folder was made for the claim alone"
    with claim(tmp_path):
        (tmp_path / "run" / "work").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["work"]


@pytest.mark.trial("A2")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"process": os.getpid()},  # another process has its number now
        {"process": 2**22 + 1},
        {"ending": True},
    ],
)
def test_a_dead_process_of_this_host_is_recognised_at_once(tmp_path, changes):
    left_behind(tmp_path, **changes)
    said, start = [], time.monotonic()
    with claim(tmp_path, said):
        assert time.monotonic() - start < QUICK["SILENT_SECONDS"] / 2
    assert len(said) == 1 and said[0].startswith("Took over the run from process ")


@pytest.mark.trial("A2")
def test_a_process_that_nobody_has_waited_for_is_dead(tmp_path):
    left_behind(tmp_path)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    while claims._start(dead.pid):
        time.sleep(0.01)
    content = json.loads((tmp_path / "run" / "owner.json").read_text())
    (tmp_path / "run" / "owner.json").write_text(json.dumps(content | {"process": dead.pid}))
    with claim(tmp_path):
        pass
    dead.wait()


@pytest.mark.trial("A2")
@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "[" * 100_000, '{"host": 3}', json.dumps({"host": "elsewhere", "id": "y"})),
        *('{"heartbeat": NaN}', f'{{"heartbeat": 1{"0" * 400}}}'),
        *(json.dumps({**claims._machine(), "process": process}) for process in (10**30, "1")),
    ],
)
def test_a_silent_claim_of_another_host_is_taken_over_in_time(tmp_path, content):
    left_behind(tmp_path)
    (tmp_path / "run" / "owner.json").write_text(content)
    said, start = [], time.monotonic()
    with claim(tmp_path, said):
        assert time.monotonic() - start > QUICK["SILENT_SECONDS"]
    assert [sentence.split(" ")[0] for sentence in said] == ["Waiting", "Took"]


@pytest.mark.trial("A2")
def test_clocks_need_not_agree(tmp_path, monkeypatch):
    """A heartbeat of long ago is one of another clock, if another comes."""
    left_behind(tmp_path, host="elsewhere", heartbeat=0.0)
    start = time.monotonic()
    with claim(tmp_path):
        assert 3 * QUICK["BEAT_SECONDS"] <= time.monotonic() - start < QUICK["SILENT_SECONDS"]
    with claim(tmp_path) as first:
        first._mine["since"] = "then"
        monkeypatch.setattr(time, "time", lambda: 1e12)
        on_another_host(monkeypatch)
        with pytest.raises(UserError, match="which is running"):
            claim(tmp_path).__enter__()


@pytest.mark.trial("A2")
@pytest.mark.parametrize("how", ["ending", "wait"])
def test_it_waits_for_an_owner_that_is_ending_or_if_it_is_told_to(tmp_path, how):
    first, said = claim(tmp_path), []
    first.__enter__()
    if how == "ending":
        first.ending()
    threading.Timer(0.2, first.__exit__, (None, None, None)).start()
    with claim(tmp_path, said, wait=how == "wait"):
        assert first._over.is_set()
    assert len(said) == 1 and ("which is ending" in said[0]) == (how == "ending")


@pytest.mark.trial("A2")
@pytest.mark.parametrize("stale", [False, True])
def test_of_many_at_the_same_moment_one_gets_it(tmp_path, stale):
    if stale:
        left_behind(tmp_path)
    owners, refused, gate = [], [], threading.Barrier(8)

    def start():
        mine = claim(tmp_path)
        gate.wait()
        try:
            owners.append(mine.__enter__())
        except UserError:
            refused.append(mine)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(owners) == 1 and len(refused) == 7
    time.sleep(2 * QUICK["BEAT_SECONDS"])
    owners[0].check()
    owners[0].__exit__(None, None, None)


@pytest.mark.trial("A2")
def test_an_owner_that_was_silent_for_too_long_learns_it(tmp_path):
    with claim(tmp_path) as first:
        place = tmp_path / "run" / "owner.json"
        place.unlink()  # by hand: it is written again
        time.sleep(4 * QUICK["BEAT_SECONDS"])
        first.check()
        content = json.loads(place.read_text())
        with pytest.raises(claims.Lost, match=r"the run was taken over by process \d+ on elsewhere"):
            for _ in range(100):  # a busy machine beats late, or just after the file was changed
                place.write_text(json.dumps(content | {"id": "another", "host": "elsewhere"}))
                time.sleep(QUICK["BEAT_SECONDS"])
                first.check()
    assert place.exists(), "it is no longer its own"


@pytest.mark.trial("A2")
@pytest.mark.parametrize("make", ["file", "below a file"])
def test_a_place_that_cannot_be_owned_is_named(tmp_path, make):
    (tmp_path / "run").write_text("mine")
    path = tmp_path / "run" / ("deeper/owner.json" if make == "below a file" else "owner.json")
    with pytest.raises(OSError, match=r"owner.json cannot be written: (Not a directory|File exists)"):
        claims.Claim(path, "the run").__enter__()
