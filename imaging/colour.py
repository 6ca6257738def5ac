"""From the colours that a file means to sRGB: what every detector is trained on and every screen expects.

Phones write Display P3, cameras AdobeRGB, editors ProPhoto, printers CMYK: the same numbers are other colours there. A
profile that is sRGB in effect changes no pixel. One that is damaged or of another kind of picture is a note.
"""

import io
import struct
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 4 * 2**20  # those of printing presses have one or two MiB
DAMAGED = "the colour profile is damaged: colours are taken as sRGB"
ON_WHITE = "transparent parts are shown on white"
UNFIT = "the colour profile is of another kind of picture: colours are taken as sRGB"

# Colours that both spaces have stay what they are, those that sRGB has not become the nearest; black becomes black.
# "Perceptual" would move all of them, each profile in its maker's own way.
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}  # mode -> the kind of profile that belongs to it
_SAME = 1  # levels of 255: a profile that moves no colour further is sRGB in effect
_SRGB = ImageCms.createProfile("sRGB")
_FAULTS = (ImageCms.PyCMSError, OSError, ValueError, TypeError, RuntimeError, MemoryError, struct.error)


class _UnfitError(ValueError):
    """The profile is of another kind of picture."""


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, list[str]]:
    """Any mode of 1 to 16 bits per channel to sRGB of mode RGB, with notes on what that took.

    `profile` explains the colours. Without one, or with one that is sRGB in effect, they stay what they are.
    """
    if image.mode == "LAB":  # its colours need no profile to explain them
        lab_to_rgb = ImageCms.buildTransform(
            ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
        )
        return ImageCms.applyTransform(image, lab_to_rgb), []
    notes = []
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)  # 0..65535
        grey, hidden = ((wide + 128) // 257).astype(np.uint8), wide == image.info.get("transparency", -1)
        grey[hidden] = 255
        shown, notes = Image.fromarray(grey), [ON_WHITE] if hidden.any() else []
    elif image.has_transparency_data:
        shown, notes = _on_white(image)
        shown = shown.getchannel(0) if image.mode in ("L", "LA", "La") else shown
    elif image.mode in ("RGB", "L", "CMYK"):
        shown = image.copy()  # it leaves the plug-in's object behind, which still holds EXIF, GPS and text
    else:
        shown, profile = image.convert("RGB"), None if image.mode == "1" else profile
    colours, more = _explained(shown, profile)
    return colours, [*notes, *more]


def _on_white(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Show the picture as a page would: what transparency hides is white, not whatever pixels lie there."""
    shown, opaque = Image.new("RGB", image.size, "white"), True
    for top in range(0, image.height, 512):  # in strips: 50 megapixels of RGBA would be copied three times
        strip = image.crop((0, top, image.width, min(top + 512, image.height))).convert("RGBA")
        opaque &= strip.getchannel("A").getextrema()[0] == 255
        shown.paste(strip, (0, top), strip)
    return shown, [] if opaque else [ON_WHITE]


def _explained(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, list[str]]:
    """An RGB, L or CMYK picture whose colours `profile` explains, as RGB, and notes. The input may change."""
    mode, change, notes = image.mode, None, []
    if profile:
        try:
            mode, change = _change(bytes(profile), mode)
        except _UnfitError:
            notes = [UNFIT]
        except _FAULTS:
            notes = [DAMAGED]
    if change is None:
        return image if image.mode == "RGB" else image.convert("RGB"), notes
    image = image if image.mode == mode else image.convert(mode)
    return ImageCms.applyTransform(image, change, inPlace=mode == "RGB") or image, notes


@lru_cache(maxsize=8)  # a phone writes the same one into all its pictures
def _change(profile: bytes, mode: str) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """(mode to begin with, what turns its colours into sRGB; None: they are). Raises one of _FAULTS or _UnfitError."""
    if len(profile) > MAX_PROFILE_BYTES:
        raise ValueError("too large")
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = opened.profile.xcolor_space
    if mode == "L" and space == _SPACES["RGB"]:  # a picture made grey keeps the profile that it had
        mode = "RGB"
    if space != _SPACES[mode]:
        raise _UnfitError(space)
    change = ImageCms.buildTransform(opened, _SRGB, mode, "RGB", _INTENT, _FLAGS)
    return mode, None if mode != "CMYK" and _moved(change, mode) <= _SAME else change


def _moved(change: ImageCms.ImageCmsTransform, mode: str) -> int:
    """By how many levels of 255 a colour moves at most, of all greys or of a grid of colours."""
    steps = np.linspace(0, 255, 17).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(17, -1, 3)
    before = Image.fromarray(colours if mode == "RGB" else np.arange(256, dtype=np.uint8)[None])
    after = np.asarray(ImageCms.applyTransform(before, change)).astype(int)
    return int(np.abs(after - np.asarray(before.convert("RGB"))).max())


def display_profile(primaries: tuple[float, ...], gamma: float) -> bytes:
    """An ICC profile (version 2) of three primaries, X, Y and Z of red, green and blue under D50, and a power."""

    def fixed(*values: float) -> bytes:
        return b"XYZ " + bytes(4) + struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

    white = (0.9642, 1.0, 0.8249)
    curve = b"curv" + bytes(4) + struct.pack(">IH2x", 1, round(gamma * 256))
    tags = {b"wtpt": fixed(*white)} | {colour + b"TRC": curve for colour in (b"r", b"g", b"b")}
    tags |= {colour + b"XYZ": fixed(*primaries[3 * at : 3 * at + 3]) for at, colour in enumerate((b"r", b"g", b"b"))}
    at, table, bodies = 132 + 12 * len(tags), b"", b""
    for name, body in tags.items():
        table += name + struct.pack(">II", at + len(bodies), len(body))
        bodies += body
    head = struct.pack(">I4xI4s4s4s12x4s28x", at + len(bodies), 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return (head + fixed(*white)[8:]).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + bodies


# A camera that is set to it says so in EXIF and embeds no profile (DCF 2.0). Adobe RGB (1998), annex B.
ADOBE_RGB = display_profile(
    (0.60974, 0.31111, 0.01947, 0.20528, 0.62567, 0.06087, 0.14919, 0.06322, 0.74457), 563 / 256
)
