"""Make the sample pictures beside this file, from photographs that two installed packages carry: nothing is downloaded.

    python -m samples.make                  # into samples/, over what is there
    python -m samples.make --out elsewhere

untouched/ holds photographs as they are, and cut or saved as a user may have done; manipulated/ the same ones with our
manipulations of the faces; no-face/ one without a face. README.md says of each what it is. The same versions of the
packages give the same bytes.

The manipulations leave what simple deepfakes leave: a face of another resolution or colour inside a soft border. The
self-blended ones follow Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022.

Exit status: 0 made; 1 a package or a face is missing, or a file cannot be written; 2 usage.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from imaging.door import open_image
from imaging.faces import Face, FaceFinder

QUALITY = 95  # JPEG
HERE = Path(__file__).parent
BICUBIC, LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS


@dataclass(frozen=True)
class Portrait:
    """A photograph with one face in it."""

    image: Image.Image
    face: Face

    @property
    def points(self) -> np.ndarray:
        """(5, 2) pixels: right eye, left eye, tip of the nose, right and left corner of the mouth."""
        return np.array(self.face.points)


@dataclass(frozen=True)
class Axes:
    """A face's own coordinates in its picture, whose unit is the pixel."""

    origin: np.ndarray  # (2,) midway between the eyes
    right: np.ndarray  # (2,) from the eye on the left of the picture to the other, length 1
    down: np.ndarray  # (2,) square to that, towards the mouth, length 1
    eyes: float  # between the eyes
    drop: float  # from the eyes to the mouth

    @classmethod
    def of(cls, points: np.ndarray) -> "Axes":
        origin, mouth, across = points[:2].mean(0), points[3:].mean(0), points[1] - points[0]
        right = across / np.hypot(*across)
        down = np.array([-right[1], right[0]])
        return cls(origin, right, down, float(np.hypot(*across)), float((mouth - origin) @ down))

    def place(self, x: float, y: float) -> np.ndarray:
        """The pixel at x distances of the eyes to the right, y distances of the mouth down from between the eyes."""
        return self.origin + x * self.eyes * self.right + y * self.drop * self.down


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m samples.make", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE, help="folder to make them in (default: beside this program)")
    try:
        make(parser.parse_args(argv).out)
    except (LookupError, OSError) as error:
        print(f"samples/make.py: error: {error}", file=sys.stderr)
        return 1
    return 0


def make(out: Path) -> None:
    """Write all pictures below `out`. Raises LookupError where a package is missing, and OSError."""
    collins, hopper = portrait(astronaut()), portrait(open_image(grace_hopper()).image)
    for name, picture in pictures(collins, hopper):
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=50 if "q50" in name else QUALITY)
    (out / "untouched" / "grace_hopper.jpg").write_bytes(grace_hopper().read_bytes())


def pictures(collins: Portrait, hopper: Portrait) -> Iterator[tuple[str, Image.Image]]:
    """(name, picture) of all but the one that is copied."""
    yield "untouched/astronaut.jpg", collins.image
    yield "untouched/astronaut-head-and-shoulders.jpg", collins.image.crop((96, 0, 352, 256))
    yield "untouched/astronaut-q50.jpg", collins.image
    yield "untouched/both.jpg", side_by_side(collins.image, hopper.image)
    yield "manipulated/swap-hopper-on-astronaut.jpg", swap(collins, hopper)
    yield "manipulated/swap-astronaut-on-hopper.jpg", swap(hopper, collins)
    yield "manipulated/self-blend-astronaut.jpg", self_blend(collins)
    yield "manipulated/self-blend-hopper.jpg", self_blend(hopper)
    yield "manipulated/mirrored-eyes-astronaut.jpg", mirror(collins, EYES)
    yield "manipulated/mirrored-mouth-hopper.jpg", mirror(hopper, MOUTH)
    yield "manipulated/smoothed-astronaut.jpg", smooth(collins)
    yield "manipulated/smoothed-hopper.jpg", smooth(hopper)
    yield "no-face/rocket.jpg", rocket()


# ------------------------------------------------------------------------------------------------- the photographs


def astronaut() -> Image.Image:
    return photograph("astronaut")


def rocket() -> Image.Image:
    return photograph("rocket")


def photograph(name: str) -> Image.Image:
    """One that lies inside scikit-image."""
    try:
        import skimage.data
    except ModuleNotFoundError:
        raise LookupError("scikit-image is missing: pip install -r requirements-dev.txt") from None
    return Image.fromarray(getattr(skimage.data, name)())


def grace_hopper() -> Path:
    """The file inside matplotlib."""
    if not find_spec("matplotlib"):
        raise LookupError("matplotlib is missing: pip install -r requirements.txt")
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def portrait(image: Image.Image) -> Portrait:
    faces, _ = FaceFinder()(image)
    if len(faces) != 1:
        raise LookupError(f"one face was expected in a photograph of {image.width}x{image.height}, not {len(faces)}")
    return Portrait(image, faces[0])


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    """Both at the height of the lower one."""
    height = min(left.height, right.height)
    images = [image.resize((round(image.width * height / image.height), height), LANCZOS) for image in (left, right)]
    both = Image.new("RGB", (sum(image.width for image in images), height))
    both.paste(images[0], (0, 0))
    both.paste(images[1], (images[0].width, 0))
    return both


# ----------------------------------------------------------------------------------------------- the manipulations


@dataclass(frozen=True)
class Ellipse:
    """Where on a face: centre and half axes, x in distances between the eyes, y in distances from eyes to mouth."""

    centre: tuple[float, float]
    half: tuple[float, float]
    softness: float  # width of the border, as a part of the half axes

    def mask(self, axes: Axes, size: tuple[int, int]) -> np.ndarray:
        """(h, w, 1) from 0 outside to 1 inside."""
        y, x = np.indices(size[::-1])
        away = np.stack([x, y], 2) - axes.place(*self.centre)
        across = away @ axes.right / (axes.eyes * self.half[0])
        along = away @ axes.down / (axes.drop * self.half[1])
        inside = np.clip((1 - np.hypot(across, along)) / self.softness, 0, 1)
        return (inside * inside * (3 - 2 * inside))[..., None]


FACE = Ellipse((0, 0.5), (1.0, 1.2), 0.3)
TEMPLES = Ellipse((0, -0.05), (1.3, 0.5), 0.3)  # as far as glasses reach
SKIN = Ellipse((0, 0.55), (0.75, 0.35), 0.5)  # cheeks and nose: what has a face's colour
INNER = Ellipse((0, 0.55), (0.95, 1.1), 0.45)
EYES = Ellipse((0, 0), (0.95, 0.45), 0.5)
MOUTH = Ellipse((0, 1.0), (0.7, 0.4), 0.5)


def swap(onto: Portrait, other: Portrait) -> Image.Image:
    """The other's face laid over this one, eyes on eyes and mouth on mouth, in this one's colours."""
    moved = warp(other.image, affine(onto.points, other.points), onto.image.size)
    axes, size = Axes.of(onto.points), onto.image.size
    coloured = coloured_like(onto.image, moved, SKIN.mask(axes, size))
    return mix(onto.image, coloured, np.maximum(FACE.mask(axes, size), TEMPLES.mask(axes, size)))


def self_blend(of: Portrait) -> Image.Image:
    """The face under a copy of itself: a little larger, turned and moved, sharpened, and of another tint."""
    axes, angle, scale = Axes.of(of.points), np.deg2rad(1.5), 1 / 1.04
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = axes.place(0, 0.5)
    moved = (of.points - centre) @ turn.T + centre + 0.02 * axes.eyes
    copy = warp(of.image, affine(of.points, moved), of.image.size).filter(ImageFilter.UnsharpMask(2, 60, 0))
    tinted = np.asarray(copy, np.float64) * (1.05, 1.0, 0.93) + (4, 0, -4)
    return mix(of.image, tinted, INNER.mask(axes, of.image.size))


def mirror(of: Portrait, where: Ellipse) -> Image.Image:
    """One part of the face taken from its mirror image."""
    mirrored = of.points[[1, 0, 2, 4, 3]]  # what is on the right comes from the left
    moved = warp(of.image, affine(of.points, mirrored), of.image.size)
    mask = where.mask(Axes.of(of.points), of.image.size)
    return mix(of.image, coloured_like(of.image, moved, mask), mask)


def smooth(of: Portrait) -> Image.Image:
    """The face as a network of 64 pixels would draw it: reduced to those and enlarged again."""
    x, y, width, height = of.face.box
    side = 1.1 * max(width, height)
    left, top = x + width / 2 - side / 2, y + height / 2 - side / 2
    box = tuple(round(edge) for edge in (left, top, left + side, top + side))
    copy = of.image.copy()
    cut = of.image.crop(box)
    copy.paste(cut.resize((64, 64), LANCZOS).resize(cut.size, BICUBIC), box[:2])
    return mix(of.image, np.asarray(copy, np.float64), FACE.mask(Axes.of(of.points), of.image.size))


def coloured_like(model: Image.Image, image: Image.Image, mask: np.ndarray) -> np.ndarray:
    """(h, w, 3): the image, each channel bent so that its mean under the mask is the model's. Black and white stay."""
    wanted, given = (np.asarray(one, np.float64) / 255 for one in (model, image))
    means = [(pixels * mask).sum((0, 1)) / mask.sum() for pixels in (wanted, given)]
    return 255 * given ** (np.log(means[0]) / np.log(means[1]))


def affine(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(2, 3) that takes the five points nearest to the others, in the sense of least squares."""
    return np.linalg.lstsq(np.column_stack([points, np.ones(len(points))]), others, rcond=None)[0].T


def warp(image: Image.Image, to: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """A picture of `size` of which each pixel is the image's at to @ (x, y, 1). Reduced first where it shrinks."""
    shrinking = max(1.0, float(np.sqrt(abs(np.linalg.det(to[:, :2])))))
    reduced = image.resize(tuple(round(side / shrinking) for side in image.size), LANCZOS)
    factors = np.array([[reduced.width / image.width], [reduced.height / image.height]])
    return reduced.transform(size, Image.Transform.AFFINE, tuple((to * factors).ravel()), BICUBIC)


def mix(image: Image.Image, other: np.ndarray, mask: np.ndarray) -> Image.Image:
    """`other` where the mask is 1, the image where it is 0."""
    pixels = np.asarray(image, np.float64)
    return Image.fromarray(np.clip(np.rint(pixels + mask * (other - pixels)), 0, 255).astype(np.uint8))


if __name__ == "__main__":
    sys.exit(main())
