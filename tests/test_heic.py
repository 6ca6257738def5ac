"""HEIC, what iPhones write: decoded through the same door and limits as everything else."""

import io
import struct
import sys
import time

import hostile
import numpy as np
import pillow_heif
import pytest
from hostile import encode, exif, scene
from PIL import Image

from imaging import door
from imaging.boxes import BoxError, heif_pixels
from imaging.door import ImageError, open_image

REFERENCE = np.asarray(scene()).astype(int)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(open_image(data).image).astype(int)


def test_without_the_plugin_the_answer_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError) as caught:
        open_image(hostile.small("HEIC"))
    assert caught.value.slug == "unsupported-type"
    advice = "(it looks like HEIC: save as JPEG or pip install pillow-heif)"
    assert caught.value.detail == f"not a JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF image {advice}"


@pytest.mark.parametrize("stored", [1, 3, 6, 8])
def test_the_container_turns_the_picture_and_exif_does_not_turn_it_again(stored):
    """The writer turns the orientation into the container's own mark; the one in EXIF stays in the file beside it."""
    turned = {1: 0, 3: 2, 6: 1, 8: 3}[stored]  # quarters, so that it is upright after what the mark says
    image = Image.fromarray(np.rot90(np.asarray(scene()), turned))
    data = encode(image, "HEIC", exif=exif(stored))
    assert np.abs(pixels(data) - REFERENCE).mean() < 5
    assert open_image(data).notes == ()


def test_an_orientation_in_exif_alone_turns_nothing():
    """ISO 23008-12: the container's mark is the one that counts."""
    data = encode(scene(), "HEIC", exif=exif(1))
    mark = exif(1)[6:]
    assert mark in data
    assert np.array_equal(pixels(data.replace(mark, exif(6)[6:])), pixels(data))


def test_ten_bits_become_eight():
    file, wide = io.BytesIO(), np.asarray(scene()).astype(np.uint16) * 257
    pillow_heif.encode("RGB;16", scene().size, wide.tobytes(), file, quality=90)
    picture = open_image(file.getvalue())
    assert picture.notes == ("reduced to 8 bits per channel",)
    assert np.abs(np.asarray(picture.image).astype(int) - REFERENCE).mean() < 3


def test_a_grid_shows_what_one_image_shows():
    large = scene(480, 320)
    found = pixels(hostile._tiles(large, 128))
    assert np.abs(found - np.asarray(large).astype(int)).mean() < 5


def test_the_main_picture_is_the_one_looked_at():
    frames = hostile.frames(3)
    data = encode(frames[0], "HEIC", save_all=True, append_images=frames[1:], primary_index=2)
    picture = open_image(data)
    assert picture.notes == ("only the main picture of 3 was looked at",)
    assert np.abs(np.asarray(picture.image).astype(int) - np.asarray(frames[2]).astype(int)).mean() < 12


def test_grey_and_half_transparent():
    red, green, blue = pixels(encode(scene().convert("L"), "HEIC")).transpose(2, 0, 1)
    assert np.array_equal(red, green) and np.array_equal(red, blue)
    image = scene().convert("RGBA")
    image.putalpha(51)
    expected = 255 - (255 - REFERENCE) / 5
    assert np.abs(pixels(encode(image, "HEIC", quality=95)) - expected).mean() < 2


def test_what_decoding_costs_is_known_beforehand():
    width, height = 480, 320
    assert heif_pixels(encode(scene(), "HEIC")) == 96 * 64
    assert heif_pixels(encode(scene().convert("RGBA"), "HEIC")) == 2 * 96 * 64  # with its transparency
    assert heif_pixels(hostile._tiles(scene(width, height), 128)) == width * height + 12 * 128 * 128


def _in_meta(data: bytes, *boxes: bytes) -> bytes:
    """A HEIC with these boxes at the end of its `meta`. The places of its pixels are wrong then."""
    at = data.index(b"meta") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    more = b"".join(boxes)
    return data[:at] + struct.pack(">I", size + len(more)) + data[at + 4 : at + size] + more + data[at + size :]


def _references(wide: int, *named: tuple[bytes, int, list[int]]) -> bytes:
    code = "I" if wide == 4 else "H"
    bodies = [(kind, struct.pack(f">{code}H{len(to)}{code}", item, len(to), *to)) for kind, item, to in named]
    return b"".join(hostile._box(kind, body) for kind, body in bodies)


@pytest.mark.parametrize("kind", [b"pitm", b"iinf", b"iref", b"iprp"])
def test_what_is_said_twice_is_damage(kind):
    """Else the one that is checked might not be the one that is decoded."""
    data = hostile._tiles(scene(480, 320), 128)
    at = data.index(kind) - 4
    again = data[at : at + int.from_bytes(data[at : at + 4], "big")]
    with pytest.raises(BoxError, match="second"):
        heif_pixels(_in_meta(data, again))


def test_transparency_of_tiles_counts_and_references_that_multiply_take_no_time():
    plain = hostile._tiles(scene(480, 320), 128)
    at = plain.index(b"iref") - 4
    size = int.from_bytes(plain[at : at + 4], "big")
    tiles = list(struct.unpack(">12H", plain[plain.index(b"dimg") + 8 :][:24]))
    more = _references(2, *[(b"auxl", tile, [tiles[0]]) for tile in tiles[1:]])
    meta = plain.index(b"meta") - 4
    data = bytearray(plain[: at + size] + more + plain[at + size :])
    for box, wide in ((at, size + len(more)), (meta, int.from_bytes(plain[meta : meta + 4], "big") + len(more))):
        data[box : box + 4] = struct.pack(">I", wide)
    assert heif_pixels(bytes(data)) == heif_pixels(plain) + 11 * 128 * 128
    start = time.process_time()
    with pytest.raises(BoxError):
        heif_pixels(_in_meta(plain, hostile._box(b"free", bytes(2**20))))
    assert time.process_time() - start < 0.05


def test_a_picture_of_many_large_tiles_is_refused_before_it_is_decoded(monkeypatch):
    data = hostile._heic_of_large_tiles()
    monkeypatch.setattr(door, "_header", lambda *args: pytest.fail("it was opened"))
    start = time.process_time()
    with pytest.raises(ImageError) as caught:
        open_image(data)
    assert caught.value.slug == "too-many-pixels" and time.process_time() - start < 0.05


def test_a_coded_image_larger_than_the_file_says_is_not_decoded():
    """libheif takes the size in the container for its limit."""
    data = encode(Image.new("RGB", (1_600, 1_200), "red"), "HEIC")
    with pytest.raises(ImageError, match="damaged"):
        open_image(data.replace(struct.pack(">II", 1_600, 1_200), struct.pack(">II", 64, 64)))
