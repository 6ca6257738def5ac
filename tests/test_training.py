"""Recipes, the plan of a run, the step and the epoch."""

import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import indexing
import model
import train
from dataset import POWERS, chances
from detector.checkpoint import read_weights
from evaluation.scoring import Judged
from imaging.preprocess import Preprocess
from indexing import index_folder
from ranks import Ranks
from training import engine, resume
from training.augment import TrainingImages
from training.recipes import RECIPES, Recipe, with_values

SPEC = Preprocess(size=32)
CPU = torch.device("cpu")


def make_learner(recipe: Recipe, **options) -> engine.Learner:
    torch.manual_seed(0)
    return engine.Learner(model.create_model("tiny"), "tiny", recipe, SPEC, device=CPU, **options)


def batch(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose brightness says what they are."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    images = torch.randint(0, 100, (n, 32, 32, 3), generator=draw) + 100 * labels[:, None, None, None]
    return images.to(torch.uint8), labels


# Recipes ------------------------------------------------------------------------------------------------------------


def test_values_given_as_text():
    recipe = with_values(RECIPES["robust"], {"jpeg": "0.3", "epochs": "12", "crops": "128,160", "clip": "none"})
    assert (recipe.jpeg, recipe.epochs, recipe.crops, recipe.clip) == (0.3, 12, (128, 160), None)
    assert replace(recipe, jpeg=0.5, epochs=8, crops=(), clip=1.0) == RECIPES["robust"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"jpg": "0.3"}, "no recipe has a 'jpg'; choose from"),
        ({"jpeg": "1.5"}, "jpeg is 1.5; it must be from 0 to 1"),
        ({"jpeg": "nan"}, "jpeg is nan; it must be from 0 to 1"),
        ({"jpeg": "often"}, "jpeg=often: not a number"),
        ({"crops": "128,8"}, "crops is (128, 8); it must be from 16 to 1024"),
        ({"crops": "a"}, "crops=a: not whole numbers"),
        ({"schedule": "step"}, "schedule is 'step'; choose from constant, cosine, plateau"),
        ({"head_epochs": "8"}, "head_epochs is 8; it must be less than the 8 epochs"),
        ({"epochs": "0"}, "epochs is 0; it must be from 1"),
        ({"learning_rate": "inf"}, "learning_rate is inf; it must be from"),
    ],
)
def test_wrong_values_are_refused(values, sentence):
    with pytest.raises(ValueError) as error:
        with_values(Recipe(), values)
    assert sentence in str(error.value)


def test_growing_crops_share_the_epochs():
    recipe = Recipe(epochs=7, crops=(128, 160, 224))
    assert [recipe.crop(epoch, 224) for epoch in range(1, 8)] == [128, 128, 128, 160, 160, 224, 224]
    assert Recipe(epochs=1, crops=(128, 224)).crop(1, 224) == 128
    assert Recipe().crop(3, 200) == 200


# Plan ---------------------------------------------------------------------------------------------------------------


def rates(recipe: Recipe, steps: int = 10, losses=()) -> list[float]:
    return [
        engine.learning_rate(step, epoch=epoch, steps_per_epoch=steps, recipe=recipe, losses=losses[: epoch - 1])
        for epoch in range(1, recipe.epochs + 1)
        for step in range(steps)
    ]


def test_the_schedule_moves():
    recipe = Recipe(learning_rate=1.0, epochs=4, warmup_epochs=0.5)
    cosine = rates(recipe)
    assert cosine[:5] == sorted(cosine[:5]) and max(cosine) == pytest.approx(1.0)
    assert cosine[5:] == sorted(cosine[5:], reverse=True) and cosine[-1] == pytest.approx(0.01)
    assert cosine[5 + 17] == pytest.approx(0.505, abs=0.03)  # half-way down a cosine from 1 to 0.01
    assert set(rates(replace(recipe, schedule="constant"))) == {1.0}


def test_a_plateau_lowers_the_rate():
    losses = [1.0, 0.8, 0.9, 0.9, 0.9, 0.7, 0.75, 0.71, 0.7, 0.7]
    assert [engine.plateaus(losses[:n], 2) for n in range(11)] == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3]
    recipe = Recipe(learning_rate=1.0, epochs=6, schedule="plateau", plateau_patience=2)
    assert rates(recipe, steps=1, losses=losses) == pytest.approx([1, 1, 1, 1, 0.1, 0.1])


def test_phases_begin_anew():
    recipe = Recipe(epochs=5, head_epochs=2, head_learning_rate=0.5, learning_rate=0.1, warmup_epochs=0, trained="top")
    phases = [engine.phase_of(epoch, recipe) for epoch in range(1, 6)]
    assert phases[0] == phases[1] == engine.Phase(1, 2, "head", 0.5)
    assert phases[2] == phases[4] == engine.Phase(3, 5, "top", 0.1)
    moved = rates(recipe)
    assert moved[0] == 0.5 and moved[19] == pytest.approx(0.005) and moved[20] == 0.1
    assert moved[-1] == pytest.approx(0.001)


def test_epoch_batches_are_a_seeded_permutation(small_set):
    index = index_folder(small_set / "Train")
    recipe = Recipe(batch_size=10)
    batches = engine.epoch_batches(index, recipe, seed=1, epoch=2)
    assert [len(one) for one in batches] == [10, 10, 10, 10, 8]
    assert sorted(sum(batches, [])) == list(range(48))
    assert batches == engine.epoch_batches(index, recipe, seed=1, epoch=2)
    assert batches != engine.epoch_batches(index, recipe, seed=1, epoch=3)
    assert sum(batches, []) != sum(engine.epoch_batches(index, recipe, seed=2, epoch=2), [])


def test_a_last_batch_too_small_for_all_is_left_out(small_set):
    index = index_folder(small_set / "Train").subset(range(41))
    recipe = Recipe(batch_size=8)
    assert [len(one) for one in engine.epoch_batches(index, recipe, seed=1, epoch=1)] == [8] * 5
    index = index.subset(range(35))
    assert len(engine.epoch_batches(index, recipe, seed=1, epoch=1)[-1]) == 3
    assert len(engine.epoch_batches(index, recipe, seed=1, epoch=1, ranks=Ranks(0, 4))[-1]) == 8
    assert sum(map(len, engine.epoch_batches(index, Recipe(batch_size=1), seed=1, epoch=1))) == 35


def test_balanced_drawing(small_set):
    """Of 30 Real in two sources (24 and 6) and 10 Fake in one."""
    index = index_folder(small_set / "Train").subset([*range(24), *range(18, 24), *range(24, 34)])
    sources = ["a"] * 24 + ["b"] * 6 + ["c"] * 10
    samples = tuple(replace(s, source=source) for s, source in zip(index.samples, sources, strict=True))
    index = replace(index, samples=samples)
    by_class, by_root, by_source = (chances(index, POWERS[name]) for name in ("class", "root", "source"))
    assert by_class.sum() == pytest.approx(1) == by_root.sum() and by_source.sum() == pytest.approx(1)
    assert by_root[:24].sum() == pytest.approx(1 / 3) and by_root[24:30].sum() == pytest.approx(1 / 6)
    assert by_class[index.labels == 1].sum() == pytest.approx(0.5) and len(set(by_class[:30].round(12))) == 1
    assert by_source[:24].sum() == pytest.approx(0.25) == by_source[24:30].sum() and by_source[30:].sum() == 0.5
    drawn = sum(
        (b for e in range(1, 80) for b in engine.epoch_batches(index, Recipe(balance="source"), seed=0, epoch=e)), []
    )
    assert np.bincount(drawn, minlength=40)[24:30].sum() / len(drawn) == pytest.approx(0.25, abs=0.03)
    assert engine.class_weights(index.labels) == pytest.approx((40 / 60, 2.0))


# Step ---------------------------------------------------------------------------------------------------------------


def test_weight_decay_spares_norms_and_biases():
    optimiser = engine.make_optimiser(model.create_model("tiny"), Recipe(weight_decay=0.1))
    decayed, spared = optimiser.param_groups
    assert isinstance(optimiser, torch.optim.AdamW)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert all(p.ndim > 1 for p in decayed["params"]) and all(p.ndim == 1 for p in spared["params"])
    assert type(engine.make_optimiser(model.create_model("tiny"), RECIPES["original"])) is torch.optim.Adam


def test_the_step_is_the_plain_one():
    """Steps of `original` move a network as the textbook's loop does: Adam on the mean cross-entropy, nothing else.

    In float64, where only the order of sums may differ; without dropout, whose draws would.
    """
    recipe, nets = RECIPES["original"], []
    for _ in range(2):
        torch.manual_seed(0)
        network = model.create_model("efficientnet_b0").double()
        for module in network.modules():
            if type(module).__name__ in ("Dropout", "StochasticDepth"):
                module.p = 0.0
        nets.append(network)
    ours, plain = nets
    ours.to(memory_format=torch.channels_last)
    learner = engine.Learner(ours, "efficientnet_b0", recipe, SPEC, device=CPU, precision=torch.float64)
    adam = torch.optim.Adam(plain.parameters(), lr=recipe.learning_rate)
    plain.train()
    for step in range(3):
        images, labels = batch(6, step)
        sums = learner.learn([(images, labels)], rate=recipe.learning_rate, count=6)
        arrays = torch.stack([torch.from_numpy(SPEC.normalise(image.numpy())) for image in images])
        adam.zero_grad()
        loss = torch.nn.functional.cross_entropy(plain(arrays.double()), labels)
        loss.backward()
        adam.step()
        assert sums[0].item() / 6 == pytest.approx(loss.item(), rel=1e-9)
    for name, theirs in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], theirs, rtol=1e-6, atol=1e-8)


def test_accumulated_batches_make_the_step_of_one():
    images, labels = batch(10)
    parts = [(images[:4], labels[:4]), (images[4:8], labels[4:8]), (images[8:], labels[8:])]  # unequal ones
    whole, pieces = (make_learner(Recipe(), precision=torch.float64) for _ in range(2))
    for learner, group in ((whole, [(images, labels)]), (pieces, parts)):
        learner.network.double()
        sums = learner.learn(group, rate=1e-2, count=10)
        assert sums[1] <= 10
    for one, other in zip(whole.network.parameters(), pieces.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_the_gradient_is_clipped():
    free, held = (make_learner(replace(RECIPES["original"], clip=clip)) for clip in (None, 1e-6))
    norms = []
    for learner in (free, held):
        kept = []
        learner.optimiser.register_step_pre_hook(
            lambda optimiser, *_, kept=kept: kept.extend(
                p.grad.clone() for g in optimiser.param_groups for p in g["params"]
            )
        )
        learner.learn([batch(6)], rate=1e-3, count=6)
        norms.append(math.sqrt(sum((gradient**2).sum().item() for gradient in kept)))
    assert norms[0] > 1e-3 and norms[1] == pytest.approx(1e-6, rel=0.01)


def test_class_weights_weigh():
    """With all the weight on Real, a batch of Fake moves nothing."""
    recipe = replace(RECIPES["original"], optimiser="adam")
    learner = make_learner(recipe, weights=(2.0, 0.0))
    before = [p.clone() for p in learner.network.parameters()]
    images, labels = batch(8)
    learner.learn([(images[labels == 1], labels[labels == 1])], rate=1e-2, count=4)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.network.parameters(), strict=True))
    learner.learn([(images, labels)], rate=1e-2, count=8)
    assert not all(torch.equal(a, b) for a, b in zip(before, learner.network.parameters(), strict=True))


def test_the_moving_average_follows():
    recipe = replace(RECIPES["original"], ema=0.9)
    learner = make_learner(recipe)
    expected = None
    for step in range(12):
        learner.learn([batch(6, step)], rate=1e-2, count=6)
        now = learner.network.classifier.weight.detach().clone()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = now if expected is None else decay * expected + (1 - decay) * now
    torch.testing.assert_close(learner.best_network.classifier.weight, expected)
    assert learner.best_network is not learner.network
    assert make_learner(replace(recipe, ema=0.0)).best_network


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float64])
def test_other_precisions_learn(precision):
    learner = make_learner(Recipe(clip=1.0), precision=precision)
    if precision == torch.float64:
        learner.network.double()
    losses = [learner.learn([batch(16, 0)], rate=1e-2, count=16)[0].item() / 16 for _ in range(30)]
    assert losses[-1] < 0.3 < losses[0]
    assert {p.dtype for p in learner.network.parameters()} == {
        torch.float64 if precision == torch.float64 else torch.float32
    }


def test_frozen_parts_stand_still():
    torch.manual_seed(0)
    network = model.create_model("efficientnet_b0")
    learner = engine.Learner(network, "efficientnet_b0", Recipe(), SPEC, device=CPU, trained="head")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    learner.learn([batch(4)], rate=1e-2, count=4)
    moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"classifier.1.weight", "classifier.1.bias"}  # no batch normalisation's averages either


def test_precision_is_picked():
    assert engine.pick_precision("auto", CPU) == torch.float32
    assert engine.pick_precision("fp16", CPU) == torch.float16


# Epoch --------------------------------------------------------------------------------------------------------------


def one_epoch(learner, batches, progress=None, **options):
    progress = progress or engine.Progress()
    sizes = [len(labels) for _, labels in batches]
    engine.train_epoch(learner, batches, sizes, progress, lambda step: learner.recipe.learning_rate, seed=0, **options)
    return progress


def test_an_epoch_counts_every_image_once():
    """With a learning rate of next to nothing, the epoch's loss is the mean over images, not over batches."""
    learner = make_learner(Recipe(learning_rate=1e-12, batch_size=5))
    images, labels = batch(7)
    arrays = torch.stack([torch.from_numpy(SPEC.normalise(image.numpy())) for image in images])
    with torch.no_grad():
        logits = learner.network(arrays)
    progress = one_epoch(learner, [(images[:5], labels[:5]), (images[5:], labels[5:])])
    assert (progress.images, progress.step) == (7, 2)
    assert progress.loss / 7 == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert progress.hits == (logits.argmax(1) == labels).sum()


def test_it_learns_a_batch():
    learner = make_learner(Recipe(learning_rate=3e-3))
    losses = [one_epoch(learner, [batch(8)] * 3).loss / 24 for _ in range(12)]
    assert losses[-1] < 0.1 < 0.2 < losses[0]


def test_a_loss_that_is_not_finite_names_its_step():
    learner = make_learner(Recipe())
    calls = iter(range(9))

    def poison() -> None:
        if next(calls) == 2:  # after the third step
            learner.network.classifier.bias.data[0] = math.nan

    with pytest.raises(engine.LossError) as error:
        one_epoch(learner, [batch(4)] * 6, after_step=poison)
    assert error.value.step == 3


def test_ctrl_c_waits_for_a_safe_place():
    import signal

    with engine.Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        assert interruption.wished == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            interruption.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with engine.Interruption() as interruption:
        interruption.patient = True  # as several processes are
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            interruption.check()


# State --------------------------------------------------------------------------------------------------------------


def test_a_learner_goes_on_as_if_nothing_had_been():
    recipe = Recipe(ema=0.9)
    straight, first = make_learner(recipe), make_learner(recipe)
    for step in range(3):
        straight.learn([batch(6, step)], rate=1e-2, count=6)
        first.learn([batch(6, step)], rate=1e-2, count=6)
    second = make_learner(recipe)
    second.load_state_dict(first.state_dict())
    for step in range(3, 6):
        straight.learn([batch(6, step)], rate=1e-2, count=6)
        second.learn([batch(6, step)], rate=1e-2, count=6)
    for name in ("network", "best_network"):
        one, other = getattr(straight, name).state_dict(), getattr(second, name).state_dict()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_state_files(tmp_path):
    assert resume.load_state(tmp_path) is None
    best = ({"epoch": 1, "val_auc": 0.5}, Judged(np.ones((3, 2), np.float32), np.arange(3), np.zeros(3, np.int64)))
    progress = engine.Progress(2, 5, loss=0.1 + 0.2, hits=3, images=7, seconds=1.5)
    resume.save_state(tmp_path, {"progress": progress.state_dict(), "best": best, "rows": [best[0]]})
    state = resume.load_state(tmp_path)
    assert state["progress"] == progress and state["best"][0] == best[0]
    assert all(map(np.array_equal, state["best"][1].arrays, best[1].arrays))
    path = tmp_path / resume.NAME
    for damaged in (path.read_bytes()[:-20], b"", b"not a state"):
        path.write_bytes(damaged)
        with pytest.raises(engine.TrainingError, match="state.pt cannot be read; add --overwrite to begin anew"):
            resume.load_state(tmp_path)


def test_cadence():
    clock = iter([0.0, 30.0, 59.0, 61.0, 100.0, 122.0])
    by_minutes = resume.Cadence("1m", now=lambda: next(clock))
    assert [by_minutes.due() for _ in range(3)] == [False, False, True]
    by_steps = resume.Cadence("3")
    assert [by_steps.due() for _ in range(7)] == [False, False, True, False, False, True, False]
    assert [resume.cadence(text) for text in ("500", "10m", ".5m", "0.25m")] == ["500", "10m", ".5m", "0.25m"]
    for text in ("0", "m", "0m", "5h", "-1", "", "1.5", "0.0m"):
        with pytest.raises(ValueError):
            resume.cadence(text)


def test_every_recipe_is_plain_data():
    for recipe in RECIPES.values():
        assert recipe == Recipe(**dataclasses.asdict(recipe))


# A teacher


def test_targets_between_labels_are_learned_as_such():
    """The loss of a target of 0.25 is a quarter of that of 1 and three quarters of that of 0."""
    logits, labels = torch.randn(6, 2, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1, 0])
    cross_entropy = torch.nn.functional.cross_entropy
    assert engine.targets(labels, torch.float64) is labels
    hard = cross_entropy(logits, engine.targets(labels.float(), torch.float64))
    assert hard.item() == pytest.approx(cross_entropy(logits, labels).item())
    quarter = cross_entropy(logits, engine.targets(torch.full((6,), 0.25), torch.float64))
    ends = [cross_entropy(logits, torch.full((6,), label)).item() for label in (0, 1)]
    assert quarter.item() == pytest.approx(0.75 * ends[0] + 0.25 * ends[1])


@pytest.mark.usefixtures("unrendered")
def test_a_run_with_a_teacher(small_set, tmp_path):
    """With no weight, it changes nothing; with some, the weights come out otherwise."""
    path, found = tmp_path / "teacher.csv", {}
    index = index_folder(small_set / "Train")
    path.write_text("sha256,score\n" + "".join(f"{content},0.7\n" for content in index.hashes))
    how = ["--data", str(small_set), "--arch", "tiny", "--epochs", "1", "--threads", "1", "--device", "cpu"]
    for name, more in (("none", []), ("mute", ["--set", "distil=0"]), ("heard", ["--set", "distil=0.5"])):
        teacher = ["--teacher", str(path)] if more else []
        assert train.main([*how, *teacher, *more, "--out", str(tmp_path / name)]) == 0
        found[name] = read_weights(tmp_path / name / "last.safetensors")["classifier.weight"]
    assert torch.allclose(found["none"], found["mute"], atol=1e-6)
    assert not torch.allclose(found["none"], found["heard"], atol=1e-4)


def test_what_a_teacher_says_is_mixed_with_the_labels(small_set, tmp_path):
    index, path = index_folder(small_set / "Train"), tmp_path / "teacher.csv"
    path.write_text(f"sha256,score\n{index.hashes[0]},0.9\n{index.hashes[-1]},0.5\n")
    args = train.parse_arguments(["--data", str(small_set), "--teacher", str(path), "--set", "distil=0.5"])
    expected = index.labels.astype(float)
    expected[[0, -1]] = 0.45, 0.75
    assert train.soft_targets(args, index) == pytest.approx(expected)
    images = TrainingImages(
        [np.zeros((64, 64, 3), np.uint8)] * len(index.samples),
        index,
        Preprocess(48),
        args.values,
        crop=48,
        seed=0,
        epoch=1,
        soft=train.soft_targets(args, index),
    )
    assert images.__getitems__([0, 1])[1].tolist() == pytest.approx([0.45, 0.0])


@pytest.mark.parametrize(
    "text", ["", "sha256\nx\n", "sha256,score\nx,much\n", "sha256,score\nx,2\n", "sha256,score\nx,0.5\n"]
)
def test_a_teacher_that_says_nothing_of_use_is_refused(small_set, tmp_path, text):
    path = tmp_path / "teacher.csv"
    path.write_text(text)
    args = train.parse_arguments(["--data", str(small_set), "--teacher", str(path)])
    with pytest.raises(engine.TrainingError, match="teacher.csv"):
        train.soft_targets(args, index_folder(small_set / "Train"))


@pytest.mark.parametrize(
    ("given", "train_too", "validation_too"),
    [
        ([], False, False),
        (["--frame", "face"], True, True),
        (["--set", "blackout=0.1"], True, False),
        (["--set", "self_blend=0.1"], True, False),
        (["--set", "part_swap=0.1"], True, False),
    ],
)
def test_faces_are_looked_for_where_they_are_needed(small_set, monkeypatch, given, train_too, validation_too):
    monkeypatch.setattr(
        indexing, "with_faces", lambda index: dataclasses.replace(index, faces=((),) * len(index.samples))
    )
    data = train.load_data(train.parse_arguments(["--data", str(small_set), *given]))
    assert (data.train.faces is not None, data.validation.faces is not None) == (train_too, validation_too)
