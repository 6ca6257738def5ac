"""Decoded pictures: the same pixels in every mode, whatever happens to the file they are kept in."""

import errno
import fcntl
import os
import pickle
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from conftest import ROOT, make_image, make_set
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader

import dataset
import indexing
from imaging.door import open_image
from imaging.preprocess import Preprocess
from indexing import DatasetError, index_folder, with_faces
from quiet import cache_folder
from training import cache
from training.cache import CacheError, Decoded, Mapped, pictures

CROP = Preprocess(size=48)

# A process that prepares pictures, says how many it decoded, and kills itself in the midst of number `die_at`.
BUILDER = """
import itertools, os, signal, sys, time
from indexing import index_folder
from imaging.preprocess import Preprocess
from training import cache

class Watched(cache.Decoded):
    numbers, decoded = itertools.count(1), []
    def __getitem__(self, i):
        number = next(self.numbers)
        time.sleep(float(sys.argv[2]))
        if number == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        self.decoded.append(i)
        return super().__getitem__(i)

cache.Decoded = Watched
os.cpu_count = lambda: 2
bases = cache.pictures(index_folder(sys.argv[1]), Preprocess(size=48), "disk")
print(len(Watched.decoded), sum(int(pixels.sum()) for pixels in bases))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """24 pictures of several sizes, one of them sideways; and a cache of their own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = make_set(tmp_path / "set", {".": 11})
    make_image(False, 50, 90).crop((0, 0, 90, 40)).save(root / "Real/small.png")
    exif = Image.Exif()
    exif[0x0112] = 8
    make_image(True, 51, 120).crop((0, 0, 120, 77)).save(root / "Fake/sideways.jpg", exif=exif)
    return root


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """The samples that this process decodes, as it does."""
    done, decode = [], Decoded.__getitem__
    monkeypatch.setattr(Decoded, "__getitem__", lambda self, i: done.append(i) or decode(self, i))
    return done


def start_builder(root: Path, *, pause: float = 0, die_at: int = 0) -> subprocess.Popen:
    command = [sys.executable, "-c", BUILDER, root, str(pause), str(die_at)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def expected(index: indexing.Index, preprocess: Preprocess) -> list[np.ndarray]:
    """By the plain way: open, take the base."""
    faces = [found[0] if found else None for found in index.found]
    samples = zip(index.samples, faces, strict=True)
    return [np.asarray(preprocess.base(open_image(s.path).image, face)) for s, face in samples]


def assert_right(bases, index: indexing.Index, preprocess: Preprocess = CROP) -> None:
    wanted = expected(index, preprocess)
    assert len(bases) == len(wanted)
    for i, pixels in enumerate(wanted):
        got = bases[i]
        assert (got.dtype, got.shape, got.flags.writeable) == (np.uint8, pixels.shape, False)
        assert np.array_equal(got, pixels)


def recorded(partial: Path, index: indexing.Index) -> np.ndarray:
    """(24,) 0 for each picture that a partial file has not."""
    with partial.open("rb", buffering=0) as file:
        return cache.Cache(Decoded(index, CROP)).records(file)


def wait_for(condition) -> None:
    until = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def files(pattern: str = "pictures-*.bin") -> list[Path]:
    return sorted(cache_folder().glob(pattern))


# The same pixels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "ram", "disk", "off"])
@pytest.mark.parametrize("preprocess", [CROP, Preprocess(size=64, fit="resize")], ids=["crop", "resize"])
def test_every_mode_gives_the_base(folder, preprocess, mode):
    index = index_folder(folder)
    bases = pictures(index, preprocess, mode)
    assert_right(bases, index, preprocess)
    assert len({pixels.shape for pixels in bases}) == (3 if preprocess is CROP else 1)
    assert type(bases) is (Decoded if mode == "off" else Mapped)
    assert len(files()) == (mode in ("auto", "disk"))


@pytest.mark.parametrize("mode", ["ram", "disk", "off"])
def test_the_largest_face_is_framed(folder, mode):
    astronaut, preprocess = Image.fromarray(skimage.data.astronaut()), Preprocess(size=96, frame="face")
    two = Image.new("RGB", (520, 300), "grey")
    two.paste(astronaut.resize((200, 200)), (10, 10))
    two.paste(astronaut.resize((300, 300)), (215, 0))
    two.save(folder / "Fake/two.png")
    index = index_folder(folder)
    with pytest.raises(ValueError, match="with_faces"):
        pictures(index, preprocess, mode)
    index = with_faces(index)
    place = [sample.path.name for sample in index.samples].index("two.png")
    assert len(index.faces[place]) == 2 and index.faces[place][0].box[0] > 215 and len(index.faceless) == 24
    assert_right(pictures(index, preprocess, mode), index, preprocess)


def test_what_the_base_depends_on_and_what_not(folder, decoded):
    index = index_folder(folder)
    for _ in range(2):
        pictures(index, CROP, "disk")
        pictures(index, Preprocess(size=64, mean=(0, 0, 0), interpolation="bicubic"), "disk")  # whole pictures as well
    assert sorted(decoded) == list(range(24))
    resized = Preprocess(size=40, fit="resize"), Preprocess(size=40, fit="resize", interpolation="bicubic")
    for preprocess in (*resized, *resized):
        assert_right(pictures(index, preprocess, "disk"), index, preprocess)
    assert len(decoded) == 3 * 24 and len(files()) == 3  # other preparations stay beside each other


def test_other_boxes_are_another_cache(folder):
    preprocess, index = Preprocess(size=32, frame="face"), index_folder(folder)
    for x in (0.0, 9.0):
        face = indexing.Face((x, 2.0, 20.0, 24.0), ((x, 2.0),) * 5, 0.9)
        found = dataset.replace(index, faces=((face,),) * 24)
        assert_right(pictures(found, preprocess, "disk"), found, preprocess)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_worker_processes_give_the_same(folder, context):
    index = index_folder(folder)
    both = ConcatDataset([pictures(index, CROP, mode) for mode in ("ram", "disk")])
    options = {"batch_size": None, "collate_fn": np.array}
    theirs = list(DataLoader(both, num_workers=2, multiprocessing_context=context, **options))
    for own, their, wanted in zip(DataLoader(both, **options), theirs, expected(index, CROP) * 2, strict=True):
        assert np.array_equal(own, wanted) and np.array_equal(their, wanted)


@pytest.mark.parametrize("mode", ["ram", "disk", "off"])
def test_pickles_are_small_and_open_the_same_pictures(folder, mode):
    index = index_folder(folder)
    bases = pictures(index, CROP, mode)
    data = pickle.dumps(bases)
    assert len(data) < sum(pixels.nbytes for pixels in bases) / 10
    again = pickle.loads(data)
    assert again.description == bases.description
    assert_right(again, index)


# The file on the disk -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dies", [False, True], ids=["first finishes", "first dies"])
def test_two_builders_at_once(folder, decoded, capfd, dies):
    index = index_folder(folder)
    other = start_builder(folder, pause=1 if dies else 0.05)
    wait_for(lambda: [path for path in files("*.partial") if np.count_nonzero(recorded(path, index)) > 2])
    if dies:
        threading.Timer(0.5, other.kill).start()
    bases = pictures(index, CROP, "disk")
    assert_right(bases, index)
    out, err = other.communicate(timeout=20)
    said = capfd.readouterr().err
    assert said.count("waiting for another process") == 1 and "waiting" not in err
    if dies:
        assert other.returncode == -9 and 0 < len(decoded) <= 24 - 3
    else:
        assert out.split() == ["24", str(sum(int(pixels.sum()) for pixels in bases))] and not decoded
    assert not files("*.partial")


def test_a_file_that_was_made_before_the_lock_was_had(folder, decoded, monkeypatch):
    """Two processes found none and asked for the lock; the first has finished when the second gets it."""
    index, lock, kinds = index_folder(folder), cache._locked, []

    def late(own, kind):
        kinds.append(kind)
        if kinds == [fcntl.LOCK_SH, fcntl.LOCK_EX]:
            pictures(index, CROP, "disk")
        return lock(own, kind)

    monkeypatch.setattr(cache, "_locked", late)
    assert_right(pictures(index, CROP, "disk"), index)
    assert len(kinds) == 4 and sorted(decoded) == list(range(24))


def test_a_killed_build_goes_on_where_it_stopped(folder, decoded):
    killed = start_builder(folder, die_at=14)
    killed.communicate(timeout=20)
    assert killed.returncode == -9 and not files()
    index, [partial] = index_folder(folder), files("*.partial")
    there = np.flatnonzero(recorded(partial, index)).tolist()
    assert 8 <= len(there) < 20  # which of them were under way at that moment is chance
    data = bytearray(partial.read_bytes())
    data[cache.Cache(Decoded(index, CROP)).table[there[3], 0] + 1000] ^= 1
    partial.write_bytes(data)
    assert_right(pictures(index, CROP, "disk"), index)
    assert sorted(decoded) == sorted({*range(24)} - {*there} | {there[3]})
    assert not files("*.partial")


def test_data_that_change_make_a_new_file_and_the_old_one_goes(folder):
    index = index_folder(folder)
    pictures(index, CROP, "disk")
    resized = Preprocess(size=40, fit="resize")
    pictures(index, resized, "disk")
    [kept], [old] = ({cache.Cache(Decoded(index, spec)).path} for spec in (resized, CROP))
    old.with_name(old.name.replace(".bin", "0.partial")).write_bytes(b"of a build that was killed")
    make_image(True, 99, 70).save(folder / "Fake/003.png")
    changed = index_folder(folder)
    assert_right(pictures(changed, CROP, "disk"), changed)
    assert not old.exists() and kept.exists() and len(files("pictures-*")) == 2 + 2  # two files, two locks


def test_a_file_in_use_is_not_removed(folder):
    index = index_folder(folder)
    parts = index.subset([*range(4), *range(12, 16)]), index.subset([*range(4, 8), *range(16, 20)])
    used = pictures(parts[0], CROP, "disk")
    assert_right(pictures(parts[1], CROP, "disk"), parts[1])
    assert len(files()) == 2
    assert_right(pickle.loads(pickle.dumps(used)), parts[0])
    del used
    assert_right(pictures(index, CROP, "disk"), index)
    assert len(files()) == 1


@pytest.mark.parametrize("mode", ["ram", "disk", "auto", "off"])
def test_a_file_that_changed_since_it_was_indexed_is_an_error(folder, mode):
    index = index_folder(folder)
    make_image(False, 99).save(folder / "Real/005.png")  # of the same size, so only the bytes tell
    with pytest.raises(DatasetError, match=r"Real/005\.png changed since it was indexed; run again"):
        list(pictures(index, CROP, mode))
    assert not files()
    index = index_folder(folder)
    assert_right(pictures(index, CROP, mode), index)


def test_a_picture_of_another_size_is_an_error(folder):
    index = index_folder(folder)
    index = dataset.replace(index, sizes=(*index.sizes[:7], (63, 64), *index.sizes[8:]))
    with pytest.raises(DatasetError, match=r"007\.png changed since"):
        pictures(index, CROP, "disk")


@pytest.mark.parametrize("damage", ["cut short", "header", "record"])
def test_a_damaged_file_is_made_again(folder, decoded, damage):
    index = index_folder(folder)
    pictures(index, CROP, "disk")
    [path] = files()
    data = bytearray(path.read_bytes())
    if damage == "cut short":
        del data[-1:]
    elif damage == "header":
        data[30] ^= 1
    else:
        data[cache.HEADER + 8 * 5 : cache.HEADER + 8 * 6] = bytes(8)
    path.write_bytes(data)
    decoded.clear()
    assert_right(pictures(index, CROP, "disk"), index)
    assert sorted(decoded) == list(range(24))
    pictures(index, CROP, "disk")
    assert len(decoded) == 24


# No room ------------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(place: Path, size: int):
    """No file below `place` can grow beyond `size` bytes: a small file system, or else a limit of this process."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place]
    mounted = bool(shutil.which("mount")) and subprocess.run(mount, capture_output=True).returncode == 0
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield mounted
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        if mounted:
            subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("found", ["before", "when space is taken", "while writing"])
def test_a_full_disk(folder, tmp_path, monkeypatch, decoded, found):
    index = index_folder(folder)
    size = 2**17  # of about 310,000 bytes that are needed
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "small"))
    with small_disk(tmp_path / "small", size) as mounted:
        if found == "before":
            monkeypatch.setattr(cache, "_reserve", lambda *a: pytest.fail("the free space was not looked at"))
        if found == "while writing":
            monkeypatch.setattr(cache, "_reserve", os.ftruncate)
        if found != "before" or not mounted:
            set_free_space(monkeypatch, size if found == "before" else 2**30)
        with pytest.raises(CacheError, match=r"need 0\.3 MB; .* are free in .*/small/.*--cache off.*XDG_CACHE_HOME"):
            pictures(index, CROP, "disk")
        assert [path.suffix for path in files("*")] == [".lock"]
        assert bool(decoded) == (found == "while writing" and mounted)
        assert_right(pictures(index, CROP, "off"), index)


def set_free_space(monkeypatch, free: int) -> None:
    usage = namedtuple("usage", "total used free")(2**40, 2**40 - free, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)


def test_auto_leaves_half_of_the_disk(folder, monkeypatch):
    index = index_folder(folder)
    need = cache.Cache(Decoded(index, CROP)).size
    set_free_space(monkeypatch, 2 * need - 1)
    bases = pictures(index, CROP, "auto")
    assert type(bases) is Decoded and "more than half of the 0.6 MB free in" in bases.description and not files()
    assert_right(bases, index)
    set_free_space(monkeypatch, 2 * need)
    assert type(pictures(index, CROP, "auto")) is Mapped
    set_free_space(monkeypatch, 0)
    assert type(pictures(index, CROP, "auto")) is Mapped  # it is there already


@pytest.mark.parametrize("cause", ["a file in its place", "no locks"])
def test_where_nothing_can_be_kept(folder, monkeypatch, cause):
    index = index_folder(folder)
    if cause == "no locks":
        error = OSError(errno.ENOLCK, "No locks available")
        monkeypatch.setattr(fcntl, "flock", lambda *a: (_ for _ in ()).throw(error))
    else:
        shutil.rmtree(cache_folder())
        cache_folder().write_text("")
    with pytest.raises(CacheError, match="cannot be kept in .*cache/deepfake-detector.*--cache off"):
        pictures(index, CROP, "disk")
    bases = pictures(index, CROP, "auto")
    assert type(bases) is Decoded and bases.description.startswith("pictures are decoded at each use: ")
    assert "--cache" not in bases.description
    assert_right(bases, index)


def test_too_little_memory(folder, monkeypatch):
    index = index_folder(folder)
    need = cache.Cache(Decoded(index, CROP)).size
    monkeypatch.setattr(cache, "_free_memory", lambda: need)
    with pytest.raises(CacheError, match=r"need 0\.3 MB of memory; 0\.3 MB are free.*--cache off"):
        pictures(index, CROP, "ram")
    monkeypatch.setattr(cache, "_free_memory", lambda: 2 * need)
    assert_right(pictures(index, CROP, "ram"), index)


def test_the_memory_that_is_free():
    assert 2**26 < cache._free_memory() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_an_unknown_mode(folder):
    with pytest.raises(ValueError, match="cache is 'hdd'; choose from auto, ram, disk, off"):
        pictures(index_folder(folder), CROP, "hdd")
