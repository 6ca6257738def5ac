"""The step and the epoch: what training does to the weights, on one device or on several processes.

A Learner holds a network and all that moves it. tools/benchmark.py times this very code.
"""

import math
import random
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import model
from dataset import POWERS, chances
from imaging.preprocess import Preprocess
from indexing import Index
from progress import Bar
from ranks import ALONE, Ranks
from training.augment import network_input
from training.recipes import Recipe

PRECISIONS = ("auto", "fp32", "bf16", "fp16", "fp64")
EVERY = 50  # steps between two looks at the losses, where looking makes the device wait


class TrainingError(RuntimeError):
    """Training that cannot go on; str(error) is a sentence for people."""


class LossError(TrainingError):
    """A loss that is no finite number."""

    def __init__(self, step: int):
        super().__init__(f"the loss of step {step + 1} is not a finite number")
        self.step = step  # of the epoch, from 0


class Interruption:
    """Ctrl-C and SIGTERM as wishes, asked for at safe places: `with Interruption() as interruption: ... .check()`.

    Raised anywhere, KeyboardInterrupt can fall into a destructor or a callback of the loader, where Python swallows it,
    or into a step that is half done. A second signal is raised at once all the same (`unsafe` says so), but where it is
    `patient`. Several processes are: torchrun passes on the signal that the terminal sent already. They stop together.
    """

    def __init__(self, ranks: Ranks = ALONE):
        self.ranks, self.patient = ranks, ranks.size > 1
        self.wished, self.unsafe = None, False

    def __enter__(self) -> "Interruption":
        self.before = {number: signal.signal(number, self.wish) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def wish(self, number: int, _) -> None:
        if self.wished is not None and not self.patient:
            self.unsafe = True
            raise KeyboardInterrupt
        self.wished = number

    def check(self) -> None:
        """Raises KeyboardInterrupt if any process was sent a signal."""
        if self.ranks.any(self.wished is not None):
            raise KeyboardInterrupt


def seed_everything(*seed: int) -> None:
    """Whatever a network draws, its first weights and its dropout; the data draw from their own seeded streams."""
    number = int(np.random.SeedSequence(seed).generate_state(1)[0])
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


# Plan of a run ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Phase:
    """Consecutive epochs that train the same part of the network with the same optimiser."""

    first: int  # epoch, from 1
    last: int
    trained: str  # "all", "top" or "head" (model.trainable)
    learning_rate: float


def phase_of(epoch: int, recipe: Recipe) -> Phase:
    if epoch <= recipe.head_epochs:
        return Phase(1, recipe.head_epochs, "head", recipe.head_learning_rate)
    return Phase(recipe.head_epochs + 1, recipe.epochs, recipe.trained, recipe.learning_rate)


def learning_rate(
    step: int, *, epoch: int, steps_per_epoch: int, recipe: Recipe, losses: Sequence[float] = ()
) -> float:
    """For step 0, 1, ... of an epoch. losses: on Validation, of the epochs before; a plateau is seen in them."""
    phase = phase_of(epoch, recipe)
    if recipe.schedule == "constant":
        return phase.learning_rate
    if recipe.schedule == "plateau":
        return phase.learning_rate * 0.1 ** plateaus(losses[phase.first - 1 :], recipe.plateau_patience)
    step += (epoch - phase.first) * steps_per_epoch
    warmup, total = recipe.warmup_epochs * steps_per_epoch, (phase.last - phase.first + 1) * steps_per_epoch
    if step < warmup:
        return phase.learning_rate * (step + 1) / (warmup + 1)
    done = min(1.0, (step - warmup) / max(1.0, total - 1 - warmup))
    floor = 0.01
    return phase.learning_rate * (floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2)


def plateaus(losses: Sequence[float], patience: int) -> int:
    """How often the losses, one an epoch, stayed above their lowest for `patience` epochs on end."""
    best, waited, count = math.inf, 0, 0
    for loss in losses:
        if loss < best:
            best, waited = loss, 0
        else:
            waited += 1
        if waited >= patience:
            count, waited = count + 1, 0
    return count


def epoch_batches(index: Index, recipe: Recipe, *, seed: int, epoch: int, ranks: Ranks = ALONE) -> list[list[int]]:
    """The images of each batch of an epoch, in a seeded order; over all processes together.

    Each image once, unless the recipe balances classes or sources. A last batch with fewer images than processes, or
    with one, is left out: batch normalisation has nothing to average there.
    """
    n = len(index.samples)
    draw = np.random.default_rng((seed, epoch, 0, 1))  # an image's own draws are (seed, epoch, i): not these
    if recipe.balance in POWERS:
        order = draw.choice(n, size=n, p=chances(index, POWERS[recipe.balance])).tolist()
    else:
        order = draw.permutation(n).tolist()
    batches = [order[i : i + recipe.batch_size] for i in range(0, n, recipe.batch_size)]
    too_small = len(batches[-1]) < max(2, ranks.size) and len(batches) > 1
    return batches[:-1] if too_small and recipe.batch_size > 1 else batches


def class_weights(labels: np.ndarray) -> tuple[float, float]:
    """Weights of Real and Fake in the loss: both classes weigh the same, and an image 1 on average."""
    return tuple((len(labels) / (2 * np.bincount(labels, minlength=2))).tolist())


# The step -----------------------------------------------------------------------------------------------------------


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """auto: bf16 where the card computes in it, else fp16 on CUDA, and fp32 on a CPU."""
    if name == "auto" and device.type != "cuda":
        name = "fp32"
    elif name == "auto":
        # is_bf16_supported() also says yes where bf16 is only emulated, as on a T4.
        name = "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}[name]


class Learner:
    """A network, and what moves it through one phase: optimiser, gradient scaler, moving average.

    precision: of the arithmetic (pick_precision). The weights are float32, but for fp64.
    weights: of the two classes in the loss.
    """

    def __init__(
        self,
        network: nn.Module,
        arch: str,
        recipe: Recipe,
        preprocess: Preprocess,
        *,
        device: torch.device,
        trained: str = "all",
        precision: torch.dtype = torch.float32,
        weights: tuple[float, float] = (1.0, 1.0),
        ranks: Ranks = ALONE,
        compiled: bool = False,
    ):
        self.recipe, self.preprocess, self.device, self.ranks = recipe, preprocess, device, ranks
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # each crop size is met thousands of times
        self.network = network
        self.still = model.trainable(network, arch, trained)
        self.dtype = torch.float64 if precision == torch.float64 else torch.float32
        self.weights = torch.tensor(weights, dtype=self.dtype, device=device)
        self.autocast = torch.autocast(
            device.type, precision, enabled=precision in (torch.bfloat16, torch.float16), cache_enabled=True
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
        self.optimiser = make_optimiser(network, recipe)
        self.forward = network
        if ranks.size > 1:
            ids = [device.index] if device.type == "cuda" else None
            self.forward = DistributedDataParallel(network, device_ids=ids)
        if compiled:
            self.forward = torch.compile(self.forward)
        self.averaged, self.steps = None, 0
        if recipe.ema:
            self.averaged = AveragedModel(network, multi_avg_fn=self._average, use_buffers=True)

    @property
    def best_network(self) -> nn.Module:
        """What is validated and kept: the moving average where there is one."""
        return self.averaged.module if self.averaged else self.network

    def learn(self, batches: list[tuple[torch.Tensor, torch.Tensor]], *, rate: float, count: int) -> torch.Tensor:
        """One step from the gradients of all `batches` together, each (n, h, w, 3) uint8 images and (n,) labels.

        Labels are int64, or the probabilities of Fake that are to be learned, float32, where a teacher has a say.

        count: images of the step over all processes, so that each weighs the same however they are dealt out.
        Returns (2,): the summed cross-entropy in nats and the number of right answers over all processes, still on the
        device.
        """
        self.network.train()
        for module in self.still:
            module.eval()  # its batch normalisation keeps the averages that it came with
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        for place, (images, labels) in enumerate(batches, 1):
            images = network_input(images, self.preprocess, self.device, dtype=self.dtype)
            labels = labels.to(self.device, non_blocking=True)
            waits = self.ranks.size > 1 and place < len(batches)
            with self.forward.no_sync() if waits else nullcontext():
                with self.autocast:
                    logits = self.forward(images)
                losses = functional.cross_entropy(logits.to(self.dtype), targets(labels, self.dtype), reduction="none")
                labels = labels.round().long()
                # DistributedDataParallel averages over the processes; the sum over all images is what is wanted.
                loss = (losses * self.weights[labels]).sum() * (self.ranks.size / count)
                self.scaler.scale(loss).backward()
            sums[0] += losses.detach().sum()
            sums[1] += (logits.detach().argmax(1) == labels).sum()
        if self.recipe.clip is not None:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        if self.averaged:
            self.averaged.update_parameters(self.network)
        self.steps += 1
        return self.ranks.add(sums)

    def _average(self, averaged: list, current: list, _) -> None:
        """A moving average that forgets fast at first, when the weights still move far."""
        decay = min(self.recipe.ema, (1 + self.steps) / (10 + self.steps))
        get_ema_multi_avg_fn(decay)(averaged, current, self.steps)

    def state_dict(self) -> dict:
        """Raises TrainingError when the weights are no numbers any more: nobody can go on from there."""
        if not all(torch.isfinite(parameter).all() for parameter in self.network.parameters()):
            raise TrainingError("the weights are no longer finite numbers; try a lower --lr")
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged else None,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        if state["scaler"]:  # else it was begun where none was needed
            self.scaler.load_state_dict(state["scaler"])
        if self.averaged:
            self.averaged.load_state_dict(state["averaged"])
        self.steps = state["steps"]


def targets(labels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What cross_entropy takes: labels as they are, probabilities of Fake as (n, 2) of both classes."""
    return torch.stack((1 - labels, labels), 1).to(dtype) if labels.is_floating_point() else labels


def make_optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam or AdamW in one fused pass; weight decay on matrices and kernels only, not on normalisations and biases."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return kinds[recipe.optimiser](groups, lr=recipe.learning_rate, fused=True)


# The epoch ----------------------------------------------------------------------------------------------------------


@dataclass
class Progress:
    """How far an epoch has come, and the sums of its metrics so far, over all processes."""

    epoch: int = 1
    step: int = 0  # steps done
    loss: float = 0.0  # summed cross-entropy, nats
    hits: float = 0.0
    images: int = 0
    seconds: float = 0.0
    _waiting: list = field(default_factory=list)  # sums that are still on the device

    def add(self, sums: torch.Tensor, images: int) -> None:
        self._waiting.append((self.step, sums))
        self.images += images
        self.step += 1
        if sums.device.type == "cpu" or len(self._waiting) >= EVERY:
            self.settle()

    def settle(self) -> None:
        """Take what waits on the device into the sums. Raises LossError naming the first step whose loss is none."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            for (step, _), (loss, hits) in zip(waiting, torch.stack([s for _, s in waiting]).tolist(), strict=True):
                if not math.isfinite(loss):
                    raise LossError(step)
                self.loss += loss
                self.hits += hits

    def state_dict(self) -> dict:
        self.settle()
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


def train_epoch(
    learner: Learner,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    sizes: Sequence[int],
    progress: Progress,
    rate: Callable[[int], float],
    *,
    seed: int,
    desc: str = "",
    after_step: Callable[[], None] = lambda: None,
) -> None:
    """The rest of an epoch, from where `progress` stands.

    batches: the remaining ones, of this process; sizes: images of every batch of the epoch, over all processes.
    rate: learning rate of a step. after_step: called when a step is whole; what it raises ends the epoch.
    """
    steps, batches = step_sizes(sizes, learner.recipe), iter(batches)
    began, before = time.perf_counter(), progress.seconds
    shown = Bar(
        steps[progress.step :], initial=progress.step, total=len(steps), desc=desc, unit="step",
        disable=not learner.ranks.first,
    )  # fmt: skip
    for count in shown:
        # What the network draws (dropout) depends on where the step stands alone, so no generator has a past.
        seed_everything(seed, progress.epoch, progress.step, learner.ranks.rank)
        parts = min(learner.recipe.accumulate, len(sizes) - progress.step * learner.recipe.accumulate)
        group = [next(batches) for _ in range(parts)]
        sums = learner.learn(group, rate=rate(progress.step), count=count)
        progress.add(sums, count)
        progress.seconds = before + time.perf_counter() - began
        after_step()
    progress.settle()
    progress.seconds = before + time.perf_counter() - began


def step_sizes(sizes: Sequence[int], recipe: Recipe) -> list[int]:
    """Images of each step, from those of each batch."""
    return [sum(sizes[i : i + recipe.accumulate]) for i in range(0, len(sizes), recipe.accumulate)]
