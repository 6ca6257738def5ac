"""A bar on a terminal, a line now and then elsewhere."""

import io

import pytest

import train
from progress import EVERY, Bar, duration
from training.recipes import RECIPES, with_values


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def at(shown: Bar, seconds: float) -> None:
    """Set its clock."""
    shown._time = lambda: shown.start_t + seconds


def test_a_line_now_and_then_where_there_is_no_terminal():
    out = io.StringIO()
    with Bar(total=16_001, desc="indexing", unit="img", file=out) as shown:
        for done, seconds in ((100, 1), (4_000, EVERY - 1), (4_200, 70), (4_300, 71), (8_000, 140)):
            at(shown, seconds)
            shown.update(done - shown.n)
    assert out.getvalue().splitlines() == [
        "indexing: 4,200 of 16,001 img, 1 min 10 s, about 3 min 17 s left",
        "indexing: 8,000 of 16,001 img, 2 min 20 s, about 2 min 20 s left",
    ]


def test_quick_work_says_nothing():
    out = io.StringIO()
    assert list(Bar(range(5), desc="quick", file=out)) == [0, 1, 2, 3, 4] and out.getvalue() == ""


def test_what_is_resumed_is_timed_from_there_and_no_total_has_no_end():
    out = io.StringIO()
    with Bar(total=100, initial=50, desc="epoch 2/3", unit="step", file=out) as shown:
        at(shown, 60)
        shown.update(25)
    with Bar(desc="more", file=out) as shown:
        at(shown, 60)
        shown.update(7)
    assert out.getvalue().splitlines() == [
        "epoch 2/3: 75 of 100 step, 1 min 0 s, about 1 min 0 s left",
        "more: 7 it, 1 min 0 s",
    ]


def test_a_terminal_has_a_bar_that_goes():
    out = Terminal()
    for _ in Bar(range(3), desc="judging", file=out):
        pass
    assert "judging" in out.getvalue() and "\n" not in out.getvalue()
    assert Bar(range(3), disable=True, file=out).disable


def test_durations():
    assert [duration(s) for s in (0.4, 59.4, 60, 3599, 3600, 90_000)] == [
        "0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "25 h 0 min"
    ]  # fmt: skip


def test_what_fails_cheaply_fails_before_the_data_are_looked_at(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dataset.training_data", lambda *a, **k: pytest.fail("the data were indexed"))
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    flags = ["--data", str(tmp_path), "--arch", "tiny", "--out", str(tmp_path / "out")]
    for weights, words in (
        ("/nope.pth", "model file not found"),
        (str(tmp_path / "bad.pth"), "not a PyTorch weights file"),
    ):
        assert train.main([*flags, "--pretrained", weights]) == 3
        assert words in capsys.readouterr().err
    assert train.main([*flags, "--teacher", "/nope.csv"]) == 1
    assert "/nope.csv: No such file" in capsys.readouterr().err


def test_too_few_epochs_for_a_frozen_start_name_the_remedy():
    with pytest.raises(ValueError, match=r"less than the 2 epochs \(--set head_epochs=1, or more --epochs\)"):
        with_values(RECIPES["transfer"], {"epochs": "2"})
