"""What a JPEG or a GIF holds, read from its own marks: how many scans, how many frames. No pixel is decoded.

Both stop at the end of the picture. What follows it (the video of a motion photo, the second view of an MPO, a gain
map, a maker's trailer) or lies embedded in it (thumbnails, XMP, comments) is not looked at, whatever its bytes are.
"""

import re

MAX_JPEG_SEGMENTS = 10_000  # one of 10 MiB in full segments has 160
MAX_JPEG_LOOSE = 64 * 2**10  # bytes of filling between segments; decoders pass over them one by one

# A marker that means something wherever it stands. Within a scan a byte FF of the pixels is followed by 00, restart
# markers are FF D0 to FF D7, any number of FF may fill the space before a marker, and the rest is not defined.
_JPEG_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA


def jpeg_scans(data: bytes, *, most: int) -> int | None:
    """The number of scans that a decoder would read for the picture that begins at byte 0, counted to `most` + 1.

    None: there are so many segments, or so much between them, that reading its header alone would take seconds.
    """
    at, scans, segments, loose, components, progressive = 2, 0, 0, 0, 0, False
    while scans <= most and (found := _JPEG_MARKER.search(data, at)):
        marker, segments = data[found.end() - 1], segments + 1
        if not scans:
            loose += found.start() - at
        if segments > MAX_JPEG_SEGMENTS or loose > MAX_JPEG_LOOSE:
            return None
        at = found.end()
        if marker == _EOI:
            break
        if marker == _SOI:
            continue
        body = data[at + 2 : at + 10]
        at += max(int.from_bytes(data[at : at + 2], "big"), 2)
        if marker in _SOF and len(body) > 5:
            components, progressive = body[5], marker & 3 == 2
        elif marker == _SOS:
            scans += 1
            if not progressive and body and body[0] >= components:
                break  # all of the picture is in this scan, and a decoder stops behind it
    return scans


def gif_frames(data: bytes, *, most: int) -> int:
    """The number of frames of a GIF, counted to `most` + 1. Where a block is damaged the count ends."""
    frames = 0
    try:
        at = 13 + _gif_colours(data[10])
        while frames <= most:
            block = data[at]
            if block == 0x2C:  # an image: where it lies, perhaps colours, one byte, its pixels
                frames += 1
                at += 11 + _gif_colours(data[at + 9])
            elif block == 0x21:  # an extension
                at += 2
            else:
                break  # 3B: the end
            while length := data[at]:
                at += length + 1
            at += 1
    except IndexError:
        pass  # cut short
    return frames


def _gif_colours(flags: int) -> int:
    """Bytes of the table of colours that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
