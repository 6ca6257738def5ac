"""What became of a detector on changed pictures, as files: curves, the re-encode test, a picture."""

import json
from dataclasses import asdict
from pathlib import Path

from evaluation.stress import REENCODE_COLUMNS, ROBUSTNESS_COLUMNS, Stress
from files import write_atomically
from reports import plots
from reports.tables import to_csv

FILES = ("robustness.csv", "reencode.csv", "stress.json", "robustness.png")  # that `write` writes


def write(stress: Stress, folder: Path, title: str) -> None:
    """robustness.csv, reencode.csv, stress.json and, where there are curves, robustness.png. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "robustness.csv", to_csv(stress.robustness, ROBUSTNESS_COLUMNS))
    write_atomically(folder / "reencode.csv", to_csv(stress.reencode, REENCODE_COLUMNS))
    write_atomically(folder / "stress.json", json.dumps(asdict(stress), indent=2, allow_nan=False) + "\n")
    draw({title: stress}, folder / "robustness.png", title)


def draw(stresses: dict[str, Stress], path: Path, title: str) -> None:
    """The robustness curves of detectors by name; no file where there is nothing to draw."""
    if all(len(stress.robustness) < 2 for stress in stresses.values()):
        path.unlink(missing_ok=True)
        return
    plots.robustness_curves({name: stress.robustness for name, stress in stresses.items()}, path, title=title)
