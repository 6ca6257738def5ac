"""Tables from rows: for a terminal, for Markdown, for programs; and the folder they go to. Knows no network."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dataset import Index
from detector.calibration import Calibration
from detector.checkpoint import write_atomically
from evaluation.scoring import Judged
from names import CLASSES

PREDICTION_COLUMNS = ("path", "label", "source", "logit_real", "logit_fake", "score", "verdict", "faces")


def predictions_csv(index: Index, judged: Judged, calibration: Calibration) -> str:
    """One line an image, paths relative to the data folder: everything later analysis needs, without the network.

    Logits and score are empty where nothing was judged.
    """
    scores, words = calibration.scores(judged.logits), judged.verdicts(calibration)
    numbers = np.column_stack([judged.logits.astype(object), scores.astype(object)])
    numbers[np.isnan(scores)] = None
    rows = (
        {
            "path": sample.path.relative_to(index.root).as_posix(),
            "label": CLASSES[sample.label],
            "source": sample.source,
            "logit_real": real,
            "logit_fake": fake,
            "score": score,
            "verdict": word,
            "faces": faces,
        }
        for sample, (real, fake, score), word, faces in zip(
            index.samples, numbers.tolist(), words.tolist(), judged.faces.tolist(), strict=True
        )
    )
    return to_csv(list(rows), PREDICTION_COLUMNS)


def to_csv(rows: Sequence[dict], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({column: "" if row.get(column) is None else row[column] for column in columns} for row in rows)
    return text.getvalue()


def to_text(rows: Sequence[dict], columns: dict[str, str]) -> str:
    """Aligned columns; `columns` maps a row's key to its heading."""
    cells = [list(columns.values()), *([_cell(row.get(key)) for key in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def to_markdown(rows: Sequence[dict], columns: dict[str, str]) -> str:
    lines = [
        list(columns.values()),
        ["---"] * len(columns),
        *([_cell(row.get(key)) for key in columns] for row in rows),
    ]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _cell(value) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def prepare_folder(out: Path, *, overwrite: bool) -> None:
    """Make the output folder and write to it, so that one that fails does so before the work."""
    if not overwrite and out.is_dir() and any(out.iterdir()):
        raise FileExistsError(17, "not empty", str(out))
    out.mkdir(parents=True, exist_ok=True)
    probe = out / "write-test"
    write_atomically(probe, bytes(2**16))
    probe.unlink()
