"""The detector that ships: its files, its score through every door, and what its card says of it."""

import json

import numpy as np
import pytest
from conftest import ROOT, run
from server_world import form, part

import predict
from appconfig import Config
from bench import Models, model_files
from dataset import DeepFakeDataset
from detector import DEFAULT_MODEL, load
from detector import shipped as named
from detector.calibration import Calibration
from evaluation.scoring import score_index
from imaging.door import open_image
from imaging.listing import list_pictures
from indexing import index_folder, with_faces
from judging.explain import can_explain
from names import FAKE, REAL
from reports import card, pages
from webapp import create_app

CHECKPOINT = DEFAULT_MODEL.with_suffix(".safetensors")
FACES = sorted(path for path in list(list_pictures(ROOT / "samples").pictures) if "no-face" not in path.parts)
EQUAL = 1e-4


@pytest.fixture(scope="module")
def shipped():
    return load(DEFAULT_MODEL, device="cpu", threads=1)


def test_a_detector_that_ships_has_a_name(tmp_path, monkeypatch):
    assert named("default") == str(DEFAULT_MODEL)
    assert load(named("default")).metadata == load(DEFAULT_MODEL).metadata
    for other in ("unknown", "models/default.onnx", "/default", "", "a b", str(DEFAULT_MODEL)):
        assert named(other) == other
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").mkdir()
    assert named("default") == "default"  # what is there goes first


def test_its_files(shipped):
    assert DEFAULT_MODEL.stat().st_size <= 25e6
    assert can_explain(shipped)
    assert shipped.metadata == load(CHECKPOINT, device="cpu").metadata
    assert shipped.metadata.preprocess.frame == "face"


def test_it_is_calibrated_on_its_validation_images(shipped):
    calibration, training = shipped.metadata.calibration, shipped.metadata.training
    where = training["calibrated_on"]  # its Validation, and photographs of other collections
    assert calibration.fitted_on == where["digest"] and calibration != Calibration()
    assert where["n"] - 10 < calibration.n <= where["n"]  # less those without a face
    assert {"Real/dfdc", "Real/stylegan", "Real/ffhq", "Real/studio", "Real/unsplash"} < set(where["sources"])
    low, high = calibration.unsure
    assert 0 < low <= calibration.threshold == 0.5 <= high < 1
    assert calibration.threshold <= calibration.threshold_fpr_5 <= calibration.threshold_fpr_1
    assert not any(
        "/" == str(value)[:1] for value in training["arguments"].values()
    )  # no path of the machine it is from


def test_one_score_through_every_door(shipped, tmp_path):
    """Checkpoint and export, loader, evaluation, command line and server."""
    expected = {path: shipped.judge(open_image(path)).score for path in FACES}
    assert len(FACES) == 13 and len({round(score, 3) for score in expected.values()}) > 5

    checkpoint = load(CHECKPOINT, device="cpu")
    for path, score in expected.items():
        assert checkpoint.judge(open_image(path)).score == pytest.approx(score, abs=EQUAL), path
    view = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    maps = [detector.backend.class_map(view).ravel() for detector in (shipped, checkpoint)]
    assert np.ptp(maps[0]) > 0 and maps[0] == pytest.approx(maps[1], abs=1e-3)

    single = [path for path in FACES if path.name != "both.jpg"]  # a loader gives the largest face alone
    root = tmp_path / "set"
    for label, paths in (("Real", single[::2]), ("Fake", single[1::2])):
        for path in paths:
            (root / label).mkdir(parents=True, exist_ok=True)
            (root / label / path.name).write_bytes(path.read_bytes())
    index = with_faces(index_folder(root))
    judged = score_index({"onnx": shipped, "torch": checkpoint}, index)
    logits = {name: one.logits for name, one in judged.items()}
    preprocess = shipped.metadata.preprocess
    for i, sample in enumerate(index.samples):
        score = next(score for path, score in expected.items() if path.name == sample.path.name)
        for detector in ("onnx", "torch"):
            assert shipped.metadata.calibration.scores(logits[detector][i : i + 1])[0] == pytest.approx(
                score, abs=EQUAL
            )
        image, label = DeepFakeDataset(index, lambda image, face=index.found[i][0]: preprocess(image, face))[i]
        assert label in (REAL, FAKE)
        assert shipped.scores(np.asarray(image)[None])[0] == pytest.approx(score, abs=EQUAL)

    done = run("predict.py", *FACES, "--json")
    said = {answer["file"]: answer["score"] for answer in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0 and said == {
        str(path): pytest.approx(score, abs=EQUAL) for path, score in expected.items()
    }

    app = create_app(Models(model_files(str(DEFAULT_MODEL)), device="cpu"), Config())
    app.models.load(app.bench.prepare)
    for path, score in expected.items():
        body, headers = form(part(path.read_bytes(), filename=path.name))
        answer = app.test_client().post("/api/predict", data=body, headers=headers)
        assert answer.get_json()["score"] == pytest.approx(score, abs=EQUAL), path


def test_its_card_is_made_from_its_evaluations(tmp_path):
    """Made again, it says the same: no number in it was typed."""
    made = card.read(DEFAULT_MODEL, pages.gather(ROOT / "results" / "reference"))
    said = json.loads(DEFAULT_MODEL.with_suffix(".card.json").read_text())
    assert json.loads(json.dumps(card.as_json(made))) == said
    names = {one.set_name: one.role for one in made.found}
    assert names == {
        "dfdc/Test": pages.IN_DOMAIN,
        "stylegan/Test": pages.IN_DOMAIN,
        "portraits/Test": pages.IN_DOMAIN,
        "cifake": pages.FOREIGN,
    }


LARGE = DEFAULT_MODEL.with_name("large.onnx")


def test_the_large_one(tmp_path, capsys):
    """Its file, and one score from the command line, the server and evaluation."""
    assert LARGE.stat().st_size <= 95e6
    large = load(named("large"), threads=2)
    assert large.path == LARGE and can_explain(large) and large.metadata.arch == "clip_vit_b16_lite0"
    training = large.metadata.training
    assert training["calibrated_on"]["digest"] == large.metadata.calibration.fitted_on
    assert {"Fake/t2i", "Fake/assistants", "Fake/stylegan2"} <= set(training["left_out"])
    photo = ROOT / "samples/untouched/astronaut.jpg"
    verdict = large.judge(open_image(photo))
    assert verdict.verdict != "Fake" and 0 < verdict.score < 1
    assert predict.main([str(photo), "--model", "large", "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["score"] == pytest.approx(verdict.score, abs=EQUAL)
    app = create_app(Models(model_files(str(LARGE)), device="cpu"), Config())
    app.models.load(app.bench.prepare)
    body, headers = form(part(photo.read_bytes(), filename=photo.name))
    answer = app.test_client().post("/api/predict", data=body, headers=headers)
    assert answer.get_json()["score"] == pytest.approx(verdict.score, abs=EQUAL)
    for name in ("Real", "Fake"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(photo.read_bytes())
    index = with_faces(index_folder(tmp_path)).subset([0])
    logits = score_index({"x": large}, index)["x"].logits
    assert large.metadata.calibration.scores(logits)[0] == pytest.approx(verdict.score, abs=EQUAL)
