"""The benchmark's arithmetic, and that both sides do what is measured."""

import json
import sys
import time

import pytest
import torch
from conftest import run
from safetensors.torch import load_file

from model import create_model, load_backbone
from tools.benchmark import training
from tools.benchmark.__main__ import main
from tools.benchmark.measure import Helper, measure

SLEEPER = """
import sys, time
print("ready", flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    time.sleep(float(line) / 100)
    print("seconds", time.perf_counter() - began, flush=True)
"""


def test_a_helper_works_when_told_to():
    helper = Helper([sys.executable, "-c", SLEEPER])
    try:
        assert 0.05 <= helper.work(5) < 5
        deadline = time.monotonic() + 10
        while state_of(helper.process.pid) not in "Tt":  # stopped, as soon as the system gets round to it
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert helper.work(1) >= 0.01
    finally:
        peak = helper.close()
    assert 1 < peak < 1000  # MB


def state_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0]


def test_a_helper_that_fails_is_an_error():
    with pytest.raises(RuntimeError, match="instead of 'ready'"):
        Helper([sys.executable, "-c", "print('hello')"])
    with pytest.raises(RuntimeError, match="broken"):
        measure([sys.executable, "-c", "raise SystemExit('broken')"])


def test_ratios_are_medians_of_pairs():
    times = {"original": [2.0, 8.0, 3.0], "ours": [1.0, 2.0, 3.0]}
    theirs, ours = training.table(times, {"original": 1.0, "ours": 2.0}, 32)
    assert theirs == {"what": "original", "images_per_second": 32 / 3, "ratio": 1.0, "peak_mb": 1.0}
    assert ours["ratio"] == 2.0 and ours["images_per_second"] == 16.0


def test_when_a_curve_gets_there():
    rows = [{"auc": 0.6, "seconds": 10.0}, {"auc": 0.7, "seconds": 20.0}]
    assert training.reached(rows, 0.65) == "0.650 after 20 s"
    assert training.reached(rows, 0.8) == "0.800 never"


def test_a_curve_is_read_from_what_a_program_prints(monkeypatch, tmp_path):
    """Both kinds of lines: train.py's, and the original's JSON."""
    (tmp_path / "train.py").write_text(
        "print('epoch 1/2:  Validation loss 0.6 accuracy 0.5 AUC 0.6116  10 img/s  1 s')"
    )
    monkeypatch.setattr(training, "ROOT", tmp_path)
    [row] = training.curve([sys.executable, "train.py"])
    assert (row["epoch"], row["auc"]) == (1, 0.6116) and row["seconds"] > 0
    (tmp_path / "other.py").write_text('print(\'{"epoch": 2, "auc": 0.7}\')')
    assert training.curve([sys.executable, "other.py"])[0]["auc"] == 0.7


def test_both_sides_load_and_train(small_set):
    """The very helpers that are measured, on a small set."""
    for command in (
        [*training.ORIGINAL, "loader", small_set, 8],
        [*training.OURS, "steps", "efficientnet_b0", small_set, 4, "cpu"],
    ):
        helper = Helper(command)
        assert helper.work(2) > 0
        helper.close()


def test_the_original_is_trained_from_the_weights_given(small_set, tmp_path):
    start = training.initial_weights("efficientnet_b0", 1, str(tmp_path))
    weights = load_file(start)
    assert load_backbone(create_model("efficientnet_b0"), weights, "efficientnet_b0")  # ours takes the head along
    torch.manual_seed(1)
    assert all(
        torch.equal(weights[name], tensor) for name, tensor in create_model("efficientnet_b0").state_dict().items()
    )
    done = run("tools/benchmark/original.py", "train", "efficientnet_b0", small_set, 1, 0, start)
    row = json.loads(done.stdout)
    assert row["epoch"] == 1 and 0 <= row["auc"] <= 1


def test_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--arch", "resnet50"])
    assert stop.value.code == 2 and "train needs --data" in capsys.readouterr().err
