"""Evaluate one detector, or a folder of them, on labelled images: how good, how sure, and where not to trust it.

    python eval.py --models results/run/best.safetensors --data data/Test
    python eval.py --models results/ --data data --extra swaps=other/Test --extra phones=photos --robustness --stability
    python eval.py --models best.onnx --data swaps/Test --data gan/Test        # trained on both kinds
    torchrun --nproc-per-node 2 eval.py --models results/ --data data/Test     # each process judges its share

--data is a set that is like the training images, and may be given again; a set of --extra is foreign to them. Each is a
folder with Real/ and Fake/ (one of them will do), or one with Test/, which is then taken. Sub-folders of Real/ and
Fake/ are sources (a generator, a camera, a video), and are told apart. The sets are never averaged together. Each image
is decoded once for all models, and once more if it is changed (--robustness, --stability).

The output folder gets report.md and report.html, comparison.csv, .md and .txt with a row for each model and set, and
for each model a folder with predictions.csv, metrics.json and plots; its extra/<name>/ holds the same for an extra set,
and its sets/<name>/ for each set of --data where there are several.
--robustness adds robustness.csv, reencode.csv and stress.json; --stability says how many verdicts flip under benign
changes. Both judge each image in many ways, so of a larger set they take --stress-images, drawn at random. mistakes.png
shows images of the set: it is for your eyes.

Exit status: 0 every model was evaluated; 1 at least one failed (its row says why), or the output folder failed;
2 usage, or no usable data folder; 3 no model can be used; 130 Ctrl-C.
"""

import argparse
import csv
import json
import os
import re
import sys
from datetime import datetime
from itertools import combinations
from pathlib import Path

try:
    import numpy as np

    import dataset
    import indexing
    from detector import Detector, ModelError, find_models, load, shipped
    from detector.calibration import Calibration
    from evaluation import record, stress
    from evaluation.choosing import images_to_judge
    from evaluation.scoring import PREDICTION_COLUMNS, Judged, prediction_rows
    from evaluation.sets import DRAW, Said, Set, score, without_faults
    from files import make_empty_folder, write_atomically
    from names import ARCHITECTURES, FAKE
    from progress import say
    from ranks import ALONE, FirstFailedError, Ranks, join, leave, lost
    from reports import pages, plots, stress_files, tables
    from reports.comparison import print_findings, row_of, write_comparison
    from reports.pages import FOREIGN, IN_DOMAIN
    from training.folder import remove_if_empty
except ModuleNotFoundError as absent:  # a sentence with the remedy, instead of a traceback
    from quiet import missing

    missing(absent.name)

WORST = 12  # mistakes that are shown
WRITTEN = ("metrics.json", "predictions.csv", "mistakes.png", *stress_files.FILES, *pages.PICTURES)


def main_eval(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    ranks = join()
    if not ranks.first:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # one speaks for all
    sys.stdout.reconfigure(errors="backslashreplace")  # a model's name may be no text
    out = Path(args.out or f"results/evaluation_{datetime.now():%Y%m%d-%H%M%S}")
    try:
        return evaluate_all(args, out, ranks)
    except indexing.DatasetError as error:
        return fail(1 if isinstance(error, indexing.StrictError) else 2, str(error))
    except ModelError as error:
        return fail(3, str(error))
    except FileExistsError as error:
        return fail(1, f"{error.filename} is not empty; choose another --out, or add --overwrite")
    except FirstFailedError:
        return 1
    except RuntimeError as error:
        if not lost(error):
            raise
        return fail(1, f"another process of this evaluation is gone; {out} is incomplete")
    except OSError as error:
        return fail(1, f"{error.filename or out}: {error.strerror or error}")
    except KeyboardInterrupt:
        return fail(130, f"interrupted; {out} is incomplete, --overwrite begins anew")
    finally:
        leave()
        if ranks.first:
            remove_if_empty(out)


def evaluate_all(args: argparse.Namespace, out: Path, ranks: Ranks = ALONE) -> int:
    """Load the models, judge each set once for all of them, write what was found."""
    if ranks.first:
        make_empty_folder(out, overwrite=args.overwrite)
    detectors, failed = load_models(args, ranks)
    with ranks.first_alone():  # the others find its index on the disk
        sets = choose_sets(args, detectors)
    if ranks.first:
        forget_earlier(out)
    rows = []
    for images in sets:
        working = {name: detector for name, detector in detectors.items() if name not in failed}
        if not working:
            break
        images, answers = without_faults(images, score(working, images, args.workers, ranks))
        for name, said in answers.items():
            if isinstance(said, ModelError):
                failed[name] = said
                fail(1, f"{name}: {said}")
            elif ranks.first:
                rows.append(evaluate_and_visualize(name, detectors[name], images, said, out))
    if not ranks.first:
        return 0
    rows += [{"model": name, "role": IN_DOMAIN, "status": f"failed: {error}"} for name, error in failed.items()]
    write_comparison(sorted(rows, key=lambda row: row["model"]), out)
    found = pages.gather(out)
    pages.write(found, out)
    print_findings(found)
    say(f"written to {out}; read {out / 'report.html'}")
    return 1 if failed else 0


def load_models(args: argparse.Namespace, ranks: Ranks) -> tuple[dict[str, Detector], dict[str, ModelError]]:
    """Those that can be used, each with a stopwatch, and why the others cannot. Raises ModelError if none can."""
    device = ranks.device if args.device == "auto" and ranks.size > 1 else args.device
    # Threads of several processes that want the same core spin, and hold each other up.
    threads = max(1, (os.cpu_count() or 1) // ranks.size)
    detectors, failed = {}, {}
    for name, path in model_names(args.models).items():
        try:
            detectors[name] = load_model(path, arch=args.arch, device=device, threads=threads)
            detectors[name].backend = record.Stopwatch(detectors[name].backend)
        except ModelError as error:
            failed[name] = error
            fail(1, f"{path}: {error}")
    if not detectors:
        raise ModelError("no model can be used")
    return detectors, failed


def load_model(path: Path, *, arch: str | None = None, device: str = "auto", threads: int | None = None) -> Detector:
    """The detector in a model file. Raises ModelError."""
    return load(path, arch=arch, device=device, threads=threads)


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


def choose_sets(args: argparse.Namespace, detectors: dict[str, Detector]) -> list[Set]:
    """The sets of --data, and the foreign ones of --extra. Raises DatasetError."""
    given = {name: (IN_DOMAIN, path) for name, path in args.data.items()}
    given |= {name: (FOREIGN, path) for name, path in args.extra.items()}
    stressed = None if args.robustness is None else args.robustness or list(args.data)
    unknown = sorted(set(stressed or ()) - set(given))
    if unknown:
        raise indexing.DatasetError(f"--robustness {unknown[0]}: no such set (there are {', '.join(given)})")
    indices = {
        name: images_to_judge(Path(path), detectors.values(), strict=args.strict) for name, (_, path) in given.items()
    }
    sets = [
        Set(
            name, role, place_of(name, role, alone=len(args.data) == 1), indices[name],
            indices[name].draw(args.stress_images or len(indices[name].samples), DRAW),
            robustness=stressed is not None and name in stressed, stability=args.stability and role == IN_DOMAIN,
        )
        for name, (role, _) in given.items()
    ]  # fmt: skip
    for one, other in combinations(sets, 2):
        if one.index.digest == other.index.digest and one.role == IN_DOMAIN:
            which = f"--extra {other.name}" if other.role == FOREIGN else f"--data {other.name}"
            why = "it is not foreign" if other.role == FOREIGN else "give each set once"
            raise indexing.DatasetError(f"{which} holds the very images of --data {one.name}; {why}")
    return sets


def place_of(name: str, role: str, *, alone: bool) -> str:
    """Where what is known of a set is written, below a model's folder. alone: the only one of --data."""
    if role == FOREIGN:
        return f"extra/{name}"
    return "." if alone else f"sets/{name}"


def evaluate_and_visualize(name: str, detector: Detector, images: Set, said: Said, out: Path) -> dict[str, object]:
    """Write what is known of one model on one set; its row of the comparison."""
    folder = out / name / images.place
    clear(folder)
    index, calibration = images.index, detector.metadata.calibration
    folder.mkdir(parents=True, exist_ok=True)
    changed = {change: judged.logits for change, judged in said.changed.items()}
    stressed = stress.from_logits(images.drawn.labels, changed, calibration) if images.robustness else None
    facts = {
        "format": record.FORMAT,
        "version": record.VERSION,
        "model": record.of_model(name, detector),
        "data": {
            "name": images.name, "role": images.role, "folder": str(index.root), "digest": index.digest,
            "seen_in_training": seen_in_training(detector, index),
        },
        "left_out": [[str(path), reason] for path, reason in index.left_out],
        "without_face": [str(path) for path in index.faceless] if detector.metadata.preprocess.frame == "face" else [],
        "calibration": calibration.to_dict(),
        **record.of_set(index, said.whole, detector),
        "drawn": images.draw,
        "stability": record.of_stability(said.changed, calibration) if images.stability else None,
        "speed": record.speed(detector),
    }  # fmt: skip
    facts["gap"] = record.gap(detector, facts)
    if facts["data"]["seen_in_training"]:
        say(f"{name}: these are the images of its {facts['data']['seen_in_training']}; its numbers here flatter it")
    predictions = prediction_rows(index, said.whole, calibration)
    write_atomically(folder / "predictions.csv", tables.to_csv(predictions, PREDICTION_COLUMNS))
    draw(facts, images, said.whole, calibration, folder)
    if stressed:
        stress_files.write(stressed, folder, f"{name} on {images.name}")
    write_atomically(folder / "metrics.json", json.dumps(facts, indent=2, allow_nan=False) + "\n")
    return row_of(facts, stressed)


def draw(facts: dict, images: Set, judged: Judged, calibration: Calibration, folder: Path) -> None:
    """The plots of one model on one set; curves over both classes only where there are both."""
    threshold, unsure, index = calibration.threshold, calibration.band, images.index
    decided = np.flatnonzero(~np.isnan(calibration.scores(judged.logits)))
    labels, scores = index.labels[decided], calibration.scores(judged.logits[decided])
    of = f"{len(labels)} of {len(index.samples)}" if len(labels) < len(index.samples) else f"{len(labels)}"
    title = f"{facts['model']['name']} on {images.name} (n = {of})"
    plots.confusion_matrix(np.array(facts["confusion_matrix"]), folder / "confusion_matrix.png", title=title)
    if len(np.unique(labels)) == 2:
        plots.roc(labels, scores, threshold, folder / "roc.png", title=title)
        plots.precision_recall(labels, scores, threshold, folder / "precision_recall.png", title=title)
    curves = Path(facts["model"]["file"]).parent / "curves.png"
    if images.role == IN_DOMAIN and curves.is_file():  # of the training run that the file still lies in
        write_atomically(folder / "curves.png", curves.read_bytes())
    if len(labels):
        plots.reliability(labels, scores, folder / "reliability.png", title=title)
        plots.histogram(labels, scores, threshold, unsure, folder / "scores.png", title=title)
    plots.sources(facts["sources"], folder / "sources.png", title=title)
    wrong = np.flatnonzero((scores >= threshold) != (labels == FAKE))
    worst = sorted(wrong, key=lambda i: -abs(scores[i] - labels[i]))[:WORST]
    if worst:
        places = [(decided[i], scores[i]) for i in worst]
        shown = [(index.picture(place).image, caption(index.samples[place], score)) for place, score in places]
        plots.mistakes(shown, folder / "mistakes.png", title=f"{title}: its worst mistakes")


def caption(sample: indexing.Sample, score: float) -> str:
    return f"{'Fake' if sample.label == FAKE else 'Real'}, P(fake) {score:.2f}\n{sample.path.name[-24:]}"


def seen_in_training(detector: Detector, index: indexing.Index) -> str | None:
    """The split these images are, file for file, of those that the detector was trained or chosen on; or None."""
    digest, facts = index.digest, record.training_facts(detector)
    return next((name for name in ("Train", "Validation") if record.digest_of(facts, name) == digest), None)


def forget_earlier(out: Path) -> None:
    """--overwrite: what an earlier evaluation wrote there is no part of this one."""
    try:
        with (out / "comparison.csv").open(encoding="utf-8", newline="") as file:
            folders = [
                out / row["model"] / place_of(row["set"], row["role"], alone=alone)
                for row in csv.DictReader(file)
                for alone in (True, False)
            ]
    except (OSError, KeyError, ValueError):
        return
    for folder in folders:
        clear(folder)


def clear(folder: Path) -> None:
    """Remove the files that this program writes of a model and a set."""
    for name in WRITTEN:
        (folder / name).unlink(missing_ok=True)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="eval.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--models",
        nargs="+",
        type=shipped,
        required=True,
        help="model files, folders of them, or names of detectors that ship",
    )
    add("--data", action="append", required=True, help="folder with Real/ and Fake/, or with Test/; again for more")
    add("--extra", action="append", type=named, default=[], metavar="NAME=FOLDER", help="a foreign set; again for more")
    add("--robustness", nargs="*", metavar="SET", help="stress the models: on each --data, or on the sets named")
    add("--stability", action="store_true", help="how many verdicts on --data flip under benign changes")
    add(
        "--stress-images",
        type=at_least_0,
        default=500,
        metavar="N",
        help="images of a set that --robustness and --stability change (default: 500, drawn at random; 0: all)",
    )
    add("--out", help="output folder (default: results/evaluation_<time>)")
    add("--overwrite", action="store_true", help="write into an --out that is not empty")
    add("--arch", "--model_name", type=str.lower, choices=ARCHITECTURES, help="what plain weights must be")
    add("--workers", type=workers, default=0, help="decoding processes (default: 0)")
    add("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1 ...")
    add("--strict", action="store_true", help="an image that cannot be read is an error")
    args = parser.parse_args(argv)
    given = [(name_of(Path(folder)), folder) for folder in args.data]
    names = [name for name, _ in given + args.extra]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        parser.error(f"two sets are called {twice[0]}; evaluate one of them by itself, into another --out")
    args.data, args.extra = dict(given), dict(args.extra)
    return args


def name_of(folder: Path) -> str:
    """What a set of --data is called: its folder, and for a Test folder the one around it too."""
    parts = folder.resolve().parts[1:] or ("data",)
    return "/".join(parts[-2:] if parts[-1].lower() in dataset.SPLIT_NAMES["Test"] else parts[-1:])


def named(text: str) -> tuple[str, str]:
    name, _, folder = text.partition("=")
    if not re.fullmatch(r"\w[\w.-]{0,59}", name) or not folder:
        raise argparse.ArgumentTypeError(
            f"must be NAME=FOLDER, the name of at most 60 letters, digits, . _ or -, not {text}"
        )
    return name, folder


def workers(text: str) -> int:
    if not 0 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"must be from 0 to 256, not {text}")
    return int(text)


def at_least_0(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return int(text)


def fail(status: int, message: str) -> int:
    say(f"eval.py: error: {message}")
    return status


if __name__ == "__main__":
    sys.exit(main_eval())
