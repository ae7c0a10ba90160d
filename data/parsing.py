"""What readers of annotation files share: every fault is one sentence that names the place and the remedy."""

import io

import numpy as np
import scipy.io

from h3r_jax.errors import UserError

FLOAT32_MAX = float(np.finfo(np.float32).max)  # of what is stored
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def number(text):
    """A number that can be stored as float32; ValueError, whose message goes on after "... is", for another text."""
    try:
        value = float(text.replace("_", "?"))  # Python would read 1_5 as 15
    except ValueError:
        raise UserError(f"{text!r}, which is not a number") from None
    if not abs(value) <= FLOAT32_MAX:
        raise UserError(f"{text!r}, which is not a finite number") from None
    return value


def numbers(tokens, name):
    """The numbers of a line as `float64[N]`; ValueError names the line and which of them is none."""
    values = []
    for i, token in enumerate(tokens, start=1):
        try:
            values.append(number(token))
        except ValueError as error:
            raise UserError(f"{name}: value {i} is {error}; correct the line") from None
    return np.array(values)


def read_text(path):
    """A text file; ValueError if it is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")  # spreadsheets put a byte order mark in front
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8 text; save the file as UTF-8") from None


def read_lines(path):
    """The lines of a text file that are not blank, as (name for messages, tokens between white space); ValueError if none is."""
    lines = enumerate(read_text(path).splitlines(), start=1)
    lines = [(f"{path} line {i}", line.split()) for i, line in lines if line.strip()]
    if not lines:
        raise UserError(f"{path} is empty; fetch the file anew")
    return lines


def read_points(lines, name, count):
    """Points that stand one a line, `float64[count, 2]`.

    Args:
      lines: see `read_lines`.
      name: of the file.
      count: how many there must be.

    Raises:
      ValueError: another number of lines, or a line that is not two numbers.
    """
    if len(lines) != count:
        raise UserError(f"{name}: {len(lines)} lines of points, want {count}; fetch the file anew")
    for line, tokens in lines:
        if len(tokens) != 2:
            raise UserError(f"{line}: {len(tokens)} values, want x and y; correct the line")
    return np.stack([numbers(tokens, line) for line, tokens in lines])


def check_box(box, name):
    """A box `[4]`, x0, y0, x1, y1, as `float64[4]`; ValueError if it is turned round, or a point, or not finite."""
    box = np.asarray(box, np.float64)
    extent = box[2:] - box[:2]
    if not (np.isfinite(box).all() and extent.min() >= 0 and extent.max() > 0):
        raise UserError(
            f"{name}: the box {box.tolist()} has no size; want x0 <= x1 and y0 <= y1, and not a single point"
        )
    return box


def check_finite(landmarks, name):
    """Landmarks `[K, 2]` as `float64[K, 2]`; ValueError names the first that is not finite."""
    landmarks = np.asarray(landmarks, np.float64)
    bad = ~np.isfinite(landmarks).all(axis=-1)
    if bad.any():
        first = int(np.argmax(bad))
        raise UserError(f"{name}: landmark {first} is at {landmarks[first].tolist()}; want finite coordinates")
    return landmarks


def read_mat(path, **shapes):
    """Variables of a MATLAB file of a version before 7.3.

    Args:
      path: of the file.
      shapes: variable -> its shape; a letter stands for a length that is the same wherever it occurs.

    Returns:
      The variables in that order.

    Raises:
      ValueError: the file cannot be read, or a variable is missing or of another shape.
    """
    return check_variables(path, load_mat(path, shapes), shapes)


def load_mat(path, names):
    """name -> array of a MATLAB file of a version before 7.3, those of `names` that it holds; ValueError as `read_mat`."""
    content = io.BytesIO(path.read_bytes())
    try:
        return scipy.io.loadmat(content, variable_names=list(names))
    except Exception as error:  # noqa: BLE001 - scipy has no common error for broken bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is not a readable MATLAB file ({reason}); fetch it anew") from None


def check_variables(path, variables, shapes):
    """The arrays `shapes` out of a mapping, in that order; see `read_mat`."""
    remedy = "is it the file of the data set's own distribution?"
    lengths = {}
    for variable, shape in shapes.items():
        if variable not in variables:
            raise UserError(f"{path} holds no variable {variable}; {remedy}")
        found = variables[variable].shape
        if len(found) == len(shape):
            lengths |= {
                want: length for want, length in zip(shape, found) if isinstance(want, str) and want not in lengths
            }
        wanted = tuple(lengths.get(want, want) for want in shape)
        if found != wanted:
            raise UserError(f"{path}: variable {variable} has shape {found}, want {wanted}; {remedy}")
    return [variables[variable] for variable in shapes]


def present(folder, names, module):
    """The files and directories of `names` (relative to `folder`) that are there, in that order.

    Raises:
      FileNotFoundError: none is; names them and the module that says how the folder is laid out.
    """
    found = [name for name in names if (folder / name).exists()]
    if not found:
        raise FileNotFoundError(
            f"{folder} holds none of {', '.join(names)}; {module} says how it is laid out; is config.data_dir right?"
        )
    return found


def files_in(folder, suffixes):
    """The files in a directory that end in one of `suffixes`, by name; FileNotFoundError if there is none."""
    found = folder.iterdir() if folder.is_dir() else ()
    # Archives made on a Mac hold a hidden "._name" beside every file.
    found = sorted(path for path in found if path.suffix.lower() in suffixes and not path.name.startswith("."))
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no file that ends in {' or '.join(suffixes)}; is config.data_dir right, and the data set whole?"
        )
    return found


def pair_files(annotations, images, suffix):
    """Each annotation file with the image of the same name.

    Args:
      annotations: directory.
      images: directory, which may be the same.
      suffix: of an annotation file, such as ".pts".

    Returns:
      [(annotation, image)] by name.

    Raises:
      FileNotFoundError: a directory holds nothing of the kind.
      ValueError: an annotation without image, an image without annotation, or two images of one name.
    """
    by_name = {path.stem: path for path in files_in(annotations, (suffix,))}
    pairs = {}
    for image in files_in(images, IMAGE_SUFFIXES):
        if image.stem not in by_name:
            missing = annotations / f"{image.stem}{suffix}"
            raise UserError(f"{image}: there is no {missing}; fetch it anew or remove the image")
        if image.stem in pairs:
            raise UserError(
                f"{by_name[image.stem]}: both {pairs[image.stem].name} and {image.name} are there; remove one"
            )
        pairs[image.stem] = image
    for name, annotation in by_name.items():
        if name not in pairs:
            raise UserError(
                f"{annotation}: there is no image {name}.jpg or .png in {images}; fetch it anew or remove the file"
            )
    return [(annotation, pairs[name]) for name, annotation in by_name.items()]
