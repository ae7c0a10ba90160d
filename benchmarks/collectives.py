"""The bytes that move between devices, read from the text of a compiled program."""

import collections
import re

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
TYPE_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "f64": 8}


def collectives(text):
    """The collectives in the text of a compiled program: name -> how many there are, and the bytes of their results.

    Bytes are counted on one device.
    """
    count, size = collections.Counter(), collections.Counter()
    for shapes, name, start in re.findall(rf"= (.*?) ({'|'.join(COLLECTIVES)})(-start)?\(", text):
        count[name] += 1
        if start and name in ("all-gather", "collective-permute"):
            shapes = _second_of(shapes)  # of operands, results and more
        for kind, dimensions in re.findall(r"([a-z]+[0-9]*)\[([0-9,]*)\]", shapes):
            elements = 1
            for dimension in filter(None, dimensions.split(",")):
                elements *= int(dimension)
            size[name] += elements * TYPE_BYTES.get(kind, 0)
    return {name: (count[name], size[name]) for name in count}


def _second_of(shapes):
    """The second element of a tuple of shapes, in the text of a compiled program; elements may be tuples themselves."""
    depth, parts = 0, [""]
    for letter in re.sub(r"\{.*?\}|/\*.*?\*/", "", shapes.strip())[1:-1]:  # without layouts and comments
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts[1]
