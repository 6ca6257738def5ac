"""Numbers against scikit-learn's, intervals against their definition."""

import numpy as np
import pytest
import sklearn.metrics as sk

from evaluation import metrics, report


@pytest.fixture
def case():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 300)
    return labels, 1 / (1 + np.exp(-(draw.normal(size=300).round(1) + labels)))  # rounded: with ties


def test_summary_agrees_with_scikit_learn(case):
    labels, scores = case
    says = (scores >= 0.6).astype(int)
    expected = {
        "accuracy": sk.accuracy_score(labels, says),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, says),
        "precision": sk.precision_score(labels, says),
        "recall": sk.recall_score(labels, says),
        "recall_real": sk.recall_score(labels, says, pos_label=0),
        "f1": sk.f1_score(labels, says),
        "auc": sk.roc_auc_score(labels, scores),
        "log_loss": sk.log_loss(labels, scores),
    }
    found = metrics.summary(labels, scores, 0.6)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert (metrics.confusion(labels, scores, 0.6) == sk.confusion_matrix(labels, says)).all()


def test_a_score_at_the_threshold_is_fake():
    assert metrics.confusion(np.array([0, 1]), np.array([0.5, 0.5]), 0.5).tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], [1]])
def test_one_class_has_no_auc_and_no_warning(labels):
    labels = np.array(labels)
    found = metrics.summary(labels, np.full(len(labels), 0.3), 0.5)
    assert (found["auc"], found["balanced_accuracy"], metrics.auc_interval(labels, labels)) == (None, None, None)
    assert found["accuracy"] == (labels == 0).mean()


def test_equal_scores_are_chance():
    labels = np.array([0, 1] * 20)
    assert metrics.summary(labels, np.full(40, 0.7), 0.5)["auc"] == 0.5
    low, high = metrics.auc_interval(labels, np.full(40, 0.7))
    assert low < 0.5 < high


def test_auc_interval_covers_the_truth_95_times_in_100():
    """Normal scores one and a half deviations apart have an AUC of 0.8556; 600 draws put 95 % within 0.93 to 0.97."""
    draw, labels, covered = np.random.default_rng(1), np.repeat([0, 1], 80), 0
    for _ in range(600):
        low, high = metrics.auc_interval(labels, draw.normal(size=160) + 1.5 * labels)
        covered += low < 0.8556 < high
    assert 0.93 <= covered / 600 <= 0.97


def test_perfect_separation_is_not_certainty():
    labels = np.repeat([0, 1], 30)
    low, high = metrics.auc_interval(labels, labels.astype(float))
    assert (low, high) == (pytest.approx(0.9), 1.0)


def test_proportion_interval_matches_wilson():
    assert metrics.proportion_interval(8, 10) == pytest.approx(
        (0.4901, 0.9433), abs=1e-4
    )  # as tabulated by Newcombe 1998
    assert metrics.proportion_interval(0, 0) is None
    assert metrics.proportion_interval(10, 10)[1] == pytest.approx(1.0)


def test_tables():
    rows = [{"a": 0.5, "b": "x|y"}, {"a": None, "b": "z"}]
    assert report.to_csv(rows, ["a", "b"]) == "a,b\n0.5,x|y\n,z\n"
    assert report.to_text(rows, {"a": "A", "b": "B"}).splitlines() == ["A       B", "0.5000  x|y", "-       z"]
    assert report.to_markdown(rows, {"a": "A", "b": "B"}).splitlines()[2] == "| 0.5000 | x\\|y |"
