"""The input of the command: files, and the source of their boxes."""

import collections
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from h3r_jax import images as image_files
from h3r_jax.errors import UserError
from h3r_jax.landmarks import SCHEMES, LandmarkScheme
from h3r_jax.predict import faces, video
from h3r_jax.predict.boxes import BoxFile

# The path of each file, and the name of its results: its path within the folder that was given.
Files = list[tuple[Path, str]]
# Where boxes come from: a file, a function of the pixels, or None for whole images.
BoxSource = BoxFile | Callable[[np.ndarray], np.ndarray] | None


def expand(paths: Iterable[str | os.PathLike], out: Path | None = None) -> tuple[Files, Files, list[str]]:
    """The images and videos to look at.

    Args:
      paths: of files, and of folders. All images and videos at any depth of a folder are looked at, except those that
        are hidden, or in a folder that is hidden or linked.
      out: folder where results are written; files in it are not looked at.

    Returns:
      Images, videos, and a sentence for each folder of which files were left out.

    Raises:
      ValueError: a path that is empty or of another machine; a folder that cannot be read, is without any image or
        video, or is `out` itself.
    """
    images: Files = []
    videos: Files = []
    left_out: list[str] = []
    for each in paths:
        given = str(each)
        if not given or "://" in given:
            raise UserError(f"{given!r} is not on this machine; want an image, a folder or a video that is")
        path = Path(given)
        found, other = _search(path, out) if path.is_dir() else ([(path, path.name)], "")
        for file, name in found:
            (videos if file.suffix.lower() in video.EXTENSIONS else images).append((file, name))
        left_out += [f"{path}: left out: {other}"] if other else []
    return images, videos, left_out


def _search(folder: Path, out: Path | None) -> tuple[Files, str]:
    """The images and videos in a folder, and how many other files there are of which kind."""
    known = image_files.EXTENSIONS + video.EXTENSIONS
    written = None
    if out is not None and out.resolve().is_relative_to(folder.resolve()):
        written = folder / out.resolve().relative_to(folder.resolve())
        if written == folder:
            raise UserError(
                f"--out={out} is a folder of images itself; choose another, as the next call would look at it"
            )
    files: Files = []
    other: collections.Counter[str] = collections.Counter()
    for file in _walk(folder, other):
        if written in file.parents:
            other[f"within {out}"] += 1
        elif reason := _unusable(file):
            other[reason] += 1
        elif file.suffix.lower() in known:
            files.append((file, str(file.relative_to(folder))))
        else:
            other[file.suffix.lower() or "without an ending"] += 1
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(other.items()))
    if not files:
        raise UserError(f"{folder} holds no image or video ({', '.join(known)}){counts and f', but {counts}'}")
    return sorted(files), counts


def _walk(folder: Path, other: collections.Counter[str]) -> Iterator[Path]:
    """The files at any depth of a folder; counts the folders in it that are not looked into."""

    def unreadable(error: OSError) -> None:
        if error.filename == str(folder):
            raise UserError(f"{folder} cannot be read: {error.strerror}") from error
        other[f"unreadable folder ({error.filename})"] += 1

    for root, folders, files in os.walk(folder, onerror=unreadable):
        for name in folders.copy():
            # A linked folder might lead back to where it stands.
            reason = "hidden" if name.startswith(".") else "linked" if os.path.islink(f"{root}/{name}") else ""
            if reason:
                folders.remove(name)
                other[f"{reason} folder"] += 1
        yield from (Path(root) / name for name in files)


def _unusable(file: Path) -> str:
    """Why something in a folder is not looked at, whatever its ending; "" if it is a file that can be opened."""
    if file.name.startswith("."):  # a Mac's companions of photographs have the endings of images
        return "hidden"
    try:
        return "" if stat.S_ISREG(file.stat().st_mode) else "pipe or device"
    except OSError:
        return "dangling link" if os.path.islink(file) else "unreadable"


def choose_boxes(choice: str | None, min_score: float | None, scheme: LandmarkScheme, inputs: Files) -> BoxSource:
    """Where the boxes come from.

    Args:
      choice, min_score: values of --boxes and --min_score, None if they were not given.
      scheme: of the network.
      inputs: all images and videos.

    Raises:
      ValueError: the file of boxes is bad; a score is given without a file that has scores; the scheme is of bodies, or
        it is not a known one and nothing was chosen; or the detector of faces is not installed.
    """
    if min_score is not None and not (choice or "").endswith(".json"):
        raise UserError("--min_score is for boxes of a COCO file, --boxes=FILE.json")
    if min_score is not None and not math.isfinite(min_score):
        raise UserError(f"--min_score={min_score} is not a finite number")
    if choice == "whole":
        return None
    if choice not in (None, "detect"):
        return BoxFile(choice, inputs, min_score)
    if scheme.upper_body:
        raise UserError(
            f"scheme {scheme.name} is of bodies, only faces are detected; want --boxes=FILE or --boxes=whole"
        )
    if choice is None and scheme not in SCHEMES.values():
        raise UserError(
            f"the command cannot know where to look for the {scheme.num_landmarks} landmarks of scheme {scheme.name}: "
            "want --boxes=whole if each image shows one object and little else, --boxes=FILE with a box around each "
            "object, or --boxes=detect if the objects are faces"
        )
    faces.check_installed()
    return faces.find_faces
