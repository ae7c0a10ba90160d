"""Landmark schemes: what the points of a data set are, and how they mirror and normalise."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class LandmarkScheme:
    """One scheme.

    name: of the scheme.
    num_landmarks: K.
    mirror: K indices; landmark i of a mirrored image is landmark `mirror[i]` of the original. An involution.
    normalizer: two landmarks whose distance is the unit of the normalised mean
      error, or "box" for the geometric mean of the sides of the landmarks' box.
    connections: pairs of landmarks that a picture joins by lines.
    """

    name: str
    num_landmarks: int
    mirror: tuple[int, ...]
    normalizer: tuple[int, int] | str
    connections: tuple[tuple[int, int], ...] = ()

    def __post_init__(self):
        mirror = np.asarray(self.mirror)
        identity = np.arange(self.num_landmarks)
        if mirror.shape != identity.shape or mirror.dtype.kind not in "iu" or not np.array_equal(np.sort(mirror), identity):
            raise ValueError(
                f"scheme {self.name}: mirror must be a permutation of 0 to {self.num_landmarks - 1}, got {self.mirror}"
            )
        if not np.array_equal(mirror[mirror], identity):
            first = int(np.argmax(mirror[mirror] != identity))
            raise ValueError(
                f"scheme {self.name}: mirroring twice must change nothing, but {first} -> {mirror[first]} -> {mirror[mirror[first]]}"
            )
        pairs = (*self.connections, *([] if self.normalizer == "box" else [self.normalizer]))
        for pair in pairs:
            whole = np.shape(pair) == (2,) and np.asarray(pair).dtype.kind in "iu"
            if not whole or not all(0 <= i < self.num_landmarks for i in pair):
                raise ValueError(
                    f"scheme {self.name}: {pair!r} is neither 'box' nor a pair of landmarks below {self.num_landmarks}"
                )
        if self.normalizer != "box" and self.normalizer[0] == self.normalizer[1]:
            raise ValueError(f"scheme {self.name}: the normaliser {self.normalizer} is a distance from a landmark to itself")

    def normalizing_distance(self, landmarks, visibility=None):
        """The unit of the normalised mean error, per example.

        Args:
          landmarks: `[..., K, 2]`, pixels; numpy.
          visibility: `[..., K]`; landmarks at zero are left out of the box, as they may have no coordinates.
            A pair needs its two landmarks, visible or not. None for all.

        Returns:
          `float64[...]`, pixels; zero or less, or NaN, where there is none.
        """
        landmarks = np.asarray(landmarks, np.float64)
        if self.normalizer == "box":
            counts = np.ones(landmarks.shape[:-1], bool) if visibility is None else np.asarray(visibility) > 0
            low = np.where(counts[..., None], landmarks, np.inf).min(axis=-2)
            high = np.where(counts[..., None], landmarks, -np.inf).max(axis=-2)
            sides = np.where(counts.any(axis=-1, keepdims=True), high - low, 0.0)
            return np.sqrt(np.prod(sides, axis=-1))
        first, second = self.normalizer
        return np.linalg.norm(landmarks[..., first, :] - landmarks[..., second, :], axis=-1)


def _line(first, last, closed=False):
    """Connections along the landmarks `first` to `last`, inclusive."""
    pairs = [(i, i + 1) for i in range(first, last)]
    return (*pairs, (last, first)) if closed else tuple(pairs)


def _pairs(num_landmarks, *swaps):
    """The mirror order that exchanges the members of each pair and keeps the rest."""
    order = list(range(num_landmarks))
    for left, right in swaps:
        order[left], order[right] = right, left
    return tuple(order)


# iBUG / 300W: contour 0-16, brows 17-26, nose 27-35, eyes 36-47, outer lip 48-59, inner lip 60-67.
IBUG68 = LandmarkScheme(
    name="ibug68",
    num_landmarks=68,
    mirror=_pairs(
        68,
        *((i, 16 - i) for i in range(8)),
        *((17 + i, 26 - i) for i in range(5)),
        *((31 + i, 35 - i) for i in range(2)),
        *zip(range(36, 42), (45, 44, 43, 42, 47, 46)),
        *((48 + i, 54 - i) for i in range(3)),
        *((55 + i, 59 - i) for i in range(2)),
        *((60 + i, 64 - i) for i in range(2)),
        (65, 67),
    ),
    normalizer=(36, 45),
    connections=(
        *_line(0, 16), *_line(17, 21), *_line(22, 26), *_line(27, 30), *_line(31, 35),
        *_line(36, 41, True), *_line(42, 47, True), *_line(48, 59, True), *_line(60, 67, True),
    ),
)  # fmt: skip

# The figure of data.phantom_figure, which draws these points; a test holds the two together.
PHANTOM23 = LandmarkScheme(
    name="phantom23",
    num_landmarks=23,
    mirror=_pairs(23, (0, 4), (1, 3), (5, 8), (6, 7), (9, 14), (10, 13), (11, 12), (17, 18), (19, 21)),
    normalizer=(9, 14),
    connections=(
        *_line(0, 4), (5, 6), (7, 8), *_line(9, 11), *_line(12, 14), (15, 16), (17, 16), (16, 18), *_line(19, 22, True),
    ),
)  # fmt: skip

SCHEMES = {scheme.name: scheme for scheme in (IBUG68, PHANTOM23)}


def get_scheme(name):
    """The scheme of that name; ValueError with the known names for another."""
    if name not in SCHEMES:
        raise ValueError(f"unknown landmark scheme {name!r}; known are {', '.join(SCHEMES)}")
    return SCHEMES[name]
