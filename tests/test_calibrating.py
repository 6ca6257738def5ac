"""Temperature, thresholds and the Unsure band: against their definitions."""

import numpy as np
import pytest
import torch

from detector import load
from detector.calibration import Calibration
from detector.checkpoint import read_metadata, read_weights, save_checkpoint
from detector.rewriting import with_metadata
from evaluation import calibrating, metrics


def case(n=600, strength=2.0, seed=0, share=0.5, lean=0.0):
    """Labels, and logits (n, 2) whose margin is `strength` times the true one, and `lean` more."""
    draw = np.random.default_rng(seed)
    labels = (draw.random(n) < share).astype(int)
    margin = strength * (draw.normal(size=n) * 1.5 + 2.2 * (labels - 0.5)) + lean
    common = draw.normal(size=n)
    return labels, np.stack([common, common + margin], 1).astype(np.float32)


@pytest.mark.parametrize(("strength", "lean"), [(0.2, 0), (1.0, -2), (7.0, 12)])
def test_temperature_and_offset_have_the_least_log_loss(strength, lean):
    labels, logits = case(strength=strength, lean=lean)
    temperature, offset = calibrating.fit_scale(labels, logits, np.ones(len(labels)))

    fakes, reals = labels.sum(), (1 - labels).sum()
    targets = np.where(labels == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2))

    def loss(t, b):
        scores = Calibration(t, offset=b).scores(logits)
        return -(targets * np.log(scores) + (1 - targets) * np.log(1 - scores)).mean()

    for factor in (0.97, 1.03):
        assert loss(temperature * factor, offset) > loss(temperature, offset)
    for step in (-0.03, 0.03):
        assert loss(temperature, offset + step) > loss(temperature, offset)
    log, shift = (torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimiser = torch.optim.LBFGS([log, shift], line_search_fn="strong_wolfe")
    target, given = torch.tensor(np.stack([1 - targets, targets], 1)), torch.tensor(logits, dtype=torch.float64)

    def closure():
        optimiser.zero_grad()
        logits = given / log.exp() + torch.stack([torch.zeros_like(shift), shift])
        error = torch.nn.functional.cross_entropy(logits, target)
        error.backward()
        return error

    for _ in range(5):
        optimiser.step(closure)
    assert temperature == pytest.approx(log.exp().item(), rel=1e-3)
    assert offset == pytest.approx(shift.item(), abs=2e-3)


@pytest.mark.parametrize("scale", [0.3, 3000.0])
def test_a_perfect_separation_is_not_certainty(scale):
    labels = np.repeat([0, 1], 100)
    margin = scale * (labels * 2 - 1 + np.linspace(-0.5, 0.5, 200))
    scores = calibrating.fit(labels, np.stack([0 * margin, margin], 1), fitted_on="x")
    found = scores.scores(np.stack([0 * margin, margin], 1))
    if scale < 1000:  # beyond, TEMPERATURES ends
        assert found[labels == 1].mean() == pytest.approx(101 / 102, abs=5e-3)
        assert found[labels == 0].mean() == pytest.approx(1 / 102, abs=5e-3)
    assert scores.threshold == 0.5


@pytest.mark.parametrize("lean", [0, 3, -3])
def test_calibration_lowers_the_error_of_an_overconfident_network_on_other_images(lean):
    calibration = calibrating.fit(*case(strength=6, seed=1, lean=lean), fitted_on="x")
    labels, logits = case(strength=6, seed=2, lean=lean)
    before = metrics.calibration_error(labels, Calibration().scores(logits))
    after = metrics.calibration_error(labels, calibration.scores(logits))
    assert after < before / 2


@pytest.mark.parametrize("share", [0.5, 0.05, 0.8])
def test_one_half_divides_whatever_the_share_of_fakes(share):
    """A score is P(fake) where half of the pictures are fake, so fakes that are rare here move no verdict."""
    labels, logits = case(n=4000, share=share, lean=2)
    calibration = calibrating.fit(labels, logits, fitted_on="x")
    assert calibration.threshold == 0.5
    scores, weights = calibration.scores(logits), calibrating.balanced(labels, np.ones(len(labels)))
    near = (scores > 0.3) & (scores < 0.7)
    assert np.average(labels[near], weights=weights[near]) == pytest.approx(0.5, abs=0.12)
    best, accuracy = calibrating.best_threshold(labels, scores)
    every = [metrics.summary(labels, scores, cut)["balanced_accuracy"] for cut in [*scores[::10], best]]
    assert accuracy == pytest.approx(max(every)) and abs(best - 0.5) < 0.25
    at_half = metrics.summary(labels, scores, 0.5)["balanced_accuracy"]
    assert accuracy - 0.03 < at_half <= accuracy


@pytest.mark.parametrize("seed", range(6))
def test_nothing_below_one_half_is_fake_and_nothing_from_it_on_real(seed):
    labels, logits = case(n=200, share=0.2 + 0.1 * seed, strength=0.5 + seed, lean=3 - seed, seed=seed)
    calibration = calibrating.fit(labels, logits, fitted_on="x", sources=["a", "b"] * 100)
    older = Calibration(threshold=0.434, unsure=(0.417, 0.481))
    for one in (calibration, older, Calibration(threshold=0.7), Calibration(threshold=0.2)):
        for score in np.linspace(0, 1, 501):
            word = one.verdict(score)
            assert (word != "Fake" or score >= 0.5) and (word != "Real" or score < 0.5)
    assert older.band == (0.417, 0.5) and older.lowest_fake == 0.5 and Calibration().band is None


def test_thresholds_for_few_false_alarms():
    labels, logits = case(share=0.3)
    calibration = calibrating.fit(labels, logits, fitted_on="x")
    scores = calibration.scores(logits)
    for rate, cut in ((0.01, calibration.threshold_fpr_1), (0.05, calibration.threshold_fpr_5)):
        real = scores[labels == 0]
        assert np.abs(scores - cut).min() > 0  # no image stands on it
        assert (real >= cut).mean() <= rate < (real >= real[real < cut].max()).mean()
    assert calibration.fitted_on == "x" and calibration.n == 600


def test_in_the_worst_collection_of_photographs_few_are_called_fake():
    """One collection in ten scores far higher: its own share counts, not its share of all."""
    labels, logits = case(n=3000, strength=3, seed=7)
    sources = np.where(np.arange(3000) % 10 == 0, "press", "phones")
    logits[(labels == 0) & (sources == "press"), 1] += 5
    scores = {}
    for name, given in (("told", sources.tolist()), ("untold", None)):
        calibration = calibrating.fit(labels, logits, fitted_on="x", sources=given)
        said = np.array([calibration.verdict(score) for score in calibration.scores(logits)])
        scores[name] = {place: (said[(labels == 0) & (sources == place)] == "Fake").mean() for place in set(sources)}
    assert scores["untold"]["press"] > 0.1 and max(scores["told"].values()) <= calibrating.FALSE_ALARMS


def test_images_without_logits_take_no_part():
    labels, logits = case()
    more = np.vstack([logits, np.full((3, 2), np.nan, np.float32)])
    with_none = calibrating.fit(np.append(labels, [0, 1, 1]), more, fitted_on="x", sources=["a"] * 603)
    assert with_none == calibrating.fit(labels, logits, fitted_on="x")


def test_the_table_says_what_share_of_real_faces_scores_so_high():
    labels, logits = case(n=4000)
    calibration = calibrating.fit(labels, logits, fitted_on="x")
    real = np.sort(calibration.scores(logits)[labels == 0])
    assert len(calibration.rarity) <= 20
    for share in (0.4, 0.1, 0.02, 0.004):
        score = np.quantile(real, 1 - share)
        assert calibration.share_above(np.array([score]))[0] == pytest.approx(share, rel=0.3)
    beyond, top = calibration.share_above(np.array([1.0, real[-1]]))
    assert beyond == pytest.approx(1 / (len(real) + 1)) and top == pytest.approx(2 / (len(real) + 1))
    assert calibration.share_above(np.array([0.0]))[0] == 1
    with pytest.raises(ValueError, match="scores that rise"):
        Calibration(rarity=((0.5, 0.1), (0.4, 0.05)))


def test_groups_of_genuine_faces_raise_no_more_alarms_than_one():
    """Faces like Validation's, in pictures of 1 to 16: uncorrected the alarms would grow sixfold."""
    labels, logits = case(n=20000, seed=3)
    calibration = calibrating.fit(labels, logits, fitted_on="x")
    others, of_others = case(n=160000, seed=4)
    real = np.random.default_rng(0).permutation(calibration.scores(of_others)[others == 0])
    alarms = {}
    for faces in (1, 2, 4, 8, 12, 16):
        highest = real[: len(real) // faces * faces].reshape(-1, faces).max(1)
        fake = highest >= calibration.lowest_fake
        alarms[faces] = np.mean([calibration.picture(score, faces)[0] == "Fake" for score in highest])
        if faces == 12:
            assert fake.mean() > 3 * alarms[1]
            fakes = calibration.scores(of_others)[others == 1]
            alone = (fakes >= calibration.lowest_fake).mean()
            found = np.mean([calibration.picture(score, 12)[0] == "Fake" for score in fakes[:4000]])
            assert 0.25 * alone < found < alone  # and a fake among twelve is still found
    assert max(alarms.values()) <= 1.25 * alarms[1] and min(alarms.values()) >= 0.3 * alarms[1]


def test_without_the_table_no_picture_of_several_faces_is_fake():
    calibration = Calibration()
    assert not calibration.group(3, 0.99).stands_out and calibration.group(3, 0.99).among is None
    assert [calibration.picture(score, n)[0] for score, n in ((0.99, 1), (0.99, 3), (0.1, 3))] == [
        "Fake",
        "Unsure",
        "Real",
    ]


def test_the_rule_of_a_picture():
    calibration = Calibration(unsure=(0.4, 0.6), rarity=((0.0, 1.0), (0.6, 0.05), (0.9, 0.0001)))
    cases = {
        (0.9, 1, 0): "Fake", (0.9, 1, 3): "Fake", (0.95, 5, 1): "Fake", (0.65, 5, 0): "Unsure", (0.5, 2, 0): "Unsure",
        (0.1, 5, 0): "Real", (0.1, 5, 1): "Unsure", (0.9, 0, 1): "Unsure", (0.1, 0, 1): "Unsure",
        (float("nan"), 0, 0): "Unsure", (float("nan"), 1, 0): "Unsure",
    }  # fmt: skip
    for (score, faces, passed), word in cases.items():
        assert calibration.picture(score, faces, passed)[0] == word, (score, faces, passed)


@pytest.mark.parametrize("share", [0.5, 0.2, 0.85])
def test_outside_the_band_nine_in_ten_are_right(share):
    labels, logits = case(n=900, share=share, strength=1)
    calibration = calibrating.fit(labels, logits, fitted_on="x")
    low, high = calibration.unsure
    scores = calibration.scores(logits)
    assert low <= 0.5 <= high
    weights = np.where(labels == 1, (labels == 0).sum(), (labels == 1).sum())  # one class counts as the other
    for verdict, label in (("Fake", 1), ("Real", 0)):
        said = np.array([calibration.verdict(score) == verdict for score in scores])
        assert said.sum() >= calibrating.FEWEST
        assert (labels[said] == label).mean() >= 0.9
        assert np.average(labels[said] == label, weights=weights[said]) >= 0.9
    # One more image on either side, and it would not be so.
    for wider, label in ((scores >= scores[scores < high].max(), 1), (scores < scores[scores >= low].min() + 1e-9, 0)):
        right = labels[wider] == label
        assert min(right.mean(), np.average(right, weights=weights[wider])) < 0.9


def test_a_good_network_needs_no_band_and_a_useless_one_has_no_verdict():
    labels = np.repeat([0, 1], 50)
    good = np.stack([np.zeros(100), np.linspace(-5, 5, 100)], 1)
    assert calibrating.fit(labels, good, fitted_on="x").unsure is None
    useless = np.stack([np.zeros(100), np.tile([-1.0, 1.0], 50)], 1)
    calibration = calibrating.fit(labels, useless, fitted_on="x")
    assert {calibration.verdict(score) for score in calibration.scores(useless)} == {"Unsure"}
    assert calibration.temperature == pytest.approx(calibrating.TEMPERATURES[1])  # all scores close to 1/2


def test_few_images_show_little():
    labels = np.array([0, 1] * 4)
    logits = np.stack([np.zeros(8), np.where(labels == 1, 3.0, -3.0)], 1)
    calibration = calibrating.fit(labels, logits, fitted_on="x")
    assert calibration.unsure == (0.0, 1.0)  # four of four right are no nine in ten
    assert calibration.notes() == ("scores were calibrated on 8 images only",)


def test_an_image_of_weight_three_counts_as_three_images():
    labels, logits = case(n=500, strength=3, seed=4)
    times = np.random.default_rng(5).integers(1, 4, len(labels))
    weighed = calibrating.fit(labels, logits, fitted_on="x", weights=times * 0.37)
    repeated = calibrating.fit(np.repeat(labels, times), np.repeat(logits, times, axis=0), fitted_on="x")
    plain = calibrating.fit(labels, logits, fitted_on="x")
    # Platt's targets go by the number of images, so these differ by a little.
    assert weighed.temperature == pytest.approx(repeated.temperature, rel=0.02)
    assert weighed.offset == pytest.approx(repeated.offset, abs=0.01)
    assert abs(weighed.offset - plain.offset) > abs(weighed.offset - repeated.offset)
    assert weighed.unsure == pytest.approx(repeated.unsure, abs=0.01)


def test_a_small_source_that_leans_is_heard():
    """Two sources, the smaller one's margins shifted: weighed by source, its scores are nearer the truth."""
    (many, of_many), (few, of_few) = case(n=4000, seed=1), case(n=300, seed=2, lean=2.5)
    labels, logits = np.concatenate([many, few]), np.concatenate([of_many, of_few])
    weights = np.repeat([1 / 4000, 1 / 300], [4000, 300])
    errors = [
        metrics.calibration_error(few, calibrating.fit(labels, logits, fitted_on="x", weights=given).scores(of_few))
        for given in (None, weights)
    ]
    assert errors[1] < 0.8 * errors[0]


def test_equal_scores_and_one_class():
    labels = np.array([0, 1] * 20)
    calibration = calibrating.fit(labels, np.zeros((40, 2)), fitted_on="x")
    assert calibration.verdict(0.5) == "Unsure"
    with pytest.raises(ValueError, match="both classes"):
        calibrating.fit(np.zeros(3, int), np.zeros((3, 2)), fitted_on="x")


def test_scores_that_reach_one_leave_no_threshold_for_few_false_alarms():
    labels = np.array([0, 1] * 20)
    calibration = calibrating.fit(labels, np.tile([0.0, 1e6], (40, 1)), fitted_on="x")
    assert calibration.threshold_fpr_1 is None and calibration.threshold_fpr_5 is None


def test_calibration_survives_its_dictionary():
    calibration = calibrating.fit(*case(), fitted_on="x")
    assert Calibration.from_dict(calibration.to_dict()) == calibration
    with pytest.raises(ValueError, match="threshold is 1.5"):
        Calibration(threshold_fpr_5=1.5)


def test_other_metadata_leave_the_weights_as_they_are_stored(trained, tmp_path):
    """A checkpoint with float16 weights is half as large, and stays so."""
    best = trained / "best.safetensors"
    halved = {name: w.half() if w.is_floating_point() else w for name, w in read_weights(best).items()}
    save_checkpoint(tmp_path / "half.safetensors", halved, read_metadata(best))
    with_metadata(tmp_path / "half.safetensors", read_metadata(best), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "half.safetensors").read_bytes()
    assert load(tmp_path / "again.safetensors", device="cpu").backend.dtype == torch.float32  # it computes with floats
