"""How detectors compare on Validation: by hand, python tests/screen.py RUN … --on dfdc=FOLDER --on stylegan=FOLDER.

One line a run: the AUC on each set as it is and re-encoded (the mean over RE_ENCODED). Of --seeds runs (RUN/seed_*), a
line each, then their mean and standard deviation. --every N takes every Nth image, for a quick look.
"""

import argparse
import statistics
import sys
from functools import partial
from pathlib import Path

from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parent.parent))

import detector  # noqa: E402
from dataset import index_folder, with_faces  # noqa: E402
from evaluation.scoring import score_changes  # noqa: E402
from imaging.corruptions import jpeg, rescale, webp  # noqa: E402


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--on", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--weights", default="best.safetensors")
    args = parser.parse_args()
    found = {}
    for run in args.runs:
        found[run] = []
        for text in args.on:
            index = index_folder(text.partition("=")[2])
            index = with_faces(index.subset(range(0, len(index.samples), args.every)))
            one = {"run": detector.load(run / args.weights if run.is_dir() else run)}
            logits = score_changes(one, index, CHANGES, workers=0)["run"]
            aucs = {name: roc_auc_score(index.labels, part[:, 1] - part[:, 0]) for name, part in logits.items()}
            found[run] += [aucs["clean"], statistics.fmean(aucs[name] for name in RE_ENCODED)]
        print(row(str(run), found[run]), flush=True)
    if len(args.runs) > 1:
        columns = list(zip(*found.values(), strict=True))
        print(row("mean", map(statistics.fmean, columns)))
        print(row("standard deviation", map(statistics.stdev, columns)))


def row(name: str, figures) -> str:
    return f"| {name} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |"


if __name__ == "__main__":
    main()
