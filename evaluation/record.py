"""What is known of one detector on one set of images, as a plain dictionary: metrics.json. Every report reads that."""

import time

import numpy as np

import model
from detector import Detector
from detector.backend import Around, Backend
from detector.backend_torch import head_of
from detector.calibration import Calibration
from evaluation import metrics
from evaluation.scoring import Judged
from evaluation.stress import UNTOUCHED
from indexing import Index
from judging.stability import CHANGES, unstable
from names import CLASSES, REAL, UNSURE

SINGLE = 10  # images judged one by one, to measure how long one takes
FORMAT, VERSION = "deepfake-detector evaluation", 2  # of the dictionary


class Stopwatch(Around):
    """A detector's backend that counts the images it has judged, and the seconds."""

    def __init__(self, backend: Backend):
        super().__init__(backend)
        self.images, self.seconds = 0, 0.0
        self.first = True  # it builds and warms up: not counted

    def __call__(self, batch) -> np.ndarray:
        begin = time.perf_counter()
        logits = self.backend(batch)
        if not self.first:
            self.images, self.seconds = self.images + len(batch), self.seconds + time.perf_counter() - begin
        self.first = False
        return logits


def speed(detector: Detector) -> dict:
    """How fast the backend judges prepared images: one by one, and in the batches of the evaluation (null: only one).

    Opening, finding faces and preparing are not in it.
    """
    watch, size = detector.backend, detector.metadata.preprocess.size
    image, singles = np.zeros((1, 3, size, size), np.float32), []
    for _ in range(SINGLE):
        begin = time.perf_counter()
        watch.backend(image)
        singles.append(time.perf_counter() - begin)
    return {
        "ms_per_image": float(np.median(singles)) * 1000,
        "images_per_second": watch.images / watch.seconds if watch.images else None,
        "device": watch.description,
    }


def of_model(name: str, detector: Detector) -> dict:
    """Who it is: name, file, digest, architecture, size."""
    metadata = detector.metadata
    network = model.skeleton(metadata.arch, head_of(metadata))
    return {
        "name": name,
        "file": str(detector.path),
        "sha256": detector.sha256,
        "arch": metadata.arch,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "bytes": detector.path.stat().st_size,
        "recipe": _argument(metadata.training, "recipe"),
        "trained_on": _argument(metadata.training, "data"),
    }


def _argument(training: dict, name: str) -> str | None:
    """Of train.py's arguments, as a checkpoint has them; files of other origin may say anything, or nothing."""
    arguments = training.get("arguments")
    value = arguments.get(name) if isinstance(arguments, dict) else None
    return value if isinstance(value, str) else None


def of_set(index: Index, judged: Judged, detector: Detector) -> dict:
    """What the detector says of the images of an index: numbers with intervals, sources, confusion."""
    calibration, labels, sources = detector.metadata.calibration, index.labels, index.sources
    scores, plain = calibration.scores(judged.logits), Calibration().scores(judged.logits)
    at = calibration.threshold, calibration.band, judged.verdicts(calibration) == UNSURE
    return {
        "confusion_matrix": metrics.confusion(labels, scores, calibration.threshold).tolist(),
        "metrics": metrics.summary(labels, scores, *at),
        "intervals": metrics.intervals(labels, scores, *at, sources=sources),
        "clustered_by_source": any(sources),
        "classification_report": metrics.classification_report(labels, scores, calibration.threshold),
        "sources": of_sources(labels, scores, sources, *at),
        "uncalibrated": {  # the scores of the logits as they are
            "ece": metrics.calibration_error(*metrics.decided(labels, plain)) if np.isfinite(plain).any() else None,
            "ece_95": metrics.intervals(labels, plain, *at, sources=sources)["ece"],
        },
    }


def of_sources(
    labels: np.ndarray,
    scores: np.ndarray,
    sources: list[str],
    threshold: float,
    unsure: tuple[float, float] | None,
    doubtful: np.ndarray,
) -> list[dict]:
    """A row for each class and sub-folder: of how many images the verdict is Fake, with Wilson's 95 % interval."""
    names, sure = np.array(sources, object), metrics.is_sure(scores, unsure, doubtful)
    called = sure & (scores >= threshold)
    rows = []
    for label, source in sorted(set(zip(labels.tolist(), sources, strict=True))):
        here = (labels == label) & (names == source)
        n, fake = int(here.sum()), int((here & called).sum())
        low, high = metrics.proportion_interval(fake, n)
        rows.append(
            {"class": CLASSES[label], "source": source, "n": n, "called_fake": fake / n, "low": low, "high": high,
             "unsure": int((here & ~sure).sum()) / n}
        )  # fmt: skip
    return rows


def of_stability(changed: dict[object, Judged], calibration: Calibration) -> dict:
    """How many verdicts flip under stability.CHANGES, from what is said after each; with Wilson's interval."""
    said = [changed[key] for key in (UNTOUCHED, *CHANGES)]
    flips = unstable(np.stack([judged.verdicts(calibration) for judged in said]))
    low, high = metrics.proportion_interval(int(flips.sum()), len(flips))
    return {"n": len(flips), "unstable": float(flips.mean()), "low": low, "high": high}


def training_facts(detector: Detector) -> dict:
    """What a checkpoint says of the data it was trained on; files of other origin may say anything, or nothing."""
    facts = detector.metadata.training.get("data")
    return {key: value for key, value in facts.items() if value is not None} if isinstance(facts, dict) else {}


def split_seed(detector: Detector) -> int:
    """The seed by which training split a folder without splits; 0 where the file says none."""
    seed = detector.metadata.training.get("split_seed", 0)
    return seed if isinstance(seed, int) and seed >= 0 else 0


def digest_of(facts: dict, split: str) -> str | None:
    """The digest of Train or Validation in training_facts, where that is what we write there."""
    part = facts.get(split)
    return part.get("digest") if isinstance(part, dict) else None


def gap(detector: Detector, record: dict) -> dict | None:
    """AUC and balanced accuracy on Validation, as the checkpoint has them, and how much lower they are on this set."""
    before = detector.metadata.training.get("calibrated")
    if not isinstance(before, dict):
        return None
    both = {name: (before.get(name), record["metrics"][name]) for name in ("auc", "balanced_accuracy")}
    return {
        name: {"validation": validation, "here": here, "fall": validation - here}
        for name, (validation, here) in both.items()
        if isinstance(validation, float) and here is not None
    } or None


def worst(rows: list[dict], of: str) -> dict | None:
    """Of several sources of a class (rows of of_sources), the one that is most often mistaken; None: there is none."""
    rows = [row | {"wrong": (row["called_fake"] if of == CLASSES[REAL] else 1 - row["called_fake"])} for row in rows]
    rows = [row for row in rows if row["class"] == of]
    found = max(rows, key=lambda row: row["wrong"], default=None)
    return found if len(rows) > 1 and found["wrong"] > 0 else None
