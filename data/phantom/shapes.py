"""Anti-aliased drawing of plane shapes with numpy: signed distances, a canvas, textures.

A shape is a function of pixel coordinates that returns the signed distance to its edge in
pixels, negative inside. The canvas turns a distance into the share of the pixel that the shape
covers, by a smooth ramp about the edge: the integral of a triangle two pixels wide at its foot, as
if linear interpolation were the sensor's point spread. There is no sample grid, so every shift,
however small, changes the picture. The ramp is wide enough to keep the centre of gravity of a small
disc in place: to 0.01 px from a radius of 1.2 px, where a ramp of one pixel would leave 0.06.
Coordinates are (x, y), 0-based, pixel centres at integers; the image reaches from -0.5 to size - 0.5.
Colours are three linear-light intensities, 0 to 1.

Everything is elementwise float64 arithmetic in numpy (no BLAS, no threads). So the same arguments
give the same picture on every machine, up to the last bit of the library's pow and sin.
"""

from collections.abc import Callable, Sequence

import numpy as np

Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of x and y; signed distances
Colour = np.ndarray | Shape  # [3], or a function of x and y that returns [3, h, w]


def disc(x: np.ndarray, y: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """Signed distance `[...]` in pixels from points x, y `[...]` to a circle, negative inside."""
    return np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2) - radius


def ellipse(x: np.ndarray, y: np.ndarray, centre: np.ndarray, half_axes: np.ndarray, angle: float) -> np.ndarray:
    """Signed distance `[...]` to an ellipse turned by `angle` radians.

    First order: the implicit function over its slope, which is exact on the edge itself.
    """
    u, v = _turned(x, y, centre, angle)
    a, b = half_axes
    level = np.sqrt((u / a) ** 2 + (v / b) ** 2)
    slope = np.sqrt((u / a**2) ** 2 + (v / b**2) ** 2)
    # At the centre both vanish; the distance there is minus the shorter half axis.
    return np.where(slope > 1e-9, level * (level - 1) / np.maximum(slope, 1e-9), -min(a, b))


def bar(x: np.ndarray, y: np.ndarray, centre: np.ndarray, half_axes: np.ndarray, angle: float) -> np.ndarray:
    """Signed distance `[...]` to a rectangle turned by `angle` radians."""
    u, v = _turned(x, y, centre, angle)
    u, v = np.abs(u) - half_axes[0], np.abs(v) - half_axes[1]
    outside = np.sqrt(np.maximum(u, 0) ** 2 + np.maximum(v, 0) ** 2)
    return outside + np.minimum(np.maximum(u, v), 0)


def polygon(x: np.ndarray, y: np.ndarray, vertices: np.ndarray, rounding: float = 0.0) -> np.ndarray:
    """Signed distance `[...]` to a simple polygon, `vertices` `[N, 2]` in either sense of rotation.

    With `rounding` the corners become arcs of that radius in pixels. The top of every convex arc
    stays on its vertex: the vertices first move inwards along their corners' bisectors, then the
    polygon grows by the radius.
    """
    if rounding:
        vertices = vertices - rounding * _outward_bisectors(vertices)
    shape = np.broadcast_shapes(np.shape(x), np.shape(y))
    squared = np.full(shape, np.inf)
    inside = np.zeros(shape, bool)
    for (ax, ay), (bx, by) in zip(vertices, np.roll(vertices, -1, axis=0)):
        px, py, ex, ey = x - ax, y - ay, bx - ax, by - ay
        along = np.minimum(np.maximum((px * ex + py * ey) / (ex * ex + ey * ey), 0), 1)
        squared = np.minimum(squared, (px - along * ex) ** 2 + (py - along * ey) ** 2)
        if ay != by:  # the even-odd rule: a ray to the right crosses this edge
            crosses = (ay <= y) != (by <= y)
            inside ^= crosses & (px < py * (ex / ey))
    distance = np.sqrt(squared)
    return np.where(inside, -distance, distance) - rounding


def lens(x: np.ndarray, y: np.ndarray, corners: np.ndarray, upper: float, lower: float) -> np.ndarray:
    """Signed distance `[...]` to the intersection of two discs: two arcs that meet in two corners, as eyelids do.

    corners: `[2, 2]`, the points where the arcs meet. upper, lower: heights in pixels of the arcs above
    and below the line between the corners; "above" is smaller y if the first corner is on the left.
    """
    first, second = corners
    half = (second - first) / 2
    reach = np.sqrt(half[0] ** 2 + half[1] ** 2)
    down = np.array([-half[1], half[0]]) / reach
    middle = (first + second) / 2
    arcs = []
    for height, direction in ((upper, down), (lower, -down)):
        radius = (reach**2 + height**2) / (2 * height)
        arcs.append(disc(x, y, middle + direction * (radius - height), radius))
    return np.maximum(*arcs)


def stroke(x: np.ndarray, y: np.ndarray, points: np.ndarray, radii: Sequence[float] | np.ndarray) -> np.ndarray:
    """Signed distance `[...]` to a line through `points` `[N, 2]` whose half width runs through `radii` `[N]`."""
    distance = np.asarray(np.inf)
    for a, b, ra, rb in zip(points[:-1], points[1:], radii[:-1], radii[1:]):
        px, py, ex, ey = x - a[0], y - a[1], b[0] - a[0], b[1] - a[1]
        along = np.minimum(np.maximum((px * ex + py * ey) / max(ex * ex + ey * ey, 1e-12), 0), 1)
        gap = np.sqrt((px - along * ex) ** 2 + (py - along * ey) ** 2)
        distance = np.minimum(distance, gap - (ra + along * (rb - ra)))
    return distance


class Canvas:
    """A picture in linear light, painted from back to front.

    pixels: `float64[3, size, size]`; channels come first, so that the window of a shape is one block.
    """

    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels
        self.size = pixels.shape[-1]

    def paint(
        self,
        shape: Shape,
        points: Sequence[np.ndarray] | np.ndarray,
        reach: float,
        colour: Colour,
        opacity: float = 1.0,
    ) -> None:
        """Lays a shape over the picture.

        points: `[N, 2]`; only their bounding box, widened by `reach` pixels, is painted. It must hold
        the shape. opacity: 0 to 1.
        """
        bounds = np.asarray(points)
        low = np.maximum(np.floor(bounds.min(axis=0) - reach - 1), 0).astype(int)
        high = np.minimum(np.ceil(bounds.max(axis=0) + reach + 2), self.size).astype(int)
        if (low >= high).any():
            return
        x = np.arange(low[0], high[0], dtype=np.float64)[None, :]
        y = np.arange(low[1], high[1], dtype=np.float64)[:, None]
        edge = np.minimum(np.maximum(shape(x, y), -1), 1)
        coverage = opacity * (0.5 - edge + 0.5 * edge * np.abs(edge))
        light = colour(x, y) if callable(colour) else colour[:, None, None]
        window = self.pixels[:, low[1] : high[1], low[0] : high[0]]
        window += coverage * (light - window)


def smooth_noise(grid: np.ndarray, size: int) -> np.ndarray:
    """Band-limited noise `float64[size, size]`: a `grid` `[G, G]` of random values, smoothly interpolated.

    The finest detail is size / (G - 1) pixels wide.
    """
    cells = grid.shape[0] - 1
    place = (np.arange(size) + 0.5) * (cells / size)
    low = np.minimum(place.astype(int), cells - 1)
    part = place - low
    part = part * part * (3 - 2 * part)  # no visible creases at the grid lines
    rows = grid[low] + part[:, None] * (grid[low + 1] - grid[low])
    return rows[:, low] + part * (rows[:, low + 1] - rows[:, low])


def waves(x: np.ndarray, y: np.ndarray, angle: float, period: float, phase: float, sharpness: float) -> np.ndarray:
    """Stripes `[...]`, 0 to 1, `period` pixels apart, across the direction `angle` in radians."""
    across = np.cos(angle) * x + np.sin(angle) * y
    return np.clip(0.5 + sharpness * np.sin(2 * np.pi * (across / period + phase)), 0, 1)


def _turned(x: np.ndarray, y: np.ndarray, centre: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    dx, dy = x - centre[0], y - centre[1]
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * dx + sin * dy, cos * dy - sin * dx


def _outward_bisectors(vertices: np.ndarray) -> np.ndarray:
    """Unit vectors `[N, 2]` that point out of the polygon at each corner."""
    edges = np.roll(vertices, -1, axis=0) - vertices
    edges = edges / np.sqrt((edges**2).sum(axis=1, keepdims=True))
    normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1)
    following = np.roll(vertices, -1, axis=0)
    area = (vertices[:, 0] * following[:, 1] - vertices[:, 1] * following[:, 0]).sum()
    normals = normals * np.sign(area)
    bisectors = normals + np.roll(normals, 1, axis=0)
    return bisectors / np.maximum(np.sqrt((bisectors**2).sum(axis=1, keepdims=True)), 1e-9)
