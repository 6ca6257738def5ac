"""Numbers from labels and scores, with intervals. Pure functions: no model, no file, no plot.

labels: (n,) ints, 0 = Real and 1 = Fake. scores: (n,) floats, P(fake) from 0 to 1. Fake is the positive class.
A number that is not defined for the data at hand (an AUC with one class only, say) is None.
"""

import math

import numpy as np
from sklearn.metrics import roc_auc_score

from names import FAKE, REAL

Z95 = 1.959964  # the normal distribution's 97.5 % point


def confusion(labels: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """(2, 2) counts; row: the label, column: what a score at or above the threshold (Fake) or below it (Real) says."""
    says = (np.asarray(scores) >= threshold).astype(int)
    counts = np.zeros((2, 2), int)
    np.add.at(counts, (np.asarray(labels), says), 1)
    return counts


def summary(labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float | int | None]:
    """Accuracy and its relatives at a threshold, and the threshold-free AUC and log loss."""
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    counts = confusion(labels, scores, threshold)
    n, n_real, n_fake = len(labels), int(counts[REAL].sum()), int(counts[FAKE].sum())
    hits = counts[FAKE, FAKE]
    recall, recall_real = _ratio(hits, n_fake), _ratio(counts[REAL, REAL], n_real)
    both = n_real > 0 and n_fake > 0
    return {
        "n": n,
        "n_real": n_real,
        "n_fake": n_fake,
        "accuracy": _ratio(np.trace(counts), n),
        "balanced_accuracy": (recall + recall_real) / 2 if both else None,
        "precision": _ratio(hits, counts[:, FAKE].sum()),
        "recall": recall,
        "recall_real": recall_real,
        "f1": _ratio(2 * hits, counts[:, FAKE].sum() + n_fake),
        "auc": float(roc_auc_score(labels, scores)) if both else None,
        "log_loss": log_loss(labels, scores) if n else None,
    }


def log_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean negative log-likelihood of the labels, nats; scores are kept 1e-12 away from 0 and 1."""
    likelihood = np.clip(np.where(np.asarray(labels) == FAKE, scores, 1 - np.asarray(scores)), 1e-12, 1)
    return float(-np.log(likelihood).mean())


def proportion_interval(hits: int, n: int) -> tuple[float, float] | None:
    """95 % interval of a proportion (Wilson 1927)."""
    if n == 0:
        return None
    share, square = hits / n, Z95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def auc_interval(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float] | None:
    """95 % interval of the AUC.

    The variance is DeLong's (DeLong, DeLong and Clarke-Pearson 1988), the interval lies on the logit scale, so it stays
    inside 0 to 1. For a perfect separation, where that variance is 0, the rule of three bounds the error instead.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    real, fake = np.sort(scores[labels == REAL]), np.sort(scores[labels == FAKE])
    if not len(real) or not len(fake):
        return None
    # For each fake the share of real images below it (ties count half), and for each real one the share of fakes above.
    above = (np.searchsorted(real, fake, "left") + np.searchsorted(real, fake, "right")) / (2 * len(real))
    below = 1 - (np.searchsorted(fake, real, "left") + np.searchsorted(fake, real, "right")) / (2 * len(fake))
    auc = float(above.mean())
    if len(real) < 2 or len(fake) < 2:
        return 0.0, 1.0
    variance = above.var(ddof=1) / len(fake) + below.var(ddof=1) / len(real)
    margin = min(1.0, 3 / min(len(real), len(fake)))
    if variance == 0 or auc in (0.0, 1.0):
        return max(0.0, auc - margin), min(1.0, auc + margin)
    spread = Z95 * math.sqrt(variance) / (auc * (1 - auc))
    logit = math.log(auc / (1 - auc))
    return _logistic(logit - spread), _logistic(logit + spread)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
