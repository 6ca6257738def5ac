"""eval.py on several sets, tools.calibrate and tools.report: what they write, and that it is true."""

import csv
import importlib
import json
import re
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics as sk
from conftest import made_once, make_image, make_set
from PIL import Image

from detector import load
from detector.calibration import Calibration
from detector.checkpoint import read_metadata, read_weights, save_checkpoint
from evaluation import calibrating, metrics
from evaluation.scoring import score_index
from imaging.door import Picture, open_image
from imaging.listing import list_pictures
from indexing import index_folder
from reports import pages
from tools import calibrate, report

main_eval = importlib.import_module("eval").main_eval


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def evaluated(trained, small_set, tmp_path_factory):
    """An evaluation of two models with everything: Test, and a foreign set with sources. Nobody changes it."""
    return made_once(tmp_path_factory, "evaluated", lambda root: evaluate(trained, small_set, root)) / "out"


def evaluate(trained, small_set, root) -> None:
    for source, fake, count in (("Real/phone", False, 6), ("Real/film", True, 5), ("Fake/grid", True, 7)):
        (root / "foreign" / source).mkdir(parents=True)
        for i in range(count):
            make_image(fake, 900 + i).save(root / "foreign" / source / f"{i}.png")
    models = ["--models", trained / "best.safetensors", trained / "last.safetensors"]
    command = [*models, "--data", small_set, "--extra", f"other={root / 'foreign'}", "--robustness", "--stability"]
    assert main_eval([*map(str, command), "--out", str(root / "out")]) == 0


def predicted(path):
    rows = table(path)
    labels = np.array([row["label"] == "Fake" for row in rows]).astype(int)
    return rows, labels, np.array([float(row["score"]) for row in rows])


@pytest.mark.parametrize("where", ["best", "best/extra/other", "last"])
def test_its_figures_are_those_of_scikit_learn_on_its_predictions(evaluated, where):
    facts = json.loads((evaluated / where / "metrics.json").read_text())
    rows, labels, scores = predicted(evaluated / where / "predictions.csv")
    says = scores >= facts["calibration"]["threshold"]
    expected = {
        "accuracy": sk.accuracy_score(labels, says), "balanced_accuracy": sk.balanced_accuracy_score(labels, says),
        "f1": sk.f1_score(labels, says), "auc": sk.roc_auc_score(labels, scores),
        "ap": sk.average_precision_score(labels, scores), "brier": sk.brier_score_loss(labels, scores),
        "log_loss": sk.log_loss(labels, scores), "recall_real": sk.recall_score(labels, says, pos_label=0),
    }  # fmt: skip
    assert {name: facts["metrics"][name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert facts["metrics"]["unsure"] == np.mean([row["verdict"] == "Unsure" for row in rows])
    assert facts["confusion_matrix"] == sk.confusion_matrix(labels, says).tolist()


def test_foreign_sets_stand_apart(evaluated):
    rows = table(evaluated / "comparison.csv")
    assert [(row["model"], row["set"], row["role"], row["n"]) for row in rows] == [
        (model, *rest)
        for model in ("best", "last")
        for rest in ((rows[0]["set"], "in-domain", "16"), ("other", "foreign", "18"))
    ]
    text = (evaluated / "comparison.txt").read_text()
    assert text.count("foreign set other:") == 1 and text.index("foreign") > text.index("last")


def test_each_source_has_its_row_and_the_worst_is_named(evaluated):
    facts = json.loads((evaluated / "best/extra/other/metrics.json").read_text())
    rows = {(row["class"], row["source"]): row for row in facts["sources"]}
    assert {key: row["n"] for key, row in rows.items()} == {
        ("Real", "film"): 5, ("Real", "phone"): 6, ("Fake", "grid"): 7
    }  # fmt: skip
    predictions, labels, scores = predicted(evaluated / "best/extra/other/predictions.csv")
    film = np.array([row["source"] == "film" for row in predictions])
    wrong = sum(row["verdict"] == "Fake" for row in predictions if row["source"] == "film")
    assert (scores[film] >= 0.5).sum() >= 4 and rows["Real", "film"]["called_fake"] == wrong / 5
    assert rows["Real", "phone"]["called_fake"] == 0
    low, high = (rows["Real", "film"][key] for key in ("low", "high"))
    assert (low, high) == metrics.proportion_interval(wrong, 5)
    assert facts["clustered_by_source"]
    text = (evaluated / "report.md").read_text()
    named = f"{pages.share(wrong / 5, low, high)} of these photos are called Fake."
    assert (f"The worst source of photos: other/film. {named}" in text) == (wrong > 0)  # Unsure is no false alarm


def test_the_report_holds_it_all_and_needs_no_other_file(evaluated):
    text, page = (evaluated / "report.md").read_text(), (evaluated / "report.html").read_text()
    for part in (
        "Models side by side",
        "Foreign set: other",
        "By source",
        "Size and speed",
        "Robustness",
        "## best on",
    ):
        assert part in text, part
    facts = json.loads((evaluated / "best/metrics.json").read_text())
    assert pages.number(facts, "auc") in text
    for name in re.findall(r"!\[[^]]*\]\(<([^>]+)>\)", text):
        assert (evaluated / name).is_file()
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert len(sources) >= 2 * 7 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert "<script" not in page and page.count("<table>") == text.count("\n| ---")


def test_gap_stability_and_speed_are_recorded(evaluated, trained):
    facts = json.loads((evaluated / "best/metrics.json").read_text())
    before = read_metadata(trained / "best.safetensors").training["calibrated"]
    gap = facts["gap"]["auc"]
    assert (gap["validation"], gap["here"]) == (before["auc"], facts["metrics"]["auc"])
    assert gap["fall"] == pytest.approx(gap["validation"] - gap["here"])
    assert facts["stability"]["n"] == 16 and 0 <= facts["stability"]["unstable"] <= 1
    assert json.loads((evaluated / "best/extra/other/metrics.json").read_text())["stability"] is None
    assert facts["speed"]["ms_per_image"] > 0
    weights = read_weights(trained / "best.safetensors")
    learned = {name: t for name, t in weights.items() if not re.search("running_|num_batches", name)}
    assert facts["model"]["parameters"] == sum(tensor.numel() for tensor in learned.values())
    assert facts["model"]["bytes"] == (trained / "best.safetensors").stat().st_size


def test_robustness_stands_beside_the_set_it_was_measured_on(evaluated):
    assert {path.parent for path in evaluated.rglob("stress.json")} == {evaluated / "best", evaluated / "last"}
    facts = json.loads((evaluated / "best/metrics.json").read_text())
    untouched = json.loads((evaluated / "best/stress.json").read_text())["robustness"][0]
    assert untouched["auc"] == facts["metrics"]["auc"]


def test_of_a_larger_set_a_drawn_part_is_changed_and_said_to_be(trained, small_set, tmp_path, capsys):
    command = ["--models", trained / "best.safetensors", "--data", small_set, "--stress-images", 6, "--stability"]
    assert main_eval([*map(str, command), "--robustness", "--out", str(tmp_path / "out")]) == 0
    facts = json.loads((tmp_path / "out/best/metrics.json").read_text())
    stressed = json.loads((tmp_path / "out/best/stress.json").read_text())["robustness"]
    assert facts["metrics"]["n"] == 16 and len(table(tmp_path / "out/best/predictions.csv")) == 16
    assert facts["stability"]["n"] == 6 and facts["drawn"] == {"n": 6, "of": 16, "seed": 0}
    assert all((row["n_real"], row["n_fake"]) == (3, 3) for row in stressed)
    assert "6 of the 16 images were changed, drawn with seed 0" in (tmp_path / "out/report.md").read_text()


def test_a_draw_keeps_the_share_of_each_source(small_set):
    index = index_folder(small_set / "Train").subset([*range(24), *range(24, 32)])
    samples = tuple(replace(one, source="ab"[i % 4 == 3]) for i, one in enumerate(index.samples))
    index = replace(index, samples=samples)
    drawn = index.draw(8, seed=3)
    assert drawn.samples == tuple(one for one in index.samples if one in drawn.samples)  # in the same order
    counts = Counter((one.label, one.source) for one in drawn.samples)
    of_all = Counter((one.label, one.source) for one in index.samples)
    assert all(abs(counts[key] - of_all[key] / 4) < 1 for key in of_all)
    assert index.draw(8, seed=3) == drawn != index.draw(8, seed=4) and index.draw(99, seed=3) is index


def test_plots_are_pictures(evaluated):
    names = {path.name for path in (evaluated / "best").glob("*.png")}
    assert names >= {"confusion_matrix.png", "roc.png", "precision_recall.png", "reliability.png", "scores.png",
                     "sources.png", "robustness.png", "curves.png"}  # fmt: skip
    assert (evaluated / "best/extra/other/mistakes.png").is_file()  # the photos on film
    for path in evaluated.rglob("*.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 100


@pytest.mark.usefixtures("unrendered")
def test_overwriting_forgets_the_models_and_sets_of_before(trained, small_set, tmp_path):
    out, foreign = tmp_path / "out", small_set / "Validation"
    command = ["--data", small_set, "--out", out, "--overwrite", "--models", trained / "best.safetensors"]
    more = [trained / "last.safetensors", "--extra", f"more={foreign}"]
    assert main_eval([*map(str, command), *map(str, more)]) == 0
    assert len(pages.gather(out)) == 4
    assert main_eval(list(map(str, command))) == 0
    assert [(one.name, one.role) for one in pages.gather(out)] == [("best", "in-domain")]


@pytest.mark.usefixtures("unrendered")
def test_overwriting_with_another_set_keeps_the_new_one(trained, small_set, tmp_path):
    """Both in-domain sets are written to the model's folder."""
    out, model = tmp_path / "out", ["--models", trained / "best.safetensors", "--overwrite"]
    first = [*model, "--data", small_set / "Train", "--robustness", "--out", out]
    assert main_eval(list(map(str, first))) == 0 and (out / "best/stress.json").exists()
    assert main_eval(list(map(str, [*model, "--data", small_set / "Test", "--out", out]))) == 0
    [found] = pages.gather(out)
    assert (
        found.set_name.endswith("/Test")
        and found.stress is None
        and "Robustness" not in (out / "report.md").read_text()
    )


def test_sets_go_on_without_models_that_failed(trained, small_set, tmp_path, capsys):
    weights = read_weights(trained / "best.safetensors")
    weights["classifier.weight"].fill_(3e38)  # its sums overflow
    save_checkpoint(tmp_path / "inf.safetensors", weights, read_metadata(trained / "best.safetensors"))
    sets = ["--data", small_set, "--extra", f"more={small_set / 'Validation'}", "--out", tmp_path / "out"]
    assert main_eval(list(map(str, ["--models", tmp_path / "inf.safetensors", *sets]))) == 1
    assert "non-finite" in (tmp_path / "out/comparison.csv").read_text()
    assert "Traceback" not in capsys.readouterr().err


def test_the_same_images_are_not_foreign(trained, small_set, tmp_path, capsys):
    sets = ["--data", small_set / "Test", "--extra", f"other={small_set / 'Test'}", "--out", tmp_path / "out"]
    assert main_eval(list(map(str, ["--models", trained / "best.safetensors", *sets]))) == 2
    assert "--extra other holds the very images of --data" in capsys.readouterr().err


def test_folders_with_odd_names_are_shown(trained, tmp_path):
    for source in ("a$_{$b", "写真", "x_y*z"):
        (tmp_path / "set/Real" / source).mkdir(parents=True)
        make_image(False, 1).save(tmp_path / "set/Real" / source / "1.png")
    command = ["--models", trained / "best.safetensors", "--data", tmp_path / "set", "--out", tmp_path / "out"]
    assert main_eval(list(map(str, command))) == 0
    assert "| x\\_y\\*z |" in (tmp_path / "out/report.md").read_text()


def test_a_checkpoint_may_say_anything_of_its_training(trained, small_set, tmp_path):
    metadata = read_metadata(trained / "best.safetensors")
    odd = metadata.training | {"data": {"Train": "x", "Validation": ["y"]}, "arguments": 3, "calibrated": "no"}
    model = tmp_path / "odd.safetensors"
    save_checkpoint(model, read_weights(trained / "best.safetensors"), replace(metadata, training=odd))
    assert main_eval(list(map(str, ["--models", model, "--data", small_set, "--out", tmp_path / "out"]))) == 0
    assert calibrate.main([str(model), "--data", str(small_set)]) == 0


def test_reports_read_only_what_eval_wrote(tmp_path, capsys):
    for name, content in (("a", '{"version": 2, "accuracy": 1}'), ("b", "[]"), ("c", "no JSON")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(content)
    assert report.main([str(tmp_path)]) == 2
    assert "no evaluation below" in capsys.readouterr().err


def test_no_file_but_our_plots_comes_into_the_page(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    text = pages.as_html("![x](secret.png) " + pages.as_text("![x](secret.png)"), tmp_path, set())
    assert "base64" not in text and text.count("<img") == 1


def test_a_refusal_leaves_no_folder(trained, tmp_path):
    command = ["--models", trained, "--data", tmp_path / "no", "--out", tmp_path / "out"]
    assert main_eval(list(map(str, command))) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--extra", "a b=x"], "must be NAME=FOLDER"),
        (["--extra", "a="], "must be NAME=FOLDER"),
        (["--extra", "a=x", "--extra", "a=y"], "two sets are called a"),
    ],
)
def test_sets_are_named_well(trained, small_set, capsys, flags, message):
    with pytest.raises(SystemExit) as stop:
        main_eval(["--models", str(trained), "--data", str(small_set), *flags])
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_robustness_of_an_unknown_set_is_refused(trained, small_set, tmp_path, capsys):
    command = ["--models", str(trained), "--data", str(small_set), "--out", str(tmp_path / "out")]
    assert main_eval([*command, "--robustness", "nowhere"]) == 2
    assert "--robustness nowhere: no such set" in capsys.readouterr().err


@pytest.mark.parametrize(
    "images", [{"Real": 3}, {"Fake": 2}, {"Real": 0, "Fake": 4}, {"Fake": 1}, {"Real": 1, "Fake": 1}]
)
def test_degenerate_sets_get_a_clear_answer(trained, tmp_path, capsys, images):
    for name, count in images.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(count):
            make_image(name == "Fake", i).save(tmp_path / "set" / name / f"{i}.png")
    command = ["--models", trained / "best.safetensors", "--data", tmp_path / "set", "--out", tmp_path / "out"]
    assert main_eval([*map(str, command), "--robustness", "--stability"]) == 0
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err and "nan" not in shown.out.lower() + (tmp_path / "out/report.md").read_text()
    facts = json.loads((tmp_path / "out/best/metrics.json").read_text())
    both = images.get("Real", 0) > 0 and images.get("Fake", 0) > 0
    assert (facts["metrics"]["auc"] is not None) == both == (tmp_path / "out/best/roc.png").exists()
    assert facts["metrics"]["n"] == sum(images.values())


def test_equal_scores_get_a_clear_answer(trained, small_set, tmp_path, capsys):
    weights = read_weights(trained / "best.safetensors")
    weights["classifier.weight"].zero_()
    save_checkpoint(tmp_path / "flat.safetensors", weights, read_metadata(trained / "best.safetensors"))
    command = ["--models", tmp_path / "flat.safetensors", "--data", small_set, "--out", tmp_path / "out"]
    assert main_eval([*map(str, command), "--robustness"]) == 0
    facts = json.loads((tmp_path / "out/flat/metrics.json").read_text())
    assert (facts["metrics"]["auc"], facts["metrics"]["eer"]) == (0.5, 0.5)
    assert "nan" not in capsys.readouterr().out


def test_a_model_with_a_strange_name_stays_text(trained, small_set, tmp_path):
    model = tmp_path / "<img src=x onerror=alert(1)> | x.safetensors"
    shutil.copy(trained / "best.safetensors", model)
    command = ["--models", model, "--data", small_set, "--out", tmp_path / "out"]
    assert main_eval(list(map(str, command))) == 0
    page = (tmp_path / "out/report.html").read_text()
    assert "<img src=x" not in page and "&lt;img src=x onerror" in page


def test_calibrate_gives_plain_weights_what_training_gives_its_own(trained, small_set, tmp_path, capsys):
    import torch

    plain = tmp_path / "plain.pth"
    torch.save(read_weights(trained / "best.safetensors"), plain)
    assert load(plain).metadata.calibration == Calibration()
    assert calibrate.main([str(plain), "--data", str(small_set)]) == 0
    shown = capsys.readouterr().out
    out = tmp_path / "plain_calibrated.safetensors"
    assert shown.endswith(f"{out}\n") and "calibration error here" in shown
    found = load(out).metadata
    assert found.calibration.n == 16 and found.training["calibrated"]["n"] == 16
    own = read_weights(out)
    assert all(torch.equal(own[name], tensor) for name, tensor in read_weights(plain).items())


def test_calibrate_lets_a_small_source_weigh_as_much_as_a_large_one(trained, small_set, tmp_path):
    for name in ("Real", "Fake"):
        for i, image in enumerate(sorted((small_set / "Train" / name).iterdir())):
            place = tmp_path / "set/Validation" / name / ("rare" if i < 3 else "frequent")
            place.mkdir(parents=True, exist_ok=True)
            changed = Image.open(image).transpose(
                Image.Transpose.FLIP_TOP_BOTTOM if i < 3 else Image.Transpose.ROTATE_180
            )
            changed.save(place / image.name)
    found = {}
    for balance in ("none", "root", "source"):
        out = tmp_path / f"{balance}.safetensors"
        command = [trained / "best.safetensors", "--data", tmp_path / "set", "--balance", balance, "--out", out]
        assert calibrate.main(list(map(str, command))) == 0
        found[balance] = load(out).metadata.calibration
    index = index_folder(tmp_path / "set/Validation")
    logits = score_index({"x": load(trained / "best.safetensors")}, index)["x"].logits
    weights = np.array([1 / (3 if one.source == "rare" else len(index.samples) / 2 - 3) for one in index.samples])
    expected = calibrating.fit(index.labels, logits, fitted_on=index.digest, weights=weights)
    assert found["source"].offset == pytest.approx(expected.offset, abs=1e-4)
    assert found["source"].temperature == pytest.approx(expected.temperature, rel=1e-3)
    assert len({round(one.offset, 6) for one in found.values()}) == 3


@pytest.mark.usefixtures("unrendered")
def test_an_onnx_model_is_evaluated_like_the_checkpoint(trained, exported, small_set, tmp_path):
    command = ["--models", trained / "best.safetensors", exported, "--data", small_set, "--out", tmp_path / "out"]
    assert main_eval(list(map(str, command))) == 0
    torch_way, onnx_way = (
        json.loads((tmp_path / "out" / name / "metrics.json").read_text()) for name in ("best", "tiny")
    )
    assert onnx_way["metrics"] == pytest.approx(torch_way["metrics"], abs=1e-3)
    assert onnx_way["model"]["parameters"] == torch_way["model"]["parameters"]
    assert re.fullmatch(r"ONNX Runtime \(\d+ threads\)", onnx_way["speed"]["device"])


def test_calibrate_keeps_what_an_onnx_file_computes(exported, small_set, tmp_path):
    out = tmp_path / "c.onnx"
    assert calibrate.main([str(exported), "--data", str(small_set), "--out", str(out)]) == 0
    before, after = load(exported), load(out)
    size = before.metadata.preprocess.size
    batch = np.random.default_rng(0).normal(size=(3, 3, size, size)).astype(np.float32)
    assert (before.logits(batch) == after.logits(batch)).all()
    # The same images and all but the same logits as train.py calibrated on.
    theirs, ours = (metadata.calibration for metadata in (before.metadata, after.metadata))
    assert ours.threshold == pytest.approx(theirs.threshold, abs=1e-3) and ours.fitted_on == theirs.fitted_on


@pytest.mark.parametrize("kind", [".safetensors", ".onnx"])
def test_calibrate_makes_a_detector_look_in_the_mirror_and_stop_it(trained, exported, small_set, tmp_path, kind):
    model = {".safetensors": trained / "best.safetensors", ".onnx": exported}[kind]
    images = list(list_pictures(small_set / "Validation").pictures)
    both, back = tmp_path / f"both{kind}", tmp_path / f"back{kind}"
    assert calibrate.main([str(model), "--data", str(small_set), "--mirror", "--out", str(both)]) == 0
    assert calibrate.main([str(both), "--data", str(small_set), "--no-mirror", "--out", str(back)]) == 0
    one, other, again = load(model, device="cpu"), load(both, device="cpu"), load(back, device="cpu")
    assert other.metadata.preprocess == replace(one.metadata.preprocess, mirror=True)
    theirs, ours = (found.metadata.calibration for found in (one, again))
    assert ours.threshold == pytest.approx(theirs.threshold, abs=1e-3)
    assert ours.offset == pytest.approx(theirs.offset, abs=1e-3)
    picture = open_image(images[0])
    turned = Picture(picture.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), picture.format)
    assert other.judge(picture).score == pytest.approx(other.judge(turned).score, abs=1e-4)
    assert abs(one.judge(picture).score - one.judge(turned).score) > 1e-3


def test_calibrate_loses_no_file_and_doubts_what_it_must(trained, small_set, tmp_path, capsys):
    best, out = trained / "best.safetensors", tmp_path / "x.safetensors"
    out.write_bytes(b"mine")
    assert calibrate.main([str(best), "--data", str(small_set), "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err and out.read_bytes() == b"mine"
    assert calibrate.main([str(best), "--data", str(small_set), "--out", str(tmp_path / "x.onnx")]) == 2
    assert "call it .safetensors" in capsys.readouterr().err
    assert calibrate.main([str(best), "--data", str(small_set), "--out", str(out), "--overwrite"]) == 0
    assert "note: there are only 8 images of one class" in capsys.readouterr().out
    labels = np.repeat([0, 1], 200)
    margin = np.random.default_rng(0).normal(size=400)
    assert "may be one half" in calibrating.doubts(labels, np.stack([0 * margin, margin], 1))[0]
    assert "swapped?" in calibrating.doubts(labels, np.stack([3 * labels, margin], 1))[0]
    assert calibrating.doubts(labels, np.stack([0 * margin, margin + 3 * labels], 1)) == []


@pytest.mark.parametrize(
    ("folder", "message"),
    [("Test", "is a Test split; nothing is chosen on it"), ("Train", "was trained on these images"), ("no", "no such")],
)
def test_calibrate_refuses_what_it_must_not_use(trained, small_set, tmp_path, capsys, folder, message):
    command = [
        str(trained / "best.safetensors"),
        "--data",
        str(small_set / folder),
        "--out",
        str(tmp_path / "x.safetensors"),
    ]
    assert calibrate.main(command) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "x.safetensors").exists()


def test_reports_of_several_evaluations_come_together(evaluated, trained, small_set, tmp_path, capsys):
    results = tmp_path / "results"
    shutil.copytree(evaluated, results / "one")
    other = make_set(tmp_path / "other", {".": 6})
    weights = read_weights(trained / "last.safetensors")
    weights["classifier.bias"] += 1
    save_checkpoint(tmp_path / "best.safetensors", weights, read_metadata(trained / "last.safetensors"))
    command = ["--models", tmp_path / "best.safetensors", "--data", other, "--out", results / "two"]
    assert main_eval(list(map(str, command))) == 0
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    assert report.main([str(results), "--readme", str(readme)]) == 0
    text = (results / "report.md").read_text()
    digest = load(tmp_path / "best.safetensors").sha256
    assert f"best ({digest[:6]})" in text and "| last |" in text  # two different models are called best
    filled = readme.read_text()
    assert filled.startswith("before\n") and filled.endswith("after\n") and "old" not in filled
    assert pages.number(json.loads((results / "one/last/metrics.json").read_text()), "auc") in filled
    readme.write_text("no marks")
    assert report.main([str(results), "--readme", str(readme)]) == 1
    assert report.main([str(tmp_path / "other")]) == 2
    assert "no evaluation below" in capsys.readouterr().err
