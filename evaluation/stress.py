"""Where a detector fails: on pictures that the world has changed, and on one class saved again.

    stressed = assess({"mine": detector}, index)["mine"]         # a Stress, or the ModelError that stopped it
    stressed.findings                                            # ["Reads the codec: ...", ...]

Robustness: AUC and the recall of each class at each strength of every row of CORRUPTIONS. Re-encode test: the same with
only Real, only Fake, or both saved again. Two things are told apart there. A detector *reads the codec* when it takes
the traces of saving for those of faking: Real images that are saved again become Fake, or Fake ones become Real though
hardly a pixel has changed (JPEG at quality 95, PNG). Saving again also harms pictures, and a detector may take any harm
for a trace of faking; then Fake images move as far as Real ones do, and that is not reading the codec: Real must move
farther. It is *fragile* when its recall of Fake falls in JPEG at quality
75 and below, or in WebP at 75, which costs about as much of a picture: there the traces that it looks for may be gone.

A recall is the share of a class on the right side of the detector's stored threshold. Unsure is not left out: there,
too, the threshold decides.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score

from detector import Detector, ModelError
from detector.calibration import Calibration
from evaluation.metrics import Z95, auc_interval, decided, proportion_interval, right_side
from evaluation.scoring import score_changes
from imaging.corruptions import CORRUPTIONS, corrupt, png
from indexing import Index
from names import CLASSES, FAKE, REAL
from ranks import ALONE, Ranks

Key = tuple[str, float | None]  # of a change: its name, its strength
UNTOUCHED: Key = ("untouched", None)
PNG: Key = ("png", None)
# PNG is the control: a detector that is given pixels, as ours are, cannot notice it. One that is given files could.
REENCODE: dict[str, Key] = {
    "JPEG q95": ("jpeg", 95), "JPEG q75": ("jpeg", 75), "JPEG q50": ("jpeg", 50), "PNG": PNG, "WebP q75": ("webp", 75),
}  # fmt: skip
REENCODING = "reencode"  # what `only` calls the test
PARTS = (*CORRUPTIONS, REENCODING)

FALL = 0.05  # of a recall: what is found has fallen by more, and its interval lies above
# How much farther Real moves towards Fake than Fake does when saved the same way, in deviations of the margin within a
# class; lower limits of 95 % intervals. Measured (docs/experiments.md): at most 0.1 for honest detectors, 1.5 and more
# for such as were trained on fakes with a codec of their own. Beyond FAR any sure fall of the recall is enough, for
# how many images cross a threshold depends on where it stands, too.
APART, FAR = 0.25, 1.0
# What is found -> class -> the settings that tell, when this class alone is saved again.
READS_CODEC, IS_FRAGILE = "Reads the codec", "Fragile"
TELLING = {
    READS_CODEC: {CLASSES[REAL]: tuple(REENCODE), CLASSES[FAKE]: ("JPEG q95", "PNG")},
    IS_FRAGILE: {CLASSES[FAKE]: ("JPEG q75", "JPEG q50", "WebP q75")},
}

_QUALITY = (
    "n_real", "n_fake", "auc", "auc_low", "auc_high", "recall_real", "recall_real_low", "recall_real_high",
    "recall_fake", "recall_fake_low", "recall_fake_high",
)  # fmt: skip
ROBUSTNESS_COLUMNS = ("corruption", "strength", "unit", *_QUALITY)
REENCODE_COLUMNS = (
    "saved_again", "as", *_QUALITY, "drop_real", "drop_real_low", "drop_real_high",
    "drop_fake", "drop_fake_low", "drop_fake_high", "moves_real", "moves_fake", "apart_low",
)  # fmt: skip


@dataclass(frozen=True)
class Stress:
    """What became of one detector. A number that is not defined (of a class without images, say) is None."""

    threshold: float
    robustness: list[dict]  # ROBUSTNESS_COLUMNS; the first row is that of the untouched images
    reencode: list[dict]  # REENCODE_COLUMNS; the first row is that of the untouched images
    findings: list[str]  # sentences; none where the re-encode test was left out
    reads_codec: bool | None  # None: neither found nor, for want of a class, to be denied
    fragile: bool | None


def assess(
    detectors: dict[str, Detector],
    index: Index,
    *,
    workers: int = 0,
    ranks: Ranks = ALONE,
    only: Sequence[str] = PARTS,
) -> dict[str, Stress | ModelError]:
    """Stress of each detector on the images of an index, or its ModelError. Each image is decoded once.

    The index must have its faces (indexing.with_faces) where a detector frames them; in changed pictures they are found
    anew. only: rows of CORRUPTIONS, and REENCODING for the re-encode test.
    """
    scored = score_changes(
        detectors, index, changes_for(only), workers=workers, ranks=ranks, desc=f"stress, {len(detectors)} models"
    )
    answers: dict[str, Stress | ModelError] = {}
    for name, said in scored.items():
        if isinstance(said, ModelError):
            answers[name] = said
            continue
        changed = {key: judged.logits for key, judged in said.items()}
        answers[name] = from_logits(index.labels, changed, detectors[name].metadata.calibration, only=only)
    return answers


def changes_for(only: Iterable[str] = PARTS) -> dict[Key, partial | None]:
    """The changes that are needed, the untouched picture first."""
    keys = [(name, strength) for name in only if name in CORRUPTIONS for strength in CORRUPTIONS[name].strengths]
    keys += REENCODE.values() if REENCODING in only else ()
    make = {key: partial(png) if key == PNG else partial(corrupt, name=key[0], strength=key[1]) for key in keys}
    return {UNTOUCHED: None} | make


def from_logits(
    labels: np.ndarray, logits: dict[Key, np.ndarray], calibration: Calibration, *, only: Iterable[str] = PARTS
) -> Stress:
    """Stress from labels, (n,) 0 or 1, and the (n, 2) logits after each change of `changes_for`."""
    scores, threshold = {key: calibration.scores(part) for key, part in logits.items()}, calibration.threshold
    before = quality(labels, scores[UNTOUCHED], threshold)
    names = [name for name in only if name in CORRUPTIONS]
    robustness = [{"corruption": UNTOUCHED[0]} | before] + [
        {"corruption": name, "strength": strength, "unit": CORRUPTIONS[name].unit}
        | quality(labels, scores[name, strength], threshold)
        for name in names
        for strength in CORRUPTIONS[name].strengths
    ]
    if REENCODING not in only:
        return Stress(threshold, robustness, [], [], None, None)
    margins = {key: part[:, FAKE].astype(np.float64) - part[:, REAL] for key, part in logits.items()}
    reencode = reencode_rows(labels, scores, margins, threshold)
    findings, reads_codec, fragile = judge(reencode)
    return Stress(threshold, robustness if names else [], reencode, findings, reads_codec, fragile)


def quality(labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float | int | None]:
    """_QUALITY: AUC (interval as in auc_interval) and the recalls at the threshold (Wilson's intervals).

    An image without a score (NaN), in which nothing is found any more, is outside the AUC and a miss in recall.
    """
    real, fake = scores[labels == REAL] < threshold, scores[labels == FAKE] >= threshold
    told, known = decided(labels, scores)
    row = {"n_real": len(real), "n_fake": len(fake)}
    row["auc"] = float(roc_auc_score(told, known)) if len(np.unique(told)) == 2 else None
    row["auc_low"], row["auc_high"] = auc_interval(told, known) or (None, None)
    for name, right in (("recall_real", real), ("recall_fake", fake)):
        row[name] = float(right.mean()) if len(right) else None
        row[f"{name}_low"], row[f"{name}_high"] = proportion_interval(int(right.sum()), len(right)) or (None, None)
    return row


def reencode_rows(
    labels: np.ndarray, scores: dict[Key, np.ndarray], margins: dict[Key, np.ndarray], threshold: float
) -> list[dict]:
    """REENCODE_COLUMNS, first untouched, then with one class and with both saved again in each way.

    A drop is that of a recall against the untouched images, for a class that was saved again; moves are those of
    `movement`, where Real is saved.
    """
    before = scores[UNTOUCHED]
    rows = [{"saved_again": "none", "as": "untouched"} | quality(labels, before, threshold)]
    for which, chosen in (*((CLASSES[label], labels == label) for label in (REAL, FAKE)), ("both", labels >= 0)):
        for setting, key in REENCODE.items() if chosen.any() else ():
            after = np.where(chosen, scores[key], before)
            row = {"saved_again": which, "as": setting} | quality(labels, after, threshold)
            for label in {int(label) for label in labels[chosen]}:
                right = [right_side(labels, part, threshold)[labels == label] for part in (before, after)]
                name = f"drop_{CLASSES[label].lower()}"
                row[name] = float(right[0].mean() - right[1].mean())
                row[f"{name}_low"], row[f"{name}_high"] = drop_interval(*right)
            if which == CLASSES[REAL]:
                row |= movement(labels, margins[UNTOUCHED], margins[key])
            rows.append(row)
    return rows


def movement(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """How far each class's margins, (n,), move towards Fake when it is saved again, in deviations within a class.

    apart_low: the lower 95 % limit of how far Real moves beyond what Fake does, or moves at all, whichever is less.
    Nothing where one class has fewer than two images, or no margin differs from another.
    """
    known = np.isfinite(before) & np.isfinite(after)
    real, fake = known & (labels == REAL), known & (labels == FAKE)
    if min(real.sum(), fake.sum()) < 2:
        return {}
    deviation = math.sqrt((before[real].var(ddof=1) + before[fake].var(ddof=1)) / 2)
    if deviation == 0:
        return {}
    moved = [(after[part] - before[part]) / deviation for part in (real, fake)]
    means, errors = [part.mean() for part in moved], [part.var(ddof=1) / len(part) for part in moved]
    lows = means[REAL] - Z95 * math.sqrt(errors[REAL]), means[REAL] - means[FAKE] - Z95 * math.sqrt(sum(errors))
    return {"moves_real": float(means[REAL]), "moves_fake": float(means[FAKE]), "apart_low": float(min(lows))}


def drop_interval(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """95 % interval of how far a share falls between two looks at the same images, from (n,) bools of each look.

    Only images that change count for a paired difference. It is Wald's interval with half an image added to each of the
    four cells (Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions"), so that
    it does not shrink to nothing where no image changes.
    """
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    n = len(before) + 2
    middle, half = (lost - won) / n, Z95 * math.sqrt(lost + won + 1 - (lost - won) ** 2 / n) / n
    return max(-1.0, middle - half), min(1.0, middle + half)


def judge(rows: list[dict]) -> tuple[list[str], bool | None, bool | None]:
    """(sentences, whether it reads the codec, whether it is fragile) from the rows of the re-encode test."""
    falls = [Fall.of(row) for row in rows if row["saved_again"] in CLASSES]
    there, sentences, found = {fall.label for fall in falls}, [], {}
    for what, telling in TELLING.items():
        told = [fall for fall in falls if fall.setting in telling.get(fall.label, ())]
        sure = [fall for fall in told if fall.tells(what)]
        found[what] = True if sure else False if there >= set(telling) else None
        sentences += [
            f"{what}: {_found(sure, label)}" for label in CLASSES if any(fall.label == label for fall in sure)
        ]
        if found[what] is False:
            sentences.append(f"{what}: not found. {_not_found(told)}{_alike(told) if what == READS_CODEC else ''}")
    sentences += [
        f"There are no {label} images: what saving them again does to this detector is not known."
        for label in CLASSES
        if label not in there
    ]
    return sentences, found[READS_CODEC], found[IS_FRAGILE]


class Fall(NamedTuple):
    """How the recall of a class falls when this class alone is saved again; shares from -1 to 1."""

    label: str
    setting: str
    n: int
    before: float
    after: float
    low: float  # of the fall, 95 % interval
    high: float
    moves: tuple[float, float] | None  # of Real and of Fake, see movement
    apart: float | None  # its apart_low

    @classmethod
    def of(cls, row: dict) -> "Fall":
        name = row["saved_again"].lower()
        after, drop, low, high = (
            row[key.format(name)] for key in ("recall_{}", "drop_{}", "drop_{}_low", "drop_{}_high")
        )
        moves = (row["moves_real"], row["moves_fake"]) if "moves_real" in row else None
        place = row["saved_again"], row["as"], row[f"n_{name}"]
        return cls(*place, after + drop, after, low, high, moves, row.get("apart_low"))

    @property
    def drop(self) -> float:
        return self.before - self.after

    @property
    def is_sure(self) -> bool:
        return self.drop > FALL and self.low > FALL

    def tells(self, what: str) -> bool:
        """Whether it shows `what`. Harm that moves Fake images as far as Real ones shows no codec that is read."""
        if what == READS_CODEC and self.apart is not None:
            return (self.is_sure and self.apart > APART) or (self.low > 0 and self.apart > FAR)
        return self.is_sure

    def __str__(self) -> str:
        return f"{points(self.drop)} points (95 % interval {points(self.low)} to {points(self.high)}, n = {self.n})"


def _found(falls: list[Fall], label: str) -> str:
    falls = sorted((fall for fall in falls if fall.label == label), key=lambda fall: -fall.drop)
    worst, others = falls[0], [fall.setting for fall in falls[1:]]
    rest = f"; also as {' and '.join(others)}" if others else ""
    moves = "" if worst.moves is None else f" {_moves(worst)}, in deviations within a class."
    return (
        f"when only {label} images are saved again, as {worst.setting}, their recall falls from {points(worst.before)}"
        f" % to {points(worst.after)} %, by {worst}{rest}.{moves}"
    )


def _moves(fall: Fall) -> str:
    real, fake = fall.moves
    return f"Real images move {real:+.2f} towards Fake, and Fake ones, saved so, {fake:+.2f}"


def _alike(falls: list[Fall]) -> str:
    """Of a recall that falls, and yet shows no codec: why not."""
    falls = [fall for fall in falls if fall.is_sure and not fall.tells(READS_CODEC)]
    if not falls:
        return ""
    moves = _moves(max(falls, key=lambda fall: fall.drop))
    return f" {moves}, in deviations within a class: it is the harm, not the codec."


def _not_found(falls: list[Fall]) -> str:
    worst, limit = max(falls, key=lambda fall: fall.drop), points(FALL)
    most = f"The largest fall in recall is that of {worst.label} as {worst.setting}: {worst}"
    return f"{most if worst.drop > 0 else 'No recall falls'}" + (
        f"; these images do not rule out more than {limit}." if max(fall.high for fall in falls) > FALL else "."
    )


def points(share: float) -> str:
    """A share or a difference of two, in points of a hundred."""
    return f"{100 * share:.1f}".replace("-0.0", "0.0")
