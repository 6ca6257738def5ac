"""Does a verdict survive harmless changes? Each rule, with detectors whose answers are known."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_image
from PIL import Image

from detector import Detector, FaceVerdict, Metadata, Verdict, load
from detector.calibration import Calibration
from imaging.door import Picture
from imaging.faces import Face
from imaging.preprocess import Preprocess
from judging import stability as rules
from judging.stability import CHANGES, Stability, stability, steady, unstable

BAND = Calibration(unsure=(0.4, 0.6))


class Brightness:
    """A backend whose score is the brightness of the picture, 0 to 1."""

    def __call__(self, batch):
        grey = np.clip(batch.mean((1, 2, 3)), 1e-6, 1 - 1e-6)
        return np.stack([np.zeros_like(grey), np.log(grey / (1 - grey))], 1)


def brightness(calibration: Calibration = BAND, **preparation) -> Detector:
    spec = Preprocess(32, mean=(0, 0, 0), std=(1, 1, 1), **preparation)
    return Detector(Brightness(), Metadata("tiny", spec, calibration), "brightness")


def plain(score: float, size: tuple[int, int] = (64, 64)) -> Picture:
    return Picture(Image.new("RGB", size, (round(255 * score),) * 3), "PNG", ())


def becoming(*scores: float):
    """Changes after which the picture has these scores."""
    return {str(i): lambda image, score=score: plain(score, image.size).image for i, score in enumerate(scores)}


def test_the_six_changes_are_harmless_and_real():
    assert list(CHANGES) == ["jpeg-75", "jpeg-50", "scale-0.75", "crop-0.9", "flip", "webp-75"]
    image = make_image(True, 1, 200).crop((0, 0, 200, 160))
    sizes = {name: change(image).size for name, change in CHANGES.items()}
    assert sizes == dict.fromkeys(CHANGES, (200, 160)) | {"scale-0.75": (150, 120), "crop-0.9": (180, 144)}
    before = np.asarray(image.resize((40, 32)), float)
    for name, change in CHANGES.items():
        changed = change(image)
        assert changed.mode == "RGB" and changed.tobytes() != image.tobytes()
        if name not in ("flip", "crop-0.9"):
            assert np.abs(np.asarray(changed.resize((40, 32)), float) - before).mean() < 6
    assert CHANGES["flip"](CHANGES["flip"](image)).tobytes() == image.tobytes()
    assert CHANGES["crop-0.9"](image).tobytes() == image.crop((10, 8, 190, 152)).tobytes()


def test_the_changes_travel_to_loading_processes():
    assert list(pickle.loads(pickle.dumps(CHANGES))) == list(CHANGES)


def test_a_picture_longer_than_any_webp():
    assert CHANGES["webp-75"](Image.new("RGB", (17000, 900))).width == 16383


RULES = {  # score as it is, scores after changes, whether it flips, the verdict in the end; Unsure from 0.4 to 0.6
    "stays fake": (0.9, (0.8, 0.95), False, "Fake"),
    "stays real": (0.1, (0.2, 0.05), False, "Real"),
    "fake, then real": (0.9, (0.8, 0.2), True, "Unsure"),
    "real, then fake": (0.1, (0.7,), True, "Unsure"),
    "unsure contradicts nothing": (0.9, (0.5, 0.45), False, "Fake"),
    "unsure stays unsure": (0.5, (0.9, 0.8), False, "Unsure"),
    "unsure, then both": (0.5, (0.9, 0.1), True, "Unsure"),
}


@pytest.mark.parametrize("name", RULES)
def test_what_flips(name, monkeypatch):
    score, after, flips, word = RULES[name]
    monkeypatch.setattr(rules, "CHANGES", becoming(*after))
    detector, picture = brightness(), plain(score)
    verdict = detector.judge(picture)
    found = stability(detector, picture)
    assert list(found.scores.values()) == pytest.approx(after, abs=0.01) and found.flips == flips
    assert (found.low, found.high) == pytest.approx((min(score, *after), max(score, *after)), abs=0.01)
    final = steady(verdict, found)
    assert (final.verdict, final.score) == (word, verdict.score)
    said = [note for note in final.notes if note.startswith("Unsure: the score goes from")]
    assert bool(said) == flips
    if flips:
        low, high = (f"{100 * value:.0f} %" for value in (found.low, found.high))
        assert f"from {low} to {high} when the picture is saved again" in said[0]
    every = np.array([[score], *([value] for value in after)])
    assert unstable(words(every, BAND)).tolist() == [flips]  # the rule of many pictures is the rule of one


def test_the_known_verdict_is_not_judged_again(monkeypatch):
    detector, picture = brightness(), plain(0.9)
    verdict, judge, calls = detector.judge(picture), detector.judge, []
    monkeypatch.setattr(detector, "judge", lambda one: calls.append(one) or judge(one))
    assert stability(detector, picture, verdict) == stability(detector, picture)
    assert len(calls) == 6 + 7


def test_faces_are_found_anew_and_one_that_is_lost_is_said(monkeypatch):
    detector, sizes = brightness(frame="face"), []
    face = Face((50.0, 50.0, 100.0, 100.0), ((0.0, 0.0),) * 5, 0.9)

    def find(image):
        sizes.append(image.size)
        return ((face,), 1) if image.width == 200 else ((), 0)

    monkeypatch.setattr(detector, "find_faces", find)
    picture = plain(0.9, (200, 200))
    found = stability(detector, picture)
    assert len(sizes) == 7 and {(150, 150), (180, 180)} <= set(sizes)
    assert {name for name, score in found.scores.items() if score is None} == {"scale-0.75", "crop-0.9"}
    final = steady(detector.judge(picture), found)
    assert final.verdict == "Fake" and not found.flips
    assert final.notes[-1] == "nothing to judge is found any more after scale-0.75, crop-0.9"


def test_without_a_score_nothing_is_compared(monkeypatch):
    detector = brightness(frame="face")
    monkeypatch.setattr(detector, "find_faces", lambda image: ((), 0))
    picture = plain(0.9, (200, 200))
    verdict, found = detector.judge(picture), stability(detector, picture)
    assert verdict.score is None
    assert found == Stability(dict.fromkeys(CHANGES), None, None, False)
    assert steady(verdict, found) == verdict


def test_faces_that_had_the_verdict_become_unsure():
    faces = tuple(FaceVerdict((0.0, 0.0, 60.0, 60.0), score, word) for score, word in ((0.9, "Fake"), (0.1, "Real")))
    verdict = Verdict("Fake", 0.9, ("a note",), faces)
    final = steady(verdict, Stability({"flip": 0.2}, 0.2, 0.9, True))
    assert [face.verdict for face in final.faces] == ["Unsure", "Real"]
    assert final.notes[0] == "a note" and [face.score for face in final.faces] == [0.9, 0.1]
    assert steady(verdict, Stability({"flip": 0.8}, 0.8, 0.9, False)) == verdict


def words(scores: np.ndarray, calibration: Calibration) -> np.ndarray:
    """(k, n) scores to the verdicts of pictures with one face each; NaN: there is none."""
    return np.array([[calibration.picture(score, 1)[0] for score in row] for row in scores], object)


def test_unstable_of_many_pictures():
    scores = np.array([[0.9, 0.1, 0.5, 0.9, np.nan], [0.2, 0.2, 0.5, np.nan, np.nan], [0.9, 0.3, 0.1, 0.8, 0.2]])
    assert unstable(words(scores, BAND)).tolist() == [True, False, False, False, False]
    low = Calibration(threshold=0.5, unsure=(0.15, 0.5))
    assert unstable(words(scores, low)).tolist() == [False, False, True, False, False]
    said = words(scores, BAND)
    said[scores == 0.2] = "Unsure"
    assert unstable(said).tolist() == [False] * 5
    assert unstable(np.empty((7, 0), object)).shape == (0,)


def test_a_trained_detector_gives_the_scores_of_the_changed_pictures(trained):
    detector, picture = load(trained / "best.safetensors", device="cpu"), Picture(make_image(True, 5), "PNG", ())
    found = stability(detector, picture)
    by_hand = {name: detector.judge(replace(picture, image=f(picture.image))).score for name, f in CHANGES.items()}
    assert found.scores == by_hand and len(set(by_hand.values())) == 6
