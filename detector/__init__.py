"""A trained detector as a thing one can use.

    from detector import load
    from imaging.door import open_image

    detector = load("results/run/best.safetensors")
    verdict = detector.judge(open_image("photo.jpg"))
    verdict.verdict, verdict.score, verdict.notes    # "Fake", 0.93, ("...",)

Importing this package imports no torch; loading a model that needs it does.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from detector.checkpoint import Metadata, ModelError, find_models, kind_of_file, read_metadata
from imaging.door import Picture

__all__ = ["Detector", "Metadata", "ModelError", "Verdict", "find_models", "load"]


@dataclass(frozen=True)
class Verdict:
    """What a detector says of one image."""

    verdict: str  # Real, Fake or Unsure
    score: float  # P(fake), 0 to 1
    notes: tuple[str, ...] = ()


class Detector:
    """A network with everything that belongs to it: preparation of images, calibration, where it came from."""

    def __init__(self, backend: Callable[[np.ndarray], np.ndarray], metadata: Metadata, path: str | os.PathLike):
        self.backend = backend  # (n, 3, h, w) float32 -> (n, 2) float32 logits
        self.metadata = metadata
        self.path = Path(path)

    @cached_property
    def sha256(self) -> str:
        """Of the model file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def judge(self, picture: Picture) -> Verdict:
        """The verdict about one image. Raises ModelError when the score is not finite."""
        preprocess, calibration = self.metadata.preprocess, self.metadata.calibration
        score = float(self.scores(preprocess(picture.image)[None])[0])
        notes = (*picture.notes, *preprocess.notes(*picture.image.size))
        return Verdict(calibration.verdict(score), score, notes)

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
    path: str | os.PathLike, *, arch: str | None = None, device: str = "auto", threads: int | None = None
) -> Detector:
    """The detector in a model file. An .onnx file needs no torch.

    arch: for plain weights, the architecture they must be of (recognised by default).
    device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1" ...
    threads: of one judgement with ONNX Runtime (default: all cores).
    Raises ModelError, without running anything that the file may contain.
    """
    metadata = read_metadata(path)
    if kind_of_file(path) == "onnx":
        from detector import backend_onnx

        if arch not in (None, metadata.arch):
            raise ModelError(f"the file holds {metadata.arch}, not {arch}")
        backend = backend_onnx.OnnxBackend(path, threads=threads or os.cpu_count() or 1, device=device)
        return Detector(backend, metadata, path)
    from detector import backend_torch  # here: it imports torch, and a file refused above must not cost that

    backend, metadata = backend_torch.load(path, metadata, arch=arch, device=backend_torch.pick_device(device))
    return Detector(backend, metadata, path)
