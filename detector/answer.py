"""What programs are told of a picture: the same from predict.py --json and from the server, as docs/api.md has it."""

from dataclasses import asdict

from detector import Detector, Verdict
from imaging.door import Picture


def answer(detector: Detector, name: str, picture: Picture, verdict: Verdict) -> dict:
    """Plain types for JSON. name: of the detector, as the reader of the answer knows it."""
    width, height = picture.image.size
    return {
        "verdict": verdict.verdict,
        "score": verdict.score,
        "faces": [asdict(face) for face in verdict.faces],
        "rule": verdict.rule and asdict(verdict.rule),
        "image": {"width": width, "height": height, "format": picture.format},
        "notes": [*verdict.notes, *detector.metadata.calibration.notes()],
        "thresholds": thresholds(detector),
        "model": {"name": name, "arch": detector.metadata.arch, "sha256": detector.sha256},
    }


def thresholds(detector: Detector) -> dict:
    """Where a score is Unsure, and where it counts as Fake if it must be one or the other."""
    calibration = detector.metadata.calibration
    return {"fake": calibration.threshold, "unsure": calibration.band and list(calibration.band)}
