"""The sample set: one seed, one set of bytes; no photo in two splits, no shortcut through the codec, no download."""

import socket

import pytest
from PIL import Image

from tools import samples
from tools.samples import SPLITS, SamplesError, make_samples


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("samples") / "set"
    assert make_samples(out, per_class=30, size=48) is True
    return out


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_without_a_network(made, tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "socket", lambda *a, **k: pytest.fail("nothing is downloaded"))
    make_samples(tmp_path / "again", per_class=30, size=48)
    assert contents(tmp_path / "again") == contents(made)
    make_samples(tmp_path / "other", per_class=30, size=48, seed=1)
    assert contents(tmp_path / "other") != contents(made)


def test_every_split_holds_both_classes_and_both_manipulations(made):
    for split, count in samples.split_sizes(30).items():
        assert len(list((made / split / "Real").rglob("*.jpg"))) == count
        kinds = {path.parent.name for path in (made / split / "Fake").rglob("*.jpg")}
        assert kinds == set(samples.MANIPULATIONS)
        assert len(list((made / split / "Fake").rglob("*.jpg"))) == count


def test_no_photograph_is_in_two_splits(made):
    photos = {split: {path.stem.rsplit("-", 1)[0] for path in (made / split).rglob("*.jpg")} for split in SPLITS}
    for one in SPLITS:
        assert len(photos[one]) >= 2
        for other in SPLITS:
            assert one == other or not photos[one] & photos[other]
    text = (made / "SOURCES.txt").read_text()
    assert all(name in text for names in photos.values() for name in names)


def test_the_codec_tells_nothing(made):
    """Each Fake went through the same encoder, with the same tables, size and mode, as the Real of the same crop."""
    for real in made.rglob("Real/*.jpg"):
        [fake] = (real.parent.parent / "Fake").rglob(real.name)
        with Image.open(real) as one, Image.open(fake) as other:
            assert (one.quantization, one.size, one.mode) == (other.quantization, other.size, other.mode)
            assert one.tobytes() != other.tobytes()


def test_a_set_is_kept_and_nothing_else_is_overwritten(made, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert make_samples(made, per_class=30, size=48) is False
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before
    with pytest.raises(SamplesError, match="is not empty"):
        make_samples(made, per_class=30, size=64)
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(SamplesError, match="is not empty"):
        make_samples(tmp_path, per_class=30, size=48)


@pytest.mark.parametrize("wrong", [{"per_class": 1}, {"size": 8}, {"seed": -1}])
def test_arguments_out_of_range(tmp_path, wrong):
    with pytest.raises(SamplesError):
        make_samples(tmp_path / "set", **wrong)
