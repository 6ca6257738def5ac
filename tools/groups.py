"""False alarms of pictures of many people: montages of Real images, judged like any picture.

    python -m tools.groups models/default.onnx --data data/Test
    python -m tools.groups models/default.onnx --data data/Test --csv groups.csv --montages 100

Each montage shows 1, 2, 4, 8, 12 or 16 different images of --data's Real/ side by side; a second round puts one of
Fake/ among them. The table says how often the verdict is Fake, with Wilson's 95 % interval, and beside it how often a
face of the montage is called Fake: what the verdict would be if one such face were enough.

Exit status: 0 measured; 2 usage, or no usable data folder; 3 the model cannot be used; 130 Ctrl-C.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import dataset
import indexing
from detector import Detector, ModelError, Verdict, load, shipped
from evaluation.metrics import proportion_interval
from imaging.door import Picture
from names import CLASSES, FAKE, REAL, UNSURE
from progress import Bar
from reports.tables import to_text
from tools.ending import ended, naming

SIZES = (1, 2, 4, 8, 12, 16)
GAP = 24  # pixels between two images
TILE = 256  # largest side of an image in a montage, pixels


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    return ended("groups", lambda: judge_groups(args), out=args.csv)


def judge_groups(args: argparse.Namespace) -> None:
    with naming(args.model):
        detector = load(args.model, arch=args.arch, device=args.device)
        if detector.metadata.preprocess.frame != "face":
            raise ModelError("it judges whole pictures, not faces")
        index = indexing.index_folder(dataset.split_folders(Path(args.data)).get("Test", Path(args.data)))
        rows = measure(detector, index, args.montages)
    print(to_text(rows, {name: name.replace("_", " ") for name in rows[0]}))
    if args.csv:
        with open(args.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def measure(detector: Detector, index: indexing.Index, count: int) -> list[dict]:
    """A row for each number of faces, of genuine ones and with a fake among them; `count` montages each."""
    rows = []
    with Bar(total=2 * len(SIZES) * count, desc="montages", unit="img") as bar:
        for fakes in (0, 1):
            for size in SIZES:
                verdicts = []
                for picture in montages(index, size, fakes, count):
                    verdicts.append(detector.judge(picture))
                    bar.update()
                rows.append(row(size, fakes, verdicts))
    return rows


def montages(index: indexing.Index, size: int, fakes: int, count: int) -> Iterator[Picture]:
    """`count` pictures of `size` images each, `fakes` of them of the class Fake; drawn with seed 0."""
    draw = np.random.default_rng((0, size, fakes))
    of = {label: np.flatnonzero(index.labels == label) for label in (REAL, FAKE)}
    for _ in range(count):
        chosen = [*draw.choice(of[REAL], size - fakes, replace=False), *draw.choice(of[FAKE], fakes, replace=False)]
        images = [index.picture(int(i)).image for i in draw.permutation(chosen)]
        for image in images:
            image.thumbnail((TILE, TILE))
        yield Picture(side_by_side(images), "PNG")


def side_by_side(images: list[Image.Image]) -> Image.Image:
    columns = min(4, len(images))
    cell = TILE + GAP
    whole = Image.new("RGB", (columns * cell + GAP, -(-len(images) // columns) * cell + GAP), (128, 128, 128))
    for place, image in enumerate(images):
        whole.paste(image, (GAP + place % columns * cell, GAP + place // columns * cell))
    return whole


def row(size: int, fakes: int, verdicts: list[Verdict]) -> dict:
    n = len(verdicts)
    called = sum(verdict.verdict == CLASSES[FAKE] for verdict in verdicts)
    any_face = sum(any(face.verdict == CLASSES[FAKE] for face in verdict.faces) for verdict in verdicts)
    low, high = proportion_interval(called, n)
    return {
        "images": size,
        "fakes": fakes,
        "montages": n,
        "faces_found": float(np.mean([len(verdict.faces) for verdict in verdicts])),
        "called_fake": called / n,
        "low": low,
        "high": high,
        "a_face_called_fake": any_face / n,
        "unsure": sum(verdict.verdict == UNSURE for verdict in verdicts) / n,
    }


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.groups", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", type=shipped, metavar="MODEL", help="a detector of faces: a file, or the name of one that ships")
    add("--data", required=True, help="folder with Real/ and Fake/, or with Test/, of pictures of one face")
    add("--montages", type=int, default=60, metavar="N", help="of each number of faces (default: %(default)s)")
    add("--csv", metavar="FILE", help="also write the table")
    add("--arch", type=str.lower, help="what plain weights must be")
    add("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1 ...")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
