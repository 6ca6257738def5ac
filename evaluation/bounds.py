"""Beyond which measure of a face verdicts become unreliable: found by damaging Validation, step by step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageEnhance

from detector import Detector, large_enough
from evaluation.metrics import proportion_interval
from imaging import corruptions
from imaging.evidence import WORDS, measure
from indexing import Index
from names import CLASSES, FAKE, REAL, UNSURE

LOST = 0.03  # of the untouched faces of a collection, at most, that lie beyond a bound
WORSE = 2.0  # times as many wrong verdicts as on untouched faces make verdicts unreliable
LEAST = 0.05  # more of them, at least: of a detector that makes no error, one is no trouble yet
ALARMS = 0.1  # or this share of Real faces called Fake
NEAR = 150  # views next beyond a bound that are looked at for that
FEWEST = 30  # of each class among them, at least
COLLECTION = 20  # untouched faces, at least, of a collection that LOST counts by itself


def _enlarged(image: Image.Image, side: int) -> Image.Image:
    small = image.resize((side, side), Image.Resampling.BICUBIC)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def _noisy(image: Image.Image, sigma: float) -> Image.Image:
    return corruptions.noise(image, sigma, np.random.default_rng(0))


def _dark(image: Image.Image, factor: float) -> Image.Image:
    """As a camera in bad light: darker, and the grain of its sensor stays."""
    return _noisy(ImageEnhance.Brightness(image).enhance(factor), 3)


# What is done to a framed face, mild to severe: (name, strength, in words of a table) -> the change.
UNTOUCHED = ("untouched", None)
DAMAGE: dict[tuple[str, float | None], Callable[[Image.Image], Image.Image] | None] = {
    UNTOUCHED: None,
    **{("enlarged from, pixels", side): partial(_enlarged, side=side) for side in (112, 80, 56, 40, 28)},
    **{("blur, pixels", sigma): partial(corruptions.blur, sigma=sigma) for sigma in (1.0, 1.5, 2.0, 3.0, 5.0)},
    **{("noise, grey levels", sigma): partial(_noisy, sigma=sigma) for sigma in (5.0, 10.0, 20.0, 35.0)},
    **{("darkened to", factor): partial(_dark, factor=factor) for factor in (0.5, 0.3, 0.2, 0.1)},
}


MOVES = {  # damage -> the measure that it moves
    "enlarged from, pixels": "sharpness",
    "blur, pixels": "sharpness",
    "noise, grey levels": "noise",
    "darkened to": "light",
}


@dataclass(frozen=True)
class Looks:
    """What is measured and said of each view: n faces in each way of DAMAGE, one way after the other."""

    ways: np.ndarray  # (m,) place in DAMAGE
    labels: np.ndarray  # (m,)
    sources: np.ndarray  # (m,) names
    evidence: np.ndarray  # (m, 3), in the order of WORDS
    scores: np.ndarray  # (m,)
    said: np.ndarray  # (m,) words

    @property
    def wrong(self) -> np.ndarray:
        """(m,) bool: called Real or Fake, and is the other; Unsure is no error."""
        return (self.said != UNSURE) & (self.said != np.array(CLASSES, object)[self.labels])


def look(detector: Detector, index: Index, *, each: Callable[[Iterator], Iterator] = iter) -> Looks:
    """Judge the largest face of each image, framed, in every way of DAMAGE. each: wraps the loop over images."""
    spec, calibration, rows = detector.metadata.preprocess, detector.metadata.calibration, []
    for i in each(range(len(index.samples))):
        faces = [face for face in index.found[i] if large_enough(face)][:1]
        if spec.frame == "face" and not faces:
            continue
        [view] = spec.seen(index.picture(i).image, faces)
        views = [view if change is None else change(view) for change in DAMAGE.values()]
        found = [measure(one) for one in views]
        scores = detector.scores(spec.prepared(views))
        rows += [
            (way, index.samples[i].label, index.samples[i].source, (one.sharpness, one.noise, one.light), score)
            for way, (one, score) in enumerate(zip(found, scores.tolist(), strict=True))
        ]
    ways, labels, sources, evidence, scores = zip(*sorted(rows, key=lambda row: row[0]), strict=True)
    said = np.array([calibration.verdict(score) for score in scores], object)
    return Looks(
        np.array(ways), np.array(labels), np.array(sources, object), np.array(evidence), np.array(scores), said
    )


def table(looks: Looks) -> list[dict]:
    """A row for each way of DAMAGE: what is measured, and how often the verdict is wrong."""
    rows = []
    for way, (name, strength) in enumerate(DAMAGE):
        here = looks.ways == way
        row = {"damage": name, "strength": strength}
        row |= {name: float(np.median(looks.evidence[here, at])) for at, name in enumerate(WORDS)}
        for label, called in ((REAL, FAKE), (FAKE, REAL)):
            of = here & (looks.labels == label)
            hits, n = int((looks.said[of] == CLASSES[called]).sum()), int(of.sum())
            low, high = proportion_interval(hits, n) or (None, None)
            key = f"{CLASSES[label]} called {CLASSES[called]}".lower().replace(" ", "_")
            row |= {f"n_{CLASSES[label].lower()}": n, key: hits / n if n else None}
            row |= {f"{key}_low": low, f"{key}_high": high}
        rows.append(row | {"unsure": float((looks.said[here] == UNSURE).mean())})
    return rows


def bounds(looks: Looks) -> dict[str, float]:
    """{measure: bound} beyond which verdicts are unreliable, and few untouched faces of any collection lie.

    Unreliable: WORSE times as many of them are wrong as on untouched faces (both classes counting the same), or ALARMS
    of the Real ones are called Fake, among the NEAR views next beyond it. Of all such bounds the one that leaves out
    most. A measure whose extremes do no harm has none.
    """
    clean = looks.ways == 0
    usual = _wrong(looks, clean)
    found, kinds = {}, np.array([MOVES.get(name) for name, _ in DAMAGE], object)
    for at, (name, (too_little, _)) in enumerate(WORDS.items()):
        about = clean | (kinds[looks.ways] == name)  # a blurred face that is bright says nothing about light
        values = looks.evidence[:, at] if too_little else -looks.evidence[:, at]
        collections = [clean & (looks.sources == source) for source in set(looks.sources)]
        quantiles = [np.quantile(values[of], LOST) for of in collections if of.sum() >= COLLECTION]
        limit = min(quantiles, default=-np.inf)
        order = np.flatnonzero(about & (values <= limit))
        order = order[np.argsort(-values[order], kind="stable")]
        for at_cut in range(0, len(order) - NEAR + 1, 5):
            next_ones = np.zeros(len(values), bool)
            next_ones[order[at_cut : at_cut + NEAR]] = True
            if min((next_ones & (looks.labels == label)).sum() for label in (REAL, FAKE)) < FEWEST:
                continue
            alarms = (looks.said[next_ones & (looks.labels == REAL)] == CLASSES[FAKE]).mean()
            if _wrong(looks, next_ones) >= max(WORSE * usual, usual + LEAST) or alarms >= ALARMS:
                cut = values[order[at_cut]]
                found[name] = round(float(cut if too_little else -cut), 2)
                break
    return found


def _wrong(looks: Looks, chosen: np.ndarray) -> float:
    """Share of wrong verdicts, both classes counting the same."""
    return float(np.mean([looks.wrong[chosen & (looks.labels == label)].mean() for label in (REAL, FAKE)]))


def beyond(looks: Looks, found: dict[str, float]) -> np.ndarray:
    """(m,) bool: which views cannot be judged by these bounds."""
    out = np.zeros(len(looks.ways), bool)
    for at, (name, (too_little, _)) in enumerate(WORDS.items()):
        if name in found:
            values = looks.evidence[:, at]
            out |= values < found[name] if too_little else values > found[name]
    return out
