"""Small worlds: generated images, a trained detector, and the real data where they are at hand."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

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


@pytest.fixture(scope="session")
def small_set(tmp_path_factory) -> Path:
    """Train, Validation and Test of generated 64 px images that a network can tell apart."""
    return make_set(tmp_path_factory.mktemp("small"), {"Train": 24, "Validation": 8, "Test": 8})


@pytest.fixture(scope="session")
def trained(small_set, tmp_path_factory) -> Path:
    """The run folder of `tiny`, trained on small_set by train.py as a user would."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    flags = ("--arch", "tiny", "--size", 48, "--epochs", 6, "--lr", 0.003, "--batch-size", 8)
    done = run("train.py", "--data", small_set, *flags, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def decided(trained) -> Path:
    """The best checkpoint of `trained` without its calibration: eight images leave no verdict but Unsure there."""
    from detector.calibration import Calibration
    from detector.checkpoint import read_metadata, read_weights, save_checkpoint

    best, path = trained / "best.safetensors", trained.parent / "decided.safetensors"
    save_checkpoint(path, read_weights(best), replace(read_metadata(best), calibration=Calibration()))
    return path


def run(program: str, *arguments: object, **options) -> subprocess.CompletedProcess[str]:
    """A command of the project in a process of its own."""
    command = [sys.executable, program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, **options)
