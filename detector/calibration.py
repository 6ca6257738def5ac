"""From logits to a score, and from scores to a verdict: temperature and offset, the Unsure band, several faces."""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

from imaging.evidence import WORDS
from names import CLASSES, FAKE, REAL, UNSURE

FEW = 100  # images; with fewer, temperature, threshold and band are little more than a guess
HALF = 0.5  # what divides Fake from Real where a score is the probability of Fake


@dataclass(frozen=True)
class Group:
    """Why a picture of several faces got its verdict: how rare its highest score is among Real faces."""

    faces: int  # that were judged
    highest: float  # score
    rarity: float | None  # share of Validation's Real faces that score as high; None: the file does not say
    among: float | None  # chance that one of so many Real faces scores as high
    allowed: float | None  # the same for the lowest score that is Fake where there is one face

    @property
    def stands_out(self) -> bool:
        """Whether the face is as rare among these as a face that is called Fake is by itself."""
        return self.among is not None and self.among <= self.allowed + 1e-12


@dataclass(frozen=True)
class Calibration:
    """What turns a network's logits into a verdict. Chosen on Validation, stored in the checkpoint.

    temperature: the logits are divided by it (Guo et al. 2017, "On Calibration of Modern Neural Networks").
    offset: then it is added to what speaks for Fake, for networks whose scores all lean to one side (Platt 1999).
    threshold: a score at or above it counts as Fake where every image must be one or the other. One half, in files
    made today: a score is P(fake) where half of the pictures are fake.
    unsure: (low, high); a score from low to below high is Unsure. None: there is no band.
    fitted_on: the digest of the data it was chosen on, of `n` images; None: never chosen, these are the defaults.
    threshold_fpr_1, threshold_fpr_5: thresholds at which 1 % and 5 % of those Real images would be called Fake, for
    uses where a false alarm does more harm than a miss. No verdict here uses them. None: not known, or there is none.
    evidence: {measure: bound} of imaging.evidence, beyond which a face is Unsure: too blurred, say. None: not measured.
    rarity: ((score, share), ...), scores rising and shares falling: what share of Validation's Real faces scores at
    least so high. The more faces a picture has, the rarer its highest score must be. None: not known.
    """

    temperature: float = 1.0
    threshold: float = HALF
    unsure: tuple[float, float] | None = None
    fitted_on: str | None = None
    n: int | None = None
    offset: float = 0.0
    threshold_fpr_1: float | None = None
    threshold_fpr_5: float | None = None
    rarity: tuple[tuple[float, float], ...] | None = None
    evidence: dict[str, float] | None = None

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
        for name, bound in (self.evidence or {}).items():
            if name not in WORDS or not math.isfinite(bound):
                raise ValueError(f"evidence {name} is {bound}; it must be a number for one of {', '.join(WORDS)}")
        if self.rarity is not None:
            table = tuple((float(score), float(share)) for score, share in self.rarity)
            rises = all(a < c and b >= d for (a, b), (c, d) in pairwise(table))
            if not table or not rises or not all(0 <= score <= 1 and 0 < share <= 1 for score, share in table):
                raise ValueError("rarity must be scores that rise with shares that fall, all from 0 to 1")
            object.__setattr__(self, "rarity", table)

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """(n, 2) logits to (n,) float64 scores, P(fake) in [0, 1]; NaN, nothing judged, stays NaN."""
        margin = (logits[:, FAKE].astype(np.float64) - logits[:, REAL]) / self.temperature + self.offset
        # The logistic function of the margin, written so that no exponential overflows.
        small = np.exp(-np.abs(margin))
        return np.where(margin >= 0, 1 / (1 + small), small / (1 + small))

    @property
    def band(self) -> tuple[float, float] | None:
        """(low, high) of what is Unsure: the stored band, and all between the threshold and one half.

        So nothing below one half is called Fake and nothing from it on Real, whatever threshold an older file has.
        """
        inside = [HALF, self.threshold, *(self.unsure or ())]
        low, high = min(inside), max(inside)
        return None if low == high else (low, high)

    def verdict(self, score: float) -> str:
        """A score to Real, Fake or Unsure."""
        if self.band is not None and self.band[0] <= score < self.band[1]:
            return UNSURE
        return CLASSES[FAKE] if score >= self.threshold else CLASSES[REAL]

    def picture(self, highest: float, faces: int, passed: int = 0) -> tuple[str, Group | None]:
        """The verdict about a picture, and how its highest score stands among several faces where it says Fake.

        highest: score, of the `faces` that can be judged (where none can, it means nothing; NaN: there is none).
        passed: how many more faces cannot. Fake needs a face that stands out among so many, Real every face judged.
        """
        if not faces or math.isnan(highest):
            return UNSURE, None
        word = self.verdict(highest)
        if word == CLASSES[FAKE] and faces > 1:
            group = self.group(faces, highest)
            return word if group.stands_out else UNSURE, group
        return UNSURE if word == CLASSES[REAL] and passed else word, None

    def group(self, faces: int, highest: float) -> Group:
        """How the highest score stands among those of so many faces.

        The more faces, the higher the highest score of genuine ones: 1 - (1 - p) ** faces is the chance that it is so
        high, p being the share of single faces that are (Sidak 1967). The picture is Fake only if that chance is no
        larger than it is for one face that is just called Fake. Without the table of shares that cannot be said.
        """
        if self.rarity is None:
            return Group(faces, highest, None, None, None)
        rarity, allowed = self.share_above(np.array([highest, self.lowest_fake])).tolist()
        return Group(faces, highest, rarity, 1 - (1 - rarity) ** faces, allowed)

    @property
    def lowest_fake(self) -> float:
        """The lowest score that is Fake."""
        return max(self.threshold, self.band[1]) if self.band else self.threshold

    def share_above(self, scores: np.ndarray) -> np.ndarray | None:
        """(n,) scores to the share of Validation's Real faces that score at least so high; None: not known.

        Between the table's rows along a straight line of its logarithm; above the last row, that of the last row.
        """
        if self.rarity is None:
            return None
        at, shares = np.array(self.rarity).T
        return np.exp(np.interp(scores, at, np.log(shares), left=0.0))

    def notes(self) -> tuple[str, ...]:
        if self.fitted_on is None:
            return (f"scores are not calibrated; {self.threshold:g} divides Real from Fake",)
        if self.n is not None and self.n < FEW:
            return (f"scores were calibrated on {self.n} images only",)
        return ()

    def to_dict(self) -> dict:
        """Plain types only, as JSON gives them back."""
        return asdict(self) | {
            "unsure": None if self.unsure is None else list(self.unsure),
            "rarity": None if self.rarity is None else [list(row) for row in self.rarity],
        }

    @classmethod
    def from_dict(cls, fields: dict) -> "Calibration":
        return cls(**fields)
