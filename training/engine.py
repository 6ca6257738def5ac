"""The step and the epoch: seeds, optimiser, schedule, one pass over the training images."""

import math
import random
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from training.recipes import Recipe


class TrainingError(RuntimeError):
    """Training that cannot go on; str(error) is a sentence for people."""


@dataclass(frozen=True)
class EpochResult:
    loss: float  # mean cross-entropy over the epoch's images, nats
    accuracy: float
    learning_rate: float  # of the epoch's last step
    images_per_second: float
    seconds: float


class Interruption:
    """Ctrl-C as a wish, asked for at safe places: `with Interruption() as interruption: ... interruption.check()`.

    Raised anywhere, KeyboardInterrupt can fall into a destructor or a callback of the loader, where Python swallows it.
    A second Ctrl-C is raised at once.
    """

    wished = False

    def __enter__(self) -> "Interruption":
        self.before = signal.signal(signal.SIGINT, self.wish)
        return self

    def __exit__(self, *_) -> None:
        signal.signal(signal.SIGINT, self.before)

    def wish(self, *_) -> None:
        if self.wished:
            raise KeyboardInterrupt
        self.wished = True

    def check(self) -> None:
        """Raises KeyboardInterrupt if there was a Ctrl-C."""
        if self.wished:
            raise KeyboardInterrupt


def seed_everything(seed: int) -> None:
    """Initial weights and whatever a network draws while training; the data draw from their own seeded streams."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def make_optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam or AdamW; weight decay on matrices and kernels only, not on normalisations and biases."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return kinds[recipe.optimiser](groups, lr=recipe.learning_rate)


def learning_rate(step: int, *, steps_per_epoch: int, recipe: Recipe) -> float:
    """For step 0, 1, ... of the whole run."""
    if recipe.schedule == "constant":
        return recipe.learning_rate
    warmup, total = recipe.warmup_epochs * steps_per_epoch, recipe.epochs * steps_per_epoch
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    done = min(1.0, (step - warmup) / max(1.0, total - 1 - warmup))
    floor = 0.01
    return recipe.learning_rate * (floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2)


def epoch_order(n: int, *, seed: int, epoch: int, batch_size: int) -> list[int]:
    """The images of one epoch in a seeded random order, each once.

    A last batch of a single image would be left out: batch normalisation has nothing to average there.
    """
    order = np.random.default_rng((seed, epoch)).permutation(n).tolist()
    return order[:-1] if n % batch_size == 1 and n > 1 else order


def train_epoch(
    network: nn.Module,
    loader: Iterable[tuple[torch.Tensor, torch.Tensor]],
    optimiser: torch.optim.Optimizer,
    *,
    device: torch.device,
    recipe: Recipe,
    first_step: int,
    steps_per_epoch: int,
    desc: str,
    check: Callable[[], None] = lambda: None,
) -> EpochResult:
    """One pass. Sums stay on the device until its end, so that no step waits for a number.

    check: called after each step; what it raises ends the epoch.
    """
    network.train()
    began, images, rate = time.perf_counter(), 0, recipe.learning_rate
    total_loss, hits = torch.zeros((), device=device), torch.zeros((), device=device, dtype=torch.long)
    for step, (batch, labels) in enumerate(
        tqdm(loader, desc=desc, unit="batch", disable=None, leave=False), first_step
    ):
        batch = batch.to(device, non_blocking=True, memory_format=torch.channels_last)
        labels = labels.to(device, non_blocking=True)
        rate = learning_rate(step, steps_per_epoch=steps_per_epoch, recipe=recipe)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        logits = network(batch)
        loss = functional.cross_entropy(logits, labels)
        loss.backward()
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimiser.step()
        total_loss += loss.detach() * len(labels)
        hits += (logits.detach().argmax(1) == labels).sum()
        images += len(labels)
        check()
    loss, accuracy = total_loss.item() / images, hits.item() / images  # waits for the device
    seconds = time.perf_counter() - began
    if not math.isfinite(loss):
        raise TrainingError("the training loss is no longer a finite number; try a lower --lr")
    return EpochResult(loss, accuracy, rate, images / seconds, seconds)
