"""A head on frozen features: what the backbone sees of each training image is computed once, then the head is fitted.

    found = FrozenFeatures(network, arch, preprocess, device)
    features, labels = found.of_view(pictures, index, recipe, seed=0, view=0)     # (n, c) float16, (n,) int64
    weight, bias = fit(features, labels, counts, strength=0.001)                  # of the margin Fake - Real

A linear probe (Alain and Bengio 2016). Of CLIP's features it knows generators that it was never shown better than a
network all of which was trained (Ojha et al., CVPR 2023). What is computed is kept, in quiet.cache_folder().
"""

import contextlib
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import Dataset

import model
from dataset import POWERS, make_loader, shares
from files import write_atomically
from imaging.faces import FINDER_VERSION
from imaging.preprocess import Preprocess
from indexing import Index
from names import CLASSES
from progress import Bar
from quiet import cache_folder
from training.augment import TrainingImages, network_input
from training.recipes import Recipe

BATCH = 16  # images at a time
PART = 512  # images of a file: what an interruption can cost
MADE = "(made in training)"  # the source of part swaps and self-blended faces
ITERATIONS = 1000  # of L-BFGS


@dataclass(frozen=True)
class Seen:
    """What a backbone sees of n training images: their features, and what they are."""

    features: np.ndarray  # (n, c) float16
    labels: np.ndarray  # (n,) int64
    sources: np.ndarray  # (n,) names; MADE of a Fake that training made of a Real image

    def fit(self, recipe: Recipe) -> tuple[np.ndarray, float]:
        """((c,) weight, bias) of the margin, as the recipe says."""
        counted = counts(self.labels, self.sources, recipe.balance) / recipe.views  # more views are no more images
        return fit(self.features, self.labels, counted, strength=recipe.strength)

    def without(self, kinds: Collection[str]) -> "Seen":
        """The same but for the images of some classes and sources, "Fake/stylegan2" say."""
        names = [f"{CLASSES[label]}/{source}" for label, source in zip(self.labels, self.sources, strict=True)]
        kept = ~np.isin(names, list(kinds))
        return Seen(self.features[kept], self.labels[kept], self.sources[kept])


class AsTheyAre(Dataset):
    """Batches of images as Validation sees them: (n, h, w, 3) uint8 and (n,) labels, as TrainingImages gives them."""

    def __init__(self, pictures: Sequence[np.ndarray], index: Index, preprocess: Preprocess):
        self.pictures, self.labels, self.preprocess = pictures, index.labels, preprocess

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, chosen: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        views = [np.asarray(self.preprocess.from_base(Image.fromarray(self.pictures[i]))) for i in chosen]
        return torch.from_numpy(np.stack(views)), torch.from_numpy(self.labels[list(chosen)])


class FrozenFeatures:
    """What enters a network's last linear layer, computed once for each image and kept in files.

    precision: of the arithmetic; bfloat16 is faster on CPUs with avx512_bf16 or AMX, and on GPUs.
    check: called after each batch; what it raises ends the pass, which the next one goes on with.
    """

    def __init__(
        self,
        network: nn.Module,
        arch: str,
        preprocess: Preprocess,
        device: torch.device,
        *,
        precision: torch.dtype = torch.float32,
        workers: int = 0,
        check: Callable[[], None] = lambda: None,
    ):
        self.network, self.head, self.preprocess = network, model.architecture(arch).head, preprocess
        self.device, self.precision, self.workers, self.check = device, precision, workers, check
        self.facts = {
            "arch": arch,
            "weights": _digest(network, model.architecture(arch).classifier),
            "preprocess": preprocess.to_dict(),
            "precision": str(precision),
            "finder": FINDER_VERSION,
        }

    def of_view(
        self, pictures: Sequence[np.ndarray], index: Index, recipe: Recipe, *, seed: int, view: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """((n, c) float16 features, (n,) labels) of the images of an index: as they are (view 0), or augmented.

        pictures: of training.cache. The labels are the index's, but where a Real image was made a Fake one.
        """
        images: Dataset = AsTheyAre(pictures, index, self.preprocess)
        if view:
            size = self.preprocess.size
            images = TrainingImages(pictures, index, self.preprocess, recipe, crop=size, seed=seed, epoch=view)
        folder = cache_folder() / "features" / self._key(index, recipe, seed, view)
        found = [self._part(folder / f"{at}.npz", images, at, view) for at in range(0, len(images), PART)]
        return np.concatenate([one for one, _ in found]), np.concatenate([labels for _, labels in found])

    def of_views(self, pictures: Sequence[np.ndarray], index: Index, recipe: Recipe, *, seed: int) -> "Seen":
        """All views of the recipe, one after the other."""
        views = [self.of_view(pictures, index, recipe, seed=seed, view=view) for view in range(recipe.views)]
        labels = np.concatenate([of_view for _, of_view in views])
        sources = np.array(index.sources * recipe.views, object)
        sources[labels != np.tile(index.labels, recipe.views)] = MADE
        return Seen(np.concatenate([features for features, _ in views]), labels, sources)

    def _key(self, index: Index, recipe: Recipe, seed: int, view: int) -> str:
        """What decides on the features of a view: a folder's name."""
        facts = self.facts | {"images": [*index.hashes], "labels": index.labels.tolist(), "view": view}
        if view:  # drawn from the seed, and donors are chosen among all images of the index
            facts |= {"seed": seed, "augmentation": recipe.augmentation}
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    def _part(self, path: Path, images: Dataset, at: int, view: int) -> tuple[np.ndarray, np.ndarray]:
        errors = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)  # it is missing, or damaged
        with contextlib.suppress(*errors), np.load(io.BytesIO(path.read_bytes())) as stored:
            return stored["features"], stored["labels"]
        chosen = range(at, min(at + PART, len(images)))
        features, labels = self._compute(images, chosen, f"features, view {view + 1}, {at} of {len(images)}")
        file = io.BytesIO()
        np.savez(file, features=features, labels=labels)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, file.getvalue())
        return features, labels

    def _compute(self, images: Dataset, chosen: range, desc: str) -> tuple[np.ndarray, np.ndarray]:
        batches = [list(chosen[at : at + BATCH]) for at in range(0, len(chosen), BATCH)]
        found: list[np.ndarray] = []
        kept = self.network.get_submodule(self.head).register_forward_pre_hook(
            lambda _, inputs: found.append(inputs[0].half().cpu().numpy())
        )
        half = self.precision in (torch.bfloat16, torch.float16)
        halved, labels = torch.autocast(self.device.type, self.precision, enabled=half), []
        self.network.eval()
        try:
            with torch.inference_mode(), halved, Bar(total=len(chosen), desc=desc, unit="img") as progress:
                for pixels, of_batch in make_loader(images, batches=batches, workers=self.workers):
                    self.network(network_input(pixels, self.preprocess, self.device))
                    labels.append(of_batch.numpy())
                    progress.update(len(pixels))
                    self.check()
        finally:
            kept.remove()
        return np.concatenate(found), np.concatenate(labels)


def counts(labels: np.ndarray, sources: Sequence[str], balance: str) -> np.ndarray:
    """(n,) float64, what each image counts, of mean 1: by class and source as Recipe.balance says.

    With "none" and "loss" by source not at all; with "loss" and all others both classes weigh the same.
    """
    if balance == "none":
        return np.ones(len(labels))
    return shares(labels, sources, POWERS.get(balance, 1.0)) * len(labels)


def fit(features: np.ndarray, labels: np.ndarray, counted: np.ndarray, *, strength: float) -> tuple[np.ndarray, float]:
    """((c,) weight, bias) of the margin Fake - Real, by a logistic regression of standardised features.

    counted: (n,), what each image counts. strength: C of the regression, the inverse of the penalty on its weights.
    Mean and deviation are folded into the weights, so that a linear layer is all there is. Raises ValueError where
    there is one class only.
    """
    if len(np.unique(labels)) < 2:
        raise ValueError("the head needs images of both classes")
    features = features.astype(np.float32)
    mean = np.average(features, 0, counted).astype(np.float32)
    features -= mean
    spread = np.sqrt(np.average(np.square(features), 0, counted)).astype(np.float32) + np.float32(1e-6)
    features /= spread
    found = LogisticRegression(C=strength, max_iter=ITERATIONS, tol=1e-3).fit(features, labels, sample_weight=counted)
    weight = found.coef_[0].astype(np.float64) / spread
    return weight, float(found.intercept_[0] - weight @ mean)


def set_head(network: nn.Module, arch: str, weight: np.ndarray, bias: float) -> None:
    """Make a margin's weight and bias the last layer of a network: half of it speaks for Fake, half against Real."""
    head = network.get_submodule(model.architecture(arch).head)
    signs = np.array([-0.5, 0.5])
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(signs[:, None] * weight))
        head.bias.copy_(torch.from_numpy(signs * bias))


def _digest(network: nn.Module, classifier: str) -> str:
    """Of all weights but the head's."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        if not name.startswith(f"{classifier}."):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
