"""training/blending.py: fakes made of Real images alone."""

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from imaging.faces import FaceFinder
from imaging.preprocess import Preprocess
from training.blending import self_blended

SPEC = Preprocess(size=224, frame="face", interpolation="bicubic")


@pytest.fixture(scope="module")
def portrait() -> tuple[Image.Image, np.ndarray]:
    """A framed face, and its five points."""
    image = Image.fromarray(astronaut())
    (face, *_), _ = FaceFinder()(image)
    return SPEC.base(image, face), SPEC.base_points(face.points, image.size, face)


def blended(portrait, seed: int) -> np.ndarray:
    image, points = portrait
    return np.asarray(self_blended(image, points, np.random.default_rng(seed))).astype(float)


def test_the_same_draws_make_the_same_picture(portrait):
    assert blended(portrait, 3).shape == (224, 224, 3)
    assert np.array_equal(blended(portrait, 3), blended(portrait, 3))
    assert not np.array_equal(blended(portrait, 3), blended(portrait, 4))


def test_face_and_surroundings_come_from_two_pictures(portrait):
    """One side of the seam is the picture itself, to the bit: at the nose or far from the face."""
    image, points = np.asarray(portrait[0]), portrait[1]
    column, row = points[2].round().astype(int)
    changes = []
    for seed in range(60):
        change = np.abs(blended(portrait, seed) - image).mean(2)
        changes.append((change[row - 6 : row + 7, column - 6 : column + 7].mean(), change[:4].mean()))
    inside, outside = np.array(changes).T
    assert (outside == 0).sum() > 15  # the copy was laid into the picture
    assert (outside > 1).sum() > 15  # the picture was laid into its copy
    assert (inside[outside == 0] > 0.5).all()
    assert 1 < np.median(np.maximum(inside, outside)) < 25  # of 255: changed, and still the same face


def test_a_face_at_the_edge_or_outside_is_no_error(portrait):
    image, points = portrait
    for shift in (-400, -120, 120, 400):
        made = self_blended(image, points + shift, np.random.default_rng(0))
        assert made.size == image.size and made.mode == "RGB"
    assert self_blended(image.resize((32, 32)), np.zeros((5, 2)), np.random.default_rng(1)).size == (32, 32)
