"""Bad and odd files, made by code: IMAGES for the image door, MODELS for the reader of model files.

    python tests/hostile.py data/hostile        # writes every image, to be tried by hand

No test is in here. The tables say what each file must be answered with, so the tests of the door, of the command line
and of the server ask the same questions. Nothing is random: each file has the same bytes every time.
"""

import io
import os
import pickle
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shlex import quote

import numpy as np
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()  # to write HEIC

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIC")  # what the door accepts
NOT_AN_IMAGE = "not a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC image"
DAMAGED, TYPE, PIXELS, SMALL = "damaged-image", "unsupported-type", "too-many-pixels", "too-small"
ON_WHITE, EIGHT_BITS = "shown on white", "reduced to 8 bits"
GPS_MARK = b"GPS-SECRET"  # stands in the EXIF of one file; nobody may ever repeat it


@dataclass(frozen=True)
class Case:
    """One image file. `slug` None: it must be scored."""

    row: int  # of the table of bad inputs
    make: Callable[[], bytes]
    slug: str | None = None
    says: str = ""  # part of the error's sentence
    note: str | None = None  # part of the picture's one note; None: there must be none


@dataclass(frozen=True)
class ModelCase:
    """One model file. `says` None: it must load."""

    row: int
    write: Callable[[Path], object]
    says: str | None = None  # part of the error's sentence


# ---------------------------------------------------------------------------------------------- pictures


@cache
def scene(width: int = 96, height: int = 64) -> Image.Image:
    """A smooth picture without any symmetry: its corners are dark, red, green and yellow-white."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 20 + 215 * x / width, 20 + 215 * y / height
    blue = 20 + 200 * (x / width) ** 2 * y / height
    return Image.fromarray(np.stack([red, green, blue], axis=2).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "HEIF" if kind == "HEIC" else kind, **options)
    return buffer.getvalue()


def small(kind: str, **options) -> bytes:
    """A good small picture of one of FORMATS."""
    return encode(scene().quantize(64) if kind == "GIF" else scene(), kind, **options)


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def noise(size: int) -> bytes:
    return np.random.RandomState(size).bytes(size)


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def _gps() -> bytes:
    tags = Image.Exif()
    tags[0x8825] = {0: b"\2\3\0\0", 1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 36.0), 27: GPS_MARK}
    return tags.tobytes()


def frames(count: int) -> list[Image.Image]:
    """Frames that differ everywhere: a writer merges equal ones."""
    return [scene().rotate(10 * step) for step in range(count)]


def _animated(kind: str, **options) -> bytes:
    first, *others = frames(5)
    return encode(first, kind, save_all=True, append_images=others, **options)


def _animated_avif() -> bytes:
    """Without the hour it was made at: two 64-bit times, after the version of each of these boxes."""
    data = bytearray(_animated("AVIF"))
    for box in (b"mvhd", b"tkhd", b"mdhd"):
        at = data.index(box) + 8
        data[at : at + 16] = bytes(16)
    return bytes(data)


def _seethrough() -> Image.Image:
    """Opaque in the left half; the right half is hidden, and red lies under it."""
    image = scene().convert("RGBA")
    image.paste((255, 0, 0, 0), (48, 0, 96, 64))
    return image


def _seethrough_palette(kind: str) -> bytes:
    image = scene().quantize(63)
    image.paste(63, (48, 0, 96, 64))
    image.putpalette((image.getpalette() + [0] * 768)[: 63 * 3] + [255, 0, 0])
    return encode(image, kind, transparency=63)


def _grey_ramp() -> np.ndarray:
    """Every sixteenth 16-bit level, (64, 64), from 0 to 65535."""
    return np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)


# ------------------------------------------------------------------------------- files, byte by byte


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG of these chunks. colour: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def pixels(rows: np.ndarray) -> bytes:
    """The IDAT chunk of (height, bytes) rows, each after its filter byte, 0."""
    return chunk(b"IDAT", zlib.compress(np.pad(rows.view(np.uint8), ((0, 0), (1, 0))).tobytes()))


@cache
def _flat_png(side: int) -> bytes:
    """Black, one bit a pixel: a few kilobytes that unfold to side x side pixels."""
    return png(side, side, pixels(np.zeros((side, -(-side // 8)), np.uint8)), depth=1)


def _wide_png(planes: int, colour: int, *more: bytes) -> bytes:
    """16 bits a channel."""
    levels = np.repeat(_grey_ramp()[:, :, None], planes, axis=2).astype(">u2")
    return png(64, 64, *more, pixels(levels.reshape(64, -1)), depth=16, colour=colour)


def _with_text(*chunks: bytes) -> bytes:
    """A good PNG with these chunks after its header."""
    data = small("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def _bad_crc(kind: bytes) -> bytes:
    data = bytearray(_with_text(chunk(b"tEXt", b"Comment\0none")))
    at = data.index(kind)
    data[at + 4 + int.from_bytes(data[at - 4 : at], "big")] ^= 1
    return bytes(data)


def _riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(n + struct.pack("<I", len(b)) + b + b"\0" * (len(b) % 2) for n, b in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _vp8l(width: int, height: int) -> bytes:
    """A lossless WebP image of one colour. No pixel costs a bit, so its size is free (RFC 9649, section 3)."""
    fields = [(0x2F, 8), (width - 1, 14), (height - 1, 14), (0, 1), (0, 3), (0, 3)]  # no transform, cache, meta code
    fields += [(0b101, 3), (0, 8)] * 5  # five codes of one symbol each
    value = shift = 0
    for number, bits in fields:
        value |= number << shift
        shift += bits
    return value.to_bytes(-(-shift // 8), "little")


def _webp_flat(width: int, height: int) -> bytes:
    """512 bytes that are, entirely correctly, this many pixels."""
    image = _vp8l(width, height)
    return _riff((b"VP8L", image), (b"JUNK", bytes(512 - 28 - len(image) - len(image) % 2)))


def _webp_canvas(width: int, height: int) -> bytes:
    """512 bytes: an animation of one small frame on a large canvas."""
    frame = _vp8l(64, 64)
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    head = bytes(6) + b"\x3f\0\0" * 2 + bytes(4)  # where, how large, how long
    body = head + b"VP8L" + struct.pack("<I", len(frame)) + frame + b"\0" * (len(frame) % 2)
    parts = [(b"VP8X", b"\2\0\0\0" + size), (b"ANIM", bytes(6)), (b"ANMF", body)]
    return _riff(*parts, (b"JUNK", bytes(512 - 8 - len(_riff(*parts)))))


def _claims(kind: str, mark: bytes, offset: int, size: bytes) -> bytes:
    """A good small picture whose header says, `offset` bytes after a mark, that it is a large one."""
    data = bytearray(small(kind))
    at = data.index(mark) + offset
    data[at : at + len(size)] = size
    return bytes(data)


def gif(count: int) -> bytes:
    """`count` frames, each the negative of the one before it."""
    black = Image.new("P", (64, 64))
    black.putpalette([0, 0, 0, 255, 255, 255])
    black.paste(1, (40, 0, 64, 64))
    files = [encode(image, "GIF") for image in (black, black.point([1, 0] * 128))]
    starts = [data.index(struct.pack("<B4H", 0x2C, 0, 0, 64, 64)) for data in files]
    pictures = [data[start:-1] for data, start in zip(files, starts, strict=True)]
    return files[0][: starts[0]] + b"".join(pictures[step % 2] for step in range(count)) + b";"


def _lab_tiff(lab: np.ndarray) -> bytes:
    """8-bit CIELab, (h, w, 3) of L* 0..100 and a*, b* -128..127, as TIFF 6.0 section 23 stores it."""
    stored = np.stack([lab[..., 0] * 255 / 100, lab[..., 1], lab[..., 2]], axis=2).round().astype(np.int16)
    height, width = lab.shape[:2]
    tags = [(256, 3, width), (257, 3, height), (258, 3, 8), (259, 3, 1), (262, 3, 8), (273, 4, 0), (277, 3, 3)]
    tags += [(278, 3, height), (279, 4, 3 * width * height)]
    extra = 8 + 2 + 12 * len(tags) + 4  # where the three bit depths stand, then the pixels
    entries = b""
    for tag, kind, value in tags:
        count = 3 if tag == 258 else 1
        value = {258: extra, 273: extra + 6}.get(tag, value)
        entries += struct.pack("<HHI", tag, kind, count) + struct.pack("<I", value)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + struct.pack("<3H", 8, 8, 8)
    return head + (stored & 0xFF).astype(np.uint8).tobytes()


LAB_COLOURS = [(200, 60, 50), (60, 160, 80), (70, 90, 190), (119, 119, 119), (255, 255, 255), (230, 200, 90)]  # sRGB


def _lab() -> bytes:
    """One stripe, 16 pixels wide, of each of LAB_COLOURS, by the definitions of sRGB and of CIELab under D50."""
    encoded = np.array([LAB_COLOURS]) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.43607, 0.38506, 0.14308], [0.22250, 0.71688, 0.06062], [0.01393, 0.09710, 0.71417]])
    x, y, z = np.moveaxis(np.cbrt(linear @ to_xyz.T / to_xyz.sum(axis=1)), 2, 0)  # none of them is near black
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=2)
    return _lab_tiff(np.repeat(np.repeat(lab, 40, axis=0), 16, axis=1))


def _box(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _tiles(image: Image.Image, side: int) -> bytes:
    """A HEIC as phones write it: a grid of tiles."""
    return encode(image, "HEIC", tile_size=side)


def _heic_of_large_tiles() -> bytes:
    """A small picture, put together from twelve tiles that say they are 50 megapixels each."""
    return _tiles(scene(480, 320), 128).replace(struct.pack(">II", 128, 128), struct.pack(">II", 7_000, 7_000))


def _circle() -> bytes:
    """A grid whose first tile is the grid."""
    data = bytearray(_tiles(scene(480, 320), 128))
    at = data.index(b"dimg") + 4
    data[at + 4 : at + 6] = data[at : at + 2]
    return bytes(data)


def _ftyp(*brands: bytes) -> bytes:
    major, *compatible = brands
    box = struct.pack(">I4s4sI", 16 + 4 * len(compatible), b"ftyp", major, 0) + b"".join(compatible)
    return box + struct.pack(">I4s", 8 + 512, b"mdat") + noise(512)


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("picture.jpg"), small("JPEG"))  # ZipInfo: always the same date
    return buffer.getvalue()


def _psd() -> bytes:
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 64, 96, 8, 3)
    return head + bytes(12) + b"\0\0" + np.asarray(scene()).transpose(2, 0, 1).tobytes()


def _fits() -> bytes:
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    2"]
    cards += ["NAXIS1  =                   96", "NAXIS2  =                   64", "END"]
    grey = np.asarray(scene().convert("L")).tobytes()
    return "".join(card.ljust(80) for card in cards).ljust(2880).encode() + grey.ljust(2880 * 3, b"\0")


def _ifunc() -> bytes:
    """Begins as a TIFF does, and is a picture in the IFUNC format to whoever tries every format in turn."""
    head = b"II*\0: none\r\nImage type: L image\r\nImage size (x*y): 64*64\r\nFile size (no of images): 1\r\n"
    return head.ljust(511, b"\0") + b"\x1a" + noise(64 * 64)


PDF = b"""%PDF-1.4
1 0 obj << /Type /Catalog /Pages 2 0 R >> endobj
2 0 obj << /Type /Pages /Kids [3 0 R] /Count 1 >> endobj
3 0 obj << /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >> endobj
trailer << /Root 1 0 R >>
%%EOF
"""
HTML = b"<!DOCTYPE html>\n<html><body><script>alert(document.domain)</script></body></html>\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><script>alert(1)</script></svg>\n'
XXE = b"""<?xml version="1.0"?>
<!DOCTYPE svg [<!ENTITY secret SYSTEM "file:///etc/passwd">]>
<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><text y="20">&secret;</text></svg>
"""
PHP = b"<?php system($_GET['c']); ?>"


@cache
def _bomb() -> bytes:
    """80 kB that unfold to 80 MB."""
    return zlib.compress(bytes(80 * 2**20), 9)


def _zeroed_jpeg() -> bytes:
    data = bytearray(encode(scene(192, 128), "JPEG", quality=95))
    middle = (data.index(b"\xff\xda") + len(data)) // 2
    data[middle : middle + 40] = bytes(40)
    return bytes(data)


# ------------------------------------------------------------------------------------------ the table


def _refused(row: int, make: Callable[[], bytes], looks: str | None = None) -> Case:
    return Case(row, make, TYPE, f"{NOT_AN_IMAGE} (it looks like {looks}" if looks else NOT_AN_IMAGE)


def _damaged(row: int, make: Callable[[], bytes]) -> Case:
    return Case(row, make, DAMAGED, "damaged or cut short")


def _huge(row: int, make: Callable[[], bytes]) -> Case:
    return Case(row, make, PIXELS, "more than 50 megapixels")


IMAGES: dict[str, Case] = {
    "empty.jpg": Case(4, lambda: b"", "empty-file", "the file is empty (0 bytes)"),
    "one-byte.jpg": _refused(5, lambda: b"\xff"),
    "text.jpg": _refused(6, lambda: b"This is not a picture.\n" * 20),
    "html.png": _refused(7, lambda: HTML, "HTML"),
    "script.svg": _refused(8, lambda: SVG, "SVG"),
    "xxe.svg": _refused(9, lambda: XXE, "SVG"),
    "pdf.jpg": _refused(10, lambda: PDF, "PDF"),
    "zip.jpg": _refused(11, _zip, "ZIP"),
    "eps.jpg": _refused(12, lambda: encode(scene(), "EPS"), "EPS/PostScript"),
    "eps-for-dos.jpg": _refused(12, lambda: b"\xc5\xd0\xd3\xc6" + noise(26) + encode(scene(), "EPS"), "EPS/PostScript"),
    "mp4.jpg": _refused(13, lambda: _ftyp(b"isom", b"iso2", b"avc1", b"mp41"), "video"),
    "quicktime.jpg": _refused(13, lambda: _ftyp(b"qt  ", b"qt  "), "video"),
    "avi.jpg": _refused(13, lambda: b"RIFF" + struct.pack("<I", 600) + b"AVI LIST" + noise(600), "video"),
    "matroska.jpg": _refused(13, lambda: b"\x1a\x45\xdf\xa3" + noise(600), "video"),
    "photo.heic": Case(14, lambda: small("HEIC")),
    "heic-by-brand.jpg": Case(14, lambda: small("HEIC").replace(b"ftypheic", b"ftypmif1")),
    "grid.heic": Case(14, lambda: _tiles(scene(480, 320), 128)),
    "several.heic": Case(14, lambda: _animated("HEIC", primary_index=0), note="only the main picture of 5"),
    "sequence.heic": _refused(14, lambda: _ftyp(b"hevc", b"msf1") + _box(b"moov"), "a HEIC without a still picture"),
    "overlay.heic": _refused(14, lambda: _tiles(scene(480, 320), 128).replace(b"grid", b"iovl"), "a HEIC without"),
    "no-picture.heic": _damaged(14, lambda: _ftyp(b"heic", b"heic")),
    "half.heic": _damaged(14, lambda: half(small("HEIC"))),
    "end-missing.heic": _damaged(14, lambda: small("HEIC")[:-9]),
    "circle.heic": _damaged(14, lambda: _circle()),
    "photoshop.png": _refused(15, _psd, "PSD"),
    "icon.png": _refused(15, lambda: encode(scene(64, 64), "ICO"), "ICO"),
    "texture.png": _refused(15, lambda: encode(scene(), "DDS"), "DDS"),
    "jpeg2000.jpg": _refused(15, lambda: encode(scene(), "JPEG2000"), "JPEG 2000"),
    "jpeg2000-bare.jpg": _refused(15, lambda: encode(scene(), "JPEG2000", no_jp2=True), "JPEG 2000"),
    "qoi.png": _refused(15, lambda: encode(scene(), "QOI"), "QOI"),
    "targa.png": _refused(15, lambda: encode(scene(), "TGA")),
    "ppm.png": _refused(15, lambda: encode(scene(), "PPM")),
    "fits.png": _refused(15, _fits, "FITS"),
    "pcx.png": _refused(15, lambda: encode(scene(), "PCX")),
    "sgi.png": _refused(15, lambda: encode(scene(), "SGI")),
    "ifunc.tif": _damaged(15, _ifunc),
    "half.jpg": _damaged(16, lambda: half(small("JPEG"))),
    "start.jpg": _refused(17, lambda: small("JPEG")[:20]),
    "half.png": _damaged(18, lambda: half(small("PNG"))),
    "half.webp": _damaged(19, lambda: half(small("WEBP"))),
    "half.gif": _damaged(19, lambda: half(small("GIF"))),
    "half.bmp": _damaged(19, lambda: half(small("BMP"))),
    "half.tif": _damaged(19, lambda: half(small("TIFF"))),
    "half.avif": _damaged(19, lambda: half(small("AVIF"))),
    "crc-of-pixels.png": _damaged(20, lambda: _bad_crc(b"IDAT")),
    "crc-of-header.png": _damaged(20, lambda: _bad_crc(b"IHDR")),
    "crc-of-text.png": _damaged(20, lambda: _bad_crc(b"tEXt")),
    "zeros-inside.jpg": Case(21, _zeroed_jpeg),
    "no-pixels.png": _damaged(22, lambda: png(64, 64)),
    "size-0x0.png": _refused(23, lambda: png(0, 0, pixels(np.zeros((1, 1), np.uint8)))),
    "size-64x0.png": _refused(23, lambda: png(64, 0, pixels(np.zeros((1, 64), np.uint8)))),
    "bomb-header.png": _huge(24, lambda: png(2**31, 2**31, pixels(np.zeros((1, 64), np.uint8)))),
    "bomb-header.jpg": _huge(24, lambda: _claims("JPEG", b"\xff\xc0", 5, struct.pack(">HH", 65_000, 65_000))),
    "bomb-header.gif": _huge(24, lambda: _claims("GIF", b"GIF8", 6, struct.pack("<HH", 65_000, 65_000))),
    "bomb-header.bmp": _huge(24, lambda: _claims("BMP", b"BM", 18, struct.pack("<ii", 65_000, 65_000))),
    "bomb-header.tif": _huge(24, lambda: _claims("TIFF", b"\0\1\4\0\1\0\0\0", 8, struct.pack("<I", 2**31))),
    "bomb-header.avif": _huge(24, lambda: _claims("AVIF", b"ispe", 8, struct.pack(">II", 15_000, 15_000))),
    "bomb-header.heic": _huge(24, lambda: _claims("HEIC", b"ispe", 8, struct.pack(">II", 60_000, 60_000))),
    "bomb-tiles.heic": _huge(28, lambda: _heic_of_large_tiles()),
    "bomb-20000.png": _huge(25, lambda: _flat_png(20_000)),
    "bomb-13000.png": _huge(26, lambda: _flat_png(13_000)),
    "bomb-9000.png": _huge(27, lambda: _flat_png(9_000)),
    "size-5200.png": Case(27, lambda: _flat_png(5_200)),  # over half the limit, where Pillow begins to warn
    "bomb-8000.webp": _huge(28, lambda: _webp_flat(8_000, 8_000)),
    "bomb-8000-canvas.webp": _huge(28, lambda: _webp_canvas(8_000, 8_000)),
    "bomb-16384.webp": _huge(28, lambda: _webp_canvas(16_384, 4_096)),
    "bomb-lossy.webp": _huge(28, lambda: _claims("WEBP", b"\x9d\x01\x2a", 3, struct.pack("<HH", 16_000, 16_000))),
    "bomb-text.png": _damaged(29, lambda: _with_text(chunk(b"zTXt", b"Comment\0\0" + _bomb()))),
    "bomb-text-utf8.png": _damaged(29, lambda: _with_text(chunk(b"iTXt", b"Comment\0\1\0\0\0" + _bomb()))),
    "bomb-profile.png": _damaged(29, lambda: _with_text(chunk(b"iCCP", b"Profile\0\0" + _bomb()))),
    "many-texts.png": Case(30, lambda: _with_text(chunk(b"tEXt", b"Comment\0none") * 50_000)),
    "size-1x1.png": Case(31, lambda: encode(scene(1, 1), "PNG"), SMALL, "1x1 pixels; at least 32x32"),
    "size-8x8.jpg": Case(31, lambda: encode(scene(8, 8), "JPEG"), SMALL, "8x8 pixels; at least 32x32"),
    "size-96x31.bmp": Case(31, lambda: encode(scene(96, 31), "BMP"), SMALL, "96x31 pixels; at least 32x32"),
    "size-32x32.png": Case(31, lambda: encode(scene(32, 32), "PNG")),
    "size-1x20000.png": Case(32, lambda: encode(scene(1, 20_000), "PNG"), SMALL, "too small"),
    "size-40x2000.png": Case(32, lambda: encode(scene(40, 2_000), "PNG"), "bad-aspect", "too narrow"),
    "size-40x800.png": Case(32, lambda: encode(scene(40, 800), "PNG")),
    "jpeg.png": Case(33, lambda: small("JPEG")),
    "jpeg.txt": Case(33, lambda: small("JPEG")),
    "jpeg": Case(33, lambda: small("JPEG")),
    "php-behind.jpg": Case(34, lambda: small("JPEG") + PHP),
    "php-inside.php.jpg": Case(34, lambda: small("JPEG", comment=PHP)),
    "zip-behind.jpg": Case(34, lambda: small("JPEG") + _zip()),
    "zip-behind.gif": Case(34, lambda: small("GIF") + _zip()),
    "grey.jpg": Case(35, lambda: encode(scene().convert("L"), "JPEG")),
    "one-bit.png": Case(35, lambda: encode(scene().convert("1"), "PNG")),
    "one-bit.tif": Case(35, lambda: encode(scene().convert("1"), "TIFF", compression="group4")),
    "lab.tif": Case(35, _lab),
    "cmyk.jpg": Case(35, lambda: encode(scene().convert("CMYK"), "JPEG", quality=95)),
    "cmyk.tif": Case(35, lambda: encode(scene().convert("CMYK"), "TIFF")),
    "palette.png": Case(35, lambda: encode(scene().quantize(200), "PNG")),
    "opaque-alpha.png": Case(36, lambda: encode(scene().convert("RGBA"), "PNG")),
    "alpha.png": Case(36, lambda: encode(_seethrough(), "PNG"), note=ON_WHITE),
    "alpha-grey.png": Case(36, lambda: encode(_seethrough().convert("LA"), "PNG"), note=ON_WHITE),
    "alpha-palette.png": Case(36, lambda: _seethrough_palette("PNG"), note=ON_WHITE),
    "alpha.gif": Case(36, lambda: _seethrough_palette("GIF"), note=ON_WHITE),
    "alpha.webp": Case(36, lambda: encode(_seethrough(), "WEBP", lossless=True, exact=True), note=ON_WHITE),
    "alpha.tif": Case(36, lambda: encode(_seethrough(), "TIFF"), note=ON_WHITE),
    "alpha.heic": Case(36, lambda: encode(_seethrough(), "HEIC"), note=ON_WHITE),
    "alpha.avif": Case(36, lambda: encode(_seethrough(), "AVIF"), note=ON_WHITE),
    "transparent.png": Case(37, lambda: encode(Image.new("RGBA", (64, 64), (255, 0, 0, 0)), "PNG"), note=ON_WHITE),
    "grey-16.png": Case(38, lambda: _wide_png(1, 0), note=EIGHT_BITS),
    "grey-16.tif": Case(38, lambda: encode(Image.fromarray(_grey_ramp()), "TIFF"), note=EIGHT_BITS),
    "rgb-16.png": Case(38, lambda: _wide_png(3, 2), note=EIGHT_BITS),
    "float.tif": Case(39, lambda: encode(Image.new("F", (64, 64), 0.5), "TIFF"), "unsupported-mode", "F (32-bit)"),
    "int32.tif": Case(39, lambda: encode(Image.new("I", (64, 64), 2**20), "TIFF"), "unsupported-mode", "I (32-bit)"),
    "animated.gif": Case(40, lambda: _animated("GIF"), note="frame 1 of 5"),
    "animated.webp": Case(40, lambda: _animated("WEBP"), note="frame 1 of 5"),
    "animated.png": Case(40, lambda: _animated("PNG"), note="frame 1 of 5"),
    "animated.avif": Case(40, _animated_avif, note="frame 1 of 5"),
    "pages.tif": Case(40, lambda: _animated("TIFF"), note="frame 1 of 5"),
    "frames-3000.gif": Case(41, lambda: gif(3_000), note="frame 1 of 3000"),
    "phone.mpo": Case(42, lambda: _animated("MPO")),
    "orientation-6.jpg": Case(43, lambda: small("JPEG", exif=exif(6))),
    "orientation-99.jpg": Case(44, lambda: small("JPEG", exif=exif(99))),
    "exif-random.jpg": Case(44, lambda: small("JPEG", exif=b"Exif\0\0" + noise(400))),
    "exif-random-tags.jpg": Case(44, lambda: small("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x20\0" + noise(384))),
    "exif-bad-header.jpg": Case(44, lambda: small("JPEG", exif=b"Exif\0\0XX*\0\x08\0\0\0" + noise(40))),
    "exif-random.png": Case(44, lambda: small("PNG", exif=noise(401))),
    "profile-random.jpg": Case(44, lambda: small("JPEG", icc_profile=noise(3000)), note="colour profile is damaged"),
    "profile-random.png": Case(44, lambda: small("PNG", icc_profile=noise(3001)), note="colour profile is damaged"),
    "gps.jpg": Case(45, lambda: small("JPEG", exif=_gps())),
    "eleven-megabytes.bmp": Case(46, lambda: encode(Image.new("RGB", (2000, 1900)), "BMP"), "too-large", "10 MiB"),
}


def write_all(folder: Path) -> dict[str, Path]:
    """Every image of IMAGES as a file of its name."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = {name: Path(folder, name) for name in IMAGES}
    for name, path in paths.items():
        path.write_bytes(IMAGES[name].make())
    return paths


# ----------------------------------------------------------------------------------------- model files

MARKER = "code-was-run"  # a file beside a model file, if what the model file holds was ever run


class Code:
    """Unpickled, it writes the marker: what a pickle with code in it does."""

    def __init__(self, path: Path, way: Callable = exec):
        self.marker, self.way = str(path.parent / MARKER), way

    def __reduce__(self):
        shell = self.way is os.system
        return self.way, (f"touch {quote(self.marker)}" if shell else f"open({self.marker!r}, 'w').close()",)


def _code(protocol: int, way: Callable = exec) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(pickle.dumps({"weight": Code(path, way)}, protocol))


def _code_by_inst(path: Path) -> None:
    """The oldest way to call a function: the opcode INST."""
    path.write_bytes(f"(Vopen({str(path.parent / MARKER)!r}, 'w').close()\nibuiltins\nexec\n.".encode())


def _code_of_library(path: Path) -> None:
    """A function of torch's own that runs a shell command."""
    path.write_bytes(f"ctorch.utils.collect_env\nrun\n(Vtouch {quote(str(path.parent / MARKER))}\ntR.".encode())


def _code_torch(**options) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        import torch

        torch.save({"fc.weight": torch.zeros(2), "more": Code(path)}, path, **options)

    return write


def _code_first(path: Path) -> None:
    """A legacy file whose first pickle, where the magic number stands, is code."""
    _legacy(path)
    path.write_bytes(pickle.dumps(Code(path), 2) + path.read_bytes())


def _zeros(network: str, outputs: int) -> dict:
    """The state_dict of one of torchvision's networks. One stored zero fills each tensor, so that the file is small."""
    import torch
    import torchvision

    with torch.device("meta"):
        shapes = torchvision.models.get_model(network, weights=None, num_classes=outputs).state_dict()
    return {name: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for name, tensor in shapes.items()}


def tiny() -> dict:
    """The weights of a `tiny` network."""
    import torch

    from model import create_model

    torch.manual_seed(0)
    return create_model("tiny").state_dict()


def _saved(make: Callable[[], object], **options) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        import torch

        torch.save(make(), path, **options)

    return write


_legacy = _saved(tiny, _use_new_zipfile_serialization=False)


def _cut(write: Callable[[Path], object]) -> Callable[[Path], object]:
    def write_half(path: Path) -> None:
        write(path)
        path.write_bytes(half(path.read_bytes()))

    return write_half


def _network() -> object:
    from model import create_model

    return create_model("tiny")


def _namespace() -> dict:
    from argparse import Namespace

    return {"model": tiny(), "args": Namespace(lr=0.1)}


def _nan() -> dict:
    state = tiny()
    state["classifier.bias"][0] = float("nan")
    return state


def _checkpoint(*, header: Callable[[str], str] = lambda text: text) -> Callable[[Path], object]:
    """A file of our own format, its metadata changed by `header`."""

    def write(path: Path) -> None:
        from safetensors.torch import save_file

        from detector.checkpoint import FORMAT, Metadata
        from imaging.preprocess import Preprocess

        text = Metadata(arch="tiny", preprocess=Preprocess(size=64)).to_json()
        save_file(tiny(), path, metadata={FORMAT: header(text)})

    return write


def _torchscript(path: Path) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and its files are still about
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


def _exported(path: Path) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), path)


def _bytes(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


NOT_WEIGHTS, NOT_PLAIN = "not a PyTorch weights file, or cut short", "not plain weights; re-save state_dict()"
CODE = "refused: the file contains code"
DAMAGED_TENSORS, CAN_RUN = "damaged safetensors file", "not supported (can run code)"

MODELS: dict[str, ModelCase] = {
    "empty.pth": ModelCase(67, _bytes(b""), NOT_WEIGHTS),
    "text.pth": ModelCase(67, _bytes(b"epoch 1: loss 0.3\n" * 9), NOT_WEIGHTS),
    "text-e.pth": ModelCase(67, _bytes(b"eeeeeeeeeeeeeeeeeeeeee\n"), NOT_WEIGHTS),
    "cut-zip.pth": ModelCase(67, _cut(_saved(tiny)), NOT_WEIGHTS),
    "cut-legacy.pth": ModelCase(67, _cut(_legacy), NOT_WEIGHTS),
    "other.zip.pth": ModelCase(67, lambda path: path.write_bytes(_zip()), NOT_WEIGHTS),
    **{f"code-{p}.pth": ModelCase(68, _code(p), CODE) for p in range(pickle.HIGHEST_PROTOCOL + 1)},
    "code-system.pth": ModelCase(68, _code(4, os.system), CODE),
    "code-eval.pth": ModelCase(68, _code(2, eval), CODE),
    "code-inst.pth": ModelCase(68, _code_by_inst, CODE),
    "code-of-library.pth": ModelCase(68, _code_of_library, NOT_PLAIN),
    "code-zip.pth": ModelCase(68, _code_torch(), CODE),
    "code-zip-4.pth": ModelCase(68, _code_torch(pickle_protocol=4), CODE),
    "code-legacy.pth": ModelCase(68, _code_torch(_use_new_zipfile_serialization=False), CODE),
    "code-first.pth": ModelCase(68, _code_first, CODE),
    "network.pth": ModelCase(69, _saved(_network), NOT_PLAIN),
    "namespace.pth": ModelCase(69, _saved(_namespace), NOT_PLAIN),
    "numpy-scalar.pth": ModelCase(69, _saved(lambda: {"model": tiny(), "best": np.float64(0.9)}), NOT_PLAIN),
    "resnet18.pth": ModelCase(
        70, _saved(lambda: _zeros("resnet18", 2)), "do not fit resnet50 (first mismatch: layer1.0.conv1.weight"
    ),
    "imagenet.pth": ModelCase(
        70, _saved(lambda: _zeros("resnet50", 1000)), "do not fit resnet50 (first mismatch: fc.weight 1000≠2)"
    ),
    "ddp.pth": ModelCase(71, _saved(lambda: {f"module.{name}": tensor for name, tensor in tiny().items()})),
    "wrapped-model.pth": ModelCase(71, _saved(lambda: {"model": tiny(), "epoch": 3})),
    "wrapped-state.pth": ModelCase(71, _saved(lambda: {"state_dict": tiny(), "arch": "tiny"})),
    "legacy.pth": ModelCase(71, _legacy),
    "nan.pth": ModelCase(72, _saved(_nan), "weights contain NaN"),
    "empty.safetensors": ModelCase(73, _bytes(b""), DAMAGED_TENSORS),
    "cut.safetensors": ModelCase(73, _cut(_checkpoint()), DAMAGED_TENSORS),
    "header.safetensors": ModelCase(73, _bytes(b"\xff" * 8 + b'{"a":' + bytes(40)), DAMAGED_TENSORS),
    "script.pt": ModelCase(74, _torchscript, CAN_RUN),
    "exported.pt2": ModelCase(74, _exported, CAN_RUN),
    "checkpoint.safetensors": ModelCase(76, _checkpoint()),
    "newer.safetensors": ModelCase(
        76,
        _checkpoint(header=lambda text: text.replace('"format_version": 1', '"format_version": 2')),
        "made for format version 2; this program reads version 1",
    ),
    "broken-metadata.safetensors": ModelCase(76, _checkpoint(header=half), "its metadata cannot be read"),
}


def write_models(folder: Path) -> dict[str, Path]:
    """Every model file of MODELS under its name. Takes seconds: it needs torch, and exports a program."""
    paths = {name: Path(folder, name) for name in MODELS}
    for name, path in paths.items():
        MODELS[name].write(path)
    return paths


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
