"""train.py, eval.py and train_models.sh as a user runs them."""

import csv
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import forks
import numpy as np
import pytest
import sklearn.metrics
import torch
from conftest import ROOT, make_set
from PIL import Image

import train
from dataset import training_data
from detector import load
from detector.checkpoint import read_metadata, read_weights
from training.reporting import CSV_COLUMNS

main_eval = importlib.import_module("eval").main_eval
TIMING = {"seconds", "images_per_second"}


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def tiny_run(data, out, *more):
    """train.main in this process: two epochs of `tiny` on 32 px crops."""
    given = ["--data", data, "--arch", "tiny", "--size", 32, "--epochs", 2, "--batch-size", 8, "--out", out, *more]
    return train.main(list(map(str, given)))


def test_a_run_folder_explains_itself(trained, small_set):
    names = {path.name for path in trained.iterdir()}
    assert names == {
        "config.json", "metrics.csv", "metrics.json", "predictions.csv", "curves.png", "batch.png",
        "confusion_matrix.png", "best.safetensors", "last.safetensors",
    }  # fmt: skip
    rows = table(trained / "metrics.csv")
    assert tuple(rows[0]) == CSV_COLUMNS and [row["epoch"] for row in rows] == list("123456")
    config = json.loads((trained / "config.json").read_text())
    assert config["arguments"]["learning_rate"] == "0.003" and config["recipe"]["learning_rate"] == 0.003
    assert config["data"]["Train"]["n"] == 48 and len(config["data"]["Train"]["digest"]) == 64
    assert re.fullmatch(r"[0-9a-f]{40}\+?", config["git_commit"] or "0" * 40)
    for name, least in (("curves.png", 800), ("batch.png", 800), ("confusion_matrix.png", 500)):
        with Image.open(trained / name) as picture:
            assert picture.width >= least and len(picture.convert("RGB").getcolors(2**24)) > 20


def test_it_learned_and_kept_the_best_epoch(trained):
    rows, metrics = table(trained / "metrics.csv"), json.loads((trained / "metrics.json").read_text())
    aucs = [float(row["val_auc"]) for row in rows]
    assert max(aucs) > 0.9
    assert metrics["best_epoch"] == aucs.index(max(aucs)) + 1
    best = read_metadata(trained / "best.safetensors").training
    assert best["epoch"] == metrics["best_epoch"] and best["validation"]["val_auc"] == max(aucs)
    assert read_metadata(trained / "last.safetensors").training["epoch"] == 6
    predictions = table(trained / "predictions.csv")
    labels = [row["label"] == "Fake" for row in predictions]
    scores = [float(row["score"]) for row in predictions]
    assert sklearn.metrics.roc_auc_score(labels, scores) == pytest.approx(max(aucs), abs=1e-6)
    losses = [float(row["val_loss"]) for row in rows]
    margins = np.array([float(row["logit_fake"]) - float(row["logit_real"]) for row in predictions])
    as_trained = sklearn.metrics.log_loss(labels, 1 / (1 + np.exp(-margins)))
    assert losses[metrics["best_epoch"] - 1] == pytest.approx(as_trained, abs=1e-5)
    assert sklearn.metrics.log_loss(labels, scores) <= as_trained  # the temperature was chosen for that


def test_checkpoints_carry_the_calibration_of_their_own_epoch(trained):
    """best's is that of the predictions and of metrics.json; last's was chosen on last's own scores."""
    metrics = json.loads((trained / "metrics.json").read_text())
    best, last = (read_metadata(trained / f"{name}.safetensors") for name in ("best", "last"))
    data = json.loads((trained / "config.json").read_text())["data"]
    for metadata in (best, last):
        assert metadata.calibration.fitted_on == data["Validation"]["digest"]
        assert metadata.calibration.n == data["Validation"]["n"]
    assert best.calibration.to_dict() == metrics["calibration"]
    assert {name: metrics["validation"][name] for name in best.training["calibrated"]} == best.training["calibrated"]
    for row in table(trained / "predictions.csv"):
        assert row["verdict"] == best.calibration.verdict(float(row["score"]))


@pytest.mark.usefixtures("unrendered")
@pytest.mark.parametrize("workers", [0, 2])
def test_one_seed_gives_one_csv(small_set, tmp_path, workers):
    for out, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert tiny_run(small_set, tmp_path / out, "--seed", seed, "--workers", 0 if out == "a" else workers) == 0
    a, b, c = (
        [{k: v for k, v in row.items() if k not in TIMING} for row in table(tmp_path / o / "metrics.csv")]
        for o in "abc"
    )
    assert a == b != c
    one, two = (read_weights(tmp_path / o / "last.safetensors") for o in "ab")
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.usefixtures("unrendered")
def test_epochs_are_kept_on_demand_and_runs_never_overwritten_in_silence(small_set, tmp_path, capsys):
    out = tmp_path / "run"
    assert tiny_run(small_set, out, "--keep-epochs", "1,2") == 0
    assert read_metadata(out / "epoch_1.safetensors").training["epoch"] == 1
    assert (out / "epoch_2.safetensors").is_file()
    before = (out / "last.safetensors").stat().st_mtime_ns
    assert tiny_run(small_set, out) == 1
    assert "is not empty" in capsys.readouterr().err
    assert (out / "last.safetensors").stat().st_mtime_ns == before
    assert tiny_run(small_set, out, "--overwrite") == 0
    assert not (out / "epoch_1.safetensors").exists()  # nothing of the earlier run stays
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.csv").write_text("x")
    assert tiny_run(small_set, tmp_path / "mine", "--overwrite") == 1
    assert (tmp_path / "mine/thesis.csv").read_text() == "x"


@pytest.mark.usefixtures("unrendered")
def test_original_recipe_is_the_original_program(small_set, tmp_path):
    assert tiny_run(small_set, tmp_path / "run", "--recipe", "original") == 0
    config = json.loads((tmp_path / "run/config.json").read_text())
    recipe, preprocess = config["recipe"], config["preprocess"]
    assert (recipe["optimiser"], recipe["learning_rate"], recipe["schedule"]) == ("adam", 1e-3, "constant")
    assert (recipe["weight_decay"], recipe["flip"], recipe["clip"]) == (0.0, 0.0, None)
    assert (preprocess["fit"], preprocess["interpolation"], preprocess["mean"][0]) == ("resize", "bilinear", 0.485)
    assert {row["learning_rate"] for row in table(tmp_path / "run/metrics.csv")} == {"0.001"}


def test_every_flag_is_read():
    """A flag that nothing reads is a promise nobody keeps."""
    for name, rooms in (("train.py", ["training/*.py"]), ("eval.py", []), ("predict.py", [])):
        files = [ROOT / name, *(path for pattern in rooms for path in ROOT.glob(pattern))]
        source = "\n".join(path.read_text() for path in files)
        flags = re.findall(r'add\("--([a-z-]+)"', source)
        assert len(flags) >= 5
        unread = [flag for flag in flags if f"args.{flag.replace('-', '_')}" not in source]
        assert not unread, f"{name}: {unread}"


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (["--arch", "RESTNET50"], 2, "invalid choice: 'restnet50' (choose from"),
        (["--model_name", "RESTNET50"], 2, "invalid choice"),
        (["--epochs", "0"], 2, "epochs is 0; it must be from 1 to"),
        (["--crop", "5000"], 2, "from 16 to 1024"),
        (["--keep-epochs", "1,9"], 2, "--keep-epochs names epoch 9 of 2"),
        (["--margin", "1.3"], 2, "--margin needs --frame face"),
        (["--upright"], 2, "--upright needs --frame face"),
        (["--frame", "face", "--margin", "9"], 2, "must be from 0.5 to 3, not 9"),
        (["--set", "jpg=0.5"], 2, "no recipe has a 'jpg'; choose from"),
        (["--set", "jpeg"], 2, "--set jpeg: expected NAME=VALUE"),
        (["--head", "3"], 2, "a head of 3 hidden units"),
        (["--save-every", "now"], 2, "--save-every"),
        (["--overwrite", "--resume"], 2, "not allowed with argument"),
        (["--pretrained", "missing.pth"], 3, "model file not found"),
        (["--data", "missing"], 2, "no such folder: missing"),
        (["--data", "docs"], 2, "expected Real/ and Fake/ in docs"),
        (["--out", "/proc/nowhere"], 1, "/proc/nowhere"),
        (["--device", "cuda"], 3, "no CUDA device"),
    ],
)
def test_train_refuses_at_the_door(small_set, tmp_path, capsys, monkeypatch, flags, status, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # on a machine with a GPU too
    try:
        found = tiny_run(small_set, tmp_path / "run", *flags)
    except SystemExit as stop:
        found = stop.code
    assert (found, message in capsys.readouterr().err) == (status, True)
    assert not (tmp_path / "run").exists()  # nothing is left behind


def test_a_full_disk_is_an_error_before_training(small_set, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1))
    assert tiny_run(small_set, tmp_path / "run") == 1
    assert "MB are free" in capsys.readouterr().err


@pytest.mark.usefixtures("unrendered")
def test_dirty_folders(small_set, tmp_path, capsys):
    shutil.copytree(small_set, tmp_path / "set")
    (tmp_path / "set/Train/Fake/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(99))
    (tmp_path / "set/Train/Fake/Thumbs.db").write_bytes(b"x")
    assert tiny_run(tmp_path / "set", tmp_path / "run", "--epochs", 1) == 0
    said = capsys.readouterr().err
    assert "1 image left out that cannot be read; passed over: 1 other file" in said and "broken.jpg: damaged" in said
    assert json.loads((tmp_path / "run/config.json").read_text())["data"]["Train"]["left_out"] == 1
    assert tiny_run(tmp_path / "set", tmp_path / "strict", "--strict") == 1


def test_ctrl_c_leaves_a_usable_checkpoint(small_set, tmp_path):
    out = tmp_path / "run"
    flags = ("--data", small_set, "--arch", "tiny", "--size", 32, "--epochs", 500, "--out", out, "--workers", 2)
    program = forks.start(tmp_path / "said", "train.py", *flags)
    deadline = time.monotonic() + 60
    while not (out / "metrics.csv").exists():  # after the first epoch
        assert time.monotonic() < deadline and program.is_alive()
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(program.pid, signal.SIGINT)
    assert forks.end(program, seconds=60) == [130]
    said = (tmp_path / "said").read_text()
    assert "the same command with --resume goes on there" in said and "Traceback" not in said
    assert load(out / "last.safetensors").metadata.training["epoch"] >= 1
    assert not (out / "metrics.json").exists() and (out / "state.pt").exists()


def test_eval_compares_models_and_survives_a_broken_one(trained, small_set, tmp_path, capsys):
    models, out = tmp_path / "models", tmp_path / "out"
    shutil.copytree(trained, models / "run")
    (models / "broken.pth").write_bytes(b"no weights")
    assert main_eval(["--models", str(models), "--data", str(small_set), "--out", str(out)]) == 1
    rows = {row["model"]: row for row in table(out / "comparison.csv")}
    assert set(rows) == {"broken", "run/best", "run/last"}
    assert rows["broken"]["status"] == "failed: not a PyTorch weights file, or cut short"
    assert rows["run/best"]["status"] == "ok" and rows["run/best"]["n"] == "16"
    shown = capsys.readouterr().out
    assert "run/best" in shown and "failed: not a PyTorch" in shown
    assert shown.startswith((out / "comparison.txt").read_text())
    assert (out / "comparison.md").read_text().count("\n") == 5
    predictions, metrics = (
        table(out / "run/best/predictions.csv"),
        json.loads((out / "run/best/metrics.json").read_text()),
    )
    labels = np.array([row["label"] == "Fake" for row in predictions])
    says = np.array([float(row["score"]) >= metrics["calibration"]["threshold"] for row in predictions])
    assert metrics["confusion_matrix"] == sklearn.metrics.confusion_matrix(labels, says).tolist()
    scores = [float(row["score"]) for row in predictions]
    assert metrics["metrics"]["auc"] == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores))
    low, high = metrics["intervals"]["auc"]
    assert low <= metrics["metrics"]["auc"] <= high
    assert (out / "run/best/confusion_matrix.png").stat().st_size > 5000
    assert main_eval(["--models", str(models), "--data", str(small_set), "--out", str(out)]) == 1
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.usefixtures("unrendered")
def test_eval_says_when_it_judges_what_was_trained_on(trained, small_set, tmp_path, capsys):
    model = str(trained / "best.safetensors")
    assert main_eval(["--models", model, "--data", str(small_set / "Train"), "--out", str(tmp_path / "a")]) == 0
    assert "these are the images of its Train" in capsys.readouterr().err
    assert main_eval(["--models", model, "--data", str(small_set / "Test"), "--out", str(tmp_path / "b")]) == 0
    assert "flatter" not in capsys.readouterr().err


@pytest.mark.usefixtures("unrendered")
def test_eval_of_a_flat_folder_judges_only_what_training_left(tmp_path, capsys):
    root = make_set(tmp_path / "flat", {".": 20})
    assert tiny_run(root, tmp_path / "run", "--epochs", 1, "--seed", 4) == 0
    model = str(tmp_path / "run/best.safetensors")
    assert main_eval(["--models", model, "--data", str(root), "--out", str(tmp_path / "out")]) == 0
    assert "only the tenth left for Test is used" in capsys.readouterr().err
    judged = {row["path"] for row in table(tmp_path / "out/best/predictions.csv")}
    data = training_data(root, seed=4)
    trained_on = {s.path.relative_to(root).as_posix() for part in (data.train, data.validation) for s in part.samples}
    assert len(judged) == 4 and not judged & trained_on


@pytest.mark.parametrize(
    ("models", "data", "status", "message"),
    [
        ("missing", "Test", 3, "model file not found"),
        ("empty", "Test", 3, "no model files in"),
        ("good", "missing", 2, "no such folder"),
        ("good", "..", 2, "expected Real/ and Fake/"),
    ],
)
def test_eval_refuses_at_the_door(trained, small_set, tmp_path, capsys, models, data, status, message):
    (tmp_path / "empty").mkdir()
    model = trained / "best.safetensors" if models == "good" else tmp_path / models
    folder = small_set / data if data != ".." else tmp_path / "empty"
    assert main_eval(["--models", str(model), "--data", str(folder), "--out", str(tmp_path / "out")]) == status
    assert message in capsys.readouterr().err


def shell(environment, tmp_path, script=ROOT / "train_models.sh"):
    """train_models.sh with `tiny`, on small images."""
    environment = {"MODELS": "tiny", "EPOCHS": "2", "RESULTS": str(tmp_path / "results"), "PYTHON": sys.executable,
                   "TRAIN_FLAGS": "--recipe original --size 32", **environment}  # fmt: skip
    return subprocess.Popen(["bash", script], cwd=ROOT, env=os.environ | environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip


@pytest.mark.usefixtures("unrendered")  # where it is called here
def test_train_models_goes_on_after_a_kill_and_keeps_what_is_finished(small_set, tmp_path, capsys):
    results = tmp_path / "results"
    environment = {"DATA": os.path.relpath(small_set, ROOT), "EPOCHS": "9"}
    killed = shell(environment, tmp_path)
    deadline = time.monotonic() + 60
    while not (results / "tiny/state.pt").exists():
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (results / "tiny/metrics.json").exists()
    second = shell(environment, tmp_path)
    table_text, said = second.communicate(timeout=120)
    assert second.returncode == 0, said
    assert "going on in epoch" in said
    assert len(table(results / "tiny/metrics.csv")) == 9 and not (results / "tiny/state.pt").exists()
    models = {row["model"] for row in table(results / "evaluation/comparison.csv")}
    assert models == {"best", "last", "epoch_1", "epoch_3", "epoch_5", "epoch_8"}
    assert "AUC" in table_text
    # Once more, and then otherwise: what the script would call is called here.
    told = tmp_path / "told"
    told.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.$1"\nexit $STATUS\n')
    told.chmod(0o755)
    third = shell(environment | {"PYTHON": str(told), "STATUS": "0"}, tmp_path)
    third.communicate(timeout=30)
    assert third.returncode == 0
    flags = {name: (tmp_path / f"told.{name}.py").read_text().splitlines()[1:] for name in ("train", "eval")}
    assert train.main(flags["train"]) == 0 and "is finished; kept" in capsys.readouterr().err
    assert main_eval(flags["eval"]) == 0
    (tmp_path / "told.eval.py").unlink()
    other = shell(environment | {"PYTHON": str(told), "STATUS": "1", "EPOCHS": "2"}, tmp_path)
    other.communicate(timeout=30)
    assert other.returncode == 1 and not (tmp_path / "told.eval.py").exists()
    assert train.main((tmp_path / "told.train.py").read_text().splitlines()[1:]) == 1
    assert "holds another run (recipe.epochs: 9 there, 2 now)" in capsys.readouterr().err


def test_train_models_without_a_credential_is_one_sentence(tmp_path):
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "kaggle").write_text("#!/bin/sh\necho called >> $0.log\n")
    (fake / "kaggle").chmod(0o755)
    clean = {key: "" for key in ("DATA", "KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY")}
    shutil.copy(ROOT / "train_models.sh", tmp_path)  # it works in its own folder: one without a downloaded set
    program = shell(
        clean | {"HOME": str(tmp_path), "PATH": f"{fake}:{os.environ['PATH']}"},
        tmp_path,
        script=tmp_path / "train_models.sh",
    )
    _, said = program.communicate(timeout=30)
    assert program.returncode == 1
    assert said.splitlines() == [
        "train_models.sh: error: no Kaggle credential: set KAGGLE_API_TOKEN (kaggle.com/settings), or give DATA=folder"
    ]
    assert not (fake / "kaggle.log").exists() and not (tmp_path / "data").exists()
