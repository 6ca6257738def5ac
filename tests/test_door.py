"""The image door: each bad image gets its answer, each odd one the right pixels, and none of them costs much."""

import builtins
import json
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import hostile
import numpy as np
import pytest
from hostile import FORMATS, IMAGES, encode, scene
from PIL import Image

from imaging import door
from imaging.door import ImageError, Picture, open_image
from imaging.listing import list_pictures

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    return hostile.write_all(tmp_path_factory.mktemp("hostile"))


def answer(source) -> tuple[str | None, str, tuple[str, ...]]:
    """(slug, sentence, notes); the slug is None for a picture."""
    try:
        return None, "", open_image(source).notes
    except ImageError as error:
        assert str(error) == error.detail
        return error.slug, error.detail, ()


def pixels(data: bytes) -> np.ndarray:
    """(h, w, 3) int."""
    return np.asarray(open_image(data).image).astype(int)


def difference(data: bytes, expected) -> float:
    """Mean absolute difference, in levels."""
    return float(np.abs(pixels(data) - np.asarray(expected).astype(int)).mean())


# ------------------------------------------------------------------------------------------ the table


@pytest.mark.parametrize("name", IMAGES)
def test_each_image_gets_its_answer(name):
    case = IMAGES[name]
    slug, sentence, notes = answer(case.make())
    assert slug == case.slug
    assert case.says in sentence
    assert len(notes) == (case.note is not None)
    assert not notes or case.note in notes[0]
    assert not sentence.endswith(".") and "\n" not in sentence


@pytest.mark.parametrize("name", [name for name, case in IMAGES.items() if case.slug is None])
def test_a_picture_is_rgb_and_carries_nothing_else(name):
    picture = open_image(IMAGES[name].make())
    assert picture.image.mode == "RGB" and min(picture.image.size) >= door.MIN_SIDE
    assert picture.image.info == {}
    assert picture.format in FORMATS


# A process of its own reads every file by its path, and notes what that took and what was touched.
WATCH = """
import json, os, sys, time
from pathlib import Path
from PIL import Image
from imaging.door import ImageError, open_image
Image.init()
import pillow_heif
touched, answers = [], {}
forbidden = ("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "socket.", "tempfile.", "os.mkdir",
             "os.rename", "os.remove", "os.truncate", "os.link", "os.symlink", "shutil.", "urllib.", "ctypes.")
def watch(event, args):
    if event == "open" and (args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or args[0] == "/etc/passwd"):
        touched.append([event, str(args[0])])
    elif event.startswith(forbidden):
        touched.append([event, str(args)])
sys.addaudithook(watch)
for path in sorted(Path(sys.argv[1]).iterdir()):
    start = time.process_time()
    try:
        answer = [None, "", list(open_image(path).notes)]
    except ImageError as error:
        answer = [error.slug, error.detail, []]
    seconds = time.process_time() - start
    status = Path("/proc/self/status")
    peak = int(status.read_text().split("VmHWM:")[1].split()[0]) if status.exists() else None  # kB
    answers[path.name] = {"answer": answer, "seconds": seconds, "peak": peak}
print(json.dumps({"answers": answers, "touched": touched}))
"""


@pytest.fixture(scope="module")
def watched(files, tmp_path_factory):
    folder, empty = files["empty.jpg"].parent, tmp_path_factory.mktemp("empty")
    before = {path: path.read_bytes() for path in folder.rglob("*")}
    command = [sys.executable, "-B", "-c", WATCH, folder]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*")} == before and not list(empty.iterdir())
    return json.loads(done.stdout) | {"stderr": done.stderr}


@pytest.mark.parametrize("name", IMAGES)
def test_a_path_gets_the_same_answer_as_bytes(name, watched):
    slug, sentence, notes = watched["answers"][name]["answer"]
    assert (slug, sentence, tuple(notes)) == answer(IMAGES[name].make())


def test_nothing_is_written_run_or_fetched(watched):
    assert watched["touched"] == []


def test_nothing_is_said_on_stderr(watched):
    """Neither Pillow's warnings nor what a C library prints past Python."""
    assert watched["stderr"] == ""


@pytest.mark.parametrize("name", IMAGES)
def test_no_image_costs_much_time(name, watched):
    """The table's limits, in seconds of processor time."""
    case = IMAGES[name]
    limit = 0.05 if case.slug == "too-many-pixels" else {30: 0.6, 41: 0.1}.get(case.row, 2)
    assert watched["answers"][name]["seconds"] < limit


@pytest.mark.parametrize("name", [name for name, case in IMAGES.items() if 24 <= case.row <= 28 and case.slug])
def test_png_and_webp_bombs_are_refused_before_a_decoder_sees_them(name, monkeypatch):
    """Opening one already takes the memory of its canvas."""
    if name.endswith((".png", ".webp")):
        monkeypatch.setattr(Image, "open", lambda *args, **options: pytest.fail("it was opened"))
    assert answer(IMAGES[name].make())[0] == "too-many-pixels"


def test_pillow_refuses_beyond_the_same_number():
    """Its plug-ins ask wherever they meet a size, and refuse at twice this one."""
    assert 2 * Image.MAX_IMAGE_PIXELS == door.MAX_PIXELS


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_no_image_costs_much_memory(watched):
    over = [name for name, found in watched["answers"].items() if found["peak"] * 1024 > 1.2e9]
    assert over == [], "the first of these is the culprit: a peak never falls"


# --------------------------------------------------------------------------------------------- pixels


def test_what_is_not_damage_leaves_the_pixels_alone():
    plain = pixels(IMAGES["jpeg"].make())
    for name in ("php-behind.jpg", "zip-behind.jpg", "jpeg.txt", "gps.jpg", "exif-random.jpg", "profile-random.jpg"):
        assert np.array_equal(pixels(IMAGES[name].make()), plain), name
    assert difference(IMAGES["zeros-inside.jpg"].make(), scene(192, 128)) < 40  # repaired from some row on
    assert np.abs(pixels(IMAGES["zeros-inside.jpg"].make())[:32] - np.asarray(scene(192, 128))[:32]).max() < 40


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_shows_the_scene(kind):
    limit = {"PNG": 0, "BMP": 0, "TIFF": 0}.get(kind, 8)
    assert difference(hostile.small(kind), scene()) <= limit
    assert open_image(hostile.small(kind)).format == kind


@pytest.mark.parametrize(
    "name", ["animated.gif", "animated.webp", "animated.png", "animated.avif", "pages.tif", "phone.mpo"]
)
def test_the_first_frame_is_the_one_looked_at(name):
    assert difference(IMAGES[name].make(), hostile.frames(1)[0]) < 12


@pytest.mark.parametrize("name", ["grey.jpg", "one-bit.png", "one-bit.tif", "alpha-grey.png", "grey-16.png"])
def test_grey_is_the_same_in_three_channels(name):
    red, green, blue = pixels(IMAGES[name].make()).transpose(2, 0, 1)
    assert np.array_equal(red, green) and np.array_equal(red, blue) and np.ptp(red) > 100


def test_one_bit_is_black_and_white():
    for name in ("one-bit.png", "one-bit.tif"):
        assert np.array_equal(pixels(IMAGES[name].make()), np.asarray(scene().convert("1").convert("RGB")))


def test_lab_colours_are_right():
    found = pixels(IMAGES["lab.tif"].make())
    for index, expected in enumerate(hostile.LAB_COLOURS):
        assert np.abs(found[:, 16 * index : 16 * (index + 1)] - expected).max() <= 3, expected


@pytest.mark.parametrize(("kind", "limit"), [("JPEG", 6), ("TIFF", 1)])
def test_cmyk_colours_are_right(kind, limit):
    """Inks to the colours that they leave: (C, M, Y, K) -> RGB; a JPEG stores them inverted."""
    inks = {(0, 255, 255, 0): (255, 0, 0), (255, 0, 255, 0): (0, 255, 0), (255, 255, 0, 0): (0, 0, 255)}
    inks |= {(0, 0, 0, 0): (255, 255, 255), (0, 0, 0, 255): (0, 0, 0), (0, 0, 0, 155): (100, 100, 100)}
    image = Image.new("CMYK", (32 * len(inks), 32))
    for index, ink in enumerate(inks):
        image.paste(ink, (32 * index, 0, 32 * index + 32, 32))
    found = pixels(encode(image, kind, **({"quality": 95} if kind == "JPEG" else {})))
    for index, expected in enumerate(inks.values()):
        assert np.abs(found[:, 32 * index + 8 : 32 * index + 24] - expected).max() <= limit, expected


HIDDEN = ["alpha.png", "alpha-grey.png", "alpha-palette.png", "alpha.gif", "alpha.webp", "alpha.tif", "alpha.avif"]
HIDDEN += ["alpha.heic"]


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_pixels_are_white(name):
    found, shown = pixels(IMAGES[name].make()), np.asarray(scene()).astype(int)
    if name == "alpha-grey.png":
        shown = np.asarray(scene().convert("L").convert("RGB"))
    assert (found[:, 56:] == 255).all()
    assert np.abs(found - shown)[:, :40].mean() < 8


def test_a_fully_transparent_picture_is_white():
    assert (pixels(IMAGES["transparent.png"].make()) == 255).all()


def test_half_transparent_pixels_are_mixed_with_white():
    image = scene().convert("RGBA")
    image.putalpha(51)  # a fifth
    expected = 255 - (255 - np.asarray(scene()).astype(int)) / 5
    assert np.abs(pixels(encode(image, "PNG")) - expected).max() <= 1


@pytest.mark.parametrize(("colour", "key"), [(0, struct.pack(">H", 0)), (2, struct.pack(">3H", 0, 0, 0))])
def test_a_transparent_colour_is_white(colour, key):
    """A PNG without an alpha channel may name one colour that is transparent."""
    planes = 3 if colour else 1
    rows = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None], planes, axis=2)
    data = hostile.png(
        64, 64, hostile.chunk(b"tRNS", key), hostile.pixels(np.tile(rows.reshape(1, -1), (64, 1))), colour=colour
    )
    assert (pixels(data)[:, 0] == 255).all() and (pixels(data)[:, 1:] == np.arange(1, 64)[:, None]).all()
    assert "shown on white" in open_image(data).notes[0]


def test_a_transparent_16_bit_grey_is_white():
    ramp = np.linspace(0, 65535, 64 * 64).astype(">u2").reshape(64, 64)
    data = hostile.png(64, 64, hostile.chunk(b"tRNS", b"\0\0"), hostile.pixels(ramp), depth=16)
    assert pixels(data)[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_16_bit_grey_keeps_its_range(order):
    """Every level: the nearest of 0 to 255, where Pillow's own conversion clips all above 255 to white."""
    ramp = np.arange(65536).reshape(256, 256)
    expected = np.floor(ramp / 257 + 0.5)
    for data in (
        hostile.png(256, 256, hostile.pixels(ramp.astype(">u2")), depth=16),
        encode(Image.fromarray(ramp.astype(order)), "TIFF"),
    ):
        picture = open_image(data)
        assert picture.notes == ("reduced to 8 bits per channel",)
        assert np.array_equal(np.asarray(picture.image), np.repeat(expected[:, :, None], 3, axis=2))


def test_16_bit_colour_keeps_its_range():
    found, ramp = pixels(IMAGES["rgb-16.png"].make()), np.linspace(0, 255, 64 * 64).reshape(64, 64, 1)
    assert np.abs(found - ramp).max() <= 1


# EXIF orientation -> the stored pixels of an upright array (TIFF 6.0: where its row 0 and column 0 are to be shown).
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", STORED)
def test_the_picture_is_turned_upright(orientation, kind):
    turned = Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(scene()))))
    data = encode(turned, kind, exif=hostile.exif(orientation))
    picture = open_image(data)
    assert picture.image.size == scene().size and picture.notes == ()
    assert difference(data, scene()) < 5


def test_the_shape_is_judged_and_the_picture_turned_once():
    """The table's row 43, and nothing left in the picture that would turn it again."""
    picture = open_image(IMAGES["orientation-6.jpg"].make())
    assert picture.image.size == (64, 96)
    assert 0x0112 not in picture.image.getexif()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_saved_picture_does_not_tell_where_it_was_taken(kind):
    data = IMAGES["gps.jpg"].make()
    assert hostile.GPS_MARK in data
    assert hostile.GPS_MARK not in encode(open_image(data).image, kind)


def test_a_picture_does_not_know_where_it_was_taken():
    image = open_image(IMAGES["gps.jpg"].make()).image
    assert dict(image.getexif()) == {}
    assert hostile.GPS_MARK not in repr(vars(image)).encode()


# ------------------------------------------------------------------------------------------- limits


def test_frames_are_counted_to_a_limit():
    assert open_image(hostile.gif(10_001)).notes == ("only frame 1 of more than 10000 was looked at",)
    page = Image.new("1", (32, 32))
    many = encode(page, "TIFF", save_all=True, append_images=[page] * 1_100)
    assert open_image(many).notes == ("only frame 1 of more than 1000 was looked at",)


def test_a_jpeg_of_too_many_scans_is_refused():
    """Each is a pass over all pixels, and costs the sender nothing."""
    data = encode(scene(), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xc4", 0, data.rindex(b"\xff\xda")) : -2]
    assert answer(data[:-2] + last * 50 + b"\xff\xd9")[0] is None
    assert answer(data[:-2] + last * 100 + b"\xff\xd9")[:2] == (
        "damaged-image", "damaged: a JPEG of more than 100 scans",
    )  # fmt: skip


def test_the_size_limit_counts_bytes():
    data = hostile.small("PNG")
    assert open_image(data, max_bytes=len(data)).format == "PNG"
    with pytest.raises(ImageError, match="^larger than .* MiB$") as caught:
        open_image(data, max_bytes=len(data) - 1)
    assert caught.value.slug == "too-large"


# --------------------------------------------------------------------------------------------- paths


def test_paths_that_cannot_be_read(tmp_path):
    assert answer(tmp_path / "none.jpg")[:2] == ("no-such-file", "no such file")
    assert answer(str(tmp_path))[:2] == ("unreadable-file", "is a directory")
    assert answer(f"{tmp_path}/a\0b.jpg")[:2] == ("unreadable-file", "cannot be read (embedded null byte)")
    assert answer(tmp_path / ("x" * 300))[0] == "unreadable-file"


def test_permission_denied(tmp_path, monkeypatch):
    """Patched, because no file is closed to root."""
    path = tmp_path / "closed.jpg"
    path.write_bytes(hostile.small("JPEG"))

    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(builtins, "open", refuse)
    assert answer(path)[:2] == ("permission-denied", "permission denied")


def test_a_path_may_be_text_or_a_path_object(tmp_path):
    path = tmp_path / "photo"
    path.write_bytes(hostile.small("PNG"))
    assert isinstance(open_image(path), Picture) and isinstance(open_image(str(path)), Picture)


def test_a_large_file_is_refused_by_its_size(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(hostile.small("PNG"))
    with pytest.raises(ImageError) as caught:
        open_image(path, max_bytes=1000)
    assert caught.value.slug == "too-large"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no endless device")
def test_a_device_is_read_to_the_limit_only():
    with pytest.raises(ImageError) as caught:
        open_image("/dev/zero", max_bytes=100_000)
    assert caught.value.slug == "too-large"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.parametrize("endless", [False, True])
def test_a_pipe_is_read_to_the_limit_only(endless, tmp_path):
    pipe, written = tmp_path / "pipe.bmp", []
    data = encode(scene(600, 400), "BMP")
    os.mkfifo(pipe)

    def write():
        with open(pipe, "wb", buffering=0) as file:
            while not written or endless:
                try:
                    written.append(file.write(data))
                except BrokenPipeError:
                    return

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    time.sleep(0.2)  # a pipe that nobody has begun to write to would be empty
    assert answer(pipe)[0] == ("too-large" if endless else None)
    writer.join(timeout=10)
    assert not writer.is_alive() and sum(written) < 2 * door.MAX_BYTES


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_in_a_folder_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert list_pictures(tmp_path).pictures == ()
    with pytest.raises(ImageError, match="empty"):  # by hand: nobody writes to it, and nobody waits
        open_image(tmp_path / "pipe.jpg")


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_comes_back_whole_from_a_worker(protocol):
    error = pickle.loads(pickle.dumps(ImageError("too-small", "too small: 1x1 pixels"), protocol))
    assert type(error) is ImageError
    assert (error.slug, error.detail, str(error)) == ("too-small", "too small: 1x1 pixels", "too small: 1x1 pixels")


# ---------------------------------------------------------------------------------------------- fuzz


def corrupted(data: bytes, random: np.random.RandomState) -> bytes:
    """The bytes with one kind of damage: changed, cut, zeroed, left out, doubled or put in between."""
    at, length = random.randint(len(data)), random.randint(1, 40)
    match random.randint(7):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + bytes(length) + data[at + length :]
        case 2:
            return data[:at] + data[at + length :]
        case 3:
            return data[: at + length] + data[at:]
        case 4:
            return data[:at] + random.bytes(length) + data[at:]
    changed = bytearray(data)
    for place in random.randint(len(data) if random.rand() < 0.5 else min(60, len(data)), size=random.randint(1, 9)):
        changed[place] = random.choice([0, 1, 0x7F, 0x80, 0xFF, random.randint(256)])
    return bytes(changed)


def with_right_sums(data: bytes) -> bytes:
    """A damaged PNG whose checksums are right, so that the damage reaches the decoder."""
    data, at = bytearray(data), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        data[end : end + 4] = (
            struct.pack(">I", zlib.crc32(data[at + 4 : end])) if end + 4 <= len(data) else data[end : end + 4]
        )
        at = end + 4
    return bytes(data)


@pytest.mark.parametrize("kind", FORMATS)
def test_damage_gives_a_picture_or_an_error_and_nothing_else(kind, capfd):
    """Warnings are errors in the tests, so none is given either."""
    random, slugs = np.random.RandomState(FORMATS.index(kind)), set()
    good = [hostile.small(kind), encode(scene(33, 40).convert("L"), kind)]
    for turn in range(120):
        data = corrupted(good[turn % 2], random)
        if kind == "PNG" and turn % 4 < 2:
            data = with_right_sums(data)
        try:
            picture = open_image(data)
        except ImageError as error:
            slugs.add(error.slug)
            assert error.detail
        else:
            slugs.add(None)
            assert picture.image.mode == "RGB" and min(picture.image.size) >= door.MIN_SIDE
            assert np.asarray(picture.image).shape == (picture.image.height, picture.image.width, 3)
    assert {None, "damaged-image"} <= slugs  # both happened
    assert capfd.readouterr().err == ""
