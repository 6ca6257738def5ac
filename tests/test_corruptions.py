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
    corrupt, strengths, _ = CORRUPTIONS[name]
    for strength in strengths:
        done = corrupt(image, strength)
        assert done.mode == "RGB" and min(done.size) >= 1
        assert done is not image and image.tobytes() == before
        assert done.tobytes() == corrupt(image, strength).tobytes()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_strengths_go_from_mild_to_severe(name):
    corrupt, strengths, _ = CORRUPTIONS[name]
    done = [corrupt(ASTRONAUT, strength) for strength in strengths]
    if name == "challenge":  # turns, shrinks and crops at once; all that it draws reaches farther with the strength
        amounts = [abs(image.width - 256) for image in done]
    elif name in ("downscale", "upscale", "crop"):
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


def test_png_changes_no_pixel():
    again = corruptions.png(RANDOM)
    assert again is not RANDOM and again.mode == "RGB" and again.tobytes() == RANDOM.tobytes()


def test_webp_shrinks_what_the_format_cannot_hold():
    assert corruptions.webp(Image.new("RGB", (16_384, 4)), 75).size == (16_383, 4)


def test_noise_of_stress_differs_between_pictures_and_grows_with_its_strength():
    plain = [Image.new("RGB", (50, 50), (level,) * 3) for level in (100, 101)]
    added = [np.asarray(corruptions.corrupt(image, "noise", 10), int) - np.asarray(image) for image in plain]
    weak = np.asarray(corruptions.corrupt(plain[0], "noise", 2), int) - 100
    assert added[0].std() == pytest.approx(10, rel=0.05) and weak.std() == pytest.approx(2, rel=0.05)
    assert abs(np.corrcoef(added[0].ravel(), added[1].ravel())[0, 1]) < 0.05
    assert np.corrcoef(added[0].ravel(), weak.ravel())[0, 1] > 0.95


def test_challenge_draws_all_of_its_parts(monkeypatch):
    """What each part is asked to do, over many pictures: within the ranges, all over them, and less when milder."""
    asked = {name: [] for name in ("degrees", "sigma", "factor", "share", "quality", "mirror")}

    def spy(name):
        return lambda image, *args, **options: asked[name].append(*args, *options.values()) or image

    for function, name in (
        ("affine", "degrees"), ("blur", "sigma"), ("rescale", "factor"), ("centre", "share"), ("jpeg", "quality"),
    ):  # fmt: skip
        monkeypatch.setattr(corruptions, function, spy(name))
    monkeypatch.setattr(corruptions.ImageOps, "mirror", lambda image: asked["mirror"].append(1) or image)
    pictures = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (8, 8, 3), np.uint8)) for n in range(300)]
    for picture in pictures:
        corruptions.challenge(picture, 1.0)
    ends = {"degrees": (-30, 30), "sigma": (0, 2), "factor": (0.5, 1.5), "share": (0.7, 1), "quality": (30, 90)}
    for name, (low, high) in ends.items():
        assert (
            low <= min(asked[name]) < low + 0.05 * (high - low)
            and high - 0.05 * (high - low) < max(asked[name]) <= high
        )
    assert 110 < len(asked["mirror"]) < 190
    full = {name: np.array(asked.pop(name)) for name in ends}
    asked |= {name: [] for name in ends}
    for picture in pictures:
        corruptions.challenge(picture, 0.5)
    for name, rest in (("degrees", 0), ("sigma", 0), ("factor", 1), ("share", 1), ("quality", 90)):
        halved = rest + (full[name] - rest) / 2
        assert np.abs(np.array(asked[name]) - halved).max() <= (0.51 if name == "quality" else 1e-9)
