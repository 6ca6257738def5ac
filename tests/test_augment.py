"""What training does to an image: when it happens, what it depends on, and that it does what its name says."""

import zlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch
from conftest import make_image
from PIL import Image

from dataset import make_loader
from imaging import corruptions
from imaging.faces import Face, FaceFinder
from imaging.preprocess import Preprocess
from training import augment
from training.augment import TrainingImages, network_input
from training.recipes import RECIPES, Recipe

SPEC = Preprocess(size=48)
NOTHING = Recipe(flip=0.0)
EACH = tuple(name for name in augment.DRAWN if name != "place")
RANDOM = np.random.default_rng(5).integers(0, 256, (40, 40, 3), np.uint8)
# Eyes, nose and corners of the mouth of a face that fills RANDOM.
FACE = Face((2, 2, 36, 36), ((12, 14), (26, 14), (19, 20), (13, 29), (25, 29)), 0.9)


def training_images(base, recipe=NOTHING, *, n=8, spec=SPEC, crop=32, seed=0, epoch=1, face=FACE, size=None, label=0):
    """`n` samples that all have the same picture."""
    base = np.asarray(base)
    base.flags.writeable = False
    index = SimpleNamespace(
        labels=np.full(n, label),
        faces=None if face is None else ((face,),) * n,
        sizes=((size or base.shape[1::-1]),) * n,
        sources=("",) * n,
    )
    return TrainingImages([base] * n, index, spec, recipe, crop=crop, seed=seed, epoch=epoch)


def drawn(base, recipe=NOTHING, **options) -> np.ndarray:
    """(n, crop, crop, 3)."""
    images = training_images(base, recipe, **options)
    return images.__getitems__(list(range(len(images))))[0].numpy()


def only(name: str, probability: float = 1.0) -> Recipe:
    return replace(NOTHING, **{name: probability})


def everything(probability: float) -> Recipe:
    return replace(NOTHING, **dict.fromkeys(EACH, probability))


def changed(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) which images differ."""
    return (some != others).any((1, 2, 3))


# What the draws depend on


@pytest.mark.parametrize("workers", [0, 2])
def test_draws_depend_on_seed_epoch_and_place_only(workers):
    def epoch(order, batch_size, **key):
        batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        loader = make_loader(training_images(RANDOM, everything(0.5), n=50, **key), batches=batches, workers=workers)
        return dict(zip(order, torch.cat([batch for batch, _ in loader]), strict=True))

    here, other_order = epoch([0, 9, 40, 3], 4), epoch([3, 40, 0, 9], 3)
    assert all(torch.equal(here[i], other_order[i]) for i in here)
    for key in ({"epoch": 2}, {"seed": 1}):
        assert not any(torch.equal(here[i], image) for i, image in epoch([0, 9, 40, 3], 4, **key).items())


def test_one_item_is_what_a_batch_holds():
    images = training_images(RANDOM, everything(0.5), label=1)
    batch, labels = images.__getitems__([5, 2])
    assert batch.shape == (2, 32, 32, 3) and batch.dtype == torch.uint8
    assert labels.tolist() == [1, 1] and labels.dtype == torch.int64
    assert np.array_equal(images[2][0], batch[1]) and images[2][1] == 1 and len(images) == 8


def test_both_classes_go_through_the_same_draws():
    recipe = replace(everything(0.5), self_blend=0.0, part_swap=0.0)
    real, fake = (drawn(RANDOM, recipe, n=30, label=label) for label in (0, 1))
    assert np.array_equal(real, fake)


def test_self_blending_makes_fakes_of_real_images_and_of_nothing_else():
    n, faceless = 300, {"face": None}
    batch, labels = training_images(RANDOM, only("self_blend", 0.3), n=n).__getitems__(list(range(n)))
    plain = drawn(RANDOM, n=n)
    assert np.array_equal(changed(batch.numpy(), plain), labels.numpy() == 1)
    assert 0.2 < labels.double().mean() < 0.4
    for options in ({"label": 1}, faceless):
        images = training_images(RANDOM, only("self_blend"), n=n, **options)
        batch, labels = images.__getitems__(list(range(n)))
        assert np.array_equal(batch.numpy(), plain) and set(labels.tolist()) == {options.get("label", 0)}
    assert training_images(RANDOM, only("self_blend"), n=1)[0][1] == 1


def test_part_swaps_make_fakes_of_real_images_with_a_face_where_another_has_one():
    n = 200
    batch, labels = training_images(RANDOM, only("part_swap", 0.3), n=n).__getitems__(list(range(n)))
    plain = drawn(RANDOM, n=n)
    assert np.array_equal(changed(batch.numpy(), plain), labels.numpy() == 1)
    assert 0.2 < labels.double().mean() < 0.4
    for options in ({"label": 1}, {"face": None}, {"n": 1}):
        images = training_images(RANDOM, only("part_swap"), **({"n": 20} | options))
        batch, labels = images.__getitems__(list(range(len(images))))
        assert np.array_equal(batch.numpy(), plain[: len(images)]) and set(labels.tolist()) == {options.get("label", 0)}


def test_a_face_is_swapped_or_blended_with_itself_but_not_both():
    both = replace(only("part_swap"), self_blend=1.0)
    assert np.array_equal(drawn(RANDOM, both, n=30), drawn(RANDOM, only("part_swap"), n=30))
    without_donor = drawn(RANDOM, both, n=1)
    assert np.array_equal(without_donor, drawn(RANDOM, only("self_blend"), n=1))


def test_without_part_swaps_all_is_drawn_as_before_there_were_any():
    """Of what only copies pixels: the checksum is that of the code before."""
    copied = replace(NOTHING, flip=0.5, vertical_flip=0.5, erase=0.5)
    assert zlib.crc32(drawn(RANDOM, copied, n=40).tobytes()) == 4151029579


@pytest.mark.parametrize("name", EACH)
def test_each_happens_with_its_probability_whatever_the_others_do(name):
    n = 250
    alone = changed(drawn(RANDOM, only(name, 0.3), n=n), drawn(RANDOM, n=n))
    assert 0.18 < alone.mean() < 0.42  # 0.3 with four standard deviations; a few draws are too weak to change anything
    others = replace(everything(0.5), **{name: 0.0})
    if name == "self_blend":
        others = replace(others, part_swap=0.0)  # to which it yields
    among_others = changed(drawn(RANDOM, replace(others, **{name: 0.3}), n=n), drawn(RANDOM, others, n=n))
    assert 0.18 < among_others.mean() < 0.42  # had the others' draws moved, nearly all would have changed
    assert (alone == among_others).mean() > 0.95


# What each of them does


def test_crops_are_native_pixels_at_random_places():
    image = np.asarray(make_image(True, 5))
    corners = set()
    for pixels in drawn(image, n=40):
        places = [
            (y, x) for y in range(33) for x in range(33) if (image[y, x : x + 32] == pixels[0]).all()
            and (image[y : y + 32, x : x + 32] == pixels).all()
        ]  # fmt: skip
        assert len(places) == 1
        corners |= set(places)
    assert len(corners) > 25
    assert max(y for y, _ in corners) > 28 and min(y for y, _ in corners) < 4


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, fit="resize"), replace(SPEC, frame="face")])
def test_original_sees_in_training_what_it_is_judged_on(spec):
    """Without augmentation: the very same numbers, wherever the whole base is the input."""
    image = make_image(True, 5, 48 if spec.fit == "crop" and spec.frame == "whole" else 64)
    images = training_images(spec.base(image, FACE), RECIPES["original"], spec=spec, crop=spec.size, size=image.size)
    batch, _ = images.__getitems__([0, 3])
    expected = spec(image, FACE)
    assert all(np.array_equal(array, expected) for array in network_input(batch, spec, torch.device("cpu")).numpy())


def test_a_framed_face_is_cut_or_squeezed_as_the_recipe_fits():
    spec = replace(SPEC, frame="face")
    base = np.asarray(spec.base(make_image(True, 5, 64), FACE))
    cut = drawn(base, n=20, spec=spec, crop=32)
    squeezed = drawn(base, n=20, spec=replace(spec, fit="resize"), crop=32)
    assert changed(cut[1:], cut[:1]).mean() > 0.8 and not changed(squeezed[1:], squeezed[:1]).any()
    assert np.array_equal(squeezed[0], np.asarray(Image.fromarray(base).resize((32, 32), Image.Resampling.BILINEAR)))


def test_small_and_resized_images_are_made_as_for_judging():
    image = make_image(True, 1)
    where = np.random.default_rng((0, 1, 0)).random((len(augment.DRAWN), 6))[0, 1:3]
    assert np.array_equal(drawn(image, crop=96)[0], SPEC.crop(image, size=96, where=where))
    squeezed = replace(SPEC, fit="resize", size=64)
    assert np.array_equal(drawn(image, spec=squeezed, crop=48)[0], squeezed.resize(image, size=48))


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1), (33, 200)])
def test_any_size_goes_through_everything(size):
    base = np.resize(RANDOM, (*size, 3))
    for spec in (SPEC, replace(SPEC, frame="face"), replace(SPEC, fit="resize")):
        assert drawn(base, everything(1.0), n=2, spec=spec, face=None).shape == (2, 32, 32, 3)


def test_flips_are_mirror_images():
    plain = drawn(RANDOM)
    assert np.array_equal(drawn(RANDOM, only("flip")), plain[:, :, ::-1])
    assert np.array_equal(drawn(RANDOM, only("vertical_flip")), plain[:, ::-1])
    assert np.array_equal(drawn(RANDOM, replace(only("flip"), vertical_flip=1.0)), plain[:, ::-1, ::-1])


def test_erasing_fills_one_rectangle():
    plain, erased = drawn(RANDOM, n=200), drawn(RANDOM, only("erase"), n=200)
    shares, flat = [], []
    for before, after in zip(plain, erased, strict=True):
        touched = (before != after).any(2)
        rows, columns = np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0))
        inside = after[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].reshape(-1, 3)
        shares.append(len(inside) / touched.size)
        flat.append((inside == inside[0]).all())
        if flat[-1]:
            assert np.abs(inside[0] - before.mean((0, 1))).max() <= 0.5
    assert 0.01 < min(shares) < 0.04 and 0.17 < max(shares) < 0.24  # 0.02 to 0.2, in whole pixels
    assert 70 < sum(flat) < 130


def test_rescaling_moves_pixels_apart_or_together():
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 200, 0).repeat(3, 2)
    images = drawn(ramp, only("rescale"), n=200).astype(float)
    factors = 16 / (images[:, 16, 24, 0] - images[:, 16, 8, 0])
    assert 0.45 < factors.min() < 0.55 and 1.2 < factors.max() < 1.5


def test_colours_stay_within_the_recipe():
    plain = Image.new("RGB", (40, 40), (100, 100, 100))
    brightness = drawn(plain, only("colour"), n=200)[:, 0, 0, 0].astype(int)  # grey has neither saturation nor hue
    assert (brightness.min(), brightness.max()) == (pytest.approx(81, abs=1), pytest.approx(119, abs=1))
    assert (np.ptp(drawn(RANDOM, only("grey")), axis=3) == 0).all()


def test_noise_and_blur_are_of_every_strength():
    plain = Image.new("RGB", (40, 40), (100, 100, 100))
    deviations = drawn(plain, only("noise"), n=100).std((1, 2, 3))
    assert deviations.min() < 1 and 9 < deviations.max() < 10.5
    remaining = drawn(RANDOM, only("blur"), n=100).std((1, 2, 3)) / RANDOM.std()
    assert remaining.min() < 0.2 and remaining.max() > 0.95


@pytest.mark.parametrize("size", [40, 200])
def test_geometry_invents_no_border(size):
    plain = Image.new("RGB", (size, size), (200, 100, 50))
    assert (drawn(plain, replace(only("geometry"), rotate=180.0, zoom=0.3), n=40) == (200, 100, 50)).all()


# Large pictures: only what the crop will show is worked on


@pytest.mark.parametrize(
    ("name", "corrupt"),
    [
        ("jpeg", lambda image: corruptions.jpeg(image, 40)),
        ("webp", corruptions.grey),  # any function of single pixels
        ("blur", lambda image: corruptions.blur(image, augment.BLUR)),
    ],
)
def test_a_crop_is_that_of_the_whole_picture_changed(monkeypatch, name, corrupt):
    image = make_image(True, 3, 300)
    monkeypatch.setitem(augment.STEPS, name, lambda image, u, recipe: corrupt(image))
    assert np.array_equal(drawn(image, only(name), n=40), drawn(corrupt(image), n=40))


def test_a_crop_is_nearly_that_of_the_whole_picture_rescaled(monkeypatch):
    monkeypatch.setattr(augment, "RESCALE", (0.7, 0.7))
    monkeypatch.setattr(augment, "RESAMPLINGS", (Image.Resampling.BILINEAR,))
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    smooth = smooth.resize((400, 300), Image.Resampling.BICUBIC)
    part, whole = drawn(smooth, only("rescale"), n=40), drawn(corruptions.rescale(smooth, 0.7), n=40)
    assert np.abs(part.astype(int) - whole).mean() < 3  # the places are whole pixels of two grids


def test_a_large_photo_is_not_worked_on_as_a_whole(monkeypatch):
    worked_on = []
    monkeypatch.setitem(augment.STEPS, "noise", lambda image, u, recipe: worked_on.append(image.size) or image)
    drawn(np.zeros((3000, 4000, 3), np.uint8), everything(1.0), n=20)
    assert len(worked_on) == 20 and max(max(size) for size in worked_on) < 200


# Faces


@pytest.mark.parametrize(
    "spec",
    [
        Preprocess(size=224, frame="face"),
        Preprocess(size=224, fit="resize"),
        Preprocess(size=512),
    ],
)
def test_blackout_covers_eyes_nose_or_mouth(spec):
    astronaut = Image.fromarray(skimage.data.astronaut())
    face = FaceFinder()(astronaut)[0][0]
    base = spec.base(astronaut, face)
    points = np.rint(spec.base_points(face.points, astronaut.size, face)).astype(int)
    covered = []
    for pixels in drawn(base, only("blackout"), spec=spec, crop=spec.size, n=20, face=face, size=astronaut.size):
        black = [(pixels[y, x] == 0).all() for x, y in points]
        covered.append({(True, True, False, False, False): "eyes", (False, False, True, False, False): "nose",
                        (False, False, False, True, True): "mouth"}[tuple(map(bool, black))])  # fmt: skip
        touched = (pixels != np.asarray(base)).any(2)
        assert (pixels[touched] == 0).all()
        assert 0.4 < touched.sum() / np.hypot(*(points[1] - points[0])) ** 2 < 1.7
    assert set(covered) == set(augment.FACE_PARTS)


@pytest.mark.parametrize("faces", [None, ((),) * 8])
def test_no_face_no_blackout(faces):
    images = training_images(RANDOM, only("blackout"))
    images.index.faces = faces
    assert np.array_equal(images.__getitems__(list(range(8)))[0], drawn(RANDOM))


# On the device


def test_network_input_is_what_normalise_makes():
    spec = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    batch = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8))
    made = network_input(batch, spec, torch.device("cpu"))
    assert np.array_equal(made, np.stack([spec.normalise(pixels.numpy()) for pixels in batch]))
    assert made.dtype == torch.float32 and made.is_contiguous(memory_format=torch.channels_last)
    half = network_input(batch, spec, torch.device("cpu"), dtype=torch.bfloat16)
    assert torch.equal(half, made.to(torch.bfloat16)) and half.is_contiguous(memory_format=torch.channels_last)
