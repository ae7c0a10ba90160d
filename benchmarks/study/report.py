"""Prints the tables of the study, writes them into a page, and draws the figures, from the table of results alone.

    python -m benchmarks.study.report [--table=FILE --out=docs/figures --page=docs/results.md]

Errors are in cells of the heatmap where nothing else is said. Of several seeds a table shows the mean, then the least
and the greatest. What the table does not have yet is shown as "-". In the page a table stands below the line
`<!-- study: NAME -->`, where NAME is a key of `tables`; the text around it is written by hand.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.study import decoders, figures, grid, table, training
from benchmarks.study.grid import Cell
from h3r_jax import codec
from h3r_jax.errors import UserError, sentences

ABSENT = "-"


class Numbers(NamedTuple):
    """Values of a column over the seeds of a cell; empty if none has run."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Infinite if there is none, so that it sorts last."""
        return sum(self.values) / len(self.values) if self.values else float("inf")

    def text(self, form: str = ".4f") -> str:
        """The mean, and of several values the least and the greatest."""
        if not self.values:
            return ABSENT
        mean = format(self.mean, form)
        if len(self.values) == 1:
            return mean
        return f"{mean} ({format(min(self.values), form)} to {format(max(self.values), form)})"


class Results:
    """The rows of the table by cell and decoder."""

    def __init__(self, rows: Iterable[table.Row]):
        self._rows = {(row["run"], row["decoder"]): row for row in rows}

    def of(self, cells: Sequence[Cell], decoder: str, column: str) -> Numbers:
        """A column of a decoder in those of `cells` that have run."""
        rows = (self._rows.get((cell.name, decoder)) for cell in cells)
        return Numbers(tuple(row[column] for row in rows if row and row[column] is not None))

    def done(self, cells: Sequence[Cell]) -> int:
        """How many of the cells have run."""
        return len(self.of(cells, decoders.OWN, "error_cells").values)

    def best(self, cells: Sequence[Cell], column: str, names: Iterable[str]) -> tuple[str, Numbers]:
        """The decoder with the least mean of a column, and that column."""
        found = {name: self.of(cells, name, column) for name in names}
        least = min(found, key=lambda name: found[name].mean)
        return (least if found[least].values else ABSENT), found[least]

    def decoders(self) -> list[str]:
        """The names of all decoders but of the mismatched ones."""
        return sorted({name for _, name in self._rows if not name.startswith("mismatched")} | {decoders.OWN})


def seeds(*groups: str) -> dict[str, list[Cell]]:
    """The cells of groups by objective; those that differ by the seed alone stand together."""
    found: dict[str, list[Cell]] = {}
    for cell in grid.cells(groups).values():
        found.setdefault(cell.objective, []).append(cell)
    return found


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts; the first column is to the left, the others to the right."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "|".join(["---", *["---:"] * (len(columns) - 1)]) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows), ""])


def ranking(results: Results, groups: tuple[str, ...], column: str, form: str) -> str:
    """Objectives by the error of their own decoder."""
    rows = []
    ordered = sorted(seeds(*groups).items(), key=lambda item: results.of(item[1], decoders.OWN, column).mean)
    for objective, cells in ordered:
        errors = [results.of(cells, name, column).text(form) for name in (decoders.OWN, "argmax", "DARK")]
        name, least = results.best(cells, column, results.decoders())
        rows.append((objective, str(results.done(cells)), *errors, name, least.text(form)))
    return markdown(("objective", "seeds", "own decoder", "argmax", "DARK", "best decoder", "with it"), rows)


def points(results: Results) -> str:
    """The error against the number of strongest cells."""
    shown = (1, 4, 9, 16, 25, 49)
    rows = [
        (objective, *(results.of(cells, f"top {k}", "error_cells").text() for k in shown))
        for objective, cells in seeds("objectives", "contenders").items()
    ]
    return markdown(("objective", *(f"k = {k}" for k in shown)), rows)


def resolution(results: Results, group: str) -> str:
    """The error against input size and stride, in input pixels."""
    shown, rows = (decoders.OWN, "argmax", "quarter shift", "DARK"), []
    for cell in sorted(grid.GROUPS[group].cells, key=lambda cell: (cell.loss, cell.input_size, cell.stride)):
        errors = [results.of([cell], name, "error_pixels") for name in shown]
        share = f"{errors[0].mean / errors[1].mean:.2f}" if results.done([cell]) else ABSENT
        macs = Numbers(tuple(x / 1e6 for x in results.of([cell], decoders.OWN, "multiply_adds").values)).text(".1f")
        own = results.of([cell], decoders.OWN, "error_cells").text()
        place = (cell.objective, str(cell.input_size), str(cell.stride))
        nme = results.of([cell], decoders.OWN, "nme").text(".2f")
        rows.append((*place, own, *(error.text(".3f") for error in errors), share, nme, macs))
    columns = (
        "objective",
        "input",
        "stride",
        "own, cells",
        *(f"{name}, px" for name in shown),
        "own / argmax",
        "own, NME",
        "M MAC",
    )
    return markdown(columns, rows)


def bias(results: Results) -> str:
    """The mean signed error of networks that were trained with a threshold, and the predicted one."""
    rows = []
    for cell in grid.GROUPS["threshold"].cells:
        for name in (decoders.OWN, "argmax"):
            found = [results.of([cell], name, f"bias_{axis}").text("+.4f") for axis in "xy"]
            rows.append((f"{cell.threshold:g}", name, *found, f"{0.5 - cell.threshold:+.4f}"))
    return markdown(("threshold", "decoder", "bias x, cells", "bias y, cells", "predicted: 1/2 - t"), rows)


def mismatched(results: Results) -> str:
    """Nine points under the activation of the objective, and under the others."""
    rows = []
    for objective, cells in seeds("objectives", "contenders").items():
        own = training.network_of(cells[0]).activation
        errors = {name: results.of(cells, f"mismatched: {name}", "error_cells").text() for name in codec.ACTIVATIONS}
        errors[own] = f"**{results.of(cells, 'top 9', 'error_cells').text()}**"
        rows.append((objective, *errors.values()))
    return markdown(("objective", *codec.ACTIVATIONS), rows)


def calibration(results: Results) -> str:
    """What the predicted covariances are worth."""
    rows = [
        (objective, *(results.of(cells, decoders.OWN, column).text(".3f") for column in table.CALIBRATION))
        for objective, cells in seeds("objectives", "contenders").items()
    ]
    columns = ("objective", "error / predicted", "in 50 %", "in 90 %", "in 50 %, rescaled", "in 90 %, rescaled")
    return markdown(columns, rows)


def tables(rows: Sequence[table.Row]) -> dict[str, str]:
    """name -> a table, as markdown."""
    results = Results(rows)
    return {
        "objectives": ranking(results, ("objectives", "contenders"), "error_cells", ".4f"),
        "faces": ranking(results, ("faces",), "nme", ".3f"),
        "points": points(results),
        "resolution": resolution(results, "resolution"),
        "resolution_256": resolution(results, "resolution_256"),
        "long": resolution(results, "long"),
        "bias": bias(results),
        "activations": mismatched(results),
        "calibration": calibration(results),
    }


def fill(page: str, found: dict[str, str]) -> str:
    """The text of a page with the tables below their lines in place of those that were there."""

    def place(match: re.Match) -> str:
        if match[1] not in found:
            raise UserError(f"there is no table {match[1]!r}; known are {', '.join(found)}")
        return f"<!-- study: {match[1]} -->\n\n{found[match[1]]}\n"

    return re.sub(r"<!-- study: (\w+) -->\n\n?(?:\|.*\n)*\n?", place, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=Path("benchmarks/study/results.csv"), help="the CSV file")
    parser.add_argument("--out", type=Path, default=Path("docs/figures"), help="folder for the figures")
    parser.add_argument("--page", type=Path, help="markdown file to write the tables into")
    options = parser.parse_args()
    with sentences():
        rows = table.read(options.table)
        found = tables(rows)
        for name, text in found.items():
            print(f"{name}\n\n{text}")
        if options.page:
            options.page.write_text(fill(options.page.read_text(), found))
        drawings: dict[str, Callable[[Results], object]] = {
            "study_points.png": figures.points,
            "study_resolution.png": figures.resolution,
            "study_cost.png": figures.cost,
        }
        options.out.mkdir(parents=True, exist_ok=True)
        for name, draw in drawings.items():
            draw(Results(rows)).savefig(options.out / name, dpi=90)  # type: ignore[attr-defined]
            print(f"wrote {options.out / name}")


if __name__ == "__main__":
    main()
