"""Judge images with a trained detector.

    python predict.py photo.jpg
    python predict.py folder/ more/photo.png --json > verdicts.jsonl
    python predict.py group.jpg --annotate marked/
    python predict.py photo.jpg --stability --explain heat/
    curl -s https://example.org/photo.jpg | python predict.py -
    python predict.py samples/ --model results/run/best.safetensors      # another detector than models/default.onnx

stdout carries the verdicts: a table, or with --json one JSON object a line. stderr carries the rest.
A folder stands for every image below it, in sorted order. An .onnx model (python -m tools.export) needs no torch.

Exit status: 0 every input was judged; 1 at least one was not (the others were); 2 usage; 3 the model cannot be used;
130 Ctrl-C.
"""

import argparse
import csv
import json
import os
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import TextIO

from PIL import ImageDraw, ImageFont
from tqdm import tqdm

from detector import DEFAULT_MODEL, Detector, ModelError, Verdict, load
from evaluation.explain import Explanation, can_explain, explain
from evaluation.stability import Stability, stability, steady
from imaging.door import MAX_BYTES, ImageError, Picture, list_images, open_image
from names import ARCHITECTURES, percent

CSV_COLUMNS = ("file", "verdict", "score", "notes", "error")


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed by the caller
        stream.reconfigure(errors="backslashreplace")  # a file's name may be no text
    if args.csv and any(os.path.realpath(args.csv) == os.path.realpath(name) for name in args.inputs):
        return fail(2, f"--csv {shown(args.csv)} is one of the inputs; it would be overwritten")
    try:
        with open_table(args.csv) as table:
            return judge_all(args, table)
    except ModelError as error:
        remedy = "" if os.path.exists(args.model) else "; name a detector with --model"
        return fail(3, f"{args.model}: {error}{remedy}")
    except BrokenPipeError:  # the reader of stdout, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return fail(1, f"{shown(error.filename or 'output')}: {error.strerror or error}")
    except KeyboardInterrupt:
        return fail(130, "interrupted; what stands above was judged")


def judge_all(args: argparse.Namespace, table: TextIO) -> int:
    """Judge each input in turn, and say so as soon as it is known."""
    inputs = list(expand(args.inputs))
    write, status = (JsonLines() if args.json else Table()), 0
    rows = csv.DictWriter(table, CSV_COLUMNS)
    rows.writeheader()
    for folder in filter(None, (args.annotate, args.explain)):
        os.makedirs(folder, exist_ok=True)
    judge = Judge(args, many=len(inputs) > 1)
    for name, answer in progress(judge.in_order(inputs), len(inputs)):
        if isinstance(answer, ImageError):
            status = fail(1, f"{shown(name)}: {answer}")
            write.failure(name, answer)
            rows.writerow({"file": shown(name), "error": answer.detail})
            continue
        verdict, notes = answer.verdict, "; ".join(answer.verdict.notes)
        heat = Path(args.explain) / f"{stem(name)}.heat.png" if answer.explanation else None
        write.verdict(name, answer, judge.detector, heat)
        rows.writerow({"file": shown(name), "verdict": verdict.verdict, "score": verdict.score, "notes": notes})
        if heat:
            answer.explanation.overlay.save(heat)
        if args.annotate:
            annotate(answer.picture, verdict, Path(args.annotate), name)
    return status


@dataclass(frozen=True)
class Answer:
    """What became of one image."""

    picture: Picture
    verdict: Verdict
    stability: Stability | None = None  # with --stability
    explanation: Explanation | None = None  # with --explain, where something was judged


class Judge:
    """Opens and judges images, several at once, in order. The model is loaded at the first image that can be opened.

    ONNX Runtime judges as many images at once as there are cores, each on one thread; of a single image, all cores
    take part. PyTorch spreads each image over the cores itself, so there one is judged while the next are decoded.
    """

    def __init__(self, args: argparse.Namespace, *, many: bool):
        self.args, self.workers, self.detector = args, (os.cpu_count() or 1) if many else 1, None
        self.loading, self.judging = Lock(), Lock()

    def in_order(self, inputs: list) -> Iterator[tuple[str, Answer | ImageError]]:
        """(name, answer or error) for each input; a few are worked on ahead."""
        pool, ahead = ThreadPoolExecutor(self.workers), deque()
        try:
            for name, source in inputs:
                ahead.append((name, pool.submit(self.judge, source)))
                if len(ahead) > 2 * self.workers:
                    yield self.finished(*ahead.popleft())
            while ahead:
                yield self.finished(*ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def finished(self, name: str, future: Future) -> tuple[str, Answer | ImageError]:
        try:
            return name, future.result()
        except ImageError as error:
            return name, error

    def judge(self, source) -> Answer:
        picture = read(source, max_bytes=int(self.args.max_mb * 2**20))
        with self.loading:
            if self.detector is None:
                threads = None if self.workers == 1 else 1
                self.detector = load(self.args.model, arch=self.args.arch, device=self.args.device, threads=threads)
        if self.args.explain and not can_explain(self.detector):
            raise ModelError("it gives no feature map, so --explain cannot be done; use the checkpoint it came from")
        with nullcontext() if self.detector.concurrent else self.judging:
            return self.answer(picture)

    def answer(self, picture: Picture) -> Answer:
        verdict = self.detector.judge(picture)
        found = stability(self.detector, picture, verdict) if self.args.stability else None
        explanation = explain(self.detector, picture, verdict) if self.args.explain else None
        return Answer(picture, steady(verdict, found) if found else verdict, found, explanation)


def annotate(picture: Picture, verdict: Verdict, folder: Path, name: str) -> None:
    """A copy of the picture as a PNG in `folder`, with a box and its verdict for each face."""
    marked = picture.image.copy()
    draw, width = ImageDraw.Draw(marked), max(2, max(marked.size) // 300)
    font = ImageFont.load_default(size=max(12, max(marked.size) // 40))
    for face in verdict.faces:
        x, y, w, h = face.box
        text = f"{face.verdict} {percent(face.score)}"
        draw.rectangle((x, y, x + w, y + h), outline="white", width=2 * width)
        draw.rectangle((x, y, x + w, y + h), outline="black", width=width)
        at = (max(0, x), max(0, y + h + width))
        draw.rectangle(draw.textbbox(at, text, font=font), fill="black")
        draw.text(at, text, font=font, fill="white")
    marked.save(folder / f"{stem(name)}.png")


def stem(name: str) -> str:
    """An input's name as that of a file in another folder."""
    return name.strip("/").replace("/", "_") if name != "-" else "standard-input"


def predict_image(source: bytes | str | os.PathLike, detector: Detector, *, max_bytes: int = MAX_BYTES) -> Verdict:
    """The verdict about one image, from its path or its bytes. Raises ImageError, and ModelError."""
    return detector.judge(open_image(source, max_bytes=max_bytes))


def expand(inputs: list[str]) -> Iterator[tuple[str, Path | bytes | ImageError]]:
    """(name to show, what to open) for each image: folders are walked, "-" is standard input."""
    for name in inputs:
        if name == "-":
            yield name, sys.stdin.buffer
        elif os.path.isdir(name):
            unentered: list[OSError] = []
            images = list_images(name, on_error=unentered.append)
            yield from ((str(path), path) for path in images)
            for error in unentered:
                yield str(error.filename), ImageError("permission-denied", f"cannot be entered: {error.strerror}")
            if not images and not unentered:
                yield name, ImageError("no-images", f"no images in {shown(name)}")
        else:
            yield name, Path(name)


def read(source, *, max_bytes: int) -> Picture:
    if isinstance(source, ImageError):
        raise source
    if source is sys.stdin.buffer:
        source = source.read(max_bytes + 1)
    return open_image(source, max_bytes=max_bytes)


def progress(answers: Iterator, total: int) -> Iterator:
    """A bar for many images, where it does not run through the verdicts on the same terminal."""
    hidden = True if total < 2 or sys.stdout.isatty() else None
    return tqdm(answers, total=total, unit="img", disable=hidden, leave=False)


class Table:
    """Verdicts for people. A line for each face where there are several."""

    begun = False

    def verdict(self, name: str, answer: Answer, detector: Detector, heat: Path | None) -> None:
        verdict = answer.verdict
        if not self.begun:
            self.begun = True
            for note in detector.metadata.calibration.notes():
                print(f"note: {note}", file=sys.stderr)
            print("verdict  P(fake)  file")
        print(f"{verdict.verdict:7}  {percent(verdict.score):>7}  {shown(name)}")
        for number, face in enumerate(verdict.faces if len(verdict.faces) > 1 else (), 1):
            x, y, width, height = map(round, face.box)
            where = f"face {number}, {width}x{height} pixels at {x}, {y}"
            print(f"  {face.verdict:7}{percent(face.score):>7}    {where}")
        for note in verdict.notes:
            print(f"{'':18}note: {note}")
        if answer.explanation:
            print(f"{'':18}heat: {answer.explanation.sentence}")
        sys.stdout.flush()

    def failure(self, name: str, error: ImageError) -> None:
        pass  # stderr has said it


class JsonLines:
    """Verdicts for programs: one object a line."""

    def verdict(self, name: str, answer: Answer, detector: Detector, heat: Path | None) -> None:
        picture, verdict, calibration = answer.picture, answer.verdict, detector.metadata.calibration
        width, height = picture.image.size
        more = {"stability": asdict(answer.stability)} if answer.stability else {}
        if answer.explanation:
            about = answer.explanation
            scored = asdict(about.deletion) | {"explains": about.deletion.explains} if about.deletion else None
            more["explanation"] = {"file": str(heat), "sentence": about.sentence, "box": about.box, "deletion": scored}
        self.write(
            {
                "file": name,
                "verdict": verdict.verdict,
                "score": verdict.score,
                "faces": [asdict(face) for face in verdict.faces],
                "image": {"width": width, "height": height, "format": picture.format},
                "notes": [*verdict.notes, *calibration.notes()],
                "thresholds": {"fake": calibration.threshold, "unsure": calibration.unsure},
                "model": {"name": detector.path.name, "arch": detector.metadata.arch, "sha256": detector.sha256},
            }
            | more
        )

    def failure(self, name: str, error: ImageError) -> None:
        self.write({"file": name, "error": {"slug": error.slug, "detail": error.detail}})

    def write(self, answer: dict) -> None:
        print(json.dumps(answer, allow_nan=False), flush=True)


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
    add(
        "--model",
        default=str(DEFAULT_MODEL),
        help=".onnx file, checkpoint (.safetensors), or plain weights (.pth); default: %(default)s",
    )
    add(
        "--arch",
        "--model_name",
        type=str.lower,
        choices=ARCHITECTURES,
        help="what plain weights must be (recognised by default)",
    )
    add("--json", action="store_true", help="one JSON object a line")
    add("--csv", metavar="FILE", help="also write a CSV file")
    add("--annotate", metavar="DIR", help="also write a copy of each picture with its faces and verdicts, as PNG")
    add(
        "--stability",
        action="store_true",
        help="judge again after six harmless changes; a verdict that flips is Unsure",
    )
    add(
        "--explain",
        metavar="DIR",
        help="also write what the network saw, with a heat map of what speaks for Fake, as PNG",
    )
    add("--max-mb", type=megabytes, default=MAX_BYTES / 2**20, help="largest file, MiB (default: %(default)g)")
    add("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1 ...")
    return parser.parse_args(argv)


def megabytes(text: str) -> float:
    if not 0 < float(text) <= 1024:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1024, not {text}")
    return float(text)


def fail(status: int, message: str) -> int:
    print(f"predict.py: error: {message}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
