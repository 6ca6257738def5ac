"""A run: what stays the same from one epoch to the next, and where it stands."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import dataset
from detector.checkpoint import Metadata, save_checkpoint
from evaluation import calibrating
from evaluation.scoring import Judged
from names import FAKE
from ranks import Ranks
from training import engine, probe, resume
from training.augment import TrainingImages
from training.cache import Decoded, Mapped
from training.engine import Learner, LossError, Phase, Progress, TrainingError
from training.recipes import Recipe


@dataclasses.dataclass(frozen=True)
class Session:
    """What stays the same from one epoch to the next."""

    out: Path
    data: dataset.TrainingData
    pictures: Decoded | Mapped  # of data.train
    recipe: Recipe
    metadata: Metadata  # of the checkpoints
    device: torch.device
    ranks: Ranks
    seed: int
    workers: int
    precision: torch.dtype
    compiled: bool
    save_every: str  # resume.Cadence
    soft: np.ndarray | None = None  # (n,) float32: what to learn of each training image, where a teacher has a say

    def batches(self, epoch: int) -> list[list[int]]:
        """The images of each batch of an epoch, over all processes together."""
        return engine.epoch_batches(self.data.train, self.recipe, seed=self.seed, epoch=epoch, ranks=self.ranks)

    def loader(self, epoch: int, batches: list[list[int]]) -> torch.utils.data.DataLoader:
        """This process's part of those batches, augmented."""
        spec = self.metadata.preprocess
        crop = self.recipe.crop(epoch, spec.size)
        index = self.data.train
        images = TrainingImages(
            self.pictures, index, spec, self.recipe, crop=crop, seed=self.seed, epoch=epoch, soft=self.soft
        )
        return dataset.make_loader(images, batches=[self.ranks.share(batch) for batch in batches], workers=self.workers)

    def learner(self, network: nn.Module, phase: Phase) -> Learner:
        labels = self.data.train.labels
        return Learner(
            network, self.metadata.arch, self.recipe, self.metadata.preprocess, device=self.device,
            trained=phase.trained, precision=self.precision, ranks=self.ranks, compiled=self.compiled,
            weights=engine.class_weights(labels) if self.recipe.balance == "loss" else (1.0, 1.0),
        )  # fmt: skip

    def frozen_features(self, network: nn.Module, check: Callable[[], None]) -> probe.FrozenFeatures:
        """What a backbone that stands still sees of images."""
        return probe.FrozenFeatures(
            network, self.metadata.arch, self.metadata.preprocess, self.device, precision=self.precision,
            workers=self.workers, check=check,
        )  # fmt: skip

    @property
    def settings(self) -> dict:
        """What a run must still be for its state to fit; of the rest, nothing changes what is learned."""
        return self.metadata.training["settings"]


class Run:
    """Where a run stands: the weights, the position, what was measured so far."""

    def __init__(self, network: nn.Module, session: Session, state: dict | None = None):
        """state: of resume.load_state, to go on from."""
        self.network, self.session, self.cadence = network, session, resume.Cadence(session.save_every)
        self.progress, self.rows, self.best = Progress(), [], None
        self.learner: Learner | None = None
        if state:
            network.load_state_dict(state["learner"]["network"])
            self.progress, self.rows, self.best = state["progress"], state["rows"], state["best"]
        self.phase = self.phase_now
        if not self.finished:
            self.learner = session.learner(network, self.phase)
            if state and state["phase"] == self.phase.first:
                self.learner.load_state_dict(state["learner"])

    @property
    def phase_now(self) -> Phase:
        return engine.phase_of(min(self.progress.epoch, self.session.recipe.epochs), self.session.recipe)

    @property
    def finished(self) -> bool:
        """All epochs are done, or the best one lies too far back."""
        recipe = self.session.recipe
        waited = self.rows[-1]["epoch"] - self.best[0]["epoch"] if self.rows else 0
        return self.progress.epoch > recipe.epochs or 0 < recipe.patience <= waited

    def train_epoch(self, check: Callable[[], None]) -> dict:
        """The rest of this epoch. Returns the training part of its row in metrics.csv. Raises TrainingError.

        check: called after each step; what it raises ends the epoch where it stands.
        """
        session, progress, recipe = self.session, self.progress, self.session.recipe
        if recipe.trained == "probe":
            return self.fit_head(check)
        batches = session.batches(progress.epoch)
        sizes = [len(batch) for batch in batches]
        steps = len(engine.step_sizes(sizes, recipe))
        losses = [row["val_loss"] for row in self.rows]

        def rate(step: int) -> float:
            return engine.learning_rate(step, epoch=progress.epoch, steps_per_epoch=steps, recipe=recipe, losses=losses)

        try:
            engine.train_epoch(
                self.learner, session.loader(progress.epoch, batches[progress.step * recipe.accumulate :]), sizes,
                progress, rate, seed=session.seed, desc=f"epoch {progress.epoch}/{recipe.epochs}",
                after_step=lambda: self.after_step(check),
            )  # fmt: skip
        except LossError as error:
            places = batches[error.step * recipe.accumulate : (error.step + 1) * recipe.accumulate]
            names = "\n".join(f"  {session.data.train.samples[i].path}" for batch in places for i in batch)
            text = f"{error} in epoch {progress.epoch}; try a lower --lr. Its images:\n{names}"
            raise TrainingError(text) from error
        session.ranks.same_buffers(self.network, self.learner.best_network)
        return {
            "epoch": progress.epoch,
            "train_loss": round(progress.loss / progress.images, 6),
            "train_accuracy": round(progress.hits / progress.images, 6),
            "learning_rate": float(f"{rate(steps - 1):.6g}"),
            "crop": recipe.crop(progress.epoch, session.metadata.preprocess.size),
            "images_per_second": round(progress.images / progress.seconds, 1),
            "seconds": round(progress.seconds, 1),
        }

    def fit_head(self, check: Callable[[], None]) -> dict:
        """The one epoch of a probe: its row, from the training images as they are and augmented."""
        session, recipe, began = self.session, self.session.recipe, time.monotonic()
        frozen = session.frozen_features(self.network, check)
        found = frozen.of_views(session.pictures, session.data.train, recipe, seed=session.seed)
        weight, bias = found.fit(recipe)
        probe.set_head(self.network, session.metadata.arch, weight, bias)
        margins = found.features.astype(np.float32) @ weight.astype(np.float32) + bias
        seconds = time.monotonic() - began
        return {
            "epoch": 1,
            "train_loss": round(float(np.logaddexp(0, np.where(found.labels == FAKE, -margins, margins)).mean()), 6),
            "train_accuracy": round(float(((margins >= 0) == (found.labels == FAKE)).mean()), 6),
            "learning_rate": 0.0,
            "crop": session.metadata.preprocess.size,
            "images_per_second": round(len(margins) / seconds, 1),
            "seconds": round(seconds, 1),
        }

    def after_step(self, check: Callable[[], None]) -> None:
        check()
        if self.cadence.due():
            self.save_state()

    def keep(self, row: dict, judged: Judged, keep_epochs: tuple[int, ...]) -> None:
        """The checkpoints of an epoch, and what it showed: its row, and what it says of Validation."""
        names = ["last"]
        if self.best is None or row["val_auc"] > self.best[0]["val_auc"]:
            self.best = row, judged
            names.append("best")
        if row["epoch"] in keep_epochs:
            names.append(f"epoch_{row['epoch']}")
        self.save_checkpoints(names, row, judged)
        self.rows.append(row)

    def next_epoch(self) -> None:
        self.progress = Progress(self.progress.epoch + 1)
        self.save_state()  # after all files of the epoch: until then, they are made again
        if not self.finished and self.phase_now != self.phase:
            self.phase = self.phase_now
            self.learner = self.session.learner(self.network, self.phase)

    def save_checkpoints(self, names: list[str], row: dict, judged: Judged) -> None:
        """Under several names, with the calibration that fits what is said of Validation."""
        if self.session.ranks.first:
            metadata, index = self.session.metadata, self.session.data.validation
            calibration = calibrating.of_index(index, judged.logits)
            facts = {
                "epoch": row["epoch"],
                "validation": row,
                "calibrated": calibrating.numbers(index.labels, judged, calibration),
            }
            metadata = dataclasses.replace(metadata, calibration=calibration, training=metadata.training | facts)
            weights = self.learner.best_network.state_dict()
            plain = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
            for name in names:
                save_checkpoint(self.session.out / f"{name}.safetensors", plain, metadata)

    def save_state(self) -> None:
        if self.session.ranks.first and self.learner:
            resume.save_state(
                self.session.out,
                {
                    "settings": self.session.settings, "phase": self.phase.first, "learner": self.learner.state_dict(),
                    "progress": self.progress.state_dict(), "rows": self.rows, "best": self.best,
                },
            )  # fmt: skip
