"""Numbers from labels and scores, with intervals. Pure functions: no model, no file, no plot.

labels: (n,) ints, 0 = Real and 1 = Fake. scores: (n,) floats, P(fake) from 0 to 1. Fake is the positive class.
A score of NaN is that of an image that is not decided, since nothing in it could be judged: a miss in recall of its
class, Unsure, and outside the numbers that are about scores.
threshold: a score at or above it says Fake. unsure: the band (low, high) of Calibration; the threshold's numbers count
every image, inside the band too. doubtful: (n,) bools, images whose verdict is Unsure whatever their score. A number
that is not defined for the data at hand (an AUC with one class only, say) is None.
"""

import math

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score, roc_curve

from names import CLASSES, FAKE, REAL

Z95 = 1.959964  # the normal distribution's 97.5 % point
ECE_BINS = 15
NOT_DECIDED = -1  # where a class is said of each image: no class
RESAMPLES = 1000
RATES = {"recall_at_fpr_1": 0.01, "recall_at_fpr_5": 0.05}  # false-positive rates: shares of Real called Fake
# What intervals() resamples: means over images, or over those of a class, and what a ranking of the images gives.
SHARES = ("accuracy", "recall", "recall_real", "precision", "unsure", "accuracy_sure", "found", "false_alarms")
RANKED = ("auc", "ap", "eer", *RATES)
WITH_INTERVALS = ("balanced_accuracy", *SHARES, *RANKED, "brier", "ece", "log_loss")


def confusion(labels: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """(2, 2) counts; row: the label, column: what a score at or above the threshold (Fake) or below it (Real) says.

    Images that are not decided are in no column.
    """
    labels, scores = decided(labels, scores)
    counts = np.zeros((2, 2), int)
    np.add.at(counts, (labels, (scores >= threshold).astype(int)), 1)
    return counts


def decided(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The labels and scores of images that have a score."""
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    known = ~np.isnan(scores)
    return labels[known], scores[known]


def summary(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    unsure: tuple[float, float] | None = None,
    doubtful: np.ndarray | None = None,
) -> dict[str, float | int | None]:
    """Accuracy and its relatives at a threshold; AUC and its relatives, which need none; how far scores are right.

    recall_at_fpr_1: share of Fake found where at most 1 % of Real are called Fake. eer: where as many of Real are
    called Fake as of Fake Real, between two images by straight lines. brier is the mean squared error of the score.
    accuracy_sure: without the images that are Unsure. found, false_alarms: shares of Fake and of Real whose verdict is
    Fake. undecided: how many images have no score.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    n, n_real, n_fake = len(labels), int((labels == REAL).sum()), int((labels == FAKE).sum())
    counts = confusion(labels, scores, threshold)
    hits = counts[FAKE, FAKE]
    recall, recall_real = _ratio(hits, n_fake), _ratio(counts[REAL, REAL], n_real)
    sure = is_sure(scores, unsure, doubtful)
    says, right = scores >= threshold, right_side(labels, scores, threshold)
    told, known = decided(labels, scores)
    both = bool((told == REAL).any() and (told == FAKE).any())
    brier = float(np.mean((known - told) ** 2)) if len(told) else None
    return {
        "n": n,
        "n_real": n_real,
        "n_fake": n_fake,
        "undecided": n - len(told),
        "accuracy": _ratio(np.trace(counts), n),
        "balanced_accuracy": (recall + recall_real) / 2 if n_real and n_fake else None,
        "precision": _ratio(hits, counts[:, FAKE].sum()),
        "recall": recall,
        "recall_real": recall_real,
        "f1": _ratio(2 * hits, counts[:, FAKE].sum() + n_fake),
        "auc": float(roc_auc_score(told, known)) if both else None,
        "ap": float(average_precision_score(told, known)) if both else None,
        **_from_roc(told, known, both),
        "brier": brier,
        "rmse": None if brier is None else math.sqrt(brier),
        "ece": calibration_error(told, known) if len(told) else None,
        "log_loss": log_loss(told, known) if len(told) else None,
        "unsure": _ratio((~sure).sum(), n),
        "accuracy_sure": _ratio(right[sure].sum(), sure.sum()),
        "found": _ratio((says & sure & (labels == FAKE)).sum(), n_fake),
        "false_alarms": _ratio((says & sure & (labels == REAL)).sum(), n_real),
    }


def is_sure(scores: np.ndarray, unsure: tuple[float, float] | None, doubtful: np.ndarray | None = None) -> np.ndarray:
    """(n,) bools: whose verdict is Real or Fake."""
    sure = ~in_band(scores, unsure) & ~np.isnan(scores)
    return sure if doubtful is None else sure & ~np.asarray(doubtful, bool)


def right_side(labels: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """(n,) bools: which scores lie on their label's side of the threshold; of those without a score, none."""
    return np.where(labels == FAKE, scores >= threshold, scores < threshold)


def _from_roc(labels: np.ndarray, scores: np.ndarray, both: bool) -> dict[str, float | None]:
    if not both:
        return dict.fromkeys(("eer", *RATES))
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    found = _ranked(true[None], false[None])
    return {name: float(found[name][0]) for name in ("eer", *RATES)}


def classification_report(labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, dict]:
    """Precision, recall and F1 of each class, their mean (macro), and their mean weighted by n (weighted)."""
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    says = np.where(np.isnan(scores), NOT_DECIDED, scores >= threshold).astype(int)
    of_class = precision_recall_fscore_support(labels, says, labels=[REAL, FAKE], zero_division=0)
    rows = {name: _report_row(*(column[i] for column in of_class)) for i, name in enumerate(CLASSES)}
    n = of_class[3]
    for name, weights in (("macro", np.ones(2)), ("weighted", n)):
        means = [float(np.average(column, weights=weights)) if n.sum() else 0.0 for column in of_class[:3]]
        rows[name] = _report_row(*means, n.sum())
    return rows


def _report_row(precision: float, recall: float, f1: float, n: int) -> dict[str, float | int]:
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1), "n": int(n)}


def in_band(scores: np.ndarray, unsure: tuple[float, float] | None) -> np.ndarray:
    """(n,) bools: which scores Calibration.verdict calls Unsure."""
    scores = np.asarray(scores)
    return np.zeros(len(scores), bool) if unsure is None else (scores >= unsure[0]) & (scores < unsure[1])


def log_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean negative log-likelihood of the labels, nats; scores are kept 1e-12 away from 0 and 1."""
    return float(_surprise(np.asarray(labels), np.asarray(scores)).mean())


def _surprise(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return -np.log(np.clip(np.where(labels == FAKE, scores, 1 - scores), 1e-12, 1))


def calibration_error(labels: np.ndarray, scores: np.ndarray) -> float:
    """Expected calibration error of P(fake): ECE_BINS bins of equal width, 0 to 1 (Naeini et al. 2015).

    In each bin, how far the mean score lies from the share of Fake; the mean of that over the images.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    excess = np.bincount(ece_bin(scores), scores - labels, ECE_BINS)
    return float(np.abs(excess).sum() / len(labels))


def ece_bin(scores: np.ndarray) -> np.ndarray:
    """(n,) ints: the bin of each score, the last one with 1 included."""
    return np.minimum((np.asarray(scores) * ECE_BINS).astype(int), ECE_BINS - 1)


def proportion_interval(hits: int, n: int) -> tuple[float, float] | None:
    """95 % interval of a proportion (Wilson 1927)."""
    if n == 0:
        return None
    found = binomtest(int(hits), int(n)).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


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


def intervals(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    unsure: tuple[float, float] | None = None,
    doubtful: np.ndarray | None = None,
    *,
    sources: list[str] | None = None,
    seed: int = 0,
) -> dict[str, tuple[float, float] | None]:
    """95 % percentile intervals of WITH_INTERVALS by RESAMPLES bootstrap resamples (Efron 1979), of fixed class sizes.

    sources: (n,) names, "" where none is known. Images of one source (a video, a generator, a camera) resemble each
    other, so whole sources are drawn too where they are known (the cluster bootstrap: Field and Welsh 2007); each class
    by itself, or both together where a source has images of both. Of a few sources that draws too little variety: so
    the limits are the outer ones of drawing images and of drawing sources. How other sources would do, they cannot say.
    Where every resample gives the same, 100 % say, that is not certainty: then the interval
    of a share is Wilson's (proportion_interval), and that of an AUC auc_interval's; of other numbers, it is None.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    numbers, sure = summary(labels, scores, threshold, unsure, doubtful), is_sure(scores, unsure, doubtful)
    if not len(labels):
        return dict.fromkeys(WITH_INTERVALS)
    ways = [_strata(labels, [""] * len(labels))] + ([_strata(labels, sources)] if sources and any(sources) else [])
    limits = [_limits(labels, scores, threshold, sure, numbers, strata, seed) for strata in ways]
    return {name: _outer([way.get(name) for way in limits]) or _of_no_spread(name, labels, scores, threshold, sure)
            for name in WITH_INTERVALS}  # fmt: skip


def _outer(limits: list[tuple[float, float] | None]) -> tuple[float, float] | None:
    known = [limit for limit in limits if limit is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def _limits(labels, scores, threshold, sure, numbers, strata, seed) -> dict[str, tuple[float, float] | None]:
    """Percentiles of the numbers that are defined, over resamples of the groups of images in `strata`."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in WITH_INTERVALS if numbers[name] is not None}
    order, draw = np.argsort(-scores, kind="stable"), np.random.default_rng(seed)
    size = max(1, min(RESAMPLES, 4_000_000 // len(labels)))  # resamples at a time: their counts take 8 bytes each
    for begin in range(0, RESAMPLES, size):
        counts = _resample(draw, strata, len(labels), min(size, RESAMPLES - begin))
        resampled = _resampled(labels[order], scores[order], counts[:, order], threshold, sure[order])
        for name, values in found.items():
            values.append(resampled[name])
    drawn = {name: np.concatenate(values) for name, values in found.items()}
    # Resampling adds its own noise to an error that is a sum of sizes: that much is taken off again.
    if "ece" in drawn:
        drawn["ece"] = np.maximum(0, drawn["ece"] - (drawn["ece"].mean() - numbers["ece"]))
    return {name: _percentiles(values) for name, values in drawn.items()}


def _strata(labels: np.ndarray, sources: list[str]) -> list[list[np.ndarray]]:
    """Groups of images that are drawn together, in the parts within which they are drawn."""
    members: dict[tuple, list[int]] = {}
    names = np.asarray(sources)
    shared = set(names[labels == REAL]) & set(names[labels == FAKE]) - {""}
    for i, (label, source) in enumerate(zip(labels.tolist(), sources, strict=True)):
        group = ("image", i) if source == "" else ("source", source if shared else (label, source))
        members.setdefault((-1 if shared else label, *group), []).append(i)
    parts: dict[int, list[np.ndarray]] = {}
    for (part, *_), images in members.items():
        parts.setdefault(part, []).append(np.array(images))
    return list(parts.values())


def _resample(draw: np.random.Generator, strata: list[list[np.ndarray]], n: int, size: int) -> np.ndarray:
    """(size, n) float64: how often each image is in each resample."""
    counts = np.empty((size, n))
    for groups in strata:
        times = draw.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size)
        places = np.concatenate(groups)
        counts[:, places] = np.repeat(times, [len(group) for group in groups], axis=1)
    return counts


def _resampled(labels, scores, counts, threshold, sure) -> dict[str, np.ndarray]:
    """The numbers of `summary` for each row of counts, of images in falling order of their scores; nan: not defined."""
    fake, says, right = labels == FAKE, scores >= threshold, right_side(labels, scores, threshold)
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample may lack a class: nan
        n = counts.sum(1)
        found = {
            "accuracy": counts @ right / n,
            "recall": counts @ (right & fake) / (counts @ fake),
            "recall_real": counts @ (right & ~fake) / (counts @ ~fake),
            "precision": counts @ (says & fake) / (counts @ says),
            "unsure": counts @ ~sure / n,
            "accuracy_sure": counts @ (right & sure) / (counts @ sure),
            "found": counts @ (says & sure & fake) / (counts @ fake),
            "false_alarms": counts @ (says & sure & ~fake) / (counts @ ~fake),
        }
        found["balanced_accuracy"] = (found["recall"] + found["recall_real"]) / 2
        known = len(scores) - int(np.isnan(scores).sum())  # they come last; what follows is about scores
        labels, scores, counts, fake = labels[:known], scores[:known], counts[:, :known], fake[:known]
        if not known:
            return found | {name: np.full(len(counts), np.nan) for name in (*RANKED, "brier", "ece", "log_loss")}
        true, false = np.cumsum(counts * fake, 1), np.cumsum(counts * ~fake, 1)
        ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # equal scores stand or fall together
        start = np.zeros((len(counts), 1))
        found |= _ranked(
            np.hstack([start, true[:, ends]]) / true[:, -1:], np.hstack([start, false[:, ends]]) / false[:, -1:]
        )
        above = true[:, ends] + false[:, ends]
        steps = np.diff(np.hstack([start, true[:, ends]])) / true[:, -1:]
        found["ap"] = np.nansum(steps * true[:, ends] / above, 1) + 0 * true[:, -1] / true[:, -1]
        n = counts.sum(1)
        bins = np.zeros((len(scores), ECE_BINS))
        bins[np.arange(len(scores)), ece_bin(scores)] = scores - labels
        found |= {
            "brier": counts @ (scores - labels) ** 2 / n,
            "ece": np.abs(counts @ bins).sum(1) / n,
            "log_loss": counts @ _surprise(labels, scores) / n,
        }
    return found


def _ranked(true: np.ndarray, false: np.ndarray) -> dict[str, np.ndarray]:
    """AUC, EER and recall at RATES from ROC points: (k, m) shares of Fake and of Real called Fake, both rising."""
    area = (np.diff(false, axis=1) * (true[:, 1:] + true[:, :-1]) / 2).sum(1)
    gap = 1 - true - false  # of the two errors, falling from 1 to -1: they are equal where it passes 0
    rows, at = np.arange(len(true)), np.argmax(gap <= 0, axis=1)
    before, after = gap[rows, at - 1], gap[rows, at]
    part = before / (before - after)
    eer = false[rows, at - 1] + part * (false[rows, at] - false[rows, at - 1])
    found = {"auc": area, "eer": eer}
    for name, rate in RATES.items():
        found[name] = np.where(false <= rate + 1e-12, true, 0).max(1) + 0 * area  # nan where that is
    return found


def _percentiles(values: np.ndarray) -> tuple[float, float] | None:
    values = values[np.isfinite(values)]
    if not len(values) or np.ptp(values) < 1e-12:
        return None
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def _of_no_spread(name, labels, scores, threshold, sure) -> tuple[float, float] | None:
    if name == "auc":
        return auc_interval(*decided(labels, scores))
    if name == "balanced_accuracy":
        both = [_of_no_spread(part, labels, scores, threshold, sure) for part in ("recall", "recall_real")]
        return None if None in both else tuple(sum(limits) / 2 for limits in zip(*both, strict=True))
    if name not in SHARES:
        return None
    right, says = right_side(labels, scores, threshold), scores >= threshold
    of, hits = {
        "accuracy": (np.ones(len(labels), bool), right),
        "recall": (labels == FAKE, right),
        "recall_real": (labels == REAL, right),
        "precision": (says, right),
        "unsure": (np.ones(len(labels), bool), ~sure),
        "accuracy_sure": (sure, right),
        "found": (labels == FAKE, says & sure),
        "false_alarms": (labels == REAL, says & sure),
    }[name]
    return proportion_interval(int((hits & of).sum()), int(of.sum()))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
