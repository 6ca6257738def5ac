"""Decoded pictures for training, so that an epoch costs no decoding.

    bases = pictures(index, preprocess, "auto")     # or "disk", "ram", "off"
    bases[5]                                        # (h, w, 3) uint8, read-only: Preprocess.base of sample 5
    print(bases.description)                        # for people: where they are

On disk they are one file in the folder of dataset.py's stores, pictures-FOLDER-PREPARATION-DATA.bin. Its last part
stands for all that decides a pixel, so a file is right or it has another name. Layout: a header of HEADER bytes, a
record of 8 bytes for each picture (0, or MADE + the CRC-32 of its pixels), the pixels of one picture after the other.
In memory it is the same file, without a name. What is written is never mapped: a full disk is an error, not a signal.
"""

import errno
import fcntl
import hashlib
import json
import mmap
import os
import shutil
import sys
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from io import FileIO
from itertools import accumulate
from pathlib import Path

import numpy as np
import PIL

from imaging.door import DOOR_VERSION
from imaging.faces import Face
from imaging.preprocess import Preprocess
from indexing import Index, folder_key, in_threads
from quiet import cache_folder

CACHE_VERSION = 1  # raise it when the layout of the file changes
MODES = ("auto", "ram", "disk", "off")
MAGIC = b"decoded pictures\n"
HEADER = 4096  # bytes
MADE = 1 << 32  # in a record: this picture is there
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REMEDY = "pass --cache off, or set XDG_CACHE_HOME to a folder with more room"


class CacheError(RuntimeError):
    """A cache that cannot be made; str(error) is a sentence for people."""


def pictures(index: Index, preprocess: Preprocess, mode: str) -> "Decoded | Mapped":
    """The base of every sample, around its largest face where faces are framed; may go to worker processes.

    mode: "disk" and "ram" decode all of them now, but for those that are on the disk already; "off" decodes at each
    use; "auto" is "disk" where that takes at most half of the free space, else "off".
    Raises CacheError, and DatasetError for a file that changed since it was indexed.
    """
    if mode not in MODES:
        raise ValueError(f"cache is {mode!r}; choose from {', '.join(MODES)}")
    if preprocess.frame == "face" and index.faces is None:
        raise ValueError("this preparation frames faces; indexing.with_faces(index) finds them")
    decoded = Decoded(index, preprocess)
    if mode == "ram":
        return _in_memory(Cache(decoded))
    if mode == "disk":
        return _on_disk(Cache(decoded))
    return _on_disk_or_not(Cache(decoded)) if mode == "auto" else decoded


class Decoded:
    """The pictures, each decoded when it is asked for."""

    def __init__(self, index: Index, preprocess: Preprocess, why: str = ""):
        self.index, self.preprocess = index, preprocess
        self.description = "pictures are decoded at each use" + (f": {why}" if why else "")

    def __len__(self) -> int:
        return len(self.index.samples)

    def __getitem__(self, i: int) -> np.ndarray:
        """(h, w, 3) uint8. Raises DatasetError if the file changed since it was indexed."""
        pixels = np.asarray(self.preprocess.base(self.index.picture(i).image, self._face(i)))
        pixels.setflags(write=False)
        return pixels

    def _face(self, i: int) -> Face | None:
        faces = self.index.found[i]
        return faces[0] if faces else None


class Mapped:
    """The pictures in a file that is mapped into memory: no more than the touched pages are read, and shared.

    file: open for reading; pickled as its path. table: (n, 4) int64: first byte, last + 1, height, width.
    """

    def __init__(self, file: FileIO, path: Path, table: np.ndarray, description: str):
        self.path, self.table, self.description = path, table, description
        self._map(file)

    def _map(self, file: FileIO) -> None:
        weakref.finalize(self, file.close)
        fcntl.flock(file, fcntl.LOCK_SH)  # so long as it is open, here or in a forked process, nobody removes it
        mapped = mmap.mmap(file.fileno(), int(self.table[-1, 1]), access=mmap.ACCESS_READ)
        self.bytes = np.frombuffer(mapped, np.uint8)

    def __getstate__(self) -> dict:
        return {"path": self.path, "table": self.table, "description": self.description}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._map(open(self.path, "rb", buffering=0))

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, i: int) -> np.ndarray:
        """(h, w, 3) uint8, a view of the file."""
        first, end, height, width = self.table[i].tolist()
        return self.bytes[first:end].reshape(height, width, 3)


class Cache:
    """The file that pictures are kept in: its names, its layout, and how it is filled."""

    def __init__(self, decoded: Decoded):
        self.decoded, self.index = decoded, decoded.index
        self.folder = cache_folder()
        sizes = [decoded.preprocess.base_size(size) for size in self.index.sizes]
        ends = list(accumulate((3 * w * h for w, h in sizes), initial=HEADER + 8 * len(sizes)))
        self.size = ends[-1]  # bytes
        self.table = np.array(
            [(first, end, h, w) for first, end, (w, h) in zip(ends, ends[1:], sizes, strict=False)], np.int64
        )

    @cached_property
    def family(self) -> str:
        """One name for a folder and a preparation; data that changed make another member of it."""
        return f"pictures-{folder_key(self.index.root)}-{_digest(base_fields(self.decoded.preprocess))[:16]}"

    @cached_property
    def key(self) -> str:
        """All that decides what a picture looks like, and where in the file it lies."""
        preprocess = self.decoded.preprocess
        faces = [[face.row for face in found[:1]] for found in self.index.found] if preprocess.frame == "face" else None
        return _digest(
            [self.index.digest, base_fields(preprocess), faces, DOOR_VERSION, PIL.__version__, CACHE_VERSION]
        )

    @cached_property
    def path(self) -> Path:
        return self.folder / f"{self.family}-{self.key[:16]}.bin"

    @cached_property
    def partial(self) -> Path:
        return self.path.with_suffix(".partial")

    @cached_property
    def header(self) -> bytes:
        facts = {"key": self.key, "pictures": len(self.table), "bytes": self.size}
        return (MAGIC + json.dumps(facts).encode()).ljust(HEADER, b"\0")

    def is_in(self, path: Path) -> bool:
        """Whether the file was made whole, for these pictures, and still is."""
        with suppress(OSError), open(path, "rb", buffering=0) as file:
            return self.fits(file) and bool(self.records(file).all())
        return False

    def fits(self, file: FileIO) -> bool:
        return os.fstat(file.fileno()).st_size == self.size and os.pread(file.fileno(), HEADER, 0) == self.header

    def records(self, file: FileIO) -> np.ndarray:
        """(n,) uint64, one for each picture."""
        return np.frombuffer(os.pread(file.fileno(), 8 * len(self.table), HEADER), "<u8")

    @property
    def missing(self) -> int:
        """Bytes that the disk must still have room for: a partial file has its own already."""
        with suppress(OSError):
            return max(0, self.size - self.partial.stat().st_blocks * 512)
        return self.size

    def fill(self, file: FileIO) -> None:
        """Decode what the file has not. Whatever ends this, a later call goes on with the same file."""
        descriptor = file.fileno()
        if not self.fits(file):
            os.ftruncate(descriptor, 0)
            _reserve(descriptor, self.size)
            _write(descriptor, self.header, 0)
        records = self.records(file).tolist()

        def make(i: int) -> None:
            first, end, _, _ = self.table[i].tolist()
            if records[i] and records[i] == MADE + zlib.crc32(os.pread(descriptor, end - first, first)):
                return
            pixels = self.decoded[i]
            _write(descriptor, pixels, first)
            _write(descriptor, (MADE + zlib.crc32(pixels)).to_bytes(8, "little"), HEADER + 8 * i)

        in_threads(make, range(len(records)), f"decoding {self.index.root}")

    def mapped(self, file: FileIO, path: Path, where: str) -> Mapped:
        return Mapped(file, path, self.table, f"decoded pictures are {where} ({_bytes(self.size)})")


def base_fields(preprocess: Preprocess) -> dict:
    """What a base depends on. A field that is not known here counts."""
    unneeded = {"mean", "std", "mirror", "fit" if preprocess.frame == "face" else "margin"}
    if preprocess.frame == "whole" and preprocess.fit == "crop":  # the whole picture as it is
        unneeded |= {"size", "interpolation"}
    return {name: value for name, value in preprocess.to_dict().items() if name not in unneeded}


def _in_memory(cache: Cache) -> Mapped:
    if not hasattr(os, "memfd_create"):
        raise CacheError("this system has no memory that processes can share by a path; pass --cache disk")
    free = _free_memory()
    if cache.size > 0.8 * free:
        raise CacheError(
            f"the decoded pictures of {cache.index.root} need {_bytes(cache.size)} of memory; {_bytes(free)} are free, "
            "of which a fifth is left to the rest; pass --cache disk or --cache off"
        )
    try:
        with open(os.memfd_create("pictures"), "rb+", buffering=0) as file:
            cache.fill(file)
            again = open(f"/proc/self/fd/{file.fileno()}", "rb", buffering=0)
    except OSError as error:
        raise CacheError(
            f"the decoded pictures of {cache.index.root} need {_bytes(cache.size)} of memory, which the system refuses "
            f"({error.strerror}); pass --cache disk or --cache off"
        ) from error
    return cache.mapped(again, Path(f"/proc/{os.getpid()}/fd/{again.fileno()}"), "in memory")


def _on_disk_or_not(cache: Cache) -> Decoded | Mapped:
    try:
        cache.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(cache.folder).free
        if 2 * cache.missing <= free or cache.is_in(cache.path):
            return _on_disk(cache)
        why = f"they need {_bytes(cache.missing)}, more than half of the {_bytes(free)} free in {cache.folder}"
    except OSError as error:
        why = f"no cache in {cache.folder} ({error.strerror})"
    except CacheError as error:
        why = str(error).removesuffix(f"; {REMEDY}")
    return Decoded(cache.index, cache.decoded.preprocess, why)


def _on_disk(cache: Cache) -> Mapped:
    """The cache's file, made first if need be: by one process, while others wait for it."""
    try:
        cache.folder.mkdir(parents=True, exist_ok=True)
        with _locked(cache, fcntl.LOCK_SH):
            if cache.is_in(cache.path):
                return _open(cache)
        with _locked(cache, fcntl.LOCK_EX):
            if not cache.is_in(cache.path):  # nobody made it in between
                _build(cache)
            mapped = _open(cache)
            _remove_older(cache)
            return mapped
    except OSError as error:
        raise CacheError(f"decoded pictures cannot be kept in {cache.folder} ({error.strerror}); {REMEDY}") from error


def _build(cache: Cache) -> None:
    cache.path.unlink(missing_ok=True)  # a damaged one
    if cache.missing > shutil.disk_usage(cache.folder).free:
        raise _too_small(cache)
    try:
        with open(os.open(cache.partial, os.O_RDWR | os.O_CREAT, 0o666), "rb+", buffering=0) as file:
            cache.fill(file)
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        cache.partial.unlink(missing_ok=True)
        raise _too_small(cache) from error
    cache.partial.replace(cache.path)


def _open(cache: Cache) -> Mapped:
    return cache.mapped(open(cache.path, "rb", buffering=0), cache.path, f"in {cache.path}")


def _remove_older(cache: Cache) -> None:
    """Files of the same folder and preparation, whole or partial, but for those that a process has mapped."""
    for path in set(cache.folder.glob(f"{cache.family}-*")) - {cache.path}:
        with suppress(OSError), open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


@contextmanager
def _locked(cache: Cache, kind: int) -> Iterator[None]:
    """Alone with the files of one family (LOCK_EX), or with others that only open them (LOCK_SH)."""
    with open(os.open(cache.folder / f"{cache.family}.lock", os.O_RDONLY | os.O_CREAT, 0o666), "rb") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process, which decodes the pictures of {cache.index.root}", file=sys.stderr)
            fcntl.flock(file, kind)
        yield


def _reserve(descriptor: int, size: int) -> None:
    """All of the file's space, now, where the system can; else writing finds out."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def _write(descriptor: int, data: bytes | np.ndarray, at: int) -> None:
    """All of it: a single call may write a part, on a disk that is nearly full for instance."""
    rest = memoryview(data).cast("B")
    while rest:
        written = os.pwrite(descriptor, rest, at)
        rest, at = rest[written:], at + written


def _too_small(cache: Cache) -> CacheError:
    free = shutil.disk_usage(cache.folder).free
    return CacheError(
        f"the decoded pictures of {cache.index.root} need {_bytes(cache.missing)}; {_bytes(free)} are free in "
        f"{cache.folder}; {REMEDY}"
    )


def _free_memory() -> int:
    """Bytes that can be had without swapping."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def _bytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
