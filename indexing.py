"""The index of a data folder: which images it holds, of which class and source, and where their faces are.

    index = index_folder("data/Validation")      # every image opened once; what cannot be read is listed
    index = with_faces(index)                    # and searched for faces once
    index.digest                                 # one SHA-256 over names, labels and contents

A data folder holds Real/ and Fake/ (any case), each with images in any depth of sub-folders. The first sub-folder is
remembered as an image's source (Fake/stylegan2/0001.png has the source "stylegan2").
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imaging.door import DOOR_VERSION, ImageError, Picture, open_image, read_bytes
from imaging.faces import FINDER_VERSION, Face, FaceFinder
from imaging.listing import list_pictures, others_in_words
from names import CLASSES, FAKE, REAL
from progress import Bar
from quiet import cache_folder

STORE_VERSION = 2  # raise it when the rows of a store change
UNENTERED = "folder that cannot be entered"  # how the reason begins, where a folder is left out


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
        return both_classes(self.without(faceless), "framed") if faceless else self

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
            text += f"; no face found in {counted(len(self.faceless), 'image')}"
        return text


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


def both_classes(index: Index, name: str) -> Index:
    if len(np.unique(index.labels)) < 2:
        raise DatasetError(f"too few images in {index.root} for a {name} part with both classes")
    return index


def folders_in(root: Path) -> list[Path]:
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
    for folder in folders_in(root):
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


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _count_left_out(left_out: Iterable[tuple[Path, str]]) -> str:
    folders = [reason.startswith(UNENTERED) for _, reason in left_out]
    counts = {"image": len(folders) - sum(folders), "folder": sum(folders)}
    return " and ".join(counted(number, noun) for noun, number in counts.items() if number)
