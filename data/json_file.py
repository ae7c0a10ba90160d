"""Annotations in JSON."""

import json

from h3r_jax.errors import UserError


def read_json(path, kind):
    """The content of a JSON file.

    Args:
      path: of the file.
      kind: the type that its outermost value must have, `list` or `dict`.

    Raises:
      ValueError: it is not JSON, or its outermost value is of another type; names the file.
    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:  # of the text's encoding or of JSON
        raise UserError(f"{path}: not a JSON file ({error}); unpack it again") from None
    if isinstance(content, kind):
        return content
    raise UserError(f"{path}: holds a {type(content).__name__}, want a {kind.__name__}; is it the right file?")
