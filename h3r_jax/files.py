"""Files that are there whole or not at all, and whose errors name them."""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from etils import epath

from h3r_jax.errors import UserError, is_full_disk
from h3r_jax.ranges import PATH

NAME_KEPT = 40  # characters of a name in that of its temporary file, which has more, and a system takes 255 bytes


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Names a file that the block writes.

    Raises:
      OSError: the block raised an OSError, or what a library says of a full disk; names the path and the reason.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and not is_full_disk(error):
            raise
        reason = "the disk is full" if is_full_disk(error) else getattr(error, "strerror", None) or error
        raise OSError(f"{path} cannot be written: {reason}") from error


def write_whole(
    path: str | os.PathLike, write: Callable[[epath.Path], Any], *, overwrite: bool = False, suffix: str = ""
) -> None:
    """Writes a file or a directory that is at `path` when it is whole, and nowhere if writing it fails.

    Args:
      path: to create.
      write: function that writes the file or directory; it is called with a temporary path beside `path`.
      overwrite: whether to replace what is there. Until the new one is whole, the old one stays.
      suffix: of the temporary path, for libraries that choose a format by it.

    Raises:
      UserError: there is something at `path` already.
      OSError: it cannot be written; names the path.
    """
    place = epath.Path(path).expanduser()
    place = place.resolve()
    check_free(place, overwrite=overwrite)
    temporary = place.parent / f".{place.name[:NAME_KEPT]}.{uuid.uuid4().hex[:8]}{suffix}"
    with writing(place):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            if place.is_dir():  # a directory is not replaced by a rename
                old = place.parent / f"{temporary.name}.old"
                place.rename(old)
                temporary.rename(place)
                shutil.rmtree(old)
            else:
                temporary.replace(place)
        except BaseException:
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
            raise


def check_free(path: str | os.PathLike, *, overwrite: bool = False) -> None:
    """Looks at a path that is going to be written; `overwrite` says whether what is there may be replaced.

    Raises:
      UserError: there is something that may not be replaced.
      OSError: there can be nothing, such as for a name that is too long; names the path.
    """
    is_there(path)
    if not overwrite and epath.Path(path).expanduser().exists():
        raise UserError(f"{path} exists already; choose another destination, or give --overwrite to replace it")


def is_there(path: str | os.PathLike) -> bool:
    """Whether something is at a local path that is going to be written, a dangling link too.

    Raises:
      OSError: there can be nothing, such as for a name that is too long; names the path.
    """
    place = Path(os.path.expanduser(path))
    with writing(path):
        try:
            os.lstat(place)
        except FileNotFoundError:
            # If its folder is not there yet, the name was not looked at.
            near = next((parent for parent in place.parents if parent.is_dir()), place.parent)
            with contextlib.suppress(FileNotFoundError):
                os.lstat(near / place.name)
            return False
        except NotADirectoryError:
            return False
    return True


def user_path(path: str | os.PathLike) -> epath.Path:
    """The path that a user gave, local or remote, with `~` expanded.

    Raises:
      UserError: it is empty, of an unknown kind, or remote and not to be reached; names it.
    """
    text = os.fspath(path)
    if not text:
        raise UserError("a path is empty; want one, such as . for this folder")
    if text not in PATH:
        raise UserError(f"{text!r} cannot be read; want {PATH}")
    try:
        place = epath.Path(text)
        if "://" in text:
            place.exists()
    except Exception as error:  # whatever a library makes of an address
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} cannot be reached ({reason}); give the path of a local copy") from error
    return place.expanduser()


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a JSON file, in place of an older one: at every moment one of the two is there whole.

    Raises:
      OSError: it cannot be written; names the path.
    """
    text = json.dumps(value, indent=2) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text), overwrite=True)


def read_json(path: str | os.PathLike) -> Any:
    """The content of a JSON file; UserError names a file that is damaged."""
    try:
        return json.loads(epath.Path(path).read_text())
    except (ValueError, RecursionError) as error:  # ValueError also of text that is not UTF-8
        raise UserError(f"{path} is damaged: it is no JSON ({error})") from error


class Lines:
    """A file of JSON objects, one a line. A line is on the disk as a whole when `write` returns.

    path: of the file; lines are added to those that are there.

    Raises:
      OSError: it cannot be written; names the path.
    """

    def __init__(self, path: str | os.PathLike):
        self._path = epath.Path(path)
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, record: Mapping[str, Any]) -> None:
        """Adds a line. A line that the disk has no room for is taken back.

        Raises:
          OSError: it cannot be written; names the path.
        """
        line = (json.dumps(record) + "\n").encode()
        with writing(self._path):
            end = self._file.tell()
            try:
                self._file.write(line)
                self._file.flush()
            except OSError:
                with contextlib.suppress(OSError, ValueError):
                    self._take_back(end)
                raise

    def _take_back(self, end: int) -> None:
        # A buffered file would write the rest of the line when it is closed.
        file, self._file = self._file, self._path.open("ab")
        with contextlib.suppress(OSError):
            file.close()
        self._file.truncate(end)

    def close(self) -> None:
        """Ends the file."""
        self._file.close()
