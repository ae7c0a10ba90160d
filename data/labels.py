"""Labelled objects of any program, and the folder for the data set `csv` that is made of them."""

import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from etils import epath

from h3r_jax.errors import UserError
from h3r_jax.files import check_free, write_whole

SIDES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"))  # in names
SIDE_LETTERS = (("l_", "r_"), ("L_", "R_"), ("_l", "_r"), ("_L", "_R"))  # at the beginning or the end of names


class Labelled(NamedTuple):
    """One object.

    image: path.
    points: name of a landmark -> (x, y), pixels, the centre of the first at 0; of the labelled landmarks alone.
    box: x0, y0, x1, y1, pixels; None if there is none.
    """

    image: Path
    points: dict[str, tuple[float, ...]]
    box: tuple[float, ...] | None = None


class Labels(NamedTuple):
    """What a program exported.

    splits: name of a split -> its objects; "" if the program has no splits.
    names: of the landmarks, in order.
    mirror: indices; () to work it out from the names.
    """

    splits: dict[str, list[Labelled]]
    names: tuple[str, ...]
    mirror: tuple[int, ...] = ()


def mirror_of(names: Sequence[str]) -> tuple[int, ...]:
    """The mirror order of landmarks: names that differ by left and right alone change places; () if none do.

    >>> mirror_of(["nose", "left_eye", "right_eye"])
    (0, 2, 1)
    """
    places = {name: index for index, name in enumerate(names)}
    order = tuple(places.get(_other_side(name), index) for index, name in enumerate(names))
    return order if order != tuple(range(len(names))) else ()


def _other_side(name: str) -> str:
    for pair in SIDES:
        for side, other in (pair, pair[::-1]):
            if side in name:
                return name.replace(side, other)
    for pair in SIDE_LETTERS:
        for side, other in (pair, pair[::-1]):
            if side.endswith("_") and name.startswith(side):
                return other + name[len(side) :]
            if side.startswith("_") and name.endswith(side):
                return name[: -len(side)] + other
    return name


def split_of(labels: Labels, share: float) -> dict[str, list[Labelled]]:
    """The splits that are not empty. Without any, the last images become "val": that share, but at least one.

    The last ones, because neighbours in a film are alike: with every tenth frame for validation, the score would be too
    good.
    """
    if list(labels.splits) != [""]:
        return {split: part for split, part in labels.splits.items() if part}
    images = list(dict.fromkeys(labelled.image for labelled in labels.splits[""]))
    kept = max(1, round(share * len(images))) if share and len(images) > 1 else 0
    last = set(images[len(images) - kept :])
    parts: dict[str, list[Labelled]] = {"train": [], "val": []}
    for labelled in labels.splits[""]:
        parts["val" if labelled.image in last else "train"].append(labelled)
    return {split: part for split, part in parts.items() if part}


def _csv(part: Sequence[Labelled], names: Sequence[str], out: Path) -> str:
    """The text of a CSV file in the folder `out`; UserError names an image that is not there."""
    boxed = all(labelled.box for labelled in part)
    rows = [["image", *(f"{axis}{i}" for i in range(len(names)) for axis in "xy")]]
    rows[0] += [f"v{i}" for i in range(len(names))] + (["box_x0", "box_y0", "box_x1", "box_y1"] if boxed else [])
    for labelled in part:
        if not labelled.image.exists():
            raise UserError(f"there is no image {labelled.image}; want it where the labels say, or see --images")
        points = [labelled.points.get(name) for name in names]
        row = [os.path.relpath(labelled.image, out)]
        row += [f"{value:.3f}" if point else "" for point in points for value in (point or (0, 0))]
        row += ["1" if point else "0" for point in points]
        rows.append(row + [f"{value:.3f}" for value in (labelled.box if boxed and labelled.box else ())])
    return "".join(",".join(map(_quoted, row)) + "\n" for row in rows)


def write(labels: Labels, out: Path, share: float, names: Sequence[str] = (), *, overwrite: bool = False) -> None:
    """Writes the folder of a data set `csv`, and prints what is in it.

    Args:
      labels: from one of the readers.
      out: the folder.
      share: of the images that become validation, if the program has no splits.
      names: landmarks to take, in this order; all if empty.
      overwrite: whether to replace files that are there.

    Raises:
      UserError: nothing is labelled, a name is not known, an image is not there, or a file is. Nothing is written then.
    """
    unknown = [name for name in names if name not in labels.names]
    if unknown:
        raise UserError(f"there is no landmark {unknown[0]!r}; known are {', '.join(labels.names)}")
    kept = tuple(names or labels.names)
    splits = {split: [each for each in part if each.points.keys() & set(kept)] for split, part in labels.splits.items()}
    if not any(splits.values()):
        raise UserError("no landmark is labelled in these files; are they the right ones?")
    parts = split_of(labels._replace(splits=splits), share)
    texts = {f"{split}.csv": _csv(part, kept, out) for split, part in parts.items()}
    mirror = _mirror_within(labels, kept) or mirror_of(kept)
    described = {"names": kept} | ({"mirror": mirror} if mirror else {})
    texts["landmarks.json"] = json.dumps(described, indent=2)
    for name in texts:
        check_free(epath.Path(out / name), overwrite=overwrite)
    for name, text in texts.items():
        write_whole(epath.Path(out / name), functools.partial(_write_text, text=text), overwrite=overwrite)
    for split, part in parts.items():
        print(f"{out / split}.csv: {len(part)} objects in {len({labelled.image for labelled in part})} images")
    for index, name in enumerate(kept):
        other = kept[mirror[index]] if mirror else name
        print(f"{index:4} {name}" + (f"   in a mirrored image: {other}" if other != name else ""))
    if left_out := [name for name in labels.names if name not in kept]:
        print(f"left out: {', '.join(left_out)}")
    if not mirror:
        print(f"No names differ by left and right alone, so write the mirror order into {out / 'landmarks.json'}.")


def _mirror_within(labels: Labels, kept: Sequence[str]) -> tuple[int, ...]:
    """The mirror order that the program says, of the landmarks that are kept; () if it says none or leaves them."""
    if not labels.mirror:
        return ()
    pairs = {labels.names[i]: labels.names[other] for i, other in enumerate(labels.mirror)}
    if any(pairs[name] not in kept for name in kept):
        return ()
    return tuple(kept.index(pairs[name]) for name in kept)


def _write_text(path: epath.Path, text: str) -> None:
    path.write_text(text)


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if set(cell) & set(',"\n') else cell
