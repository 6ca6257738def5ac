"""The one door for images: bytes or a path in, an upright 8-bit sRGB picture out, or an ImageError.

Every part of the project that reads an image reads it here: the loader, the command line,
evaluation and the server. So an image that one of them accepts, all of them accept, and they see
the same pixels.

    picture = open_image("photo.jpg")        # Picture(image=<RGB, upright>, format="JPEG", notes=())
    picture = open_image(request_bytes)      # the same from bytes

The kind of a file is decided by its first bytes, never by its name. Colours are those that its
profile says. Nothing is written, nothing in a file runs.
"""

import io
import logging
import os
import struct
import warnings
import zlib
from dataclasses import dataclass

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from imaging.boxes import BoxError, heif_pixels
from imaging.colour import ADOBE_RGB, to_srgb
from imaging.kinds import LFS, RAW, READ, sniff
from imaging.marks import gif_frames, jpeg_scans

DOOR_VERSION = 3  # raise it when the pixels or the answer for any file change: it keys stored indexes

MAX_BYTES = 10 * 2**20
MAX_PIXELS = 50_000_000
MIN_SIDE = 32  # pixels
MAX_ASPECT = 20  # long side / short side
MAX_JPEG_SCANS = 100
MAX_SCANNED_PIXELS = 1_000_000_000  # pixels times scans of a JPEG; decoding them takes about a second
MAX_HEIC_PIXELS = 3 * MAX_PIXELS  # of all tiles and of transparency; an honest grid has twice its picture's, at most
MAX_GIF_FRAMES = 10_000
MAX_TIFF_PAGES = 1_000

ACCEPTED = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC"

# Pillow refuses at twice this number, inside its plug-ins too, where only a header has been read.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
# Pillow warns about odd metadata; the pictures are fine, and a warning is no answer for people.
# Set once, here: warnings.catch_warnings is not safe between threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# What decoders raise on damaged or hostile bytes.
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError,
    AssertionError, EOFError, struct.error, zlib.error,
)  # fmt: skip

_UPRIGHT = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


_XMP = ("xmp", "XML:com.adobe.xmp")  # under these names Pillow keeps it


class ImageError(ValueError):
    """An image that cannot be judged: `slug` for programs, `detail` (also str(error)) for people."""

    def __init__(self, slug: str, detail: str):
        super().__init__(detail)
        self.slug = slug
        self.detail = detail

    @classmethod
    def of_fault(cls, error: Exception) -> "ImageError":
        """Of anything else that went wrong with one picture: it is that picture's answer, and not the end of a run."""
        logging.getLogger(__name__).debug("a picture could not be judged", exc_info=error)
        return cls("not-judged", f"could not be judged (an internal fault: {type(error).__name__})")

    def __reduce__(self):  # both arguments survive the trip back from a loader's worker process
        return type(self), (self.slug, self.detail)


@dataclass(frozen=True)
class Picture:
    """An opened image: `image` is upright 8-bit RGB; `notes` say what was done to get there."""

    image: Image.Image
    format: str  # JPEG, PNG, WEBP, ...
    notes: tuple[str, ...] = ()


def open_image(source: bytes | str | os.PathLike, *, max_bytes: int = MAX_BYTES) -> Picture:
    """Open an image from its bytes or its path.

    Raises ImageError with one of the slugs no-such-file, permission-denied, unreadable-file, empty-file,
    too-large, unsupported-type, damaged-image, too-many-pixels, too-small, bad-aspect, unsupported-mode.
    """
    data = source if isinstance(source, bytes) else read_bytes(source, max_bytes=max_bytes)
    if not data:
        raise ImageError("empty-file", "the file is empty (0 bytes)")
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    kind = sniff(data)
    if kind not in READ:
        raise _unsupported(kind)
    _check_container(kind, data)
    scans = _count_scans(data) if kind == "JPEG" else 1
    try:
        with _header(kind, data) as opened:
            if kind == "TIFF" and _is_auxiliary(opened):  # the small copy with which a raw file begins
                raise _unsupported(RAW)
            _check_shape(*opened.size)
            _check_work(*opened.size, scans)
            notes = [*_frame_notes(opened, data), *_depth_notes(opened, kind, data)]
            for name in _XMP:  # Pillow would take an orientation out of it; viewers heed that of EXIF
                opened.info.pop(name, None)
            opened.load()
            exif = _exif(opened)
            if opened.mode in ("F", "I"):
                said = f"{opened.mode} (32-bit) images are not supported; save it with 8 bits"
                raise ImageError("unsupported-mode", said)
            image, more = to_srgb(_upright(opened, exif), _profile(opened, exif))
            image.info = {}
            return Picture(image, kind, (*notes, *more))
    except Image.DecompressionBombError as error:
        raise _too_many_pixels() from error
    except (Image.UnidentifiedImageError, SyntaxError) as error:
        # The first bytes are right and yet no header follows: nothing but a stub, or an image cut short.
        raise (_unsupported(None) if len(data) < 64 else _damaged()) from error
    except ImageError:
        raise
    except (*_DECODER_ERRORS, MemoryError) as error:
        raise _damaged() from error


def _header(kind: str, data: bytes) -> Image.Image:
    """The picture, its pixels not yet decoded. Raises whatever Pillow raises."""
    if kind == "JPEG":  # Image.open would look for further views behind the picture, and stumble over their index
        return JpegImageFile(io.BytesIO(data))
    if kind == "HEIC":
        return _heif_plugin().HeifImageFile(io.BytesIO(data))
    return Image.open(io.BytesIO(data), formats=(kind,))


def read_bytes(path: str | os.PathLike, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a file of at most `max_bytes`, or raise ImageError. Pipes and devices are read to the limit only."""
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            fits = os.fstat(file.fileno()).st_size <= max_bytes
            data = file.read(max_bytes + 1) if fits else b""
    except FileNotFoundError:
        raise ImageError("no-such-file", "no such file") from None
    except PermissionError:
        raise ImageError("permission-denied", "permission denied") from None
    except IsADirectoryError:
        raise ImageError("unreadable-file", "is a directory") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError("unreadable-file", f"cannot be read ({reason})") from None
    if not fits or len(data) > max_bytes:
        raise _too_large(max_bytes)
    return data


def _open_without_waiting(path, flags: int) -> int:
    """A named pipe that nobody writes to is empty; opening it the usual way would wait for ever."""
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    os.set_blocking(handle, True)
    return handle


def _heif_plugin():
    """Pillow's plug-in for HEIC, or the error that says what to do. It is imported for the first such picture."""
    try:
        import pillow_heif
    except ImportError:
        known = ACCEPTED.replace(", AVIF or HEIC", " or AVIF")
        raise ImageError(
            "unsupported-type", f"not a {known} image (it looks like HEIC: save as JPEG or pip install pillow-heif)"
        ) from None
    options = pillow_heif.options
    options.DECODE_THREADS = 1  # as every other decoder here: who opens many pictures opens them side by side
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    return pillow_heif


def _check_heif(data: bytes) -> None:
    """libheif decodes no item that is larger than the file says, but as many of them as the file names."""
    try:
        count = heif_pixels(data)
    except BoxError as error:
        raise _damaged() from error
    if count is None:
        raise _unsupported("a HEIC without a still picture")
    if count > MAX_HEIC_PIXELS:
        raise _too_many_pixels()


def _check_container(kind: str, data: bytes) -> None:
    """What must be known before Pillow opens the file, because opening already costs, or Pillow does not look."""
    if kind == "PNG":
        _check_png(data)
    elif kind == "WEBP":
        width, height = _webp_size(data)
        if width * height > MAX_PIXELS:  # libwebp allocates the whole canvas twice on opening
            raise _too_many_pixels()
        if len(data) < int.from_bytes(data[4:8], "little") + 8:
            raise _damaged()
    elif kind == "HEIC":
        _heif_plugin()  # where there is none, nothing more is to be said
        _check_heif(data)


def _check_png(data: bytes) -> None:
    """The declared size and each chunk's checksum (Pillow skips those of the pixel data)."""
    if len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        if width * height > MAX_PIXELS:
            raise _too_many_pixels()
        if width == 0 or height == 0:
            raise _unsupported(None)
    at, kind, view = 8, b"", memoryview(data)
    while at + 8 <= len(data) and kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 8 + length
        if end + 4 > len(data):
            # A stub of a header is no image at all; a long one is an image cut short.
            raise _unsupported(None) if len(data) < 33 else _damaged()
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise _damaged()
        at = end + 4


def _webp_size(data: bytes) -> tuple[int, int]:
    """The canvas a WebP header asks for, (0, 0) where there is none. Layout: RFC 9649, sections 2.5 to 2.7."""
    head = data[12:30].ljust(18, b"\0")
    if head[:4] == b"VP8X":
        return int.from_bytes(head[12:15], "little") + 1, int.from_bytes(head[15:18], "little") + 1
    if head[:4] == b"VP8L":
        bits = int.from_bytes(head[9:13], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if head[:4] == b"VP8 ":
        return int.from_bytes(head[14:16], "little") & 0x3FFF, int.from_bytes(head[16:18], "little") & 0x3FFF
    return 0, 0


def _check_shape(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_many_pixels()
    if min(width, height) < MIN_SIDE:
        raise ImageError("too-small", f"too small: {width}x{height} pixels; at least {MIN_SIDE}x{MIN_SIDE} are needed")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            "bad-aspect", f"too narrow: {width}x{height} pixels; one side may be at most {MAX_ASPECT} times the other"
        )


def _count_scans(data: bytes) -> int:
    """A progressive JPEG is decoded scan by scan: an ordinary one has about ten, a hostile one as many as fit."""
    scans = jpeg_scans(data, most=MAX_JPEG_SCANS)
    if scans is None or scans > MAX_JPEG_SCANS:
        many = "too many segments" if scans is None else f"more than {MAX_JPEG_SCANS} scans"
        raise ImageError("damaged-image", f"damaged: a JPEG of {many}")
    return scans


def _check_work(width: int, height: int, scans: int) -> None:
    if scans * width * height > MAX_SCANNED_PIXELS:
        raise ImageError("damaged-image", f"damaged: a JPEG of {scans} scans of {width}x{height} pixels")


def _frame_notes(image: Image.Image, data: bytes) -> list[str]:
    """Says so when only the first of several frames is looked at."""
    if image.format == "HEIF":
        count = _heif_pictures(image)
        return [f"only the main picture of {count} was looked at"] if count > 1 else []
    if image.format == "TIFF":
        count = _tiff_pages(image)
    elif image.format == "GIF":  # Pillow's own count looks at every frame
        frames = gif_frames(data, most=MAX_GIF_FRAMES)
        count = str(frames) if frames <= MAX_GIF_FRAMES else f"more than {MAX_GIF_FRAMES}"
    else:
        count = str(getattr(image, "n_frames", 1))
    return [] if count in ("0", "1") else [f"only frame 1 of {count} was looked at"]


def _heif_pictures(image: Image.Image) -> int:
    """The number of pictures. A second view of one moment and another rendering of it (ISO 23008-12) are no others."""
    main, same = image.tell(), {image.tell()}
    for group in image.info.get("entity_groups", ()):
        if group["type"] in ("ster", "altr") and main in group["images"]:
            same.update(place for place in group["images"] if place is not None)
    return image.n_frames - len(same) + 1


def _tiff_pages(image: Image.Image) -> str:
    """The number of pages, counted to a limit: Pillow's own count takes time quadratic in them."""
    at = pages = 1
    try:
        while at <= MAX_TIFF_PAGES:
            image.seek(at)
            at += 1
            pages += not _is_auxiliary(image)
    except (*_DECODER_ERRORS, Image.DecompressionBombError):
        pass  # EOFError at the end; anything else is a damaged later page, which nobody asked for
    image.seek(0)
    return str(pages) if at <= MAX_TIFF_PAGES else f"more than {MAX_TIFF_PAGES}"


def _is_auxiliary(page: Image.Image) -> bool:
    """Whether a page of a TIFF is a reduced copy or a mask of another one (TIFF 6.0, NewSubfileType)."""
    kind = page.tag_v2.get(254, 0)
    return isinstance(kind, int) and bool(kind & 0b101)


def _depth_notes(image: Image.Image, kind: str, data: bytes) -> list[str]:
    """Pillow drops the low bits of deep colour images on loading; of 16-bit grey ones `to_srgb` does."""
    deep_png = kind == "PNG" and data[24] == 16
    deep_tiff = kind == "TIFF" and any(";16" in str(tile[3]) for tile in image.tile)
    deep = deep_png or deep_tiff or image.mode.startswith("I;16") or image.info.get("bit_depth", 8) > 8
    return ["reduced to 8 bits per channel"] if deep else []


def _exif(image: Image.Image) -> Image.Exif:
    """What EXIF says; empty where it cannot be read: the pixels are still good."""
    bare = Image.Image()  # a plug-in's own object may have read its metadata on opening, XMP among it
    bare.info = {name: value for name, value in image.info.items() if name not in _XMP}
    try:
        return bare.getexif()
    except _DECODER_ERRORS:
        return Image.Exif()


def _upright(image: Image.Image, exif: Image.Exif) -> Image.Image:
    """Turn the picture as its EXIF orientation says. (Pillow does it itself for TIFF, on loading.)"""
    orientation = exif.get(0x0112)
    operation = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if operation is None else image.transpose(operation)


def _profile(image: Image.Image, exif: Image.Exif) -> bytes | None:
    """What explains the colours: the embedded profile, or a camera's word in EXIF that they are Adobe RGB."""
    if image.info.get("icc_profile"):
        return image.info["icc_profile"]
    try:
        return ADOBE_RGB if exif.get_ifd(0xA005).get(1) == "R03" else None
    except _DECODER_ERRORS:
        return None


def _unsupported(kind: str | None) -> ImageError:
    looks = f" (it looks like {kind})" if kind else ""
    if kind == LFS:
        looks = " (it is a Git LFS pointer: `git lfs pull` fetches the picture)"
    return ImageError("unsupported-type", f"not a {ACCEPTED} image{looks}")


def _damaged() -> ImageError:
    return ImageError("damaged-image", "damaged or cut short")


def _too_large(max_bytes: int) -> ImageError:
    return ImageError("too-large", f"larger than {max_bytes / 2**20:g} MiB")


def _too_many_pixels() -> ImageError:
    return ImageError("too-many-pixels", f"more than {MAX_PIXELS // 1_000_000} megapixels")
