"""What is appended to a picture, or embedded in it, changes neither its pixels nor its notes nor a refusal."""

import struct
import time

import hostile
import numpy as np
import pytest
from hostile import FORMATS, chunk, encode, exif, noise, scene
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from imaging.door import ImageError, open_image

SCAN, MARKERS = b"\xff\xda", b"\xff\xd8\xff\xda\x00\x2c\xff\xd9"
VIDEO = hostile._ftyp(b"isom", b"avc1") + SCAN * 300 + noise(60_000)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def inside(data: bytes, *segments: bytes) -> bytes:
    """A JPEG with these segments at its beginning."""
    return data[:2] + b"".join(segments) + data[2:]


def mpf(count: int, entries: int, offset: int) -> bytes:
    """The index of an MPO (CIPA DC-007): it claims `count` pictures and lists `entries`, `offset` bytes apart."""
    ifd = 8 + 2 + 3 * 12 + 4
    tags = struct.pack(">HHI4s", 0xB000, 7, 4, b"0100") + struct.pack(">HHII", 0xB001, 4, 1, count)
    tags += struct.pack(">HHII", 0xB002, 7, 16 * entries, ifd)
    listed = b"".join(struct.pack(">IIIHH", 0x020002, 500, offset * place, 0, 0) for place in range(entries))
    return segment(0xE2, b"MPF\0MM\0*" + struct.pack(">IH", 8, 3) + tags + bytes(4) + listed)


def thumbnail() -> bytes:
    """EXIF whose thumbnail is a picture with many scans."""
    head = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0131, 2, 4, 0x616161, 26)
    small = encode(scene(64, 48), "JPEG", progressive=True)
    body = struct.pack("<H", 2) + struct.pack("<HHII", 0x0201, 4, 1, 60) + struct.pack("<HHII", 0x0202, 4, 1, 9_000)
    return segment(0xE1, head + body + bytes(4) + small + SCAN * 4_000)


def xmp(text: str) -> bytes:
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + f"<x:xmpmeta {text}/>".encode())


EXTENDED = b"".join(segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + SCAN * 30_000) for _ in range(9))
GAIN_MAP = encode(scene(24, 16).convert("L"), "JPEG", progressive=True)
HDR = xmp('xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"')
SAMSUNG = b"\0\0\x30\x0aMotionPhoto_Data" + VIDEO + b"SEFH" + struct.pack("<4I", 106, 1, 9, 60_000) + b"SEFT"

DRESSED = {
    "a video behind it": lambda jpeg: jpeg + VIDEO,
    "two megabytes of a video": lambda jpeg: jpeg + noise(2_000_000) + VIDEO,
    "a Samsung trailer": lambda jpeg: jpeg + SAMSUNG,
    "zeros behind it": lambda jpeg: jpeg + bytes(5_000),
    "scans behind it": lambda jpeg: jpeg + SCAN * 5_000,
    "a hundred pictures behind it": lambda jpeg: jpeg + encode(scene(), "JPEG", progressive=True) * 100,
    "a second view": lambda jpeg: inside(jpeg, mpf(2, 2, len(jpeg))) + jpeg,
    "views that are not there": lambda jpeg: inside(jpeg, mpf(7, 2, 10**6)),
    "an index of nothing": lambda jpeg: inside(jpeg, mpf(2, 0, 0)),
    "a gain map": lambda jpeg: inside(jpeg, HDR, mpf(2, 2, len(jpeg))) + GAIN_MAP,
    "a gain map and a video": lambda jpeg: inside(jpeg, HDR, mpf(2, 2, len(jpeg))) + GAIN_MAP + VIDEO,
    "a thumbnail": lambda jpeg: inside(jpeg, thumbnail()),
    "an orientation in XMP only": lambda jpeg: inside(jpeg, xmp('tiff:Orientation="6"')),
    "extended XMP": lambda jpeg: inside(jpeg, EXTENDED),
    "a comment": lambda jpeg: inside(jpeg, segment(0xFE, MARKERS * 8_000)),
    "fill bytes": lambda jpeg: inside(jpeg, b"\xff" * 99).replace(SCAN, b"\xff\xff" + SCAN, 1),
}
JPEGS = {
    "baseline": lambda: encode(scene(), "JPEG"),
    "progressive": lambda: encode(scene(), "JPEG", progressive=True),
    "grey": lambda: encode(scene().convert("L"), "JPEG"),
    "with restarts": lambda: encode(scene(), "JPEG", restart_marker_rows=1),
}


@pytest.mark.parametrize("name", DRESSED)
@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_is_the_same_with(name, kind):
    plain, dressed = open_image(JPEGS[kind]()), open_image(DRESSED[name](JPEGS[kind]()))
    assert np.array_equal(np.asarray(dressed.image), np.asarray(plain.image))
    assert (dressed.format, dressed.notes) == ("JPEG", ())


@pytest.mark.parametrize("trailer", [VIDEO, SCAN * 5_000, b"\0\x2c" * 20_000, hostile._zip(), bytes(3_000), b"\xff"])
@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_behind_a_picture_change_nothing(kind, trailer):
    plain, trailed = open_image(hostile.small(kind)), open_image(hostile.small(kind) + trailer)
    assert np.array_equal(np.asarray(trailed.image), np.asarray(plain.image))
    assert (trailed.format, trailed.notes) == (kind, ())


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF", "AVIF"])
def test_a_second_picture_behind_the_first_is_no_frame(kind):
    assert open_image(hostile.small(kind) * 2).notes == ()
    animated = hostile.IMAGES["pages.tif" if kind == "TIFF" else f"animated.{kind.lower()}"].make()
    assert open_image(hostile.small(kind) + animated).notes == ()
    assert open_image(animated + animated).notes == open_image(animated).notes


def test_a_gif_is_asked_for_its_frames_and_not_for_bytes_that_look_like_some():
    data = hostile.small("GIF")
    comment = b"\x21\xfe" + (b"\xfe" + b"\0\x2c" * 127) * 200 + b"\0"
    assert open_image(data[:-1] + comment + b";").notes == ()
    assert open_image(hostile.gif(3)[:-1] + comment + b";").notes == ("only frame 1 of 3 was looked at",)


def test_a_reduced_copy_of_a_tiff_is_no_second_page():
    reduced = ImageFileDirectory_v2()
    reduced[254] = 1
    copy = scene(48, 32).copy()
    copy.encoderinfo = {"tiffinfo": reduced}
    assert open_image(encode(scene(), "TIFF", save_all=True, append_images=[copy])).notes == ()
    other = encode(scene(), "TIFF", save_all=True, append_images=[scene(48, 32)])
    assert open_image(other).notes == ("only frame 1 of 2 was looked at",)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_an_orientation_in_xmp_only_turns_nothing(kind):
    """Viewers and browsers heed that of EXIF."""
    text = b'<x:xmpmeta tiff:Orientation="6"/>'
    if kind == "PNG":
        data = hostile._with_text(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text))
    elif kind == "TIFF":
        data = encode(scene(), kind, tiffinfo={700: text})
    else:
        data = encode(scene(), kind, xmp=text)
    assert open_image(data).image.size == scene().size
    turned = encode(scene(), "JPEG", exif=exif(6))
    assert open_image(inside(turned, xmp('tiff:Orientation="1"'))).image.size == scene().size[::-1]


# ------------------------------------------------------------------------------------------ what costs


def _progressive() -> tuple[bytes, bytes]:
    """(a good JPEG without its end, its last scan with its table)."""
    data = encode(scene(), "JPEG", progressive=True)
    return data[:-2], data[data.rindex(b"\xff\xc4", 0, data.rindex(SCAN)) : -2]


HOSTILE = {
    "many scans": lambda head, scan: head + scan * 5_000,
    "many scans before the end": lambda head, scan: head + scan * 100 + b"\xff\xd9",
    "fill bytes before each": lambda head, scan: head + scan.replace(SCAN, b"\xff" * 9 + SCAN) * 200,
    "stuffed bytes before each": lambda head, scan: head + (b"\xff\0junk" + scan) * 200,
    "restarts before each": lambda head, scan: head + (b"\xff\xd3\xff\x01" + scan) * 200,
    "an end in a comment before each": lambda head, scan: head + (segment(0xFE, b"\xff\xd9" * 9) + scan) * 200,
    "a comment of length 0 before each": lambda head, scan: head + (b"\xff\xfe\0\0" + scan) * 200,
    "small segments": lambda head, scan: inside(head, b"\xff\xe5\0\2" * 2_400_000),
    "small comments": lambda head, scan: inside(head, b"\xff\xfe\0\2" * 2_400_000),
    "many fill bytes": lambda head, scan: inside(head, b"\xff" * 9_000_000),
    "much between segments": lambda head, scan: inside(head, segment(0xE5, b""), bytes(9_000_000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_costly_jpeg_is_refused_at_once(name):
    data = HOSTILE[name](*_progressive())
    start = time.process_time()
    with pytest.raises(ImageError) as caught:
        open_image(data)
    assert time.process_time() - start < (0.2 if name == "many fill bytes" else 0.05)
    assert caught.value.slug == "damaged-image"


@pytest.mark.parametrize("filler", [b"\xff\0", b"\xff\xd0", b"\xff\xff", b"\0\xff", b"ab"])
def test_a_long_scan_is_passed_over_quickly(filler):
    head, scan = _progressive()
    data = head + filler * 4_500_000 + b"\xff\xd9"
    start = time.process_time()
    assert np.array_equal(np.asarray(open_image(data).image), np.asarray(open_image(head + b"\xff\xd9").image))
    assert time.process_time() - start < 1.5


def test_a_gif_of_small_blocks_is_counted_quickly():
    data = hostile.small("GIF")[:-1] + b"\x21\xfe" + b"\1a" * 4_500_000 + b"\0;"
    start = time.process_time()
    assert open_image(data).notes == ()
    assert time.process_time() - start < 1.5
