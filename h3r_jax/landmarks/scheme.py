"""One frozen description per landmark scheme, and the units that errors are measured in."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from h3r_jax.errors import UserError

# Units that need no landmarks by name: from the landmarks' own box, or from what the data set delivers.
BOX = "box"  # the geometric mean of the sides of the box around the landmarks
OBJECT_SIZE = "object_size"  # the length that comes with the record: MPII's head size, AFLW's face box, COCO's segment
DELIVERED_DIAGONAL = "delivered_diagonal"  # of the box that comes with the record
UNITS = (BOX, OBJECT_SIZE, DELIVERED_DIAGONAL)

Group = int | tuple[int, ...]  # landmarks whose mean is taken
Unit = str | tuple[Group, Group]  # one of `UNITS`, or the distance between two landmarks or the means of two groups


@dataclasses.dataclass(frozen=True)
class LandmarkScheme:
    """One scheme.

    name: of the scheme.
    num_landmarks: K.
    mirror: K indices; landmark i of a mirrored image is landmark `mirror[i]` of the original. An involution.
    normalizers: pairs of a name and the unit of the normalised mean error that it stands for: two landmarks, two
      groups of landmarks whose means are taken, or one of `UNITS`. The first is the scheme's default.
    names: of the landmarks, sides as the person has them; empty for none.
    connections: pairs of landmarks that a picture joins by lines.
    sigmas: K, per landmark, of COCO's object keypoint similarity; empty for none.
    upper_body: landmarks above the hips, for the half-body augmentation; empty for faces.
    """

    name: str
    num_landmarks: int
    mirror: tuple[int, ...]
    normalizers: tuple[tuple[str, Unit], ...]
    names: tuple[str, ...] = ()
    connections: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] = ()
    upper_body: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        mirror = np.asarray(self.mirror)
        identity = np.arange(self.num_landmarks)
        place, last = f"scheme {self.name}", self.num_landmarks - 1
        if mirror.dtype.kind not in "iu" or not np.array_equal(np.sort(mirror), identity):
            raise UserError(f"{place}: mirror must be a permutation of 0 to {last}, got {self.mirror}")
        if not np.array_equal(mirror[mirror], identity):
            first = int(np.argmax(mirror[mirror] != identity))
            way = f"{first} -> {mirror[first]} -> {mirror[mirror[first]]}"
            raise UserError(f"{place}: mirroring twice must change nothing, but {way}")
        for field in ("names", "sigmas"):
            count = len(getattr(self, field))
            if count not in (0, self.num_landmarks):
                raise UserError(f"{place}: {count} {field} for {self.num_landmarks} landmarks")
        if not self.normalizers:
            raise UserError(f"{place} has no normaliser; want two landmarks, or one of {', '.join(UNITS)}")
        if not all(
            isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in self.normalizers
        ):
            raise UserError(f"{place}: normalizers are pairs of a name and a unit, got {self.normalizers}")
        for pair in (*self.connections, *(unit for _, unit in self.normalizers if unit not in UNITS)):
            self._check_pair(pair)

    def _check_pair(self, pair: Any) -> None:
        groups = [np.atleast_1d(member) for member in pair] if isinstance(pair, tuple) and len(pair) == 2 else []
        whole = groups and all(group.dtype.kind in "iu" and group.ndim == 1 and group.size for group in groups)
        if not whole or not all(((0 <= group) & (group < self.num_landmarks)).all() for group in groups):
            wanted = f"neither one of {', '.join(UNITS)} nor a pair of landmarks below {self.num_landmarks}"
            raise UserError(f"scheme {self.name}: {pair!r} is {wanted}")
        if pair[0] == pair[1]:
            raise UserError(f"scheme {self.name}: {pair} is a distance from a landmark to itself")

    def parts(self) -> tuple[int, ...]:
        """The part that each landmark belongs to, K numbers from 0 in the order of the landmarks.

        Landmarks that connections join, directly or by others, belong together if they are on the same side: a landmark
        is on one side if its mirror image comes later, on the other one if it comes earlier, else between the two.
        """
        joined = list(range(self.num_landmarks))
        for first, second in self.connections:
            old, new = joined[second], joined[first]
            joined = [new if each == old else each for each in joined]
        sides = np.sign(np.asarray(self.mirror) - np.arange(self.num_landmarks)).tolist()
        keys = list(zip(joined, sides))
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return tuple(numbers[key] for key in keys)

    def normalizer(self, name: str = "") -> Unit:
        """The unit called `name`, the scheme's first for ""; ValueError with the known names for another."""
        known = dict(self.normalizers)
        if name and name not in known:
            raise UserError(f"scheme {self.name} has no normaliser {name!r}; it has {', '.join(known)}")
        return known[name] if name else self.normalizers[0][1]

    def normalizing_distance(
        self,
        landmarks: ArrayLike,
        weight: ArrayLike | None = None,
        *,
        normalizer: str = "",
        box: ArrayLike | None = None,
        object_size: ArrayLike | None = None,
    ) -> np.ndarray:
        """The unit of the normalised mean error, per example.

        Args:
          landmarks: `[..., K, 2]`, image pixels; numpy.
          weight: `[..., K]`; landmarks at zero are left out of the box, as they may have no coordinates.
            A pair needs its two landmarks, visible or not. None for all.
          normalizer: name in `normalizers`; the first for "".
          box: `[..., 4]`, the delivered boxes, for `DELIVERED_DIAGONAL`.
          object_size: `[...]`, image pixels, for `OBJECT_SIZE`.

        Returns:
          `float64[...]`, pixels; zero or less, or NaN, where there is none.
        """
        landmarks = np.asarray(landmarks, np.float64)
        unit = self.normalizer(normalizer)
        if unit == OBJECT_SIZE:
            return np.asarray(object_size, np.float64)
        if unit == DELIVERED_DIAGONAL:
            box = np.asarray(box, np.float64)
            return np.linalg.norm(box[..., 2:] - box[..., :2], axis=-1)
        if unit == BOX:
            counts = np.ones(landmarks.shape[:-1], bool) if weight is None else np.asarray(weight) > 0
            low = np.where(counts[..., None], landmarks, np.inf).min(axis=-2)
            high = np.where(counts[..., None], landmarks, -np.inf).max(axis=-2)
            sides = np.where(counts.any(axis=-1, keepdims=True), high - low, 0.0)
            return np.sqrt(np.prod(sides, axis=-1))
        first, second = (landmarks[..., np.atleast_1d(group), :].mean(axis=-2) for group in unit)
        return np.linalg.norm(first - second, axis=-1)


def line(first: int, last: int, closed: bool = False) -> tuple[tuple[int, int], ...]:
    """Connections along the landmarks `first` to `last`, inclusive."""
    pairs = [(i, i + 1) for i in range(first, last)]
    return (*pairs, (last, first)) if closed else tuple(pairs)


def swap(num_landmarks: int, *pairs: tuple[int, int]) -> tuple[int, ...]:
    """The mirror order that exchanges the members of each pair and keeps the rest."""
    order = list(range(num_landmarks))
    for left, right in pairs:
        order[left], order[right] = right, left
    return tuple(order)


def turned(first: int, last: int) -> list[tuple[int, int]]:
    """Pairs that turn the run of landmarks `first` to `last` round."""
    return [(first + i, last - i) for i in range((last - first + 1) // 2)]


def named(*groups: tuple[str, int]) -> tuple[str, ...]:
    """Names `group_0, group_1, ...` for (group, how many); the group's own name where it is one."""
    return tuple(name if count == 1 else f"{name}_{i}" for name, count in groups for i in range(count))
