"""One image, three doors: loader, evaluation and command line see the same bits and say the same score."""

import csv
import importlib
import json

import numpy as np
import pytest
from conftest import make_image

import predict
from dataset import DeepFakeDataset
from detector import Detector, load
from evaluation.scoring import score_index
from imaging.door import open_image


class Spy:
    """A backend that keeps what it was given; its logits depend on every pixel."""

    def __init__(self):
        self.seen = []

    def __call__(self, batch):
        batch = np.asarray(batch)
        self.seen += list(batch)
        return np.stack([batch.mean((1, 2, 3)), batch.std((1, 2, 3))], 1)


@pytest.fixture
def mixed_set(tmp_path):
    """Formats, modes and sizes that a careless second implementation would prepare differently."""
    for label, name in enumerate(("Real", "Fake")):
        folder = tmp_path / "set" / name
        folder.mkdir(parents=True)
        image = make_image(bool(label), 3, 100)
        image.save(folder / "a.jpg", quality=80)
        image.resize((90, 40)).save(folder / "b.png")  # smaller than the network's input
        image.convert("L").save(folder / "c.webp", quality=70)
        image.convert("RGBA").resize((130, 99)).save(folder / "d.tif")
        sideways = image.resize((120, 80)).getexif()
        sideways[0x0112] = 6
        image.resize((120, 80)).save(folder / "e.jpg", exif=sideways)
    return tmp_path / "set"


def test_bit_identical_tensors_through_three_doors(mixed_set, trained):
    metadata = load(trained / "best.safetensors").metadata
    images = DeepFakeDataset(mixed_set, metadata.preprocess)
    evaluation, command = Spy(), Spy()
    score_index({"spy": Detector(evaluation, metadata, "spy")}, images.index, workers=0, batch_size=3)
    for sample in images.samples:
        predict.predict_image(sample.path, Detector(command, metadata, "spy"))
    assert len(images) == len(evaluation.seen) == len(command.seen) == 10
    for i, (tensor, _) in enumerate(images):
        assert np.array_equal(tensor.numpy(), evaluation.seen[i])
        assert np.array_equal(tensor.numpy(), command.seen[i])


@pytest.mark.usefixtures("unrendered")
def test_scores_agree_between_eval_and_predict(mixed_set, decided, tmp_path, capsys):
    given = ("--models", decided, "--data", mixed_set, "--out", tmp_path / "out", "--workers", 2)
    assert importlib.import_module("eval").main_eval(list(map(str, given))) == 0
    capsys.readouterr()
    with (tmp_path / "out/decided/predictions.csv").open() as file:
        there = {row["path"]: float(row["score"]) for row in csv.DictReader(file)}
    assert predict.main([str(mixed_set), "--model", str(decided), "--json"]) == 0
    here = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(here) == len(there) == 10
    for answer in here:
        name = answer["file"].removeprefix(f"{mixed_set}/")
        assert answer["score"] == pytest.approx(there[name], abs=1e-5)
    assert len({round(score, 6) for score in there.values()}) > 5  # the agreement is not that of a constant


def test_one_image_is_opened_once_however_many_detectors(mixed_set, trained, monkeypatch):
    metadata = load(trained / "best.safetensors").metadata
    opened = []
    monkeypatch.setattr("indexing.open_image", lambda path: opened.append(path) or open_image(path))
    detectors = {name: Detector(Spy(), metadata, name) for name in ("a", "b", "c")}
    index = DeepFakeDataset(mixed_set).index
    opened.clear()
    score_index(detectors, index)
    assert len(opened) == len(index.samples)


def test_eval_names_are_those_of_the_original():
    evaluation = importlib.import_module("eval")  # `import eval` would hide the builtin
    assert all(callable(getattr(evaluation, name)) for name in ("main_eval", "load_model", "evaluate_and_visualize"))
