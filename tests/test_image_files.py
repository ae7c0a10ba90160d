"""Values of 16 bits that use their range come in right in every layout; those of fewer bits are refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from h3r_jax.image_files import load, open_image
from h3r_jax.images import read_image

SIDE = 16
RAMP = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)  # 8 bits
COLORS = {1: 1, 2: 1, 3: 3, 4: 3}  # channels -> those that are no transparency


def values(channels, factor):
    """`uint16[SIDE, SIDE, channels]`: ramps up to 255 * factor; the transparency, the last of 2 or 4, is all there."""
    pixels = np.stack([RAMP, RAMP.T, RAMP[::-1], RAMP][:channels], axis=-1) * np.uint16(factor)
    pixels[..., COLORS[channels] :] = 65535
    return pixels


def png(pixels):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def tiff(pixels, photometric=None, extra=2, order="<", planar=1):
    height, width, channels = pixels.shape
    photometric = (1 if channels == 1 else 2) if photometric is None else photometric
    data = (pixels if planar == 1 else pixels.transpose(2, 0, 1)).astype(order + "u2").tobytes()
    planes = channels if planar == 2 else 1
    tags = {256: [width], 257: [height], 258: [16] * channels, 259: [1], 262: [photometric], 273: [0] * planes}
    tags |= {277: [channels], 278: [height], 279: [len(data) // planes] * planes, 284: [planar]}
    if channels == 4 and photometric == 2:
        tags[338] = [extra]
    packed = {tag: struct.pack(f"{order}{len(numbers)}I", *numbers) for tag, numbers in tags.items()}
    place = 8 + 2 + 12 * len(tags) + 4 + sum(len(content) for content in packed.values() if len(content) > 4)
    starts = [place + i * len(data) // planes for i in range(planes)]
    packed[273] = struct.pack(f"{order}{planes}I", *starts)
    entries, more, place = b"", b"", 8 + 2 + 12 * len(tags) + 4
    for tag, content in sorted(packed.items()):
        entries += struct.pack(order + "HHI", tag, 4, len(content) // 4)
        entries += content if len(content) == 4 else struct.pack(order + "I", place + len(more))
        more += content if len(content) > 4 else b""
    start = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HIH", 42, 8, len(tags))
    return start + entries + struct.pack(order + "I", 0) + more + data


def pnm(pixels, kind):
    body = pixels.astype(">u2").tobytes() if kind in ("P5", "P6") else " ".join(map(str, pixels.ravel())).encode()
    return f"{kind} {SIDE} {SIDE} 65535\n".encode() + body


def sgi(pixels):
    height, width, channels = pixels.shape
    header = struct.pack(">hBBHHHHll", 474, 0, 2, 2 if channels == 1 else 3, width, height, channels, 0, 65535)
    return header.ljust(512, b"\0") + pixels[::-1].transpose(2, 0, 1).astype(">u2").tobytes()


LAYOUTS = {  # name -> channels, and function from values to a file
    "png grey": (1, png),
    "png grey, transparent": (2, png),
    "png colour": (3, png),
    "png colour, transparent": (4, png),
    "tiff grey": (1, tiff),
    "tiff grey, Motorola": (1, lambda x: tiff(x, order=">")),
    "tiff colour": (3, tiff),
    "tiff colour, Motorola": (3, lambda x: tiff(x, order=">")),
    "tiff transparent": (4, tiff),
    "tiff transparent, multiplied": (4, lambda x: tiff(x, extra=1)),
    "tiff fourth without a meaning": (4, lambda x: tiff(x, extra=0, order=">")),
    "pgm": (1, lambda x: pnm(x, "P5")),
    "ppm": (3, lambda x: pnm(x, "P6")),
    "pgm in words": (1, lambda x: pnm(x, "P2")),
    "ppm in words": (3, lambda x: pnm(x, "P3")),
    "sgi grey": (1, sgi),
    "sgi colour": (3, sgi),
    "sgi transparent": (4, sgi),
}
SMALL = {layout: LAYOUTS[layout] for layout in LAYOUTS if not layout.startswith(("sgi", "ppm"))}


def stored(tmp_path, layout, factor):
    channels, make = LAYOUTS[layout]
    path = tmp_path / "image"
    path.write_bytes(make(values(channels, factor)))
    return path, values(channels, factor)[..., : COLORS[channels]]


@pytest.mark.trial("C4")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bits", [10, 12])
def test_fewer_bits_in_sixteen_are_refused(tmp_path, layout, bits):
    path, _ = stored(tmp_path, layout, 2 ** (bits - 8))
    with pytest.raises(ValueError, match=f"{path} .*but the greatest value is .*; want values that use the range to"):
        read_image(path)


@pytest.mark.trial("C4")
@pytest.mark.parametrize("layout", SMALL)
def test_eight_bits_in_sixteen_are_refused(tmp_path, layout):
    """All that PIL keeps of them is black."""
    path, _ = stored(tmp_path, layout, 1)
    with pytest.raises(ValueError, match="but the greatest value is 255; want values that use the range to 65535"):
        read_image(path)


@pytest.mark.trial("C4")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_sixteen_bits_come_in_right(tmp_path, layout):
    path, pixels = stored(tmp_path, layout, 257)
    np.testing.assert_array_equal(read_image(path), np.broadcast_to(pixels >> 8, (SIDE, SIDE, 3)))


@pytest.mark.trial("C4")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_black_stays_black(tmp_path, layout):
    path, _ = stored(tmp_path, layout, 0)
    assert not read_image(path).any()


@pytest.mark.trial("C4")
@pytest.mark.parametrize("order", ["<", ">"])
def test_inks(tmp_path, order):
    """No ink at all is white paper; little ink everywhere is 12 bits in 16."""
    path = tmp_path / "print.tif"
    inks = np.zeros((SIDE, SIDE, 4), np.uint16)
    path.write_bytes(tiff(inks, photometric=5, order=order))
    assert (read_image(path) == 255).all()
    inks[..., 1] = RAMP * 257
    path.write_bytes(tiff(inks, photometric=5, order=order))
    np.testing.assert_array_equal(read_image(path)[..., 1], 255 - RAMP)
    path.write_bytes(tiff(inks >> 4, photometric=5, order=order))
    with pytest.raises(ValueError, match="but the greatest value is below 4096; want values"):
        read_image(path)


@pytest.mark.trial("C4")
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
def test_planes_that_pil_misreads(tmp_path, channels, order):
    (tmp_path / "scan.tif").write_bytes(tiff(values(channels, 257), planar=2, order=order))
    with pytest.raises(ValueError, match="scan.tif .*each colour in a plane of its own; store the colours pixel by"):
        read_image(tmp_path / "scan.tif")


@pytest.mark.trial("C4")
def test_a_scale_that_pil_reads_as_its_negative(tmp_path):
    (tmp_path / "scan.tif").write_bytes(tiff(values(1, 257), photometric=0))
    with pytest.raises(ValueError, match="scan.tif .*16 bits a value of which 0 is white; store it with 0 as black"):
        read_image(tmp_path / "scan.tif")


@pytest.mark.trial("C4")
@pytest.mark.parametrize("factor", [0, 1, 16, 257])
def test_jpeg_2000_in_colour(tmp_path, factor):
    """PIL reads white as black there, so that no range is right."""
    cv2 = pytest.importorskip("cv2")
    pixels = np.tile(values(3, factor), (4, 4, 1))
    cv2.imwrite(str(tmp_path / "scan.jp2"), pixels)
    with pytest.raises(ValueError, match="scan.jp2 .*16 bits a value in colours of JPEG 2000, .*; store 8 bits"):
        read_image(tmp_path / "scan.jp2")
    cv2.imwrite(str(tmp_path / "scan.jp2"), np.full((64, 64, 3), 255, np.uint8))
    assert (read_image(tmp_path / "scan.jp2") == 255).all()


@pytest.mark.trial("C4")
@pytest.mark.parametrize("compression", [1, 5, 8, 32773])
@pytest.mark.parametrize("factor", [1, 16])
def test_compressed_scans(tmp_path, compression, factor):
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / "scan.tif"), values(3, factor), [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    with pytest.raises(ValueError, match="but the greatest value is (255|below 4096);"):
        read_image(tmp_path / "scan.tif")
    cv2.imwrite(str(tmp_path / "scan.tif"), values(3, 257)[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    np.testing.assert_array_equal(read_image(tmp_path / "scan.tif"), values(3, 1))


@pytest.mark.trial("C4")
def test_images_that_a_caller_opened():
    for channels in (1, 3, 4):
        with pytest.raises(ValueError, match="but the greatest value is"):
            read_image(Image.open(io.BytesIO(png(values(channels, 16)))))
    content = io.BytesIO(png(values(3, 1)))  # black, but for the lower bytes
    with pytest.raises(ValueError, match="the greatest value is 255"), open_image(content):
        pass
    eight = Image.fromarray(np.full((4, 4, 3), 9, np.uint8))  # dark, of 8 bits
    assert load(eight) is eight and read_image(eight).max() == 9


@pytest.mark.trial("D")
@pytest.mark.parametrize(("width", "height"), [(13378, 13378), (200000, 1000), (2**31 - 1, 2)])
def test_more_pixels_than_pil_reads(tmp_path, width, height):
    content = bytearray(png(values(3, 257)))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    (tmp_path / "large.png").write_bytes(content)
    with pytest.raises(ValueError, match="large.png .*more than 178,956,970 pixels; shrink it, or cut it into parts"):
        read_image(tmp_path / "large.png")


@pytest.mark.trial("E")
@pytest.mark.parametrize(("name", "what"), [("/dev/zero", "pipe or a device"), ("/dev/null", "pipe"), ("/", "folder")])
def test_what_is_no_file_is_not_opened(name, what):
    with pytest.raises(ValueError, match=f"^{name} is not a readable image .it is a {what}.*; want a file"):
        read_image(name)
