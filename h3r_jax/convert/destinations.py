"""Whether a command may write its result to a path, before it does the work."""

import os
from collections.abc import Sequence

from h3r_jax.errors import UserError
from h3r_jax.files import check_free, user_path
from h3r_jax.run import CHECKPOINTS, CONFIG


def check(
    destination: str | os.PathLike, source: str | os.PathLike, *, overwrite: bool, folder: Sequence[str] = ()
) -> None:
    """Looks at a destination; changes nothing.

    Args:
      destination: the file or folder to create.
      source: what it is made from.
      overwrite: whether it may replace what is there.
      folder: names that every folder of its kind has; none for a file. Only a folder that has them all, or an empty
        one, is replaced.

    Raises:
      UserError: there is something at the destination, or something of another kind, which is not replaced; or it is
        the source, or within it (of a run: within its checkpoints), or around it.
      OSError: it is below a file or in a folder that may not be written; names it.
    """
    place, origin = (user_path(path).resolve() for path in (destination, source))
    check_free(destination, overwrite=overwrite)
    # A run may hold what is made from it; its checkpoints may not.
    kept = origin / CHECKPOINTS if (origin / CHECKPOINTS).is_dir() else origin
    if any(part.name == CHECKPOINTS and (part.parent / CONFIG).exists() for part in (place, *place.parents)):
        raise UserError(f"{destination} lies within the checkpoints of a run; choose another destination")
    if place in (origin, kept) or kept in place.parents or place in origin.parents:
        raise UserError(f"{destination} and the source {source} lie within each other; choose another destination")
    if place.is_dir():
        there = {path.name for path in place.iterdir()}
        if not folder or (there and not there.issuperset(folder)):
            kind = f"a folder with {' and '.join(folder)}" if folder else "a file"
            raise UserError(
                f"{destination} is a folder, and --overwrite replaces only {kind}; choose another destination"
            )
    elif place.exists() and folder:
        raise UserError(f"{destination} is a file, and a folder is to be written; choose another destination")
    parent = next((path for path in place.parents if path.exists()), place.parent)
    if not parent.is_dir():
        raise NotADirectoryError(f"{destination} cannot be written: {parent} is a file")
    if "://" not in os.fspath(place) and not os.access(parent, os.W_OK):
        raise PermissionError(f"{destination} cannot be written: {parent} may not be written to")
