"""Recipes, augmentation, schedule, optimiser, one epoch."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_image

import model
from dataset import DeepFakeDataset, make_loader
from imaging.preprocess import Preprocess
from training import engine
from training.augment import AugmentedDataset, TrainTransform
from training.recipes import RECIPES, Recipe

SPEC = Preprocess(size=48)


def draws(transform, count=40):
    image = make_image(True, 5)
    return [transform(image, np.random.default_rng(i)) for i in range(count)]


def test_crops_are_native_pixels_at_random_places():
    image = np.asarray(make_image(True, 5))
    corners = set()
    for array in draws(TrainTransform(SPEC, crop=32, flip=0.0)):
        pixels = np.rint((array.transpose(1, 2, 0) * 0.5 + 0.5) * 255).astype(int)
        places = [
            (y, x) for y in range(33) for x in range(33) if (image[y, x : x + 32] == pixels[0]).all()
            and (image[y : y + 32, x : x + 32] == pixels).all()
        ]  # fmt: skip
        assert len(places) == 1
        corners |= set(places)
    assert len(corners) > 25
    assert max(y for y, _ in corners) > 28 and min(y for y, _ in corners) < 4


def test_flip_happens_with_its_probability():
    plain = draws(TrainTransform(SPEC, crop=64, flip=0.0))[0]
    flipped = [not np.array_equal(array, plain) for array in draws(TrainTransform(SPEC, crop=64, flip=0.5), 200)]
    assert 70 < sum(flipped) < 130
    assert all(np.array_equal(a, plain[:, :, ::-1]) for a in draws(TrainTransform(SPEC, crop=64, flip=1.0), 3))


def test_small_images_are_enlarged_not_refused():
    assert TrainTransform(SPEC, crop=96, flip=0.5)(make_image(True, 1), np.random.default_rng(0)).shape == (3, 96, 96)


def test_original_sees_in_training_what_it_is_judged_on():
    """No augmentation: the whole image resized, as Validation does it."""
    spec = replace(SPEC, fit=RECIPES["original"].fit)
    transform = TrainTransform(spec, crop=spec.size, flip=RECIPES["original"].flip)
    assert np.array_equal(draws(transform, 3)[2], spec(make_image(True, 5)))


@pytest.mark.parametrize("workers", [0, 2])
def test_draws_depend_on_seed_epoch_and_place_only(small_set, workers):
    images = DeepFakeDataset(small_set / "Train")
    transform = TrainTransform(SPEC, crop=32, flip=0.5)

    def epoch(number, batch_size, order):
        augmented = AugmentedDataset(images, transform, seed=7, epoch=number)
        loader = make_loader(augmented, batch_size=batch_size, workers=workers, sampler=order)
        return dict(zip(order, torch.cat([batch for batch, _ in loader]), strict=True))

    here, other_order = epoch(1, 4, [0, 9, 40, 3]), epoch(1, 3, [3, 40, 0, 9])
    assert all(torch.equal(here[i], other_order[i]) for i in here)
    assert not torch.equal(here[9], epoch(2, 4, [9])[9])


def test_epoch_order_is_a_seeded_permutation():
    order = engine.epoch_order(40, seed=1, epoch=2, batch_size=8)
    assert sorted(order) == list(range(40))
    assert order == engine.epoch_order(40, seed=1, epoch=2, batch_size=8)
    assert order != engine.epoch_order(40, seed=1, epoch=3, batch_size=8)
    assert len(engine.epoch_order(41, seed=1, epoch=2, batch_size=8)) == 40  # no last batch of one


def test_the_schedule_moves():
    recipe = Recipe(learning_rate=1.0, epochs=4, warmup_epochs=0.5)
    rates = [engine.learning_rate(step, steps_per_epoch=10, recipe=recipe) for step in range(40)]
    assert rates[:5] == sorted(rates[:5]) and max(rates) == pytest.approx(1.0)
    assert rates[5:] == sorted(rates[5:], reverse=True) and rates[-1] == pytest.approx(0.01)
    middle = rates[5 + 17]  # half-way down a cosine from 1 to 0.01
    assert middle == pytest.approx(0.505, abs=0.03)
    constant = replace(recipe, schedule="constant")
    assert {engine.learning_rate(step, steps_per_epoch=10, recipe=constant) for step in range(40)} == {1.0}


def test_weight_decay_spares_norms_and_biases():
    optimiser = engine.make_optimiser(model.create_model("tiny"), Recipe(weight_decay=0.1))
    decayed, spared = optimiser.param_groups
    assert isinstance(optimiser, torch.optim.AdamW)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert all(p.ndim > 1 for p in decayed["params"]) and all(p.ndim == 1 for p in spared["params"])
    assert type(engine.make_optimiser(model.create_model("tiny"), RECIPES["original"])) is torch.optim.Adam


def one_epoch(network, batches, recipe):
    return engine.train_epoch(
        network, batches, engine.make_optimiser(network, recipe), device=torch.device("cpu"), recipe=recipe,
        first_step=0, steps_per_epoch=len(batches), desc="",
    )  # fmt: skip


def test_an_epoch_counts_every_image_once():
    """With a learning rate of next to nothing, the epoch's loss is the mean over images, not over batches."""
    torch.manual_seed(0)
    network, images, labels = model.create_model("tiny"), torch.randn(7, 3, 32, 32), torch.tensor([0, 1, 1, 1, 0, 1, 1])
    with torch.no_grad():
        logits = network(images)
    expected = torch.nn.functional.cross_entropy(logits, labels).item()
    recipe = Recipe(learning_rate=1e-12, schedule="constant", batch_size=5)
    result = one_epoch(network, [(images[:5], labels[:5]), (images[5:], labels[5:])], recipe)
    assert result.loss == pytest.approx(expected, rel=1e-5)
    assert result.accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())


def test_it_learns_a_batch():
    torch.manual_seed(0)
    network, batch = model.create_model("tiny"), (torch.randn(8, 3, 32, 32), torch.tensor([0, 1] * 4))
    recipe = Recipe(learning_rate=3e-3, schedule="constant")
    losses = [one_epoch(network, [batch] * 3, recipe).loss for _ in range(12)]
    assert losses[-1] < 0.3 < losses[0]


def test_a_loss_that_is_not_finite_stops_the_run():
    network = model.create_model("tiny")
    with pytest.raises(engine.TrainingError, match="try a lower --lr"):
        one_epoch(network, [(torch.full((2, 3, 32, 32), math.nan), torch.tensor([0, 1]))], Recipe())
