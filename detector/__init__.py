"""A trained detector as a thing one can use.

    from detector import load
    from imaging.door import open_image

    detector = load("results/run/best.safetensors")
    verdict = detector.judge(open_image("photo.jpg"))
    verdict.verdict, verdict.score, verdict.notes    # "Fake", 0.93, ("...",)

load(DEFAULT_MODEL) gives the one that ships.

Importing this package imports no torch; loading a model that needs it does.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from detector.backend import Backend, Function, Mirrored
from detector.calibration import Calibration, Group
from detector.checkpoint import Metadata, ModelError, find_models, kind_of_file, read_metadata
from imaging.door import Picture
from imaging.evidence import lacking, measure
from imaging.faces import Box, FaceFinder, Framed
from names import CLASSES, FAKE, UNSURE, percent

__all__ = [
    "DEFAULT_MODEL", "Detector", "FaceVerdict", "Metadata", "ModelError", "Verdict", "find_models", "decisive", "load",
    "shipped",
]  # fmt: skip

DEFAULT_MODEL = Path(__file__).parent.parent / "models" / "default.onnx"  # judges where no other is named
MIN_FACE = 40  # longer side of its box, pixels: smaller faces carry no evidence, and are not judged
BATCH = 16  # faces of one picture that are judged at a time
NO_FACE = "no face found: this detector judges faces"


@dataclass(frozen=True)
class FaceVerdict:
    """What a detector says of one face."""

    box: Box  # x, y, width, height, pixels of the upright image
    score: float | None  # P(fake), 0 to 1; None: it was not judged
    verdict: str  # Real, Fake or Unsure
    turn: float = 0.0  # degrees clockwise; 0 is upright


@dataclass(frozen=True)
class Verdict:
    """What a detector says of one image."""

    verdict: str  # Real, Fake or Unsure
    score: float | None  # P(fake), 0 to 1, the highest of its faces; None: there was nothing to judge
    notes: tuple[str, ...] = ()
    faces: tuple[FaceVerdict, ...] = ()  # largest first; none where the whole picture was judged
    rule: Group | None = None  # where one of several faces is called Fake: whether the picture is


@dataclass(frozen=True)
class Look:
    """What comes of one view."""

    score: float | None  # P(fake), 0 to 1; None: it was not judged
    lacks: str | None  # why it says nothing, in words

    def verdict(self, face: Framed, calibration: Calibration) -> FaceVerdict:
        said = UNSURE if self.lacks else calibration.verdict(self.score)
        return FaceVerdict(face.box, self.score, said, face.turn)


def large_enough(face: Framed) -> bool:
    """Whether this face can be judged."""
    return max(face.box[2:]) >= MIN_FACE


def decisive(scores: Sequence[float], shows: Sequence[bool]) -> int:
    """Which of a picture's faces speaks for it: the highest score of those that show enough, of all where none does.

    Any number that rises with the score will do, the margin of the logits say.
    """
    among = [place for place, enough in enumerate(shows) if enough] or range(len(scores))
    return max(among, key=lambda place: scores[place])


def _unjudged(small: int, found: int, count: int) -> list[str]:
    """Notes about faces that were not judged: too small, or too many."""
    notes = [f"{count} faces found; the {found} largest were looked at"] if count > found else []
    if small:
        faces = "the face is" if found == 1 else f"{small} of {found} faces {'is' if small == 1 else 'are'}"
        notes.append(f"{faces} smaller than {MIN_FACE} pixels: not judged")
    return notes


def _stands_out(rule: Group, fakes: int) -> str:
    """Why a picture with a face that is called Fake is Unsure."""
    begin = f"{fakes} of {rule.faces} faces {'stands' if fakes == 1 else 'stand'} out"
    if rule.among is None:
        return f"{begin}; the model's file does not say how rare that is among so many"
    so_high = f"a score of {percent(rule.highest)} or more comes up in {percent(rule.among)} of the cases"
    return f"{begin}, but among {rule.faces} genuine faces {so_high}"


class Detector:
    """A network with everything that belongs to it: preparation of images, calibration, where it came from."""

    def __init__(
        self, backend: Backend | Callable[[np.ndarray], np.ndarray], metadata: Metadata, path: str | os.PathLike
    ):
        backend = backend if isinstance(backend, Backend) else Function(backend)
        self.backend: Backend = Mirrored(backend) if metadata.preprocess.mirror else backend
        self.metadata = metadata
        self.path = Path(path)

    @property
    def concurrent(self) -> bool:
        """Whether several threads may judge at once, and gain by it."""
        return self.backend.concurrent

    @cached_property
    def sha256(self) -> str:
        """Of the model file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def find_faces(self) -> FaceFinder:
        return FaceFinder()

    def judge(self, picture: Picture) -> Verdict:
        """The verdict about one image. Raises ModelError when the score is not finite."""
        if self.metadata.preprocess.frame == "face":
            return self._judge_faces(picture)
        return self._judge_whole(picture, self.metadata.preprocess.notes(*picture.image.size))

    def _judge_whole(self, picture: Picture, notes: tuple[str, ...]) -> Verdict:
        [seen] = self._look(picture, ())
        verdict = UNSURE if seen.lacks else self.metadata.calibration.verdict(seen.score)
        more = (seen.lacks,) if seen.lacks else ()
        return Verdict(verdict, seen.score, (*picture.notes, *notes, *more))

    def _judge_faces(self, picture: Picture) -> Verdict:
        """Each face by itself, then the picture: Fake if a face is that stands out among so many, Real if all are."""
        calibration = self.metadata.calibration
        found, count = self.find_faces(picture.image)
        if not found:
            return Verdict(UNSURE, None, (*picture.notes, NO_FACE))
        judged = [place for place, face in enumerate(found) if large_enough(face)]
        looks = dict(zip(judged, self._look(picture, [found[place] for place in judged]), strict=True))
        unjudged = Look(None, "too small")
        faces = tuple(looks.get(place, unjudged).verdict(face, calibration) for place, face in enumerate(found))
        lacks = {place: look.lacks for place, look in looks.items() if look.lacks}
        notes = [*picture.notes, *_unjudged(len(faces) - len(judged), len(faces), count)]
        notes += [words if len(faces) == 1 else f"face {place + 1}: {words}" for place, words in lacks.items()]
        if not looks:
            return Verdict(UNSURE, None, tuple(notes), faces)
        scores = [look.score for look in looks.values()]
        highest = scores[decisive(scores, [not look.lacks for look in looks.values()])]
        shown = len(looks) - len(lacks)
        verdict, rule = calibration.picture(highest, shown, count - shown)
        if rule and not rule.stands_out:
            notes.append(_stands_out(rule, sum(face.verdict == CLASSES[FAKE] for face in faces)))
        return Verdict(verdict, highest, tuple(notes), faces, rule)

    def _look(self, picture: Picture, faces: Sequence[Framed]) -> list["Look"]:
        """At each face, or the whole picture; some at a time: memory must not grow with the crowd."""
        preprocess, found = self.metadata.preprocess, []
        for at in range(0, max(1, len(faces)), BATCH):
            seen = preprocess.seen(picture.image, faces[at : at + BATCH])
            sides = preprocess.sides(picture.image.size, faces[at : at + BATCH])
            scores = self.scores(preprocess.prepared(seen)).tolist() if seen else []
            found += [Look(score, self.lacks(*of)) for score, *of in zip(scores, seen, sides, strict=True)]
        return found

    def lacks(self, view: Image.Image, side: float) -> str | None:
        """Why a view, as the network sees it, cannot be judged, in words; None: it can, or no bound is known.

        side: of what it shows, in pixels of the picture.
        """
        bounds = self.metadata.calibration.evidence
        return lacking(measure(view, side), bounds) if bounds else None

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """Prepared images, (n, 3, h, w) float32, to (n,) float64 P(fake)."""
        return self.metadata.calibration.scores(self.logits(batch))

    def logits(self, batch: np.ndarray) -> np.ndarray:
        """Prepared images, (n, 3, h, w) float32, to (n, 2) float32 logits. Raises ModelError if one is not finite."""
        logits = self.backend(batch)
        if not np.isfinite(logits).all():
            raise ModelError("the model returned a non-finite score")
        return logits


def shipped(name: str) -> str:
    """The file of a detector that ships, by its name: "large" is models/large.onnx.

    Any other name is a path, and stays as it is; so does one of these where a file or folder of that name is there.
    """
    if not name.isidentifier() or os.path.exists(name):
        return name
    file = DEFAULT_MODEL.with_name(f"{name}.onnx")
    return str(file) if file.is_file() else name


def load(
    path: str | os.PathLike,
    *,
    arch: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    mirror: bool | None = None,
    upright: bool | None = None,
) -> Detector:
    """The detector in a model file. An .onnx file needs no torch.

    arch: for plain weights, the architecture they must be of (recognised by default).
    device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1" ...
    threads: of one judgement with ONNX Runtime (default: all cores).
    mirror, upright: whether it looks at mirror images too, and at faces turned upright, if not as the file says; its
        calibration is then not made for it.
    Raises ModelError, without running anything that the file may contain.
    """
    metadata = read_metadata(path)
    if kind_of_file(path) == "onnx":
        from detector import backend_onnx

        if arch not in (None, metadata.arch):
            raise ModelError(f"the file holds {metadata.arch}, not {arch}")
        backend = backend_onnx.OnnxBackend(path, threads=threads or os.cpu_count() or 1, device=device)
    else:
        from detector import backend_torch  # here: it imports torch, and a file refused above must not cost that

        backend, metadata = backend_torch.load(path, metadata, arch=arch, device=backend_torch.pick_device(device))
    other = {name: how for name, how in (("mirror", mirror), ("upright", upright)) if how is not None}
    if other:
        metadata = replace(metadata, preprocess=replace(metadata.preprocess, **other))
    return Detector(backend, metadata, path)
