"""One face in many odd pictures, made by code: what each of them must be answered with.

    python tests/odd_pictures.py        # prints all pictures and what the shipped detector says of them, as Markdown

Two portraits of the samples are dressed, enlarged, turned and multiplied: a genuine one, and one with a swapped face.
Where a person sees the same face, the verdict must be the same.
"""

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import hostile  # noqa: E402
import numpy as np  # noqa: E402
import profiles  # noqa: E402
import test_trailing as phones  # noqa: E402
from hostile import chunk, encode, exif  # noqa: E402
from PIL import Image  # noqa: E402

from detector import Verdict, load  # noqa: E402
from imaging.door import ImageError, Picture, open_image  # noqa: E402

PORTRAITS = {"genuine": "untouched/grace_hopper.jpg", "swapped": "manipulated/swap-astronaut-on-hopper.jpg"}
FACE = (176, 113, 179, 222)  # in both of them: x, y, width, height
SAME = "the same"  # verdict as the portrait's
LIKELY = "the same, if genuine"  # where what gave the swapped face away is gone: colour, or the frame around the face
NOT_FAKE = "not Fake, if genuine"  # the face has too few pixels to show much
NO_FACE = "no face"  # Unsure, without a score
SMALL = "Unsure"  # the face is too small, whatever its score
GROUP = "a group"  # of genuine faces: never Fake; with a swapped one among them: never Real
# Of the score, where the verdict must be the same. Exact copies have the same score, but each re-encoding changes the
# traces that give a swapped face away: of its 0.87 a HEIC in Display P3 takes 0.13, a JPEG of an enlarged copy 0.16.
TOLERANCE = 0.2


@dataclass(frozen=True)
class Odd:
    """One picture. `answer`: one of the words above, or the slug of a refusal."""

    make: Callable[[Image.Image], bytes]
    answer: str = SAME
    exact: bool = False  # the pixels are those of the portrait
    note: str = ""  # part of its one note of the door; none: there must be none


@cache
def portrait(kind: str) -> Image.Image:
    return open_image(ROOT / "samples" / PORTRAITS[kind]).image


# ------------------------------------------------------------------------------------- how it is made


def png(image: Image.Image, **options) -> bytes:
    return encode(image, "PNG", compress_level=1, **options)


def jpeg(image: Image.Image, **options) -> bytes:
    return encode(image, "JPEG", **{"quality": 95, "subsampling": 0} | options)


FAST = {"enc_params": {"preset": "ultrafast"}}  # of the encoder; its usual care takes a second a picture


def heic(image: Image.Image, **options) -> bytes:
    return encode(image, "HEIC", **{"quality": 95, "chroma": 444} | FAST | options)


def scaled(image: Image.Image, factor: float) -> Image.Image:
    size = tuple(round(side * factor) for side in image.size)
    return image.resize(size, Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.BICUBIC)


def face_of(pixels: int) -> Callable[[Image.Image], Image.Image]:
    """The face and a little around it, so large that the face is this many pixels high."""
    x, y, width, height = FACE
    cut = (x - width // 4, y - height // 4, x + width + width // 4, y + height + height // 4)
    return lambda image: scaled(image.crop(cut), pixels / height)


def portrait_of(pixels: int) -> Callable[[Image.Image], Image.Image]:
    """The whole portrait, so large that the face is this many pixels high."""
    return lambda image: scaled(image, pixels / FACE[3])


def close_up(image: Image.Image, pixels: int, size: tuple[int, int]) -> Image.Image:
    """A picture of this size, its middle that of the face, which is this many pixels high."""
    x, y, width, height = FACE
    across, down = (side * height / pixels / 2 for side in size)
    middle = x + width / 2, y + height / 2
    box = (middle[0] - across, middle[1] - down, middle[0] + across, middle[1] + down)
    return image.resize(size, Image.Resampling.BICUBIC, box=box)


def on_canvas(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    canvas = Image.new("RGB", size, (96, 104, 112))
    canvas.paste(image, tuple((whole - part) // 2 for whole, part in zip(size, image.size, strict=True)))
    return canvas


def turned(orientation: int, write: Callable[..., bytes]) -> Callable[[Image.Image], bytes]:
    """Stored as a phone stores it that was held another way: EXIF says how to turn it upright."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's numbers of transpositions that undo the door's

    def make(image: Image.Image) -> bytes:
        stored = image if orientation == 1 else image.transpose(undo[orientation])
        return write(stored, exif=exif(orientation))

    return make


def wide(image: Image.Image, *, grey: bool = False) -> bytes:
    """A PNG of 16 bits a channel."""
    levels = np.asarray(image.convert("L") if grey else image).astype(np.uint16) * 257
    rows = hostile.pixels(levels.reshape(image.height, -1).astype(">u2"))
    return hostile.png(*image.size, rows, depth=16, colour=0 if grey else 2)


def in_space(name: str, write: Callable[..., bytes]) -> Callable[[Image.Image], bytes]:
    def make(image: Image.Image) -> bytes:
        stored = Image.fromarray(profiles.stored_in(np.asarray(image), name))
        return write(stored, icc_profile=profiles.profile(name))

    return make


def adobe_camera(image: Image.Image) -> bytes:
    tags = Image.Exif()
    tags[0x8769] = {0xA001: 0xFFFF, 0xA005: {1: "R03"}}
    return jpeg(Image.fromarray(profiles.stored_in(np.asarray(image), "AdobeRGB")), exif=tags)


def lab(image: Image.Image) -> bytes:
    from PIL import ImageCms

    spaces = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    return encode(ImageCms.applyTransform(image, ImageCms.buildTransform(*spaces, "RGB", "LAB")), "TIFF")


def inks(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    """CMYK; Pillow writes the Adobe marker and inverts, as Photoshop does."""
    return encode(image.convert("CMYK"), kind, **options)


def seethrough(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    """Its upper and lower edge are transparent, and red lies beneath."""
    layered = image.convert("RGBA")
    for box in ((0, 0, image.width, 20), (0, image.height - 20, image.width, image.height)):
        layered.paste((255, 0, 0, 0), box)
    return encode(layered, kind, **options)


def dressed(name: str) -> Odd:
    return Odd(lambda image: phones.DRESSED[name](jpeg(image)))


def several(write: Callable[..., bytes] = encode, *kind: str, **options) -> Callable[[Image.Image], bytes]:
    """An animation whose first frame is the portrait."""

    def make(image: Image.Image) -> bytes:
        others = [image.transpose(Image.Transpose.ROTATE_180), image.convert("L").convert("RGB")]
        return write(image, *kind, save_all=True, append_images=others, **options)

    return make


def group(count: int, *, swapped: int = 0, side: int = 260) -> Callable[[Image.Image], bytes]:
    """`count` people, each in a square of their own; the first `swapped` of them have a swapped face."""

    def make(_image: Image.Image) -> bytes:
        columns = int(np.ceil(np.sqrt(count * 1.5)))
        rows = -(-count // columns)
        picture = Image.new("RGB", (columns * side, rows * side), (96, 104, 112))
        for place in range(count):
            who = portrait("swapped" if place < swapped else "genuine")
            x, y, width, height = FACE
            head = who.crop((x - 90, y - 80, x + width + 90, y + height + 57)).resize((side, side), 3)
            picture.paste(head, (place % columns * side, place // columns * side))
        return jpeg(picture)

    return make


def without_face(size: tuple[int, int], colour: str = "white") -> Callable[[Image.Image], bytes]:
    return lambda _image: png(Image.new("RGB", size, colour))


def rocket(_image: Image.Image) -> bytes:
    return (ROOT / "samples/no-face/rocket.jpg").read_bytes()


def blank(make: Callable[[], bytes]) -> Callable[[Image.Image], bytes]:
    return lambda _image: make()


# --------------------------------------------------------------------------------------------- the table

PICTURES: dict[str, Odd] = {
    # kinds of files
    "PNG": Odd(png, exact=True),
    "PNG, 16 bits a channel": Odd(wide, exact=True, note="8 bits"),
    "PNG with an opaque alpha channel": Odd(lambda image: png(image.convert("RGBA")), exact=True),
    "PNG with a second picture behind it": Odd(lambda image: png(image) + png(image), exact=True),
    "PNG with chunks that nobody knows": Odd(
        lambda image: (data := png(image))[:33] + chunk(b"abCd", bytes(999)) * 9 + data[33:], exact=True
    ),
    "PNG, animated": Odd(several(encode, "PNG"), exact=True, note="frame 1 of 3"),
    "BMP": Odd(lambda image: encode(image, "BMP"), exact=True),
    "TIFF": Odd(lambda image: encode(image, "TIFF"), exact=True),
    "TIFF, LZW": Odd(lambda image: encode(image, "TIFF", compression="tiff_lzw"), exact=True),
    "TIFF, deflate": Odd(lambda image: encode(image, "TIFF", compression="tiff_adobe_deflate"), exact=True),
    "TIFF of three pages": Odd(several(encode, "TIFF"), exact=True, note="frame 1 of 3"),
    "TIFF, CIELab": Odd(lab),
    "WebP, lossless": Odd(lambda image: encode(image, "WEBP", lossless=True, method=0), exact=True),
    "WebP, quality 95": Odd(lambda image: encode(image, "WEBP", quality=95, method=0)),
    "WebP, animated": Odd(several(encode, "WEBP", quality=95, method=0), note="frame 1 of 3"),
    "AVIF": Odd(lambda image: encode(image, "AVIF", quality=95, subsampling="4:4:4", speed=10)),
    "HEIC": Odd(heic),
    "HEIC, 4:2:0": Odd(lambda image: heic(image, chroma=420)),
    "HEIC, a grid of tiles": Odd(lambda image: heic(image, tile_size=256)),
    "HEIC with a video behind it": Odd(lambda image: heic(image) + phones.VIDEO),
    "HEIC of three pictures": Odd(several(heic, primary_index=0), note="main picture of 3"),
    "HEIC with alpha": Odd(lambda image: seethrough(image, "HEIC", quality=95, **FAST), note="on white"),
    "GIF": Odd(lambda image: encode(image.quantize(256), "GIF"), LIKELY),
    "GIF of three frames": Odd(several(encode, "GIF"), LIKELY, note="frame 1 of 3"),
    "a palette of 256 colours": Odd(lambda image: png(image.quantize(256)), LIKELY),
    "a palette with a transparent border": Odd(
        lambda image: encode(Image.open(io.BytesIO(seethrough(image))).quantize(255), "PNG"), LIKELY, note="on white"
    ),
    "transparent border": Odd(seethrough, note="on white"),
    "transparent border, WebP": Odd(
        lambda image: seethrough(image, "WEBP", lossless=True, exact=True, method=0), note="on white"
    ),
    "grey": Odd(lambda image: png(image.convert("L")), LIKELY),
    "grey, 16 bits": Odd(lambda image: wide(image, grey=True), LIKELY, note="8 bits"),
    "grey, JPEG": Odd(lambda image: jpeg(image.convert("L")), LIKELY),
    # kinds of JPEG, and what phones append to it and embed in it
    "JPEG": Odd(jpeg),
    "JPEG, progressive": Odd(lambda image: jpeg(image, progressive=True)),
    "JPEG, 4:2:0": Odd(lambda image: jpeg(image, subsampling=2)),
    "JPEG with restart markers": Odd(lambda image: jpeg(image, restart_marker_rows=1)),
    "JPEG named .png, with PHP behind it": Odd(lambda image: jpeg(image) + hostile.PHP),
    "JPEG, CMYK with Adobe's marker": Odd(lambda image: inks(image, quality=95, subsampling=0)),
    "TIFF, CMYK": Odd(lambda image: inks(image, "TIFF")),
    **{f"JPEG with {name}": dressed(name) for name in phones.DRESSED},
    # turned
    **{f"JPEG, orientation {number}": Odd(turned(number, jpeg)) for number in range(1, 9)},
    **{f"PNG, orientation {number}": Odd(turned(number, png), exact=True) for number in (3, 6, 8)},
    "TIFF, orientation 6": Odd(turned(6, lambda image, **o: encode(image, "TIFF", **o)), exact=True),
    "HEIC, orientation 6": Odd(turned(6, heic)),
    "AVIF, orientation 8": Odd(
        turned(8, lambda image, **o: encode(image, "AVIF", quality=95, subsampling="4:4:4", speed=10, **o))
    ),
    # colours
    "Display P3": Odd(in_space("P3", png)),
    "Display P3, JPEG": Odd(in_space("P3", jpeg)),
    "Display P3, HEIC": Odd(in_space("P3", heic)),
    "AdobeRGB": Odd(in_space("AdobeRGB", png)),
    "AdobeRGB, JPEG": Odd(in_space("AdobeRGB", jpeg)),
    "AdobeRGB, said in EXIF only": Odd(adobe_camera),
    "ProPhoto": Odd(in_space("ProPhoto", png)),
    "sRGB, with its profile": Odd(in_space("sRGB", png), exact=True),
    "a damaged profile": Odd(lambda image: png(image, icc_profile=hostile.noise(900)), exact=True, note="damaged"),
    # sizes of the face and of the picture
    "a face of 20 px": Odd(lambda image: png(portrait_of(20)(image)), SMALL),
    "a face of 35 px": Odd(lambda image: png(portrait_of(35)(image)), SMALL),
    "a face of 60 px": Odd(lambda image: png(portrait_of(60)(image)), NOT_FAKE),
    "a face of 80 px": Odd(lambda image: png(portrait_of(80)(image)), NOT_FAKE),
    "a face of 120 px": Odd(lambda image: png(portrait_of(120)(image)), NOT_FAKE),
    "a face of 160 px": Odd(lambda image: png(portrait_of(160)(image))),
    "a face of 440 px": Odd(lambda image: png(portrait_of(440)(image))),
    "a face of 1,000 px": Odd(lambda image: jpeg(portrait_of(1_000)(image))),
    "a face of 440 px, cut out": Odd(lambda image: png(face_of(440)(image)), LIKELY),
    "a face of 2,900 px in 21 megapixels": Odd(lambda image: jpeg(close_up(image, 2_900, (4_000, 5_333))), LIKELY),
    "a face of 5,000 px": Odd(lambda image: jpeg(close_up(image, 5_000, (6_000, 6_800)), quality=85), LIKELY),
    "a face of 2,000 px in 20,000 x 2,450": Odd(
        lambda image: jpeg(on_canvas(close_up(image, 2_000, (2_400, 2_450)), (20_000, 2_450)), quality=85), LIKELY
    ),
    "12 megapixels": Odd(lambda image: jpeg(on_canvas(scaled(image, 4), (4_000, 3_000)))),
    "12 megapixels in Display P3": Odd(
        in_space("P3", lambda image, **o: jpeg(on_canvas(scaled(image, 4), (4_000, 3_000)), **o))
    ),
    "a face of 20 px in 20,000 x 1,000": Odd(
        lambda image: jpeg(on_canvas(face_of(20)(image), (20_000, 1_000))), NO_FACE
    ),
    # faces by number
    "no face: a rocket": Odd(rocket, NO_FACE),
    "no face: white, 32 px": Odd(without_face((32, 32)), NO_FACE),
    "no face: white, 300 px": Odd(without_face((300, 300)), NO_FACE),
    "no face: black, 1,000 px": Odd(without_face((1_000, 1_000), "black"), NO_FACE),
    **{f"{count} faces": Odd(group(count), GROUP) for count in (2, 4, 8, 16)},
    "30 faces": Odd(group(30, side=180), GROUP),
    "30 faces, one of them swapped": Odd(group(30, swapped=1, side=180), GROUP),
    "4 faces, one of them swapped": Odd(group(4, swapped=1), GROUP),
    # refused
    "nothing": Odd(blank(bytes), "empty-file"),
    "1 x 1 px": Odd(lambda image: png(image.resize((1, 1))), "too-small"),
    "31 x 40 px": Odd(lambda image: png(image.resize((31, 40))), "too-small"),
    "1 x 20,000 px": Odd(lambda image: png(image.resize((1, 20_000))), "too-small"),
    "400 x 9,000 px": Odd(lambda image: png(image.resize((400, 9_000))), "bad-aspect"),
    "20,000 x 20,000 px": Odd(blank(lambda: hostile._flat_png(20_000)), "too-many-pixels"),
    "HEIC that claims 60,000 x 60,000": Odd(blank(hostile.IMAGES["bomb-header.heic"].make), "too-many-pixels"),
    "HEIC of too large tiles": Odd(blank(hostile.IMAGES["bomb-tiles.heic"].make), "too-many-pixels"),
    "half a JPEG": Odd(lambda image: hostile.half(jpeg(image)), "damaged-image"),
    "half a HEIC": Odd(lambda image: hostile.half(heic(image)), "damaged-image"),
    "a JPEG of 5,000 scans": Odd(lambda image: phones.HOSTILE["many scans"](*phones._progressive()), "damaged-image"),
    "32-bit TIFF": Odd(lambda image: encode(image.convert("F"), "TIFF"), "unsupported-mode"),
    "an SVG": Odd(blank(lambda: hostile.SVG), "unsupported-type"),
    "a PDF named .jpg": Odd(blank(lambda: hostile.PDF), "unsupported-type"),
    "a video named .jpg": Odd(blank(lambda: phones.VIDEO), "unsupported-type"),
    "12 MB": Odd(lambda image: png(image) + bytes(12_000_000), "too-large"),
}


# ----------------------------------------------------------------------------------- what is said of them


class Judge:
    """The shipped detector. What has the same pixels is judged once."""

    def __init__(self) -> None:
        self.detector = load(ROOT / "models/default.onnx")
        self.known: dict[bytes, Verdict] = {}

    def __call__(self, picture: Picture) -> Verdict:
        key = sha256(repr(picture.image.size).encode() + picture.image.tobytes()).digest()
        if key not in self.known:
            self.known[key] = self.detector.judge(picture)
        return self.known[key]


def look(odd: Odd, kind: str, judge: Judge) -> tuple[Picture | ImageError, Verdict | None]:
    """(the opened picture, its verdict), or (the refusal, None)."""
    try:
        picture = open_image(odd.make(portrait(kind)))
    except ImageError as error:
        return error, None
    return picture, judge(picture)


def shows(odd: Odd) -> tuple[str, ...]:
    """The portraits that a picture is made of; one is enough where it shows none or brings its own."""
    return tuple(PORTRAITS) if odd.answer in (SAME, LIKELY, NOT_FAKE, SMALL) else ("genuine",)


def table() -> Iterator[str]:
    judge = Judge()
    yield "| picture | pixels | must be | genuine face | swapped face | notes |"
    yield "|---|---|---|---|---|---|"
    for name, odd in PICTURES.items():
        said, size, notes = {}, "", []
        for kind in shows(odd):
            picture, verdict = look(odd, kind, judge)
            if verdict is None:
                said[kind] = f"{picture.slug}: {picture.detail}"
                continue
            size = "{}x{}".format(*picture.image.size)
            score = "" if verdict.score is None else f" {verdict.score:.3f}"
            said[kind] = verdict.verdict + score
            notes = [*picture.notes, *(note for note in verdict.notes if note not in picture.notes)]
        cells = [name, size, odd.answer, said["genuine"], said.get("swapped", ""), "; ".join(notes)]
        yield "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
