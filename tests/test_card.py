"""The card of a detector (python -m tools.report --card) and several sets like its training images (eval.py --data)."""

import importlib
import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, leave_unrendered, made_once, make_image, make_set

import train
from detector import find_models
from detector.checkpoint import read_metadata, read_weights, save_checkpoint
from evaluation.metrics import proportion_interval
from reports import card, card_page, pages
from tools import report
from tools.export import main as export
from training.describing import fingerprint

main_eval = importlib.import_module("eval").main_eval
DATA_SETS = {
    name: {
        "what": f"what {name} is",
        "terms": f"terms of {name}",
        "from": f"who made {name}",
        "limits": [f"{name} is small"],
    }
    for name in ("grid", "film", "other")
}


def command(*given):
    return list(map(str, given))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two sets, `grid` and `film`, a detector trained on both as sources, its evaluation there and on a third."""
    return made_once(tmp_path_factory, "card", make_world)


def make_world(root: Path) -> None:
    for number, name in enumerate(("grid", "film")):
        made = make_set(root / name, {"Train": 14 + number, "Validation": 8, "Test": 9 + number})
        for split in ("Train", "Validation"):
            for label in ("Real", "Fake"):
                shutil.copytree(made / split / label, root / "both" / split / label / name)
    for i in range(7):  # nothing to tell them apart by
        for label in ("Real", "Fake"):
            (root / "other" / label / "lens").mkdir(parents=True, exist_ok=True)
            make_image(False, 50 + 2 * i + (label == "Real")).save(root / "other" / label / "lens" / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        leave_unrendered(patch)
        models = train_export_and_evaluate(root)
    (models / "README.md").write_text("before\n<!-- card -->\nold\n<!-- /card -->\nafter\n")
    (models / "data_sets.json").write_text(json.dumps(DATA_SETS))


def train_export_and_evaluate(root: Path) -> Path:
    flags = ("--arch", "tiny", "--size", 48, "--epochs", 3, "--lr", 0.003, "--batch-size", 8, "--seed", 3)
    more = ("--set", "jpeg=0", "--set", "blur=0.25", "--crop", "32,48", "--head", 16, "--dropout", 0.1)
    assert train.main(command("--data", root / "both", *flags, *more, "--out", root / "run")) == 0
    models = root / "models"
    models.mkdir()
    shutil.copy(root / "run/best.safetensors", models / "best.safetensors")
    assert export(command(models / "best.safetensors", "--out", models / "best.onnx")) == 0
    sets = ("--data", root / "grid/Test", "--data", root / "film/Test", "--extra", f"other={root / 'other'}")
    tests = ("--robustness", "film/Test", "other", "--stability")
    assert main_eval(command("--models", models / "best.onnx", *sets, *tests, "--out", root / "results")) == 0
    return models


@pytest.fixture
def models(world, tmp_path):
    """A folder of models that a test may change."""
    return shutil.copytree(world / "models", tmp_path / "models")


def known(world, models):
    return card.read(models / "best.onnx", pages.gather(world / "results"))


def test_each_set_of_data_stands_by_itself_and_is_in_domain(world):
    found = {one.set_name: one for one in pages.gather(world / "results")}
    assert {name: one.role for name, one in found.items()} == {
        "grid/Test": "in-domain", "film/Test": "in-domain", "other": "foreign"
    }  # fmt: skip
    places = {name: one.folder.relative_to(world / "results/best").as_posix() for name, one in found.items()}
    assert places == {"grid/Test": "sets/grid/Test", "film/Test": "sets/film/Test", "other": "extra/other"}
    assert [found[name].facts["metrics"]["n"] for name in ("grid/Test", "film/Test")] == [18, 20]
    assert {name: bool(one.stress) for name, one in found.items()} == {
        "grid/Test": False, "film/Test": True, "other": True
    }  # fmt: skip
    assert [bool(found[name].facts["stability"]) for name in ("grid/Test", "film/Test", "other")] == [True, True, False]
    text = (world / "results/comparison.txt").read_text()
    assert [text.count(head) for head in ("set grid/Test:", "set film/Test:", "foreign set other:")] == [1, 1, 1]
    assert text.count("best ") == 3


def test_a_readme_shows_each_set_under_its_role(world, tmp_path):
    results = shutil.copytree(world / "results", tmp_path / "results")
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results -->\n<!-- /results -->\n")
    assert report.main(command(results, "--readme", readme)) == 0
    before, after = readme.read_text().split("On foreign sets:")
    rows = {one.set_name: pages.number(one.facts, "auc") for one in pages.gather(results)}
    for name, auc in rows.items():
        where, elsewhere = (after, before) if name == "other" else (before, after)
        [row] = re.findall(rf"\| best \| {name} \|.*", where)
        assert auc in row and f"| {name} |" not in elsewhere
    assert before.count("| best |") == 2


@pytest.mark.usefixtures("unrendered")
def test_overwriting_one_set_forgets_several_and_the_other_way_round(trained, small_set, tmp_path):
    other = make_set(tmp_path / "other", {"Test": 4})
    start = command("--models", trained / "best.safetensors", "--out", tmp_path / "out", "--overwrite")
    for sets in ([small_set, other / "Test"], [other], [small_set, other / "Test"]):
        assert main_eval(start + command(*(word for one in sets for word in ("--data", one)))) == 0
        assert len(pages.gather(tmp_path / "out")) == len(sets)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (("--data", "{0}", "--data", "{0}"), "two sets are called"),
        (("--data", "{0}", "--data", "{0}/Test"), "holds the very images of --data"),
        (("--data", "{1}", "--data", "{0}", "--extra", "x={0}/Test"), "it is not foreign"),
    ],
)
def test_no_set_is_given_twice(trained, small_set, tmp_path, capsys, sets, message):
    other = make_set(tmp_path / "other", {"Test": 4})
    given = [word.format(small_set, other) for word in sets]
    try:
        status = main_eval(command("--models", trained / "best.safetensors", *given, "--out", tmp_path / "out"))
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2 and message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_checkpoint_counts_its_sources(world, trained):
    data = read_metadata(world / "run/best.safetensors").training["data"]
    assert data["Train"]["sources"] == {"Real/grid": 14, "Real/film": 15, "Fake/grid": 14, "Fake/film": 15}
    assert read_metadata(trained / "best.safetensors").training["data"]["Train"]["sources"] == {"Real": 24, "Fake": 24}


def test_the_card_says_what_the_files_say(world, models, capsys):
    root, path = world / "results", models / "best.onnx"
    assert report.main(command(root, "--card", path)) == 0
    assert capsys.readouterr().out.endswith("best.card.json\n")
    text = (models / "README.md").read_text()
    assert (
        text.startswith("before\n<!-- card -->\n")
        and text.endswith("\n<!-- /card -->\nafter\n")
        and "\nold\n" not in text
    )
    it = known(world, models)
    for file in (path, models / "best.safetensors"):
        digest = fingerprint(str(file))
        assert f"| `{file.name}` | {file.stat().st_size / 1e6:.1f} MB | `{digest}` |" in text
    rows = ["Train | grid | 14 | 14 | 28", "Train | film | 15 | 15 | 30", "Validation | film | 8 | 8 | 16"]
    assert all(f"| {row} |" in text for row in rows)
    for name in DATA_SETS:
        assert all(DATA_SETS[name][key] in text for key in ("what", "terms", "from")) and f"{name} is small" in text
    assert "| other | evaluation only |" in text and "| grid | training |" in text
    calibration = it.metadata.calibration
    assert f"| threshold | {calibration.threshold:.3f} |" in text
    assert (calibration.unsure is None) == ("Unsure band" not in text)
    for one in it.found:
        numbers = [
            pages.number(one.facts, key) for key in card.SCORES.values() if one.facts["metrics"][key] is not None
        ]
        [row] = [
            line for line in text.splitlines() if line.startswith(f"| {one.set_name} | {one.facts['metrics']['n']} |")
        ]
        assert row == " | ".join([f"| {one.set_name}", str(one.facts["metrics"]["n"]), *numbers]) + " |"
    assert "| other | Real | lens | 7 |" in text
    assert text.index("must not be used for") < text.index("### How good")
    assert str(world) not in text.replace(root.as_posix(), "").replace(path.as_posix(), "")  # paths of whoever made it


def test_where_it_fails_follows_from_the_numbers(world, models):
    it = known(world, models)
    told = {one.set_name: one for one in it.found}
    spots = card.weak_spots(it)
    other = told["other"].facts
    wrong, n = other["confusion_matrix"][0][1], sum(other["confusion_matrix"][0])
    assert f"{pages.share(wrong / n, *proportion_interval(wrong, n))} of 7 Real images are called Fake" in " ".join(
        spots
    )
    assert any(line.startswith("other: ") and "chance there" in line for line in spots)
    good = next(name for name in ("grid/Test", "film/Test") if told[name].facts["intervals"]["auc"][0] > 0.5)
    moved = dict.fromkeys(("auc", "balanced_accuracy"), [0.6, 0.8])
    better = replace(told["other"], facts=other | {"intervals": other["intervals"] | moved})
    assert card.chance(better) == []
    moved["balanced_accuracy"] = [0.1, 0.3]
    [line] = card.chance(replace(better, facts=other | {"intervals": other["intervals"] | moved}))
    assert "threshold does worse than chance there; balanced accuracy" in line
    assert not any("scores tell Fake from Real no better" in line for line in card.chance(told[good]))
    stressed = told["film/Test"].stress["robustness"]
    lowest = min(row["auc"] for row in stressed)
    harm = [line for line in spots if line.startswith("film/Test: the change that harms most")]
    assert bool(harm) == (lowest < stressed[0]["auc"]) and all(f"AUC {lowest:.3f} (" in line for line in harm)
    found = replace(
        told["film/Test"],
        stress={**told["film/Test"].stress, "findings": ["Fragile: x", "Reads the codec: not found. y"]},
    )
    lines = card.of_changes(found)
    assert "film/Test: Fragile: x" in lines and not any("not found" in line for line in lines)
    face = replace(it, metadata=replace(it.metadata, preprocess=replace(it.metadata.preprocess, frame="face")))
    assert any("smaller than 40 pixels" in line for line in card.weak_spots(face))


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.71, 0.9, "found often"),
        (0.69, 0.9, "found sometimes"),
        (0.1, 0.31, "found sometimes"),
        (0.1, 0.29, "not found"),
    ],
)
def test_a_sentence_for_each_kind_of_fakes(world, models, low, high, word):
    it = known(world, models)
    first = it.found[0]
    sources = [
        {"class": "Fake", "source": "paint", "n": 40, "called_fake": 0.6, "unsure": 0.15, "low": low, "high": high},
        {"class": "Real", "source": "phone", "n": 9, "called_fake": 0.1, "unsure": 0.0, "low": 0.0, "high": 0.4},
    ]
    it = replace(it, found=[replace(first, facts=first.facts | {"sources": sources})])
    interval = f"({100 * low:.1f} to {100 * high:.1f})"
    told = f"{word}. Of 40, 60.0 % {interval} are called Fake, 15.0 % Unsure, 25.0 % Real."
    assert card.found_of_kinds(it) == [f"{first.set_name[0].upper()}{first.set_name[1:]}, paint: {told}"]
    it.known[first.set_name.split("/")[0]]["kinds"] = {"paint": "painted faces"}
    assert card.found_of_kinds(it) == [f"Painted faces: {told}"]
    assert (f"Painted faces: {told}" in card.weak_spots(it)) == (word != "found often")


def test_what_twins_said_of_kinds_left_out_stands_in_it(world, models):
    it = known(world, models)
    assert not card.of_left_out(it)
    rows = {name: {"n": n, "confident_mistakes": share} for name, n, share in (("Fake/a", 40, 0.5), ("b", 60, 0.1))}
    it = replace(it, metadata=replace(it.metadata, training=it.metadata.training | {"left_out": rows}))
    [sentence] = card.of_left_out(it)
    assert "30.0 % of it on average scored below 0.1: Fake/a 50.0 % of 40, b 10.0 % of 60." in sentence
    assert sentence in card.weak_spots(it)
    for odd in ("text", {"x": 3}, {}):
        assert not card.of_left_out(replace(it, metadata=replace(it.metadata, training={"left_out": odd})))


def test_a_joined_detectors_parts_are_made_first(world, models):
    it = known(world, models)
    parts = [{"arch": "tiny", "sha256": "x", "weight": w, "training": it.metadata.training} for w in (1.0, 0.25)]
    joined = replace(it, metadata=replace(it.metadata, training=it.metadata.training | {"joined": parts}))
    text = card_page.again(joined)[0]
    assert text.count(card_page.training_command(it)) == 2
    assert (
        "python -m tools.join results/best_1/best.safetensors results/best_2/best.safetensors --weights 1,0.25" in text
    )


def test_the_command_that_makes_it_again_is_the_one_that_made_it(world, models):
    it = known(world, models)
    words = shlex.split(card_page.training_command(it))
    assert words[:4] == ["python", "train.py", "--data", "both"] and not any("/" in word for word in words)
    args = train.parse_arguments([*words[2:], "--out", "x"])
    settings = it.metadata.training["settings"]
    assert train.dataclasses.asdict(args.values) == settings["recipe"] | {"crops": (32, 48)}
    assert train.dataclasses.asdict(args.head) == settings["head"] == {"hidden": 16, "dropout": 0.1}
    assert (args.arch, args.seed, args.size, args.pretrained) == ("tiny", 3, 48, "none")
    told = card_page.evaluation_command(it)
    expected = "--data film/Test --data grid/Test --extra other=other --robustness film/Test other --stability"
    assert told.endswith(f"best.onnx {expected}")


def test_a_card_says_that_a_detector_looks_in_the_mirror(world, models):
    it = known(world, models)
    (models / "best.safetensors").unlink()  # it is another detector then
    mirrored = replace(it, metadata=replace(it.metadata, preprocess=replace(it.metadata.preprocess, mirror=True)))
    for one, command_of_export in ((it, "best.safetensors"), (mirrored, "best_calibrated.safetensors")):
        commands = card_page.again(one)[0]
        assert ("best.safetensors --data both --mirror" in commands) == (one is mirrored)
        assert f"tools.export results/best/{command_of_export} --out" in commands
        assert ("pixels, and in the mirror, and gives" in card_page.what_it_is(one)[0]) == (one is mirrored)


def test_the_server_shows_the_card(world, models, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "deepfake-app"))
    about = importlib.import_module("about")
    assert report.main(command(world / "results", "--card", models / "best.onnx")) == 0
    shown = about.describe(
        about.Detector(None, read_metadata(models / "best.onnx"), models / "best.onnx"), "best", explains=False
    )
    assert shown["date"] == read_metadata(models / "best.onnx").training["started"]
    assert [(row["set"], row["kind"]) for row in shown["metrics"]] == [
        ("film/Test", "in-domain"), ("grid/Test", "in-domain"), ("other", "foreign")
    ]  # fmt: skip
    assert all(isinstance(value, str | int | None) for row in shown["metrics"] for value in row.values())
    matrix = shown["confusion_matrix"]
    assert list(matrix) == [f"{label} ({name}/Test)" for name in ("film", "grid") for label in ("Real", "Fake")]
    assert sum(matrix["Fake (film/Test)"].values()) == 10
    assert any("research" in line for line in shown["data_notes"]) and any(
        "28 images for Train" in line for line in shown["data_notes"]
    )
    assert shown["weak_spots"] == card.weak_spots(known(world, models))


def refused(capsys, world, path, results=None):
    text = (path.parent / "README.md").read_text()
    assert report.main(command(results or world / "results", "--card", path)) == 1
    assert (path.parent / "README.md").read_text() == text and not path.with_suffix(".card.json").exists()
    return capsys.readouterr().err


def test_no_card_without_the_terms_of_what_it_was_trained_on(world, models, capsys):
    less = {name: one for name, one in DATA_SETS.items() if name != "film"}
    for content, message in (
        (json.dumps(less), "says nothing of film"),
        ("[]", "must name data sets"),
        ('{"x": {"what": "y"}}', "must name data sets"),
        (json.dumps(DATA_SETS | {"grid": DATA_SETS["grid"] | {"terms": 3}}), "must be texts"),
        (json.dumps(DATA_SETS | {"grid": DATA_SETS["grid"] | {"limits": "x"}}), "must be texts"),
    ):
        (models / "data_sets.json").write_text(content)
        assert message in refused(capsys, world, models / "best.onnx")
    (models / "data_sets.json").unlink()
    assert "No such file" in refused(capsys, world, models / "best.onnx")


def test_no_card_that_would_be_false(world, models, tmp_path, capsys):
    path = models / "best.onnx"
    assert "no evaluation of" in refused(capsys, world, models / "best.safetensors")
    for number, (role, old, new, message) in enumerate(
        [("in-domain", "grid/Test", "other", "was not trained on it"), ("foreign", "other", "grid", "is not foreign"),
         ("foreign", "other", "film/Test", "more than once"), ("foreign", "other", "Train", "trained or chosen on")]
    ):  # fmt: skip
        results = shutil.copytree(world / "results", tmp_path / f"results{number}")
        if new == "other":
            shutil.rmtree(results / "best/extra")
        [one] = [one for one in pages.gather(results) if (one.role, one.set_name) == (role, old)]
        facts = one.facts | {"data": one.facts["data"] | {"name": new}}
        (one.folder / "metrics.json").write_text(json.dumps(facts))
        assert message in refused(capsys, world, path, results)
    (models / "README.md").write_text("no marks")
    assert "has no lines <!-- card -->" in refused(capsys, world, path)
    assert "model file not found" in refused(capsys, world, models / "gone.onnx")


def test_the_file_beside_it_must_be_the_same_detector(world, models, capsys):
    other = models / "best.safetensors"
    metadata = read_metadata(other)
    changed = replace(metadata, calibration=replace(metadata.calibration, threshold=0.123, unsure=None))
    save_checkpoint(other, read_weights(other), changed)
    assert "best.safetensors is another detector" in refused(capsys, world, models / "best.onnx")
    other.unlink()
    assert report.main(command(world / "results", "--card", models / "best.onnx")) == 0
    assert "best.safetensors`" not in (models / "README.md").read_text()


def test_what_ships_is_described():
    """models/: the data sets that the card may name, and the marks it is written between."""
    sets = card.read_data_sets(ROOT / "models/data_sets.json")
    assert {"dfdc", "stylegan", "cifake"} <= set(sets)
    text = (ROOT / "models/README.md").read_text()
    for path in sorted((ROOT / "models").glob("*.onnx")):
        assert f"`{path.name}`" in text
    shipped = [path for path in find_models(ROOT / "models") if path.suffix == ".onnx"]
    assert {path.stem for path in shipped} == {"default", "large"}
    for path in shipped:
        begin, end = (text.index(f"<!-- {mark}card {path.stem} -->") for mark in ("", "/"))
        assert fingerprint(str(path)) in text[begin:end], "python -m tools.report --card makes the card anew"
        assert path.with_suffix(".card.json").is_file() and end < text.index("## The face finder")


def test_several_cards_in_one_page(world, models):
    page = models / "README.md"
    page.write_text("<!-- card other -->\nkept\n<!-- /card other -->\n<!-- card best -->\n<!-- /card best -->\n")
    assert report.main(command(world / "results", "--card", models / "best.onnx")) == 0
    text = page.read_text()
    assert text.startswith("<!-- card other -->\nkept\n<!-- /card other -->\n<!-- card best -->\nMade by")
