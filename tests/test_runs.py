"""Whole runs of train.py: resumed, on several processes, with several seeds, in phases, and what ends them."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT, made_once, make_set
from forks import end, start, start_ranks
from kill_and_resume import command, result, where

import train
from detector import load
from detector.checkpoint import read_metadata, read_weights

main_eval = __import__("importlib").import_module("eval").main_eval
pytestmark = pytest.mark.usefixtures("unrendered")


def rows(out) -> list[dict]:
    with (out / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def small_run(data, out, *more) -> int:
    """train.main in this process: `tiny` on 32 px crops."""
    given = ["--data", data, "--arch", "tiny", "--size", 32, "--epochs", 2, "--batch-size", 8, "--out", out, *more]
    return train.main(list(map(str, given)))


def torchrun(processes: int, *arguments, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", processes, *arguments]
    return subprocess.Popen(
        list(map(str, command)), cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


# Resuming -----------------------------------------------------------------------------------------------------------


def test_killed_and_resumed_is_undisturbed(tmp_path):
    """Bit for bit. `python tests/kill_and_resume.py` does it with more kills, workers or none, any cache."""
    data, out = make_set(tmp_path / "set", {"Train": 150, "Validation": 10}), tmp_path / "killed"
    _, *straight = command(data, tmp_path / "straight", 2, "disk")
    assert train.main(straight[1:]) == 0
    _, *killed = command(data, out, 2, "disk")
    before = (0, 0)
    for _ in range(2):
        process, deadline = start(tmp_path / "said", *killed), time.monotonic() + 60
        while not (where(out) > before and where(out)[1] > 0):
            assert time.monotonic() < deadline and process.is_alive()
            time.sleep(0.02)
        process.kill()
        process.join()
        before = where(out)
    assert before < (3, 75) and before[1] > 0  # inside an epoch, and not at the end
    assert end(start(tmp_path / "said", *killed)) == [0], (tmp_path / "said").read_text()
    assert result(out) == result(tmp_path / "straight")


def test_ctrl_c_inside_an_epoch_goes_on_from_that_batch(small_set, tmp_path, monkeypatch, capsys):
    """And neither workers nor where the pictures come from change anything."""
    assert small_run(small_set, tmp_path / "a", "--recipe", "robust") == 0
    steps = iter(range(1000))
    learn = train.engine.Learner.learn

    def interrupted(self, *given, **named):
        if next(steps) == 8:  # six steps make an epoch
            os.kill(os.getpid(), signal.SIGINT)
        return learn(self, *given, **named)

    monkeypatch.setattr(train.engine.Learner, "learn", interrupted)
    assert small_run(small_set, tmp_path / "b", "--recipe", "robust", "--cache", "ram") == 130
    assert "interrupted in epoch 2 of 2, 3 steps done" in capsys.readouterr().err
    assert small_run(small_set, tmp_path / "b", "--recipe", "robust", "--resume", "--workers", "2") == 0
    assert "going on in epoch 2, after 3 steps of it" in capsys.readouterr().err
    assert result(tmp_path / "a") == result(tmp_path / "b")


def test_ctrl_c_while_validating_goes_on_from_there(small_set, tmp_path, monkeypatch, capsys):
    assert small_run(small_set, tmp_path / "a") == 0
    evaluate = train.evaluate

    def interrupted(*given):
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*given)

    with monkeypatch.context() as patch:
        patch.setattr(train, "evaluate", interrupted)
        assert small_run(small_set, tmp_path / "b") == 143
    assert "stopped by SIGTERM in epoch 1 of 2, 6 steps done" in capsys.readouterr().err
    assert small_run(small_set, tmp_path / "b", "--resume") == 0
    assert result(tmp_path / "a") == result(tmp_path / "b")


def test_a_second_ctrl_c_saves_nothing_half_done(small_set, tmp_path, monkeypatch, capsys):
    """The first one waits for the end of the step; the second is obeyed in the middle of it."""
    learn = train.engine.Learner.learn

    def interrupted(self, *given, **named):
        if self.steps == 8:
            learn(self, *given, **named)
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return learn(self, *given, **named)

    assert small_run(small_set, tmp_path / "a") == 0
    with monkeypatch.context() as patch:
        patch.setattr(train.engine.Learner, "learn", interrupted)
        assert small_run(small_set, tmp_path / "b", "--save-every", "7") == 130
    assert "goes on from the last state that was saved" in capsys.readouterr().err
    assert small_run(small_set, tmp_path / "b", "--resume") == 0
    assert "going on in epoch 2, after 1 steps of it" in capsys.readouterr().err
    assert result(tmp_path / "a") == result(tmp_path / "b")


def test_only_the_same_run_goes_on(small_set, tmp_path, capsys):
    out = tmp_path / "run"
    assert small_run(small_set, out, "--resume") == 0  # begins where there is none
    before = (out / "last.safetensors").stat().st_mtime_ns
    assert small_run(small_set, out, "--resume") == 0
    assert "is finished; kept" in capsys.readouterr().err
    for flags, said in (
        (["--lr", "0.1"], "recipe.learning_rate: 0.0003 there, 0.1 now"),
        (["--seed", "1"], "seed: 0 there, 1 now"),
        (["--frame", "face"], "preprocess.frame: whole there, face now"),
        (["--head", "16"], "head.hidden: 0 there, 16 now"),
    ):
        assert small_run(small_set, out, "--resume", *flags) == 1
        assert said in capsys.readouterr().err
    other = make_set(tmp_path / "other", {"Train": 4, "Validation": 4})
    assert small_run(other, out, "--resume") == 1
    assert "data.Train" in capsys.readouterr().err
    assert (out / "last.safetensors").stat().st_mtime_ns == before


def test_a_damaged_state_is_said(small_set, tmp_path, capsys):
    out = tmp_path / "run"
    assert small_run(small_set, out) == 0
    (out / "metrics.json").unlink()
    (out / "state.pt").write_bytes(b"nothing")
    assert small_run(small_set, out, "--resume") == 1
    assert "state.pt cannot be read; add --overwrite to begin anew" in capsys.readouterr().err
    assert small_run(small_set, out, "--overwrite") == 0 and not (out / "state.pt").exists()


def test_phases_resume_at_their_border(small_set, tmp_path, monkeypatch):
    """The first phase trains the head alone; a run that stops between the two begins the second as another does."""
    flags = ("--set", "head_epochs=1", "--set", "trained=top", "--set", "ema=0.9")
    assert small_run(small_set, tmp_path / "a", *flags, "--keep-epochs", "1") == 0
    learned = read_weights(tmp_path / "a/epoch_1.safetensors")
    torch.manual_seed(0)
    train.engine.seed_everything(0)
    fresh = train.model.create_model("tiny").state_dict()
    assert {name for name in fresh if not torch.equal(fresh[name], learned[name])} == {
        "classifier.weight", "classifier.bias",
    }  # fmt: skip
    next_epoch = train.Run.next_epoch

    def stop(self):
        next_epoch(self)
        if self.progress.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train.Run, "next_epoch", stop)
        assert small_run(small_set, tmp_path / "b", *flags, "--keep-epochs", "1") == 130
    assert small_run(small_set, tmp_path / "b", *flags, "--keep-epochs", "1", "--resume") == 0
    assert result(tmp_path / "a") == result(tmp_path / "b")


# What a run can be told ---------------------------------------------------------------------------------------------


def test_seeds_are_reported_together(small_set, tmp_path, capsys):
    assert small_run(small_set, tmp_path / "runs", "--seeds", 2, "--seed", 5, "--epochs", 1) == 0
    facts = json.loads((tmp_path / "runs/seeds.json").read_text())
    assert set(facts["validation_auc"]) == {"5", "6"} and facts["standard_deviation"] >= 0
    assert facts["mean"] == pytest.approx(sum(facts["validation_auc"].values()) / 2)
    assert "2 seeds: Validation AUC" in capsys.readouterr().out
    weights = [read_weights(tmp_path / f"runs/seed_{seed}/last.safetensors") for seed in (5, 6)]
    assert not torch.equal(*(one["classifier.weight"] for one in weights))


def test_training_stops_early(small_set, tmp_path, capsys):
    """With a learning rate of next to nothing no epoch is better than the first."""
    out = tmp_path / "run"
    assert small_run(small_set, out, "--epochs", 30, "--lr", "1e-12", "--set", "patience=2", "--set", "ema=0") == 0
    assert len(rows(out)) <= 12 and "stopped after" in capsys.readouterr().out
    best = json.loads((out / "metrics.json").read_text())
    assert best["epochs"] == best["best_epoch"] + 2


def test_a_head_travels_with_its_checkpoint(small_set, tmp_path):
    out = tmp_path / "run"
    assert small_run(small_set, out, "--head", 16, "--dropout", 0.5, "--epochs", 1) == 0
    metadata = read_metadata(out / "best.safetensors")
    assert metadata.head == {"hidden": 16, "dropout": 0.5}
    assert load(out / "best.safetensors").backend.network.classifier[-1].in_features == 16
    assert main_eval(["--models", str(out), "--data", str(small_set), "--out", str(tmp_path / "eval")]) == 0


def test_crops_grow(small_set, tmp_path):
    assert small_run(small_set, tmp_path / "run", "--crop", "24,32") == 0
    assert [row["crop"] for row in rows(tmp_path / "run")] == ["24", "32"]


def test_tensorboard(small_set, tmp_path, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    assert small_run(small_set, out, "--tensorboard") == 0
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    shown = [round(event.value, 4) for event in events.Scalars("val/auc")]
    assert shown == [round(float(row["val_auc"]), 4) for row in rows(out)]


def test_a_loss_that_is_not_finite_names_the_batch(small_set, tmp_path, capsys):
    out = tmp_path / "other"
    learn = train.engine.Learner.learn

    def poison(self, *given, **named):
        if self.steps == 7:
            self.network.classifier.bias.data[0] = float("nan")
        return learn(self, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.engine.Learner, "learn", poison)
        assert small_run(small_set, out) == 1
    said = capsys.readouterr().err
    assert "the loss of step 2 is not a finite number in epoch 2; try a lower --lr. Its images:" in said
    named = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    assert len(named) == 8 and all(name.startswith(str(small_set / "Train")) for name in named)
    assert all(torch.isfinite(t).all() for t in read_weights(out / "last.safetensors").values())


def test_memory_of_the_device_is_full(small_set, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(train.engine.Learner, "learn", full)
    assert small_run(small_set, tmp_path / "run") == 1
    assert "try half the --batch-size with --set accumulate=2" in capsys.readouterr().err


# Several processes --------------------------------------------------------------------------------------------------


def both_said(folder) -> str:
    return "".join((folder / f"said.{n}").read_text() for n in range(2))


@pytest.fixture(scope="module")
def two_and_one(small_set, tmp_path_factory):
    """The same run on two processes and on one: batches of seven, a last one of six, dealt out unevenly."""
    return made_once(tmp_path_factory, "processes", lambda folder: train_both(small_set, folder))


def train_both(small_set, folder) -> None:
    folder.mkdir()
    flags = ("--data", small_set, "--arch", "tiny", "--size", 32, "--epochs", 2, "--batch-size", 7,
             "--precision", "fp64", "--recipe", "robust", "--lr", 0.003, "--out")  # fmt: skip
    two = start_ranks(folder / "said", 2, "train.py", *flags, folder / "two")
    assert train.main(list(map(str, [*flags, folder / "one"]))) == 0
    statuses, said = end(*two), both_said(folder)
    assert statuses == [0, 0], said
    assert said.count("epoch 1/2") == 1 and said.count("checkpoint:") == 1  # one speaks for all


def test_two_processes_learn_what_one_does(two_and_one):
    two, one = (rows(two_and_one / name) for name in ("two", "one"))
    for ours, theirs in zip(two, one, strict=True):
        assert float(ours["train_loss"]) == pytest.approx(float(theirs["train_loss"]), abs=1e-5)
        assert {k: v for k, v in ours.items() if k.startswith("val_")} == {
            k: v for k, v in theirs.items() if k.startswith("val_")
        }
    predictions = [(two_and_one / name / "predictions.csv").read_text() for name in ("two", "one")]
    assert predictions[0].count("\n") == predictions[1].count("\n") == 17
    weights = [read_weights(two_and_one / name / "last.safetensors") for name in ("two", "one")]
    assert all(torch.allclose(weights[0][key], weights[1][key], atol=1e-6) for key in weights[0])


def test_two_processes_choose_by_what_is_kept(small_set, tmp_path):
    """With batch normalisation too: each process has averages of its own, one of them is judged and saved."""
    flags = ("train.py", "--data", small_set, "--arch", "efficientnet_b0", "--size", 32, "--epochs", 1, "--recipe",
             "robust", "--batch-size", 12, "--out", tmp_path / "run")  # fmt: skip
    assert end(*start_ranks(tmp_path / "said", 2, *flags)) == [0, 0], (tmp_path / "said.0").read_text()
    model, data = str(tmp_path / "run/best.safetensors"), str(small_set / "Validation")
    assert main_eval(["--models", model, "--data", data, "--out", str(tmp_path / "eval")]) == 0
    with (tmp_path / "run/predictions.csv").open() as ours, (tmp_path / "eval/best/predictions.csv").open() as theirs:
        for row, other in zip(csv.DictReader(ours), csv.DictReader(theirs), strict=True):
            assert row["path"] == other["path"]
            assert float(row["score"]) == pytest.approx(float(other["score"]), abs=1e-5)


def test_two_processes_judge_what_one_does(two_and_one, small_set, tmp_path):
    model = two_and_one / "one/best.safetensors"
    flags = ("eval.py", "--models", model, "--data", small_set / "Train", "--out")
    two = start_ranks(tmp_path / "said", 2, *flags, two_and_one / "judged")
    statuses, said = end(*two), both_said(tmp_path)
    assert statuses == [0, 0], said
    assert main_eval(list(map(str, [*flags[1:], two_and_one / "alone"]))) == 0
    files = [two_and_one / name / "best/predictions.csv" for name in ("judged", "alone")]
    assert files[0].read_text() == files[1].read_text() and files[0].read_text().count("\n") == 49
    assert said.count("architecture ") == 1  # one table


def test_two_processes_stop_together_and_go_on(two_and_one, small_set, tmp_path):
    """SIGTERM to one of them: both end at the same step, whose sums are in the state; then as undisturbed."""
    flags = ("train.py", "--data", small_set, "--arch", "tiny", "--size", 32, "--epochs", 60, "--batch-size", 7,
             "--precision", "fp64", "--resume", "--out", tmp_path / "run")  # fmt: skip
    both = start_ranks(tmp_path / "said", 2, *flags)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run/last.safetensors").exists():  # the first epoch is over
        assert time.monotonic() < deadline and both[0].is_alive()
        time.sleep(0.02)
    both[1].terminate()
    statuses, said = end(*both), both_said(tmp_path)
    assert statuses == [130, 143]  # one heard of it, one was told
    assert "the same command with --resume goes on there" in said and "is gone" not in said
    stopped = train.resume.load_state(tmp_path / "run")["progress"]
    assert stopped.images == 7 * stopped.step or stopped.step == 14


def test_an_error_of_two_processes_is_said_once(small_set, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/mine").write_text("x")
    flags = ("train.py", "--data", small_set, "--arch", "tiny", "--out", tmp_path / "run")
    assert end(*start_ranks(tmp_path / "said", 2, *flags)) == [1, 1]
    said = both_said(tmp_path)
    assert said.count("train.py: error:") == 1 and "is not empty" in said


def test_a_lost_process_ends_the_run_which_goes_on_later(small_set, tmp_path):
    """Started by torchrun itself, as a user does."""
    out = tmp_path / "run"
    flags = ("train.py", "--data", small_set, "--arch", "tiny", "--size", 32, "--batch-size", 8,
             "--epochs", 400, "--save-every", 5, "--resume", "--out", out)  # fmt: skip
    both = torchrun(2, *flags, start_new_session=True)
    deadline = time.monotonic() + 90
    while not (out / "state.pt").exists():
        assert time.monotonic() < deadline and both.poll() is None
        time.sleep(0.05)
    os.kill(int(rank(both, 1)), signal.SIGKILL)
    said = both.communicate(timeout=60)[1]
    assert both.returncode != 0 and "--resume goes on" in said
    assert not (out / "metrics.json").exists()
    done = train.resume.load_state(out)["progress"]
    assert done.epoch < 400 and (done.epoch, done.step) > (1, 0)


def rank(program: subprocess.Popen, number: int) -> str:
    """The process with that rank among those that torchrun started."""
    children = subprocess.run(["pgrep", "-P", str(program.pid)], capture_output=True, text=True, check=True)
    return next(pid for pid in children.stdout.split() if f"RANK={number}" in environment_of(pid))


def environment_of(pid: str) -> list[str]:
    with open(f"/proc/{pid}/environ") as file:
        return file.read().split("\0")
