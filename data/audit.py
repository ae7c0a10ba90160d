"""What the numbers and images of a data set tell of a mistake: wrong units, repetitions, splits that overlap.

What no image can have is a UserError. What is only unlikely is a sentence, for the account of a training.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data import mean_shape
from data.source import Annotations
from h3r_jax.errors import UserError

LARGEST = 1e6  # pixels; no image is as wide
MOST = 0.9  # the share of coordinates that decides about their unit: a few landmarks may lie outside their image
AXES = {"x": "width", "y": "height"}


class Part(NamedTuple):
    """A split, or a part of one, as the sentences need it."""

    annotations: Annotations  # of N records
    divided_images: Collection[int] = ()  # `image_id`s that an end of the part divides, see Source


def labelled(landmarks: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`bool[N, K]`, which landmarks `[N, K, 2]` count: a weight `[N, K]` above zero."""
    return (weight > 0) & np.isfinite(landmarks).all(axis=-1)


def check_units(landmarks: np.ndarray, weight: np.ndarray, boxes: np.ndarray | None, names: Sequence[str]) -> None:
    """Refuses numbers that are no pixels of any image.

    Args:
      landmarks: `[N, K, 2]`, image pixels. weight: `[N, K]`.
      boxes: `[N, 4]`, image pixels; NaN where there is none. None for none at all.
      names: N, of the records.

    Raises:
      UserError: every x or every y lies within one pixel, as numbers from 0 to 1 or from -1 to 1 do (nine in ten
        decide, and not all are whole); the same of boxes; or a number is beyond `LARGEST`, whose record is named.
    """
    counts = labelled(landmarks, weight)
    boxes = np.full((len(names), 4), np.nan) if boxes is None else boxes
    for what, values in (("landmark", np.where(counts[..., None], landmarks, 0)), ("box", np.nan_to_num(boxes))):
        far = (np.abs(values).reshape(len(names), -1) > LARGEST).any(axis=1)
        if far.any():
            first = int(np.argmax(far))
            reach = np.abs(values[first]).max()
            raise UserError(f"{names[first]}: a {what} lies at {reach:.6g}, where no image reaches; want pixels")
    corners = boxes[np.isfinite(boxes).all(axis=1)].reshape(-1, 2)
    for what, points in (("landmarks", landmarks[counts]), ("boxes", corners)):
        within = (np.abs(points) <= 1).mean(axis=0) >= MOST if len(points) > 1 else np.zeros(2, bool)
        small = within & (points != np.round(points)).any(axis=0)
        if small.any():
            axes = [axis for axis, is_small in zip(AXES, small) if is_small]
            low, high = points[:, small].min(), points[:, small].max()
            found = f"the {' and '.join(axes)} of the {what} lie between {low:.3g} and {high:.3g}, within one pixel"
            remedy = " and ".join(f"{axis} by the {AXES[axis]} of its image" for axis in axes)
            raise UserError(f"{names[0]} and the others: {found}; want pixels: if they are shares, multiply {remedy}")


def outside(points: np.ndarray, size: np.ndarray) -> np.ndarray:
    """`bool[...]`, which points `[..., 2]` lie outside their image; `size` is its height and width `[..., 2]`."""
    return np.any((points < -0.5) | (points > size[..., ::-1] - 0.5), axis=-1)


def check(annotations: Annotations) -> None:
    """Refuses a split whose numbers are no pixels of its images.

    Raises:
      UserError: as `check_units`; or more than half of the labelled landmarks lie outside their images.
    """
    check_units(annotations.landmarks, annotations.weight, annotations.box, annotations.name)
    counts = labelled(annotations.landmarks, annotations.weight)
    beyond, exchanged = _outside(annotations, counts)
    if 2 * beyond.sum() <= counts.sum():
        return
    first = int(np.argmax(beyond.any(axis=1)))
    height, width = annotations.size[first]
    point = annotations.landmarks[first][np.argmax(beyond[first])]
    reason = "are they of the same image in another size?"
    if 10 * exchanged.sum() <= beyond.sum():
        reason = f"of x and y exchanged {exchanged.sum()} would, so exchange the columns"
    raise UserError(
        f"{annotations.name[first]} and others: {beyond.sum()} of {counts.sum()} landmarks lie outside their images, "
        f"such as {_place(point)} in {width} x {height}; want pixels of these images: {reason}"
    )


def _outside(annotations: Annotations, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`bool[N, K]` twice: labelled landmarks outside their image, as they stand and with x and y exchanged."""
    size = annotations.size[:, None]
    return tuple(counts & outside(points, size) for points in (annotations.landmarks, annotations.landmarks[..., ::-1]))


def _place(point: np.ndarray) -> str:
    return f"({point[0]:.6g}, {point[1]:.6g})"


def doubts(annotations: Annotations) -> list[str]:
    """Sentences about numbers of a split that are possible and unlikely."""
    counts, found = labelled(annotations.landmarks, annotations.weight), []
    beyond, exchanged = _outside(annotations, counts)
    records = np.flatnonzero(beyond.any(axis=1))
    if len(records) > 1 and 100 * beyond.sum() >= counts.sum() and 10 * exchanged.sum() <= beyond.sum():
        example = annotations.name[records[0]]
        found.append(
            f"{beyond.sum()} of {counts.sum()} landmarks lie outside their images, such as those of {example}, and "
            f"{exchanged.sum()} would if x and y were exchanged; are they?"
        )
    shares = np.where(counts[..., None], (annotations.landmarks + 0.5) / annotations.size[:, None, ::-1], 0)
    reach = shares.max(axis=(0, 1))
    if counts.any(axis=1).sum() > 2 and (reach <= 0.5).all():
        found.append(
            f"all landmarks lie in the upper left {reach[0]:.0%} x {reach[1]:.0%} of their images; are they "
            "percentages, or of smaller copies of the images?"
        )
    boxed = np.isfinite(annotations.box).all(axis=1)
    inside = counts & ~_out_of(annotations.box, annotations.landmarks)
    total = counts[boxed].sum()
    if 2 * inside[boxed].sum() < total:
        as_size = np.concatenate([annotations.box[:, :2], annotations.box[:, :2] + annotations.box[:, 2:]], axis=1)
        better = (counts & ~_out_of(as_size, annotations.landmarks))[boxed].sum()
        fit = f", but {better} if the last two numbers were width and height" if 2 * better > total else ""
        found.append(
            f"{inside[boxed].sum()} of {total} landmarks lie in the box of their record{fit}; want the first and the "
            f"last pixel of each box ({annotations.name[int(np.argmax(boxed))]})"
        )
    centres = (annotations.box[:, :2] + annotations.box[:, 2:]) / 2
    away = boxed & outside(centres, annotations.size)
    if 2 * away.sum() > boxed.sum():
        example = annotations.name[int(np.argmax(away))]
        found.append(
            f"{away.sum()} of {boxed.sum()} boxes have their centre outside the image, such as that of {example}"
        )
    return found


def _out_of(boxes: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """`bool[N, K]`, which landmarks `[N, K, 2]` lie outside the boxes `[N, 4]` and the pixel around them.

    SLEAP and Label Studio write boxes from the least to the greatest coordinate, so that the last pixel lacks.
    """
    return np.any((landmarks < boxes[:, None, :2] - 1.01) | (landmarks > boxes[:, None, 2:] + 1.01), axis=-1)


def repetitions(annotations: Annotations) -> list[str]:
    """A sentence about labelled records that repeat an earlier record: the same image and the same landmarks."""
    landmarks = np.where((annotations.weight > 0)[..., None], annotations.landmarks, 0)
    first: dict[tuple[int, bytes, bytes], int] = {}
    repeated = []
    for i in np.flatnonzero((annotations.weight > 0).any(axis=1)).tolist():
        key = int(annotations.digest[i]), landmarks[i].tobytes(), (annotations.weight[i] > 0).tobytes()
        if (earlier := first.setdefault(key, i)) != i:
            repeated.append((i, earlier))
    if not repeated:
        return []
    example, original = (annotations.name[i] for i in repeated[0])
    found = f"{len(repeated)} of {len(annotations.name)} records repeat image and landmarks of another one"
    return [f"{found}, such as {example} of {original}"]


def overlap(part: Part, other: Part, other_name: str) -> list[str]:
    """A sentence about records of a part whose images the part `other` has too, by the bytes of the images.

    An image that an end of the part divides, which COCO's protocol does not score, does not count.
    """
    mine, others = part.annotations.digest, other.annotations.digest
    divided = np.isin(part.annotations.image_id, [i for i in part.divided_images if i >= 0])
    shared = np.flatnonzero(np.isin(mine, others) & ~divided)
    if not len(shared):
        return []
    first = int(shared[0])
    same = int(np.argmax(others == mine[first]))
    names = f"{part.annotations.name[first]} and {other.annotations.name[same]}"
    found = f"{len(shared)} of {len(mine)} records show an image that {other_name} has as well, such as {names}"
    return [f"{found}; their error says nothing about new images"]


def findings(parts: Mapping[str, Part], mirror: Sequence[int] = ()) -> list[str]:
    """What is to be said of the parts of one data set, such as "train" and "validation", in sentences.

    Of each part `doubts` and `repetitions`; of each part and those before it `overlap` and `mean_shape.order_doubt`; of
    the first `mean_shape.mirror_doubt`, if a mirror order is given.
    """
    sentences = []
    for place, (name, part) in enumerate(parts.items()):
        found = [*doubts(part.annotations), *repetitions(part.annotations)]
        if mirror and not place:
            found += mean_shape.mirror_doubt(part.annotations, mirror)
        for other in list(parts)[:place]:
            found += overlap(part, parts[other], other)
            found += mean_shape.order_doubt(part.annotations, parts[other].annotations, other)
        sentences += [f"{name}: {sentence}" for sentence in found]
    return sentences
