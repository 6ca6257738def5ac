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
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from detector.checkpoint import Metadata, ModelError, find_models, kind_of_file, read_metadata
from imaging.door import Picture
from imaging.faces import FaceFinder
from names import CLASSES, FAKE, REAL, UNSURE

__all__ = [
    "DEFAULT_MODEL", "Detector", "FaceVerdict", "Metadata", "ModelError", "Verdict", "find_models", "load", "most_fake",
]  # fmt: skip

DEFAULT_MODEL = Path(__file__).parent.parent / "models" / "default.onnx"  # judges where no other is named
MIN_FACE = 40  # longer side of its box, pixels: smaller faces carry no evidence


@dataclass(frozen=True)
class FaceVerdict:
    """What a detector says of one face."""

    box: tuple[float, float, float, float]  # x, y, width, height, pixels of the upright image
    score: float  # P(fake), 0 to 1
    verdict: str  # Real, Fake or Unsure


@dataclass(frozen=True)
class Verdict:
    """What a detector says of one image."""

    verdict: str  # Real, Fake or Unsure
    score: float | None  # P(fake), 0 to 1, the highest of its faces; None: there was nothing to judge
    notes: tuple[str, ...] = ()
    faces: tuple[FaceVerdict, ...] = ()  # largest first; none where the whole picture was judged


def most_fake(logits: np.ndarray) -> int:
    """Which of an image's views, (k, 2) logits, looks most like a fake."""
    return int(np.argmax(logits[:, FAKE] - logits[:, REAL]))


class Mirrored:
    """A backend that looks at each image and at its mirror image, and answers with the mean of both."""

    def __init__(self, backend: Callable[[np.ndarray], np.ndarray]):
        self.backend = backend

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """(n, 3, h, w) float32 to (n, 2) float32 logits."""
        return (self.backend(batch) + self.backend(self.turned(batch))) / 2

    def class_map(self, batch: np.ndarray) -> np.ndarray:
        """As the backend's, (n, h', w') float32; the mirror image's is turned back."""
        return (self.backend.class_map(batch) + self.backend.class_map(self.turned(batch))[..., ::-1]) / 2

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    @staticmethod
    def turned(batch):  # an array or a tensor; torch takes no array whose last axis runs backwards
        return batch[..., ::-1].copy() if isinstance(batch, np.ndarray) else batch.flip(-1)


class Detector:
    """A network with everything that belongs to it: preparation of images, calibration, where it came from."""

    def __init__(self, backend: Callable[[np.ndarray], np.ndarray], metadata: Metadata, path: str | os.PathLike):
        # (n, 3, h, w) float32 -> (n, 2) float32 logits
        self.backend = Mirrored(backend) if metadata.preprocess.mirror else backend
        self.metadata = metadata
        self.path = Path(path)

    @property
    def concurrent(self) -> bool:
        """Whether several threads may judge at once, and gain by it."""
        return getattr(self.backend, "concurrent", False)

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
        score = float(self.scores(self.metadata.preprocess.views(picture.image))[0])
        return Verdict(self.metadata.calibration.verdict(score), score, (*picture.notes, *notes))

    def _judge_faces(self, picture: Picture) -> Verdict:
        """Each face by itself. The image is Fake if one of them is, else Unsure if one of them is, else Real."""
        preprocess, calibration = self.metadata.preprocess, self.metadata.calibration
        found, count = self.find_faces(picture.image)
        if not found and max(picture.image.size) <= 1.5 * preprocess.size:
            return self._judge_whole(picture, ("no face found: the whole picture was taken as the crop of one",))
        if not found:
            return Verdict(UNSURE, None, (*picture.notes, "no face found: this detector judges faces"))
        scores = [float(self.scores(preprocess.views(picture.image, [face.box]))[0]) for face in found]
        small = [max(face.box[2:]) < MIN_FACE for face in found]
        faces = tuple(
            FaceVerdict(face.box, score, UNSURE if too_small else calibration.verdict(score))
            for face, score, too_small in zip(found, scores, small, strict=True)
        )
        verdicts = {face.verdict for face in faces}
        verdict = next(word for word in (CLASSES[FAKE], UNSURE, CLASSES[REAL]) if word in verdicts)
        notes = [f"{count} faces found; the {len(found)} largest were judged"] if count > len(found) else []
        if any(small):
            notes.append(
                f"{sum(small)} of {len(faces)} faces smaller than {MIN_FACE} pixels: Unsure, whatever the score"
            )
        return Verdict(verdict, max(scores), (*picture.notes, *notes), faces)

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """Prepared images, (n, 3, h, w) float32, to (n,) float64 P(fake)."""
        return self.metadata.calibration.scores(self.logits(batch))

    def logits(self, batch: np.ndarray) -> np.ndarray:
        """Prepared images, (n, 3, h, w) float32, to (n, 2) float32 logits. Raises ModelError if one is not finite."""
        logits = self.backend(batch)
        if not np.isfinite(logits).all():
            raise ModelError("the model returned a non-finite score")
        return logits


def load(
    path: str | os.PathLike,
    *,
    arch: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    mirror: bool | None = None,
) -> Detector:
    """The detector in a model file. An .onnx file needs no torch.

    arch: for plain weights, the architecture they must be of (recognised by default).
    device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1" ...
    threads: of one judgement with ONNX Runtime (default: all cores).
    mirror: whether it looks at mirror images too, if not as the file says; its calibration is then not made for it.
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
    if mirror is not None:
        metadata = replace(metadata, preprocess=replace(metadata.preprocess, mirror=mirror))
    return Detector(backend, metadata, path)
