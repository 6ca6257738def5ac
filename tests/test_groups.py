"""Montages of genuine faces, and how often they are called Fake."""

import csv

import numpy as np
import pytest
import skimage.data
from PIL import Image

from detector import Detector
from detector.backend import Backend
from detector.calibration import Calibration
from detector.checkpoint import Metadata
from imaging.preprocess import Preprocess
from tools import groups


class Brightness(Backend):
    """Lighter faces look more like fakes."""

    concurrent = True

    def __call__(self, batch) -> np.ndarray:
        margin = 20 * batch.mean((1, 2, 3))
        return np.stack([-margin, margin], 1).astype(np.float32)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("people")
    face = Image.fromarray(skimage.data.astronaut()).crop((140, 10, 320, 190)).resize((224, 224))
    for label, lights in (("Real", np.linspace(0.5, 0.7, 16)), ("Fake", (1.6, 1.7))):
        (root / label).mkdir()
        for number, light in enumerate(lights):
            face.point(lambda value, light=light: min(255, value * light)).save(root / label / f"{number}.png")
    return root


def test_montages_are_found_and_judged_as_groups(root, monkeypatch, tmp_path, capsys):
    calibration = Calibration(rarity=((0.0, 1.0), (0.5, 0.05), (0.6, 0.0001)))
    judge = Detector(Brightness(), Metadata("tiny", Preprocess(size=64, frame="face"), calibration), "x")
    monkeypatch.setattr(groups, "load", lambda *args, **options: judge)
    table = tmp_path / "groups.csv"
    assert groups.main(["x.onnx", "--data", str(root), "--montages", "2", "--csv", str(table)]) == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(int(row["images"]), int(row["fakes"])) for row in rows] == [(n, f) for f in (0, 1) for n in groups.SIZES]
    for row in rows:
        assert float(row["faces_found"]) == pytest.approx(float(row["images"]), rel=0.15)
        assert float(row["called_fake"]) == float(row["a_face_called_fake"]) == int(row["fakes"])
    assert "a face called fake" in capsys.readouterr().out


def test_a_detector_of_whole_pictures_is_refused(trained, small_set, capsys):
    assert groups.main([str(trained / "best.safetensors"), "--data", str(small_set / "Test")]) == 3
    assert "it judges whole pictures" in capsys.readouterr().err
