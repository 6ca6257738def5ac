"""How much there is to see in a framed face: blurred, noisy or dark beyond a point, it shows no traces of anything.

    found = measure(preprocess.view(picture.image, box))         # Evidence(sharpness=-29.5, noise=0.4, light=213.0)
    lacking(found, {"sharpness": -42.0, "noise": 9.0})           # None, or "too blurred to judge"

Which values are too low or too high depends on the detector: `python -m tools.evidence` measures where its verdicts
become unreliable, and stores the bounds with it. Pillow and NumPy only; about two milliseconds a face.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

SIDE = 224  # pixels at which a view is measured, so that a bound means the same for networks of all inputs
COARSE, FINE = (4, 8), (32, 48)  # cycles across the view

# Of each measure: whether too little of it is the trouble (else too much), and what is said then.
WORDS = {
    "sharpness": (True, "too blurred, or enlarged from too small a picture, to judge"),
    "noise": (False, "too noisy to judge"),
    "light": (True, "too dark to judge"),
}


@dataclass(frozen=True)
class Evidence:
    """What can be seen of a face, on its grey view at SIDE pixels.

    sharpness: power at FINE cycles against that at COARSE ones, decibels. Brightness and contrast do not change it. Of
        faces in focus -37 to -27; enlarged from 48 pixels about -41, blurred by two of 224 pixels about -48.
    noise: standard deviation of the noise, grey levels (Immerkaer 1996, "Fast Noise Variance Estimation").
    light: the brightness that a tenth of its pixels exceed, grey levels.
    """

    sharpness: float
    noise: float
    light: float


def measure(view: Image.Image, side: float = SIDE) -> Evidence:
    """What can be seen in a view (RGB, of any size).

    side: of what it shows, in pixels of the picture. Where that is less than SIDE, the view is enlarged and its noise
    is smooth; so the noise is measured at the picture's own size.
    """
    grey = view.convert("L")
    if grey.size != (SIDE, SIDE):
        grey = grey.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    pixels = np.asarray(grey, np.float32)
    power = np.abs(np.fft.rfft2((pixels - pixels.mean()) * _WINDOW)) ** 2
    coarse, fine = power[_COARSE].mean(), power[_FINE].mean()
    sharpness = 10 * np.log10((fine + 1e-9) / (coarse + 1e-9))
    own = max(8, min(SIDE, round(side)))
    grain = pixels if own == SIDE else np.asarray(grey.resize((own, own), Image.Resampling.NEAREST), np.float32)
    return Evidence(float(sharpness), _noise(grain), float(np.quantile(pixels, 0.9)))


def lacking(found: Evidence, bounds: Mapping[str, float] | None) -> str | None:
    """Why a face cannot be judged, in words; None where no bound is passed, or there is none."""
    for name, bound in (bounds or {}).items():
        too_little, words = WORDS[name]
        if (getattr(found, name) < bound) if too_little else (getattr(found, name) > bound):
            return words
    return None


def _ring(low: int, high: int) -> np.ndarray:
    """(SIDE, SIDE // 2 + 1) bool: where a spectrum has from `low` to below `high` cycles across the view."""
    radius = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]) * SIDE
    return (radius >= low) & (radius < high)


_COARSE, _FINE = _ring(*COARSE), _ring(*FINE)
_WINDOW = np.outer(np.hanning(SIDE), np.hanning(SIDE)).astype(np.float32)  # else the view's edges would count as detail


def _noise(pixels: np.ndarray) -> float:
    """Standard deviation of the noise in (h, w) float32: the mean answer to a mask that no plane or edge along an axis
    answers to, [1 -2 1] down times [1 -2 1] across.
    """
    rows = pixels[:-2] - 2 * pixels[1:-1] + pixels[2:]
    answers = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(answers).mean())
