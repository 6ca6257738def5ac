"""What predict.py writes of its answers: for people, for programs and spreadsheets, and as pictures in folders.

    with Answers(["photo.jpg"], as_json=True, table="verdicts.csv", annotate="marked/") as write:
        write.answer("photo.jpg", answer, detector)

The answers go to stdout. Where else something was written, one line on stderr says at the end. Importing this costs no
torch and no plotting library.
"""

import csv
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath

from PIL import Image

from detector import Detector, Verdict
from detector.answer import answer as detector_answer
from detector.prior import in_words, with_prior
from imaging.door import ImageError, Picture
from judging.drawing import framed, marked
from judging.explain import Explanation
from judging.stability import Stability
from names import percent

CSV_COLUMNS = (
    "file", "face", "verdict", "score", "threshold", "unsure_low", "unsure_high", "x", "y", "width", "height", "notes",
    "error_slug", "error", "lowest", "highest", "prior", "score_at_prior", "annotated", "heat", "model", "arch",
    "model_sha256",
)  # fmt: skip
FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # what a spreadsheet runs where a cell begins with it
LONGEST = 200  # bytes of a file's name that another one's becomes


@dataclass(frozen=True)
class Answer:
    """What became of one image."""

    picture: Picture
    verdict: Verdict
    stability: Stability | None = None  # with --stability
    explanation: Explanation | None = None  # with --explain, where something was judged


@dataclass(frozen=True)
class Files:
    """The pictures that were written of one answer."""

    annotated: Path | None = None
    heat: Path | None = None


class Answers:
    """All that is written of a run. Raises OSError at once where a table or a folder cannot be written to.

    inputs: the files that are judged; no picture is ever written over one of them.
    prior: the share of pictures that are fake, for which scores are also told; None: only for one half.
    """

    def __init__(
        self,
        inputs: Iterable[str | os.PathLike],
        *,
        as_json: bool = False,
        table: str | None = None,
        prior: float | None = None,
        annotate: str | None = None,
        explain: str | None = None,
    ):
        taken = {os.path.realpath(path) for path in inputs} if annotate or explain else set()
        self.written = ExitStack()
        self.pictures = self.written.enter_context(Folder(annotate, ".png", "picture", taken))
        self.heats = self.written.enter_context(Folder(explain, ".heat.png", "heat map", taken))
        self.table = self.written.enter_context(CsvTable(table, prior))
        self.out = JsonLines(prior) if as_json else Table(prior)

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *stopped) -> None:
        self.written.__exit__(*stopped)

    def answer(self, name: str, answer: Answer, detector: Detector) -> None:
        about, verdict = answer.explanation, answer.verdict
        files = Files(self.pictures.path(name), self.heats.path(name) if about else None)
        self.out.answer(name, answer, detector, files)
        self.table.answer(name, answer, detector, files)
        if files.heat:
            self.heats.save(framed(about, verdict, name), files.heat)
        if files.annotated:
            self.pictures.save(marked(answer.picture.image, verdict, name), files.annotated)

    def failure(self, name: str, error: ImageError) -> None:
        self.out.failure(name, error)
        self.table.failure(name, error)


class Folder:
    """Pictures in a folder, one for each input. Without a folder, none."""

    def __init__(self, folder: str | None, ending: str, what: str, taken: set[str]):
        self.folder, self.ending, self.what, self.count, self.older = folder, ending, what, 0, 0
        self.taken = {path.casefold() for path in taken}  # some systems do not tell A.png from a.png
        if folder:
            os.makedirs(folder, exist_ok=True)
            with naming(folder):
                tempfile.TemporaryFile(dir=folder).close()  # hours of judging may lie before the first picture

    def path(self, name: str) -> Path | None:
        """Where an input's picture goes: a name that no other of this run has, and no input."""
        if not self.folder:
            return None
        whole, number = stem(name), 1
        path = wanted = Path(self.folder) / f"{whole}{self.ending}"
        while (key := os.path.realpath(path).casefold()) in self.taken:
            number += 1
            path = Path(self.folder) / f"{whole}-{number}{self.ending}"
        self.taken.add(key)
        if path != wanted:
            print(f"note: {shown(wanted)} is taken; that of {shown(name)} is {shown(path)}", file=sys.stderr)
        return path

    def save(self, picture: Image.Image, path: Path) -> None:
        self.older += path.exists()
        with naming(path):
            picture.save(path)
        self.count += 1

    def __enter__(self) -> "Folder":
        return self

    def __exit__(self, stopped, *_) -> None:
        if self.folder and (self.count or not stopped):
            instead = f", {self.older} in place of older ones" if self.older else ""
            print(f"{shown(os.path.join(self.folder, ''))}: {counted(self.count, self.what)}{instead}", file=sys.stderr)


class CsvTable:
    """A row for each input and, below it, one for each of its faces. Without a path, none."""

    def __init__(self, path: str | None, prior: float | None = None):
        self.path, self.prior, self.rows = path, prior, 0
        # Quoted wherever it is text: where a semicolon divides cells, none within a file's name may.
        self.file = open(path or os.devnull, "w", newline="", encoding="utf-8", errors="backslashreplace")
        self.writer = csv.DictWriter(self.file, CSV_COLUMNS, quoting=csv.QUOTE_NONNUMERIC)
        self.writer.writeheader()

    def answer(self, name: str, answer: Answer, detector: Detector, files: Files) -> None:
        if not self.path:
            return
        verdict, calibration, found = answer.verdict, detector.metadata.calibration, answer.stability
        low, high = calibration.band or (None, None)
        every = {
            "file": cell(name),
            "threshold": calibration.threshold,
            "unsure_low": low,
            "unsure_high": high,
            "prior": self.prior,
            "model": cell(detector.path.name),
            "arch": detector.metadata.arch,
            "model_sha256": detector.sha256,
        }
        own = {
            "verdict": verdict.verdict,
            "score": verdict.score,
            "score_at_prior": at_prior(verdict.score, self.prior),
            "notes": "; ".join([*verdict.notes, *calibration.notes()]),
            "lowest": found.low if found else None,
            "highest": found.high if found else None,
            "annotated": cell(files.annotated) if files.annotated else None,
            "heat": cell(files.heat) if files.heat else None,
        }
        self.write(every | own | box((0, 0, *answer.picture.image.size)))
        for number, face in enumerate(verdict.faces, 1):
            own = {"face": number, "verdict": face.verdict, "score": face.score}
            own["score_at_prior"] = at_prior(face.score, self.prior)
            self.write(every | own | box(face.box))

    def failure(self, name: str, error: ImageError) -> None:
        self.write({"file": cell(name), "error_slug": error.slug, "error": error.detail})

    def write(self, row: dict) -> None:
        with naming(self.path):
            self.writer.writerow(row)
        self.rows += 1

    def __enter__(self) -> "CsvTable":
        return self

    def __exit__(self, stopped, *_) -> None:
        with naming(self.path):
            self.file.close()
        if self.path and (self.rows or not stopped):
            print(f"{shown(self.path)}: {counted(self.rows, 'row')}", file=sys.stderr)


class Table:
    """Verdicts for people. A line for each face where there are several."""

    def __init__(self, prior: float | None = None):
        self.prior, self.begun = prior, False

    def answer(self, name: str, answer: Answer, detector: Detector, files: Files) -> None:
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
        if self.prior is not None and verdict.score is not None:
            meant = percent(with_prior(verdict.score, self.prior))
            print(f"{'':18}prior: where {in_words(self.prior)} pictures is fake, this score means {meant} fake")
        if answer.explanation:
            print(f"{'':18}heat: {answer.explanation.sentence}")
        sys.stdout.flush()

    def failure(self, name: str, error: ImageError) -> None:
        pass  # stderr has said it


class JsonLines:
    """Verdicts for programs: one object a line."""

    def __init__(self, prior: float | None = None):
        self.prior = prior

    def answer(self, name: str, answer: Answer, detector: Detector, files: Files) -> None:
        more = {"stability": asdict(answer.stability)} if answer.stability else {}
        if files.annotated:
            more["annotated"] = str(files.annotated)
        if self.prior is not None:
            more["prior"] = {"share": self.prior, "score": at_prior(answer.verdict.score, self.prior)}
        if answer.explanation:
            about = answer.explanation
            scored = asdict(about.deletion) | {"explains": about.deletion.explains} if about.deletion else None
            more["explanation"] = {
                "file": str(files.heat),
                "sentence": about.sentence,
                "box": about.box,
                "face": None if about.face is None else about.face + 1,
                "deletion": scored,
            }
        said = detector_answer(detector, detector.path.name, answer.picture, answer.verdict)
        self.write({"file": name} | said | more)

    def failure(self, name: str, error: ImageError) -> None:
        self.write({"file": name, "error": {"slug": error.slug, "detail": error.detail}})

    def write(self, answer: dict) -> None:
        print(json.dumps(answer, allow_nan=False), flush=True)


@contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """The file's name in the error: that of a full disk has none."""
    try:
        yield
    except OSError as error:
        error.filename = path
        raise


def stem(name: str) -> str:
    """An input's name as that of a file in another folder: never hidden, never too long for a file system."""
    if name == "-":
        return "standard-input"
    parts = (part for part in PurePath(os.path.normpath(name)).parts if part not in (os.sep, os.pardir))
    short = os.fsdecode(os.fsencode("_".join(parts))[-LONGEST:])  # the end of a path says most
    return short.lstrip(".") or "picture"


def cell(text: object) -> str:
    """A file's name as a spreadsheet may read it: where it would be a formula, it is ./name, which is the same file.

    Only standard input is called "-", which is no formula.
    """
    name = shown(text)
    return f"./{name}" if name.startswith(FORMULAS) and name != "-" else name


def shown(name: object) -> str:
    """A file's name without what would move the cursor of a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(name))


def at_prior(score: float | None, prior: float | None) -> float | None:
    return None if score is None or prior is None else with_prior(score, prior)


def box(corner_and_size: tuple) -> dict[str, float]:
    return dict(zip(("x", "y", "width", "height"), corner_and_size, strict=True))


def counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
