"""The state of a run, to the bit: written whole or not at all, read back without executing anything.

What a run draws at random depends on its seed and on where it stands (epoch, step, image), never on what was drawn
before; so the position stands for the state of every generator, and a run that goes on draws what it would have drawn.
"""

import io
import pickle
import re
import time
from collections.abc import Callable
from pathlib import Path

import torch

from evaluation.scoring import Judged
from files import write_atomically
from training.engine import Progress, TrainingError

NAME = "state.pt"
VERSION = 2


def save_state(out: Path, state: dict) -> None:
    """Where the run stands, into its folder: plain types, tensors, and `best` as (row, Judged) or None."""
    best = state["best"] and (state["best"][0], [torch.from_numpy(array) for array in state["best"][1].arrays])
    data = io.BytesIO()
    torch.save(state | {"version": VERSION, "best": best}, data)
    write_atomically(out / NAME, data.getvalue())


def load_state(out: Path) -> dict | None:
    """What `save_state` was given, or None where there is none. Raises TrainingError on a file that cannot be used."""
    path = out / NAME
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["version"] == VERSION:
            best = state["best"] and (state["best"][0], Judged(*(array.numpy() for array in state["best"][1])))
            return state | {"best": best, "progress": Progress(**state["progress"])}
    except (OSError, RuntimeError, pickle.UnpicklingError, LookupError, TypeError, ValueError, EOFError) as error:
        raise TrainingError(f"{path} cannot be read; add --overwrite to begin anew") from error
    raise TrainingError(f"{path} is of another version of this program; add --overwrite to begin anew")


class Cadence:
    """Says when it is time to save: "500" steps, or "10m" minutes, after the last time."""

    def __init__(self, every: str, now: Callable[[], float] = time.monotonic):
        self.every, self.now = every, now
        self.by_minutes = every.endswith("m")
        self.amount = float(every[:-1]) * 60 if self.by_minutes else int(every)
        self.steps, self.last = 0, now()

    def due(self) -> bool:
        """Called once a step."""
        self.steps += 1
        past = self.now() - self.last >= self.amount if self.by_minutes else self.steps >= self.amount
        if past:
            self.steps, self.last = 0, self.now()
        return past


def cadence(text: str) -> str:
    """A Cadence's `every`, for argparse. Raises ValueError when it is none."""
    if not re.fullmatch(r"0*[1-9]\d*|(?=.*[1-9])\d*\.?\d+m", text):
        raise ValueError(text)
    return text
