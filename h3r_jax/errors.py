"""One sentence for a mistake of the user, a traceback for a mistake of the program.

The class decides. A command prints a `UserError` or an `OSError` as one sentence and ends with status 1. It does the
same for a full disk and for memory that is used up, whichever library finds it. Ctrl-C ends with status 130. Every
other exception keeps its traceback, JAX's own ValueError too.
"""

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType

INTERRUPTED = 128 + signal.SIGINT  # the status that a shell reports of a process that Ctrl-C ended


# Python throws away what is raised in these functions. JAX calls the first whenever garbage is collected.
_UNRAISABLE = ("_xla_gc_callback", "__del__")


def watch_for_interrupts() -> None:
    """Makes sure that Ctrl-C reaches a command, whatever runs at that moment, and prints no traceback."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        place = frame
        while place:
            if place.f_code.co_name in _UNRAISABLE:
                again = threading.Timer(0.01, os.kill, (os.getpid(), number))
                again.daemon = True
                again.start()
                return
            place = place.f_back
        signal.default_int_handler(number, frame)

    def show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("interrupted", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, traceback)

    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = show


class UserError(ValueError):
    """Something that the user of a command can put right: a configuration, a file, a flag.

    The message names the place and the remedy. A caller from Python may catch ValueError.
    """


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return str(error).strip().partition("\n")[0][:200]


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """Ends the program with one sentence if the block raises `UserError`, `OSError` or `KeyboardInterrupt`."""
    watch_for_interrupts()
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if is_full_disk(error):
            sys.exit(f"error: the disk is full ({reason})")
        if is_out_of_memory(error):
            remedy = "lower the batch size (config.train.batch_size, config.eval.batch_size, --max_batch)"
            sys.exit(f"error: out of memory ({reason}); {remedy}, or raise config.train.accumulation")
        raise


@contextlib.contextmanager
def of_the_user(where: str = "") -> Iterator[None]:
    """Makes a `UserError` of every ValueError in the block, for values that a user gave to a function of the library.

    Args:
      where: the beginning of the message, such as the name of a field.
    """
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{where}{error}") from error


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, says that a disk is full, in the words of whichever library."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        text = str(error)
        if "No space left" in text or "Disk quota exceeded" in text:
            return True
        # Tensorstore's own words. Without the writing it may be the memory of a device.
        if "RESOURCE_EXHAUSTED" in text and "writ" in text:
            return True
        error = error.__cause__ or error.__context__
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the host or of a device is used up."""
    text = str(error)
    return isinstance(error, MemoryError) or ("RESOURCE_EXHAUSTED" in text and "memory" in text.lower())
