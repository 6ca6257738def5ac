"""Heads on frozen features, LN-tuning, sources left out, and what a recipe knows of kinds it was not shown."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import made_once, make_image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import indexing
import model
import train
from detector import Detector, Metadata, load
from detector.backend_torch import TorchBackend
from detector.checkpoint import read_metadata, read_weights
from evaluation import calibrating, transfer
from evaluation.left_out import LeftOut
from evaluation.scoring import score_index
from imaging.door import open_image
from names import FAKE, REAL
from tools import calibrate
from tools import transfer as tool
from training import probe
from training.cache import pictures
from training.recipes import with_values

KINDS = {"Real/phone": 24, "Real/scan": 16, "Real/films": 20, "Fake/swaps": 24, "Fake/paint": 16, "Fake/films": 20}


@pytest.fixture(scope="session")
def kinds(tmp_path_factory):
    """Train and Validation of four sources; "films" has both classes."""
    return made_once(tmp_path_factory, "kinds", make_kinds)


def make_kinds(root: Path) -> None:
    seed = 0
    for split, share in (("Train", 1), ("Validation", 2)):
        for kind, count in KINDS.items():
            folder = root / split / kind
            folder.mkdir(parents=True)
            for number in range(count // share):
                seed += 1
                make_image(kind.startswith("Fake"), seed, 48).save(folder / f"{number:03}.png")


@pytest.fixture(scope="session")
def backbone(trained):
    return trained / "last.safetensors"


def flags(kinds, backbone, out, *more, recipe="probe"):
    given = ["--data", kinds, "--arch", "tiny", "--size", 48, "--pretrained", backbone, "--recipe", recipe]
    more = ("--out", out, "--set", "part_swap=0", "--set", "strength=0.1", *more)
    return [str(word) for word in (*given, *more)]


@pytest.fixture(scope="session")
def probed(kinds, backbone, tmp_path_factory):
    def run(out: Path) -> None:
        assert train.main(flags(kinds, backbone, out)) == 0

    return made_once(tmp_path_factory, "probed", run)


def test_a_probe_leaves_a_run_folder_like_any_other(probed, kinds, backbone):
    names = {"config.json", "metrics.csv", "metrics.json", "best.safetensors", "last.safetensors", "predictions.csv"}
    assert names | {"batch.png", "curves.png", "confusion_matrix.png"} <= {path.name for path in probed.iterdir()}
    before, after = read_weights(backbone), read_weights(probed / "best.safetensors")
    assert all(torch.equal(after[key], before[key]) for key in before if not key.startswith("classifier."))
    assert not torch.equal(after["classifier.weight"], before["classifier.weight"])
    row = json.loads((probed / "metrics.json").read_text())["validation"]
    assert row["auc"] > 0.9 and read_metadata(probed / "best.safetensors").calibration.fitted_on


def test_the_head_is_scikit_learns(probed, kinds):
    """The folded weights give the margin of a logistic regression of standardised features."""
    draw = np.random.default_rng(0)
    labels = np.repeat([REAL, FAKE], 60)
    features = (draw.normal(size=(120, 5)) * [1, 10, 100, 1, 1] + 3 + labels[:, None]).astype(np.float16)
    weight, bias = probe.fit(features, labels, np.ones(120), strength=0.5)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, tol=1e-6)).fit(
        features.astype(np.float64), labels
    )
    assert features.astype(np.float64) @ weight + bias == pytest.approx(theirs.decision_function(features), abs=0.01)
    network = model.create_model("tiny")
    probe.set_head(network, "tiny", np.arange(96.0), 2.0)
    logits = network.classifier(torch.ones(1, 96))[0].detach()
    assert float(logits[FAKE] - logits[REAL]) == pytest.approx(np.arange(96).sum() + 2)
    with pytest.raises(ValueError, match="images of both classes"):
        probe.fit(features[:60], labels[:60], np.ones(60), strength=1)


def test_features_are_what_the_head_reads_and_are_kept(kinds, backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    args = train.parse_arguments(flags(kinds, backbone, tmp_path / "out"))
    data, device = train.load_data(args), torch.device("cpu")
    network, preprocess = train.prepare_model(args, device), train.make_preprocess(args)
    index, looked = data.validation, []
    frozen = probe.FrozenFeatures(network, "tiny", preprocess, device, check=lambda: looked.append(1))
    decoded = probe_pictures(index, preprocess)
    features, labels = frozen.of_view(decoded, index, args.values, seed=0, view=0)
    assert labels.tolist() == index.labels.tolist() and looked
    head = network.classifier
    with torch.no_grad():
        logits = head(torch.from_numpy(features.astype(np.float32))).numpy()

    judged = score_index({"x": Detector(TorchBackend(network, device), Metadata("tiny", preprocess), "x")}, index)["x"]
    assert logits == pytest.approx(judged.logits, abs=0.02)  # features are kept in half precision
    looked.clear()
    again, _ = frozen.of_view(decoded, index, args.values, seed=0, view=0)
    assert np.array_equal(again, features) and not looked
    damaged, _ = frozen.of_view(decoded, index, args.values, seed=0, view=1)
    assert looked and not np.allclose(damaged, features)
    other = with_values(args.values, {"strength": "5", "views": "7"})  # of the fit alone: nothing is computed anew
    looked.clear()
    assert np.array_equal(frozen.of_view(decoded, index, other, seed=0, view=1)[0], damaged) and not looked
    frozen.of_view(decoded, index, with_values(args.values, {"jpeg": "0.9"}), seed=0, view=1)
    assert looked


def test_the_first_view_is_what_validation_sees_whatever_the_fit(kinds, backbone, tmp_path):
    """Also where training takes parts of a picture at random places."""
    given = flags(kinds, backbone, tmp_path / "out", "--fit", "crop", "--size", "32")
    args = train.parse_arguments(given)
    index, preprocess = train.load_data(args).validation, train.make_preprocess(args)
    pixels, labels = probe.AsTheyAre(probe_pictures(index, preprocess), index, preprocess).__getitems__([3, 40])
    for image, label, i in zip(pixels, labels, (3, 40), strict=True):
        shown = open_image(index.samples[i].path).image
        assert np.array_equal(image, np.asarray(preprocess.view(shown))) and label == index.labels[i]


def test_a_damaged_part_is_computed_again(kinds, backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    args = train.parse_arguments(flags(kinds, backbone, tmp_path / "out"))
    index = train.load_data(args).validation
    network, preprocess = train.prepare_model(args, torch.device("cpu")), train.make_preprocess(args)
    frozen = probe.FrozenFeatures(network, "tiny", preprocess, torch.device("cpu"))
    features, _ = frozen.of_view(probe_pictures(index, preprocess), index, args.values, seed=0, view=0)
    [part] = tmp_path.rglob("features/*/*.npz")
    whole = part.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"PK text"):
        part.write_bytes(damaged)
        again, _ = frozen.of_view(probe_pictures(index, preprocess), index, args.values, seed=0, view=0)
        assert np.array_equal(again, features) and len(part.read_bytes()) == len(whole)


def probe_pictures(index, preprocess):
    return pictures(index, preprocess, "off")


def test_an_interrupted_pass_goes_on(kinds, backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(probe, "PART", 16)
    looked = []

    def stop():
        looked.append(1)
        if len(looked) == 3:
            raise KeyboardInterrupt

    args = train.parse_arguments(flags(kinds, backbone, tmp_path / "out"))
    index = train.load_data(args).validation
    network, preprocess = train.prepare_model(args, torch.device("cpu")), train.make_preprocess(args)
    frozen = probe.FrozenFeatures(network, "tiny", preprocess, torch.device("cpu"), check=stop)
    with pytest.raises(KeyboardInterrupt):
        frozen.of_view(probe_pictures(index, preprocess), index, args.values, seed=0, view=0)
    features, _ = frozen.of_view(probe_pictures(index, preprocess), index, args.values, seed=0, view=0)
    assert len(features) == len(index.samples) == 60 and len(looked) == 3 + 2  # of four parts two were there


def test_balance_weighs_sources():
    labels = np.array([REAL] * 100 + [REAL] * 25 + [FAKE] * 50)
    sources = ["a"] * 100 + ["b"] * 25 + ["c"] * 50
    for balance, ratio in (("none", 4.0), ("class", 4.0), ("root", 2.0), ("source", 1.0)):
        weights = probe.counts(labels, sources, balance)
        assert weights.mean() == pytest.approx(1)
        assert weights[:100].sum() / weights[100:125].sum() == pytest.approx(ratio)
        if balance != "none":
            assert weights[:125].sum() == pytest.approx(weights[125:].sum())


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--head", "16"], "a probe is one linear layer"),
        (["--teacher", "x.csv"], "a probe learns labels"),
        (["--pretrained", "none"], "a probe reads a backbone"),
        (["--epochs", "3"], "a probe is fitted at one go"),
        (["--set", "views=0"], "views is 0"),
    ],
)
def test_what_a_probe_cannot_be_combined_with(more, says, kinds, backbone, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        train.main(flags(kinds, backbone, tmp_path / "out", *more))
    assert stopped.value.code == 2 and says in capsys.readouterr().err


def test_lntune_moves_normalisation_and_head_alone(kinds, backbone, tmp_path):
    out = tmp_path / "run"
    assert train.main(flags(kinds, backbone, out, "--epochs", 1, "--batch-size", 8, recipe="lntune")) == 0
    before, after = read_weights(backbone), read_weights(out / "last.safetensors")
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    norms = {f"features.{at}.{of}" for at in (1, 4, 7) for of in ("weight", "bias")}  # tiny's group normalisation
    assert moved == norms | {"classifier.weight", "classifier.bias"}


def test_a_source_is_left_out_of_both_splits(kinds, backbone, tmp_path, capsys):
    out = tmp_path / "run"
    assert train.main(flags(kinds, backbone, out, "--without", "Fake/paint", "--without", "Real/scan")) == 0
    data = json.loads((out / "config.json").read_text())["data"]
    assert data["Train"]["sources"] == {kind: n for kind, n in KINDS.items() if kind not in ("Fake/paint", "Real/scan")}
    assert data["Validation"]["n"] == 60 - 16
    assert "left out: Fake/paint, Real/scan" in capsys.readouterr().err
    assert train.main(flags(kinds, backbone, out, "--resume")) == 1  # another run
    assert "holds another run" in capsys.readouterr().err
    assert train.main(flags(kinds, backbone, tmp_path / "other", "--without", "Fake/none")) == 2
    assert "no sub-folder Fake/none to leave out (there are Fake/films, Fake/paint" in capsys.readouterr().err
    every = [word for kind in KINDS if kind.startswith("Fake") for word in ("--without", kind)]
    assert train.main(flags(kinds, backbone, tmp_path / "other", *every)) == 2
    assert "one class only" in capsys.readouterr().err


# ---- leave one kind out


@pytest.fixture(scope="session")
def matrix(kinds, backbone, tmp_path_factory):
    def measure(out: Path) -> None:
        given = flags(kinds, backbone, out)
        del given[given.index("--out") : given.index("--out") + 2]
        assert tool.main([*given, "--out", str(out), "--seeds", "2"]) == 0

    return made_once(tmp_path_factory, "matrix", measure)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_kind_is_left_out_once_and_originals_go_with_their_fakes(matrix):
    rows = rows_of(matrix / "transfer.csv")
    left = {"nothing", "films", "Fake/paint", "Fake/swaps", "Real/phone", "Real/scan"}
    assert {row["left_out"] for row in rows} == left and {row["seed"] for row in rows} == {"0", "1"}
    assert len(rows) == len(left) * len(KINDS) * 2
    unseen = {(row["left_out"], row["judged"]) for row in rows if row["unseen"] == "True"}
    assert unseen == {(name, name) for name in left - {"nothing", "films"}} | {
        ("films", "Fake/films"),
        ("films", "Real/films"),
    }
    assert all(0 <= float(row["low"]) <= float(row["auc"]) <= float(row["high"]) <= 1 for row in rows)
    assert all((row["confident_mistakes"] == "") == row["judged"].startswith("Real") for row in rows)
    text = (matrix / "transfer.md").read_text()
    assert "| films |" in text and "Means of 2 seeds" in text and "Kinds of fakes that were not shown: AUC" in text
    assert (matrix / "transfer.png").stat().st_size > 5000


def test_a_row_is_what_training_without_the_kind_gives(matrix, kinds, backbone, tmp_path):
    """The same head as train.py's, when it is fitted without the kind: to the digit but for augmentation's draws."""
    out = tmp_path / "run"
    assert train.main(flags(kinds, backbone, out, "--without", "Fake/swaps", "--set", "views=1")) == 0
    index = indexing.index_folder(kinds / "Validation")
    judged = tool.judged_by(load(out / "best.safetensors"), index)
    [own] = [row for row in transfer.of_run(index, judged, "Fake/swaps", seed=0) if row["judged"] == "Fake/swaps"]
    given = flags(kinds, backbone, tmp_path / "m", "--set", "views=1")
    assert tool.main(given) == 0
    [row] = [one for one in rows_of(tmp_path / "m/transfer.csv") if one["left_out"] == one["judged"] == "Fake/swaps"]
    assert float(row["auc"]) == pytest.approx(own["auc"], abs=0.01)
    said = {
        one["sha256"]: float(one["logit_fake"]) - float(one["logit_real"])
        for one in rows_of(tmp_path / "m/left_out.csv")
    }
    margins = judged.logits[:, FAKE] - judged.logits[:, REAL]
    for content, sample, margin in zip(index.hashes, index.samples, margins, strict=True):
        if sample.name == "Fake/swaps":
            assert said[content] == pytest.approx(margin, abs=0.1)


def test_any_recipe_and_finished_detectors(kinds, tmp_path, capsys):
    small = tmp_path / "small"
    for split in ("Train", "Validation"):
        for kind in ("Real", "Fake/swaps", "Fake/paint"):
            (small / split / kind).mkdir(parents=True)
            source = kinds / split / (kind if kind != "Real" else "Real/phone")
            for path in sorted(source.iterdir())[:8]:
                (small / split / kind / path.name).symlink_to(path)
    given = ["--data", str(small), "--arch", "tiny", "--size", "48", "--epochs", "1", "--batch-size", "8"]
    assert tool.main([*given, "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert tool.main([*given, "--out", str(tmp_path / "out")]) == 0
    assert "is finished; kept" in capsys.readouterr().err
    rows = rows_of(tmp_path / "out/transfer.csv")
    assert {row["left_out"] for row in rows} == {
        "nothing",
        "Fake/swaps",
        "Fake/paint",
    }
    best = tmp_path / "out/seed_0/nothing/best.safetensors"
    assert tool.main(["--data", str(small), "--out", str(tmp_path / "models"), "--models", str(best)]) == 0
    assert "best.safetensors" in (tmp_path / "models/transfer.md").read_text()
    assert not (tmp_path / "models/left_out.csv").exists()
    flat = tmp_path / "flat"
    for split in ("Train", "Validation"):
        (flat / split).mkdir(parents=True)
        for name in ("Real", "Fake"):
            (flat / split / name).symlink_to(kinds / split / name / ("phone" if name == "Real" else "swaps"))
    assert tool.main(["--data", str(flat), *given[2:], "--out", str(tmp_path / "none")]) == 2
    assert "a kind is a sub-folder" in capsys.readouterr().err.lower()


def test_the_band_heeds_kinds_that_were_left_out(matrix, probed, kinds, tmp_path, capsys):
    given = [str(probed / "best.safetensors"), "--data", str(kinds), "--out", str(tmp_path / "x.safetensors")]
    assert calibrate.main([*given, "--left-out", str(matrix / "left_out.csv")]) == 0
    told = read_metadata(tmp_path / "x.safetensors").training["left_out"]
    assert set(told) == {"films", "Fake/paint", "Fake/swaps"} and "left out of training" in capsys.readouterr().out
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    assert calibrate.main([*given, "--overwrite", "--left-out", str(tmp_path / "bad.csv")]) == 2
    assert "not the left_out.csv" in capsys.readouterr().err


def test_below_the_band_nine_in_ten_are_real_even_of_such_fakes():
    draw = np.random.default_rng(0)
    labels = np.repeat([REAL, FAKE], 1000)
    margins = np.concatenate([draw.normal(-3, 1, 1000), draw.normal(3, 1, 1000)])
    unknown = draw.normal(-1.5, 1.5, 600)

    def logits(values):
        return np.stack([-values / 2, values / 2], 1).astype(np.float32)

    left = LeftOut(logits(unknown), np.repeat(["one", "other"], [500, 100]))
    plain = calibrating.fit(labels, logits(margins), fitted_on="x")
    wide = calibrating.fit(labels, logits(margins), fitted_on="x", left_out=left)
    assert (wide.temperature, wide.offset) == (plain.temperature, plain.offset)
    assert wide.band[0] < plain.lowest_fake and wide.lowest_fake == plain.lowest_fake
    low = wide.band[0]
    real = (plain.scores(logits(margins[:1000])) < low).mean()
    fake = np.average(plain.scores(logits(unknown)) < low, weights=left.weights)
    assert 0.9 <= real / (real + fake) < 0.93
    assert left.weights[:500].sum() == pytest.approx(left.weights[500:].sum())
    assert left.told(wide)["one"]["n"] == 500
