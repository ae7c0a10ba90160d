"""The figure of the `phantom` data set: a face in 3-D, its individuals and poses, and its painting.

"right" and "left" are the subject's own, as in the usual face annotations: on an upright figure
that looks at the viewer, right_eye_outer is on the viewer's left.

The face is a linear shape model: a mean shape plus traits, each a displacement of some points times
a coefficient between -1 and 1. It is turned in space and projected by weak perspective: the depth
of the figure is small against its distance. Model units: the temples are about one unit from the
midline; x to the viewer's right, y down, z towards the viewer.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from data.phantom import shapes
from h3r_jax.landmarks import PHANTOM23

Points = Mapping[str, tuple[float, float, float]]  # name of a point -> x, y, z in model units
Colours = Mapping[str, np.ndarray]  # name of a part -> linear-light [3]

NAMES = PHANTOM23.names
NUM_LANDMARKS = len(NAMES)

# Midline points, and points of the right side, which the left side mirrors; some only serve the drawing.
_MIDLINE: Points = {
    "chin": (0, 1.15, 0.08), "nose_bridge": (0, -0.14, 0.12), "nose_tip": (0, 0.30, 0.32), "nose_base": (0, 0.43, 0.14),
    "upper_lip": (0, 0.625, 0.13), "lower_lip": (0, 0.85, 0.12), "mouth_top": (0, 0.70, 0.12),
    "mouth_bottom": (0, 0.715, 0.12), "parting": (0, -0.80, 0.0), "crown": (0, -1.42, -0.25),
}  # fmt: skip
_RIGHT: Points = {
    "temple": (-0.96, -0.28, -0.22), "jaw": (-0.74, 0.60, -0.14), "forehead": (-0.80, -0.90, -0.20),
    "fringe": (-0.80, -0.66, -0.10), "hair_side": (-1.04, -0.80, -0.28), "hair_top": (-0.60, -1.30, -0.26),
    "hair_low": (-1.02, 0.10, -0.55), "hair_end": (-0.95, 0.55, -0.60), "ear_top": (-1.00, -0.10, -0.32),
    "ear_low": (-0.94, 0.20, -0.30), "neck_top": (-0.40, 0.60, -0.35), "neck_low": (-0.44, 1.50, -0.35),
    "shoulder": (-1.35, 1.72, -0.45), "arm": (-1.80, 4.00, -0.45), "cheek": (-0.52, 0.36, 0.0),
    "brow_outer": (-0.74, -0.41, -0.06), "brow_peak": (-0.50, -0.54, 0.02), "brow_inner": (-0.17, -0.46, 0.08),
    "eye_outer": (-0.70, -0.08, -0.03), "eye_inner": (-0.20, -0.06, 0.06), "pupil": (-0.45, -0.085, 0.05),
    "lid_top": (-0.45, -0.26, 0.03), "lid_bottom": (-0.45, 0.06, 0.03), "nose_wing": (-0.20, 0.35, 0.10),
    "mouth_corner": (-0.37, 0.68, 0.01), "lip_peak": (-0.12, 0.55, 0.12), "lip_low": (-0.20, 0.76, 0.08),
}  # fmt: skip
_POINTS = (*_MIDLINE, *(f"right_{name}" for name in _RIGHT), *(f"left_{name}" for name in _RIGHT))
_INDEX = {name: i for i, name in enumerate(_POINTS)}
LANDMARK_ROWS = tuple(_INDEX[name] for name in NAMES)  # of Figure.points


def _symmetric(midline: Points, right: Points) -> np.ndarray:
    """Points or displacements `[P, 3]` of the whole figure, from those of the midline and the right side."""
    table = np.zeros((len(_POINTS), 3))
    for name, xyz in midline.items():
        table[_INDEX[name]] = xyz
    for name, (x, y, z) in right.items():
        table[_INDEX[f"right_{name}"]] = x, y, z
        table[_INDEX[f"left_{name}"]] = -x, y, z
    return table


_MEAN = _symmetric(_MIDLINE, _RIGHT)
MEAN_SHAPE = _MEAN[list(LANDMARK_ROWS)]  # float64[K, 3], model units

_EYE = ("eye_outer", "eye_inner", "pupil", "lid_top", "lid_bottom")
_SIDE = ("temple", "hair_side", "ear_top", "ear_low", "hair_low", "hair_end")
_FRONT = ("jaw", "forehead", "fringe")
_BROW = ("brow_outer", "brow_peak", "brow_inner")
_MOUTH_RIGHT = ("mouth_corner", "lip_peak", "lip_low")
_MOUTH_MIDLINE = ("upper_lip", "lower_lip", "mouth_top", "mouth_bottom")
_TRAITS: dict[str, tuple[Points, Points]] = {
    "face_width": ({}, dict.fromkeys(_SIDE, (-0.07, 0, 0)) | dict.fromkeys(_FRONT, (-0.06, 0, 0))),
    "jaw_width": ({}, {"jaw": (-0.09, 0.03, 0)}),
    "chin_length": ({"chin": (0, 0.08, 0)}, {"jaw": (0, 0.03, 0)}),
    "temple_height": ({}, {"temple": (0, 0.06, 0), "ear_top": (0, 0.04, 0), "ear_low": (0, 0.04, 0)}),
    "eye_distance": ({}, dict.fromkeys(_EYE, (-0.05, 0, 0))),
    "eye_size": ({}, {"eye_outer": (-0.03, 0, 0), "eye_inner": (0.02, 0, 0)}),
    "eye_height": ({}, dict.fromkeys(_EYE, (0, 0.04, 0))),
    "eye_tilt": ({}, {"eye_outer": (0, 0.05, 0), "eye_inner": (0, -0.03, 0)}),
    "eye_opening": ({}, {"lid_top": (0, -0.035, 0), "lid_bottom": (0, 0.02, 0)}),
    "brow_height": ({}, dict.fromkeys(_BROW, (0, -0.05, 0))),
    "brow_tilt": ({}, {"brow_outer": (0, 0.05, 0), "brow_inner": (0, -0.05, 0)}),
    "brow_length": ({}, {"brow_outer": (-0.04, 0, 0), "brow_inner": (0.03, 0, 0)}),
    "nose_length": ({"nose_tip": (0, 0.07, 0), "nose_base": (0, 0.05, 0)}, {"nose_wing": (0, 0.05, 0)}),
    "nose_width": ({}, {"nose_wing": (-0.05, 0, 0)}),
    "nose_bridge": ({"nose_bridge": (0, 0.07, 0)}, {}),
    "mouth_width": ({}, {"mouth_corner": (-0.08, 0, 0), "lip_low": (-0.04, 0, 0)}),
    "mouth_height": (dict.fromkeys(_MOUTH_MIDLINE, (0, 0.035, 0)), dict.fromkeys(_MOUTH_RIGHT, (0, 0.035, 0))),
    "smile": ({}, {"mouth_corner": (0, -0.07, 0), "lip_low": (0, -0.02, 0)}),
    "lips": ({"upper_lip": (0, -0.02, 0), "lower_lip": (0, 0.025, 0)}, {"lip_peak": (0, -0.02, 0)}),
}  # fmt: skip
_MODES = np.stack([_symmetric(*trait) for trait in _TRAITS.values()])
# Opening the mouth has one sign only: the jaw, lower lip and chin go down together.
_MOUTH_OPENING = _symmetric(
    {"lower_lip": (0, 0.15, 0), "mouth_bottom": (0, 0.14, 0), "chin": (0, 0.11, 0)},
    {"lip_low": (0.02, 0.12, 0), "jaw": (0, 0.04, 0), "mouth_corner": (0.02, 0.03, 0)},
)
_LONGER_HAIR = _symmetric({}, {"hair_end": (-0.12, 1.0, 0), "hair_low": (-0.12, 0.3, 0)})
_GAZE = [_INDEX["right_pupil"], _INDEX["left_pupil"]]
_HEAD = [_INDEX["crown"], _INDEX["chin"]] + [
    _INDEX[f"{side}_{name}"]
    for name in ("temple", "jaw", "forehead", "hair_side", "hair_top") for side in ("right", "left")
]  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Figure:
    """One individual in one pose. Lengths of the picture are fractions of its side."""

    points: np.ndarray  # [P, 3], model units
    rotation: np.ndarray  # [3, 3]
    scale: float  # of one model unit
    centre: np.ndarray  # [2], where the origin of the model falls
    colours: Colours
    light_from: float  # -1 from the viewer's left to 1 from the right
    has_long_hair: bool = False

    def project(self, size: int) -> np.ndarray:
        """All points `float64[P, 2]` in pixels of a picture with `size` pixels to a side."""
        flat = (self.points[:, None, :] * self.rotation[:2]).sum(axis=-1)
        return flat * (self.scale * size) + self.centre * size - 0.5

    def landmarks(self, size: int) -> np.ndarray:
        """Landmarks `float64[K, 2]` in pixels of a picture with `size` pixels to a side."""
        return self.project(size)[list(LANDMARK_ROWS)]

    def box(self, size: int) -> np.ndarray:
        """The box `float64[4]`, x0, y0, x1, y1, of the head (face outline and cap of hair), in pixels."""
        head = self.project(size)[_HEAD]
        return np.concatenate([head.min(axis=0), head.max(axis=0)])


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rotation `float64[3, 3]` by angles in radians: yaw to the viewer's right, pitch down, roll clockwise."""
    (cy, cp, cr), (sy, sp, sr) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    nodded = (nod[:, :, None] * turn).sum(axis=1)
    return (tilt[:, :, None] * nodded).sum(axis=1)


def sample_figure(rng: np.random.Generator, colours: Colours) -> Figure:
    """Draws an individual, its expression, its pose and its place in the picture."""
    coefficients = rng.uniform(-1, 1, len(_MODES))
    points = _MEAN + (coefficients[:, None, None] * _MODES).sum(axis=0)
    points = points + _MOUTH_OPENING * max(0.0, rng.uniform(-0.6, 1))
    unevenness = rng.uniform(-0.014, 0.014, points.shape)
    unevenness[_GAZE] = 0
    points += unevenness  # no face is quite symmetric
    points[_GAZE, :2] += rng.uniform(-1, 1, 2) * (0.06, 0.015)
    has_long_hair = rng.random() < 0.45
    points = points + _LONGER_HAIR * rng.uniform(0.1, 1)
    points[_INDEX["parting"], 0] = rng.choice([-1, 1]) * rng.uniform(0.15, 0.55)

    yaw, pitch, roll = np.deg2rad(rng.uniform(-1, 1, 3) * (35, 15, 20))
    figure = Figure(points, rotation(yaw, pitch, roll), 1.0, np.zeros(2), colours, rng.uniform(-1, 1), has_long_hair)
    # The longer side of the head takes this share of the picture; at least 3 % stay free around it.
    share = rng.uniform(0.52, 0.74)
    box = figure.box(1) + 0.5
    scale = share / max(box[2:] - box[:2])
    room = min(0.10, (1 - share) / 2 - 0.03)
    centre = 0.5 + rng.uniform(-room, room, 2) - scale * (box[:2] + box[2:]) / 2
    return dataclasses.replace(figure, scale=scale, centre=centre)


def draw_figure(figure: Figure, pixels: np.ndarray) -> None:
    """Paints the figure over `pixels` `float64[3, size, size]`, linear light, in place."""
    canvas = shapes.Canvas(pixels)
    at = dict(zip(_POINTS, figure.project(canvas.size)))
    unit = figure.scale * canvas.size  # one model unit in pixels
    colour = figure.colours

    def polygon(names: str, fill: shapes.Colour, rounding: float = 0.0) -> None:
        vertices = np.stack([at[name] for name in names.split()])
        canvas.paint(lambda x, y: shapes.polygon(x, y, vertices, rounding * unit), vertices, 0, fill)

    def stroke(points: Sequence[np.ndarray], radii: Sequence[float], fill: shapes.Colour, opacity: float = 1.0) -> None:
        line, widths = np.asarray(points), np.multiply(radii, unit)
        canvas.paint(lambda x, y: shapes.stroke(x, y, line, widths), line, widths.max(), fill, opacity)

    def lit(fill: np.ndarray) -> shapes.Colour:
        """The colour, brighter towards the side that the light comes from."""
        across = (at["left_temple"] - at["right_temple"]) / (2 * unit)
        middle = (at["left_temple"] + at["right_temple"]) / 2

        def shade(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            place = ((x - middle[0]) * across[0] + (y - middle[1]) * across[1]) / unit
            return fill[:, None, None] * (1 + 0.28 * figure.light_from * place)

        return shade

    if figure.has_long_hair:
        polygon("crown left_hair_top left_hair_side left_hair_low left_hair_end "
                "right_hair_end right_hair_low right_hair_side right_hair_top",
                colour["hair"] * 0.6, rounding=0.1)  # fmt: skip
    polygon("right_neck_low right_shoulder right_arm left_arm left_shoulder left_neck_low", colour["shirt"])
    polygon("right_neck_top right_neck_low left_neck_low left_neck_top", colour["skin"] * 0.55)
    for side in ("right", "left"):
        stroke([at[f"{side}_ear_top"], at[f"{side}_ear_low"]], [0.13, 0.09], colour["skin"] * 0.75)

    polygon("right_forehead right_temple right_jaw chin left_jaw left_temple left_forehead",
            lit(colour["skin"]), rounding=0.10)  # fmt: skip
    for side in ("right", "left"):
        cheek = at[f"{side}_cheek"]
        for radius in (0.19, 0.15, 0.11):  # three layers for a soft edge
            stroke([cheek, cheek], [radius, radius], colour["lips"], 0.08)
    polygon("right_temple right_fringe parting left_fringe left_temple left_hair_side "
            "left_hair_top crown right_hair_top right_hair_side", lit(colour["hair"]))  # fmt: skip
    stroke([at["parting"], 0.35 * at["parting"] + 0.65 * at["crown"]], [0.035, 0.015], colour["hair"] * 0.5)

    for side, ends in (("right", "outer inner"), ("left", "inner outer")):
        inner, peak, outer = (at[f"{side}_brow_{part}"] for part in ("inner", "peak", "outer"))
        # The two ends of the stroke are round and reach exactly to the landmarks.
        brow = [_shortened(inner, peak, 0.065 * unit), peak, _shortened(outer, peak, 0.038 * unit)]
        stroke(brow, [0.065, 0.058, 0.038], colour["brow"])
        corners = np.stack([at[f"{side}_eye_{corner}"] for corner in ends.split()])
        lids = at[f"{side}_lid_top"], at[f"{side}_lid_bottom"]
        _draw_eye(canvas, corners, lids, at[f"{side}_pupil"], unit, colour)

    bright, dark = colour["skin"] * 0.86, colour["skin"] * 0.55
    from_right = figure.light_from < 0  # the viewer's left is the subject's right
    polygon("nose_bridge right_nose_wing nose_tip", bright if from_right else dark)
    polygon("nose_bridge left_nose_wing nose_tip", dark if from_right else bright)
    # A tapered line down the ridge. Its round upper end shows the bridge where both facets look alike.
    bridge, tip = at["nose_bridge"], at["nose_tip"]
    ridge = [_shortened(bridge, tip, 0.045 * unit), 0.35 * bridge + 0.65 * tip]
    stroke(ridge, [0.045, 0.01], colour["skin"] * 0.45)
    polygon("right_nose_wing nose_base left_nose_wing nose_tip", colour["skin"] * 0.38)

    polygon("right_mouth_corner right_lip_peak upper_lip left_lip_peak left_mouth_corner "
            "left_lip_low lower_lip right_lip_low", colour["lips"])  # fmt: skip
    lips = [0.75 * at[f"{side}_mouth_corner"] + 0.25 * at["mouth_top"] for side in ("right", "left")]
    mouth = np.stack([lips[0], at["mouth_top"], lips[1], at["mouth_bottom"]])
    canvas.paint(lambda x, y: shapes.polygon(x, y, mouth) - 0.012 * unit, mouth, 1, colour["mouth"])


def _shortened(end: np.ndarray, towards: np.ndarray, length: float) -> np.ndarray:
    return end + (towards - end) * (length / np.sqrt(((towards - end) ** 2).sum()))


def _draw_eye(
    canvas: shapes.Canvas,
    corners: np.ndarray,
    lids: Sequence[np.ndarray],
    pupil: np.ndarray,
    unit: float,
    colour: Colours,
) -> None:
    """A dark lens from corner to corner, a smaller white one, iris and pupil clipped to the white."""
    along = corners[1] - corners[0]
    down = np.array([-along[1], along[0]]) / np.sqrt((along**2).sum())
    heights = [abs(((lid - corners.mean(axis=0)) * down).sum()) for lid in lids]
    # Seen from the side an eye is narrow; beyond a half circle the arcs would bulge past the corners.
    widest = 0.45 * np.sqrt((along**2).sum())
    upper, lower = (min(max(height, 0.02 * unit), widest) for height in heights)

    def opening(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return shapes.lens(x, y, corners, upper, lower)

    def white(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return opening(x, y) + 0.035 * unit

    def clipped_disc(radius: float) -> shapes.Shape:
        return lambda x, y: np.maximum(shapes.disc(x, y, pupil, radius * unit), white(x, y))

    canvas.paint(opening, corners, max(upper, lower), colour["lash"])
    canvas.paint(white, corners, max(upper, lower), colour["white"])
    canvas.paint(clipped_disc(0.135), [pupil], 0.135 * unit, colour["iris"])
    canvas.paint(clipped_disc(0.075), [pupil], 0.075 * unit, colour["pupil"])
