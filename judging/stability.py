"""Whether a verdict survives what happens to pictures on their way: saved again, resized, cropped, mirrored.

    found = stability(detector, picture)             # found.scores: {"jpeg-75": 0.71, ...}, found.flips
    verdict = steady(detector.judge(picture), found)     # Unsure, with a note, where it flips

None of CHANGES touches what makes a picture real or fake, so a detector that calls the same picture Real once and Fake
another time has shown that it does not know. Needs NumPy and Pillow only.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image, ImageOps

from detector import Detector, Verdict
from imaging.corruptions import centre, jpeg, rescale, webp
from imaging.door import Picture
from names import CLASSES, FAKE, REAL, UNSURE, percent

WEBP_SIDE = 16383  # pixels: no WebP is longer


def _as_webp(image: Image.Image) -> Image.Image:
    """Saved as WebP, at the quality that its encoder takes by itself; reduced first where it is too long for one."""
    return webp(image if max(image.size) <= WEBP_SIDE else rescale(image, WEBP_SIDE / max(image.size)), 75)


# Functions of modules, not lambdas: they also travel to loading processes.
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg-75": partial(jpeg, quality=75),
    "jpeg-50": partial(jpeg, quality=50),
    "scale-0.75": partial(rescale, factor=0.75),
    "crop-0.9": partial(centre, share=0.9),  # five hundredths off each side
    "flip": ImageOps.mirror,
    "webp-75": _as_webp,
}


@dataclass(frozen=True)
class Stability:
    """What a detector says of a picture after each of CHANGES."""

    scores: dict[str, float | None]  # P(fake), 0 to 1; None: nothing was left to judge, no face, say
    low: float | None  # lowest score, that of the unchanged picture included; None where it has none
    high: float | None  # highest
    flips: bool  # whether both Real and Fake were said of the picture; Unsure contradicts neither


def stability(detector: Detector, picture: Picture, verdict: Verdict | None = None) -> Stability:
    """Judge a picture after each of CHANGES, faces found anew, as if each had been sent in.

    verdict: what the detector says of the picture as it is, where that is known already. Without a score, there is
    nothing to compare, and nothing is judged. Raises ModelError.
    """
    verdict = verdict or detector.judge(picture)
    if verdict.score is None:
        return Stability(dict.fromkeys(CHANGES), None, None, False)
    again = {name: detector.judge(replace(picture, image=change(picture.image))) for name, change in CHANGES.items()}
    scores = {name: changed.score for name, changed in again.items()}
    known = [verdict.score, *(score for score in scores.values() if score is not None)]
    said = {verdict.verdict, *(changed.verdict for changed in again.values())}
    return Stability(scores, min(known), max(known), set(CLASSES) <= said)


def steady(verdict: Verdict, found: Stability) -> Verdict:
    """The verdict, or Unsure where it flips, with the range of scores in a note; the score stays.

    So do faces that had the picture's verdict become Unsure: it is one of them that flips. Where a change leaves the
    detector nothing to judge, a note says so.
    """
    notes = list(verdict.notes)
    if found.flips:
        goes = f"the score goes from {percent(found.low)} to {percent(found.high)}"
        notes.append(f"Unsure: {goes} when the picture is saved again, resized, cropped or mirrored")
    lost = [name for name, score in found.scores.items() if score is None] if verdict.score is not None else []
    if lost:
        notes.append(f"nothing to judge is found any more after {', '.join(lost)}")
    if not found.flips:
        return replace(verdict, notes=tuple(notes))
    faces = tuple(replace(f, verdict=UNSURE) if f.verdict == verdict.verdict else f for f in verdict.faces)
    return replace(verdict, verdict=UNSURE, notes=tuple(notes), faces=faces)


def unstable(said: np.ndarray) -> np.ndarray:
    """(k + 1, n) words, the verdicts of n pictures as they are and after k changes, to (n,) bool: which of them flip.

    One that flips has been called Real and Fake.
    """
    return (said == CLASSES[FAKE]).any(0) & (said == CLASSES[REAL]).any(0)
