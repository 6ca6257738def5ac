"""Fakes made of Real images alone: a face blended with a slightly changed copy of itself.

Method: Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022: what all face swaps share is a
seam and two sides that do not quite match. Theirs takes 81 landmarks; ours has the finder's five, so the outline is
drawn around those, with every corner of it moved at random.
"""

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from imaging import corruptions

# The outline in the face's own axes, in units of the distance from the line of the eyes to that of the mouth: x to the
# side, y downwards from the middle of the eyes. A random part of the outermost is left out by shrinking it.
OUTLINE = (
    (0.0, -0.75), (0.55, -0.65), (0.95, -0.25), (1.0, 0.35), (0.85, 1.0), (0.5, 1.5), (0.0, 1.7),
    (-0.5, 1.5), (-0.85, 1.0), (-1.0, 0.35), (-0.95, -0.25), (-0.55, -0.65),
)  # fmt: skip
SHRUNK = (0.65, 1.05)  # the outline's size
MOVED = 0.12  # each corner, at most, in those units
STRETCHED = 0.04  # the copy's sides, at most, as a share
SHIFTED = 0.03  # the copy, at most, as a share of the face's height
SOFT = (0.02, 0.14)  # standard deviation of the seam's blur, as a share of the face's height
STRENGTHS = (0.5, 0.75, 1.0, 1.0)  # of the copy inside the outline


def self_blended(image: Image.Image, points: np.ndarray, draw: np.random.Generator) -> Image.Image:
    """The image with its face partly replaced by a changed copy of itself. Same size, RGB.

    points: (5, 2) as in a Face, pixels of the image; they may lie outside it.
    """
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    height = max(4.0, float(np.hypot(*(mouth - eyes))))
    changed = _changed(image, draw)
    inner, outer = (changed, image) if draw.random() < 0.5 else (image, changed)
    mask = _mask(image.size, eyes, mouth, height, draw)
    return Image.composite(_moved(inner, (eyes + mouth) / 2, height, draw), outer, mask)


def _changed(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """Another camera's rendering: colours a little off, and softer, sharper or saved again."""
    shift = draw.uniform(-8, 8, 3)
    tables = np.clip(np.arange(256) + shift[:, None], 0, 255).round().astype(int)
    image = image.point(tables.ravel().tolist())
    light, contrast, colours = draw.uniform(0.92, 1.08, 3)
    hue = draw.uniform(-0.01, 0.01)
    image = corruptions.colour(image, brightness=light, contrast=contrast, saturation=colours, hue=hue)
    return rendered_anew(image, draw)


def rendered_anew(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """Softer, sharper or out of focus, or as it is: a fourth of the images each."""
    kind = draw.integers(4)
    if kind == 0:
        factor = draw.uniform(0.3, 0.8)
        small = image.resize(tuple(max(8, round(side * factor)) for side in image.size), Image.Resampling.BILINEAR)
        return small.resize(image.size, Image.Resampling.BICUBIC)
    if kind == 1:
        return image.filter(ImageFilter.UnsharpMask(radius=2, percent=int(draw.integers(50, 200)), threshold=0))
    if kind == 2:
        return corruptions.blur(image, draw.uniform(0.3, 1.2))
    return image


def _moved(image: Image.Image, middle: np.ndarray, height: float, draw: np.random.Generator) -> Image.Image:
    """Stretched about the face's middle and shifted, by a few hundredths; the edge repeats."""
    stretch, shift = 1 + draw.uniform(-STRETCHED, STRETCHED, 2), draw.uniform(-SHIFTED, SHIFTED, 2) * height
    start = middle - (middle + shift) / stretch
    where = (1 / stretch[0], 0, start[0], 0, 1 / stretch[1], start[1])
    moved = image.transform(image.size, Image.Transform.AFFINE, where, Image.Resampling.BICUBIC)
    inside = Image.new("L", image.size, 255).transform(image.size, Image.Transform.AFFINE, where)
    return Image.composite(moved, image, inside)


def _mask(size: tuple[int, int], eyes: np.ndarray, mouth: np.ndarray, height: float, draw: np.random.Generator):
    """How much of the copy is seen: an image of kind L, 0 to 255."""
    down = (mouth - eyes) / height
    side = np.array([down[1], -down[0]])
    corners = np.array(OUTLINE) * draw.uniform(*SHRUNK, 2) + draw.uniform(-MOVED, MOVED, (len(OUTLINE), 2))
    corners[:, 1] += draw.uniform(-MOVED, MOVED)
    places = eyes + height * (corners[:, :1] * side + corners[:, 1:] * down)
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon([tuple(place) for place in places.tolist()], fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(draw.uniform(*SOFT) * height))
    strength = STRENGTHS[draw.integers(len(STRENGTHS))]
    return mask if strength == 1 else ImageChops.multiply(mask, Image.new("L", size, round(255 * strength)))
