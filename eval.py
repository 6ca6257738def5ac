"""Evaluate one detector, or a folder of them, on labelled images.

    python eval.py --models results/run/best.safetensors --data data/Test
    python eval.py --models results/ --data data --out results/evaluation
    torchrun --nproc-per-node 2 eval.py --models results/ --data data/Test     # each process judges its share

--data is a folder with Real/ and Fake/, or one with Test/, which is then taken. For each model the output folder gets
predictions.csv, metrics.json and confusion_matrix.png; comparison.csv, .md and .txt hold one row a model.

Exit status: 0 every model was evaluated; 1 at least one failed (its row says why), or the output folder failed;
2 usage, or no usable data folder; 3 no model can be used; 130 Ctrl-C.
"""

import argparse
import json
import os
import sys
from datetime import datetime
from pathlib import Path

import numpy as np

import dataset
from detector import Detector, ModelError, find_models, load
from detector.checkpoint import write_atomically
from evaluation import metrics, plots, report
from evaluation.ranks import ALONE, FirstFailedError, Ranks, join, leave, lost
from evaluation.scoring import score_index
from names import ARCHITECTURES

TABLE = {
    "model": "model",
    "arch": "architecture",
    "n": "n",
    "accuracy": "accuracy",
    "accuracy_interval": "95 % interval",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "recall_real": "recall of Real",
    "auc": "AUC",
    "auc_interval": "95 % interval of AUC",
    "status": "status",
}
CSV_COLUMNS = (
    "model", "arch", "status", "n", "n_real", "n_fake", "threshold", "accuracy", "accuracy_low", "accuracy_high",
    "balanced_accuracy", "precision", "recall", "recall_real", "f1", "auc", "auc_low", "auc_high", "log_loss",
)  # fmt: skip


def main_eval(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    ranks = join()
    if not ranks.first:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # one speaks for all
    sys.stdout.reconfigure(errors="backslashreplace")  # a model's name may be no text
    out = Path(args.out or f"results/evaluation_{datetime.now():%Y%m%d-%H%M%S}")
    try:
        return evaluate_all(args, out, ranks)
    except dataset.DatasetError as error:
        return fail(1 if isinstance(error, dataset.StrictError) else 2, str(error))
    except ModelError as error:
        return fail(3, str(error))
    except FileExistsError as error:
        return fail(1, f"{error.filename} is not empty; choose another --out, or add --overwrite")
    except FirstFailedError:
        return 1
    except RuntimeError as error:
        if not lost(error):
            raise
        return fail(1, "another process of this evaluation is gone; nothing was written")
    except OSError as error:
        return fail(1, f"{error.filename or out}: {error.strerror or error}")
    except KeyboardInterrupt:
        return fail(130, "interrupted; nothing was written")
    finally:
        leave()


def evaluate_all(args: argparse.Namespace, out: Path, ranks: Ranks = ALONE) -> int:
    """Load the models, score the images once for all of them, write what was found."""
    if ranks.first:
        prepare_folder(out, overwrite=args.overwrite)
    device = ranks.device if args.device == "auto" and ranks.size > 1 else args.device
    detectors, failed = {}, {}
    for name, path in model_names(args.models).items():
        try:
            detectors[name] = load_model(path, arch=args.arch, device=device)
        except ModelError as error:
            failed[name] = error
            fail(1, f"{path}: {error}")
    if not detectors:
        raise ModelError("no model can be used")
    with ranks.first_alone():  # the others find its index on the disk
        index = choose_images(Path(args.data), detectors, strict=args.strict)
    all_logits = score_index(detectors, index, workers=args.workers, desc=f"{len(detectors)} models", ranks=ranks)
    if not ranks.first:
        return 0
    rows = []
    for name, logits in all_logits.items():
        if isinstance(logits, ModelError):
            failed[name] = logits
            fail(1, f"{name}: {logits}")
        else:
            rows.append(evaluate_and_visualize(name, detectors[name], index, logits, out))
    rows += [{"model": name, "status": f"failed: {error}"} for name, error in failed.items()]
    write_comparison(sorted(rows, key=lambda row: row["model"]), out)
    return 1 if failed else 0


def load_model(path: Path, *, arch: str | None = None, device: str = "auto") -> Detector:
    """The detector in a model file. Raises ModelError."""
    return load(path, arch=arch, device=device)


def model_names(given: list[str]) -> dict[str, Path]:
    """A short name for each model file: its path below the folder given, or its own name; unique."""
    found: dict[str, Path] = {}
    for entry in map(Path, given):
        paths = find_models(entry) if entry.is_dir() else [entry]
        if not paths:
            raise ModelError(f"no model files in {entry}")
        for path in paths:
            name = (path.relative_to(entry) if entry.is_dir() else Path(path.name)).with_suffix("")
            if entry.is_dir() and len(given) > 1:
                name = entry.resolve().name / name  # of several runs, each `best` says whose it is
            number = 1
            while (unique := name.as_posix() + (f"-{number}" if number > 1 else "")) in found:
                number += 1
            found[unique] = path
    return found


def choose_images(data: Path, detectors: dict[str, Detector], *, strict: bool) -> dataset.Index:
    """The images to judge: Test of a folder with splits, the part left for Test of one that training split, or all."""
    folders = dataset.split_folders(data)
    if folders and "Test" not in folders:
        raise dataset.DatasetError(
            f"no Test/ in {data}; give the folder to evaluate, {next(iter(folders.values()))} say"
        )
    index = dataset.index_folder(folders.get("Test", data), strict=strict)
    seeds = {
        detector.metadata.training["split_seed"]
        for detector in detectors.values()
        if training_facts(detector).get("flat_digest") == index.digest
    }
    if len(seeds) > 1:
        raise dataset.DatasetError(f"these models split {data} with different seeds; evaluate them one at a time")
    if seeds:
        index = dataset.split_flat(index, seeds.pop())["Test"]
        say(f"{data} was split for training; only the tenth left for Test is judged")
    if any(detector.metadata.preprocess.frame == "face" for detector in detectors.values()):
        index = dataset.with_faces(index)
    say(index.summary())
    if index.left_out:
        say(dataset.list_left_out(index.left_out))
    return index


def evaluate_and_visualize(
    name: str, detector: Detector, index: dataset.Index, logits: np.ndarray, out: Path
) -> dict[str, object]:
    """Write predictions.csv, metrics.json and confusion_matrix.png of one model; its row of the comparison."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    calibration, labels = detector.metadata.calibration, index.labels
    scores = calibration.scores(logits)
    counts = metrics.confusion(labels, scores, calibration.threshold)
    numbers = metrics.summary(labels, scores, calibration.threshold)
    accuracy_95 = metrics.proportion_interval(int(np.trace(counts)), len(labels))
    auc_95 = metrics.auc_interval(labels, scores)
    seen = seen_in_training(detector, index)
    faceless = index.faceless if detector.metadata.preprocess.frame == "face" else []
    if seen:
        say(f"{name}: these are the images of its {seen}; its numbers here flatter it")
    write_atomically(
        folder / "predictions.csv",
        report.predictions_csv(index, logits, calibration),
    )
    shown = "/".join(index.root.resolve().parts[-2:])
    plots.confusion_matrix(counts, folder / "confusion_matrix.png", title=f"{name} on {shown} (n = {len(labels)})")
    facts = {
        "model": {"name": name, "file": str(detector.path), "sha256": detector.sha256, "arch": detector.metadata.arch},
        "data": {"folder": str(index.root), "digest": index.digest, "seen_in_training": seen},
        "left_out": [[str(path), reason] for path, reason in index.left_out],
        "without_face": [str(path) for path in faceless],  # there the whole picture was judged
        "threshold": calibration.threshold,
        "confusion_matrix": counts.tolist(),
        "metrics": numbers | {"accuracy_95": accuracy_95, "auc_95": auc_95},
    }
    write_atomically(folder / "metrics.json", json.dumps(facts, indent=2) + "\n")
    row = {"model": name, "arch": detector.metadata.arch, "status": "ok", "threshold": calibration.threshold, **numbers}
    for quantity, interval in (("accuracy", accuracy_95), ("auc", auc_95)):
        low, high = interval or (None, None)
        row |= {f"{quantity}_low": low, f"{quantity}_high": high}
        row[f"{quantity}_interval"] = None if interval is None else f"{low:.4f} to {high:.4f}"
    return row


def seen_in_training(detector: Detector, index: dataset.Index) -> str | None:
    """The split these images are, file for file, of those that the detector was trained or chosen on; or None."""
    splits = training_facts(detector)
    digest = index.digest
    return next((name for name in ("Train", "Validation") if splits.get(name, {}).get("digest") == digest), None)


def training_facts(detector: Detector) -> dict:
    """What a checkpoint says of the data it was trained on; files of other origin may say anything, or nothing."""
    facts = detector.metadata.training.get("data")
    return {key: value for key, value in facts.items() if value is not None} if isinstance(facts, dict) else {}


def write_comparison(rows: list[dict], out: Path) -> None:
    columns = {key: heading for key, heading in TABLE.items() if any(row.get(key) is not None for row in rows)}
    text = report.to_text(rows, columns)
    write_atomically(out / "comparison.txt", text + "\n")
    write_atomically(out / "comparison.md", (report.to_markdown(rows, columns) + "\n"))
    write_atomically(out / "comparison.csv", report.to_csv(rows, CSV_COLUMNS))
    print(text)
    say(f"written to {out}")


def prepare_folder(out: Path, *, overwrite: bool) -> None:
    """Make the output folder and write to it, so that one that fails does so before the work."""
    if not overwrite and out.is_dir() and any(out.iterdir()):
        raise FileExistsError(17, "not empty", str(out))
    out.mkdir(parents=True, exist_ok=True)
    probe = out / "write-test"
    write_atomically(probe, bytes(2**16))
    probe.unlink()


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="eval.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--models", nargs="+", required=True, help="model files, or folders of them")
    add("--data", required=True, help="folder with Real/ and Fake/, or with Test/")
    add("--out", help="output folder (default: results/evaluation_<time>)")
    add("--overwrite", action="store_true", help="write into an --out that is not empty")
    add("--arch", "--model_name", type=str.lower, choices=ARCHITECTURES, help="what plain weights must be")
    add("--workers", type=workers, default=0, help="decoding processes (default: 0)")
    add("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1 ...")
    add("--strict", action="store_true", help="an image that cannot be read is an error")
    return parser.parse_args(argv)


def workers(text: str) -> int:
    if not 0 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"must be from 0 to 256, not {text}")
    return int(text)


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def fail(status: int, message: str) -> int:
    say(f"eval.py: error: {message}")
    return status


if __name__ == "__main__":
    sys.exit(main_eval())
