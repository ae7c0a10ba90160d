"""Pictures of the `phantom` data set: a drawn face whose landmarks are known exactly.

`draw(seed, index)` depends on its arguments alone. It draws a figure (`data.phantom.figure`) on a
textured background, with light, an occluder on some pictures, blur, the camera's gamma and noise.
The landmarks are not measured on the picture: they are the projected points of the model, in float64.

    drawing = draw(seed=0, index=7)
    drawing.image, drawing.landmarks        # uint8[96, 96, 3], float64[23, 2]

`sample_scene` draws the numbers that describe a picture, and `render` makes the picture. To change one
of the numbers and keep the others, use `dataclasses.replace`.
"""

import dataclasses
import numbers
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from data.phantom import shapes
from data.phantom.figure import NUM_LANDMARKS, Figure, draw_figure, sample_figure
from h3r_jax.errors import UserError

MIN_SIZE = 32


class Drawing(NamedTuple):
    """One example. Coordinates are (x, y) in pixels, 0-based, pixel centres at integers."""

    image: np.ndarray  # uint8[size, size, 3], RGB
    landmarks: np.ndarray  # float64[K, 2]
    visibility: np.ndarray  # float32[K], 0 where the occluder covers the landmark, else 1
    box: np.ndarray  # float64[4], x0, y0, x1, y1 of the head, hair included


@dataclasses.dataclass(frozen=True, eq=False)
class Background:
    """Two colours mixed by a pattern, and noise of three widths over them."""

    colours: tuple[np.ndarray, np.ndarray]  # linear-light [3]
    pattern: str  # "plain", "gradient", "stripes" or "checks"
    angle: float  # radians
    period: float  # fraction of the picture's side
    phase: float  # of one period
    sharpness: float
    grids: tuple[np.ndarray, ...]  # [G, G], -1 to 1
    strength: float  # of the noise, relative

    def paint(self, size: int) -> np.ndarray:
        """The background `float64[3, size, size]` in linear light."""
        x = np.arange(size)[None, :] + 0.5
        y = np.arange(size)[:, None] + 0.5
        texture = sum(shapes.smooth_noise(grid, size) for grid in self.grids)
        along = self.period * size, self.phase, self.sharpness
        if self.pattern == "plain":
            mix = 0.5 + 0.5 * np.clip(texture, -1, 1)
        elif self.pattern == "gradient":
            across = np.cos(self.angle) * (x - size / 2) + np.sin(self.angle) * (y - size / 2)
            mix = np.clip(0.5 + across / size, 0, 1)
        else:
            mix = shapes.waves(x, y, self.angle, *along)
            if self.pattern == "checks":
                other = shapes.waves(x, y, self.angle + np.pi / 2, *along)
                mix = mix + other - 2 * mix * other
        first, second = self.colours
        mixed = first[:, None, None] + mix * (second - first)[:, None, None]
        return np.clip(mixed * (1 + self.strength * texture), 0, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Occluder:
    """An opaque ellipse or bar with stripes. Lengths are fractions of the picture's side."""

    shape: str  # "ellipse" or "bar"
    centre: np.ndarray  # [2]
    half_axes: np.ndarray  # [2]
    angle: float  # radians
    colours: tuple[np.ndarray, np.ndarray]  # linear-light [3]
    period: float

    def distance(self, x: np.ndarray, y: np.ndarray, size: int) -> np.ndarray:
        """Signed distance `[...]` in pixels from points x, y `[...]` to the edge, negative inside."""
        outline = {"ellipse": shapes.ellipse, "bar": shapes.bar}[self.shape]
        return outline(x, y, self.centre * size - 0.5, self.half_axes * size, self.angle)

    def paint(self, pixels: np.ndarray) -> None:
        """Paints over `pixels` `float64[3, size, size]` in place."""
        size = pixels.shape[-1]
        first, second = (colour[:, None, None] for colour in self.colours)

        def stripes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            mix = shapes.waves(x + 0.5, y + 0.5, self.angle + 0.5, self.period * size, 0.0, 2.0)
            return first + (second - first) * mix

        outline = lambda x, y: self.distance(x, y, size)
        reach = 1.5 * self.half_axes.max() * size
        shapes.Canvas(pixels).paint(outline, [self.centre * size - 0.5], reach, stripes)


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """All that a picture is made of."""

    figure: Figure
    background: Background
    occluder: Occluder | None
    light: np.ndarray  # [2], relative change of brightness from the middle to the right and bottom edge
    exposure: float  # factor of the linear light
    blur: float  # standard deviation in pixels, 0 for none
    gamma: float  # the encoded value is the linear one to the power 1 / gamma
    noise: float  # standard deviation of the encoded value, 0 to 1
    noise_seed: int


def draw(seed: int, index: int, size: int = 96) -> Drawing:
    """Draws example `index` of the data set numbered `seed`, `size` pixels to a side.

    The same arguments give the same bytes. Another size gives the same scene at another
    resolution, with other noise.

    Raises:
      UserError: `seed` or `index` is not an integer of at least 0, or `size` not one of at least `MIN_SIZE`.
    """
    _check("seed", seed, 0)
    _check("index", index, 0)
    _check("size", size, MIN_SIZE)
    sequence = np.random.SeedSequence([int(seed), int(index)])
    return render(sample_scene(np.random.Generator(np.random.PCG64(sequence))), int(size))


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draws the numbers that distinguish one picture from another."""
    figure = sample_figure(rng, _sample_colours(rng))
    return Scene(
        figure=figure,
        background=_sample_background(rng, figure),
        occluder=_sample_occluder(rng) if rng.random() < 0.3 else None,
        light=rng.uniform(-0.35, 0.35, 2),
        exposure=rng.uniform(0.65, 1.05),
        blur=rng.uniform(0.3, 1.2) if rng.random() < 0.4 else 0.0,
        gamma=rng.uniform(1.9, 2.5),
        noise=rng.uniform(0.0, 0.03),
        noise_seed=int(rng.integers(2**63)),
    )


def render(scene: Scene, size: int = 96) -> Drawing:
    """Makes the picture of a scene, `size` pixels to a side: things first, then light, then the camera."""
    pixels = scene.background.paint(size)
    draw_figure(scene.figure, pixels)
    landmarks = scene.figure.landmarks(size)
    visibility = np.ones(NUM_LANDMARKS, np.float32)
    if scene.occluder is not None:
        scene.occluder.paint(pixels)
        visibility[scene.occluder.distance(landmarks[:, 0], landmarks[:, 1], size) < 0] = 0

    place = (np.arange(size) + 0.5) / (size / 2) - 1
    light = 1 + scene.light[0] * place[None, :] + scene.light[1] * place[:, None]
    pixels *= np.maximum(light, 0.1) * scene.exposure
    if scene.blur:
        pixels = ndimage.gaussian_filter(pixels, (0, scene.blur, scene.blur), mode="nearest")
    encoded = np.clip(pixels, 0, 1) ** (1 / scene.gamma)
    if scene.noise:
        noise = np.random.Generator(np.random.PCG64(scene.noise_seed))
        encoded += scene.noise * noise.standard_normal(encoded.shape)
    image = np.clip(np.rint(encoded * 255), 0, 255).astype(np.uint8)
    image = np.ascontiguousarray(image.transpose(1, 2, 0))
    return Drawing(image, landmarks, visibility, scene.figure.box(size))


# Encoded RGB, 0 to 255. Neighbouring skins are mixed.
_SKINS = ((246, 212, 186), (236, 188, 156), (222, 168, 128), (186, 126, 88), (138, 88, 58), (98, 62, 44))
_HAIRS = ((32, 26, 28), (70, 44, 30), (120, 72, 40), (176, 96, 48), (222, 178, 104), (170, 168, 172),
          (60, 84, 130), (150, 64, 110))  # fmt: skip
_IRISES = ((74, 48, 30), (110, 80, 40), (70, 110, 70), (80, 130, 180), (110, 120, 130))
_LIPS = ((190, 70, 80), (160, 50, 60), (205, 100, 95), (140, 60, 85))


def _linear(encoded: ArrayLike) -> np.ndarray:
    return (np.asarray(encoded, np.float64) / 255) ** 2.2


def _contrast(colour: np.ndarray, other: np.ndarray) -> float:
    return np.abs(np.sqrt(colour) - np.sqrt(other)).sum()  # the root is close to what the picture stores


def _any_colour(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """A linear-light colour of any hue; `low` and `high` bound the encoded value."""
    value, saturation, hue = rng.uniform(low, high), rng.uniform(0.1, 0.65), rng.uniform(0, 6)
    ramp = np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1  # the usual hexagon of hues
    return _linear(255 * value * (1 - saturation * (1 - np.clip(ramp, 0, 1))))


def _sample_colours(rng: np.random.Generator) -> dict[str, np.ndarray]:
    tone = rng.uniform(0, len(_SKINS) - 1.001)
    lighter, darker = (_linear(_SKINS[int(tone) + step]) for step in (0, 1))
    skin = lighter + (tone % 1) * (darker - lighter)
    hair = _linear(_HAIRS[rng.integers(len(_HAIRS))]) * rng.uniform(0.8, 1.2)
    # Brows are darker than the skin. Lips are darker or redder than the skin, by whichever shows more.
    brow = np.minimum(hair * 0.7, skin * 0.35)
    lips = _linear(_LIPS[rng.integers(len(_LIPS))])
    lips = max(lips, np.minimum(lips, skin * (0.85, 0.40, 0.50)), key=lambda c: _contrast(c, skin))
    return {
        "skin": skin, "hair": hair, "brow": brow, "lips": lips, "mouth": lips * 0.12,
        "iris": _linear(_IRISES[rng.integers(len(_IRISES))]), "pupil": _linear((12, 10, 12)),
        "white": _linear((244, 242, 238)) * rng.uniform(0.85, 1), "lash": np.minimum(hair * 0.4, skin * 0.12),
        "shirt": _any_colour(rng, 0.25, 0.9),
    }  # fmt: skip


def _sample_background(rng: np.random.Generator, figure: Figure) -> Background:
    skin = figure.colours["skin"]
    # Of three backgrounds, the one least like the skin, so that the outline can be seen.
    choices = [(_any_colour(rng, 0.2, 0.95), _any_colour(rng, 0.2, 0.95)) for _ in range(3)]
    contrast = [min(_contrast(colour, skin) for colour in pair) for pair in choices]
    return Background(
        colours=choices[int(np.argmax(contrast))],
        pattern=("plain", "gradient", "stripes", "checks")[rng.integers(4)],
        angle=rng.uniform(0, np.pi),
        period=rng.uniform(0.12, 0.45),
        phase=rng.uniform(0, 1),
        sharpness=rng.uniform(0.5, 3.0),
        grids=tuple(w * rng.uniform(-1, 1, (n + 1, n + 1)) for n, w in ((4, 0.5), (11, 0.3), (29, 0.2))),
        strength=rng.uniform(0.1, 0.6),
    )


def _sample_occluder(rng: np.random.Generator) -> Occluder:
    shape = ("ellipse", "bar")[rng.integers(2)]
    low, high = (((0.08, 0.05), (0.20, 0.13)), ((0.30, 0.025), (0.60, 0.07)))[shape == "bar"]
    return Occluder(
        shape=shape,
        centre=rng.uniform(0.22, 0.78, 2),
        half_axes=rng.uniform(low, high),
        angle=rng.uniform(0, np.pi),
        colours=(_any_colour(rng, 0.15, 0.95), _any_colour(rng, 0.15, 0.95)),
        period=rng.uniform(0.06, 0.2),
    )


def _check(name: str, value: object, least: int) -> None:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise UserError(f"{name} must be an integer of at least {least}, not {value!r}.")
