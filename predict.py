"""Judge images with a trained detector.

    python predict.py photo.jpg
    python predict.py folder/ more/photo.png --json > verdicts.jsonl
    python predict.py group.jpg --annotate marked/
    python predict.py photo.jpg --stability --explain heat/
    python predict.py photo.jpg --prior 0.01                            # where one picture in a hundred is fake
    curl -s https://example.org/photo.jpg | python predict.py -
    python predict.py samples/ --model results/run/best.safetensors      # another detector than models/default.onnx

stdout carries the verdicts: a table, or with --json one JSON object a line. stderr carries the rest, what --csv,
--annotate and --explain wrote included.
A folder stands for every image below it, in sorted order. An .onnx model (python -m tools.export) needs no torch.

Exit status: 0 every input was judged; 1 at least one was not (the others were); 2 usage; 3 the model cannot be used;
130 Ctrl-C.
"""

import argparse
import os
import re
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Lock

try:
    from detector import DEFAULT_MODEL, Detector, ModelError, load, shipped
    from detector.prior import prior_share
    from imaging.door import MAX_BYTES, ImageError, Picture, open_image
    from imaging.listing import list_pictures
    from judging.answers import Answer, Answers, shown
    from judging.explain import can_explain, explain
    from judging.stability import stability, steady
    from names import ARCHITECTURES
    from progress import Bar
except ModuleNotFoundError as absent:  # a sentence with the remedy, instead of a traceback
    from quiet import missing

    missing(absent.name)


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed by the caller
        stream.reconfigure(errors="backslashreplace")  # a file's name may be no text
    try:
        return judge_all(args)
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


def judge_all(args: argparse.Namespace) -> int:
    """Judge each input in turn, and say so as soon as it is known."""
    inputs, status = list(expand(args.inputs)), 0
    files = [source for _, source in inputs if isinstance(source, Path)]
    if args.csv and os.path.realpath(args.csv) in map(os.path.realpath, files):
        return fail(2, f"--csv {shown(args.csv)} is one of the inputs; it would be overwritten")
    wanted = {"as_json": args.json, "table": args.csv, "prior": args.prior}
    with Answers(files, **wanted, annotate=args.annotate, explain=args.explain) as write:
        judge = Judge(args, many=len(inputs) > 1)
        for name, answer in progress(judge.in_order(inputs), len(inputs)):
            if isinstance(answer, ImageError):
                status = fail(1, f"{shown(name)}: {answer}")
                write.failure(name, answer)
            else:
                write.answer(name, answer, judge.detector)
    return status


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
        except ModelError:  # of the model, not of this picture
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the other pictures can still be judged
            return name, ImageError.of_fault(error)

    def judge(self, source) -> Answer:
        picture = read(source, max_bytes=int(self.args.max_mb * 2**20))
        with self.loading:
            if self.detector is None:
                threads = None if self.workers == 1 else 1
                self.detector = load(self.args.model, arch=self.args.arch, device=self.args.device, threads=threads)
        if self.args.explain and not can_explain(self.detector):
            raise ModelError("it gives no feature map, so --explain cannot be done; use the checkpoint it came from")
        with nullcontext() if self.detector.concurrent else self.judging:
            return predict_image(picture, self.detector, changed=self.args.stability, explained=self.args.explain)


def predict_image(
    source: Picture | bytes | str | os.PathLike, detector: Detector, *, changed: bool = False, explained: bool = False
) -> Answer:
    """What a detector says of one image: opened already, its bytes, or its path. Raises ImageError, and ModelError.

    changed: also whether the verdict survives harmless changes; if not, it is Unsure. explained: also a heat map.
    """
    picture = source if isinstance(source, Picture) else open_image(source)
    verdict = detector.judge(picture)
    found = stability(detector, picture, verdict) if changed else None
    explanation = explain(detector, picture, verdict) if explained else None
    return Answer(picture, steady(verdict, found) if found else verdict, found, explanation)


def expand(inputs: list[str]) -> Iterator[tuple[str, Path | bytes | ImageError]]:
    """(name to show, what to open) for each image: folders are walked, "-" is standard input."""
    for name in inputs:
        if name == "-":
            yield name, sys.stdin.buffer
        elif os.path.isdir(name):
            unentered: list[OSError] = []
            found = list_pictures(name, on_error=unentered.append)
            yield from ((str(path), path) for path in found.pictures)
            if found.others:
                print(f"{shown(name)}: passed over: {found.others_in_words()}", file=sys.stderr)
            for error in unentered:
                yield str(error.filename), ImageError("permission-denied", f"cannot be entered: {error.strerror}")
            if not found.pictures and not unentered:
                yield name, ImageError("no-images", f"no images in {shown(name)}")
        elif re.match(r"(?i)[a-z][a-z0-9+.-]*://", name) and not os.path.exists(name):
            yield name, ImageError("no-such-file", "web addresses are not fetched: save the picture and give the file")
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
    return Bar(answers, total=total, desc="judging", unit="img", disable=total < 2 or sys.stdout.isatty())


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="predict.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="an image, a folder, or - for standard input")
    add(
        "--model",
        type=shipped,
        default=str(DEFAULT_MODEL),
        help=".onnx file, checkpoint (.safetensors), plain weights (.pth), or name of a detector that ships, default"
        " or large; default: %(default)s",
    )
    add(
        "--arch",
        "--model_name",
        type=str.lower,
        choices=ARCHITECTURES,
        help="what plain weights must be (recognised by default)",
    )
    add("--json", action="store_true", help="one JSON object a line")
    add("--csv", metavar="FILE", help="also write a CSV file: a row for each input and each face")
    add("--annotate", metavar="DIR", help="also write a copy of each picture with its verdict and faces, as PNG")
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
    add(
        "--prior",
        type=prior_share,
        metavar="SHARE",
        help="also say what each score means where this share of the pictures is fake: 0.01, say (a score is P(fake)"
        " where half of them are)",
    )
    add("--max-mb", type=megabytes, default=MAX_BYTES / 2**20, help="largest file, MiB (default: %(default)g)")
    add("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1 ...")
    return parser.parse_args(as_files(sys.argv[1:] if argv is None else argv, parser))


def as_files(argv: list[str], parser: argparse.ArgumentParser) -> list[str]:
    """The arguments with files whose names begin with "-", as `*.jpg` may give them, told from flags."""
    flags = {flag for action in parser._actions for flag in action.option_strings}
    return [
        f"./{word}" if word.startswith("-") and word not in (*flags, "-", "--") and os.path.isfile(word) else word
        for word in argv
    ]


def megabytes(text: str) -> float:
    if not 0 < float(text) <= 1024:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1024, not {text}")
    return float(text)


def fail(status: int, message: str) -> int:
    print(f"predict.py: error: {message}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
