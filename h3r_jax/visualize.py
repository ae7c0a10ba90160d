"""Pictures. Every function returns a matplotlib Figure and draws on no screen."""

import math

import numpy as np
from matplotlib.figure import Figure

PREDICTED, TRUE = "#00e5ff", "#ffd54f"


def draw_landmarks(axes, image, landmarks, *, visibility=None, truth=None, scheme=None, title=None):
    """One image with its landmarks on matplotlib axes.

    Args:
      axes: to draw on.
      image: `[H, W, 3]`, 0 to 255.
      landmarks: `[K, 2]`, pixels of the image.
      visibility: `[K]`; landmarks at zero are drawn hollow.
      truth: `[K, 2]`, drawn as crosses joined to the landmarks.
      scheme: LandmarkScheme whose connections are drawn.
      title: above the image.
    """
    axes.imshow(np.clip(np.asarray(image), 0, 255).astype(np.uint8), interpolation="nearest")
    x, y = np.asarray(landmarks).T
    for first, second in scheme.connections if scheme else ():
        axes.plot(x[[first, second]], y[[first, second]], color=PREDICTED, linewidth=0.5, alpha=0.6)
    if truth is not None:
        true_x, true_y = np.asarray(truth).T
        axes.plot(np.stack([x, true_x]), np.stack([y, true_y]), color=TRUE, linewidth=0.5)
        axes.plot(true_x, true_y, "x", color=TRUE, markersize=2, markeredgewidth=0.5)
    seen = np.ones(len(x), bool) if visibility is None else np.asarray(visibility) > 0
    axes.plot(x[seen], y[seen], "o", color=PREDICTED, markersize=1.6)
    axes.plot(x[~seen], y[~seen], "o", markerfacecolor="none", color=PREDICTED, markersize=1.6, markeredgewidth=0.4)
    axes.set_xlim(-0.5, np.shape(image)[1] - 0.5)
    axes.set_ylim(np.shape(image)[0] - 0.5, -0.5)
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=6, pad=2)


def landmark_sheet(images, landmarks, *, visibility=None, truth=None, scheme=None, titles=None, columns=8):
    """A sheet of images with their landmarks.

    Args:
      images: `N` images `[H, W, 3]`, 0 to 255, of any sizes.
      landmarks, visibility, truth: `[N, K, 2]`, `[N, K]`, `[N, K, 2]`; see `draw_landmarks`.
      scheme: LandmarkScheme whose connections are drawn.
      titles: `N` strings.
      columns: images in a row.

    Returns:
      matplotlib Figure.

    Raises:
      ValueError: no images.
    """
    if not len(images):
        raise ValueError("a sheet needs at least one image")
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    figure = Figure(figsize=(1.6 * columns, 1.75 * rows), dpi=150, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, axes in enumerate(grid):
        if i >= len(images):
            axes.set_axis_off()
            continue
        draw_landmarks(
            axes,
            images[i],
            landmarks[i],
            visibility=None if visibility is None else visibility[i],
            truth=None if truth is None else truth[i],
            scheme=scheme,
            title=titles[i] if titles else None,
        )
    return figure


def cumulative_error_curve(errors, threshold):
    """Cumulative error curves.

    Args:
      errors: label -> metrics.NormalizedErrors.
      threshold: the right end, as a fraction.

    Returns:
      matplotlib Figure.
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


def save(figure, path):
    """Writes a figure as PNG to a path (any etils path)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        figure.savefig(file, format="png")
