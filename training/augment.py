"""What training does to an image before the network sees it.

    images = TrainingImages(pictures, index, preprocess, recipe, crop=224, seed=0, epoch=3)
    batch, labels = images.__getitems__([5, 2, 8])           # (3, 224, 224, 3) uint8, (3,) int64
    network(network_input(batch, preprocess, device))        # (3, 3, 224, 224) float32, normalised on the device

Images stay uint8 until they are on the device: a quarter of the bytes between processes and over the bus. No damage
looks at a label: both classes go through the same draws. Only self-blending and part swaps do: they make a Fake of a
Real image, before all that a file meets.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from imaging import corruptions
from imaging.faces import Face
from imaging.preprocess import Preprocess
from indexing import Index
from names import FAKE, REAL
from training.blending import self_blended
from training.recipes import Recipe
from training.swapping import Donors, Swap, part_swapped, plan

QUALITY = (30, 100)  # of JPEG and WebP
SUBSAMPLINGS = ("4:2:0", "4:4:4")  # what cameras and most programs write, and what image editors do
WEBP_EFFORT = (0, 4)  # from the fastest encoder to the usual one
BLUR = 3.0  # largest standard deviation, pixels
NOISE = 10.0  # largest standard deviation, of 255
RESCALE = (0.5, 1.3)  # factor on the sides
RESAMPLINGS = (
    Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS,
)  # fmt: skip
ERASED_AREA = (0.02, 0.2)  # share of the image
ERASED_ASPECT = 3.0  # largest, of the longer side to the shorter
# Which of a Face's points a blackout covers, and how far beyond them, in distances between the eyes.
FACE_PARTS = {"eyes": (0, 1), "nose": (2,), "mouth": (3, 4)}
COVERED_BEYOND = 0.35

# A sample's random numbers are one block: a row for each of these, a decision and then its parameters in columns. All
# are drawn in any case, so that no augmentation's draws depend on another's probability. A new one goes to the end.
DRAWN = (
    "place", "flip", "vertical_flip", "erase", "blackout", "geometry", "rescale", "colour", "grey", "blur", "noise",
    "jpeg", "webp", "self_blend", "part_swap",
)  # fmt: skip
_ROW = {name: row for row, name in enumerate(DRAWN)}
_COLUMNS = 6
_COPIED = slice(_ROW["blackout"], None)  # the rows of what cannot be done by copying the base's pixels


class TrainingImages(Dataset):
    """The augmented training images of one epoch.

    What is drawn for an image depends on (seed, epoch, its place in the index) alone: never on the number of worker
    processes, the order or the batches.

    pictures: pictures[i] is what Preprocess.base makes of sample i, (h, w, 3) uint8; it is only read.
    crop: side of the training images, pixels; may be smaller than the network's input, which is then only judged with.
    """

    def __init__(
        self,
        pictures: Sequence[np.ndarray],
        index: Index,
        preprocess: Preprocess,
        recipe: Recipe,
        *,
        crop: int,
        seed: int,
        epoch: int,
        soft: np.ndarray | None = None,
    ):
        self.pictures, self.index, self.preprocess, self.recipe = pictures, index, preprocess, recipe
        self.crop, self.seed, self.epoch = crop, seed, epoch
        self.labels = index.labels
        self.targets = self.labels.tolist() if soft is None else soft.tolist()
        self.resizes = preprocess.fit == "resize"  # to the training image; else that is cut out of the base
        self.probabilities = np.array([0.0 if name == "place" else getattr(recipe, name) for name in DRAWN])
        self.donors = self._donors() if recipe.part_swap and index.faces is not None else None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        """((crop, crop, 3) uint8, label) of sample `i`."""
        image = torch.empty(self.crop, self.crop, 3, dtype=torch.uint8)
        label = self._draw_into(image, i)
        return image.numpy(), label

    def __getitems__(self, chosen: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, crop, crop, 3) uint8 and (n,) int64: a batch as it is, for a loader that collates nothing."""
        images = torch.empty(len(chosen), self.crop, self.crop, 3, dtype=torch.uint8)
        labels = [self._draw_into(image, i) for image, i in zip(images, chosen, strict=True)]
        return images, torch.tensor(labels)

    def _draw_into(self, image: torch.Tensor, i: int) -> int:
        """Write what is drawn for sample `i` into an image of (crop, crop, 3). Returns its label."""
        draws = np.random.default_rng((self.seed, self.epoch, i)).random((len(DRAWN), _COLUMNS))
        happens, label = draws[:, 0] < self.probabilities, int(self.labels[i])
        base, place, pixels = self.pictures[i], draws[_ROW["place"], 1:3].tolist(), image.numpy()
        can_be_faked = label == REAL and self._face(i) is not None
        swap = None
        if happens[_ROW["part_swap"]] and can_be_faked and self.donors is not None:
            swap = self._swap(base, place, draws, happens, i)
        happens[_ROW["part_swap"]] = swap is not None
        happens[_ROW["self_blend"]] &= can_be_faked and swap is None
        faked = happens[_ROW["part_swap"]] or happens[_ROW["self_blend"]]
        if happens[_COPIED].any() or not self._fits(base):
            pixels[:] = self._altered(base, place, draws, happens, i, swap)
        else:  # a copy of some rows: a Pillow image made from the base and back would cost more than all the rest
            top, left = (round(at * (side - self.crop)) for at, side in zip(place[::-1], base.shape, strict=False))
            pixels[:] = base[top : top + self.crop, left : left + self.crop]
        turned = [axis for axis, name in enumerate(("vertical_flip", "flip")) if happens[_ROW[name]]]
        if turned:
            image.copy_(image.flip(turned))  # NumPy takes ten times as long to copy backwards
        if happens[_ROW["erase"]]:
            erase(pixels, draws[_ROW["erase"], 1:])
        return type(self.targets[i])(FAKE) if faked else self.targets[i]

    def _fits(self, base: np.ndarray) -> bool:
        """Whether the training image is a part of the base, pixel by pixel."""
        height, width, _ = base.shape
        return height == width == self.crop if self.resizes else min(height, width) >= self.crop

    def _altered(self, base: np.ndarray, place, draws: np.ndarray, happens: np.ndarray, i: int, swap: Swap | None):
        """The image of (crop, crop, 3) before flips and erasing."""
        corner = (0, 0)
        if not self.resizes and happens[_COPIED].any():
            base, corner, place = self._surroundings(base, place, draws, happens)
        image = Image.fromarray(base)
        if swap is not None:
            image = part_swapped(
                image, swap, self.pictures[swap.donor], _generator(draws[_ROW["part_swap"], 2]), corner
            )
        if happens[_ROW["self_blend"]]:
            points = self._points(self._face(i), i) - corner
            image = self_blended(image, points, _generator(draws[_ROW["self_blend"], 1]))
        if happens[_ROW["blackout"]] and (face := self._face(i)):
            image = blackout(image, self._points(face, i) - corner, draws[_ROW["blackout"], 1:])
        for name, step in STEPS.items():
            if happens[_ROW[name]]:
                image = step(image, draws[_ROW[name], 1:].tolist(), self.recipe)
        if self.resizes:
            return np.asarray(self.preprocess.resize(image, size=self.crop))
        return np.asarray(self.preprocess.crop(image, size=self.crop, where=place))

    def _surroundings(self, base: np.ndarray, place, draws: np.ndarray, happens: np.ndarray):
        """The part of the base that decides what the crop will show, its (left, top), and the crop's place in it.

        The same augmentations on all of a photo of twelve megapixels would take a hundred times as long. The part
        begins at a multiple of 16 pixels, so that a codec's blocks lie where they would in the whole.
        """
        height, width, _ = base.shape
        window, factor = self._window(base, draws, happens)
        margin = (16 + 3 * BLUR) / factor + window / 2 * happens[_ROW["geometry"]]
        spans, where = [], []
        for at, side in zip(place, (width, height), strict=True):
            start = at * (side - window)
            low, high = max(0, int(start - margin)) // 16 * 16, min(side, math.ceil(start + window + margin))
            spans.append(slice(low, high))
            where.append((start - low) / (high - low - window) if high - low > window else 0.0)
        columns, rows = spans
        return base[rows, columns], (columns.start, rows.start), where

    def _window(self, base: np.ndarray, draws: np.ndarray, happens: np.ndarray) -> tuple[float, float]:
        """Side of the crop in pixels of the base, and the factor by which the base is rescaled."""
        factor = _between(RESCALE, draws[_ROW["rescale"], 1]) if happens[_ROW["rescale"]] else 1.0
        return self.crop / max(factor, self.crop / min(base.shape[:2])), factor

    def _swap(self, base: np.ndarray, place, draws: np.ndarray, happens: np.ndarray, i: int) -> Swap | None:
        """What of whom is put over sample `i`'s face, where the training image will show it."""
        size, seen = base.shape[1::-1], None
        if not self.resizes:
            window, _ = self._window(base, draws, happens)
            left, top = (at * (side - window) for at, side in zip(place, size, strict=True))
            seen = left, top, left + window, top + window
        points = self._points(self._face(i), i)
        return plan(i, points, size, self.donors, _generator(draws[_ROW["part_swap"], 1]), seen)

    def _donors(self) -> Donors:
        """The Real images with a face."""
        samples = [i for i in np.flatnonzero(self.labels == REAL).tolist() if self._face(i) is not None]
        points = np.array([self._points(self._face(i), i) for i in samples])
        sizes = np.array([self.preprocess.base_size(self.index.sizes[i]) for i in samples])
        sources = self.index.sources
        return Donors(samples, points, sizes, [sources[i] for i in samples])

    def _face(self, i: int) -> Face | None:
        """The largest face of sample `i`, which its label is about."""
        return self.index.faces[i][0] if self.index.faces is not None and self.index.faces[i] else None

    def _points(self, face: Face, i: int) -> np.ndarray:
        """(5, 2) key points of sample `i`'s face, pixels of its base."""
        return self.preprocess.base_points(face.points, self.index.sizes[i], face)


# What follows takes u: numbers drawn from [0, 1).


def blackout(image: Image.Image, points: np.ndarray, u: Sequence[float]) -> Image.Image:
    """Eyes, nose or mouth under a black rectangle. points: (5, 2) as in a Face, pixels of the image."""
    part = points[list(_choice(tuple(FACE_PARTS.values()), u[0]))]
    beyond = COVERED_BEYOND * np.hypot(*(points[1] - points[0]))
    covered = image.copy()
    corners = np.floor(part.min(0) - beyond), np.ceil(part.max(0) + beyond)
    covered.paste((0, 0, 0), tuple(np.concatenate(corners).astype(int).tolist()))
    return covered


def _geometry(image: Image.Image, u: Sequence[float], recipe: Recipe) -> Image.Image:
    return corruptions.affine(
        image,
        degrees=_around(0, recipe.rotate, u[0]),
        shift=(_around(0, recipe.shift, u[1]), _around(0, recipe.shift, u[2])),
        shear=_around(0, recipe.shear, u[3]),
        zoom=(1 + recipe.zoom) ** _around(0, 1, u[4]),
    )


def _rescale(image: Image.Image, u: Sequence[float], recipe: Recipe) -> Image.Image:
    return corruptions.rescale(image, _between(RESCALE, u[0]), _choice(RESAMPLINGS, u[1]))


def _colour(image: Image.Image, u: Sequence[float], recipe: Recipe) -> Image.Image:
    return corruptions.colour(
        image,
        brightness=_around(1, recipe.brightness, u[0]),
        contrast=_around(1, recipe.contrast, u[1]),
        saturation=_around(1, recipe.saturation, u[2]),
        hue=_around(0, recipe.hue, u[3]),
    )


def _grey(image: Image.Image, u: Sequence[float], recipe: Recipe) -> Image.Image:
    return corruptions.grey(image)


def _blur(image: Image.Image, u: Sequence[float], recipe: Recipe) -> Image.Image:
    return corruptions.blur(image, BLUR * u[0])


def _noise(image: Image.Image, u: Sequence[float], recipe: Recipe) -> Image.Image:
    return corruptions.noise(image, NOISE * u[0], _generator(u[1]))


def _jpeg(image: Image.Image, u: Sequence[float], recipe: Recipe) -> Image.Image:
    return corruptions.jpeg(image, _whole(QUALITY, u[0]), _choice(SUBSAMPLINGS, u[1]))


def _webp(image: Image.Image, u: Sequence[float], recipe: Recipe) -> Image.Image:
    return corruptions.webp(image, _whole(QUALITY, u[0]), _whole(WEBP_EFFORT, u[1]))


# In the order in which a picture meets them: it is edited (turned, resized, re-coloured, softened), grainy at that
# size, and saved last. What is cut out of it for the network is cut out of the saved file.
STEPS: dict[str, Callable[[Image.Image, Sequence[float], Recipe], Image.Image]] = {
    "geometry": _geometry,
    "rescale": _rescale,
    "colour": _colour,
    "grey": _grey,
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "webp": _webp,
}


def erase(pixels: np.ndarray, u: Sequence[float]) -> None:
    """Fill a rectangle of (h, w, 3) pixels with their mean colour or with noise, in place (Zhong et al. 2020)."""
    height, width, _ = pixels.shape
    area, aspect = _between(ERASED_AREA, u[0]) * height * width, ERASED_ASPECT ** (2 * u[1] - 1)
    rows, columns = min(height, math.ceil(math.sqrt(area * aspect))), min(width, math.ceil(math.sqrt(area / aspect)))
    top, left = int(u[2] * (height - rows + 1)), int(u[3] * (width - columns + 1))
    filled = pixels[top : top + rows, left : left + columns]
    filled[:] = np.rint(pixels.mean((0, 1))) if u[4] < 0.5 else _generator(u[4]).integers(0, 256, filled.shape)


def _between(ends: tuple[float, float], u: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * u


def _around(middle: float, most: float, u: float) -> float:
    return middle + most * (2 * u - 1)


def _whole(ends: tuple[int, int], u: float) -> int:
    """A whole number, both ends included."""
    return ends[0] + int((ends[1] - ends[0] + 1) * u)


def _choice(options: Sequence, u: float):
    return options[int(len(options) * u)]


def _generator(u: float) -> np.random.Generator:
    """For what takes more random numbers than a row holds."""
    return np.random.default_rng(int(u * 2**53))


def network_input(
    batch: torch.Tensor, preprocess: Preprocess, device: torch.device, *, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """(n, h, w, 3) uint8 to (n, 3, h, w) on the device, channels last in memory, normalised by Preprocess.normalise.

    In float32 on the CPU it is the very same numbers. From pinned memory the transfer does not wait.
    """
    n, height, width, _ = batch.shape
    # A row of pixels at a time: channel by channel, the CPU would take five times as long.
    scale, shift = _scale_and_shift(preprocess, width, device)
    rows = batch.to(device, non_blocking=True).float().view(n, height, width * 3).mul_(scale).sub_(shift)
    return rows.view(n, height, width, 3).permute(0, 3, 1, 2).to(dtype)


@lru_cache(maxsize=8)  # made once: a copy to the device from memory that is not pinned would wait for the device
def _scale_and_shift(preprocess: Preprocess, width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Two (width * 3,) float32 that make (pixel / 255 - mean) / std of a row of pixels, as in Preprocess.normalise."""
    mean, std = np.array(preprocess.mean, np.float32), np.array(preprocess.std, np.float32)
    scale, shift = 1 / (255 * std), mean / std
    return torch.from_numpy(np.tile(scale, width)).to(device), torch.from_numpy(np.tile(shift, width)).to(device)
