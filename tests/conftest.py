"""Small worlds: generated images, a trained detector, and the real data where they are at hand."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

sys.path.insert(0, str(ROOT))
from networks import clip  # noqa: E402

clip.BLOCKS = (1, 2)  # before model.py reads it: twelve blocks would take seconds wherever all networks are tried

os.environ["OMP_NUM_THREADS"] = "1"  # programs started by tests share two cores with the tests themselves


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Stored indexes of test folders stay out of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real data. Without them a test is skipped on a developer's machine, and fails where CI should have them."""
    if not SHARED.is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("../shared, with the real images, is not here")
    return SHARED


def side_of(name: str, side: int) -> int:
    """`side`, or what the network called `name` takes instead, pixels."""
    import model

    return next(iter(model.architecture(name).sizes), side)


def make_image(fake: bool, seed: int, size: int = 64) -> Image.Image:
    """A smooth random image; a fake one has lines on it, as some generators leave a grid."""
    draw = np.random.default_rng(seed)
    pixels = np.asarray(
        Image.fromarray(draw.integers(90, 165, (4, 4, 3), dtype=np.uint8)).resize(
            (size, size), Image.Resampling.BICUBIC
        )
    ).astype(int)
    pixels = pixels + draw.integers(-6, 7, pixels.shape)
    if fake:
        pixels[::4] += 40
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def make_set(root: Path, per_class: dict[str, int], size: int = 64) -> Path:
    seed = 0
    for split, count in per_class.items():
        for name in ("Real", "Fake"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                seed += 1
                make_image(name == "Fake", seed, size).save(folder / f"{number:03}.png")
    return root


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """What `make` puts at a path with this name, for all workers of a test run: one makes it, the others wait."""
    root = factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "once"
    folder.mkdir(exist_ok=True)
    path, made = folder / name, folder / f"{name}.made"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            make(path)
            made.touch()
    return path


@pytest.fixture(scope="session")
def small_set(tmp_path_factory) -> Path:
    """Train, Validation and Test of generated 64 px images that a network can tell apart. Nobody changes it."""
    per_class = {"Train": 24, "Validation": 8, "Test": 8}
    return made_once(tmp_path_factory, "small", lambda path: make_set(path, per_class))


@pytest.fixture(scope="session")
def trained(small_set, tmp_path_factory) -> Path:
    """The run folder of `tiny`, trained on small_set by train.py as a user would. Nobody changes it."""

    def train(out: Path) -> None:
        flags = ("--arch", "tiny", "--size", 48, "--epochs", 6, "--lr", 0.003, "--batch-size", 8)
        done = run("train.py", "--data", small_set, *flags, "--out", out)
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "tiny", train)


@pytest.fixture(scope="session")
def decided(trained, tmp_path_factory) -> Path:
    """The best checkpoint of `trained` without its calibration: eight images leave no verdict but Unsure there."""
    from detector.calibration import Calibration
    from detector.checkpoint import read_metadata, read_weights, save_checkpoint

    best = trained / "best.safetensors"
    undecided = replace(read_metadata(best), calibration=Calibration())
    return made_once(
        tmp_path_factory, "decided.safetensors", lambda path: save_checkpoint(path, read_weights(best), undecided)
    )


@pytest.fixture(scope="session")
def exported(trained, tmp_path_factory) -> Path:
    """The best checkpoint of `trained` as tiny.onnx."""

    def export(path: Path) -> None:
        from tools import export

        assert export.main([str(trained / "best.safetensors"), "--out", str(path)]) == 0

    return made_once(tmp_path_factory, "tiny.onnx", export)


@pytest.fixture
def unrendered(monkeypatch) -> None:
    leave_unrendered(monkeypatch)


def leave_unrendered(patch: pytest.MonkeyPatch) -> None:
    """Figures are made but not turned into pixels, an eighth of a second each: for many runs and no look at them."""
    from reports import plots

    patch.setattr(plots, "_save", lambda figure, path, *, dpi: Image.new("L", (1, 1)).save(path))


def run(program: str, *arguments: object, **options) -> subprocess.CompletedProcess[str]:
    """A command of the project in a process of its own."""
    command = [sys.executable, program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, **options)
