"""One owner at a time for what stands in a folder: a run, a prepared data set.

The owner keeps a file beside its work. The file says which process of which host it is, and since when, and it is
written anew every few seconds: the heartbeat. On the same host a process that is dead is recognised at once. On another
host the file is watched: an owner that changes it lives, and one that has not changed it for two minutes is gone.
Clocks of different hosts need not agree.
"""

import contextlib
import datetime
import json
import math
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from etils import epath

from h3r_jax.errors import UserError
from h3r_jax.files import write_whole, writing

BEAT_SECONDS = 10.0  # between heartbeats
SILENT_SECONDS = 120.0  # without a heartbeat, after which an owner on another host is gone


class Lost(UserError):
    """Another process has taken the claim over, because this process was silent for too long."""


class Claim:
    """The claim on what stands in a folder, for a `with` block.

    path: of the claim's file, in that folder; the folder is made, and removed at the end if it is empty.
    what: that is owned, for messages.
    wait: whether to wait for another owner to end; otherwise only for one that is ending or may be dead.
    say: function that prints a sentence.

    Raises:
      UserError: another process owns it.
      OSError: the folder cannot be written.
    """

    def __init__(self, path: str | os.PathLike, what: str, *, wait: bool = False, say: Callable[[str], object] = print):
        self._path, self._what, self._patient, self._say = epath.Path(path), what, wait, say
        self._remote = "://" in os.fspath(self._path)  # epath creates nothing exclusively in a cloud
        self._mine = {**_this_process(), "id": uuid.uuid4().hex, "ending": False}
        self._lock, self._over, self._lost = threading.Lock(), threading.Event(), ""

    def __enter__(self) -> Self:
        self._made = not self._path.parent.exists()
        while not self._create():
            self._wait()
        threading.Thread(target=self._beat, daemon=True, name=f"claim on {self._what}").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with self._lock, contextlib.suppress(OSError):
            if (self._read() or {}).get("id") == self._mine["id"]:
                self._path.unlink()
                if self._made and not any(self._path.parent.iterdir()):
                    self._path.parent.rmdir()

    def check(self) -> None:
        """Lost if another process has taken the claim over. Call it before anything is written that has one owner."""
        with contextlib.suppress(OSError):
            self._renew()  # the thread may not have run since this process was suspended
        if self._lost:
            raise Lost(self._lost)

    def ending(self) -> None:
        """Tells processes that want the claim that it is about to be free: they wait in place of giving up."""
        self._mine["ending"] = True
        with contextlib.suppress(OSError):
            self._renew()

    # ---- The file.

    def _text(self) -> str:
        return json.dumps({**self._mine, "heartbeat": time.time()}, indent=2) + "\n"

    def _read(self) -> dict[str, Any] | None:
        """The content of the file; None if there is no file, empty if it is no claim."""
        return _content(self._path)

    def _create(self) -> bool:
        """Creates the file; False if there is one."""
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)  # an owner that ends may have removed it
            if self._remote:
                if self._path.exists():
                    return False
                self._path.write_text(self._text())
                return True
            try:
                with open(self._path, "x") as file:
                    try:
                        file.write(self._text())
                        file.flush()
                    except OSError:
                        self._path.unlink()  # half a claim would hold up others
                        raise
            except (FileExistsError, FileNotFoundError):  # or the folder was removed in between
                return False
            return True

    def _renew(self) -> None:
        with self._lock:
            owner = self._read()
            if self._over.is_set():
                return
            if owner and owner.get("id") != self._mine["id"]:
                self._lost = (
                    f"{self._what} was taken over by {_name(owner)}, because this process was silent for too long. It "
                    "ends here; what it did since the last checkpoint is not saved"
                )
                return
            write_whole(self._path, lambda temporary: temporary.write_text(self._text()), overwrite=True)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS) and not self._lost:
            with contextlib.suppress(OSError):  # a full disk is for the owner's own writing to say
                self._renew()

    # ---- Another owner.

    def _wait(self) -> None:
        """Returns when the file of another owner is gone, or removes it if its owner is.

        Raises:
          UserError: the owner lives, and this process is not to wait.
        """
        seen: dict[str, Any] | None = None
        said = changed = False
        since = 0.0
        while (owner := self._read()) is not None:
            if seen is None or owner.get("id") != seen.get("id"):
                said, changed, since = False, False, time.monotonic() - _silence(owner)
            elif owner != seen:
                changed, since = True, time.monotonic()
            seen, here = owner, _is_alive(owner)
            gone = time.monotonic() - since > SILENT_SECONDS if here is None else not here
            if gone:
                return self._remove(owner)
            patient = self._patient or owner.get("ending")
            if (here or changed) and not patient:
                raise UserError(
                    f"{self._what} belongs to {_name(owner)}, which is running. Wait for its end, or end it, or choose "
                    "another place"
                )
            if not said:
                said = True
                reason = f"which counts as gone if it stays silent for {SILENT_SECONDS:.0f} s"
                reason = "which is ending" if owner.get("ending") else reason if here is None else "which is running"
                self._say(f"Waiting for {self._what}: it belongs to {_name(owner)}, {reason}.")
            time.sleep(min(0.5, BEAT_SECONDS / 4))

    def _remove(self, owner: dict[str, Any]) -> None:
        """Removes the file of an owner that is gone, and of no other: of many processes, one at a time may do it."""
        taking = f"Took over {self._what} from {_name(owner)}, which ended without giving it back."
        if self._remote:
            self._path.unlink(missing_ok=True)
            self._say(taking)
            return
        ident = re.sub(r"\W", "", str(owner.get("id")))[:40]
        mark = self._path.with_name(f".{self._path.name}.{ident}.gone")
        with writing(self._path):
            try:
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - os.stat(mark).st_mtime > SILENT_SECONDS:
                        mark.unlink()  # of a process that died while it removed the file
                time.sleep(0.01)
                return
            try:
                if (self._read() or {}).get("id") == owner.get("id"):
                    self._path.unlink(missing_ok=True)
                    self._say(taking)
            finally:
                mark.unlink(missing_ok=True)


def _content(path: epath.Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _name(owner: dict[str, Any]) -> str:
    fields = {"process": "?", "host": "?", "since": "?", **owner}
    return f"process {fields['process']} on {fields['host']} (since {fields['since']})"


def _this_process() -> dict[str, Any]:
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {**_machine(), "process": os.getpid(), "start": _start(os.getpid()), "since": since}


def _machine() -> dict[str, str]:
    """The host; numbers of processes are good within one start of it, and within one container."""
    scope = []
    with contextlib.suppress(OSError):  # there is no /proc but on Linux
        scope = [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return {"host": socket.gethostname(), "scope": " ".join(scope)}


def _start(process: int) -> str:
    """When a process of this host was started, in ticks; empty if it has ended, or on systems that do not say."""
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else fields[18]


def _is_alive(owner: dict[str, Any]) -> bool | None:
    """Whether the process of a claim lives; None if that cannot be seen from this host."""
    process = owner.get("process")
    if {name: owner.get(name) for name in ("host", "scope")} != _machine():
        return None
    if type(process) is not int or not 0 < process < 2**31:
        return None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is of another user
        pass
    return owner.get("start") == _start(process)


def _silence(owner: dict[str, Any]) -> float:
    """Seconds since the last heartbeat by the clocks; never so long that no further heartbeat would be waited for."""
    heartbeat = owner.get("heartbeat")
    silent = time.time() - heartbeat if isinstance(heartbeat, float) and math.isfinite(heartbeat) else 0.0
    return min(max(silent, 0.0), SILENT_SECONDS - 3 * BEAT_SECONDS)
