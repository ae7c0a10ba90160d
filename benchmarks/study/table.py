"""The table of the study: a CSV file with a row for each decoder of each run.

run, group, and every field of the cell: see `grid`. decoder: a name of `decoders`; "own" belongs to the objective.
error_cells, error_pixels: mean distance from the truth, cells of the heatmap and input pixels.
bias_x, bias_y: mean signed error, cells. landmarks: that these four count, those inside of the heatmap.
nme: normalised mean error over all landmarks, percent. failures: images with an NME above 10 %, percent.
calibration, inside_*, rescaled_*: of the own decoder, see `decoders.calibration`.
steps, last_loss: of the training. seconds: of the steps, without compilation.
parameters, multiply_adds: of the network, for one image. device: that trained it.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.study.grid import Cell
from h3r_jax.errors import UserError
from h3r_jax.files import write_whole

Row = dict[str, Any]

CELL = {field.name: str(field.type) for field in dataclasses.fields(Cell)}
ACCURACY = ("error_cells", "error_pixels", "bias_x", "bias_y", "nme", "failures")
CALIBRATION = ("calibration", "inside_50", "inside_90", "rescaled_50", "rescaled_90")
TYPES = {
    "run": "str",
    "group": "str",
    **CELL,
    "decoder": "str",
    **dict.fromkeys(ACCURACY, "float"),
    "landmarks": "int",
    **dict.fromkeys(CALIBRATION, "empty or float"),
    "steps": "int",
    "seconds": "float",
    "last_loss": "float",
    "parameters": "int",
    "multiply_adds": "int",
    "device": "str",
}
PARSERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": {"True": True, "False": False}.__getitem__,
    "empty or float": lambda text: float(text) if text else None,
}


def rows_of(cell: Cell, group: str, decoders: Mapping[str, Mapping[str, float]], cost: Mapping[str, Any]) -> list[Row]:
    """The rows of a run; its own decoder comes last, so that a run that was cut off lacks it."""
    names = sorted(decoders, key=lambda name: (name == "own", [int(n) for n in re.findall(r"\d+", name)], name))
    shared = {"run": cell.name, "group": group, **dataclasses.asdict(cell), **cost}
    return [{**dict.fromkeys(TYPES), **shared, "decoder": name, **decoders[name]} for name in names]


def text_of(rows: Sequence[Row]) -> str:
    """The rows as lines of the table."""

    def cell(column: str, value: Any) -> str:
        if value is None:
            return ""
        # Measured numbers are rounded; those of the grid stay as they are declared.
        return f"{value:.7g}" if "float" in TYPES[column] and column not in CELL else str(value)

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([cell(column, row[column]) for column in TYPES] for row in rows)
    return out.getvalue()


def header() -> str:
    """The first line."""
    return ",".join(TYPES) + "\n"


def read(path: Path) -> list[Row]:
    """All rows; none if there is no file.

    Raises:
      UserError: the file is no table of the study, or is torn; names the line.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no table of the study ({error}); choose another --table") from error
    if not text.startswith(header()):
        raise UserError(f"{path} line 1: the columns are not those of the study; choose another --table")
    rows: list[Row] = []
    seen: dict[tuple[str, str], int] = {}
    open_run, opened = "", 0
    lines, number = csv.reader(io.StringIO(text, newline=""), strict=True), 1
    try:
        next(lines)
        for number, values in enumerate(lines, 2):
            row = _parse(path, number, values)
            key = row["run"], row["decoder"]
            if key in seen:
                raise UserError(
                    f"{path} line {number}: the decoder {key[1]!r} of the run {key[0]!r} stands in line "
                    f"{seen[key]} already; remove one of the two"
                )
            if open_run and key[0] != open_run:
                break
            seen[key] = number
            if not open_run:
                opened = number
            open_run = "" if key[1] == "own" else key[0]
            rows.append(row)
    except csv.Error as error:
        raise UserError(f"{path} line {number + 1}: {error}; remove the lines from there on") from error
    if open_run or not text.endswith("\n"):
        raise UserError(
            f"{path} line {opened}: the run {rows[-1]['run']!r} begins there and does not end; remove its lines"
        )
    return rows


def _parse(path: Path, line: int, values: list[str]) -> Row:
    if len(values) != len(TYPES):
        raise UserError(f"{path} line {line}: {len(values)} columns in place of {len(TYPES)}; remove the run's lines")
    row = {}
    for (column, kind), value in zip(TYPES.items(), values):
        try:
            row[column] = PARSERS[kind](value)
        except (ValueError, KeyError):
            raise UserError(f"{path} line {line}: {column} is {value!r}, no {kind}; remove the run's lines") from None
    return row


def add(path: Path, rows: Sequence[Row]) -> None:
    """Adds the rows of one run. At every moment the table is there whole, with all of them or with none.

    Raises:
      UserError: as `read`.
      OSError: it cannot be written; names it.
    """
    there = path.read_text() if read(path) else header()
    write_whole(path, lambda place: place.write_text(there + text_of(rows)), overwrite=True)


def done(path: Path, rows: Sequence[Row], cells: Mapping[str, Cell]) -> set[str]:
    """The names of the cells that have their rows.

    Raises:
      UserError: a run has the name of a cell, and other fields: the base of the grid has changed since.
    """
    for number, row in enumerate(rows, 2):
        if cell := cells.get(row["run"]):
            for field, value in dataclasses.asdict(cell).items():
                if row[field] != value:
                    raise UserError(
                        f"{path} line {number}: the run {row['run']!r} has {field} {row[field]}, and the grid wants "
                        f"{value}; remove its lines, or choose another --table"
                    )
    return {row["run"] for row in rows} & set(cells)
