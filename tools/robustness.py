"""How detectors hold up when the world changes the pictures: curves over strength, and each class saved again.

    python -m tools.robustness results/run/best.safetensors --data data/Test --out results/robustness
    python -m tools.robustness a.onnx b.safetensors --data data --out results/robustness --workers 2
    python -m tools.robustness best.onnx --data data/Test --out quick --only jpeg blur reencode

--data is a folder with Real/ and Fake/, or one with Test/, which is then taken. Each model gets a folder in --out with
robustness.csv, reencode.csv, robustness.png and stress.json; of several models, robustness.png in --out compares them.
stdout carries the tables and the findings. Recalls are at each model's stored threshold; Unsure counts by it as well.

Exit status: 0 every model was assessed; 1 at least one failed, or the output folder did; 2 usage, or no usable data
folder; 3 no model can be used; 130 Ctrl-C.
"""

import argparse
import sys
from pathlib import Path

import indexing
from detector import ModelError, load
from evaluation import stress
from evaluation.choosing import images_to_judge
from files import make_empty_folder
from imaging.corruptions import CORRUPTIONS
from names import ARCHITECTURES
from progress import say
from reports import stress_files, tables
from tools.ending import ToolError, ended, fail

CURVES = {
    "model": "model", "corruption": "corruption", "strengths": "strengths", "auc": "AUC",
    "recall_real": "recall of Real", "recall_fake": "recall of Fake",
}  # fmt: skip
REENCODED = {
    "model": "model", "saved_again": "saved again", "as": "as", "auc": "AUC", "recall_real": "recall of Real",
    "fall_real": "falls by (95 % interval)", "recall_fake": "recall of Fake", "fall_fake": "falls by (95 % interval)",
}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a model's name may be no text
    return ended("robustness", lambda: assess_all(args), out=args.out)


def assess_all(args: argparse.Namespace) -> int:
    """Load the models, judge all changes of each image once for all of them, write and print what was found."""
    try:
        make_empty_folder(args.out, overwrite=args.overwrite)
    except FileExistsError as error:
        raise ToolError(f"{error.filename} is not empty; choose another --out, or add --overwrite") from error
    detectors, status = {}, 0
    for name, path in model_names(args.models).items():
        try:
            detectors[name] = load(path, arch=args.arch, device=args.device)
        except ModelError as error:
            status = fail("robustness", 1, f"{path}: {error}")
    if not detectors:
        raise ModelError("no model can be used")
    index = images_to_judge(args.data, detectors.values())
    stresses: dict[str, stress.Stress] = {}
    for name, answer in stress.assess(detectors, index, workers=args.workers, only=args.only).items():
        if isinstance(answer, ModelError):
            status = fail("robustness", 1, f"{name}: {answer}")
            continue
        stresses[name] = answer
        stress_files.write(answer, args.out / name, title_of(name, index))
    if not stresses:
        raise ModelError("no model could be assessed")
    if len(stresses) > 1:
        stress_files.draw(stresses, args.out / "robustness.png", title_of(f"{len(stresses)} models", index))
    print_tables(stresses)
    say(f"written to {args.out}")
    return status


def model_names(paths: list[Path]) -> dict[str, Path]:
    """A name for each model file: its own, behind as many of its folders, and with its suffix, as are needed."""
    paths = list(dict.fromkeys(path.resolve() for path in paths))
    candidates = (
        ["/".join((path if suffix else path.with_suffix("")).parts[1:][-depth:]) for path in paths]
        for suffix in (False, True)
        for depth in range(1, max(len(path.parts) for path in paths))
    )
    return dict(zip(next(names for names in candidates if len(set(names)) == len(paths)), paths, strict=True))


def print_tables(stresses: dict[str, stress.Stress]) -> None:
    """Curves with a line for each corruption, the re-encode test, and the findings."""
    curves = [{"model": name} | row for name, one in stresses.items() for row in curve_rows(one.robustness)]
    reencoded = [{"model": name} | falls(row) for name, one in stresses.items() for row in one.reencode]
    for rows, columns in ((curves, CURVES), (reencoded, REENCODED)):
        if rows:
            print(tables.to_text(rows, columns), end="\n\n")
    for name, one in stresses.items():
        for sentence in one.findings:
            print(f"{name}: {sentence}")


def curve_rows(rows: list[dict]) -> list[dict]:
    """One row a corruption, with what it does at all its strengths."""
    return [
        {"corruption": name, "strengths": " ".join(f"{row['strength']:g}" for row in of_name if "strength" in row)}
        | {key: " ".join(figure(row[key]) for row in of_name) for key in ("auc", "recall_real", "recall_fake")}
        for name in dict.fromkeys(row["corruption"] for row in rows)
        for of_name in [[row for row in rows if row["corruption"] == name]]
    ]


def falls(row: dict) -> dict:
    """The row with each drop and its interval as a text."""
    return row | {
        f"fall_{name}": " to ".join(stress.points(row[f"drop_{name}_{end}"]) for end in ("low", "high")).join(
            (f"{stress.points(row[f'drop_{name}'])} (", ")")
        )
        for name in ("real", "fake")
        if row.get(f"drop_{name}") is not None
    }


def figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def title_of(name: str, index: indexing.Index) -> str:
    return f"{name} on {'/'.join(index.root.resolve().parts[-2:])} (n = {len(index.samples)})"


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.robustness", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("models", nargs="+", metavar="MODEL", type=Path, help="model files")
    add("--data", required=True, type=Path, help="folder with Real/ and Fake/, or with Test/")
    add("--out", required=True, type=Path, help="output folder")
    add("--overwrite", action="store_true", help="write into an --out that is not empty")
    add(
        "--only", nargs="+", choices=stress.PARTS, default=stress.PARTS, metavar="PART",
        help=f"leave out the rest of: {', '.join(CORRUPTIONS)}, and {stress.REENCODING} for the re-encode test",
    )  # fmt: skip
    add("--arch", type=str.lower, choices=ARCHITECTURES, help="what plain weights must be")
    add("--workers", type=workers, default=0, help="decoding processes (default: 0)")
    add("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1 ...")
    return parser.parse_args(argv)


def workers(text: str) -> int:
    if not 0 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"must be from 0 to 256, not {text}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
