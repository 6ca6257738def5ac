"""What the world does to a picture: each function against values worked out by hand."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

from imaging import corruptions
from imaging.corruptions import CORRUPTIONS, affine, colour

ASTRONAUT = Image.fromarray(skimage.data.astronaut()[:256, 100:356])
RANDOM = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))


def one(red: int, green: int, blue: int) -> Image.Image:
    return Image.new("RGB", (1, 1), (red, green, blue))


def difference(a: Image.Image, b: Image.Image) -> float:
    """Mean distance of a channel, in levels."""
    return np.abs(np.asarray(a, int) - np.asarray(b, int)).mean()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (61, 47)])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_new_rgb_image_the_same_each_time(name, size):
    image = RANDOM.resize(size)
    before = image.tobytes()
    corrupt, strengths = CORRUPTIONS[name]
    for strength in strengths:
        done = corrupt(image, strength)
        assert done.mode == "RGB" and min(done.size) >= 1
        assert done is not image and image.tobytes() == before
        assert done.tobytes() == corrupt(image, strength).tobytes()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_strengths_go_from_mild_to_severe(name):
    corrupt, strengths = CORRUPTIONS[name]
    done = [corrupt(ASTRONAUT, strength) for strength in strengths]
    if name in ("downscale", "upscale", "crop"):
        assert [image.width for image in done] == [round(256 * factor) for factor in strengths]
        amounts = [abs(np.log(factor)) for factor in strengths]
    else:
        amounts = [difference(image, ASTRONAUT) for image in done]
    assert amounts == sorted(amounts) and amounts[0] > 0 and len(set(amounts)) == len(amounts)


def test_jpeg_subsampling_costs_colour_only():
    """Red and green stripes, one pixel wide: halving the resolution of colour mixes them, and leaves the luma."""
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = (200, 0, 0), (0, 102, 0)  # the same luma
    image = Image.fromarray(stripes)
    assert difference(corruptions.jpeg(image, 95, "4:4:4"), image) < 4
    assert difference(corruptions.jpeg(image, 95, "4:2:0"), image) > 30


def test_blur_has_the_deviation_it_names():
    impulse = np.zeros((41, 41, 3), np.uint8)
    impulse[:, 20] = 255
    spread = np.asarray(corruptions.blur(Image.fromarray(impulse), 3))[20, :, 0].astype(float)
    assert np.sqrt((spread * (np.arange(41) - 20) ** 2).sum() / spread.sum()) == pytest.approx(3, rel=0.05)


def test_noise_has_the_deviation_it_names():
    noisy = corruptions.noise(Image.new("RGB", (100, 100), (128, 128, 128)), 6, np.random.default_rng(1))
    added = np.asarray(noisy, float) - 128
    assert added.std() == pytest.approx(6, rel=0.03) and added.mean() == pytest.approx(0, abs=0.1)
    assert abs(np.corrcoef(added.reshape(-1, 3).T)[0, 1]) < 0.03  # each channel has its own


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ((100, 150, 50), {"brightness": 1.2}, (120, 180, 60)),
        ((100, 250, 50), {"brightness": 1.2}, (120, 255, 60)),
        ((100, 150, 50), {"saturation": 0}, (124, 124, 124)),  # 29.9 + 88.05 + 5.7
        ((100, 150, 50), {"saturation": 0.5}, (112, 137, 87)),
        ((200, 10, 60), {"hue": 1 / 3}, (60, 200, 10)),
        ((200, 10, 60), {"hue": 1 / 2}, (0, 170, 120)),  # two thirds of the sum of all, less each
        ((90, 90, 90), {"hue": 0.2, "saturation": 3}, (90, 90, 90)),
    ],
)
def test_colours(before, change, after):
    assert colour(one(*before), **change).getpixel((0, 0)) == after


def test_contrast_stretches_about_the_mean():
    pair = Image.fromarray(np.array([[[60, 60, 60], [100, 100, 100]]], np.uint8))
    assert np.asarray(colour(pair, contrast=0.5))[0, :, 0].tolist() == [70, 90]
    assert np.asarray(colour(pair, contrast=2, brightness=1.5))[0, :, 0].tolist() == [60, 180]


def test_grey_is_luma():
    assert corruptions.grey(one(100, 150, 50)).getpixel((0, 0)) == (124, 124, 124)


def test_affine_at_rest_and_by_whole_steps_is_exact():
    pixels = np.asarray(RANDOM)
    assert np.array_equal(affine(RANDOM), pixels)
    assert np.array_equal(np.asarray(affine(RANDOM, shift=(0.1, 0.05)))[2:, 6:], pixels[:-2, :-6])
    square = RANDOM.crop((0, 0, 40, 40))
    turned = np.asarray(affine(square, degrees=90), int) - square.transpose(Image.Transpose.ROTATE_90)
    assert np.abs(turned).max() <= 1  # Pillow's bilinear interpolation rounds down, and the cosine is not quite 0


def test_what_comes_in_over_the_edge_is_a_mirror_image():
    pixels, shifted = np.asarray(RANDOM), np.asarray(affine(RANDOM, shift=(0.1, 0)))
    assert np.array_equal(shifted[:, :6], pixels[:, :6][:, ::-1])


def test_zoom_enlarges_and_shear_tilts():
    edge = Image.fromarray(np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 64, 0).repeat(3, 2))
    zoomed, sheared = np.asarray(affine(edge, zoom=2), int), np.asarray(affine(edge, shear=45), int)
    assert np.abs(np.diff(zoomed[32, 4:60, 0]) - 2).max() <= 1 and zoomed[32, 32, 0] == pytest.approx(127, abs=2)
    middle = [int(np.argmin(np.abs(sheared[row, 16:48, 0] - 128))) for row in (24, 40)]
    assert middle[1] - middle[0] == pytest.approx(16, abs=1)  # as many columns as rows


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (60, 40)])
@pytest.mark.parametrize(
    "change", [{"degrees": 37}, {"shift": (0.5, -0.5)}, {"shear": 40}, {"zoom": 0.3}, {"degrees": -120, "zoom": 0.5}]
)
def test_affine_invents_no_border(change, size):
    plain = Image.new("RGB", size, (200, 100, 50))
    assert affine(plain, **change).tobytes() == plain.tobytes()


def test_centre_keeps_the_middle():
    assert np.array_equal(corruptions.centre(RANDOM, 0.5), np.asarray(RANDOM)[10:30, 15:45])
