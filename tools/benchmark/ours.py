"""This program's training step and loading, as a helper that works when told to (tools/benchmark/measure.py).

python -m tools.benchmark.ours steps resnet50 data 32 auto [--compile]     # with loading, as train.py does it
python -m tools.benchmark.ours held resnet50 data 32 auto [--compile]      # images that already are on the device
python -m tools.benchmark.ours loader data 32 robust disk 2                # loading and augmenting alone
"""

import dataclasses
import itertools
import sys
from collections.abc import Iterator

import torch

import dataset
import model
from detector.backend_torch import pick_device
from imaging.preprocess import Preprocess
from memory import keep_freed_memory
from tools.benchmark.original import serve
from training import engine
from training.augment import TrainingImages
from training.cache import pictures
from training.recipes import RECIPES, Recipe


def main() -> None:
    kind, *rest = sys.argv[1:]
    keep_freed_memory()
    if kind == "loader":
        data, batch_size, recipe, cache, workers = rest
        recipe = dataclasses.replace(RECIPES[recipe], batch_size=int(batch_size))
        endless = batches(data, make_spec("resnet50", recipe), recipe, cache, int(workers))
        serve(lambda count: [next(endless) for _ in range(count)])
        return
    arch, data, batch_size, device, *flags = rest
    device, recipe = pick_device(device), dataclasses.replace(RECIPES["original"], batch_size=int(batch_size))
    spec = make_spec(arch, recipe)
    network = model.create_model(arch).to(device, memory_format=torch.channels_last)
    learner = engine.Learner(
        network, arch, recipe, spec, device=device, precision=engine.pick_precision("auto", device),
        compiled="--compile" in flags,
    )  # fmt: skip
    endless = batches(data, spec, recipe, "auto", 0 if device.type == "cpu" else 8)
    if kind == "held":
        endless = itertools.repeat(tuple(part.to(device) for part in next(endless)))
    progress = engine.Progress()

    def work(count: int) -> None:
        for images, labels in itertools.islice(endless, count):
            progress.add(learner.learn([(images, labels)], rate=recipe.learning_rate, count=len(labels)), len(labels))
        progress.settle()  # waits for the device

    serve(work)


def make_spec(arch: str, recipe: Recipe) -> Preprocess:
    return Preprocess(224, recipe.fit, model.IMAGENET_MEAN, model.IMAGENET_STD)


def batches(data: str, spec: Preprocess, recipe: Recipe, cache: str, workers: int) -> Iterator:
    """Batches of one epoch after the other, without end."""
    index = dataset.training_data(data, seed=0).train
    decoded = pictures(index, spec, cache)
    for epoch in itertools.count(1):
        images = TrainingImages(decoded, index, spec, recipe, crop=spec.size, seed=0, epoch=epoch)
        order = [
            batch
            for batch in engine.epoch_batches(index, recipe, seed=0, epoch=epoch)
            if len(batch) == recipe.batch_size
        ]
        yield from dataset.make_loader(images, batches=order, workers=workers)


if __name__ == "__main__":
    main()
