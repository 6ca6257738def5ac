"""Preprocessing: golden numbers, so that an image is prepared today as it was when a checkpoint was trained.

When a golden test fails, it is not these numbers that are wrong: checkpoints in use were trained on arrays like these.
"""

import json

import numpy as np
import pytest
from PIL import Image

from imaging.preprocess import FITS, Preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = 64
SIZES = {"larger": (150, 101), "equal": (SIZE, SIZE), "smaller": (40, 50), "mixed": (100, 40)}  # width, height

# (fit, interpolation, image): mean and deviation of the array, its values at [0, 0, 0], [1, 20, 30] and [2, 63, 63]
GOLDEN = {
    ("crop", "bilinear", "larger"): (0.24493, 1.08623, -1.05617, -0.39006, 2.06484),
    ("crop", "bilinear", "equal"): (0.13293, 1.06563, -1.51854, -1.21289, -0.16610),
    ("crop", "bilinear", "smaller"): (0.26364, 0.95112, -1.80966, 1.39566, 2.43085),
    ("crop", "bilinear", "mixed"): (0.26306, 1.02204, 0.87893, -1.16036, -1.54301),
    ("crop", "bicubic", "larger"): (0.24493, 1.08623, -1.05617, -0.39006, 2.06484),
    ("crop", "bicubic", "equal"): (0.13293, 1.06563, -1.51854, -1.21289, -0.16610),
    ("crop", "bicubic", "smaller"): (0.26288, 0.97030, -1.86103, 1.39566, 2.48314),
    ("crop", "bicubic", "mixed"): (0.26211, 1.04179, 0.87893, -1.16036, -1.80444),
    ("resize", "bilinear", "larger"): (0.18488, 1.00992, -1.70691, -0.91527, 0.18248),
    ("resize", "bilinear", "equal"): (0.13293, 1.06563, -1.51854, -1.21289, -0.16610),
    ("resize", "bilinear", "smaller"): (0.22088, 1.01594, -1.50141, 1.16807, -1.15956),
    ("resize", "bilinear", "mixed"): (0.18832, 0.99068, -1.80966, -1.02031, -0.77612),
    ("resize", "bicubic", "larger"): (0.18472, 1.03968, -1.72403, -0.91527, 0.18248),
    ("resize", "bicubic", "equal"): (0.13293, 1.06563, -1.51854, -1.21289, -0.16610),
    ("resize", "bicubic", "smaller"): (0.21995, 1.03473, -1.46716, 1.18557, -1.17699),
    ("resize", "bicubic", "mixed"): (0.18770, 1.01112, -1.84391, -0.98529, -0.74126),
}


def picture(width: int, height: int) -> Image.Image:
    """Ramps with edges, another one in each channel, and noise. Whole numbers only: the same on every machine."""
    y, x = np.mgrid[0:height, 0:width]
    ramps = np.stack([(5 * x + 2 * y) % 211, (3 * x + 7 * y) % 197, (x + 4 * y) % 223], axis=2)
    noise = np.random.RandomState(width * 1000 + height).randint(0, 40, size=(height, width, 3))
    return Image.fromarray((ramps + noise).clip(0, 255).astype(np.uint8))


def prepare(fit: str, interpolation: str, image: str) -> np.ndarray:
    return Preprocess(SIZE, fit, MEAN, STD, interpolation)(picture(*SIZES[image]))


def normalised(pixels: np.ndarray) -> np.ndarray:
    """(h, w, 3) to (3, h, w), as the definition says, in double precision."""
    return ((pixels / 255.0 - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)


# ------------------------------------------------------------------------------------------- golden


@pytest.mark.parametrize("key", GOLDEN, ids="-".join)
def test_golden(key):
    array = prepare(*key)
    found = [array.mean(dtype=float), array.std(dtype=float), array[0, 0, 0], array[1, 20, 30], array[2, 63, 63]]
    assert np.allclose(found, GOLDEN[key], rtol=0, atol=1e-4)


def test_golden_covers_every_way():
    """A new way to fit or to interpolate needs its numbers."""
    assert set(GOLDEN) == {(fit, how, name) for fit in FITS for how in ("bilinear", "bicubic") for name in SIZES}


@pytest.mark.parametrize("key", GOLDEN, ids="-".join)
def test_shape_type_and_layout(key):
    array = prepare(*key)
    assert array.shape == (3, SIZE, SIZE) and array.dtype == np.float32
    assert array.flags.c_contiguous and array.flags.writeable


# ------------------------------------------------------------------------------------ what is meant


def test_a_crop_is_the_centre_untouched():
    pixels = np.asarray(picture(150, 101))[18:82, 43:107]  # 18.5 rounds to even
    assert np.abs(prepare("crop", "bilinear", "larger") - normalised(pixels)).max() < 1e-5
    assert np.array_equal(prepare("crop", "bilinear", "larger"), prepare("crop", "bicubic", "larger"))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_an_image_of_the_right_size_is_only_normalised(fit, interpolation):
    expected = normalised(np.asarray(picture(SIZE, SIZE)))
    assert np.abs(prepare(fit, interpolation, "equal") - expected).max() < 1e-5


def test_black_and_white_and_the_order_of_channels():
    preprocess = Preprocess(SIZE, "crop", MEAN, STD)
    red = preprocess(Image.new("RGB", (SIZE, SIZE), (255, 0, 0)))
    assert np.allclose(red[0], (1 - 0.485) / 0.229, atol=1e-5)
    assert np.allclose(red[1], -0.456 / 0.224, atol=1e-5) and np.allclose(red[2], -0.406 / 0.225, atol=1e-5)


def test_a_crop_enlarges_to_the_shorter_side_and_keeps_the_shape():
    preprocess = Preprocess(SIZE, "crop")
    assert preprocess.enlarge(picture(40, 50), SIZE).size == (64, 80)
    assert preprocess.enlarge(picture(100, 40), SIZE).size == (160, 64)
    assert preprocess.enlarge(picture(65, 64), SIZE).size == (65, 64)
    assert preprocess.enlarge(picture(33, 632), SIZE).size == (64, 1226)  # 1225.7
    for size in [(33, 632), (33, 34), (63, 64), (32, 640)]:  # rounding may not leave a side short
        assert preprocess.view(picture(*size)).size == (SIZE, SIZE)


def test_where_a_crop_is_taken():
    image, preprocess = picture(150, 101), Preprocess(SIZE, "crop")
    for where, (left, top) in {(0, 0): (0, 0), (1, 1): (86, 37), (0.5, 0): (43, 0)}.items():
        found = np.asarray(preprocess.crop(image, where=where))
        assert np.array_equal(found, np.asarray(image)[top : top + SIZE, left : left + SIZE])
    assert preprocess.crop(image, size=20).size == (20, 20)


def test_resize_sees_the_whole_image_smoothed():
    """Antialiased: stripes one pixel wide become even grey; without it they would stay stripes, of another length."""
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    for interpolation in ("bilinear", "bicubic"):
        frame = Preprocess(SIZE, "resize", interpolation=interpolation).view(Image.fromarray(stripes))
        assert np.ptp(np.asarray(frame)[:, 2:-2].astype(int)) <= 4 and abs(np.asarray(frame).mean() - 127.5) < 2
    corners = np.zeros((200, 100, 3), np.uint8)
    corners[:20, :10], corners[-20:, -10:] = 255, 255
    frame = np.asarray(Preprocess(SIZE, "resize").view(Image.fromarray(corners)))
    assert frame[0, 0].min() > 200 and frame[-1, -1].min() > 200 and frame[0, -1].max() < 50


def test_the_image_given_is_left_as_it_was():
    for size in SIZES.values():
        image = picture(*size)
        before = image.tobytes()
        for fit in FITS:
            Preprocess(SIZE, fit)(image)
        assert (image.size, image.tobytes()) == (size, before)


# --------------------------------------------------------------------------------------- the record


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"size": 15}, "size is 15"),
        ({"size": 1025}, "size is 1025"),
        ({"size": 224.0}, "size is 224.0"),
        ({"size": "224"}, "size is '224'"),
        ({"size": True}, "size is True"),
        ({"fit": "squeeze"}, "fit is 'squeeze'; choose from crop, resize"),
        ({"fit": None}, "fit is None"),
        ({"interpolation": "nearest"}, "interpolation is 'nearest'; choose from bilinear, bicubic"),
        ({"mean": (0.5, 0.5)}, "three numbers"),
        ({"mean": ("a", "b", "c")}, "could not convert"),
        ({"std": (0.5,) * 4}, "three numbers"),
        ({"std": (0.5, 0.5, 0.0)}, "three numbers above 0"),
        ({"std": (0.5, 0.5, -1)}, "three numbers above 0"),
        ({"std": (0.5, 0.5, float("nan"))}, "three numbers above 0"),
        ({"mirror": 1}, "mirror is 1; it must be true or false"),
    ],
)
def test_values_out_of_range_are_refused(fields, says):
    with pytest.raises(ValueError, match=says):
        Preprocess(**fields)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_mean_that_is_no_number_is_refused(value):
    with pytest.raises(ValueError):
        Preprocess(mean=(0.5, value, 0.5))


@pytest.mark.parametrize("size", [16, 1024])
def test_the_limits_of_size_are_allowed(size):
    assert Preprocess(size)(picture(40, 50)).shape == (3, size, size)


def test_the_record_comes_back_from_json():
    for given in (Preprocess(), Preprocess(260, "resize", MEAN, STD, "bicubic")):
        found = Preprocess.from_dict(json.loads(json.dumps(given.to_dict())))
        assert found == given and hash(found) == hash(given)
        assert np.array_equal(found(picture(300, 280)), given(picture(300, 280)))
    assert given.to_dict() == {
        "size": 260, "fit": "resize", "mean": list(MEAN), "std": list(STD), "interpolation": "bicubic",
        "frame": "whole", "margin": 1.05, "mirror": False, "upright": False,
    }  # fmt: skip


def test_the_record_is_frozen_and_knows_no_other_field():
    with pytest.raises(AttributeError):
        Preprocess().size = 1
    with pytest.raises(TypeError, match="surprise"):
        Preprocess.from_dict({"surprise": 1})


# -------------------------------------------------------------------------------------------- notes


def test_a_note_says_when_under_half_of_the_image_is_seen():
    crop = Preprocess(100, "crop")
    assert crop.notes(1000, 500) == ("only the central 100x100 of 1000x500 pixels were looked at",)
    assert crop.notes(100, 201) != ()
    for width, height in [(100, 100), (100, 200), (141, 141), (50, 60), (90, 95)]:
        assert crop.notes(width, height) == (), (width, height)
    assert Preprocess(100, "resize").notes(4000, 3000) == ()


def test_a_note_says_so_of_a_narrow_image_too():
    """It is enlarged to 100x1900, and a nineteenth of it is seen."""
    assert Preprocess(100, "crop").notes(99, 1881) != ()
