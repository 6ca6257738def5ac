"""What the server says: of an image, of a detector, of itself. Everything about a detector is read from its file."""

import base64
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from appconfig import ENVELOPE_BYTES, MEDIA_TYPES, Config
from detector import Detector, ModelError, Verdict
from detector.answer import answer as picture_answer
from detector.answer import thresholds
from imaging.door import MAX_ASPECT, MAX_BYTES, MAX_PIXELS, MIN_SIDE, Picture
from imaging.kinds import EXTENSIONS
from names import VALIDATED

if TYPE_CHECKING:
    from judging.explain import Explanation

OVERLAY_SIDE = 1024  # pixels, at most, of the heat map that is sent
CARD_FIELDS = {"date": str, "data": list, "metrics": list, "confusion_matrix": dict, "weak_spots": list}
_LONGEST = 300  # characters of a text that is passed on from a model file


def answer(
    detector: Detector, name: str, picture: Picture, verdict: Verdict, explanation: "Explanation | None"
) -> dict:
    """What `predict.py --json` writes of an image, with `message` and, where it was asked for, the heat map."""
    said = picture_answer(detector, name, picture, verdict) | {"message": verdict.verdict}
    if explanation is not None:
        said |= {"heatmap": data_url(explanation.overlay), "heatmap_sentence": explanation.sentence}
    return said


def data_url(image: Image.Image) -> str:
    """An RGB image as an address that a page can show."""
    shown, file = image.convert("RGB"), io.BytesIO()
    shown.thumbnail((OVERLAY_SIDE, OVERLAY_SIDE))
    shown.save(file, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def limits(config: Config) -> dict:
    """/api/config: what may be sent, so that a page can say so before it sends anything."""
    return {
        "field": "file",
        "media_types": list(MEDIA_TYPES),
        "extensions": sorted(EXTENSIONS),
        "max_bytes": MAX_BYTES,
        "max_body_bytes": MAX_BYTES + ENVELOPE_BYTES,
        "max_pixels": MAX_PIXELS,
        "min_side": MIN_SIDE,
        "max_aspect": MAX_ASPECT,
        "requests_per_minute": config.rate or None,
    }


def describe(detector: Detector, name: str, *, explains: bool) -> dict:
    """/api/model: what is known of a detector; null where its file does not say."""
    metadata, training = detector.metadata, Said(detector.metadata.training)
    card = read_card(detector.path)
    return {
        "name": name,
        "arch": metadata.arch,
        "sha256": detector.sha256,
        "input": {"size": metadata.preprocess.size, "fit": metadata.preprocess.fit, "frame": metadata.preprocess.frame},
        "thresholds": thresholds(detector),
        "calibrated": metadata.calibration.fitted_on is not None,
        "explains": explains,
        "date": card.get("date") or training.text("started"),
        "epoch": training.number("epoch"),
        "git_commit": training.text("git_commit"),
        "pretrained": training.part("settings").text("pretrained"),
        "recipe": training.part("arguments").text("recipe"),
        "data": {part: of_data(training.part("data").part(part)) for part in ("Train", "Validation")},
        "data_notes": card.get("data"),
        "validation": validated(training),
        "metrics": card.get("metrics"),
        "confusion_matrix": card.get("confusion_matrix"),
        "weak_spots": card.get("weak_spots"),
        "sentences": sentences(detector, training),
    }


class Said:
    """A dictionary out of a model file, which may hold anything: what is of another type than expected is not there."""

    def __init__(self, fields: object):
        self.fields = fields if isinstance(fields, dict) else {}

    def text(self, name: str) -> str | None:
        value = self.fields.get(name)
        return value[:_LONGEST] if isinstance(value, str) else None

    def number(self, name: str) -> float | int | None:
        value = self.fields.get(name)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def part(self, name: str) -> "Said":
        return Said(self.fields.get(name))


def of_data(part: Said) -> dict | None:
    count = part.number("n")
    return None if count is None else {"n": count, "digest": part.text("digest")}


def validated(training: Said) -> dict | None:
    """The figures of the epoch that was kept."""
    row = training.part("validation")
    figures = {name: row.number(f"val_{name}") for name in VALIDATED}
    if all(figure is None for figure in figures.values()):
        return None
    return {"n": training.part("data").part("Validation").number("n")} | figures


def sentences(detector: Detector, training: Said) -> list[str]:
    """What a reader should know before believing a verdict."""
    return [*_about_training(training), *_about_validation(training), *detector.metadata.calibration.notes()]


def _about_training(training: Said) -> list[str]:
    assumed = training.text("assumed")
    if assumed:
        return [f"Its file does not say what it was trained on; assumed were {assumed}."]
    data = training.part("data")
    trained, chosen = (data.part(part).number("n") for part in ("Train", "Validation"))
    if trained is None:
        return ["Its file does not say what it was trained on."]
    pretrained = training.part("settings").text("pretrained")
    starts = {"none": "from scratch", "imagenet": "from ImageNet weights", None: "from an unknown start"}
    said = f"Trained {starts.get(pretrained, 'from given weights')} on {trained:,} images"
    said += f"; chosen by how it did on {chosen:,} others." if chosen is not None else "."
    return [said, "Fakes of other kinds than those it was trained on may get any score."]


def _about_validation(training: Said) -> list[str]:
    row = validated(training) or {}
    if row.get("auc") is None or row.get("accuracy") is None:
        return []
    figures = f"AUC {row['auc']:.3f}, accuracy {row['accuracy']:.3f}"
    return [f"On those {row['n'] or 'Validation'} images: {figures}. They chose it, so these figures flatter it."]


def read_card(path: Path) -> dict:
    """The model card beside a model file, best.card.json for best.onnx; {} where there is none. Raises ModelError."""
    file = path.with_suffix(".card.json")
    try:
        card = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file}: the model card cannot be read ({type(error).__name__})") from error
    if not isinstance(card, dict):
        raise ModelError(f"{file}: the model card is no JSON object")
    for name, kind in CARD_FIELDS.items():
        if not isinstance(card.get(name), kind | None):
            raise ModelError(f"{file}: {name} must be a {kind.__name__}")
    return card
