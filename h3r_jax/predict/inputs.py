"""What the command looks at: the files that its arguments name, and where their boxes come from."""

import collections
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from h3r_jax import images as image_files
from h3r_jax.errors import UserError
from h3r_jax.landmarks import SCHEMES, LandmarkScheme
from h3r_jax.predict import faces, video
from h3r_jax.predict.boxes import BoxFile

Files = list[tuple[Path, str]]  # paths, and names to write under: of what is in a folder, its path within


def expand(paths: Iterable[str | os.PathLike], out: Path | None = None) -> tuple[Files, Files, list[str]]:
    """Files to look at; of a folder all in it that have a known ending, but for what is written there.

    Args:
      paths: of files and folders.
      out: where results are written.

    Returns:
      Images, videos, and a sentence for each folder and reason to leave something out.

    Raises:
      ValueError: a folder without any image or video, or into which results would be written.
    """
    known = image_files.EXTENSIONS + video.EXTENSIONS
    files: Files = []
    left_out: list[str] = []
    for path in map(Path, paths):
        if not path.is_dir():
            files.append((path, path.name))
            continue
        written = _written(path, out)
        found, own = [], 0
        other: collections.Counter[str] = collections.Counter()
        for file in sorted(path.rglob("*")):
            if not file.is_file():
                continue
            if written in file.parents:
                own += 1
            elif file.suffix.lower() in known:
                found.append((file, str(file.relative_to(path))))
            else:
                other[file.suffix.lower() or "without an ending"] += 1
        counts = ", ".join(f"{count} {suffix}" for suffix, count in sorted(other.items()))
        if own:
            left_out.append(f"{path}: left out, as they lie in {out}: {own} files")
        if not found:
            there = [f"{own} files that lie in {out}"] * bool(own) + [counts] * bool(other)
            but = f", but {', '.join(there)}" if there else ""
            raise UserError(f"{path} holds no image or video ({', '.join(known)}){but}")
        if other:
            left_out.append(f"{path}: left out by their endings: {counts}")
        files += found
    return [file for file in files if not _is_video(file)], [file for file in files if _is_video(file)], left_out


def _is_video(file: tuple[Path, str]) -> bool:
    return file[0].suffix.lower() in video.EXTENSIONS


def _written(folder: Path, out: Path | None) -> Path | None:
    """The folder `out` as a path through `folder`; None if it does not lie there."""
    if out is None:
        return None
    place, there = out.resolve(), folder.resolve()
    if place == there:
        raise UserError(
            f"--out={out} is a folder of images itself; choose another, or the next run would look at what this one wrote"
        )
    return folder / place.relative_to(there) if place.is_relative_to(there) else None


def choose_boxes(
    choice: str | None, min_score: float | None, scheme: LandmarkScheme, inputs: Files
) -> BoxFile | Callable[[np.ndarray], np.ndarray] | None:
    """What `Run` takes as boxes.

    Args:
      choice: value of --boxes, None if it was not given.
      min_score: value of --min_score, None if it was not given.
      scheme: LandmarkScheme of the network.
      inputs: see `BoxFile`.

    Raises:
      ValueError: the file of boxes is bad; or faces would be looked for, but the scheme is of bodies, or nothing was chosen
        and the scheme may be of anything; or the detector is not installed; or a score is given where there are none.
    """
    if min_score is not None and not (choice or "").endswith(".json"):
        raise UserError("--min_score is for boxes of a COCO file, --boxes=FILE.json")
    if choice == "whole":
        return None
    if choice not in (None, "detect"):
        return BoxFile(choice, inputs, min_score)
    if scheme.upper_body:
        raise UserError(
            f"scheme {scheme.name} is of bodies, and only faces can be detected; want --boxes=FILE or --boxes=whole"
        )
    if choice is None and scheme not in SCHEMES.values():
        raise UserError(
            f"scheme {scheme.name} may be of faces or not; want --boxes=detect if it is, else --boxes=FILE or --boxes=whole"
        )
    faces.check_installed()
    return faces.find_faces
