"""Images with labels for training and judging: DeepFakeDataset, its loader, and the splits.

dataset = DeepFakeDataset("data/Validation", transform=preprocess)
tensor, label = dataset[0]               # (3, h, w) float32; 0 = Real, 1 = Fake

data = training_data("data", seed=0)     # .train and .validation; Test is never touched
"""

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from imaging.door import Picture
from indexing import DatasetError, Index, both_classes, counted, folders_in, index_folder
from names import FAKE, REAL

SPLIT_NAMES = {
    "Train": ("train", "training"),
    "Validation": ("validation", "valid", "val"),
    "Test": ("test", "testing"),
}
# How the number of a source's images decides on its share of a class, by Recipe.balance.
POWERS = {"class": 1.0, "root": 0.5, "source": 0.0}


class DeepFakeDataset(Dataset):
    """The images of a folder with Real/ and Fake/, or of an Index of one.

    transform: an upright RGB PIL image -> (3, h, w) float32 NumPy array (a Preprocess, for instance), or None for
        the PIL images themselves. A tuple of arrays becomes a tuple of tensors.
    strict: an image or folder that cannot be read raises StrictError, instead of being counted, listed and left out.
    Raises DatasetError when the folder has no Real/ and Fake/, or when one of them has no readable image.
    """

    def __init__(self, root: str | os.PathLike | Index, transform: Callable | None = None, *, strict: bool = False):
        self.index = root if isinstance(root, Index) else index_folder(root, strict=strict)
        self.transform = transform
        self.samples, self.left_out = self.index.samples, self.index.left_out

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int):
        """(tensor or tensors, label) of sample `i`."""
        image = self.picture(i).image
        return image if self.transform is None else as_tensors(self.transform(image)), self.samples[i].label

    def picture(self, i: int) -> Picture:
        """Sample `i`, opened. Raises DatasetError if the file changed since it was indexed."""
        return self.index.picture(i)


def chances(index: Index, power: float) -> np.ndarray:
    """(n,) probabilities, summing to 1: each class the same in all, each source within it by its size to a power.

    1: each image of a class the same; 0: each source; 0.5: between.
    """
    return shares(index.labels, index.sources, power)


def shares(of_label: np.ndarray, of_source: Sequence[str], power: float) -> np.ndarray:
    """The same from labels (n,) and names of sources (n,)."""
    names = [f"{label}/{source}" for label, source in zip(of_label, of_source, strict=True)]
    groups, members = np.unique(names, return_inverse=True)
    labels, sizes = np.array([int(group.split("/")[0]) for group in groups]), np.bincount(members)
    of_group = sizes**power
    of_group = of_group / np.bincount(labels, of_group)[labels] / len(set(labels.tolist()))
    return (of_group / sizes)[members]


def source_weights(index: Index, balance: str) -> np.ndarray | None:
    """(n,), what each image counts where a balance of sources is wanted ("root", "source"); None: all the same."""
    return chances(index, POWERS[balance]) if POWERS.get(balance, 1.0) < 1 else None


def as_tensors(arrays):
    """A NumPy array to a tensor that shares its memory; a tuple of arrays to a tuple of tensors."""
    return tuple(map(torch.from_numpy, arrays)) if isinstance(arrays, tuple) else torch.from_numpy(arrays)


class Loader(DataLoader):
    """A DataLoader whose worker processes never see Ctrl-C: it is the main process's business, which ends them."""

    def __iter__(self):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # workers inherit it
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def make_loader(
    dataset: Dataset,
    *,
    batch_size: int = 1,
    batches: list[list[int]] | None = None,
    workers: int,
    collate_fn: Callable | None = None,
) -> DataLoader:
    """A DataLoader in the dataset's order, with pinned memory where there is a GPU.

    batches: the samples of each batch, for a dataset whose __getitems__ makes a whole batch of them.
    workers: processes that load beside the main one; 0 loads in the main one.
    """
    how = {"batch_size": batch_size, "collate_fn": collate_fn}
    if batches is not None:
        how = {"batch_sampler": batches, "collate_fn": as_it_is}
    return Loader(
        dataset, **how, num_workers=workers, pin_memory=torch.cuda.is_available(), worker_init_fn=_start_worker
    )


def as_it_is(batch):
    return batch


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)


@dataclass(frozen=True)
class TrainingData:
    """What may be trained on and what chooses; Test is no part of it."""

    train: Index
    validation: Index
    notes: tuple[str, ...] = ()  # what was decided on the way, for people
    flat_digest: str | None = None  # of the whole folder, where it held no splits and split_flat made them

    def without_sources(self, names: Sequence[str]) -> "TrainingData":
        """The same without some sources, "Fake/stylegan2" say, of Train and of Validation. Raises DatasetError."""
        there = sorted({one.name for index in (self.train, self.validation) for one in index.samples if one.source})
        unknown = [name for name in names if name not in there]
        if unknown:
            raise DatasetError(f"no sub-folder {unknown[0]} to leave out (there are {', '.join(there) or 'none'})")
        left = {
            part: getattr(self, part).subset(
                i for i, one in enumerate(getattr(self, part).samples) if one.name not in names
            )
            for part in ("train", "validation")
        }
        for part, index in left.items():
            if len(set(index.labels.tolist())) < 2:
                raise DatasetError(f"without {', '.join(names)} there is one class only in {part.capitalize()}")
        return replace(self, **left, notes=(*self.notes, f"left out: {', '.join(names)}"))


def training_data(root: str | os.PathLike, *, seed: int, strict: bool = False) -> TrainingData:
    """Train and Validation from one root; Test is not even listed.

    The root holds Train/, Validation/ and Test/, or no Validation/: then a tenth of Train is set aside, the same share
    of each class and source; or only Real/ and Fake/: then they are split 80/10/10. Raises DatasetError on any other
    layout, and on a Test folder given as the root.
    """
    root = Path(root)
    folders = split_folders(root)
    flat_digest = None
    if not folders:
        if _is_split(root.resolve().name, "Test"):
            raise DatasetError(f"{root} is a Test split; nothing is trained or chosen on it (give the folder above)")
        whole = index_folder(root, strict=strict)
        parts, flat_digest = split_flat(whole, seed), whole.digest
        train, validation = parts["Train"], parts["Validation"]
        notes = [f"{root} holds no splits: 80 % of it trains, 10 % validates, 10 % is left for eval.py (seed {seed})"]
    elif "Train" not in folders:
        raise DatasetError(f"no Train/ in {root} (there is {', '.join(folders)})")
    elif "Validation" in folders:
        train, notes = index_folder(folders["Train"], strict=strict), []
        validation = index_folder(folders["Validation"], strict=strict)
    else:
        whole = index_folder(folders["Train"], strict=strict)
        dealt = _stratified_order(whole, seed)
        train = both_classes(whole.subset(sorted(i for i, k in dealt if k != 1)), "Train")
        validation = both_classes(whole.subset(sorted(i for i, k in dealt if k == 1)), "Validation")
        notes = [f"{root} has no Validation/: a tenth of Train validates instead (seed {seed})"]
    if any(_is_split(index.root.resolve().name, "Test") for index in (train, validation)):
        raise DatasetError(f"a link in {root} leads to a Test split; nothing is trained or chosen on it")
    shared = len(set(train.hashes) & set(validation.hashes))
    if shared:
        notes.append(f"{counted(shared, 'image')} of Validation also in Train, byte for byte: its numbers will flatter")
    return TrainingData(train, validation, tuple(notes), flat_digest)


def split_flat(index: Index, seed: int) -> dict[str, Index]:
    """An index without splits to Train (80 %), Validation and Test (10 % each), by class and source, seeded."""
    order = _stratified_order(index, seed)
    remainders = {"Validation": (1,), "Test": (2,), "Train": (0, 3, 4, 5, 6, 7, 8, 9)}
    parts = {name: index.subset(sorted(i for i, k in order if k in wanted)) for name, wanted in remainders.items()}
    return {name: both_classes(part, name) for name, part in parts.items()}


def split_folders(root: Path) -> dict[str, Path]:
    """The split folders in `root`, whatever their spelling (train, val, test ...), as {"Train": path, ...}."""
    found: dict[str, Path] = {}
    for folder in folders_in(root):
        for split in SPLIT_NAMES:
            if _is_split(folder.name, split):
                if split in found:
                    raise DatasetError(f"two folders for {split} in {root}: {found[split].name} and {folder.name}")
                found[split] = folder
    return found


def _stratified_order(index: Index, seed: int) -> list[tuple[int, int]]:
    """(i, k) for each sample, k = 0..9 dealt out in turn within each class, its sources one after the other.

    So each k holds a tenth of every class and of every large source. The shuffle before it is seeded.
    """
    shuffled = np.random.default_rng(seed).permutation(len(index.samples)).tolist()
    dealt = []
    for label in (REAL, FAKE):
        members = [i for i in shuffled if index.samples[i].label == label]
        members.sort(key=lambda i: index.samples[i].source)  # stable: the shuffle stays within a source
        dealt += [(i, place % 10) for place, i in enumerate(members)]
    return dealt


def _is_split(name: str, split: str) -> bool:
    return name.lower() in SPLIT_NAMES[split]
