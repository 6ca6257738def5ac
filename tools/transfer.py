"""What does a recipe know of kinds it was not shown? Leaves each sub-folder of Fake/ and Real/ out of training once.

Two of one name, fakes and their originals, are left out together.

    python -m tools.transfer --data data --out results/transfer --arch clip_vit_b16 --pretrained FILE --recipe probe
    python -m tools.transfer --data data --out results/transfer --arch efficientnet_b0 --epochs 4 --seeds 3
    python -m tools.transfer --data data --out results/here --models models/default.onnx models/large.onnx

The other flags are train.py's. With a probe the matrix takes minutes once the features are there; any other recipe is
trained once for each kind. Everything is judged on Validation; Test is not read. --models judges finished detectors,
without training; what they were shown is not known here.

Writes transfer.csv, transfer.md and transfer.png (the matrix), and left_out.csv: what was said of each image by a
network that was not shown its kind, from which tools.calibrate --left-out chooses a band. Run it again after an
interruption with the same flags: what is finished is kept.

Exit status: 0 done; 1 a file cannot be written, or a training failed; 2 usage, or no usable data folder; 3 a model or
the pretrained weights cannot be used; 130 Ctrl-C.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import dataset
import indexing
import train
from detector import Detector, ModelError, load
from detector.backend_torch import pick_device
from evaluation import left_out, transfer
from evaluation.choosing import validation_images
from evaluation.scoring import Judged, score_index
from files import write_atomically
from reports import plots, tables
from tools.ending import ToolError, ended, naming
from training import probe
from training.cache import CacheError, pictures
from training.engine import TrainingError, pick_precision


def main(argv: list[str] | None = None) -> int:
    args, rest = parse_arguments(argv)
    return ended("transfer", lambda: make(args, rest), out=args.out, interrupted="the same command goes on")


def make(args: argparse.Namespace, rest: list[str]) -> None:
    """Train or load, judge, write the matrix and print it."""
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        rows, said = judge_models(args.models, Path(args.data)) if args.models else train_all(args, rest, out)
    except (TrainingError, CacheError) as error:
        raise ToolError(str(error)) from error
    write(rows, said, out, args.seeds)
    print((out / "transfer.md").read_text(encoding="utf-8"))


def train_all(args: argparse.Namespace, rest: list[str], out: Path) -> tuple[list[dict], list[dict]]:
    """(rows of all runs, what was said of the images that were left out)."""
    rows, said = [], []
    for seed in range(args.seed, args.seed + args.seeds):
        flags = [*rest, "--data", args.data, "--seed", str(seed)]
        given = train.parse_arguments([*flags, "--out", str(out)])
        given.split_seed = args.seed
        data = load_data(given)
        runs = probes(given, data) if given.values.trained == "probe" else trainings(flags, data, out / f"seed_{seed}")
        kinds = transfer.groups(data.validation) | {transfer.NOTHING: ()}
        for name, judged in runs:
            of_run = transfer.of_run(data.validation, judged, name, seed=seed)
            rows += of_run
            said += left_out.of_images(data.validation, judged, kinds[name], name, seed=seed)
            print(f"seed {seed}, without {name}: {in_words(of_run, name)}", file=sys.stderr, flush=True)
    return rows, said


def load_data(args: argparse.Namespace) -> dataset.TrainingData:
    """What is trained on and judged; of framed faces only what has one. Raises DatasetError."""
    data = train.load_data(args)
    if args.frame == "face":
        parts = [part.with_a_face() for part in (data.train, data.validation)]
        data = dataclasses.replace(data, train=parts[0], validation=parts[1])
    if not to_leave_out(data):
        raise indexing.DatasetError(
            f"{args.data}: no class has two kinds. A kind is a sub-folder of it, Fake/swaps/ and Fake/stylegan2/ say,"
            " in Train and in Validation"
        )
    return data


def to_leave_out(data: dataset.TrainingData) -> dict[str, tuple[str, ...]]:
    """The groups of kinds without which Train and Validation have images of both classes."""
    found = {}
    for name, kinds in transfer.groups(data.validation).items():
        rest = [{one.label for one in part.samples if one.name not in kinds} for part in (data.train, data.validation)]
        if all(len(labels) == 2 for labels in rest) and set(kinds) & {one.name for one in data.train.samples}:
            found[name] = kinds
    return found


def probes(args: argparse.Namespace, data: dataset.TrainingData) -> Iterator[tuple[str, Judged]]:
    """(what was left out, what is said of Validation): the features once, then a head for each kind."""
    device = pick_device(args.device)
    network, preprocess, recipe = train.prepare_model(args, device), train.make_preprocess(args), args.values
    frozen = probe.FrozenFeatures(
        network, args.arch, preprocess, device, precision=pick_precision(args.precision, device),
        workers=args.workers or 0,
    )  # fmt: skip
    seen = frozen.of_views(pictures(data.train, preprocess, args.cache), data.train, recipe, seed=args.seed)
    index = data.validation
    features, _ = frozen.of_view(pictures(index, preprocess, "off"), index, recipe, seed=args.seed, view=0)
    features = features.astype(np.float32)
    for name, kinds in {transfer.NOTHING: (), **to_leave_out(data)}.items():
        weight, bias = seen.without(kinds).fit(recipe)
        margins = (features @ weight.astype(np.float32) + bias).astype(np.float32)
        yield name, Judged.of_whole(np.stack([-margins / 2, margins / 2], 1))


def trainings(flags: list[str], data: dataset.TrainingData, out: Path) -> Iterator[tuple[str, Judged]]:
    """The same by a whole training for each, in a folder of its own, where a finished one is kept."""
    for name, kinds in {transfer.NOTHING: (), **to_leave_out(data)}.items():
        folder = out / name.replace("/", "_")
        without = [word for kind in kinds for word in ("--without", kind)]
        status = train.main([*flags, *without, "--out", str(folder), "--resume"])
        if status == 130:
            raise KeyboardInterrupt
        if status:
            raise TrainingError(f"the training without {name} failed")
        yield name, judged_by(load(folder / "best.safetensors"), data.validation)


def judge_models(paths: list[str], data: Path) -> tuple[list[dict], list[dict]]:
    """A line for each detector as it is; nothing was left out, so nothing is said of that."""
    rows = []
    for path in paths:
        with naming(path):
            detector = load(path)
        index = validation_images(data, detector)
        rows += [
            row | {"left_out": Path(path).name}
            for row in transfer.of_kinds(index, judged_by(detector, index), detector.metadata.calibration)
        ]
    return rows, []


def judged_by(detector: Detector, index: indexing.Index) -> Judged:
    judged = score_index({"model": detector}, index)["model"]
    if isinstance(judged, ModelError):
        raise judged
    return judged


def in_words(rows: list[dict], name: str) -> str:
    shown = [row for row in rows if name == transfer.NOTHING or row["unseen"]]
    return ", ".join(f"{row['judged']} AUC {row['auc']:.3f}" for row in shown if row["auc"] is not None)


def write(rows: list[dict], said: list[dict], out: Path, seeds: int) -> None:
    """The rows, the matrix as a table and as a picture, and what was said of each image that was left out."""
    write_atomically(out / "transfer.csv", tables.to_csv(rows, transfer.COLUMNS))
    if said:
        write_atomically(out / "left_out.csv", tables.to_csv(said, left_out.COLUMNS))
    means = transfer.means(rows)
    lines, headings = transfer.table(means)
    words = [tables.to_markdown(lines, headings), "", *explained(means, seeds)]
    write_atomically(out / "transfer.md", "\n".join(words) + "\n")
    left, judged = list(dict.fromkeys(row["left_out"] for row in means)), list(headings)[1:]
    values, framed = np.full((len(left), len(judged)), np.nan), np.zeros((len(left), len(judged)), bool)
    for row in means:
        at = left.index(row["left_out"]), judged.index(row["judged"])
        value = row["auc"] if transfer.is_fake(row["judged"]) else row["called_fake"]
        values[at], framed[at] = np.nan if value is None else value, row.get("unseen", False)
    title = "AUC of each kind of fakes, and how many of each collection are called Fake"
    plots.transfer(values, framed, left, judged, out / "transfer.png", title=title)


def explained(means: list[dict], seeds: int) -> list[str]:
    """What the numbers are, and the worst of them, in words."""
    found = transfer.summary(means)
    words = [
        "Of kinds of fakes: AUC against Real images of the same source, else of all sources without fakes. Of"
        " collections of Real images: the share that is called Fake.",
        "Bold: what was not shown in training." if found else "What these detectors were shown is not known here.",
    ]
    if "mean_auc" in found:
        words.append(
            f"Kinds of fakes that were not shown: AUC {found['mean_auc']:.3f} on average, {found['worst_auc']:.3f} at"
            f" worst; {found['confident_mistakes']:.0%} of them score below {left_out.CONFIDENT}."
        )
    if "worst_false_alarms" in found:
        words.append(f"Of the worst collection that was not shown {found['worst_false_alarms']:.1%} are called Fake.")
    return words + ([f"Means of {seeds} seeds; sd: standard deviation over them."] if seeds > 1 else [])


def parse_arguments(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Our flags, and those that are train.py's."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.transfer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--data", required=True, help="folder with Train/ and Validation/, each class in sub-folders by kind")
    add("--out", required=True, help="folder to write to")
    add("--seed", type=int, default=0, help="the first seed (default: 0)")
    add("--seeds", type=int, default=1, choices=range(1, 101), metavar="N", help="so many runs of each (default: 1)")
    add("--models", nargs="+", metavar="FILE", help="judge these detectors; nothing is trained")
    args, rest = parser.parse_known_args(argv)
    if args.models and rest:
        parser.error(f"{rest[0]} is for training; --models trains nothing")
    train.parse_arguments([*rest, "--data", args.data])  # what is wrong with them is said before anything is done
    return args, rest


if __name__ == "__main__":
    sys.exit(main())
