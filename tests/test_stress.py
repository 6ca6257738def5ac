"""Robustness and the re-encode test: the rule on scores made by hand, and the whole way on small worlds."""

import csv
import io
import json
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import skimage.data
import torch
from conftest import make_image
from PIL import Image

import dataset
import indexing
from detector import Detector, ModelError
from detector.backend_torch import TorchBackend
from detector.calibration import Calibration
from detector.checkpoint import Metadata
from evaluation import metrics, stress
from evaluation.scoring import score_changes, score_index
from evaluation.stress import REENCODE, UNTOUCHED, assess, drop_interval, from_logits
from imaging.corruptions import CORRUPTIONS, blur, jpeg, noise, png
from imaging.door import open_image
from imaging.faces import FaceFinder
from imaging.preprocess import Preprocess
from model import create_model
from names import CLASSES
from ranks import Ranks
from reports import stress_files
from tools import robustness
from tools.benchmark import evaluate

N = 250
LABELS = np.repeat([0, 1], N)
ONLY = ("reencode",)


def scores_with(falls: dict[tuple[int, str], int], untouched: tuple[int, int] = (240, 240)) -> dict:
    """Scores with that many right verdicts of N in each class, less `falls` of them for (label, setting)."""
    keys = {"": UNTOUCHED, **REENCODE}
    return {
        key: np.concatenate(
            [
                np.where(np.arange(N) < untouched[label] - falls.get((label, setting), 0), label, 1 - label) * 0.6 + 0.2
                for label in (0, 1)
            ]
        )
        for setting, key in keys.items()
    }


def from_scores(labels, scores, threshold, *, only):
    """As if the network had given logits for which the plain calibration gives these scores."""
    logits = {key: np.stack([0 * part, np.log(part / (1 - part))], 1) for key, part in scores.items()}
    return from_logits(labels, logits, Calibration(threshold=threshold), only=only)


def judged(falls, labels=LABELS, **options) -> stress.Stress:
    scores = {key: values[np.isin(LABELS, np.unique(labels))] for key, values in scores_with(falls, **options).items()}
    return from_scores(labels, scores, 0.5, only=ONLY)


@pytest.mark.parametrize(
    ("falls", "reads_codec", "fragile"),
    [
        ({}, False, False),
        *[({(0, setting): 100}, True, False) for setting in REENCODE],  # Real, in any way
        *[({(1, setting): 100}, True, False) for setting in ("JPEG q95", "PNG")],
        *[({(1, setting): 100}, False, True) for setting in ("JPEG q75", "JPEG q50", "WebP q75")],
        ({(0, "JPEG q50"): 60, (1, "JPEG q50"): 60}, True, True),
        ({(0, "JPEG q50"): -10, (1, "JPEG q50"): -10}, False, False),  # recalls that rise
        ({(0, "JPEG q50"): 12}, False, False),  # 4.8 points
        ({(0, "JPEG q50"): 17}, False, False),  # 6.8 points, and yet its interval includes 5
        ({(0, "JPEG q50"): 30}, True, False),  # 12 points, interval from 7.6
    ],
)
def test_the_rule(falls, reads_codec, fragile):
    result = judged(falls)
    assert (result.reads_codec, result.fragile) == (reads_codec, fragile)
    found = [sentence.split(":")[0] for sentence in result.findings if "not found" not in sentence]
    assert found == ["Reads the codec"] * reads_codec + ["Fragile"] * fragile


def test_findings_are_sentences_with_the_numbers():
    one = judged({(0, "JPEG q50"): 120, (0, "WebP q75"): 60, (1, "JPEG q75"): 10})
    assert one.findings == [
        "Reads the codec: when only Real images are saved again, as JPEG q50, their recall falls from 96.0 % to 48.0 %,"
        " by 48.0 points (95 % interval 41.4 to 53.8, n = 250); also as WebP q75. Real images move +2.44 towards Fake,"
        " and Fake ones, saved so, +0.00, in deviations within a class.",
        "Fragile: not found. The largest fall in recall is that of Fake as JPEG q75: 4.0 points (95 % interval 1.4 to"
        " 6.5, n = 250); these images do not rule out more than 5.0.",
    ]
    assert judged({}).findings == [
        "Reads the codec: not found. No recall falls.",
        "Fragile: not found. No recall falls.",
    ]


def moved(real: float, fake: float, crossing: int = 30) -> stress.Stress:
    """Margins spread evenly, moved by so many deviations as JPEG q50; `crossing` Real ones then reach the threshold."""
    spread = np.linspace(-3, 3, N) / np.linspace(-3, 3, N).std(ddof=1)
    before = np.concatenate([spread, spread + 5])
    after = before + np.where(LABELS == 0, real, fake)
    threshold = 1 / (1 + np.exp(-np.append(np.sort(after[:N]), after[N - 1] + 0.1)[N - crossing]))
    scores = {key: 1 / (1 + np.exp(-before)) for key in (UNTOUCHED, *REENCODE.values())}
    return from_scores(LABELS, scores | {("jpeg", 50): 1 / (1 + np.exp(-after))}, threshold, only=ONLY)


@pytest.mark.parametrize(
    ("real", "fake", "crossing", "reads_codec"),
    [
        (0.4, 0.35, 60, False),  # the recall of Real falls by far more than 5 points, but Fake moves along: harm
        (0.4, 0.0, 60, True),
        (0.0, -2.0, 60, False),  # Fake alone moves: that is another finding
        (1.8, 0.1, 12, True),  # a threshold far from Real: few cross it, and yet they surely moved
        (1.8, 0.1, 0, False),  # none crosses
    ],
)
def test_real_must_move_farther_than_fake(real, fake, crossing, reads_codec):
    found = moved(real, fake, crossing)
    assert found.reads_codec is reads_codec
    row = next(row for row in found.reencode if (row["saved_again"], row["as"]) == ("Real", "JPEG q50"))
    assert (row["moves_real"], row["moves_fake"]) == pytest.approx((real, fake))
    assert row["apart_low"] == pytest.approx(min(real, real - fake))  # every image moves alike: no spread
    harm = not reads_codec and crossing == 60 and real > 0
    assert any("it is the harm, not the codec" in sentence for sentence in found.findings) == harm


def test_rows_of_the_reencode_test():
    scores = scores_with({(0, "JPEG q75"): 25, (1, "JPEG q75"): 50})
    rows = from_scores(LABELS, scores, 0.5, only=ONLY).reencode
    assert [row["saved_again"] for row in rows] == ["none"] + ["Real"] * 5 + ["Fake"] * 5 + ["both"] * 5
    by = {(row["saved_again"], row["as"]): row for row in rows}
    real, fake, both = (by[which, "JPEG q75"] for which in ("Real", "Fake", "both"))
    assert (real["recall_real"], real["recall_fake"]) == (pytest.approx(0.86), 0.96)
    assert (fake["recall_real"], fake["recall_fake"]) == (0.96, pytest.approx(0.76))
    assert (both["recall_real"], both["recall_fake"]) == (pytest.approx(0.86), pytest.approx(0.76))
    assert real["drop_real"] == both["drop_real"] == pytest.approx(0.1) and "drop_fake" not in real
    assert fake["drop_fake"] == both["drop_fake"] == pytest.approx(0.2) and "drop_real" not in fake
    assert rows[0]["auc"] > real["auc"] > both["auc"]  # scores of two values: an AUC is the mean of the recalls
    assert both["auc"] == pytest.approx((0.86 + 0.76) / 2)
    assert by["both", "PNG"] == rows[0] | {"saved_again": "both", "as": "PNG"} | {
        f"drop_{name}{end}": value
        for name in ("real", "fake")
        for end, value in (
            ("", 0.0),
            ("_low", pytest.approx(-0.0078, abs=1e-4)),
            ("_high", pytest.approx(0.0078, abs=1e-4)),
        )
    }


def test_the_stored_threshold_decides():
    scores = scores_with({(0, "JPEG q50"): 200})
    assert from_scores(LABELS, scores, 0.9, only=ONLY).reads_codec is False  # above it all: all are called Real
    assert from_scores(LABELS, scores, 0.9, only=ONLY).reencode[0]["recall_fake"] == 0


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only(label):
    """No warning (they are errors here), None where nothing is defined, no claim about the class that is missing."""
    absent, present = CLASSES[1 - label].lower(), CLASSES[label].lower()
    labels = LABELS[LABELS == label]
    result = judged({}, labels=labels)
    assert result.reads_codec is None and result.fragile is (False if present == "fake" else None)
    row = result.reencode[0]
    assert row["auc"] is row["auc_low"] is row[f"recall_{absent}"] is row[f"recall_{absent}_high"] is None
    assert row[f"n_{absent}"] == 0 and row[f"recall_{present}"] == 0.96
    assert not any(row["saved_again"].lower() == absent for row in result.reencode)
    assert result.findings[-1].startswith(f"There are no {CLASSES[1 - label]} images")
    assert judged({(label, "PNG"): 99}, labels=labels).reads_codec is True  # found is found


def test_paired_interval_is_that_of_its_source():
    """Agresti and Min's with half an image in each cell, worked out on the cells themselves."""
    before, after = np.repeat([1, 1, 0, 0], (60, 25, 10, 5)) == 1, np.repeat([1, 0, 1, 0], (60, 25, 10, 5)) == 1
    cells = np.array((60.5, 25.5, 10.5, 5.5)) / 102
    difference = cells[1] - cells[2]
    half = 1.959964 * np.sqrt((cells[1] + cells[2] - difference**2) / 102)
    assert drop_interval(before, after) == pytest.approx((difference - half, difference + half))


def test_paired_interval_holds_its_promise():
    """It covers the truth in about 95 of 100 draws, and is narrower than one that forgets the pairs."""
    draw, n, shares = np.random.default_rng(1), 150, (0.80, 0.10, 0.03, 0.07)
    covered, width = 0, []
    for cells in draw.multinomial(n, shares, 2000):
        before, after = np.repeat((True, True, False, False), cells), np.repeat((True, False, True, False), cells)
        low, high = drop_interval(before, after)
        covered += low <= 0.07 <= high
        width.append(high - low)
    assert 0.94 <= covered / 2000 <= 0.97
    unpaired = 2 * 1.96 * np.sqrt(0.9 * 0.1 / n + 0.83 * 0.17 / n)
    assert np.mean(width) < 0.8 * unpaired


@pytest.mark.parametrize(
    ("before", "after"), [([True], [False]), ([False], [True]), ([True], [True]), ([False] * 9, [True] * 9)]
)
def test_paired_interval_of_few_images(before, after):
    low, high = drop_interval(np.array(before), np.array(after))
    assert -1 <= low <= np.mean(before) - np.mean(after) <= high <= 1 and low < high


def test_quality_is_that_of_eval():
    draw = np.random.default_rng(0)
    labels, scores = draw.integers(0, 2, 80), draw.random(80)
    row, numbers = stress.quality(labels, scores, 0.4), metrics.summary(labels, scores, 0.4)
    for here, there in (
        ("auc", "auc"),
        ("recall_real", "recall_real"),
        ("recall_fake", "recall"),
        ("n_real", "n_real"),
    ):
        assert row[here] == pytest.approx(numbers[there])
    assert (row["auc_low"], row["auc_high"]) == metrics.auc_interval(labels, scores)
    assert row["recall_fake_low"] < row["recall_fake"] < row["recall_fake_high"]


# The scoring loop with changes.


class Mean:
    """A backend whose Fake logit is what `look` makes of each prepared image."""

    def __init__(self, look=lambda batch: batch.mean((1, 2, 3))):
        self.look, self.batches = look, []

    def __call__(self, batch):
        batch = np.asarray(batch)
        self.batches.append(len(batch))
        logits = self.look(batch)
        return np.stack([-logits, logits], 1).astype(np.float32)


def detector(backend=None, preprocess=None, calibration=None) -> Detector:
    preprocess = preprocess or Preprocess(48, "resize")
    return Detector(backend or Mean(), Metadata("tiny", preprocess, calibration or Calibration()), "test")


CHANGES = {
    "as it is": None,
    "blur": partial(blur, sigma=2),
    "png": png,
    "jpeg": partial(jpeg, quality=30),
}


@pytest.fixture(scope="module")
def index(small_set) -> indexing.Index:
    return indexing.index_folder(small_set / "Test")


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.arrays, other.arrays, strict=True))


def test_changes_are_judged_as_changed_files_would_be(index, tmp_path):
    detectors = {"a": detector(), "b": detector(preprocess=Preprocess(32, "crop"))}
    scored = score_changes(detectors, index, CHANGES)
    for name, change in CHANGES.items():
        root = tmp_path / name
        for sample in index.samples:
            path = root / sample.path.relative_to(index.root)
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.open(sample.path).convert("RGB")
            (image if change is None else change(image)).save(path)
        plain = score_index(detectors, indexing.index_folder(root))
        for who in detectors:
            assert scored[who][name].logits.shape == (16, 2)
            assert same(scored[who][name], plain[who])
    assert not same(scored["a"]["blur"], scored["a"]["jpeg"])
    assert same(scored["a"]["png"], scored["a"]["as it is"])


def test_workers_and_processes_change_nothing(index):
    changes = stress.changes_for(("noise", "challenge", "mirror"))
    alone = score_changes({"a": detector()}, index, changes)["a"]
    with_workers = score_changes({"a": detector()}, index, changes, workers=2)["a"]
    talk, said = Barrier(2, timeout=60), {}

    class OneOfTwo(Ranks):
        def gather(self, item):
            said[self.rank] = item
            talk.wait()
            return [said[0], said[1]]

    with ThreadPoolExecutor() as pool:
        answers = [
            pool.submit(score_changes, {"a": detector()}, index, changes, ranks=OneOfTwo(rank, 2)) for rank in (0, 1)
        ]
        shared = [answer.result()["a"] for answer in answers]
    assert len(said[0]["a"]) + len(said[1]["a"]) == 16 and min(map(len, (said[0]["a"], said[1]["a"]))) >= 6
    for key in changes:
        for other in (with_workers, *shared):
            assert same(alone[key], other[key])


def test_one_decoding_and_small_batches(index, monkeypatch):
    """However many detectors and changes: an image is opened once, and no batch grows with their number."""
    opened, backend = [], Mean()
    monkeypatch.setattr("indexing.open_image", lambda data: opened.append(data) or open_image(data))
    score_changes({"a": detector(backend), "b": detector(), "c": detector(preprocess=Preprocess(32))}, index, CHANGES)
    assert len(opened) == 16 and backend.batches == [32, 32]  # 8 images in 4 ways each
    backend.batches.clear()
    score_changes({"a": detector(backend)}, index, {number: None for number in range(100)})
    assert backend.batches == [64, 36] * 16


def test_a_detector_that_fails_holds_up_no_other(index):
    def fail_at_last(batch):
        return np.full(len(batch), np.nan if len(failing.backend.function.batches) > 1 else 0.0)

    failing = detector(Mean(fail_at_last))
    answers = assess({"bad": failing, "good": detector()}, index, only=("jpeg",))
    assert isinstance(answers["bad"], ModelError) and "non-finite" in str(answers["bad"])
    assert [row["n_real"] for row in answers["good"].robustness] == [8] * 7


def test_faces_are_found_anew_in_changed_pictures(tmp_path):
    """Shifted by a crop, a face is framed where it is now; where none is found any more, nothing is judged."""
    astronaut = Image.fromarray(skimage.data.astronaut())
    for name, image in (("Real", astronaut.crop((60, 0, 400, 340))), ("Fake", make_image(True, 1, 100))):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "0.png")
    index = indexing.with_faces(indexing.index_folder(tmp_path))
    spec, seen = Preprocess(64, frame="face"), []
    judge = detector(Mean(lambda batch: seen.extend(batch) or batch.mean((1, 2, 3))), spec)
    moved, grey = lambda image: image.crop((40, 30, *image.size)), lambda image: Image.new("RGB", image.size)
    said = score_changes({"a": judge}, index, {"none": None, "moved": moved, "grey": grey})["a"]
    image = index.picture(0).image
    again = FaceFinder()(moved(image))[0]
    assert len(index.found[0]) == len(again) == 1 and len(seen) == 2
    assert np.array_equal(seen[0], spec(image, index.found[0][0]))
    assert np.array_equal(seen[1], spec(moved(image), again[0]))
    assert np.abs(seen[1] - seen[0]).mean() < 0.1 < np.abs(spec(moved(image)) - seen[0]).mean()  # the same face
    assert np.isnan(said["grey"].logits).all() and said["grey"].faces.tolist() == [0, 0]


# Whole detectors.


def test_a_planted_codec_is_found_and_an_honest_trace_is_not(tmp_path):
    """One network learns what JPEG leaves, the other lines that survive it; made, trained and stressed alike."""
    verdicts = {}
    for name, plant, lines in (("planted", 30, False), ("honest", None, True)):
        for split, count in (("Train", 40), ("Test", 60)):
            write_images(tmp_path / name / split, count, plant=plant, lines=lines)
        judge = learned(indexing.index_folder(tmp_path / name / "Train"))
        [verdicts[name]] = assess({name: judge}, indexing.index_folder(tmp_path / name / "Test"), only=ONLY).values()
        assert verdicts[name].reencode[0]["auc"] > 0.95  # it works, on its own Test
    assert (
        verdicts["planted"].reads_codec and "when only Real images are saved again" in verdicts["planted"].findings[0]
    )
    assert verdicts["honest"].reads_codec is False and verdicts["honest"].fragile is False


def write_images(folder: Path, count: int, *, plant: int | None, lines: bool) -> None:
    """Noise, in Real and Fake alike; Fake has lines on it, or was once saved as JPEG at the quality `plant`."""
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            seed = (label, number, len(folder.name))
            image = noise(make_image(lines and label == 1, 2 * number + label), 15, np.random.default_rng(seed))
            (jpeg(image, plant) if plant and label == 1 else image).save(folder / name / f"{number:02}.png")


def learned(index: indexing.Index) -> Detector:
    """`tiny`, trained on a few images in this process, in a second."""
    spec = Preprocess(48, "crop")
    images = dataset.DeepFakeDataset(index, spec)
    batch, labels = torch.stack([image for image, _ in images]), torch.from_numpy(index.labels)
    torch.manual_seed(0)
    network = create_model("tiny").train()
    optimiser = torch.optim.AdamW(network.parameters(), 0.003)
    for _ in range(60):
        chosen = torch.randperm(len(labels))[:16]
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(batch[chosen]), labels[chosen]).backward()
        optimiser.step()
    return detector(TorchBackend(network, torch.device("cpu")), spec)


def test_assess_and_write(index, tmp_path):
    """Every row of the table, on real pictures; Unsure counts by the threshold; numbers as from the scoring loop."""
    band = Calibration(threshold=0.5, unsure=(0.0, 1.0))
    judge, plain = detector(calibration=band), detector()
    answers = assess({"band": judge, "plain": plain}, index)
    assert answers["band"] == answers["plain"]
    one = answers["plain"]
    settings = [(row["corruption"], row.get("strength")) for row in one.robustness]
    assert settings == [("untouched", None)] + [(n, s) for n, c in CORRUPTIONS.items() for s in c.strengths]
    scores = plain.metadata.calibration.scores(score_index({"x": plain}, index)["x"].logits)
    assert one.robustness[0] == {"corruption": "untouched"} | stress.quality(index.labels, scores, 0.5)
    assert one.reencode[0] == {"saved_again": "none", "as": "untouched"} | stress.quality(index.labels, scores, 0.5)
    stress_files.write(one, tmp_path / "out", "plain on generated images")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "reencode.csv", "robustness.csv", "robustness.png", "stress.json",
    ]  # fmt: skip
    told = json.loads((tmp_path / "out/stress.json").read_text())
    assert told["findings"] == one.findings and told["robustness"] == one.robustness
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/robustness.csv").read_text())))
    assert len(rows) == len(one.robustness) and float(rows[3]["auc"]) == one.robustness[3]["auc"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/reencode.csv").read_text())))
    assert [row["as"] for row in rows] == [row["as"] for row in one.reencode]
    with Image.open(tmp_path / "out/robustness.png") as picture:
        assert picture.width > 800


@pytest.mark.parametrize("chosen", [[0], [15], list(range(8)), [0, 15]])
def test_one_image_or_one_class(index, tmp_path, chosen):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = assess({"x": detector()}, index.subset(chosen), only=("mirror", "reencode"))["x"]
        stress_files.write(one, tmp_path, "few")
    if len({int(label) for label in index.labels[chosen]}) == 1:
        assert {row["auc"] for row in one.robustness} == {None} and one.findings[-1].startswith("There are no ")
    else:
        assert one.robustness[0]["auc"] in (0.0, 1.0) and one.robustness[0]["auc_low"] == 0.0


def test_curves_alone_and_the_test_alone(index, tmp_path):
    curves = assess({"x": detector()}, index, only=("mirror",))["x"]
    assert [row["corruption"] for row in curves.robustness] == ["untouched", "mirror"]
    assert curves.reencode == curves.findings == [] and curves.reads_codec is None
    alone = assess({"x": detector()}, index, only=ONLY)["x"]
    assert alone.robustness == [] and len(alone.reencode) == 16 and len(alone.findings) >= 2
    for one in (curves, alone):  # the second leaves no curves of the first behind
        stress_files.write(one, tmp_path, "x")
    assert not (tmp_path / "robustness.png").exists()


# The command.


@pytest.fixture
def called(trained, small_set, tmp_path, capsys):
    """The command in this process: (status, stdout, stderr)."""

    def call(*arguments, models=(trained / "best.safetensors",), data=small_set / "Test", out=tmp_path / "out"):
        status = robustness.main([*map(str, models), "--data", str(data), "--out", str(out), *arguments])
        return status, *capsys.readouterr()

    return call


def test_command(called, trained, tmp_path):
    copy = tmp_path / "other/best.safetensors"
    copy.parent.mkdir()
    copy.write_bytes((trained / "best.safetensors").read_bytes())
    two = (trained / "best.safetensors", copy)
    status, out, err = called("--only", "jpeg", "mirror", "reencode", models=two)
    assert status == 0, err
    for name in (f"{trained.name}/best", "other/best"):
        assert (tmp_path / "out" / name / "stress.json").is_file()
        assert f"{name}: Reads the codec: not found." in out
    assert (tmp_path / "out/robustness.png").is_file()  # the comparison
    row = next(line for line in out.splitlines() if line.startswith("other/best") and " jpeg " in line)
    assert "95 85 75 60 45 30" in row
    status, _, err = called("--only", "mirror")
    assert status == 1 and "is not empty; choose another --out, or add --overwrite" in err
    assert called("--only", "mirror", "--overwrite")[0] == 0


def test_command_on_models_and_folders_that_fail(called, trained, small_set, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    status, out, err = called("--only", "mirror", models=(tmp_path / "bad.onnx", trained / "best.safetensors"))
    assert status == 1 and "bad.onnx:" in err and "mirror" in out
    status, _, err = called(models=(tmp_path / "bad.onnx",), out=tmp_path / "second")
    assert status == 3 and "no model can be used" in err
    status, _, err = called(data=tmp_path / "nowhere", out=tmp_path / "third")
    assert status == 2 and "nowhere" in err
    status, _, err = called(data=small_set / "Train" / "Real", out=tmp_path / "fourth")
    assert status == 2
    (tmp_path / "file").write_text("")
    status, _, err = called("--only", "mirror", out=tmp_path / "file/below")
    assert status == 1 and "file" in err
    with pytest.raises(SystemExit) as stop:
        called("--only", "sneezing")
    assert stop.value.code == 2


def test_names_tell_models_apart(tmp_path):
    def names(*paths):
        return list(robustness.model_names([tmp_path / path for path in paths]))

    assert names("a/best.onnx") == ["best"]
    assert names("a/best.onnx", "a/best.onnx") == ["best"]
    assert names("a/best.onnx", "b/best.onnx") == ["a/best", "b/best"]
    assert names("a/best.onnx", "a/best.safetensors") == ["best.onnx", "best.safetensors"]
    assert names("a/x.onnx", "a/x.pth", "b/x.onnx") == ["a/x.onnx", "a/x.pth", "b/x.onnx"]


def test_the_benchmark_tells_networks_from_images(index):
    """Two detectors that take their time: it is counted as theirs, and the images are not counted twice."""

    def slow(batch):
        time.sleep(0.05)
        return batch.mean((1, 2, 3))

    detectors = {name: detector(evaluate.Timed(Mean(slow))) for name in ("a", "b")}
    row = evaluate.compare("test", detectors, index, repeats=2)
    assert row["one_networks"] >= 0.05 and row["two_networks"] >= 0.1  # 16 images are one batch
    assert 0 < row["one_decoding"] and 0 < row["two_decoding"] and row["ratio"] > 0
    whole = [sum(evaluate.spent(detectors, index)) for _ in range(2)]
    assert min(whole) >= 0.1
