"""Pictures. Every function returns a matplotlib Figure and draws on no screen."""

import colorsys
import io
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike
from PIL import Image

from h3r_jax.codec import ActivationPoints
from h3r_jax.errors import UserError
from h3r_jax.files import write_whole
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.metrics import NormalizedErrors

if TYPE_CHECKING:  # predict imports this module
    from h3r_jax.predict import Prediction

PREDICTED, TRUE, UNCERTAIN = "#00e5ff", "#ffd54f", "#ff6e40"
DEVIATIONS = 2  # of an ellipse of uncertainty
OVERLAY_SIDE, OVERLAY_DPI = (640, 1920), 150  # least and most pixels along the longer side of an overlay


def _show(axes: Axes, image: ArrayLike, size: tuple[int, int] | None = None) -> None:
    """An image on axes in its own pixels; resampled to `size` (W, H), if given."""
    pixels = np.clip(np.asarray(image), 0, 255).astype(np.uint8, copy=False)
    height, width = pixels.shape[:2]
    if size:
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    axes.imshow(pixels, interpolation="nearest", extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    axes.set_xlim(-0.5, width - 0.5)  # whatever else is drawn
    axes.set_ylim(height - 0.5, -0.5)
    axes.set_axis_off()


def part_colors(scheme: LandmarkScheme | None, count: int) -> np.ndarray:
    """A colour from 0 to 1 for each landmark, `[count, 3]`: one for each part of a scheme, and none near `TRUE`."""
    parts = scheme.parts() if scheme else [0] * count
    # From PREDICTED on, in steps that keep parts apart that follow each other, however many there are.
    shares = [(0.36 + 0.382 * part) % 1 for part in parts]
    return np.array([colorsys.hsv_to_rgb((0.2 + 0.88 * share) % 1, 1.0, 1.0) for share in shares])


def _draw_points(
    axes: Axes,
    landmarks: ArrayLike,
    weight: ArrayLike | None = None,
    truth: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    scheme: LandmarkScheme | None = None,
    size: float = 2.6,
    numbers: bool = False,
) -> None:
    landmarks = np.asarray(landmarks)
    x, y = landmarks.T
    colors = part_colors(scheme, len(landmarks))
    if covariance is not None:
        _draw_ellipses(axes, landmarks, np.asarray(covariance))
    if scheme and scheme.connections:
        pairs = np.array(scheme.connections)
        lines = LineCollection(list(landmarks[pairs]), colors=list(colors[pairs[:, 0]]), linewidths=0.5, alpha=0.6)
        axes.add_collection(lines, autolim=False)
    if truth is not None:
        true_x, true_y = np.asarray(truth).T
        axes.plot(np.stack([x, true_x]), np.stack([y, true_y]), color=TRUE, linewidth=0.5)
        axes.plot(true_x, true_y, "x", color=TRUE, markersize=2, markeredgewidth=0.5)
    seen = np.ones(len(x), bool) if weight is None else np.asarray(weight) > 0
    axes.scatter(x[seen], y[seen], size**2, colors[seen], linewidths=0)
    axes.scatter(
        x[~seen], y[~seen], (0.6 * size) ** 2, facecolors="none", edgecolors=list(colors[~seen]), linewidths=0.4
    )
    if numbers:
        for number in np.flatnonzero(np.isfinite(landmarks).all(axis=1)):
            place, beside = tuple(landmarks[number]), (0.5 * size, 0.5 * size)
            look: dict[str, Any] = {"color": colors[number], "fontsize": 1.6 * size, "annotation_clip": True}
            axes.annotate(str(number), place, beside, textcoords="offset points", **look)


def _draw_box(axes: Axes, box: np.ndarray) -> None:
    x0, y0, x1, y1 = box
    axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=TRUE, linewidth=0.6))


def _draw_ellipses(axes: Axes, landmarks: np.ndarray, covariance: np.ndarray) -> None:
    known = np.isfinite(covariance).all(axis=(1, 2)) & np.isfinite(landmarks).all(axis=1)
    variances, directions = np.linalg.eigh(covariance[known])  # ascending
    lengths = 2 * DEVIATIONS * np.sqrt(np.maximum(variances, 0))
    # Of the longer axis; y points down in both.
    angles = np.degrees(np.arctan2(directions[:, 1, 1], directions[:, 0, 1]))
    place: dict[str, Any] = {"units": "xy", "offsets": landmarks[known], "offset_transform": axes.transData}
    look: dict[str, Any] = {"facecolors": "none", "edgecolors": UNCERTAIN, "linewidths": 0.5}
    axes.add_collection(EllipseCollection(lengths[:, 1], lengths[:, 0], angles, **place, **look), autolim=False)


def overlay(
    image: ArrayLike, prediction: "Prediction", scheme: LandmarkScheme | None = None, *, numbers: bool = False
) -> Figure:
    """An image with everything that was predicted in it.

    It is drawn pixel for pixel, or enlarged or shrunk until its longer side is within `OVERLAY_SIDE`.

    Args:
      image: `[H, W, 3]`, 0 to 255.
      prediction: predict.Prediction, in pixels of the image.
      scheme: LandmarkScheme whose connections are drawn, and whose parts have colours of their own.
      numbers: whether the number of a landmark stands beside it.
    """
    height, width = np.shape(image)[:2]
    zoom = np.clip(max(height, width), *OVERLAY_SIDE) / max(height, width)
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    figure = Figure(figsize=(size[0] / OVERLAY_DPI, size[1] / OVERLAY_DPI), dpi=OVERLAY_DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    _show(axes, image, size if zoom < 1 else None)  # matplotlib takes a hundred bytes for each pixel
    axes.set_aspect("auto")
    for box, landmarks, covariance in zip(prediction.boxes, prediction.landmarks, prediction.covariance):
        _draw_box(axes, box)
        # Points of a small face are small, or nothing else would be seen of it.
        side = zoom * max(box[2] - box[0], box[3] - box[1]) * 72 / OVERLAY_DPI
        points = float(np.clip(side / 36, 0.7, 2))
        _draw_points(axes, landmarks, covariance=covariance, scheme=scheme, size=points, numbers=numbers)
    return figure


def to_pixels(figure: Figure) -> np.ndarray:
    """A figure as an image, `uint8[H, W, 3]`."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def heatmap_sheet(
    images: Sequence[ArrayLike], heatmaps: Sequence[ArrayLike], *, titles: Sequence[str] | None = None, columns: int = 8
) -> Figure:
    """A sheet of images under their heatmaps, the strongest of all landmarks in each cell.

    Args:
      images: `N` images `[H, W, 3]`, 0 to 255.
      heatmaps: `[N, h, w, K]`, the mass of each cell relative to the heaviest of its map, 0 to 1.
      titles: `N` strings.
      columns: images in a row.

    Raises:
      ValueError: no images.
    """
    figure, grid = _sheet(images, columns, titles)
    for i, axes in enumerate(grid):
        height, width = np.shape(images[i])[:2]
        maps = np.asarray(heatmaps[i], np.float32)
        strongest = maps.max(axis=-1)
        # Cell i stands at input pixel stride * i, so that its square reaches half a stride beyond.
        step = height / maps.shape[0], width / maps.shape[1]
        extent = (-step[1] / 2, width - step[1] / 2, height - step[0] / 2, -step[0] / 2)
        look: dict[str, Any] = {"cmap": "inferno", "interpolation": "nearest", "vmin": 0, "vmax": 1}
        axes.imshow(strongest, alpha=strongest**0.5, extent=extent, **look)
    return figure


def activation_sheet(
    images: Sequence[ArrayLike],
    landmarks: ArrayLike,
    points: ActivationPoints,
    *,
    stride: float,
    scheme: LandmarkScheme | None = None,
    columns: int = 8,
) -> Figure:
    """A sheet of images with the grid of cells and the activation points of their landmarks: what the loss aims at.

    Args:
      images: `N` images `[H, W, 3]`, 0 to 255.
      landmarks: `[N, K, 2]`, pixels of the images.
      points: codec.ActivationPoints, `[N, K, P, 2]` cells; a point is as large as its weight.
      stride: pixels per cell.
      scheme: LandmarkScheme whose parts have colours of their own.
      columns: images in a row.

    Raises:
      ValueError: no images.
    """
    figure, grid = _sheet(images, columns, side=3.2)
    for i, axes in enumerate(grid):
        height, width = np.shape(images[i])[:2]
        axes.vlines(np.arange(0, width, stride), -0.5, height - 0.5, color="white", linewidth=0.2, alpha=0.3)
        axes.hlines(np.arange(0, height, stride), -0.5, width - 0.5, color="white", linewidth=0.2, alpha=0.3)
        inside = np.asarray(points.inside[i])
        colors = part_colors(scheme, len(inside))[inside]
        cells = stride * np.asarray(points.cells[i], np.float64)[inside]
        weights = np.asarray(points.weights[i])[inside]
        each = np.repeat(colors, weights.shape[1], axis=0)
        axes.scatter(*cells.reshape(-1, 2).T, s=8 * weights.ravel(), c=each, linewidths=0)
        axes.scatter(*np.asarray(landmarks)[i][inside].T, s=4, c=colors, marker="x", linewidths=0.4)
    return figure


def _sheet(
    images: Sequence[ArrayLike], columns: int, titles: Sequence[str] | None = None, side: float = 1.6
) -> tuple[Figure, np.ndarray]:
    """A figure of images with titles, each `side` inches wide, and their axes `[N]`."""
    if not len(images):
        raise UserError("a sheet needs at least one image")
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    figure = Figure(figsize=(side * columns, 1.09 * side * rows), dpi=150, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(images) :]:
        axes.set_axis_off()
    for i, axes in enumerate(grid[: len(images)]):
        _show(axes, images[i])
        if titles:
            axes.set_title(titles[i], fontsize=6, pad=2)
    return figure, grid[: len(images)]


def landmark_sheet(
    images: Sequence[ArrayLike],
    landmarks: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    truth: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    boxes: ArrayLike | None = None,
    scheme: LandmarkScheme | None = None,
    numbers: bool = False,
    titles: Sequence[str] | None = None,
    columns: int = 8,
    side: float = 1.6,
) -> Figure:
    """A sheet of images with their landmarks.

    Args:
      images: `N` images `[H, W, 3]`, 0 to 255, of any sizes.
      landmarks: `[N, K, 2]`, pixels of the images.
      weight: `[N, K]`; landmarks at zero are drawn hollow.
      truth: `[N, K, 2]`, drawn as crosses joined to the landmarks.
      covariance: `[N, K, 2, 2]`, square pixels, drawn as ellipses of `DEVIATIONS` standard deviations.
      boxes: `[N, 4]`, x0, y0, x1, y1, pixels of the images; NaN for none.
      scheme: LandmarkScheme whose connections are drawn, and whose parts have colours of their own.
      numbers: whether the number of a landmark stands beside it.
      titles: `N` strings.
      columns: images in a row.
      side: of an image, inches.

    Raises:
      ValueError: no images.
    """
    figure, grid = _sheet(images, columns, titles, side)
    arrays = {"landmarks": landmarks, "weight": weight, "truth": truth, "covariance": covariance}
    known = {name: np.asarray(values) for name, values in arrays.items() if values is not None}
    for i, axes in enumerate(grid):
        _draw_points(axes, **{name: values[i] for name, values in known.items()}, scheme=scheme, numbers=numbers)
        if boxes is not None and np.isfinite(box := np.asarray(boxes)[i]).all():
            _draw_box(axes, box)
    return figure


def cumulative_error_curve(errors: Mapping[str, NormalizedErrors], threshold: float) -> Figure:
    """Cumulative error curves.

    Args:
      errors: label -> metrics.NormalizedErrors.
      threshold: the right end, as a fraction.
    """
    figure = Figure(figsize=(5, 3.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    for label, sample in errors.items():
        grid, share = sample.cumulative(threshold)
        axes.plot(100 * grid, share, label=f"{label} (NME {sample.nme():.2f})")
    axes.set(xlabel="normalised error (%)", ylabel="share of images", xlim=(0, 100 * threshold), ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def save(figure: Figure, path: str | os.PathLike, *, overwrite: bool = True) -> None:
    """Writes a figure as PNG, whole or not at all.

    Args:
      figure: to draw.
      path: any etils path.
      overwrite: whether to replace a file that is there.

    Raises:
      UserError: there is a file, which may not be replaced.
      OSError: it cannot be written; names the path.
    """
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_whole(path, lambda temporary: temporary.write_bytes(content.getvalue()), overwrite=overwrite)
