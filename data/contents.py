"""What files hold, by their SHA-256. A file is read again only if its size or one of its times has changed."""

import concurrent.futures
import contextlib
import hashlib
import itertools
import json
import os
import stat
import time
from collections.abc import Iterable

from etils import epath

from h3r_jax import digests
from h3r_jax.files import write_whole

THREADS = 16  # a file system of another host answers many at once
CHUNK = 256  # files that a thread looks at before it takes the next ones
# Times of files are as coarse as this on some file systems. A file that changed so recently may change once more
# without another time, so it is read again the next time.
SETTLED_NS = 2 * 10**9
State = tuple[int, int, int]  # size, and times of the last change of content and of state, nanoseconds


class Contents:
    """The contents of the files of a folder, and a file that remembers them.

    folder: of the files. On a cloud, the time of the last change of state is not known.
    memory: path of the file that remembers; None to remember nothing.
    """

    def __init__(self, folder: epath.Path, memory: epath.Path | None = None):
        self._folder, self._memory, self._new = folder, memory, False
        self._known: dict[str, tuple[State | None, str]] = {}
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):  # it only saves time
            content = json.loads(memory.read_bytes()) if memory else {}
            self._known = {name: (tuple(state) if state else None, digest) for name, (state, digest) in content.items()}

    def name(self, path: epath.Path) -> str:
        """A path within the folder, relative to it; another path as it is."""
        return os.fspath(path).removeprefix(f"{os.fspath(self._folder)}/")

    def digests(self, names: Iterable[str]) -> dict[str, str]:
        """Name, as `name` makes it -> SHA-256 of the file, or of the names in a folder; empty if it cannot be read."""
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            chunks = pool.map(lambda chunk: [(name, self.digest(name)) for name in chunk], _chunks(names))
            return dict(itertools.chain.from_iterable(chunks))

    def digest(self, name: str) -> str:
        """One of `digests`."""
        path, now = os.path.join(self._folder, name), time.time_ns()  # joined as text: there may be 100,000
        try:
            state, readable = _state(path)
            known = self._known.get(name)
            if known and known[0] == state:
                return known[1]
            digest = _digest(epath.Path(path)) if readable else ""
        except (OSError, ValueError):  # ValueError of a zero byte in a name
            return ""
        settled = max(state[1:]) < now - SETTLED_NS
        self._known[name] = (state if settled else None, digest)
        if self._known[name] != known:
            self._new = True
        return digest

    def remember(self) -> None:
        """Writes the memory if there is something new; says nothing if it cannot be written, for it only saves time."""
        if not (self._new and self._memory):
            return
        text = json.dumps(self._known, separators=(",", ":"))
        with contextlib.suppress(OSError):
            write_whole(self._memory, lambda temporary: temporary.write_text(text), overwrite=True)
            self._new = False


def _chunks(names: Iterable[str]) -> Iterable[list[str]]:
    rest = iter(names)
    while chunk := list(itertools.islice(rest, CHUNK)):
        yield chunk


def _state(path: str) -> tuple[State, bool]:
    """The State of a file or folder, and whether it is one: a pipe would be waited for without end."""
    if "://" in path:
        there = epath.Path(path).stat()
        return (there.length, there.mtime * 10**9, 0), True
    status = os.stat(path)
    regular = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns), regular


def _digest(path: epath.Path) -> str:
    if path.is_dir():
        return hashlib.sha256("\n".join(sorted(each.name for each in path.iterdir())).encode()).hexdigest()
    with path.open("rb") as file:
        return digests.of_file(file)
