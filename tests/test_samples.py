"""tools/samples.py: the sample set that is made without a download."""

import collections
import hashlib
import socket
import sys

import numpy as np
import pytest
from conftest import run
from PIL import Image

from dataset import split_folders
from indexing import index_folder
from tools import samples

SMALL = {"per_class": 12, "size": 64}


def files(root):
    """{path below root: SHA-256} of all files."""
    paths = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small set, made while every connection is refused."""

    def refuse(*_):
        raise AssertionError("the sample set must not need a network")

    out = tmp_path_factory.mktemp("samples") / "set"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        assert samples.make_samples(out, **SMALL) is True
    return out


def test_every_split_holds_both_classes_and_both_manipulations(made):
    assert {path.name for path in made.iterdir()} == {"Train", "Validation", "Test", "SOURCES.txt"}
    count = collections.Counter()
    for split, folder in split_folders(made).items():
        index = index_folder(folder, strict=True)
        count.update((split, sample.label) for sample in index.samples)
        assert {sample.source for sample in index.samples} == {"", "blend", "resample"}
    assert count == {(s, label): n for s, n in {"Train": 8, "Validation": 2, "Test": 2}.items() for label in (0, 1)}


def test_no_photograph_is_in_two_splits(made):
    listed = {}
    for line in (made / "SOURCES.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith(("Train ", "Validation ", "Test ")):
            split, photo, *_ = line.split()
            assert photo not in listed
            listed[photo] = split
    seen = collections.defaultdict(set)
    for path in made.rglob("*.jpg"):
        photo, split = path.stem.rsplit("-", 1)[0], path.relative_to(made).parts[0]
        assert listed[photo] == split
        seen[split].add(photo)
    assert all(len(seen[split]) >= 2 for split in ("Train", "Validation", "Test"))


def test_photographs_are_named_once_and_have_room_for_the_largest_crop():
    names = [photo.name for photo in samples.PHOTOS]
    assert len(set(names)) == len(names)
    for photo in samples.PHOTOS:
        image = samples.read_photo(photo)
        assert image.mode == "RGB" and min(image.size) >= samples.CROPS[1]


def test_a_real_and_its_fake_differ_in_nothing_but_the_manipulation(made):
    """Same name, size, mode and quantisation tables; and the Fake is not the Real."""
    fakes = sorted(made.rglob("Fake/*/*.jpg"))
    assert len(fakes) == 12
    for fake_path in fakes:
        real_path = fake_path.parents[2] / "Real" / fake_path.name
        with Image.open(real_path) as real, Image.open(fake_path) as fake:
            assert real.size == fake.size == (64, 64) and real.mode == fake.mode == "RGB"
            assert real.quantization == fake.quantization and real.info == fake.info
            assert real.layer == fake.layer  # the same chroma subsampling
            assert real.tobytes() != fake.tobytes()


def test_grey_stays_grey():
    """Colour in a grey photograph would give a Fake away."""
    draw = np.random.default_rng(0)
    grey = samples.read_photo(next(p for p in samples.PHOTOS if p.name == "camera")).crop((0, 0, 96, 96))
    for manipulate in samples.MANIPULATIONS.values():
        for _ in range(4):
            red, green, blue = manipulate(grey, draw).split()
            assert red.tobytes() == green.tobytes() == blue.tobytes()


def test_same_arguments_same_bytes_another_seed_others(made, tmp_path):
    samples.make_samples(tmp_path / "again", **SMALL)
    assert files(tmp_path / "again") == files(made)
    samples.make_samples(tmp_path / "other", **SMALL, seed=1)
    assert not set(files(tmp_path / "other").values()) & set(files(made).values())


@pytest.mark.parametrize("size", samples.SIZES)
def test_smallest_set_at_the_outermost_sizes(size, tmp_path):
    samples.make_samples(tmp_path / "set", per_class=samples.FEWEST, size=size)
    assert len(list(tmp_path.glob("set/*/Real/*.jpg"))) == len(list(tmp_path.glob("set/*/Fake/*/*.jpg"))) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["set"]  # nothing is left beside it


def test_a_second_run_keeps_the_set(made, capsys):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert samples.main([str(made), "--per-class", "12", "--size", "64"]) == 0
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before
    assert "kept from an earlier run" in capsys.readouterr().out


def test_command_line(tmp_path):
    (tmp_path / "set").mkdir()  # an empty folder may stand there
    done = run("-m", "tools.samples", tmp_path / "set", "--per-class", 6, "--size", 32)
    assert done.returncode == 0 and done.stderr == ""  # no progress bar without a terminal
    assert done.stdout.count("\n") == 1
    assert "6 Real and 6 Fake" in done.stdout and "these manipulations, not deepfakes" in done.stdout


def test_other_arguments_or_a_missing_picture_are_no_reason_to_overwrite(tmp_path, capsys):
    out = tmp_path / "set"
    samples.make_samples(out, per_class=6, size=32)
    before = files(out)
    assert samples.main([str(out), "--per-class", "6", "--size", "32", "--seed", "1"]) == 1
    next(out.rglob("*.jpg")).unlink()
    assert samples.main([str(out), "--per-class", "6", "--size", "32"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all("is not empty" in line for line in errors)
    assert len(files(out)) == len(before) - 1 and files(out).items() <= before.items()


def test_a_strangers_folder_or_file_is_refused(tmp_path, capsys):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    assert samples.main([str(tmp_path / "letters")]) == 1
    assert samples.main([str(tmp_path / "letters" / "a.txt")]) == 1
    assert samples.main([str(tmp_path / "letters" / "a.txt" / "set")]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3 and "is not empty" in errors[0] and "is a file" in errors[1]
    assert "cannot be written" in errors[2]
    assert [path.name for path in tmp_path.rglob("*")] == ["letters", "a.txt"]


@pytest.mark.parametrize(
    ("wrong", "said"), [({"per_class": 5}, "too few"), ({"size": 300}, "32 to 160"), ({"seed": -1}, "negative")]
)
def test_arguments_out_of_range(wrong, said, tmp_path):
    with pytest.raises(samples.SamplesError, match=said):
        samples.make_samples(tmp_path / "set", **wrong)
    assert not any(tmp_path.iterdir())


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(samples, "save", interrupt)
    assert samples.main([str(tmp_path / "set")]) == 130
    assert "interrupted" in capsys.readouterr().err and not any(tmp_path.iterdir())


def test_without_scikit_image_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    assert samples.main([str(tmp_path / "set")]) == 1
    assert "pip install -r requirements-dev.txt" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
