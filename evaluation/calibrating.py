"""Choosing a detector's temperature, offset, thresholds and Unsure band, on Validation."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize

from dataset import source_weights
from detector.calibration import HALF, Calibration
from evaluation import metrics
from evaluation.left_out import LeftOut
from evaluation.scoring import Judged
from indexing import Index
from names import FAKE, REAL, UNSURE

TEMPERATURES = (0.05, 100.0)  # beyond them, scores are all but 0 and 1, or all but one number
OFFSETS = (-10.0, 10.0)
PRECISION = 0.9  # of Fake above the Unsure band, and of Real below it
FEWEST = 10  # images that one of those must rest on
FEW = 50  # of a class, to choose a threshold on
FALSE_ALARMS = 0.05  # of the Real images of each collection, at most, that are called Fake
COLLECTION = 20  # Real images, at least, of a collection that counts by itself
SHARES = (0.5, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.04, 0.03, 0.02, 0.015, 0.01, 0.007, 0.005, 0.003, 0.002, 0.001)


def fit(
    labels: np.ndarray,
    logits: np.ndarray,
    *,
    fitted_on: str,
    weights: np.ndarray | None = None,
    sources: Sequence[str] | None = None,
    left_out: LeftOut | None = None,
) -> Calibration:
    """The calibration that fits these images; labels (n,), logits (n, 2), of both classes, else ValueError.

    Both classes weigh the same, so that a score is P(fake) where half of the pictures are fake, and one half is what
    divides them. The Unsure band lies around it (`unsure_band`). Images without logits (NaN) take no part.
    fitted_on: the digest of these images. weights: (n,), how much each counts within its class; by default all count
    the same. sources: (n,) names of the collections that the images come from; in each at most FALSE_ALARMS of the Real
    ones score above the band. left_out: fakes of kinds that were not shown: below the band, nine in ten must be Real
    among these and the Real images too. Thresholds lie midway between the scores of two images, so that rounding moves
    no image across.
    """
    known = np.isfinite(logits).all(1)
    labels, logits = np.asarray(labels)[known], logits[known]
    if len(np.unique(labels)) < 2:
        raise ValueError("calibration needs images of both classes")
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights)[known] / np.mean(weights[known])
    even = balanced(labels, weights)
    names = np.array([""] * len(known) if sources is None else list(sources), object)[known]
    temperature, offset = fit_scale(labels, logits, even)
    scores = Calibration(temperature, offset=offset).scores(logits)
    real = labels == REAL
    cuts = _cuts(scores)
    called = _share_above(scores[real], cuts, weights[real])
    least = max(_highest_allowed(scores[real & (names == name)]) for name in set(names[real]))
    band = unsure_band(labels, scores, HALF, weights, least=least)
    if left_out is not None:
        unknown = Calibration(temperature, offset=offset).scores(left_out.logits)
        band = heeding(band, scores[real], weights[real], unknown, left_out.weights)
    return Calibration(
        temperature, HALF, band, fitted_on, len(labels), offset,
        threshold_fpr_1=_lowest(cuts, called <= 0.01), threshold_fpr_5=_lowest(cuts, called <= 0.05),
        rarity=rarity(scores[real], weights[real]),
    )  # fmt: skip


def balanced(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(n,) weights of which both classes have the same sum, and whose mean is 1."""
    sums = np.bincount(labels, weights, 2)
    return weights * (len(labels) / 2 / sums)[labels]


def best_threshold(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """(threshold, balanced accuracy there): what balanced accuracy alone would choose; of several the nearest to 1/2.

    It is told beside the threshold of one half; no verdict uses it.
    """
    labels, scores = metrics.decided(labels, scores)
    cuts, ones = _cuts(scores), np.ones(len(labels))
    real, fake = (_share_above(scores[labels == one], cuts, ones[labels == one]) for one in (REAL, FAKE))
    accuracy = (fake + 1 - real) / 2
    best = np.flatnonzero(accuracy >= accuracy.max() - 1e-12)
    chosen = best[np.argmin(np.abs(cuts[best] - HALF))]
    return float(cuts[chosen]), float(accuracy[chosen])


def rarity(real: np.ndarray, weights: np.ndarray) -> tuple[tuple[float, float], ...]:
    """((score, share), ...) of Calibration.rarity, from the scores of Real images and their weights.

    Rows at SHARES, and the highest score. One image more than there are is counted above each score: what none of n
    images reached may still come once in n + 1 times.
    """
    order = np.argsort(-real, kind="stable")
    scores, shares = real[order], np.cumsum(weights[order])
    one = weights.mean()
    shares = (shares + one) / (weights.sum() + one)
    places = np.unique(np.searchsorted(shares, SHARES, "right") - 1)[::-1]  # the last within each share
    rows = [(0.0, 1.0), *((float(scores[place]), float(shares[place])) for place in places if place > 0)]
    # Beyond the highest Real score there is but the one image that was added.
    rows += [
        (float(scores[0]), float(shares[0])),
        (float(np.nextafter(scores[0], 2)), float(one / (weights.sum() + one))),
    ]
    return tuple(row for row, after in pairwise([*rows, (2.0, 0.0)]) if row[0] < after[0] and row[0] <= 1)


def _highest_allowed(real: np.ndarray) -> float:
    """The lowest cut at and above which at most FALSE_ALARMS of a collection's Real scores lie; 0 for a small one."""
    if len(real) < COLLECTION:
        return 0.0
    cuts = _cuts(real)
    return _lowest(cuts, _share_above(real, cuts, np.ones(len(real))) <= FALSE_ALARMS) or 1.0


def _lowest(cuts: np.ndarray, wanted: np.ndarray) -> float | None:
    return float(cuts[np.argmax(wanted)]) if wanted.any() else None


def of_index(
    index: Index, logits: np.ndarray, *, balance: str = "none", left_out: LeftOut | None = None
) -> Calibration:
    """The calibration that fits a detector's (n, 2) logits of an index's images. balance: as in source_weights."""
    weights = source_weights(index, balance)
    return fit(index.labels, logits, fitted_on=index.digest, weights=weights, sources=index.sources, left_out=left_out)


def numbers(labels: np.ndarray, judged: Judged, calibration: Calibration) -> dict[str, float | int | None]:
    """metrics.summary of these images at the calibration's threshold and band, and what best_threshold would choose."""
    scores = calibration.scores(judged.logits)
    best = dict(zip(("best_threshold", "best_balanced_accuracy"), best_threshold(labels, scores), strict=True))
    unsure = judged.verdicts(calibration) == UNSURE
    return metrics.summary(labels, scores, calibration.threshold, calibration.band, unsure) | best


def doubts(labels: np.ndarray, logits: np.ndarray) -> list[str]:
    """Why a calibration chosen on these images is worth little; nothing where it is not."""
    known = np.isfinite(logits).all(1)
    labels, logits = labels[known], logits[known]
    smaller = int(min(np.bincount(labels, minlength=2)))
    said = [f"there are only {smaller} images of one class"] if smaller < FEW else []
    margin = logits[:, FAKE].astype(np.float64) - logits[:, REAL]
    low, high = metrics.auc_interval(labels, 1 / (1 + np.exp(-np.clip(margin, -500, 500))))
    if high < 0.5:
        said.append(f"the AUC here is below one half ({low:.3f} to {high:.3f}): are Real and Fake swapped?")
    elif low <= 0.5:
        said.append(
            f"the AUC here may be one half ({low:.3f} to {high:.3f}): the detector may not tell these apart at all"
        )
    return said


def fit_scale(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """(temperature, offset) by which scores fit these images best, within TEMPERATURES and OFFSETS; by L-BFGS-B.

    It is Platt scaling of the margin (Platt 1999), with his targets: of n Fake images each counts as Fake to the part
    (n + 1) / (n + 2), and Real ones likewise. So images that a network separates perfectly do not make it certain.
    """
    margin = logits[:, FAKE].astype(np.float64) - logits[:, REAL]
    fake = np.asarray(labels) == FAKE
    target = np.where(fake, (fake.sum() + 1) / (fake.sum() + 2), 1 / ((~fake).sum() + 2))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        log_temperature, offset = parameters
        scaled = margin * np.exp(-log_temperature)
        score = np.exp(-np.logaddexp(0, -scaled - offset))
        slope = score - target  # of the loss in the scaled margin
        value = np.logaddexp(0, scaled + offset) - target * (scaled + offset)
        gradient = np.array([-slope * scaled, slope])
        return np.average(value, weights=weights), np.average(gradient, axis=1, weights=weights)

    bounds = [np.log(TEMPERATURES), OFFSETS]
    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=bounds, options={"gtol": 1e-8})
    return float(np.exp(found.x[0])), float(found.x[1])


def unsure_band(
    labels: np.ndarray, scores: np.ndarray, threshold: float, weights: np.ndarray, *, least: float = 0.0
) -> tuple[float, float] | None:
    """(low, high) around the threshold, outside of which a verdict is right nine times in ten; None: no band is needed.

    least: what `high` is at least.

    Above `high` the precision of Fake is at least PRECISION, below `low` that of Real: among these images, and also
    with as many of one class as of the other. Where fewer than FEWEST images could show it, that side has no verdict
    but Unsure.
    """
    high = max(least, _sure_from(np.asarray(labels) == FAKE, scores, threshold, weights))
    low = 1 - _sure_from(np.asarray(labels) == REAL, 1 - scores, 1 - threshold, weights)
    return None if high - low < 1e-9 else (max(0.0, low), high)


def heeding(
    band: tuple[float, float] | None,
    real: np.ndarray,
    real_weights: np.ndarray,
    unknown: np.ndarray,
    unknown_weights: np.ndarray,
) -> tuple[float, float] | None:
    """The Unsure band with its lower end so low that PRECISION of the images below it are Real.

    Of the Real images and as many fakes of kinds that were not shown: scores of both, and their weights.
    """
    scores, wanted = 1 - np.concatenate([real, unknown]), np.arange(len(real) + len(unknown)) < len(real)
    sure = _sure_from(wanted, scores, HALF, np.concatenate([real_weights, unknown_weights]))
    low, high = band or (HALF, HALF)
    low = min(low, max(0.0, 1 - sure))
    return None if high - low < 1e-9 else (low, high)


def _sure_from(wanted: np.ndarray, scores: np.ndarray, threshold: float, weights: np.ndarray) -> float:
    """The lowest cut, at or above the threshold, at and above which the precision of the wanted class is PRECISION."""
    cuts = _cuts(scores)
    hits, errors = (_above(scores[one], cuts, weights[one]) for one in (wanted, ~wanted))
    balanced_errors = errors * (weights[wanted].sum() / weights[~wanted].sum())
    enough = (_above(scores, cuts, np.ones(len(scores))) >= FEWEST) & (cuts >= threshold - 1e-12)
    precise = hits >= PRECISION * (hits + np.maximum(errors, balanced_errors))
    sure = np.flatnonzero(enough & precise)
    return float(max(cuts[sure[0]], threshold)) if len(sure) else 1.0


def _cuts(scores: np.ndarray) -> np.ndarray:
    """All places where a threshold makes a difference: 0, midway between neighbouring scores, 1; rising."""
    distinct = np.unique(scores)
    return np.concatenate([[0.0], (distinct[1:] + distinct[:-1]) / 2, [1.0]])


def _above(scores: np.ndarray, cuts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(k,) weight of the scores at or above each cut."""
    order = np.argsort(scores)
    from_here = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)
    return from_here[np.searchsorted(scores[order], cuts, "left")]


def _share_above(scores: np.ndarray, cuts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return _above(scores, cuts, weights) / weights.sum()
