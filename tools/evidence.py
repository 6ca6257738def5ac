"""Measure when a face shows a detector too little (too blurred, noisy, dark), and store the bounds with it.

    python -m tools.evidence best.onnx --data data --out bounded.onnx
    python -m tools.evidence best.onnx --data data/Validation --csv evidence.csv        # the table behind it

--data is a folder with Real/ and Fake/, or one with Validation/, which is then taken. Sub-folders of Real/ and Fake/
are collections; of each, and of each class, at most --faces are drawn. Their faces are blurred, reduced and enlarged
again, darkened and covered with noise, step by step. A bound lies where verdicts are wrong twice as often as on
untouched faces, or a tenth of Real faces is called Fake; at most 3 % of the untouched faces of any collection lie
beyond it. Every program then calls such a face Unsure and says why. Calibrate first: verdicts decide.

Exit status: 0 stored; 1 the file cannot be written; 2 usage, or no usable data folder; 3 the model cannot be used;
130 Ctrl-C.
"""

import argparse
import csv
import dataclasses
import sys
from pathlib import Path

import numpy as np

from detector import load
from detector.rewriting import beside, check_name, with_metadata
from evaluation import bounds
from evaluation.choosing import validation_images
from imaging.evidence import WORDS
from indexing import Index
from names import ARCHITECTURES
from progress import Bar
from reports.tables import to_text
from tools.ending import ended, naming

FACES = 60  # of each class and collection


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    return ended("evidence", lambda: find_bounds(args), out=args.out or args.model)


def find_bounds(args: argparse.Namespace) -> None:
    """Load, judge damaged faces of Validation, choose the bounds, write the file and print what was found."""
    with naming(args.model):
        out = Path(args.out or beside(Path(args.model), "bounded"))
        check_name(out, Path(args.model), overwrite=args.overwrite)
        detector = load(args.model, arch=args.arch, device=args.device)
        index = drawn(validation_images(Path(args.data), detector), args.faces)
        looks = bounds.look(detector, index, each=lambda items: Bar(items, desc="damaging", unit="img"))
        found, rows = bounds.bounds(looks), bounds.table(looks)
        calibration = dataclasses.replace(detector.metadata.calibration, evidence=found)
        with_metadata(args.model, dataclasses.replace(detector.metadata, calibration=calibration), out)
    if args.csv:
        write_csv(rows, args.csv)
    print_found(looks, found, rows)
    print(out)


def drawn(index: Index, most: int) -> Index:
    """At most so many of each class and source, drawn with seed 0."""
    order, counts, chosen = np.random.default_rng(0).permutation(len(index.samples)).tolist(), {}, []
    for i in order:
        key = index.samples[i].label, index.samples[i].source
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= most:
            chosen.append(i)
    return index.subset(sorted(chosen))


def print_found(looks: bounds.Looks, found: dict[str, float], rows: list[dict]) -> None:
    """The table, the bounds, and how many untouched faces of each collection lie beyond them."""
    columns = {name: name.replace("_", " ") for name in rows[0] if not name.endswith(("_low", "_high"))}
    print(to_text(rows, columns))
    for name, (too_little, words) in WORDS.items():
        told = f"{'below' if too_little else 'above'} {found[name]:.2f}: {words}" if name in found else "no bound"
        print(f"{name}: {told}")
    out, clean = bounds.beyond(looks, found), looks.ways == 0
    for source in sorted(set(looks.sources)):
        here = clean & (looks.sources == source)
        print(f"{source or 'faces'}: {int((here & out).sum())} of {int(here.sum())} untouched ones lie beyond")


def write_csv(rows: list[dict], path: str) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.evidence", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="checkpoint (.safetensors), exported model (.onnx), or plain weights (.pth)")
    add("--data", required=True, help="folder with Real/ and Fake/, or with Validation/")
    add("--faces", type=int, default=FACES, metavar="N", help="of each class and collection (default: %(default)s)")
    add("--csv", metavar="FILE", help="also write the table, with intervals")
    add("--out", metavar="FILE", help="file to write (default: MODEL with _bounded in its name)")
    add("--overwrite", action="store_true", help="write over a file that is there")
    add("--arch", type=str.lower, choices=ARCHITECTURES, help="what plain weights must be")
    add("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1 ...")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
