"""Judging a folder with one and with two models: what is spent on the images, and what on the networks.

`score_index` itself is measured, in this process, with networks of random weights. The time inside the networks is
taken by a clock around each call of them; the rest is opening, framing and preparing the images, and the loop. Faces
are found when a folder is indexed, once, and not measured here.
"""

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

import indexing
import names
from detector import Detector
from detector.backend import Around
from detector.backend_torch import TorchBackend, assumed_metadata
from evaluation.scoring import score_index
from model import create_model
from progress import Bar
from tools.benchmark.measure import CORES
from tools.benchmark.predict import make_images

IMAGES = 40  # of each class, where no folder is given
ALLOWED = 1.25  # times the decoding of one model, for two


class Timed(Around):
    """A backend and the seconds spent in it."""

    def __init__(self, backend):
        super().__init__(backend)
        self.seconds = 0.0

    def __call__(self, batch):
        began = time.perf_counter()
        logits = self.backend(batch)
        self.seconds += time.perf_counter() - began
        return logits


def benchmark(arch: str, data: str | None, repeats: int) -> dict:
    """All figures, and what people read of them on stdout. data: a folder with Real/ and Fake/, else made ones."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        index = indexing.with_faces(indexing.index_folder(data or make_folder(Path(folder))))
        other = next(name for name in names.ARCHITECTURES[:2] if name != arch)
        rows = [
            compare(what, make_detectors(arch, other, frame, second), index, repeats)
            for what, frame, second in (
                ("whole images", "whole", {}),
                ("framed faces", "face", {}),
                ("whole images, the second one cropped", "whole", {"fit": "crop"}),
            )
        ]
    n = len(index.samples)
    print(f"{CORES} cores; {n} images; {repeats} pairs of one model ({arch}) and two (and {other}); medians, seconds")
    for row in rows:
        print(
            f"{row['what']:38}  decoding {row['one_decoding']:.3f} for one, {row['two_decoding']:.3f} for two: "
            f"{row['ratio']:.2f} times   networks {row['one_networks']:.3f} and {row['two_networks']:.3f}"
        )
    print(
        f"allowed: {ALLOWED} times, where both are prepared alike; prepared in two ways, the preparation is done twice"
    )
    return {"arch": arch, "other": other, "images": n, "repeats": repeats, "cores": CORES,
            "allowed": ALLOWED, "rows": rows}  # fmt: skip


def make_folder(folder: Path) -> Path:
    """Real/ and Fake/ with the same kind of pictures: what is in them makes no difference here."""
    for name in names.CLASSES:
        make_images(folder / name, IMAGES)
    return folder


def make_detectors(arch: str, other: str, frame: str, second: dict) -> dict[str, Detector]:
    """Two detectors with random weights. second: how the preparation of the second one differs."""
    detectors = {}
    for name, changes in ((arch, {}), (other, second)):
        torch.manual_seed(0)
        metadata = assumed_metadata(name)
        metadata = replace(metadata, preprocess=replace(metadata.preprocess, frame=frame, **changes))
        backend = Timed(TorchBackend(create_model(name).eval(), torch.device("cpu")))
        detectors[name] = Detector(backend, metadata, f"random {name}")
    return detectors


def compare(what: str, detectors: dict[str, Detector], index: indexing.Index, repeats: int) -> dict:
    """Pairs of one and two models, in turns; the first pair warms up. Seconds, and the median of the pairs' ratios."""
    first = dict(list(detectors.items())[:1])
    pairs = []
    for turn in Bar(range(repeats + 1), desc=what):
        order = (first, detectors) if turn % 2 else (detectors, first)
        times = {len(chosen): spent(chosen, index) for chosen in order}
        pairs.append((times[1], times[2]))
    pairs = pairs[1:]
    medians = {
        f"{who}_{part}": statistics.median(pair[place][i] for pair in pairs)
        for place, who in enumerate(("one", "two"))
        for i, part in enumerate(("decoding", "networks"))
    }
    return {"what": what, "ratio": statistics.median(two[0] / one[0] for one, two in pairs)} | medians


def spent(detectors: dict[str, Detector], index: indexing.Index) -> tuple[float, float]:
    """(seconds on the images, seconds in the networks) of one evaluation."""
    for detector in detectors.values():
        detector.backend.seconds = 0.0
    began = time.perf_counter()
    score_index(detectors, index)
    whole = time.perf_counter() - began
    networks = sum(detector.backend.seconds for detector in detectors.values())
    return whole - networks, networks
