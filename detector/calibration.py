"""From logits to a score, and from a score to a verdict: temperature and offset, threshold, the Unsure band."""

import math
from dataclasses import asdict, dataclass

import numpy as np

from names import CLASSES, FAKE, REAL, UNSURE

FEW = 100  # images; with fewer, temperature, threshold and band are little more than a guess


@dataclass(frozen=True)
class Calibration:
    """What turns a network's logits into a verdict. Chosen on Validation, stored in the checkpoint.

    temperature: the logits are divided by it (Guo et al. 2017, "On Calibration of Modern Neural Networks").
    offset: then it is added to what speaks for Fake, for networks whose scores all lean to one side (Platt 1999).
    threshold: a score at or above it is Fake.
    unsure: (low, high); a score from low to below high is Unsure. None: there is no band.
    fitted_on: the digest of the data it was chosen on, of `n` images; None: never chosen, these are the defaults.
    threshold_fpr_1, threshold_fpr_5: thresholds at which 1 % and 5 % of those Real images would be called Fake, for
    uses where a false alarm does more harm than a miss. No verdict here uses them. None: not known, or there is none.
    """

    temperature: float = 1.0
    threshold: float = 0.5
    unsure: tuple[float, float] | None = None
    fitted_on: str | None = None
    n: int | None = None
    offset: float = 0.0
    threshold_fpr_1: float | None = None
    threshold_fpr_5: float | None = None

    def __post_init__(self):
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature is {self.temperature}; it must be above 0")
        if not math.isfinite(self.offset):
            raise ValueError(f"offset is {self.offset}; it must be a finite number")
        for threshold in (self.threshold, self.threshold_fpr_1, self.threshold_fpr_5):
            if threshold is not None and not 0 <= threshold <= 1:
                raise ValueError(f"threshold is {threshold}; it must be from 0 to 1")
        if self.unsure is not None:
            low, high = self.unsure
            if not 0 <= low <= high <= 1:
                raise ValueError(f"the Unsure band is {low} to {high}; it must lie within 0 to 1")
            object.__setattr__(self, "unsure", (float(low), float(high)))

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """(n, 2) logits to (n,) float64 scores, P(fake) in [0, 1]."""
        margin = (logits[:, FAKE].astype(np.float64) - logits[:, REAL]) / self.temperature + self.offset
        # The logistic function of the margin, written so that no exponential overflows.
        small = np.exp(-np.abs(margin))
        return np.where(margin >= 0, 1 / (1 + small), small / (1 + small))

    def verdict(self, score: float) -> str:
        """A score to Real, Fake or Unsure."""
        if self.unsure is not None and self.unsure[0] <= score < self.unsure[1]:
            return UNSURE
        return CLASSES[FAKE] if score >= self.threshold else CLASSES[REAL]

    def notes(self) -> tuple[str, ...]:
        if self.fitted_on is None:
            return (f"scores are not calibrated; {self.threshold:g} divides Real from Fake",)
        if self.n is not None and self.n < FEW:
            return (f"scores were calibrated on {self.n} images only",)
        return ()

    def to_dict(self) -> dict:
        return asdict(self) | {"unsure": None if self.unsure is None else list(self.unsure)}

    @classmethod
    def from_dict(cls, fields: dict) -> "Calibration":
        return cls(**fields)
