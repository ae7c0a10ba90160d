"""Image files as PIL opens them, with a check that PIL lacks: whether values of 16 bits use their range.

Cameras and scanners store 10 or 12 bits in values of 16. The higher 8 bits, which are kept, are then black. PIL keeps
16 bits of grey alone, and takes off the lower ones of every other layout while it reads.
"""

import contextlib
import os
import re
import stat
import sys
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from PIL import Image

from h3r_jax.errors import UserError

EXIF_ORIENTATION = 0x0112  # a tag
LEAST_WHITE = 4096  # of 16 bits; an image that stays below is taken to have fewer bits, which would come out black
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}  # of the two bytes of a value
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_PLANAR = 258, 262, 284  # tags
_J2K_SIZE, _J2K_BITS = b"\xff\x4f\xff\x51", 42  # the codestream begins so, and has the bits of a value at this place


@contextlib.contextmanager
def opened(source: str | os.PathLike | IO[bytes]) -> Iterator[Image.Image]:
    """The PIL image of a file, not loaded yet; arguments and errors as `open_image`."""
    if isinstance(source, (str, os.PathLike)) and not stat.S_ISREG(mode := os.stat(source).st_mode):
        raise UserError(f"it is a {'folder' if stat.S_ISDIR(mode) else 'pipe or a device'}; want a file")
    try:
        with Image.open(source) as image:
            yield image
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise UserError(f"it has more than {most:,} pixels; shrink it, or cut it into parts") from None


@contextlib.contextmanager
def open_image(source: str | os.PathLike | IO[bytes], reduction: int = 1) -> Iterator[Image.Image]:
    """The loaded PIL image of a file. Values of 16 bits use their range, or are all 0.

    Args:
      source: path, or an open file that can be read twice.
      reduction: 1; or, of a JPEG, 2, 4 or 8: the side in pixels of the file that a pixel of the image stands for.

    Raises:
      UserError: a path of a folder, pipe or device; more pixels than PIL reads; or 16 bits a value of which only the
        lower ones are used, or in a layout that PIL misreads.
      OSError: there is no such file, or PIL does not know or cannot read it. Damaged bytes may raise anything.
    """
    with opened(source) as image:
        if reduction > 1:
            image.draft(image.mode, (image.width // reduction, image.height // reduction))
        yield load(image, source)


def load(image: Image.Image, source: str | os.PathLike | IO[bytes] | None = None) -> Image.Image:
    """A PIL image, loaded, whose values of 16 bits use their range, or are all 0.

    Args:
      image: that PIL opened and has not loaded, or that was made in memory.
      source: of the image, to tell black from values below 256 in colours of 16 bits.

    Raises:
      UserError: as `open_image`.
    """
    reduction = _reduction(image)
    image.load()
    if image.format == "PPM" and image.mode == "I":  # 16 bits of grey, in 32
        image = Image.fromarray(np.asarray(image).astype(np.uint16))
    if image.mode.startswith("I;16"):
        _check_white(int(np.asarray(image).max()))
    elif reduction:
        _check_reduced(image, source, reduction)
    return image


def _reduction(image: Any) -> str:
    """How PIL takes 16 bits to 8 when it loads an open image: "high byte", "nearest", or "" if it does not."""
    layout = repr(getattr(image, "tile", ""))  # of the values in the file
    if layout and image.format == "TIFF" and set(image.tag_v2.get(_TIFF_BITS, ())) == {16}:
        tags = image.tag_v2
        if len(tags[_TIFF_BITS]) > 1 and tags.get(_TIFF_PLANAR) == 2:
            raise UserError("16 bits a value with each colour in a plane of its own; store the colours pixel by pixel")
        if tags.get(_TIFF_PHOTOMETRIC) == 0:
            raise UserError("16 bits a value of which 0 is white; store it with 0 as black")
    if layout and image.format == "JPEG2000" and image.mode != "I;16" and (bits := _bits_of_jpeg2000(image)) > 8:
        raise UserError(f"{bits} bits a value in colours of JPEG 2000, whose white PIL reads as black; store 8 bits")
    if re.search(r"ppm.*\b65535\b", layout):
        return "nearest"
    return "high byte" if re.search("(?<!BGR);16|SGI16", layout) else ""


def _bits_of_jpeg2000(image: Any) -> int:
    file = image.fp
    place = file.tell()
    file.seek(0)
    head = file.read(2**20)
    file.seek(place)
    start = head.find(_J2K_SIZE)
    return (head[start + _J2K_BITS] & 0x7F) + 1 if start >= 0 else 8


def _check_reduced(image: Image.Image, source: Any, reduction: str) -> None:
    colors, last = _colors(image), np.asarray(image)[..., -1]  # the last channel is the transparency, if there is one
    for greatest in (int(colors.max()), int(last.max())):
        least, below = 256 * greatest, 256 * (greatest + 1)  # of the 16 bits
        if reduction == "nearest":
            least, below = 257 * greatest - 128, 257 * greatest + 129
        _check_white(least, f"below {below}")
    if reduction == "high byte" and source is not None and not colors.any():
        _check_white(_greatest_low_byte(source))


def _colors(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels[..., :-1] if image.mode in ("RGBA", "LA") else pixels


def _greatest_low_byte(source: Any) -> int:
    """The greatest lower byte of the colours of a file with 16 bits a value: PIL reads it in the other byte order."""
    if hasattr(source, "seek"):
        source.seek(0)
    with Image.open(source) as image:
        layouts = str(image.tile)
        for order, other in _OTHER_ORDER.items():
            if f";16{order}" in layouts:
                image.tile = [tile._replace(args=_replaced(tile.args, order, other)) for tile in image.tile]
                break
        # Grey with transparency has no other order, but its four bytes can be read as four channels.
        return int(np.asarray(image)[..., 1].max() if "LA;16B" in layouts else _colors(image).max())


def _replaced(layout: Any, order: str, other: str) -> Any:
    """The description of a PIL tile, a text or a tuple that begins with it, for another order of bytes."""
    if not isinstance(layout, str):
        return (_replaced(layout[0], order, other), *layout[1:])
    return "RGBA" if layout == "LA;16B" else layout.replace(f";16{order}", f";16{other}")


def _check_white(least: int, words: str = "") -> None:
    if 0 < least < LEAST_WHITE:
        reason = f"16 bits a pixel and colour, but the greatest value is {words or least}"
        raise UserError(f"{reason}; want values that use the range to 65535")
