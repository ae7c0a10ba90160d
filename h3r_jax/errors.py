"""One sentence for a mistake of the user, a traceback for a mistake of the program.

The class decides. A command prints a `UserError` or an `OSError` as one sentence and ends with status 1. Every other
exception keeps its traceback, JAX's own ValueError too.
"""

import contextlib
import sys
from collections.abc import Iterator


class UserError(ValueError):
    """Something that the user of a command can put right: a configuration, a file, a flag.

    The message names the place and the remedy. A caller from Python may catch ValueError.
    """


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """Ends the program with one sentence and status 1 if the block raises `UserError` or `OSError`."""
    try:
        yield
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")


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
