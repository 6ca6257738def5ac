"""Numbers against scikit-learn's, intervals against their definition."""

import numpy as np
import pytest
import sklearn.metrics as sk

from evaluation import metrics
from reports import tables


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
        "ap": sk.average_precision_score(labels, scores),
        "brier": sk.brier_score_loss(labels, scores),
        "rmse": sk.root_mean_squared_error(labels, scores),
    }
    found = metrics.summary(labels, scores, 0.6)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert (metrics.confusion(labels, scores, 0.6) == sk.confusion_matrix(labels, says)).all()


def test_classification_report_agrees_with_scikit_learn(case):
    labels, scores = case
    theirs = sk.classification_report(labels, scores >= 0.6, target_names=["Real", "Fake"], output_dict=True)
    theirs = {name.removesuffix(" avg"): row for name, row in theirs.items() if name != "accuracy"}
    for name, row in metrics.classification_report(labels, scores, 0.6).items():
        expected = {key.replace("f1-score", "f1").replace("support", "n"): value for key, value in theirs[name].items()}
        assert row == pytest.approx(expected, abs=1e-12)


def test_numbers_of_the_ranking_follow_their_definition(case):
    labels, scores = case
    found = metrics.summary(labels, scores, 0.5)
    for name, rate in metrics.RATES.items():
        allowed = [cut for cut in scores if (scores[labels == 0] >= cut).mean() <= rate]
        assert found[name] == max((scores[labels == 1] >= cut).mean() for cut in allowed)
    false, true, _ = sk.roc_curve(labels, scores)
    fine = np.linspace(0, 1, 200_001)
    missed = 1 - np.interp(fine, false, true)
    assert found["eer"] == pytest.approx(fine[np.argmin(np.abs(fine - missed))], abs=1e-4)


def test_calibration_error_follows_its_definition():
    labels, scores = np.array([0, 1, 1, 1, 0]), np.array([0.01, 0.05, 0.95, 1.0, 0.5])
    bins = abs((0.01 + 0.05) / 2 - 1 / 2) * 2 / 5 + abs((0.95 + 1.0) / 2 - 1) * 2 / 5 + 0.5 / 5
    assert metrics.calibration_error(labels, scores) == pytest.approx(bins)


def test_unsure_images_are_counted_and_left_out():
    labels, scores = np.array([0, 1, 1, 0]), np.array([0.1, 0.45, 0.9, 0.6])
    found = metrics.summary(labels, scores, 0.5, unsure=(0.4, 0.6))
    assert (found["unsure"], found["accuracy_sure"], found["accuracy"]) == (0.25, 2 / 3, 0.5)
    assert metrics.summary(labels, scores, 0.5)["unsure"] == 0
    assert metrics.summary(labels, scores, 0.5, unsure=(0.0, 1.0))["accuracy_sure"] is None


def test_resampled_numbers_are_those_of_the_summary(case):
    """Of a resample of images, written out: what is counted by weights must be what summary() says of the copies."""
    labels, scores = case
    order = np.argsort(-scores, kind="stable")
    counts = np.random.default_rng(3).multinomial(300, np.full(300, 1 / 300), 5).astype(float)
    found = metrics._resampled(
        labels[order], scores[order], counts[:, order], 0.6, metrics.is_sure(scores[order], (0.4, 0.7))
    )
    for row in range(5):
        copies = np.repeat(np.arange(300), counts[row].astype(int))
        expected = metrics.summary(labels[copies], scores[copies], 0.6, (0.4, 0.7))
        for name in metrics.WITH_INTERVALS:
            assert found[name][row] == pytest.approx(expected[name], abs=1e-9), name


def test_intervals_cover_the_truth():
    """200 draws; the truth from 200,000 images. 90 to 99 of 100 must cover it (two deviations: 92 to 98)."""
    draw = np.random.default_rng(1)

    def sample(n):
        labels = np.arange(n) % 2  # intervals hold for sets of this many images of each class
        margin = draw.normal(size=n) * 1.5 + 1.5 * (labels - 0.5)
        return labels, 1 / (1 + np.exp(-margin * 1.6))

    truth = metrics.summary(*sample(200_000), 0.55, (0.4, 0.6))
    covered = dict.fromkeys(metrics.WITH_INTERVALS, 0)
    for seed in range(200):
        for name, (low, high) in metrics.intervals(*sample(300), 0.55, (0.4, 0.6), seed=seed).items():
            covered[name] += low <= truth[name] <= high
    # Less is promised for a quantile of 150 images, and for an error that is measured a little above what it is.
    coarse = {"recall_at_fpr_1", "recall_at_fpr_5", "ece"}
    for name, times in covered.items():
        assert (0.8 if name in coarse else 0.9) <= times / 200 <= 0.99, (name, times)


def test_images_of_one_source_are_drawn_together():
    """Twenty sources whose images are all alike: as much evidence as twenty images, not as two hundred."""
    draw = np.random.default_rng(0)
    level = draw.normal(size=20)
    labels, sources = np.repeat([0, 1], 100), [f"s{i}" for i in np.repeat(np.arange(20), 10)]
    scores = 1 / (1 + np.exp(-(np.repeat(level, 10) + labels)))

    def width(**options):
        low, high = metrics.intervals(labels, scores, 0.5, **options)["accuracy"]
        return high - low

    assert width(sources=sources) > 2.2 * width()
    assert width(sources=[""] * 200) == width()
    for few in (["a"] * 100 + ["b"] * 100, np.repeat(["a", "b", "c", "d"], 50).tolist()):
        assert width(sources=few) >= width()  # a folder's name makes nothing surer
    # A source with images of both classes is drawn with both.
    strata = metrics._strata(np.array([0, 1, 0, 1]), ["a", "a", "b", ""])
    assert [sorted(map(len, groups)) for groups in strata] == [[1, 1, 2]]
    strata = metrics._strata(np.array([0, 0, 1, 1]), ["a", "a", "b", ""])
    assert [sorted(map(len, groups)) for groups in strata] == [[2], [1, 1]]


def test_no_spread_is_not_certainty():
    labels = np.repeat([0, 1], 30)
    found = metrics.intervals(labels, 0.2 + 0.6 * labels, 0.5)
    assert found["recall"] == metrics.proportion_interval(30, 30) and found["auc"][0] == pytest.approx(0.9)
    assert found["balanced_accuracy"][0] == pytest.approx(found["recall"][0])
    assert found["brier"] is None and found["eer"] is None


@pytest.mark.parametrize(
    ("labels", "scores"),
    [([0, 0, 0], [0.1, 0.2, 0.3]), ([1, 1], [0.5, 0.5]), ([1], [0.9]), ([0], [0.9]), ([0, 1], [0.4, 0.6])],
)
def test_degenerate_sets_have_numbers_or_none(labels, scores):
    labels, scores = np.array(labels, int), np.array(scores, float)
    numbers, limits = (of(labels, scores, 0.5, (0.4, 0.5)) for of in (metrics.summary, metrics.intervals))
    assert set(limits) == set(metrics.WITH_INTERVALS)
    for name, interval in limits.items():
        assert interval is None or interval[0] - 1e-9 <= numbers[name] <= interval[1] + 1e-9
    assert metrics.classification_report(labels, scores, 0.5)["Fake"]["n"] == labels.sum()


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
    assert tables.to_csv(rows, ["a", "b"]) == "a,b\n0.5,x|y\n,z\n"
    assert tables.to_text(rows, {"a": "A", "b": "B"}).splitlines() == ["A       B", "0.5000  x|y", "-       z"]
    assert tables.to_markdown(rows, {"a": "A", "b": "B"}).splitlines()[2] == "| 0.5000 | x\\|y |"


def test_an_image_without_a_score_is_a_miss_and_no_part_of_what_is_about_scores(case):
    """No face in a Real image and in a Fake one: counted, Unsure, wrong in recall, outside AUC and calibration."""
    labels, scores = case
    more, with_none = np.append(labels, [0, 1]), np.append(scores, [np.nan, np.nan])
    before, found = metrics.summary(labels, scores, 0.5), metrics.summary(more, with_none, 0.5)
    assert found["undecided"] == 2 and found["n"] == before["n"] + 2
    for name in ("auc", "ap", "eer", "brier", "ece", "log_loss", "precision", *metrics.RATES):
        assert found[name] == pytest.approx(before[name]), name
    for name, size in (("recall", "n_fake"), ("recall_real", "n_real"), ("accuracy", "n")):
        assert found[name] * found[size] == pytest.approx(before[name] * before[size]), name
    assert found["unsure"] == 2 / found["n"]
    assert metrics.classification_report(more, with_none, 0.5)["Fake"]["recall"] == pytest.approx(found["recall"])
    limits = metrics.intervals(more, with_none, 0.5, sources=["a", "b"] * (len(more) // 2))
    assert limits["recall"][0] < found["recall"] < limits["recall"][1] and limits["auc"][0] < found["auc"]


def test_nothing_decided_has_no_numbers_about_scores():
    labels, scores = np.array([0, 1, 1]), np.full(3, np.nan)
    found, limits = metrics.summary(labels, scores, 0.5), metrics.intervals(labels, scores, 0.5)
    assert (found["auc"], found["ece"], found["precision"], found["recall"]) == (None, None, None, 0)
    assert found["undecided"] == 3 and found["unsure"] == 1 and limits["auc"] is None and limits["recall"][0] == 0


def test_verdicts_are_counted_beside_the_threshold(case):
    """Called Fake are images whose verdict is Fake: not those inside the band, nor those that are doubtful."""
    labels, scores = case
    doubtful = np.arange(len(labels)) % 7 == 0
    found = metrics.summary(labels, scores, 0.5, (0.4, 0.7), doubtful)
    fake = (scores >= 0.7) & ~doubtful
    assert found["false_alarms"] == pytest.approx(fake[labels == 0].mean())
    assert found["found"] == pytest.approx(fake[labels == 1].mean())
    assert found["unsure"] == pytest.approx((doubtful | ((scores >= 0.4) & (scores < 0.7))).mean())
