"""How do detectors compare on Validation, as it is and saved again? One line a run.

    python -m tools.screen results/a results/b --on dfdc=data/dfdc/Validation --on stylegan=data/stylegan/Validation
    python -m tools.screen results/run/seed_0 results/run/seed_1 --on dfdc=data/dfdc/Validation --every 8

Each line has the AUC on each set, and the mean of it over RE_ENCODED; of several runs their mean and standard deviation
follow. Test is refused: nothing is chosen on it.

Exit status: 0 done; 2 usage, or no usable data folder; 3 a model cannot be used; 130 Ctrl-C.
"""

import argparse
import statistics
import sys
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from detector import Detector, ModelError, load
from evaluation.choosing import validation_images
from evaluation.scoring import score_changes
from imaging.corruptions import jpeg, rescale, webp
from names import FAKE, REAL
from tools.ending import ended, naming


def unchanged(image):
    return image


CHANGES = {
    "clean": unchanged,
    "jpeg-75": partial(jpeg, quality=75),
    "jpeg-50": partial(jpeg, quality=50),
    "webp-75": partial(webp, quality=75),
    "scale-0.75": partial(rescale, factor=0.75),
}
RE_ENCODED = tuple(CHANGES)[1:]


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    return ended("screen", lambda: compare(args), interrupted="what stands above was judged")


def compare(args: argparse.Namespace) -> None:
    found = []
    for run in args.runs:
        path = run / args.weights if run.is_dir() else run
        with naming(path):
            found.append(figures_of(load(path), args.on, args.every))
        print(row(str(run), found[-1]), flush=True)
    if len(args.runs) > 1:
        columns = list(zip(*found, strict=True))
        print(row("mean", map(statistics.fmean, columns)))
        print(row("standard deviation", map(statistics.stdev, columns)))


def figures_of(detector: Detector, sets: list[str], every: int) -> list[float]:
    """Of each set the AUC, and the mean of it over the ways to save again."""
    figures = []
    for text in sets:
        index = validation_images(Path(text.partition("=")[2]), detector)
        index = index.subset(range(0, len(index.samples), every))
        said = score_changes({"run": detector}, index, CHANGES, workers=0)["run"]
        if isinstance(said, ModelError):
            raise said
        aucs = {}
        for name, judged in said.items():
            margins = judged.logits[:, FAKE] - judged.logits[:, REAL]
            seen = ~np.isnan(margins)
            aucs[name] = roc_auc_score(index.labels[seen], margins[seen])
        figures += [aucs["clean"], statistics.fmean(aucs[name] for name in RE_ENCODED)]
    return figures


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.screen", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("runs", nargs="+", type=Path, help="run folders, or model files")
    add(
        "--on",
        action="append",
        required=True,
        metavar="NAME=FOLDER",
        help="Validation images; may be repeated",
    )
    add("--every", type=int, default=1, metavar="N", help="only every Nth image, for a quick look")
    add("--weights", default="best.safetensors", metavar="NAME", help="file in each run folder (default: %(default)s)")
    return parser.parse_args(argv)


def row(name: str, figures) -> str:
    return f"| {name} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |"


if __name__ == "__main__":
    sys.exit(main())
