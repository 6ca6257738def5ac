"""What a score means where fewer pictures are fake than half."""

import csv
import json
from argparse import ArgumentTypeError

import pytest
from conftest import make_image

import predict
from detector.prior import in_words, prior_share, with_prior
from tools import calibrate


def test_bayes_rule():
    assert with_prior(0.9, 0.5) == pytest.approx(0.9)
    # Of 10,000 pictures 100 are fake. Where 9 in 10 of equally many are, a score is nine times as frequent among fakes.
    assert with_prior(0.9, 0.01) == pytest.approx(9 * 100 / (9 * 100 + 9900))
    assert with_prior(0.0, 0.3) == 0 and with_prior(1.0, 0.01) == 1
    assert with_prior(0.2, 0.9) > 0.2 > with_prior(0.2, 0.1)


def test_shares_in_words():
    words = [in_words(share) for share in (0.01, 0.5, 0.3, 0.001, 0.25, 0.000_01)]
    assert words == ["1 in 100", "1 in 2", "3 in 10", "1 in 1,000", "1 in 4", "1 in 100,000"]


@pytest.mark.parametrize("text", ["0", "1", "-0.1", "2", "x", "nan"])
def test_what_is_no_share(text):
    with pytest.raises(ArgumentTypeError, match="a share above 0 and below 1"):
        prior_share(text)


def test_predict_tells_it_and_the_verdict_stays(decided, tmp_path, capsys):
    make_image(True, 1).save(tmp_path / "photo.png")
    command = [str(tmp_path / "photo.png"), "--model", str(decided)]
    assert predict.main([*command, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    table = tmp_path / "out.csv"
    assert predict.main([*command, "--json", "--prior", "0.01", "--csv", str(table)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "prior" not in plain and told["verdict"] == plain["verdict"] and told["score"] == plain["score"]
    assert told["prior"] == {"share": 0.01, "score": pytest.approx(with_prior(told["score"], 0.01))}
    [row] = csv.DictReader(table.read_text().splitlines())
    assert float(row["prior"]) == 0.01 and float(row["score_at_prior"]) == pytest.approx(told["prior"]["score"])
    assert predict.main([*command, "--prior", "0.01"]) == 0
    assert "prior: where 1 in 100 pictures is fake, this score means" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        predict.main([*command, "--prior", "1"])
    assert stopped.value.code == 2


def test_calibrate_tells_it_and_what_balanced_accuracy_would_have_chosen(trained, small_set, tmp_path, capsys):
    out = tmp_path / "calibrated.safetensors"
    command = [str(trained / "best.safetensors"), "--data", str(small_set), "--out", str(out), "--prior", "0.01"]
    assert calibrate.main(command) == 0
    said = capsys.readouterr().out
    assert "where 1 in 100 pictures is fake, a score of" in said and "50 % means that 1 % of such pictures are" in said
    assert "balanced accuracy alone would have chosen" in said
    assert (
        calibrate.main([str(tmp_path / "none.onnx"), "--data", str(small_set)]) == 3
    )  # not 2, though it is a ValueError
    assert "none.onnx: model file not found" in capsys.readouterr().err
