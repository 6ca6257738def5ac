"""What a file is, by its first bytes: the content decides, never the name."""

from pathlib import PurePath

HEAD = 1024  # bytes that are enough to tell

LFS, RAW = "a Git LFS pointer", "a camera's raw file"
# First bytes -> what the file looks like. Kinds that are accepted carry Pillow's name for them.
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"%PDF", "PDF"),
    (b"PK\3\4", "ZIP"),
    (b"PK\5\6", "ZIP"),
    (b"%!PS", "EPS/PostScript"),
    (b"\xc5\xd0\xd3\xc6", "EPS/PostScript"),
    (b"8BPS", "PSD"),
    (b"DDS ", "DDS"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"qoif", "QOI"),
    (b"SIMPLE  =", "FITS"),
    (b"\x1a\x45\xdf\xa3", "video"),
    (b"FLV\1", "video"),
    (b"version https://git-lfs.github.com/spec/", LFS),
)
READ = frozenset(("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIC"))  # kinds that are accepted
# Pictures too, though not of a kind that is read here: nobody should think that they were judged.
UNREAD = frozenset(("PSD", "ICO", "DDS", "JPEG 2000", "JPEG XL", "QOI", "FITS", "SVG", RAW))
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # bytes; "BM" alone begins many a text

# What a page's file chooser offers; of files on a disk the content decides.
EXTENSIONS = frozenset((".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".mpo"))
# Files called so are meant to be pictures: if one is none, it is damaged, and its owner should know.
_CALLED = EXTENSIONS | {".jfif", ".jpe", ".pjpeg", ".pjp", ".jpg_large", ".heic", ".heif", ".hif", ".jxl", ".jp2"}


def sniff(data: bytes) -> str | None:
    """What the first bytes say: a kind of READ or UNREAD, another kind by name, or None."""
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind
    if data[:4] in (b"II*\0", b"MM\0*"):
        return RAW if data[8:10] == b"CR" else "TIFF"
    if data[:4] == b"RIFF":
        return {b"WEBP": "WEBP", b"AVI ": "video"}.get(data[8:12])
    if data[4:8] == b"ftyp":
        return _sniff_ftyp(data)
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if data[:4] == b"\0\0\1\0" and data[4:6] != b"\0\0" and data[9:10] == b"\0":
        return "ICO"
    return _sniff_text(data[:HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower())


def _sniff_text(text: bytes) -> str | None:
    """Of what begins like a document of marks, whether it is a drawing or a page: whichever says so first."""
    if not text.startswith(b"<"):
        return None
    marks = ((b"<svg", "SVG"), (b"<!doctype html", "HTML"), (b"<html", "HTML"), (b"<script", "HTML"))
    found = [(text.index(mark), kind) for mark, kind in marks if mark in text]
    return min(found)[1] if found else None


def _sniff_ftyp(data: bytes) -> str:
    """AVIF, HEIC and MP4 share one container; the brands in its first box tell them apart."""
    length = min(max(int.from_bytes(data[:4], "big"), 16), 256)
    brands = {data[8:12], *(data[i : i + 4] for i in range(16, length, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if b"crx " in brands:
        return RAW
    if brands & {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}:
        return "HEIC"
    return "video"


def called_a_picture(path: PurePath) -> bool:
    """Whether a file is named like a picture, in any case, also as browsers name what they save (photo.jpg?x=1)."""
    ending = path.suffix.lower().strip()
    return ending.split("?")[0] in _CALLED
