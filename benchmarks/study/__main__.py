"""Trains the cells of the grid that the table does not have yet, and adds a row for each decoder of each.

    python -m benchmarks.study --arrays=DIR [--table=FILE --groups=objectives,contenders --minutes=10]
    python -m benchmarks.study --check

`python -m benchmarks.study.arrays` writes the arrays. The study may be interrupted at any moment: it goes on with the
first cell that has no rows. With --minutes it stops before a cell that would not end in time, judged by the last cell.
On two CPU cores --groups=cpu takes hours; the default is the whole grid.
"""

from h3r_jax.training import environment  # noqa: F401  (before jax)

# isort: split

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import jax

from benchmarks.study import check, decoders, examples, grid, table, training
from benchmarks.study.grid import Cell
from h3r_jax import ranges
from h3r_jax.claims import Claim
from h3r_jax.errors import UserError, sentences


def choose(groups: str) -> tuple[str, ...]:
    """The names of groups in a list with commas; UserError for an unknown one."""
    if groups in ("cpu", "all"):
        return grid.CPU if groups == "cpu" else grid.GPU
    names = tuple(groups.split(","))
    for name in names:
        if name not in grid.GROUPS:
            raise UserError(f"--groups has {name!r}; known are {', '.join(grid.GROUPS)}, cpu and all")
    return names


def run(cell: Cell, arrays: examples.Examples) -> list[table.Row]:
    """Trains and evaluates a cell; its rows."""
    trained = training.train(cell, arrays)
    maps = training.logit_maps(trained, arrays.test.images)
    scores = decoders.evaluate(trained.network, maps, arrays.test)
    return table.rows_of(cell, grid.group_of(cell), scores, trained.cost)


def study(
    cells: Mapping[str, Cell],
    folder: str,
    path: Path,
    *,
    minutes: float = float("inf"),
    say: Callable[[str], object] = print,
) -> None:
    """Trains the cells that have no rows yet, in order.

    Args:
      cells: `{name: cell}`.
      folder: of the arrays.
      path: of the table.
      minutes: before a cell that would end later, the study stops.
      say: prints a sentence.

    Raises:
      UserError: arrays are missing; the table is torn, of another grid, or of a study that runs now.
    """
    end, pace = time.monotonic() + 60 * minutes, 0.0
    with Claim(path.parent / f"{path.stem}.running.json", f"the study {path}", say=say) as claim:
        done = table.done(path, table.read(path), cells)
        left = [cell for cell in cells.values() if cell.name not in done]
        say(f"{path}: {len(done)} of {len(cells)} cells are done")
        examples.check_there(folder, {(cell.dataset, cell.input_size) for cell in left})
        for number, cell in enumerate(left, len(done) + 1):
            began = time.monotonic()
            if began + pace * work(cell) > end:
                say(f"{cell.name} would not end within {minutes:g} minutes; the same command goes on with it")
                return
            rows = run(cell, examples.load(folder, cell.dataset, cell.input_size, cell.held_out))
            claim.check()
            table.add(path, rows)
            seconds = time.monotonic() - began
            pace, errors = seconds / work(cell), {row["decoder"]: row["error_cells"] for row in rows}
            shown = ", ".join(f"{name} {errors[name]:.4f}" for name in (decoders.OWN, "argmax", "DARK"))
            times = f"{seconds:.0f} s, {rows[0]['seconds']:.0f} s of them steps"
            say(f"{number}/{len(cells)} {cell.name}: {shown} cells; {times}")


def work(cell: Cell) -> float:
    """Pixels that a training sees, to compare the time of cells."""
    return cell.steps() * cell.batch_size * cell.input_size**2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arrays", default="~/h3r_data/study", help="folder of the arrays")
    parser.add_argument("--table", type=Path, default=Path("benchmarks/study/results.csv"), help="the CSV file")
    parser.add_argument("--groups", default="all", help=f"of {', '.join(grid.GROUPS)}; or cpu, all")
    parser.add_argument("--minutes", type=ranges.decimal, default=float("inf"), help="to stop after; no end by default")
    parser.add_argument("--check", action="store_true", help="two steps of every cell on noise; writes nothing")
    options = parser.parse_args()
    with sentences():
        cells = grid.cells(choose(options.groups))
        if options.check:
            check.check(cells)
            return
        print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}", flush=True)
        study(cells, options.arrays, options.table, minutes=options.minutes, say=lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()
