"""Colour profiles: the same colours are the same pixels, whatever space a file keeps them in."""

import subprocess
import sys
import time
from pathlib import Path

import hostile
import numpy as np
import profiles
import pytest
from hostile import encode, scene
from PIL import Image, ImageCms

from imaging import colour
from imaging.door import open_image

ROOT = Path(__file__).parent.parent
REFERENCE = np.asarray(scene()).astype(int)
WIDE = ("P3", "AdobeRGB", "ProPhoto", "linear")


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(open_image(data).image).astype(int)


def stored(space: str) -> Image.Image:
    """The scene in another space. Its colours lie within sRGB, so that nothing is lost."""
    return Image.fromarray(profiles.stored_in(np.asarray(scene()), space))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
@pytest.mark.parametrize("space", ["P3", "AdobeRGB", "ProPhoto"])
def test_the_same_colours_are_the_same_pixels(space, kind):
    data = encode(stored(space), kind, icc_profile=profiles.profile(space))
    found, plain = pixels(data), pixels(hostile.small(kind))
    assert open_image(data).notes == ()
    assert np.abs(found - REFERENCE).mean() < np.abs(plain - REFERENCE).mean() + 2
    wrong = np.asarray(stored(space)).astype(int)
    assert np.abs(wrong - REFERENCE).mean() > 5  # what they would be without it


@pytest.mark.parametrize("space", WIDE)
def test_colours_come_back_to_within_a_rounding_in_the_other_space(space):
    """Whose steps are coarser in places: most of all those of dark, saturated colours, and of linear light."""
    found = pixels(encode(stored(space), "PNG", icc_profile=profiles.profile(space)))
    assert np.abs(found - REFERENCE).max() <= (40 if space == "linear" else 12)
    assert np.abs(found - REFERENCE).mean() < (3 if space == "linear" else 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
def test_a_profile_that_is_srgb_in_effect_changes_no_pixel(kind):
    plain = pixels(hostile.small(kind))
    for profile in (profiles.profile("sRGB"), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        data = encode(scene(), kind, icc_profile=profile)
        assert np.array_equal(pixels(data), plain) and open_image(data).notes == ()


def test_modes_with_a_profile_of_theirs():
    grey = np.asarray(scene().convert("L")).astype(int)
    light = (profiles.encode(profiles.decode(grey / 255, "sRGB"), "ProPhoto") * 255).round().astype(np.uint8)
    data = encode(Image.fromarray(light), "PNG", icc_profile=profiles.profile("ProPhoto", grey=True))
    assert np.abs(pixels(data) - grey[:, :, None]).max() <= 3 and open_image(data).notes == ()
    assert np.array_equal(
        pixels(encode(scene().convert("L"), "PNG", icc_profile=profiles.profile("sRGB")))[:, :, 0], grey
    )
    made_grey = encode(Image.fromarray(light), "PNG", icc_profile=profiles.profile("ProPhoto"))
    assert np.abs(pixels(made_grey) - grey[:, :, None]).max() <= 3 and open_image(made_grey).notes == ()
    seethrough = stored("P3").convert("RGBA")
    seethrough.paste((0, 0, 0, 0), (48, 0, 96, 64))
    found = pixels(encode(seethrough, "PNG", icc_profile=profiles.profile("P3")))
    assert (found[:, 48:] == 255).all() and np.abs(found - REFERENCE)[:, :48].max() <= 12
    palette = stored("P3").quantize(200)
    found = pixels(encode(palette, "PNG", icc_profile=profiles.profile("P3")))
    plain = np.asarray(scene().quantize(200).convert("RGB")).astype(int)
    assert np.abs(found - plain).mean() < 6


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_inks_are_explained_by_their_profile(kind):
    inks = {(0, 0, 0, 0): 0.95, (0, 0, 0, 255): 0.05, (255, 255, 255, 0): 0.05}
    image = Image.new("CMYK", (32 * len(inks), 32))
    for place, ink in enumerate(inks):
        image.paste(ink, (32 * place, 0, 32 * place + 32, 32))
    found = pixels(encode(image, kind, icc_profile=profiles.printer()))
    light, dark, darkest = (found[8:24, 32 * place + 16].mean() for place in range(3))
    assert light > 240 and dark < 20 and darkest < 20  # paper is white and ink is black: relative, black point moved
    assert open_image(encode(image, kind, icc_profile=profiles.printer())).notes == ()
    assert open_image(encode(image, kind, icc_profile=profiles.profile("P3"))).notes == (colour.UNFIT,)


def test_a_damaged_profile_is_a_note_and_no_more():
    plain = pixels(hostile.small("PNG"))
    good = profiles.profile("P3")
    bad = [
        b"x",
        good[:100],
        good[:300],
        good.replace(b"acsp", b"none"),
        hostile.noise(4_000),
        good.replace(b"rXYZ", b"none"),
    ]
    for profile in (*bad, good + bytes(colour.MAX_PROFILE_BYTES)):
        picture = open_image(encode(scene(), "TIFF", icc_profile=profile))
        assert picture.notes == (colour.DAMAGED,)
        assert np.array_equal(np.asarray(picture.image).astype(int), plain)


def test_a_profile_of_another_kind_of_picture_is_a_note():
    for image, profile in (
        (scene(), profiles.profile("P3", grey=True)),
        (scene(), profiles.printer()),
    ):
        data = encode(image, "PNG", icc_profile=profile)
        assert open_image(data).notes == (colour.UNFIT,)
        assert np.array_equal(pixels(data), np.asarray(image.convert("RGB")))


def test_a_camera_s_adobe_rgb_needs_no_profile():
    tags = Image.Exif()
    tags[0x8769] = {0xA001: 0xFFFF, 0xA005: {1: "R03"}}
    data = encode(stored("AdobeRGB"), "JPEG", quality=95, exif=tags)
    assert b"R03" in data
    assert np.abs(pixels(data) - REFERENCE).mean() < 3
    tags[0x8769] = {0xA001: 1, 0xA005: {1: "R98"}}
    plain = encode(scene(), "JPEG", exif=tags)
    assert np.array_equal(pixels(plain), pixels(hostile.small("JPEG")))


def test_a_profile_is_understood_once(monkeypatch):
    colour._change.cache_clear()
    data, built = encode(stored("P3"), "PNG", icc_profile=profiles.profile("P3")), []
    build = ImageCms.buildTransform
    monkeypatch.setattr(ImageCms, "buildTransform", lambda *args: built.append(args) or build(*args))
    for _ in range(3):
        open_image(data)
    assert len(built) == 1


def test_no_profile_costs_much_time():
    table = profiles.printer()
    colour._change.cache_clear()
    start = time.process_time()
    for profile in (table, table + bytes(3 * 2**20), profiles.profile("P3") + hostile.noise(3 * 2**20)):
        open_image(encode(scene(), "TIFF", icc_profile=profile))
    assert time.process_time() - start < 1


FUZZ = """
import sys
import numpy as np, profiles
from hostile import scene
from imaging import colour
random, count = np.random.RandomState(int(sys.argv[1])), int(sys.argv[2])
good = {"RGB": profiles.profile("P3"), "L": profiles.profile("AdobeRGB", grey=True), "CMYK": profiles.printer()}
for turn in range(count):
    mode = ("RGB", "L", "CMYK")[turn % 3]
    data = bytearray(good[mode])
    for place in random.randint(len(data) if turn % 2 else 400, size=random.randint(1, 12)):
        data[place % len(data)] = random.choice([0, 1, 0x7F, 0x80, 0xFF, random.randint(256)])
    if turn % 7 == 0:
        data = data[: random.randint(len(data))]
    image, notes = colour.to_srgb(scene().convert(mode), bytes(data))
    assert image.mode == "RGB" and image.size == scene().size and len(notes) <= 1
print("done")
"""


def test_damaged_profiles_never_end_the_process():
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, "0", "500"], cwd=ROOT / "tests", env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
