"""The figures of the study. Each function takes `report.Results`; what has not run is not drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from benchmarks.study import decoders, grid
from benchmarks.study.grid import Cell

if TYPE_CHECKING:
    from benchmarks.study.report import Results

matplotlib.use("agg")
TICKS = [base * scale for scale in (0.1, 1.0, 10.0) for base in (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)]
DECODERS = {decoders.OWN: "o-", "DARK": "s--", "quarter shift": "^-.", "argmax": "x:"}


def points(results: Results) -> Figure:
    """The error against the number of activation points, a panel for each loss; of one seed."""
    families: dict[str, list[Cell]] = {}
    for cell in grid.GROUPS["objectives"].cells:
        families.setdefault(cell.loss, []).append(cell)
    figure, panels = _panels(2, -(-len(families) // 2), shared=True)
    for panel, (loss, cells) in zip(panels, families.items()):
        for number, cell in enumerate(cells):
            for kind, counts, line in (("top", decoders.TOP_K, "o-"), ("neighbours", decoders.NEIGHBOURS, "x:")):
                found = [(k, results.of([cell], f"{kind} {k}", "error_cells").mean) for k in counts]
                label = cell.objective.removeprefix(loss.replace("_", " ")).strip() or loss
                _plot(panel, found, line, color=f"C{number % 10}", label=label if kind == "top" else None)
        panel.set(title=loss.replace("_", " "), xlabel="k", ylabel="error, cells", xscale="log", yscale="log")
        panel.set_xticks((1, 4, 9, 25, 49), ("1", "4", "9", "25", "49"))
        panel.minorticks_off()
        panel.set_ylim(bottom=0.08)  # room for the legend
        _legend(panel)
    figure.suptitle("error against the number of cells: strongest (solid), around the maximum (dotted)")
    return figure


def resolution(results: Results) -> Figure:
    """The error in input pixels against the stride, a panel for each objective and input size."""
    declared = grid.GROUPS["resolution"].cells
    sizes = [s for s in (64, 96, 128) if results.done([cell for cell in declared if cell.input_size == s])] or [96]
    figure, panels = _panels(2, len(sizes), shared=True)
    places = [(loss, size) for loss in ("spatial_cross_entropy", "squared_error") for size in sizes]
    for panel, (loss, size) in zip(panels, places):
        cells = [cell for cell in declared if (cell.loss, cell.input_size) == (loss, size)]
        for name, line in DECODERS.items():
            _plot(panel, [(cell.stride, results.of([cell], name, "error_pixels").mean) for cell in cells], line, name)
        panel.set(title=f"{loss.replace('_', ' ')}, input {size}", xlabel="stride, pixels", ylabel="error, pixels")
        panel.set(xscale="log", yscale="log")
        panel.set_xticks((2, 4, 8, 16), ("2", "4", "8", "16"))
        panel.minorticks_off()
        _legend(panel)
    return figure


def cost(results: Results) -> Figure:
    """The NME against the multiply-adds of the network, a line for each input size."""
    figure, panels = _panels(1, 2, shared=True)
    for panel, loss in zip(panels, ("spatial_cross_entropy", "squared_error")):
        for number, size in enumerate((64, 96, 128, 256)):
            groups = ("resolution", "resolution_256")
            cells = [cell for cell in grid.cells(groups).values() if (cell.loss, cell.input_size) == (loss, size)]
            for name, line in ((decoders.OWN, "o-"), ("argmax", "x:")):
                found = [
                    (results.of([cell], name, "multiply_adds").mean / 1e6, results.of([cell], name, "nme").mean)
                    for cell in cells
                ]
                _plot(panel, sorted(found), line, f"{size}, {name}", color=f"C{number}")
        panel.set(title=loss.replace("_", " "), xlabel="multiply-adds, millions", ylabel="NME, percent")
        panel.set(xscale="log", yscale="log")
        panel.xaxis.set_major_locator(FixedLocator((20, 50, 100, 200, 500)))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        _legend(panel)
    return figure


def _panels(rows: int, columns: int, shared: bool) -> tuple[Figure, list[Any]]:
    figure = Figure(figsize=(3.6 * columns, 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=shared, sharey=shared, squeeze=False)
    return figure, [panel for row in panels for panel in row]


def _plot(panel: Any, found: Sequence[tuple[float, float]], line: str, label: str | None = None, **style: Any) -> None:
    """A line through the points that are there."""
    there = [point for point in found if point[1] < float("inf")]
    if there:
        panel.plot(*zip(*there), line, label=label, markersize=4, **style)


def _legend(panel: Any) -> None:
    """The legend of a panel, and labels on its logarithmic axis of errors."""
    panel.yaxis.set_major_locator(FixedLocator(TICKS))
    panel.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    if labels := panel.get_legend_handles_labels()[1]:
        panel.legend(fontsize=6 if len(labels) > 6 else "x-small", ncols=2 if len(labels) > 6 else 1, framealpha=0.6)
