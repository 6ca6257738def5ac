"""A run folder: made with care, explaining itself, never overwritten in silence."""

import contextlib
import json
import os
import platform
import shutil
import subprocess  # noqa: S404
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from torch import nn

from files import make_folder, write_atomically
from training.engine import TrainingError

RUN_FILES = ("*.safetensors", "*.png", "*.csv", "config.json", "state.pt", "tensorboard/events.*")
LEFT_BEHIND = ("write-test", ".write-test.*", ".*.safetensors.*", ".state.pt.*", ".*.csv.*", ".*.json.*")  # by a kill
PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn")


def prepare_folder(out: Path, *, overwrite: bool, resume: bool) -> None:
    """Make the run folder and write to it, so that a folder that fails does so before hours of training."""
    if overwrite or resume:
        for pattern in LEFT_BEHIND:
            for path in out.glob(pattern):
                path.unlink()
    if out.is_dir() and any(out.iterdir()):
        if not overwrite and not resume:
            raise TrainingError(f"{out} is not empty; choose another --out, or add --resume or --overwrite")
        if not (out / "config.json").is_file():
            raise TrainingError(f"{out} holds no earlier run; nothing in it is overwritten")
    make_folder(out, room=2**20)


def remove_earlier_run(out: Path) -> None:
    """Called when all that can fail early has not failed. metrics.json goes first: what is left is no finished run."""
    (out / "metrics.json").unlink(missing_ok=True)
    for pattern in RUN_FILES:
        for path in out.glob(pattern):
            path.unlink()


def read_json(path: Path) -> dict:
    """{} where there is no such file. Raises TrainingError."""
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read; add --overwrite to begin anew") from error


def check_space(out: Path, network: nn.Module, *, checkpoints: int) -> None:
    """Raises TrainingError when the disk cannot hold the checkpoints, and twice the state of a run."""
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    need, free = (checkpoints + 2 * 4) * weights + 2**24, shutil.disk_usage(out).free
    if free < need:
        raise TrainingError(f"{out}: checkpoints and state need {need / 1e6:.0f} MB; {free / 1e6:.0f} MB are free")


def differences(before: dict, now: dict, prefix: str = "") -> list[str]:
    """What differs between two nested dictionaries of settings, as "recipe.epochs: 2 there, 8 now"."""
    found: list[str] = []
    for key in before.keys() | now.keys():
        there, here = before.get(key), now.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            found += differences(there, here, f"{prefix}{key}.")
        elif _plain(there) != _plain(here):
            found.append(f"{prefix}{key}: {there} there, {here} now")
    return sorted(found)


def _plain(value):
    """As JSON would give it back."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str | dict) else value


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def git_commit() -> str | None:
    """The commit of this code, with "+" when files differ from it; None outside a repository."""
    try:
        commit, changes = (
            subprocess.run(  # noqa: S603
                ["git", *command],  # noqa: S607
                cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
            ).stdout.strip()
            for command in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changes else "")


def write_json(path: Path, content: dict) -> None:
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def remove_if_empty(out: Path) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(out)
