"""What a program for a TPU costs by the compiler's own estimates, read from its text.

XLA's `bytes accessed` is no traffic to memory: it counts the fast memory on the chip, and 16 KiB for each gathered row.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re

from benchmarks.collectives import TYPE_BYTES

CLOCK = 1.5e9  # cycles a second of a v5e
MEMORY_RATE = 819e9  # bytes a second of a v5e
# Of a gather, for each row, about: it has no estimate. Read from the final program of a v5e, where a loop of 1,350
# instructions takes 128 rows.
CYCLES_OF_A_ROW = 10
LARGE = 2**16  # bytes; an operation with a smaller result and without an estimate is no cost
SHAPE = re.compile(r"([a-z]+[0-9]*)\[([0-9,]*)\](?:\{([0-9,]*)(?::([^}]*))?\})?")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%(\S+) = (\(.*?\)|\S+) ([a-z][a-z0-9-]*)\((.*?)\)", re.MULTILINE)
MOVE_NOTHING = {"parameter", "get-tuple-element", "bitcast", "constant", "tuple", "after-all"}


@dataclasses.dataclass(frozen=True)
class Account:
    """The cost of one run of a program on one chip.

    cycles: by the compiler's estimates, and `CYCLES_OF_A_ROW` for each gathered row.
    of_gathers: those of them that gathers take.
    memory_bytes: operands and results that are not in the fast memory of the chip, padded as they lie there.
    unknown: kinds of operations without an estimate whose results are large, and how many there are, such as sorts.
    """

    cycles: float
    of_gathers: float
    memory_bytes: float
    unknown: dict[str, int]

    def __str__(self) -> str:
        unknown = ", ".join(f"{count} x {kind}" for kind, count in self.unknown.items())
        return (
            f"{self.cycles / 1e6:.1f} M cycles, {self.of_gathers / 1e6:.1f} M of them gathers, "
            f"{self.memory_bytes / 2**30:.2f} GiB to and from memory{f'; not counted: {unknown}' if unknown else ''}"
        )


def account(text: str) -> Account:
    """The Account of a compiled program, of its text."""
    entry = text[text.index("\nENTRY ") :]
    shapes = {name: shape for name, shape, _, _ in INSTRUCTION.findall(text)}
    cycles, of_gathers, memory, unknown = 0.0, 0.0, 0.0, collections.Counter[str]()
    for line in entry.splitlines():
        match = INSTRUCTION.match(line)
        if match is None or match[3] in MOVE_NOTHING:
            continue
        _, shape, kind, operands = match.groups()
        memory += padded_bytes(shape) + sum(
            padded_bytes(shapes.get(name, "")) for name in re.findall(r"%([^\s,)]+)", operands)
        )
        if estimate := re.search(r'"estimated_cycles":"(\d+)"', line):
            cycles += int(estimate[1])
        elif rows := _gathered_rows(text, line, shape):
            of_gathers += CYCLES_OF_A_ROW * rows
        elif not kind.endswith(("-start", "-done")) and padded_bytes(re.sub(r"S\(\d+\)", "", shape)) >= LARGE:
            unknown[kind] += 1
    return Account(cycles + of_gathers, of_gathers, memory, dict(unknown))


def padded_bytes(shape: str) -> int:
    """Bytes of an array, or of the arrays of a tuple, in memory: 0 for what is in fast memory, `S(1)`.

    The last axes in memory are filled up to whole tiles: `f32[4,130]{1,0:T(8,128)}` lies there as [8, 256].
    """
    total = 0
    for kind, dimensions, order, form in SHAPE.findall(shape):
        if "S(" in form:
            continue
        sizes = [int(size) for size in dimensions.split(",") if size]
        minor_first = [sizes[int(axis)] for axis in order.split(",") if axis] or sizes[::-1]
        tile = re.search(r"T\(([0-9,]+)\)", form)
        for axis, size in enumerate(reversed(tile[1].split(",")) if tile else ()):
            if axis < len(minor_first):
                minor_first[axis] = -(-minor_first[axis] // int(size)) * int(size)
        total += math.prod(minor_first) * TYPE_BYTES.get(kind, 4)
    return total


def _gathered_rows(text: str, line: str, shape: str) -> int:
    """The rows that the gather of a fusion takes; 0 if it holds no gather."""
    called = re.search(r"calls=(%\S+?),", line)
    if called is None:
        return 0
    sizes = [int(size) for size in (SHAPE.search(shape) or [""] * 3)[2].split(",") if size]
    start = text.index(f"\n{called[1]} ")
    body = text[start : text.index("\n}", start)]
    taken = re.search(r"slice_sizes=\{([0-9,]+)\}", body)
    return math.prod(sizes) // math.prod(int(size) for size in taken[1].split(",")) if taken else 0
