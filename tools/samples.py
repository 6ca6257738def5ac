"""A small sample data set, cut from photographs that two installed packages carry: nothing is downloaded.

    python -m tools.samples data/sample
    python -m tools.samples data/sample64 --per-class 1000 --size 64 --seed 1

It makes Train/, Validation/ and Test/, each with Real/*.jpg (crops of the photographs), Fake/blend/*.jpg and
Fake/resample/*.jpg (our own manipulations of the same crops), and SOURCES.txt, which names the photographs. No
photograph is in two splits. The set is there for trying the commands: a network trained on it detects these
manipulations, not deepfakes. The same arguments give the same bytes, and a second run with them keeps the folder.

Exit status: 0 made or kept; 1 not possible as asked, or not written; 2 usage; 130 Ctrl-C.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

from names import CLASSES, FAKE, REAL
from progress import Bar

VERSION = 1  # raise it when the bytes change for the same arguments: a folder of another version is not kept
CROPS = (128, 256)  # side in the photograph, pixels; each photograph has room for the largest
SIZES = (32, 160)  # of a picture, pixels: from what the image door takes, to what the largest crop is well above
FEWEST = 6  # a class: two in each split, so that each split has both manipulations
QUALITIES = range(80, 96)  # JPEG
FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
PURPOSE = "A demonstration set: a network trained on it detects these manipulations, not deepfakes."


class SamplesError(ValueError):
    """A set that cannot be made as asked; str(error) is a sentence for people."""


@dataclass(frozen=True)
class Photo:
    """One photograph inside an installed package; `name` is what the package calls it."""

    name: str
    split: str
    package: str
    origin: str  # as far as the package's own documentation states it


# The split is by photograph. Train has sharp and soft ones, coloured and grey ones: with sharp ones alone, a network
# calls every soft photograph a Fake. Of the stereo pair only the left half is used, as both halves show one scene.
PHOTOS = (
    Photo("astronaut", "Train", "scikit-image", "NASA Great Images database; public domain"),
    Photo("china", "Train", "scikit-learn", "flickr.com/photos/danielbuechele/6061409035; CC BY 2.0"),
    Photo("coins", "Train", "scikit-image", "Brooklyn Museum Collection; no known copyright restrictions"),
    Photo("flower", "Train", "scikit-learn", "flickr.com/photos/vultilion/6056698931, by danielbuechele; CC BY 2.0"),
    Photo("grass", "Train", "scikit-image", "linolafett on DeviantArt; CC0"),
    Photo("hubble_deep_field", "Train", "scikit-image", "NASA, from HubbleSite; public domain"),
    Photo("immunohistochemistry", "Train", "scikit-image", "CMMI; no known copyright restrictions"),
    Photo("moon", "Train", "scikit-image", "neither origin nor licence is stated"),
    Photo("retina", "Train", "scikit-image", "Mikael Häggström, from Wikimedia Commons; CC0"),
    Photo("rocket", "Train", "scikit-image", "SpaceX; public domain"),
    Photo("brick", "Validation", "scikit-image", "CC0Textures; CC0"),
    Photo("camera", "Validation", "scikit-image", "Lav Varshney; CC0"),
    Photo("stereo_motorcycle", "Validation", "scikit-image", "Middlebury 2014 stereo benchmark; no licence is stated"),
    Photo("chelsea", "Test", "scikit-image", "Stefan van der Walt; CC0"),
    Photo("coffee", "Test", "scikit-image", "Rachel Michetti, courtesy of Pikolo Espresso Bar; CC0"),
    Photo("gravel", "Test", "scikit-image", "CC0Textures; CC0"),
)
SPLITS = ("Train", "Validation", "Test")


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        made = make_samples(args.out, per_class=args.per_class, size=args.size, seed=args.seed)
    except SamplesError as error:
        return fail(1, str(error))
    except OSError as error:
        return fail(1, f"{args.out} cannot be written: {error.strerror or error}")
    except KeyboardInterrupt:
        return fail(130, f"interrupted; {args.out} was not made")
    what = f"{args.per_class} Real and {args.per_class} Fake pictures of {args.size} x {args.size} pixels"
    print(f"{args.out}: {what}{'' if made else ', kept from an earlier run'}. {PURPOSE}")
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.samples", description=__doc__.splitlines()[0])
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to make; it may exist if it is empty")
    parser.add_argument(
        "--per-class", type=int, default=600, metavar="N", help="pictures a class, all splits together (default 600)"
    )
    parser.add_argument(
        "--size", type=int, default=128, metavar="PX", help="width and height of a picture (default 128)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of crops and manipulations (default 0)")
    return parser.parse_args(argv)


def fail(status: int, message: str) -> int:
    print(message, file=sys.stderr)
    return status


def make_samples(out: Path, *, per_class: int = 600, size: int = 128, seed: int = 0) -> bool:
    """Make the set in `out`; False if it is there already, made with the same arguments.

    Raises SamplesError when an argument is out of range, or when `out` holds anything else.
    """
    check_arguments(per_class, size, seed)
    sources = describe(per_class, size, seed)
    if is_kept(out, sources, per_class):
        return False
    place, rng = out.resolve(), np.random.default_rng(seed)
    place.parent.mkdir(parents=True, exist_ok=True)
    # Made beside its place and moved there whole: an interrupted run leaves no half set behind.
    with (
        tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as folder,
        Bar(total=per_class, desc=f"making {out}", unit="pair") as progress,
    ):
        whole = Path(folder) / "whole"
        for split, count in split_sizes(per_class).items():
            write_split(whole / split, count, size, rng, progress)
        (whole / "SOURCES.txt").write_bytes(sources.encode())
        whole.replace(place)
    return True


def check_arguments(per_class: int, size: int, seed: int) -> None:
    if per_class < FEWEST:
        raise SamplesError(f"--per-class {per_class} is too few; {FEWEST} is the least, two in each split")
    if not SIZES[0] <= size <= SIZES[1]:
        raise SamplesError(f"--size {size} is not possible; it goes from {SIZES[0]} to {SIZES[1]} pixels")
    if seed < 0:
        raise SamplesError(f"--seed {seed} is negative; it starts at 0")


def split_sizes(per_class: int) -> dict[str, int]:
    """Pictures a class in each split: a fifth for Validation and Test each, never fewer than two."""
    fifth = max(2, round(per_class / 5))
    return dict(zip(SPLITS, (per_class - 2 * fifth, fifth, fifth), strict=True))


def describe(per_class: int, size: int, seed: int) -> str:
    """The text of SOURCES.txt. It names all that the pictures depend on: equal texts, equal sets."""
    command = f"python -m tools.samples OUT --per-class {per_class} --size {size} --seed {seed}"
    photos = [f"{photo.split:<11} {photo.name:<21} {photo.package:<13} {photo.origin}" for photo in PHOTOS]
    head = [PURPOSE, f"Made by {command} (version {VERSION}).", "", "Split, photograph, package, origin:"]
    return "\n".join([*head, *photos, ""])


def is_kept(out: Path, sources: str, per_class: int) -> bool:
    """Whether `out` holds this very set, whole. Raises SamplesError if it holds anything else."""
    if out.exists() and not out.is_dir():
        raise SamplesError(f"{out} is a file; give the name of a folder")
    if not out.exists() or not any(out.iterdir()):
        return False
    note = out / "SOURCES.txt"
    ours = note.is_file() and note.read_bytes() == sources.encode()
    if ours and sum(1 for _ in out.rglob("*.jpg")) == 2 * per_class:
        return True
    raise SamplesError(f"{out} is not empty and not the set that these arguments make; give another folder")


def write_split(folder: Path, count: int, size: int, rng: np.random.Generator, progress: Bar) -> None:
    """`count` pairs: a Real, and a Fake made from the same crop and saved by the same encoder at the same quality.

    Paired, so that nothing but the manipulation differs between the classes: neither what is to be seen nor the
    quantisation. Besides, half as many crops are needed, and they overlap less. Both of a pair are in one split.
    """
    for number, (name, crop) in enumerate(cut_crops(folder.name, count, size, rng)):
        kind = list(MANIPULATIONS)[number % len(MANIPULATIONS)]
        fake, quality = MANIPULATIONS[kind](crop, rng), int(rng.choice(QUALITIES))
        save(crop, folder / CLASSES[REAL] / f"{name}.jpg", quality)
        save(fake, folder / CLASSES[FAKE] / kind / f"{name}.jpg", quality)
        progress.update()


def save(image: Image.Image, path: Path, quality: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=quality)


def cut_crops(split: str, count: int, size: int, rng: np.random.Generator) -> Iterator[tuple[str, Image.Image]]:
    """(name, crop of `size`) `count` times, equally many from each photograph of the split."""
    photos = [photo for photo in PHOTOS if photo.split == split]
    for first, photo in enumerate(photos):
        image, share = read_photo(photo), len(range(first, count, len(photos)))
        for number, (x, y) in enumerate(scatter(share, *image.size, rng)):
            yield f"{photo.name}-{number:03d}", cut(image, x, y, size, rng)


def read_photo(photo: Photo) -> Image.Image:
    """From inside the package. Only photographs that lie there are in PHOTOS, so none is fetched."""
    if photo.package == "scikit-learn":
        from sklearn.datasets import load_sample_image

        return Image.fromarray(load_sample_image(f"{photo.name}.jpg"))
    try:
        import skimage.data
    except ModuleNotFoundError:
        raise SamplesError("scikit-image is missing: pip install -r requirements-dev.txt") from None
    pixels = getattr(skimage.data, photo.name)()
    left = pixels[0] if isinstance(pixels, tuple) else pixels  # of the stereo pair
    return Image.fromarray(left).convert("RGB")


def scatter(count: int, width: int, height: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    """`count` points of the unit square in random order, each in its own cell of a grid: so crops overlap little."""
    columns = max(1, round((count * width / height) ** 0.5))
    rows = -(-count // columns)
    cells = rng.permutation(columns * rows)[:count]
    jitter = rng.random((count, 2))
    return [((c % columns + u) / columns, (c // columns + v) / rows) for c, (u, v) in zip(cells, jitter, strict=True)]


def cut(image: Image.Image, x: float, y: float, size: int, rng: np.random.Generator) -> Image.Image:
    """A square whose place is (x, y) from 0 to 1, scaled down to `size`.

    By a factor of 1.5 or more, so that a Real is sharp to the last pixel: a soft one looks like a Fake.
    """
    side = round(rng.uniform(max(CROPS[0], 1.5 * size), CROPS[1]))
    left, top = x * (image.width - side), y * (image.height - side)
    return image.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))


def blend(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A coarse, warped and recoloured copy, put back through a soft ellipse: a crude face swap."""
    copy = recolour(warp(floats(coarsen(image, rng)), rng), rng)
    return mix(floats(image), copy, ellipse(image.width, rng))


def resample(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A coarse copy, everywhere or in a soft ellipse."""
    coarse = coarsen(image, rng)
    if rng.random() < 0.6:
        return coarse
    return mix(floats(image), floats(coarse), ellipse(image.width, rng))


MANIPULATIONS = {"blend": blend, "resample": resample}  # they take turns


def coarsen(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Scaled down and up again: networks that draw faces often draw them smaller than they are shown."""
    small = round(image.width * rng.uniform(0.35, 0.55))
    down, up = (FILTERS[i] for i in rng.integers(len(FILTERS), size=2))
    return image.resize((small, small), down).resize(image.size, up)


def warp(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(h, w, 3), displaced by a smooth random field of a few pixels."""
    size = pixels.shape[:2]
    knots = rng.normal(0, 0.03 * size[0], (2, 4, 4)).astype(np.float32)  # pixels
    field = [floats(Image.fromarray(part).resize(size, Image.Resampling.BICUBIC)) for part in knots]
    origin = np.indices(size, np.float32) + field  # (2, h, w): where each pixel comes from
    return np.stack([map_coordinates(pixels[..., c], origin, order=1, mode="mirror") for c in range(3)], axis=2)


def recolour(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Contrast and brightness changed, upwards as often as downwards; channel by channel, but grey stays grey.

    A little colour in a grey photograph would give the Fake away.
    """
    channels = 1 if np.ptp(pixels, axis=2).max() == 0 else 3
    middle = pixels.mean((0, 1))
    return (pixels - middle) * rng.uniform(0.75, 1.25, channels) + middle + rng.uniform(-25, 25, channels)


def ellipse(size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size) from 0 outside to 1 inside, with a soft edge."""
    y, x = np.indices((size, size)) / size - rng.uniform(0.35, 0.65, (2, 1, 1))
    angle, (long, short) = rng.uniform(0, np.pi), rng.uniform(0.25, 0.5, 2)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    distance = np.hypot(along / long, across / short)  # 1 on the ellipse
    return np.clip((1 - distance) / rng.uniform(0.1, 0.4) + 0.5, 0, 1)


def mix(pixels: np.ndarray, other: np.ndarray, mask: np.ndarray) -> Image.Image:
    """`other` where the mask is 1, `pixels` where it is 0."""
    mixed = pixels + mask[..., None] * (other - pixels)
    return Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))


def floats(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float32)


if __name__ == "__main__":
    sys.exit(main())
