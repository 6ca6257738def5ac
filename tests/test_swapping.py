"""training/swapping.py: parts of one Real face over another."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from imaging.faces import Face
from imaging.preprocess import Preprocess
from training import swapping
from training.augment import TrainingImages
from training.recipes import Recipe
from training.swapping import Donors, part_swapped, plan

SIDE = 120
POINTS = np.array([(42, 48), (78, 48), (61, 66), (46, 84), (74, 84)], float)  # of an upright face
WHOLE = (SIDE, SIDE)


def smooth(seed: int, side: int = SIDE) -> np.ndarray:
    """(side, side, 3) uint8: a picture of large blots."""
    blots = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(blots).resize((side, side), Image.Resampling.BICUBIC))


def people(n: int, sources=None, seed: int = 0) -> tuple[Donors, np.ndarray]:
    """Faces that differ a little, and their points: (n, 5, 2)."""
    points = POINTS + np.random.default_rng(seed).normal(0, 1.5, (n, 5, 2))
    return Donors(range(n), points, np.full((n, 2), SIDE), sources or [""] * n), points


def planned(i: int, donors: Donors, points: np.ndarray, seed: int = 0, **options):
    return plan(i, points[i], WHOLE, donors, np.random.default_rng(seed), **options)


def test_the_donor_is_another_of_the_same_source_if_there_is_one():
    donors, points = people(30, ["phone"] * 14 + ["studio"] * 15 + ["alone"])
    found = {i: {planned(i, donors, points, seed).donor for seed in range(20)} for i in (0, 20, 29)}
    assert found[0] <= set(range(1, 14)) and found[20] <= set(range(14, 29)) - {20}
    assert found[29] <= set(range(29)) and all(len(some) > 1 for some in found.values())


def test_the_donor_is_the_one_whose_points_fit_best_however_turned_and_large():
    donors, points = people(12)
    turned = (points[3] - 60) @ np.array([(0.0, 1.0), (-1.0, 0.0)]) * 1.2 + 60  # the fourth's, a quarter around
    donors = Donors(range(13), np.concatenate([points, [turned]]), np.full((13, 2), SIDE), [""] * 13)
    assert Counter(planned(3, donors, points, seed).donor for seed in range(20)).most_common(1)[0][0] == 12


def test_each_part_has_its_share_and_lies_in_the_face():
    donors, points = people(8)
    swaps = [planned(i % 8, donors, points, i) for i in range(400)]
    counts = Counter(swap.part for swap in swaps)
    assert {part: round(count / 400, 1) for part, count in counts.items()} == {
        "eyes": 0.2, "nose": 0.2, "mouth": 0.2, "inner": 0.4,
    }  # fmt: skip
    for part, places in {"eyes": POINTS[:2], "nose": POINTS[2:3], "mouth": POINTS[3:], "inner": POINTS}.items():
        outlines = np.array([swap.outline for swap in swaps if swap.part == part])
        assert (outlines.min((0, 1)) < places.min(0)).all() and (outlines.max((0, 1)) > places.max(0)).all()
        assert outlines.min() > 10 and outlines.max() < SIDE - 10


def test_a_face_turned_away_is_covered_less_far_on_the_side_that_it_turns_to():
    """Else a part would reach into the background."""
    turned = POINTS + np.array([(0, 0), (0, 0), (14, 0), (4, 0), (4, 0)])
    donors = Donors([0, 1], [turned, turned], [WHOLE, WHOLE], ["", ""])
    outlines = [planned(0, donors, [turned], seed).outline for seed in range(60)]
    reach = np.array([(60 - outline[:, 0].min(), outline[:, 0].max() - 60) for outline in outlines])
    assert np.median(reach[:, 1] / reach[:, 0]) < 0.75


def test_what_is_not_the_part_stays_as_it_was():
    donors, points = people(8)
    below, other = smooth(1), smooth(2)
    for seed in range(40):
        swap = planned(0, donors, points, seed)
        made = np.asarray(part_swapped(Image.fromarray(below), swap, other, np.random.default_rng(seed)))
        left, top, right, bottom = swap.box(WHOLE)
        changes = np.abs(made.astype(int) - below).max(2)
        assert changes[top:bottom, left:right].max() > 20
        changes[top:bottom, left:right] = 0
        assert not changes.any()
        middle = swap.outline.mean(0)
        reach = np.hypot(*(swap.outline - middle).T).max() + 3.5 * swap.feather
        rows, columns = np.nonzero((made != below).any(2))
        assert np.hypot(columns - middle[0], rows - middle[1]).max() < reach


def test_the_same_draws_make_the_same_composite():
    donors, points = people(8)

    def made(seed):
        swap = planned(0, donors, points, seed)
        return np.asarray(part_swapped(Image.fromarray(smooth(1)), swap, smooth(2), np.random.default_rng(seed)))

    assert np.array_equal(made(3), made(3)) and not np.array_equal(made(3), made(4))


@pytest.mark.parametrize(("angle", "factor"), [(0, 1.0), (25, 0.8), (-140, 2.5)])
def test_the_part_comes_to_lie_where_its_points_do(monkeypatch, angle, factor):
    """Of the same picture, turned and resized: over itself, it changes next to nothing."""
    for name in ("TURNED", "SCALED", "SHIFTED"):
        monkeypatch.setattr(swapping, name, 0.0)
    below, side = Image.fromarray(smooth(1)), round(SIDE * factor)
    other = np.asarray(below.rotate(-angle, Image.Resampling.BICUBIC).resize((side, side)))
    turn = np.exp(1j * np.radians(angle)) * factor
    there = turn * ((POINTS - SIDE / 2) @ (1, 1j)) + (1 + 1j) * side / 2
    points = np.array([POINTS, np.stack([there.real, there.imag], 1)])
    donors = Donors([0, 1], points, [(SIDE, SIDE), (side, side)], ["", ""])
    for seed in range(12):
        swap = planned(0, donors, points, seed)
        made = np.asarray(part_swapped(below, swap, other, np.random.default_rng(seed))).astype(int)
        changes = np.abs(made - np.asarray(below))
        assert swap.donor == 1 and changes.mean(2).max() < 25 and changes.sum() <= 4 * (changes > 0).sum()


def test_colours_are_those_of_the_face_below():
    donors, points = people(8)
    below = (smooth(1) * 0.3 + 20).astype(np.uint8)  # dark
    bright = (smooth(2) * 0.3 + 170).astype(np.uint8)
    for seed in range(30):
        swap = planned(0, donors, points, seed)
        made = np.asarray(part_swapped(Image.fromarray(below), swap, bright, np.random.default_rng(seed)))
        column, row = swap.outline.mean(0).astype(int)
        inside = (slice(row - 4, row + 5), slice(column - 4, column + 5))
        assert made[inside].mean() < 150  # 20 to 97 below, 170 to 247 in the donor


def test_a_view_without_the_part_stays_as_it_was():
    donors, points = people(8)
    swap, below = planned(0, donors, points), Image.fromarray(smooth(1))
    for corner in ((SIDE, 0), (0, SIDE), (-SIDE, 0), (400, 400)):
        assert part_swapped(below, swap, smooth(2), np.random.default_rng(0), corner) == below


def test_no_donor_no_swap():
    donors, points = people(1)
    assert planned(0, donors, points) is None
    donors, points = people(8)
    assert planned(0, donors, points / 4) is None  # nine pixels between the eyes
    assert planned(0, donors, points, seen=(0, 0, 20, SIDE)) is None  # the part is not in the crop
    assert planned(0, donors, points + 300) is None
    assert planned(0, donors, np.zeros_like(points)) is None
    small = Donors(range(8), points / 3, np.full((8, 2), SIDE // 3), [""] * 8)
    assert planned(0, small, points) is None  # enlarged threefold, the donor would be a blur
    cut = Donors(range(8), points - (60, 0), np.full((8, 2), SIDE), [""] * 8)
    assert planned(0, cut, points) is None  # half of each donor's face lies outside of its picture


def test_a_crop_is_nearly_that_of_the_whole_picture_swapped(monkeypatch):
    """Colours are matched by what the surroundings of the crop show: not all of a large photograph is worked on."""
    n, side = 12, 700
    pictures = [smooth(i, side) for i in range(n)]
    points = people(n)[1] * 3 + 150
    faces = tuple((Face((250, 250, 200, 220), tuple(map(tuple, each.tolist())), 0.9),) for each in points)
    index = SimpleNamespace(labels=np.zeros(n, int), faces=faces, sizes=((side, side),) * n, sources=[""] * n)

    def made() -> tuple[np.ndarray, np.ndarray]:
        recipe, spec = Recipe(flip=0.0, part_swap=1.0), Preprocess(size=300)
        images = TrainingImages(pictures, index, spec, recipe, crop=300, seed=0, epoch=1)
        batch, labels = images.__getitems__(list(range(n)))
        return batch.numpy(), labels.numpy()

    of_parts, labels = made()
    monkeypatch.setattr(
        TrainingImages, "_surroundings", lambda self, base, place, draws, happens: (base, (0, 0), place)
    )
    of_wholes, same = made()
    assert np.array_equal(labels, same) and 3 < labels.sum() < n
    assert np.abs(of_parts.astype(int) - of_wholes).mean((1, 2, 3)).max() < 4
    assert np.array_equal(of_parts[labels == 0], of_wholes[labels == 0])
