"""Folders to indexes: layouts, order, what is left out, splits, and the stored index."""

import json
import os
import shutil
import signal
import socket
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_image, make_set
from PIL import Image

import indexing
from dataset import DeepFakeDataset, split_flat, training_data
from imaging.preprocess import Preprocess
from indexing import DatasetError, StrictError, index_folder


def test_labels_order_and_sources(tmp_path):
    for name in ("FAKE/stylegan2/deep/b.png", "FAKE/a.PNG", "real/z.jpg", "real/camera/y.webp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        make_image(False, 1).save(path, {"jpg": "JPEG", "webp": "WEBP"}.get(path.suffix[1:], "PNG"))
    found = [(str(s.path.relative_to(tmp_path)), s.label, s.source) for s in DeepFakeDataset(tmp_path).samples]
    assert found == [
        ("real/camera/y.webp", 0, "camera"),
        ("real/z.jpg", 0, ""),
        ("FAKE/a.PNG", 1, ""),
        ("FAKE/stylegan2/deep/b.png", 1, "stylegan2"),
    ]


def test_items_are_tensors_and_labels(small_set):
    images = DeepFakeDataset(small_set / "Test", Preprocess(size=48))
    tensor, label = images[len(images) - 1]
    assert (tensor.shape, tensor.dtype, label) == ((3, 48, 48), torch.float32, 1)
    assert [label for _, label in (images[i] for i in range(len(images)))] == [0] * 8 + [1] * 8
    assert DeepFakeDataset(small_set / "Test")[0][0].size == (64, 64)  # without a transform: the picture itself


def test_order_does_not_depend_on_the_file_system(small_set, monkeypatch):
    expected = [s.path for s in index_folder(small_set / "Train").samples]
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: ((p, d[::-1], f[::-1]) for p, d, f in walk(*a, **k)))
    assert [s.path for s in index_folder(small_set / "Train").samples] == expected


@pytest.fixture
def dirty(small_set, tmp_path):
    """A folder with everything that lies around in real ones."""
    root = tmp_path / "dirty"
    shutil.copytree(small_set / "Test", root)
    (root / "Real/Thumbs.db").write_bytes(b"x")
    (root / "Fake/notes.txt").write_text("x")
    (root / "Fake/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    (root / "Fake/small.png").write_bytes(b"")
    return root


def test_what_cannot_be_read_is_counted_listed_and_left_out(dirty):
    index = index_folder(dirty)
    assert len(index.samples) == 16
    assert [(p.name, reason) for p, reason in index.left_out] == [
        ("broken.jpg", "damaged or cut short"),
        ("small.png", "the file is empty (0 bytes)"),
    ]
    assert index.summary().endswith("2 images left out that cannot be read; passed over: 2 other files: 1 .db, 1 .txt")
    assert "broken.jpg: damaged" in indexing.list_left_out(index.left_out)


def test_strict_makes_them_an_error(dirty):
    with pytest.raises(StrictError, match="2 images cannot be read"):
        index_folder(dirty, strict=True)


def test_the_pass_is_not_repeated(dirty, monkeypatch):
    first = index_folder(dirty)
    opened = []
    monkeypatch.setattr(indexing, "_look_at_one", lambda path: opened.append(path) or indexing.Fact("new", None, 9, 9))
    assert index_folder(dirty) == first
    assert not opened
    make_image(True, 99).save(dirty / "Fake/000.png")  # a changed file is looked at again, and only that
    again = index_folder(dirty)
    assert [path.name for path in opened] == ["000.png"]
    assert (again.hashes[8], again.sizes[8]) == ("new", (9, 9)) and again.hashes[9:] == first.hashes[9:]


@pytest.mark.parametrize("kept", [True, False], ids=["size and times put back", "written anew"])
def test_a_changed_file_is_looked_at_again(small_set, tmp_path, kept):
    """A picture of the same length with its old modification time still has another time of change."""
    shutil.copytree(small_set / "Test", tmp_path / "set")
    first, path = index_folder(tmp_path / "set"), tmp_path / "set/Real/003.png"
    before, data = path.stat(), path.read_bytes()
    if kept:
        path.write_bytes(data[:-20] + bytes(20))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert index_folder(tmp_path / "set").left_out == ((path, "damaged or cut short"),)
    else:
        make_image(False, 500, 48).save(path)
        changed = index_folder(tmp_path / "set")
        assert changed.sizes[3] == (48, 48) and changed.hashes[3] != first.hashes[3]


def test_sizes_are_of_the_upright_picture(small_set, tmp_path):
    shutil.copytree(small_set / "Test", tmp_path / "set")
    exif = Image.Exif()
    exif[0x0112] = 6
    make_image(False, 1, 80).crop((0, 0, 80, 40)).save(tmp_path / "set/Fake/sideways.jpg", exif=exif)
    index = index_folder(tmp_path / "set")
    assert index.sizes == ((64, 64),) * 16 + ((40, 80),)
    assert index_folder(tmp_path / "set") == index  # from the store
    assert index.subset([16, 0]).sizes == ((40, 80), (64, 64))


@contextmanager
def nobody():
    """Root may enter every folder; somebody else may not."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("mode", [0o000, 0o444], ids=["not listed", "listed only"])
def test_a_folder_that_cannot_be_entered_is_counted_and_listed(dirty, mode):
    place = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    try:
        shutil.copytree(dirty, place / "set")
        place.chmod(0o755)
        closed = place / "set/Fake/closed/deep"
        closed.mkdir(parents=True)
        make_image(True, 1).save(closed / "1.png")
        closed.chmod(mode)
        with nobody():
            index = index_folder(place / "set")
            with pytest.raises(StrictError, match="2 images and 1 folder cannot be read"):
                index_folder(place / "set", strict=True)
        assert len(index.samples) == 16
        assert index.left_out[2:] == ((closed, "folder that cannot be entered (Permission denied)"),)
        assert "2 images and 1 folder left out that cannot be read" in index.summary()
        closed.chmod(0o755)
        assert len(index_folder(place / "set").samples) == 17
    finally:
        closed.chmod(0o755)
        shutil.rmtree(place)


def test_ctrl_c_stops_soon_and_keeps_what_was_found(tmp_path, monkeypatch):
    root, look, looked_at = make_set(tmp_path, {".": 100}), indexing._look_at_one, []

    def slowly(path):
        looked_at.append(path)
        if len(looked_at) == 10:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        return look(path)

    monkeypatch.setattr(indexing, "_look_at_one", slowly)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(KeyboardInterrupt):
        index_folder(root)
    assert 10 <= len(looked_at) <= 30  # a second has 40
    monkeypatch.setattr(indexing, "_look_at_one", lambda path: looked_at.append(path) or look(path))
    assert len(index_folder(root).samples) == len(looked_at) == len(set(looked_at)) == 200  # none of them twice


def test_a_damaged_or_unwritable_store_only_costs_time(dirty, monkeypatch, capsys):
    first = index_folder(dirty)
    store = indexing._store(dirty, f"index-{indexing.STORE_VERSION}-{indexing.DOOR_VERSION}")
    assert json.loads(store.read_text())
    store.write_text(store.read_text()[:50])
    assert index_folder(dirty) == first
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    assert index_folder(dirty) == first
    assert "could not be kept" in capsys.readouterr().err


def test_digest_follows_content_names_and_labels_not_place(small_set, tmp_path):
    here = index_folder(small_set / "Test").digest
    moved = tmp_path / "elsewhere"
    shutil.copytree(small_set / "Test", moved)
    assert index_folder(moved).digest == here
    (moved / "Real/000.png").rename(moved / "Fake/x.png")
    assert index_folder(moved).digest != here


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ((), "expected Real/ and Fake/ in"),
        (("Real",), "expected Real/ and Fake/ in"),
        (("Real", "Fake"), r"no readable images in .*Real"),
        (("Real", "Fake", "real"), "two folders for Real"),
    ],
)
def test_unusable_folders(tmp_path, make, message):
    for name in make:
        (tmp_path / name).mkdir()
    with pytest.raises(DatasetError, match=message):
        index_folder(tmp_path)


def test_a_class_without_readable_images_says_why(dirty):
    for path in (dirty / "Real").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"(?s)no readable images in .*Real.*/000\.png: the file is empty"):
        index_folder(dirty)


def test_missing_root(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        training_data(tmp_path / "missing", seed=0)


def test_three_splits_whatever_their_spelling(small_set, tmp_path):
    for old, new in (("Train", "train"), ("Validation", "valid"), ("Test", "testing")):
        shutil.copytree(small_set / old, tmp_path / new)
    data = training_data(tmp_path, seed=0)
    assert (len(data.train.samples), len(data.validation.samples), data.notes) == (48, 16, ())


def test_test_is_never_opened_by_training(small_set, tmp_path):
    shutil.copytree(small_set, tmp_path / "set")
    for path in (tmp_path / "set/Test").rglob("*.png"):
        path.unlink()  # would be missed if anything looked
    assert len(training_data(tmp_path / "set", seed=0).train.samples) == 48
    with pytest.raises(DatasetError, match="is a Test split"):
        training_data(small_set / "Test", seed=0)


def test_without_validation_a_stratified_tenth_of_train(tmp_path):
    root = make_set(tmp_path, {"Train": 30})
    data = training_data(root, seed=3)
    assert np.bincount(data.validation.labels).tolist() == [3, 3]
    assert np.bincount(data.train.labels).tolist() == [27, 27]
    assert "a tenth of Train" in data.notes[0]
    assert "seed 3" in data.notes[0]


def test_flat_folders_are_split_80_10_10_by_seed(tmp_path):
    root = make_set(tmp_path, {".": 20})
    data, again, other = (training_data(root, seed=seed) for seed in (0, 0, 1))
    parts = split_flat(index_folder(root), 0)
    assert [len(part.samples) for part in (parts["Train"], parts["Validation"], parts["Test"])] == [32, 4, 4]
    assert (data.train, data.validation) == (parts["Train"], parts["Validation"]) == (again.train, again.validation)
    assert other.validation.samples != data.validation.samples
    paths = [s.path for part in parts.values() for s in part.samples]
    assert sorted(paths) == sorted(s.path for s in index_folder(root).samples)  # each in one part
    assert "80 %" in data.notes[0]


def test_split_keeps_the_shares_of_sources(tmp_path):
    for source, count in (("a", 40), ("b", 10)):
        for label in ("Real", "Fake"):
            folder = tmp_path / label / source
            folder.mkdir(parents=True)
            for i in range(count):
                make_image(label == "Fake", i + 100 * (source == "a")).save(folder / f"{i}.png")
    test = split_flat(index_folder(tmp_path), 0)["Test"]
    counts = {
        key: sum((s.source, s.label) == key for s in test.samples) for key in (("a", 0), ("b", 0), ("a", 1), ("b", 1))
    }
    assert counts == {("a", 0): 4, ("b", 0): 1, ("a", 1): 4, ("b", 1): 1}


def test_the_same_image_on_both_sides_is_said(small_set, tmp_path):
    shutil.copytree(small_set, tmp_path / "set")
    shutil.copy(tmp_path / "set/Train/Real/000.png", tmp_path / "set/Validation/Real/copy.png")
    assert "1 image of Validation also in Train" in training_data(tmp_path / "set", seed=0).notes[0]


def test_a_file_that_changes_after_indexing_is_named(small_set, tmp_path):
    shutil.copytree(small_set / "Test", tmp_path / "set")
    images = DeepFakeDataset(tmp_path / "set", Preprocess(size=48))
    shutil.copy(images.samples[3].path, images.samples[2].path)  # a good picture, but not the one that was indexed
    with pytest.raises(DatasetError, match=r"002\.png changed since it was indexed"):
        images[2]
    images.samples[2].path.unlink()
    with pytest.raises(DatasetError, match=r"002\.png: no such file"):
        images[2]


def test_no_network(small_set, monkeypatch):
    monkeypatch.setattr(socket, "socket", lambda *a, **k: pytest.fail("a data set needs no network"))
    assert len(index_folder(small_set / "Test").samples) == 16
