"""Images with labels from folders: DeepFakeDataset, the index behind it, and the splits.

A data folder holds Real/ and Fake/ (any case), each with images in any depth of sub-folders. The first
sub-folder is remembered as an image's source (Fake/stylegan2/0001.png has the source "stylegan2").

    dataset = DeepFakeDataset("data/Validation", transform=preprocess)
    tensor, label = dataset[0]               # (3, h, w) float32; 0 = Real, 1 = Fake

    data = training_data("data", seed=0)     # .train and .validation; Test is never touched
"""

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from imaging.door import DOOR_VERSION, ImageError, Picture, open_image, read_bytes
from imaging.faces import FINDER_VERSION, Face, FaceFinder
from imaging.listing import list_pictures, others_in_words
from names import CLASSES, FAKE, REAL
from progress import Bar
from quiet import cache_folder

STORE_VERSION = 2  # raise it when the rows of a store change
UNENTERED = "folder that cannot be entered"  # how the reason begins, where a folder is left out
SPLIT_NAMES = {
    "Train": ("train", "training"),
    "Validation": ("validation", "valid", "val"),
    "Test": ("test", "testing"),
}
# How the number of a source's images decides on its share of a class, by Recipe.balance.
POWERS = {"class": 1.0, "root": 0.5, "source": 0.0}


class DatasetError(ValueError):
    """A data folder that cannot be used; str(error) is a sentence for people."""


class StrictError(DatasetError):
    """Images that cannot be read, where the caller asked for that to be an error."""


@dataclass(frozen=True)
class Sample:
    path: Path
    label: int  # 0 = Real, 1 = Fake
    source: str  # first sub-folder below the class folder, "" without one

    @property
    def name(self) -> str:
        """Its class and source: "Fake/stylegan2"; "Fake" without one."""
        return "/".join(filter(None, (CLASSES[self.label], self.source)))


@dataclass(frozen=True)
class Index:
    """The images of one data folder that can be read, sorted by label and path, and what cannot."""

    root: Path
    samples: tuple[Sample, ...]
    hashes: tuple[str, ...]  # SHA-256 of each sample's file
    sizes: tuple[tuple[int, int], ...]  # (width, height) of each sample, upright, pixels
    left_out: tuple[tuple[Path, str], ...] = ()  # images and sub-folders that cannot be read, with the reason
    passed_over: tuple[Path, ...] = ()  # files that are no images
    faces: tuple[tuple[Face, ...], ...] | None = None  # of each sample, largest first; None: not searched

    @property
    def digest(self) -> str:
        """One SHA-256 over names, labels and contents: the same data give the same digest, wherever they lie."""
        lines = (
            f"{sample.path.relative_to(self.root).as_posix()}\t{sample.label}\t{content}\n"
            for sample, content in zip(self.samples, self.hashes, strict=True)
        )
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    @cached_property
    def found(self) -> tuple[tuple[Face, ...], ...]:
        """The faces of each sample; none where they were not searched."""
        return self.faces if self.faces is not None else ((),) * len(self.samples)

    @property
    def faceless(self) -> list[Path]:
        """The samples in which no face was found."""
        return [sample.path for sample, faces in zip(self.samples, self.found, strict=True) if not faces]

    @property
    def labels(self) -> np.ndarray:
        """(n,) int64."""
        return np.array([sample.label for sample in self.samples], np.int64)

    @property
    def sources(self) -> list[str]:
        """The source of each sample."""
        return [sample.source for sample in self.samples]

    def without(self, reasons: dict[int, str]) -> "Index":
        """The index less some samples, by number, which are left out for a reason."""
        if not reasons:
            return self
        left_out = tuple((self.samples[i].path, reason) for i, reason in reasons.items())
        kept = (i for i in range(len(self.samples)) if i not in reasons)
        return replace(self.subset(kept), left_out=self.left_out + left_out)

    def with_a_face(self) -> "Index":
        """Only the samples in which a face was found; the others are left out. Raises DatasetError without a class."""
        faceless = {i: "no face found" for i, faces in enumerate(self.found) if not faces}
        return _both_classes(self.without(faceless), "framed") if faceless else self

    def subset(self, chosen: Iterable[int]) -> "Index":
        chosen = list(chosen)
        return replace(
            self,
            samples=tuple(self.samples[i] for i in chosen),
            hashes=tuple(self.hashes[i] for i in chosen),
            sizes=tuple(self.sizes[i] for i in chosen),
            faces=None if self.faces is None else tuple(self.faces[i] for i in chosen),
        )

    def draw(self, n: int, seed: int) -> "Index":
        """At most n of the images, drawn by the seed, in the same order; each class and source keeps its share."""
        if n >= len(self.samples):
            return self
        shuffled = np.random.default_rng(seed).permutation(len(self.samples))
        strata = sorted(shuffled.tolist(), key=lambda i: (self.samples[i].label, self.samples[i].source))
        return self.subset(sorted(strata[k * len(strata) // n] for k in range(n)))

    def picture(self, i: int) -> Picture:
        """Sample `i`, from the very bytes that were indexed. Raises DatasetError if they are not there any more."""
        path = self.samples[i].path
        try:
            data = read_bytes(path)
            picture = open_image(data) if _hash(data) == self.hashes[i] else None
        except ImageError as error:
            raise DatasetError(f"{path}: {error} (it could be read when the folder was indexed)") from error
        if picture is None or picture.image.size != self.sizes[i]:
            raise DatasetError(f"{path} changed since it was indexed; run again")
        return picture

    def summary(self) -> str:
        """For people: how many of each class, and what was left out."""
        counts = np.bincount(self.labels, minlength=2)
        text = f"{self.root}: {counts[REAL]} Real, {counts[FAKE]} Fake"
        if self.left_out:
            text += f"; {_count_left_out(self.left_out)} left out that cannot be read"
        if self.passed_over:
            text += f"; passed over: {others_in_words(self.passed_over)}"
        if self.faces is not None and self.faceless:
            text += f"; no face found in {_count(len(self.faceless), 'image')}"
        return text


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


def index_folder(root: str | os.PathLike, *, strict: bool = False, both: bool = True) -> Index:
    """Read every image below Real/ and Fake/ once, in parallel, and say which can be used.

    The result is kept in the user's cache folder; a file that has not changed since is not read again.
    both: whether images of both classes are needed; without, one of the folders may be empty or missing.
    """
    root = Path(root)
    files, unentered, passed_over = [], [], []
    class_folders = _class_folders(root, both=both)
    for label, folder in class_folders.items():
        found = list_pictures(folder, on_error=unentered.append)
        files += [Sample(path, label, _source(path, folder)) for path in found.pictures]
        passed_over += found.others
    facts = _look_at([sample.path for sample in files], root)
    good = [(sample, fact) for sample, fact in zip(files, facts, strict=True) if fact.error is None]
    left_out = [(s.path, fact.error) for s, fact in zip(files, facts, strict=True) if fact.error is not None]
    left_out += [(Path(error.filename), f"{UNENTERED} ({error.strerror})") for error in unentered]
    if strict and left_out:
        raise StrictError(f"{_count_left_out(left_out)} cannot be read:\n{list_left_out(left_out)}")
    index = Index(
        root,
        samples=tuple(sample for sample, _ in good),
        hashes=tuple(fact.content for _, fact in good),
        sizes=tuple((fact.width, fact.height) for _, fact in good),
        left_out=tuple(left_out),
        passed_over=tuple(passed_over),
    )
    for label, folder in class_folders.items():
        if not (index.labels == label).any() and (both or not good):
            why = f":\n{list_left_out(left_out)}" if left_out else ""
            raise DatasetError(f"no readable images in {folder} ({CLASSES[label]}){why}")
    return index


def with_faces(index: Index) -> Index:
    """The index with the faces of every sample, found in parallel, once: they are kept beside the stored index.

    A picture in which the search fails is left out. Raises DatasetError if a file changed since it was indexed.
    """
    store = _store(index.root, f"faces-{STORE_VERSION}-{DOOR_VERSION}-{FINDER_VERSION}")
    known, faults = _read_store(store), {}
    missing = {content: i for i, content in enumerate(index.hashes) if content not in known}
    if missing:
        find = FaceFinder()

        def search(content: str) -> None:
            image = index.picture(missing[content]).image
            try:
                known[content] = [face.row for face in find(image)[0]]
            except Exception as error:  # noqa: BLE001 - one picture's fault is not the end of the others
                faults[content] = str(ImageError.of_fault(error))

        try:
            in_threads(search, list(missing), f"faces of {index.root}")
        finally:  # what was found before Ctrl-C is kept
            _write_store(store, known)
    index = index.without({i: faults[content] for i, content in enumerate(index.hashes) if content in faults})
    return replace(index, faces=tuple(tuple(map(Face.from_row, known[content])) for content in index.hashes))


def in_threads(work: Callable, items: Sequence, desc: str) -> None:
    """work(item) for each item, in parallel: decoding and hashing release the interpreter's lock. A bar on a terminal.

    An error and Ctrl-C wait for what is under way, and drop the rest.
    """
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        done = pool.map(work, items)
        for _ in Bar(done, total=len(items), desc=desc, unit="img"):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def list_left_out(left_out: Iterable[tuple[Path, str]], limit: int = 20) -> str:
    """One line a file or folder that was left out, the first `limit` of them."""
    left_out = list(left_out)
    lines = [f"  {path}: {reason}" for path, reason in left_out[:limit]]
    return "\n".join(lines + ([f"  and {len(left_out) - limit} more"] if len(left_out) > limit else []))


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
        train = _both_classes(whole.subset(sorted(i for i, k in dealt if k != 1)), "Train")
        validation = _both_classes(whole.subset(sorted(i for i, k in dealt if k == 1)), "Validation")
        notes = [f"{root} has no Validation/: a tenth of Train validates instead (seed {seed})"]
    if any(_is_split(index.root.resolve().name, "Test") for index in (train, validation)):
        raise DatasetError(f"a link in {root} leads to a Test split; nothing is trained or chosen on it")
    shared = len(set(train.hashes) & set(validation.hashes))
    if shared:
        notes.append(f"{_count(shared, 'image')} of Validation also in Train, byte for byte: its numbers will flatter")
    return TrainingData(train, validation, tuple(notes), flat_digest)


def split_flat(index: Index, seed: int) -> dict[str, Index]:
    """An index without splits to Train (80 %), Validation and Test (10 % each), by class and source, seeded."""
    order = _stratified_order(index, seed)
    remainders = {"Validation": (1,), "Test": (2,), "Train": (0, 3, 4, 5, 6, 7, 8, 9)}
    parts = {name: index.subset(sorted(i for i, k in order if k in wanted)) for name, wanted in remainders.items()}
    return {name: _both_classes(part, name) for name, part in parts.items()}


def split_folders(root: Path) -> dict[str, Path]:
    """The split folders in `root`, whatever their spelling (train, val, test ...), as {"Train": path, ...}."""
    found: dict[str, Path] = {}
    for folder in _folders(root):
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


def _both_classes(index: Index, name: str) -> Index:
    if len(np.unique(index.labels)) < 2:
        raise DatasetError(f"too few images in {index.root} for a {name} part with both classes")
    return index


def _is_split(name: str, split: str) -> bool:
    return name.lower() in SPLIT_NAMES[split]


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(entry for entry in root.iterdir() if entry.is_dir())
    except FileNotFoundError:
        raise DatasetError(f"no such folder: {root}") from None
    except NotADirectoryError:
        raise DatasetError(f"not a folder: {root}") from None
    except PermissionError:
        raise DatasetError(f"permission denied: {root}") from None


def _class_folders(root: Path, *, both: bool) -> dict[int, Path]:
    """The folders of both classes by label, whatever their case; or, if not both are needed, of one."""
    found = {}
    for folder in _folders(root):
        name = folder.name.capitalize()
        if name in CLASSES:
            if name in found:
                raise DatasetError(f"two folders for {name} in {root}: {found[name].name} and {folder.name}")
            found[name] = folder
    if len(found) < (2 if both else 1):
        raise DatasetError(f"expected Real/ and Fake/ in {root}")
    return {label: found[name] for label, name in enumerate(CLASSES) if name in found}


def _source(path: Path, class_folder: Path) -> str:
    parts = path.relative_to(class_folder).parts
    return parts[0] if len(parts) > 1 else ""


class Fact(NamedTuple):
    """What one look at a file found out."""

    content: str  # SHA-256 of its bytes, "" if they cannot be read
    error: str | None  # why it is no picture to use
    width: int = 0  # of the upright picture, pixels
    height: int = 0


def _look_at(paths: list[Path], root: Path) -> list[Fact]:
    """The facts of each path, from the stored index where the file is unchanged."""
    store = _store(root, f"index-{STORE_VERSION}-{DOOR_VERSION}")
    known = _read_store(store)  # {name: [stamp, *Fact]}
    keys = [path.relative_to(root).as_posix() for path in paths]
    stamps = [_stamp(path) for path in paths]
    stale = [i for i, key in enumerate(keys) if known.get(key, [None])[0] != stamps[i] or stamps[i] is None]
    if stale:

        def look(i: int) -> None:
            known[keys[i]] = [stamps[i], *_look_at_one(paths[i])]

        try:
            in_threads(look, stale, f"checking {root}")
        finally:  # what was found before Ctrl-C is kept
            _write_store(store, {key: known[key] for key in sorted(known.keys() & set(keys))})
    return [Fact(*known[key][1:]) for key in keys]


def _look_at_one(path: Path) -> Fact:
    try:
        data = read_bytes(path)
    except ImageError as error:
        return Fact("", str(error))
    try:
        return Fact(_hash(data), None, *open_image(data).image.size)
    except ImageError as error:
        return Fact(_hash(data), str(error))


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _stamp(path: Path) -> str | None:
    """Changes when the file does; None for what cannot be looked at."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return f"{facts.st_size}-{facts.st_mtime_ns}-{facts.st_ctime_ns}-{facts.st_mode}"


def folder_key(root: Path) -> str:
    """A data folder's part in the names of what is kept about it."""
    return hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]


def _store(root: Path, kind: str) -> Path:
    return cache_folder() / f"{kind}-{folder_key(root)}.json"


def _read_store(store: Path) -> dict[str, list]:
    try:
        known = json.loads(store.read_text())
        if isinstance(known, dict) and all(isinstance(value, list) for value in known.values()):
            return known
    except (OSError, ValueError, RecursionError):
        pass
    return {}  # none yet, or not whole: it is made again


def _write_store(store: Path, known: dict[str, list]) -> None:
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        partial = store.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(known))
        partial.replace(store)
    except OSError as error:
        print(
            f"the index could not be kept in {store.parent} ({error.strerror}); it will be made again", file=sys.stderr
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _count_left_out(left_out: Iterable[tuple[Path, str]]) -> str:
    folders = [reason.startswith(UNENTERED) for _, reason in left_out]
    counts = {"image": len(folders) - sum(folders), "folder": sum(folders)}
    return " and ".join(_count(number, noun) for noun, number in counts.items() if number)
