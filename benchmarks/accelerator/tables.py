"""The tables of what `benchmarks.accelerator` measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]  # a line of accelerator.jsonl


def tables(records: Sequence[Record]) -> str:
    """One table for each question; a part that was measured twice counts as it was measured last."""
    measured = {(each["part"], each["flags"]): each for each in records if "rows" in each}
    lines = [f"{device}, jax {version}" for device, version in sorted({(r["device"], r["jax"]) for r in records})]
    rate = 0.0  # bytes per millisecond
    for (part, _), record in measured.items():
        if part == "floors":
            lines += ["", *(f"{row['name']}: {_figures(row)}" for row in record["rows"])]
            rate = next(row["TB/s"] for row in record["rows"] if "TB/s" in row) * 1e9
    for (part, _), record in measured.items():
        if part.split(":")[0] in ("decode", "torch_search", "losses", "augmentation"):
            lines += ["", f"{part}", *_beside_the_floor(record["rows"], rate)]
    lines += ["", *_networks(measured)]
    for (part, flags), record in measured.items():
        if part.startswith("whole:"):
            lines += ["", f"{part} {flags}".strip(), *_kernels(record["rows"])]
        if part.startswith("repeated:"):
            equal = "equal to the last bit" if record["rows"][0]["equal"] else "not equal"
            lines += ["", f"{part} {flags or '(no flags)'}: three runs are {equal}"]
    failed = {(r["part"], r["flags"]): r["error"].strip().splitlines()[-1] for r in records if "error" in r}
    lines += [f"{' '.join(key).strip()} failed: {error}" for key, error in failed.items() if key not in measured]
    return "\n".join(lines)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def _figures(row: Record) -> str:
    return ", ".join(f"{value:.3g} {name}" for name, value in row.items() if name != "name")


def _beside_the_floor(rows: Sequence[Record], rate: float) -> list[str]:
    def ratio(row: Record) -> str:
        return f"{row['ms'] * rate / row['bytes']:.2f}" if rate and "bytes" in row else "-"

    return table(["", "ms", "to its floor"], ([row["name"], f"{row['ms']:.3f}", ratio(row)] for row in rows))


def _networks(measured: Mapping[tuple[str, str], Record]) -> list[str]:
    """Ours beside PyTorch's of the same network, size and batch."""
    rows = []
    for (part, flags), record in measured.items():
        if not part.startswith("network:"):
            continue
        theirs = {
            (other.rpartition(":")[2], row["name"]): row["ms"]
            for (other, _), each in measured.items()
            if other.startswith(f"torch_{part}:")
            for row in each["rows"]
        }
        for row in record["rows"]:
            beside = [
                f"{ms:.2f} {how}, {ms / row['ms']:.2f}" for (how, name), ms in theirs.items() if name == row["name"]
            ]
            name = f"{part.removeprefix('network:')} {flags}".strip()
            images = f"{1e3 * row['images'] / row['ms']:.0f}"
            rows.append([name, row["name"], f"{row['ms']:.2f}", images, "; ".join(beside) or "-"])
    return table(["network:size:batch", "", "ms", "images/s", "PyTorch: ms, ours is so many times as fast"], rows)


def _kernels(rows: Sequence[Record]) -> list[str]:
    whole = rows[0]["ms"]
    return table(
        ["", "ms", "share", "calls"],
        ([r["name"], f"{r['ms']:.3f}", f"{r['ms'] / whole:.1%}", f"{r.get('calls', 1):.0f}"] for r in rows),
    )
