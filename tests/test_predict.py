"""predict.py as a user runs it: verdicts, exit codes, and every bad input through the command line."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace

import hostile
import pytest
import torch
import torchvision
from conftest import ROOT, make_image, run
from test_onnx import saved_with

import predict
from detector import DEFAULT_MODEL
from detector.calibration import Calibration
from detector.checkpoint import read_metadata, read_weights, save_checkpoint
from imaging.door import open_image
from judging import stability
from model import Head
from names import percent
from tools.export import to_onnx

SCORED = [name for name, case in hostile.IMAGES.items() if case.slug is None]
REFUSED = [name for name, case in hostile.IMAGES.items() if case.slug is not None]


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    return hostile.write_all(tmp_path_factory.mktemp("bad"))


@pytest.fixture(scope="module")
def bad_models(tmp_path_factory):
    return hostile.write_models(tmp_path_factory.mktemp("bad-models"))


@pytest.fixture
def judge(decided, capsys):
    """predict.main in this process: (status, answers by file, stderr)."""

    def call(*arguments, model=decided):
        try:
            status = predict.main(["--json", "--model", str(model), *map(str, arguments)])
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err

    return call


@pytest.mark.parametrize("name", hostile.IMAGES)
def test_each_image_gets_its_answer(bad, judge, name):
    case, path = hostile.IMAGES[name], bad[name]
    before = sorted(path.parent.iterdir())
    status, [answer], said = judge(path)
    assert answer["file"] == str(path)
    assert sorted(path.parent.iterdir()) == before  # nothing is written beside it
    assert hostile.GPS_MARK.decode() not in said + json.dumps(answer)
    if case.slug is None:
        assert (status, "error" in answer) == (0, False)
        assert answer["verdict"] in ("Real", "Fake") and 0 <= answer["score"] <= 1
        if case.note:
            assert any(case.note in note for note in answer["notes"])
    else:
        assert status == 1
        assert answer["error"]["slug"] == case.slug and case.says in answer["error"]["detail"]
        assert said.splitlines() == [f"predict.py: error: {path}: {answer['error']['detail']}"]


@pytest.mark.parametrize("name", hostile.MODELS)
def test_each_model_file_gets_its_answer(bad_models, judge, name, tmp_path):
    case = hostile.MODELS[name]
    make_image(True, 1).save(tmp_path / "photo.png")
    before = sorted(bad_models[name].parent.iterdir())
    status, answers, said = judge(tmp_path / "photo.png", model=bad_models[name])
    if case.says is None:
        assert (status, len(answers)) == (0, 1)
    else:
        assert (status, answers) == (3, [])
        assert said.startswith(f"predict.py: error: {bad_models[name]}: ") and case.says in said
        assert "Traceback" not in said and len(said.splitlines()) == 1
    assert sorted(bad_models[name].parent.iterdir()) == before  # code in a file would leave a mark there


@pytest.mark.parametrize(
    ("model", "message"), [("missing.safetensors", "model file not found"), (".", "is a directory")]
)
def test_a_model_that_is_not_there(judge, tmp_path, model, message):
    make_image(True, 1).save(tmp_path / "photo.png")
    status, _, said = judge(tmp_path / "photo.png", model=model)
    assert (status, message in said) == (3, True)


WITHOUT_MODEL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv.pop(1))
import detector
detector.DEFAULT_MODEL = Path(sys.argv.pop(1))
import predict
status = predict.main(sys.argv[1:])
print(status, *sys.modules)
"""


def without_model(folder, default, *arguments):
    """predict.py without --model, called from `folder`, where another file is the default: (output, stderr)."""
    command = [sys.executable, "-c", WITHOUT_MODEL, str(ROOT), str(default), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.stdout.splitlines(), done.stderr


def test_without_a_model_the_one_beside_the_program_judges(exported, tmp_path):
    assert DEFAULT_MODEL == ROOT / "models" / "default.onnx"
    (tmp_path / "photos").mkdir()
    make_image(True, 1).save(tmp_path / "photos/photo.png")
    (answer, last), _ = without_model(tmp_path, exported, "photos/", "--json")
    assert json.loads(answer)["model"]["name"] == "tiny.onnx"
    assert last.startswith("0 ") and "onnxruntime" in last.split()
    assert not {"torch", "torchvision", "timm", "onnx", "sklearn", "matplotlib"} & set(last.split())


def test_without_any_model_it_says_what_to_do(tmp_path):
    make_image(True, 1).save(tmp_path / "photo.png")
    default = tmp_path / "models/default.onnx"
    (last,), said = without_model(tmp_path, default, "photo.png")
    assert last.startswith("3 ")
    assert said == f"predict.py: error: {default}: model file not found; name a detector with --model\n"


def test_bad_images_alone_do_not_load_the_model(judge, bad):
    status, answers, _ = judge(bad["empty.jpg"], bad["pdf.jpg"], model="missing.safetensors")
    assert (status, len(answers)) == (1, 2)


def test_a_model_that_returns_nan(judge, monkeypatch, tmp_path):
    make_image(True, 1).save(tmp_path / "photo.png")
    broken = torch.full((1, 2), float("nan"))
    monkeypatch.setattr("model.Tiny.forward", lambda self, x: broken)
    status, answers, said = judge(tmp_path / "photo.png")
    assert (status, answers) == (3, []) and "the model returned a non-finite score" in said


def test_paths(judge, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    locked = tmp_path / "locked.png"
    make_image(True, 1).save(locked)
    if os.geteuid() == 0:  # root reads everything
        opened = open
        monkeypatch.setattr(
            "builtins.open",
            lambda p, *a, **k: (_ for _ in ()).throw(PermissionError(13, "")) if p == locked else opened(p, *a, **k),
        )
    else:
        locked.chmod(0)
    status, answers, said = judge(tmp_path / "nowhere.jpg", tmp_path / "empty", locked)
    assert status == 1
    assert [answer["error"]["slug"] for answer in answers] == ["no-such-file", "no-images", "permission-denied"]
    assert f"no images in {tmp_path / 'empty'}" in said and "no such file" in said and "permission denied" in said


def test_a_folder_that_cannot_be_entered_is_said(judge, tmp_path, monkeypatch):
    closed, walk = tmp_path / "closed", os.walk
    closed.mkdir()
    make_image(True, 1).save(tmp_path / "1.png")

    def refusing(folder, **options):
        options["onerror"](PermissionError(13, "Permission denied", str(closed)))
        yield from walk(folder, **options)

    monkeypatch.setattr(os, "walk", refusing)
    status, answers, said = judge(tmp_path)
    assert status == 1 and len(answers) == 2 and answers[0]["file"].endswith("1.png")
    assert f"{closed}: cannot be entered: Permission denied" in said


def test_folders_are_walked_in_order_and_the_good_are_judged_beside_the_bad(judge, tmp_path):
    for name in ("b.PNG", "a/z.jpg", "a/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        make_image(True, len(name)).save(tmp_path / name)
    (tmp_path / "a/c.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no image by its name")
    status, answers, _ = judge(tmp_path)
    assert status == 1
    assert [answer["file"].removeprefix(f"{tmp_path}/") for answer in answers] == [
        "a/b.png",
        "a/c.png",
        "a/z.jpg",
        "b.PNG",
    ]
    assert ["error" in answer for answer in answers] == [False, True, False, False]


def test_max_mb(judge, bad):
    status, [answer], _ = judge(bad["eleven-megabytes.bmp"], "--max-mb", "12")
    assert (status, answer["image"]) == (0, {"width": 2000, "height": 1900, "format": "BMP"})


def test_what_an_answer_holds(judge, decided, tmp_path):
    make_image(True, 1, 300).save(tmp_path / "photo.png")
    _, [answer], _ = judge(tmp_path / "photo.png")
    assert answer["thresholds"] == {"fake": 0.5, "unsure": None}
    assert answer["model"]["name"] == "decided.safetensors" and answer["model"]["arch"] == "tiny"
    assert len(answer["model"]["sha256"]) == 64
    assert answer["notes"] == [
        "only the central 48x48 of 300x300 pixels were looked at",
        "scores are not calibrated; 0.5 divides Real from Fake",
    ]


def test_a_score_inside_the_band_is_unsure(judge, decided, tmp_path):
    make_image(True, 1).save(tmp_path / "photo.png")
    _, [before], _ = judge(tmp_path / "photo.png")
    band, model = (before["score"] - 0.05, before["score"] + 0.01), tmp_path / "banded.safetensors"
    calibration = Calibration(unsure=band, threshold=0.5, fitted_on="x", n=300)
    save_checkpoint(model, read_weights(decided), replace(read_metadata(decided), calibration=calibration))
    _, [answer], _ = judge(tmp_path / "photo.png", model=model)
    assert (before["verdict"], answer["verdict"], answer["score"]) == ("Fake", "Unsure", before["score"])
    assert answer["thresholds"] == {"fake": 0.5, "unsure": [0.5, band[1]]}
    assert not any("calibrated" in note for note in answer["notes"])


def test_a_verdict_that_flips_is_unsure(judge, decided, tmp_path, monkeypatch, capsys):
    make_image(True, 1).save(tmp_path / "photo.png")
    _, [before], _ = judge(tmp_path / "photo.png")
    assert before["verdict"] == "Fake" and "stability" not in before
    status, [answer], _ = judge(tmp_path / "photo.png", "--stability")
    assert (status, answer["score"]) == (0, before["score"])
    assert list(answer["stability"]["scores"]) == list(stability.CHANGES)
    monkeypatch.setitem(stability.CHANGES, "jpeg-50", lambda image: make_image(False, 1))
    table = ("--csv", tmp_path / "out.csv")
    status, [answer], _ = judge(tmp_path / "photo.png", "--stability", *table)
    assert (status, answer["verdict"], answer["score"]) == (0, "Unsure", before["score"])
    assert answer["stability"]["flips"] and answer["stability"]["low"] == answer["stability"]["scores"]["jpeg-50"] < 0.5
    assert answer["stability"]["high"] >= before["score"]
    [note] = [note for note in answer["notes"] if note.startswith("Unsure: the score goes from ")]
    assert f"from {percent(answer['stability']['low'])} to " in note
    with (tmp_path / "out.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert row["verdict"] == "Unsure" and note in row["notes"]
    assert predict.main([str(tmp_path / "photo.png"), "--model", str(decided), "--stability"]) == 0
    said = capsys.readouterr().out
    assert f"note: {note}" in said and said.splitlines()[1].startswith("Unsure ")


def test_explain_writes_a_picture_and_says_what_it_is_worth(judge, decided, tmp_path, capsys):
    for name in ("a/photo.png", "b/photo.png"):
        (tmp_path / name).parent.mkdir()
        make_image(True, len(name)).save(tmp_path / name)
    (tmp_path / "b/bad.png").write_bytes(b"no image")
    heat = tmp_path / "new/heat"
    status, answers, _ = judge(tmp_path / "a", tmp_path / "b", "--explain", heat)
    assert status == 1 and len(answers) == 3  # of the image that is none, no heat
    explained = [answer["explanation"] for answer in answers if "error" not in answer]
    assert sorted(map(str, heat.iterdir())) == sorted(one["file"] for one in explained)
    assert len({one["file"] for one in explained}) == 2
    for one in explained:
        width, height = open_image(one["file"]).image.size
        assert width == 480 and height > 480  # 48 px, enlarged, between a title and what it is worth
        assert one["box"] == [8, 8, 48, 48] and one["sentence"].endswith(".")
        assert one["deletion"]["explains"] in (True, False) and 0 <= one["deletion"]["rank"] <= 1
    model = str(decided)
    assert predict.main([str(tmp_path / "a"), "--model", model, "--explain", str(heat)]) == 0
    assert f"  heat: {explained[0]['sentence']}\n" in capsys.readouterr().out


def test_explain_where_it_cannot_be(judge, decided, tmp_path):
    photo, taken = tmp_path / "photo.png", tmp_path / "taken"
    make_image(True, 1).save(photo)
    taken.write_text("a file")
    status, answers, said = judge(photo, "--explain", taken)
    assert (status, answers) == (1, []) and f"{taken}: File exists" in said
    (tmp_path / "heat").mkdir()
    (tmp_path / "heat" / f"{str(photo).strip('/').replace('/', '_')}.heat.png").mkdir()
    status, answers, said = judge(photo, "--explain", tmp_path / "heat")
    assert (status, len(answers)) == (1, 1) and "Is a directory" in said and "Traceback" not in said


def test_explain_with_a_model_that_gives_no_feature_map(judge, tmp_path):
    detector, _ = saved_with(Head(hidden=16), "tiny", tmp_path)
    model = tmp_path / "dense.onnx"
    model.write_bytes(to_onnx(detector))
    make_image(True, 1).save(tmp_path / "photo.png")
    status, answers, said = judge(tmp_path / "photo.png", "--explain", tmp_path / "heat", model=model)
    assert (status, answers) == (3, []) and len(said.splitlines()) == 1
    assert f"{model}: it gives no feature map, so --explain cannot be done" in said
    assert judge(tmp_path / "photo.png", "--stability")[0] == 0


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_original_programs_files_are_judged(judge, tmp_path, prefix):
    network = torchvision.models.resnet50()
    network.fc = torch.nn.Linear(2048, 2)
    path = tmp_path / "model_RESNET50_8_epochs.pth"
    torch.save({prefix + name: tensor for name, tensor in network.state_dict().items()}, path)
    make_image(True, 1, 256).save(tmp_path / "photo.png")
    status, [answer], _ = judge(tmp_path / "photo.png", model=path)
    assert (status, answer["model"]["arch"]) == (0, "resnet50")
    status, _, said = judge(tmp_path / "photo.png", "--model_name", "EFFICIENTNET_B0", model=path)
    assert status == 3 and "do not fit efficientnet_b0 (first mismatch: " in said
    status, _, said = judge(tmp_path / "photo.png", "--model_name", "RESTNET50", model=path)
    assert status == 2 and "invalid choice: 'restnet50' (choose from " in said


def test_table_csv_and_exit_status_of_the_program(decided, bad, tmp_path):
    done = run(
        "predict.py", bad["orientation-6.jpg"], bad["pdf.jpg"], bad["alpha.png"], tmp_path / "gone.jpg",
        "--model", decided, "--csv", tmp_path / "out.csv",
    )  # fmt: skip
    assert done.returncode == 1
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == ["verdict", "P(fake)", "file"]
    assert re.fullmatch(r"(Real|Fake) +[<>]?\d+ %  .*orientation-6\.jpg", lines[0])
    assert any("note: transparent parts are shown on white" in line for line in lines)
    said = done.stderr.splitlines()
    assert said[0].startswith("note: scores are not calibrated")
    assert said[1].endswith("pdf.jpg: not a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC image (it looks like PDF)")
    assert said[2] == f"predict.py: error: {tmp_path / 'gone.jpg'}: no such file"
    assert said[3:] == [f"{tmp_path / 'out.csv'}: 4 rows"]
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["error"]) for row in rows] == [False, True, False, True]


def test_standard_input_and_odd_names(decided, tmp_path):
    odd = os.fsencode(tmp_path) + b"/new\nline\x1b[31m\xff.png"
    make_image(True, 1).save(tmp_path / "x.png")
    os.link(tmp_path / "x.png", odd)
    with (tmp_path / "x.png").open("rb") as file:
        command = [sys.executable, "predict.py", "-", odd, "--model", str(decided)]
        done = subprocess.run(command, cwd=ROOT, stdin=file, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len([line for line in lines if " note: " not in line]) == 3 and any(line.endswith("  -") for line in lines)
    assert "\x1b" not in done.stdout


def test_usage_and_unwritable_csv(decided, tmp_path):
    assert run("predict.py").returncode == 2
    make_image(True, 1).save(tmp_path / "x.png")
    done = run("predict.py", tmp_path / "x.png", "--model", decided, "--csv", tmp_path)
    assert done.returncode == 1 and "Is a directory" in done.stderr and "Traceback" not in done.stderr


def test_ctrl_c(trained, decided, tmp_path):
    for i in range(1500):
        os.symlink(trained / "batch.png", tmp_path / f"{i:04}.png")
    command = [sys.executable, "predict.py", str(tmp_path), "--model", str(decided)]
    program = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    program.stdout.readline()
    program.send_signal(signal.SIGINT)
    _, said = program.communicate(timeout=60)
    assert program.returncode == 130 and "Traceback" not in said


@pytest.mark.parametrize(
    ("score", "text"), [(0.0, "<1 %"), (0.004, "<1 %"), (0.5, "50 %"), (0.973, "97 %"), (0.9999, ">99 %")]
)
def test_no_score_is_shown_as_certainty(score, text):
    assert percent(score) == text
