"""Reading annotation files.

What a docstring says must hold is checked. A fault is a UserError: one sentence with the place and the remedy.
"""

import io
import json
import os
import stat
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.io
from etils import epath
from numpy.typing import ArrayLike

from h3r_jax.errors import UserError

FLOAT32_MAX = float(np.finfo(np.float32).max)  # numbers are stored as float32
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
Shapes = Mapping[str, tuple[int | str, ...]]  # variable -> its shape
Lines = Sequence[tuple[str, list[str]]]  # of a file: a line's name for messages, and its tokens


def number(text: str) -> float:
    """The number of a text, which must be finite as float32; the message of the UserError continues "value 1 is"."""
    try:
        value = float(text.replace("_", "?"))  # Python would read 1_5 as 15
    except ValueError:
        hint = " (want a point before the decimals, and no separator of thousands)" if "," in text else ""
        raise UserError(f"{text!r}, which is not a number{hint}") from None
    if not abs(value) <= FLOAT32_MAX:
        raise UserError(f"{text!r}, which is not a finite number") from None
    return value


def all_numbers(texts: Sequence[str]) -> np.ndarray | None:
    """The numbers `float64[N]` of N texts; None if one of them is not a `number`, which then says why. Fast."""
    try:
        values = np.array(list(map(float, texts)), np.float64)
    except ValueError:
        return None
    return values if (np.abs(values) <= FLOAT32_MAX).all() and "_" not in "".join(texts) else None


def numbers(tokens: Sequence[str], name: str) -> np.ndarray:
    """The tokens of the line called `name` as `float64[N]`; each must be a `number`."""
    if (fast := all_numbers(tokens)) is not None:
        return fast
    values = []
    for i, token in enumerate(tokens, start=1):
        try:
            values.append(number(token))
        except ValueError as error:
            raise UserError(f"{name}: value {i} is {error}; correct the line") from None
    return np.array(values)


def is_file_name(text: str) -> bool:
    """Whether a text can be the name of a file within a folder; a web address is none."""
    return bool(text) and text.isprintable() and "://" not in text


def is_there(path: epath.Path) -> bool:
    """Whether there is a file or a folder; a link to nothing is a UserError, since a part would look absent."""
    if path.exists():
        return True
    if os.path.islink(path):
        raise UserError(f"{path} is a link to {os.readlink(path)}, which is not there; mend or remove the link")
    return False


def check_file(path: epath.Path) -> None:
    """UserError for a pipe, a socket or a device in place of a file: to read one may wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # not there, not a local path, or with a zero byte in its name
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserError(f"{path} is a pipe, a socket or a device; want a file")


def read_bytes(path: epath.Path) -> bytes:
    """The content of an annotation file; UserError if it cannot be read, FileNotFoundError if it is not there."""
    check_file(path)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        is_there(path)  # which tells a link to nothing
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); want a file that may be read") from None


def read_text(path: epath.Path) -> str:
    """The content of a text file, which must be UTF-8."""
    try:
        return read_bytes(path).decode("utf-8-sig")  # spreadsheets put a byte order mark in front
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8 text; save the file as UTF-8") from None


def read_json(path: epath.Path, kind: type) -> Any:
    """The content of a JSON file, whose outermost value must be a `kind`: `list` or `dict`."""
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:  # of the text's encoding or of JSON
        raise UserError(f"{path}: not a JSON file ({error}); unpack it again") from None
    if not isinstance(content, kind):
        raise UserError(f"{path}: holds a {type(content).__name__}, want a {kind.__name__}; is it the right file?")
    return content


def read_lines(path: epath.Path) -> Lines:
    """The lines of a text file that are not blank, with their tokens between white space; there must be one."""
    numbered = enumerate(read_text(path).splitlines(), start=1)
    lines = [(f"{path} line {i}", line.split()) for i, line in numbered if line.strip()]
    if not lines:
        raise UserError(f"{path} is empty; fetch the file anew")
    return lines


def read_points(lines: Lines, path: epath.Path, count: int) -> np.ndarray:
    """Points `float64[count, 2]`; the `lines` of the file must be as many, of two numbers each."""
    if len(lines) != count:
        raise UserError(f"{path}: {len(lines)} lines of points, want {count}; fetch the file anew")
    for line, tokens in lines:
        if len(tokens) != 2:
            raise UserError(f"{line}: {len(tokens)} values, want x and y; correct the line")
    return np.stack([numbers(tokens, line) for line, tokens in lines])


def check_box(box: ArrayLike, name: str, *, thin: bool = False) -> np.ndarray:
    """The box `[4]`, x0, y0, x1, y1, of the record `name` as `float64[4]`; finite, with x0 < x1 and y0 < y1.

    thin: whether one side may be a single pixel, where the data set gives width and height.
    """
    box = np.asarray(box, np.float64)
    extent = box[2:] - box[:2]
    smallest = extent.max() if thin and extent.min() >= 0 else extent.min()
    if not (np.isfinite(box).all() and smallest > 0):
        raise UserError(f"{name}: the box {box.tolist()} has no size; want x0 < x1 and y0 < y1")
    return box


def check_finite(landmarks: ArrayLike, name: str) -> np.ndarray:
    """The landmarks `[K, 2]` of the record `name` as `float64[K, 2]`; they must be finite."""
    landmarks = np.asarray(landmarks, np.float64)
    finite = np.isfinite(landmarks).all(axis=-1)
    if not finite.all():
        first = int(np.argmin(finite))
        raise UserError(f"{name}: landmark {first} is at {landmarks[first].tolist()}; want finite coordinates")
    return landmarks


def read_mat(path: epath.Path, **shapes: tuple[int | str, ...]) -> list[np.ndarray]:
    """The variables of a MATLAB file of a version before 7.3, in the order of `shapes`: variable -> its shape.

    A letter in a shape stands for any length, the same wherever the letter occurs.
    """
    return check_variables(path, load_mat(path, shapes), shapes)


def load_mat(path: epath.Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """name -> array, for those of `names` that a MATLAB file of a version before 7.3 holds."""
    content = io.BytesIO(read_bytes(path))
    try:
        return scipy.io.loadmat(content, variable_names=list(names))
    except Exception as error:  # noqa: BLE001 - scipy has no common error for broken bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is not a readable MATLAB file ({reason}); fetch it anew") from None


def check_variables(path: epath.Path, variables: Mapping[str, Any], shapes: Shapes) -> list[Any]:
    """As `read_mat`, for the `variables` of the file."""
    remedy = "is it the file of the data set's own distribution?"
    lengths: dict[int | str, int] = {}
    for variable, shape in shapes.items():
        if variable not in variables:
            raise UserError(f"{path} holds no variable {variable}; {remedy}")
        found = variables[variable].shape
        for want, length in zip(shape, found) if len(found) == len(shape) else ():
            if isinstance(want, str):
                lengths.setdefault(want, length)
        wanted = tuple(lengths.get(want, want) for want in shape)
        if found != wanted:
            raise UserError(f"{path}: variable {variable} has shape {found}, want {wanted}; {remedy}")
    return [variables[variable] for variable in shapes]


def present(folder: epath.Path, names: Collection[str], module: str) -> list[str]:
    """Those of `names`, files and directories relative to `folder`, that are there (`is_there`), in that order.

    Raises:
      FileNotFoundError: none is there; names them all, and the module that says how the folder is laid out.
    """
    found = [name for name in names if is_there(folder / name)]
    if not found:
        reason = f"{folder} holds none of {', '.join(names)}; {module} says how it is laid out"
        raise FileNotFoundError(f"{reason}; is config.data_dir right?")
    return found


def list_folder(folder: epath.Path) -> tuple[list[epath.Path], int]:
    """What is in a folder, sorted by name, without hidden files (".name"), and the number of hidden files.

    Archives made on a Mac hold a hidden "._name" beside every file. A folder that is not there is empty; one that
    cannot be read is a UserError.
    """
    try:
        paths = sorted(folder.iterdir(), key=lambda path: path.name) if folder.is_dir() else []
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}); want a folder that may be read") from None
    shown = [path for path in paths if not path.name.startswith(".")]
    return shown, len(paths) - len(shown)


def files_in(folder: epath.Path, suffixes: Sequence[str]) -> list[epath.Path]:
    """The files of a `list_folder` that end in one of `suffixes`, in small letters or capitals, sorted by name.

    FileNotFoundError if there is none.
    """
    paths, hidden = list_folder(folder)
    found = [path for path in paths if path.suffix.lower() in suffixes]
    if not found:
        others = f" (but {len(paths)} other and {hidden} hidden files)" if paths or hidden else ""
        reason = f"{folder} holds no file that ends in {' or '.join(suffixes)}{others}"
        raise FileNotFoundError(f"{reason}; is config.data_dir right, and the data set whole?")
    return found


def otherwise_spelled(name: str, names: Iterable[str]) -> str:
    """ ", but x, which differs in case" if one of `names` is `name` but for capitals, for a message; else nothing."""
    same = (other for other in names if other != name and other.lower() == name.lower())
    return next((f", but {other}, which differs in case" for other in same), "")


def missing_image(path: epath.Path) -> str:
    """ "there is no image PATH" for a message, with the file that differs in case only, if there is one."""
    try:
        names = sorted(other.name for other in path.parent.iterdir())
    except OSError:
        names = []
    return f"there is no image {path}{otherwise_spelled(path.name, names)}"


def _by_stem(paths: Iterable[epath.Path]) -> dict[str, epath.Path]:
    """name without suffix -> path; UserError if two paths have one."""
    by_stem: dict[str, epath.Path] = {}
    for path in paths:
        other = by_stem.setdefault(path.stem, path)
        if other != path:
            raise UserError(f"{path.parent}: both {other.name} and {path.name} are there; remove one")
    return by_stem


def pair_files(annotations: epath.Path, images: epath.Path, suffix: str) -> list[tuple[epath.Path, epath.Path]]:
    """Each file of the directory `annotations` that ends in `suffix`, such as ".pts", with its image, sorted by name.

    Its image is the one of the same name in the directory `images`, which may be the same. Hidden files are passed
    over, and their number is printed on standard error.

    Raises:
      FileNotFoundError: there is no annotation file, or no image.
      UserError: an annotation without image, an image without annotation, or two of either of one name.
    """
    by_name = _by_stem(files_in(annotations, (suffix,)))
    pairs = _by_stem(files_in(images, IMAGE_SUFFIXES))
    for name, image in pairs.items():
        if name not in by_name:
            missing = f"{annotations / name}{suffix}{otherwise_spelled(name, by_name)}"
            raise UserError(f"{image}: there is no {missing}; fetch it anew or remove the image")
    for name, annotation in by_name.items():
        if name not in pairs:
            reason = f"there is no image {name}.jpg or .png in {images}{otherwise_spelled(name, pairs)}"
            raise UserError(f"{annotation}: {reason}; fetch it anew or remove the file")
    for folder in dict.fromkeys((annotations, images)):
        if hidden := list_folder(folder)[1]:
            # Standard output is silenced while a set is prepared.
            print(f"{folder}: {hidden} hidden file(s) are passed over.", file=sys.stderr)
    return [(annotation, pairs[name]) for name, annotation in by_name.items()]
