"""What twins of a detector, each trained without some kinds, say of images of those kinds: left_out.csv.

rows = of_images(index, judged, ("Fake/t2i",), "Fake/t2i", seed=0)     # tools.transfer writes them
left_out = LeftOut.of_fakes(read(path))                                # tools.calibrate chooses a band with them
"""

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.calibration import Calibration
from evaluation.scoring import Judged
from indexing import Index
from names import CLASSES, FAKE, REAL

COLUMNS = ("sha256", "label", "left_out", "logit_real", "logit_fake", "seed")
CONFIDENT = 0.1  # a fake with a lower score is a confident mistake


def of_images(index: Index, judged: Judged, kinds: Collection[str], name: str, *, seed: int) -> list[dict]:
    """A row for each image of the kinds that were left out, under the name of what was."""
    images = zip(index.samples, index.hashes, judged.logits.tolist(), strict=True)
    return [
        dict(zip(COLUMNS, (content, CLASSES[sample.label], name, real, fake, seed), strict=True))
        for sample, content, (real, fake) in images
        if sample.name in kinds
    ]


def read(path: Path) -> list[dict]:
    """The rows of such a file, logits as numbers. Raises ValueError where it is none, and OSError."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{name: row[name] for name in COLUMNS} for row in csv.DictReader(file)]
        return [row | {name: float(row[name]) for name in ("logit_real", "logit_fake")} for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not the left_out.csv that python -m tools.transfer writes") from error


@dataclass(frozen=True)
class LeftOut:
    """The fakes among them."""

    logits: np.ndarray  # (n, 2)
    groups: np.ndarray  # (n,) names of what was left out (evaluation.transfer); each weighs the same

    @classmethod
    def of_fakes(cls, rows: list[dict]) -> "LeftOut":
        """Raises ValueError where there are none."""
        fakes = [row for row in rows if row["label"] == CLASSES[FAKE]]
        logits = np.array([(row["logit_real"], row["logit_fake"]) for row in fakes], np.float32).reshape(-1, 2)
        if not len(fakes) or not np.isfinite(logits).all():
            raise ValueError("there are no fakes of a kind that was left out")
        return cls(logits, np.array([row["left_out"] for row in fakes], object))

    @property
    def weights(self) -> np.ndarray:
        """(n,), of mean 1; those of each group have the same sum."""
        _, places, sizes = np.unique(self.groups, return_inverse=True, return_counts=True)
        weights = 1 / sizes[places]
        return weights / weights.mean()

    def told(self, calibration: Calibration) -> dict[str, dict[str, float | int]]:
        """Of each group: how many there are, how many are confident mistakes, and how many are called Real or Fake."""
        scores = calibration.scores(self.logits)
        words = np.array([calibration.verdict(score) for score in scores], object)
        found = {}
        for group in np.unique(self.groups):
            here = self.groups == group
            found[str(group)] = {
                "n": int(here.sum()),
                "confident_mistakes": float((scores[here] < CONFIDENT).mean()),
                "called_real": float((words[here] == CLASSES[REAL]).mean()),
                "called_fake": float((words[here] == CLASSES[FAKE]).mean()),
            }
        return found
