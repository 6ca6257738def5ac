"""Judge images with a trained detector.

    python predict.py photo.jpg --model results/run/best.safetensors
    python predict.py folder/ more/photo.png --model best.safetensors --json > verdicts.jsonl
    curl -s https://example.org/photo.jpg | python predict.py - --model best.safetensors

stdout carries the verdicts: a table, or with --json one JSON object a line. stderr carries the rest.
A folder stands for every image below it, in sorted order.

Exit status: 0 every input was judged; 1 at least one was not (the others were); 2 usage; 3 the model cannot be used;
130 Ctrl-C.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from detector import Detector, ModelError, Verdict, load
from imaging.door import MAX_BYTES, ImageError, Picture, list_images, open_image
from names import ARCHITECTURES

CSV_COLUMNS = ("file", "verdict", "score", "notes", "error")


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a file's name may be no text
    try:
        with open_table(args.csv) as table:
            return judge_all(args, table)
    except ModelError as error:
        return fail(3, f"{args.model}: {error}")
    except BrokenPipeError:  # the reader of stdout, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return fail(1, f"{shown(error.filename or 'output')}: {error.strerror or error}")
    except KeyboardInterrupt:
        return fail(130, "interrupted; what stands above was judged")


def judge_all(args: argparse.Namespace, table: TextIO) -> int:
    """Judge each input in turn. The model is loaded at the first image that can be opened."""
    inputs = list(expand(args.inputs))
    write = JsonLines(args) if args.json else Table(len(inputs))
    rows = csv.DictWriter(table, CSV_COLUMNS)
    rows.writeheader()
    detector, status = None, 0
    for name, source in progress(inputs):
        try:
            picture = read(source, max_bytes=int(args.max_mb * 2**20))
        except ImageError as error:
            status = fail(1, f"{shown(name)}: {error}")
            write.failure(name, error)
            rows.writerow({"file": shown(name), "error": error.detail})
            continue
        if detector is None:
            detector = load(args.model, arch=args.arch, device=args.device)
            write.begin(detector)
        verdict = detector.judge(picture)
        write.verdict(name, picture, verdict, detector)
        notes = "; ".join(verdict.notes)
        rows.writerow({"file": shown(name), "verdict": verdict.verdict, "score": verdict.score, "notes": notes})
    return status


def predict_image(source: bytes | str | os.PathLike, detector: Detector, *, max_bytes: int = MAX_BYTES) -> Verdict:
    """The verdict about one image, from its path or its bytes. Raises ImageError, and ModelError."""
    return detector.judge(open_image(source, max_bytes=max_bytes))


def expand(inputs: list[str]) -> Iterator[tuple[str, Path | bytes | ImageError]]:
    """(name to show, what to open) for each image: folders are walked, "-" is standard input."""
    for name in inputs:
        if name == "-":
            yield name, sys.stdin.buffer
        elif os.path.isdir(name):
            images = list_images(name)
            yield from ((str(path), path) for path in images)
            if not images:
                yield name, ImageError("no-images", f"no images in {shown(name)}")
        else:
            yield name, Path(name)


def read(source, *, max_bytes: int) -> Picture:
    if isinstance(source, ImageError):
        raise source
    if source is sys.stdin.buffer:
        source = source.read(max_bytes + 1)
    return open_image(source, max_bytes=max_bytes)


def progress(inputs: list) -> Iterator:
    """A bar for many images, where it does not run through the verdicts on the same terminal."""
    hidden = True if len(inputs) < 2 or sys.stdout.isatty() else None
    return tqdm(inputs, unit="img", disable=hidden, leave=False)


class Table:
    """Verdicts for people."""

    def __init__(self, count: int):
        self.count = count

    def begin(self, detector: Detector) -> None:
        for note in detector.metadata.calibration.notes():
            print(f"note: {note}", file=sys.stderr)
        print("verdict  P(fake)  file", flush=True)

    def verdict(self, name: str, picture: Picture, verdict: Verdict, detector: Detector) -> None:
        print(f"{verdict.verdict:7}  {percent(verdict.score):>7}  {shown(name)}", flush=True)
        for note in verdict.notes:
            print(f"{'':18}note: {note}", flush=True)

    def failure(self, name: str, error: ImageError) -> None:
        pass  # stderr has said it


class JsonLines:
    """Verdicts for programs: one object a line."""

    def __init__(self, args: argparse.Namespace):
        self.args = args

    def begin(self, detector: Detector) -> None:
        calibration = detector.metadata.calibration
        self.common = {
            "thresholds": {"fake": calibration.threshold, "unsure": calibration.unsure},
            "model": {"name": detector.path.name, "arch": detector.metadata.arch, "sha256": detector.sha256},
        }

    def verdict(self, name: str, picture: Picture, verdict: Verdict, detector: Detector) -> None:
        width, height = picture.image.size
        self.write(
            {
                "file": name,
                "verdict": verdict.verdict,
                "score": verdict.score,
                "image": {"width": width, "height": height, "format": picture.format},
                "notes": [*verdict.notes, *detector.metadata.calibration.notes()],
                **self.common,
            }
        )

    def failure(self, name: str, error: ImageError) -> None:
        self.write({"file": name, "error": {"slug": error.slug, "detail": error.detail}})

    def write(self, answer: dict) -> None:
        print(json.dumps(answer, allow_nan=False), flush=True)


def percent(score: float) -> str:
    """A score as a person should read it: no figure that claims certainty."""
    if score < 0.01:
        return "<1 %"
    return ">99 %" if score > 0.99 else f"{score:.0%}".replace("%", " %")


def shown(name: object) -> str:
    """A file's name without what would move the cursor of a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(name))


def open_table(path: str | None) -> TextIO:
    return open(path or os.devnull, "w", newline="", encoding="utf-8", errors="backslashreplace")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="predict.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="an image, a folder, or - for standard input")
    add("--model", required=True, help="checkpoint (.safetensors), or plain weights (.pth)")
    add(
        "--arch",
        "--model_name",
        type=str.lower,
        choices=ARCHITECTURES,
        help="what plain weights must be (recognised by default)",
    )
    add("--json", action="store_true", help="one JSON object a line")
    add("--csv", metavar="FILE", help="also write a CSV file")
    add("--max-mb", type=float, default=MAX_BYTES / 2**20, help="largest file, MiB (default: %(default)g)")
    add("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1 ...")
    return parser.parse_args(argv)


def fail(status: int, message: str) -> int:
    print(f"predict.py: error: {message}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
