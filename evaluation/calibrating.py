"""Choosing a detector's temperature, offset, thresholds and Unsure band, on Validation."""

import numpy as np
from scipy.optimize import minimize

from detector.calibration import Calibration
from evaluation import metrics
from names import FAKE, REAL

TEMPERATURES = (0.05, 100.0)  # beyond them, scores are all but 0 and 1, or all but one number
OFFSETS = (-10.0, 10.0)
PRECISION = 0.9  # of Fake above the Unsure band, and of Real below it
FEWEST = 10  # images that one of those must rest on
FEW = 50  # of a class, to choose a threshold on


def fit(labels: np.ndarray, logits: np.ndarray, *, fitted_on: str, weights: np.ndarray | None = None) -> Calibration:
    """The calibration that fits these images; labels (n,), logits (n, 2), of both classes, else ValueError.

    fitted_on: the digest of these images. weights: (n,), how much each counts; by default all count the same. The
    threshold is the one of best balanced accuracy; where several are, the nearest to 1/2. Thresholds lie midway between
    the scores of two images, so that rounding moves no image across.
    """
    labels = np.asarray(labels)
    if len(np.unique(labels)) < 2:
        raise ValueError("calibration needs images of both classes")
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights) / np.mean(weights)
    temperature, offset = fit_scale(labels, logits, weights)
    scores = Calibration(temperature, offset=offset).scores(logits)
    cuts = _cuts(scores)
    real, fake = (_share_above(scores[labels == one], cuts, weights[labels == one]) for one in (REAL, FAKE))
    balanced = (fake + 1 - real) / 2
    best = np.flatnonzero(balanced >= balanced.max() - 1e-12)
    threshold = float(cuts[best[np.argmin(np.abs(cuts[best] - 0.5))]])
    return Calibration(
        temperature, threshold, unsure_band(labels, scores, threshold, weights), fitted_on, len(labels), offset,
        threshold_fpr_1=_lowest(cuts, real <= 0.01), threshold_fpr_5=_lowest(cuts, real <= 0.05),
    )  # fmt: skip


def _lowest(cuts: np.ndarray, wanted: np.ndarray) -> float | None:
    return float(cuts[np.argmax(wanted)]) if wanted.any() else None


def numbers(labels: np.ndarray, logits: np.ndarray, calibration: Calibration) -> dict[str, float | int | None]:
    """metrics.summary of these images at the calibration's threshold and band."""
    return metrics.summary(labels, calibration.scores(logits), calibration.threshold, calibration.unsure)


def doubts(labels: np.ndarray, logits: np.ndarray) -> list[str]:
    """Why a calibration chosen on these images is worth little; nothing where it is not."""
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
    labels: np.ndarray, scores: np.ndarray, threshold: float, weights: np.ndarray
) -> tuple[float, float] | None:
    """(low, high) around the threshold, outside of which a verdict is right nine times in ten; None: no band is needed.

    Above `high` the precision of Fake is at least PRECISION, below `low` that of Real: among these images, and also
    with as many of one class as of the other. Where fewer than FEWEST images could show it, that side has no verdict
    but Unsure.
    """
    high = _sure_from(np.asarray(labels) == FAKE, scores, threshold, weights)
    low = 1 - _sure_from(np.asarray(labels) == REAL, 1 - scores, 1 - threshold, weights)
    return None if high - low < 1e-9 else (max(0.0, low), high)


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
