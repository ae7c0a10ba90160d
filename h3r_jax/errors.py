"""One sentence for a mistake of the user, a traceback for a mistake of the program.

The class decides. A command prints a `UserError` or an `OSError` as one sentence and ends with status 1. Every other
exception keeps its traceback, JAX's own ValueError too.
"""


class UserError(ValueError):
    """Something that the user of a command can put right: a configuration, a file, a flag.

    The message names the place and the remedy. A caller from Python may catch ValueError.
    """
