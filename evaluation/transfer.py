"""What a recipe knows of kinds it was not shown: each kind left out of training once, then judged.

    groups(index)                                    # {"Fake/t2i": ("Fake/t2i",), "dfdc": ("Fake/dfdc", "Real/dfdc")}
    rows = [row for name in groups(index) for row in of_run(index, judged_without[name], name, seed=0)]
    table(means(rows))           # a line for what was left out, a column for what is judged

A kind is a sub-folder of Fake/ or of Real/. Two of one name, fakes and the originals they were made of, are left out
together: with the originals alone a network would learn that such pictures are Real. It is how domain generalisation is
measured (leave-one-domain-out: Gulrajani and Lopez-Paz, ICLR 2021).
"""

import numpy as np
from sklearn.metrics import roc_auc_score

from detector.calibration import Calibration
from evaluation import calibrating, metrics
from evaluation.left_out import CONFIDENT
from evaluation.scoring import Judged
from indexing import Index
from names import CLASSES, FAKE, REAL, UNSURE

NOTHING = "nothing"  # left out
COLUMNS = (
    "left_out", "judged", "unseen", "n", "auc", "low", "high", "called_fake", "called_real", "unsure",
    "confident_mistakes", "seed",
)  # fmt: skip


def groups(index: Index) -> dict[str, tuple[str, ...]]:
    """What is left out together, by name: kinds ("Fake/t2i"), or all of one source that has both classes ("dfdc")."""
    found: dict[str, set[str]] = {}
    both = _of_both_classes(index)
    for sample in index.samples:
        if sample.source:
            found.setdefault(sample.source if sample.source in both else sample.name, set()).add(sample.name)
    return {name: tuple(sorted(found[name])) for name in sorted(found)}


def _of_both_classes(index: Index) -> set[str]:
    of_class = [{sample.source for sample in index.samples if sample.label == label} for label in (REAL, FAKE)]
    return of_class[REAL] & of_class[FAKE]


def of_run(index: Index, judged: Judged, left_out: str, *, seed: int) -> list[dict]:
    """A row for each kind of an index, from what a detector says that was trained without one group of them.

    It is calibrated on the images of the others, as its user would have to.
    """
    names = np.array([sample.name for sample in index.samples], object)
    gone = groups(index).get(left_out, ())
    known = np.flatnonzero(~np.isin(names, gone))
    calibration = calibrating.of_index(index.subset(known), judged[known].logits, balance="root")
    return [
        row | {"left_out": left_out, "unseen": row["judged"] in gone, "seed": seed}
        for row in of_kinds(index, judged, calibration)
    ]


def of_kinds(index: Index, judged: Judged, calibration: Calibration) -> list[dict]:
    """The same for one detector as it is.

    AUC of a kind: against the other class of its own source where there is one, else against that of all sources that
    have one class only, else against all of it.
    """
    names = np.array([sample.name for sample in index.samples], object)
    sources, both = np.array(index.sources, object), _of_both_classes(index)
    scores, words = calibration.scores(judged.logits), judged.verdicts(calibration)
    rows = []
    for kind in sorted({sample.name for sample in index.samples if sample.source}):
        here = names == kind
        label, source = index.labels[here][0], sources[here][0]
        other = index.labels != label
        alike = sources == source if source in both else ~np.isin(sources, list(both))
        against = other & alike if (other & alike).any() else other
        told = metrics.decided(index.labels[here | against], scores[here | against])
        rows.append(_row(kind, label, told, scores[here], words[here]))
    return rows


def _row(kind: str, label: int, told: tuple[np.ndarray, np.ndarray], scores: np.ndarray, words: np.ndarray) -> dict:
    low, high = metrics.auc_interval(*told) or (None, None)
    return {
        "judged": kind,
        "n": len(words),
        "auc": float(roc_auc_score(*told)) if len(np.unique(told[0])) > 1 else None,
        "low": low,
        "high": high,
        "called_fake": float((words == CLASSES[FAKE]).mean()),
        "called_real": float((words == CLASSES[REAL]).mean()),
        "unsure": float((words == UNSURE).mean()),
        "confident_mistakes": float((scores < CONFIDENT).mean()) if label == FAKE else None,
    }


def means(rows: list[dict]) -> list[dict]:
    """Rows of several seeds as one for each pair: means, and the AUC's standard deviation under "spread"."""
    pairs: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        pairs.setdefault((row["left_out"], row["judged"]), []).append(row)
    return [_mean(group) for group in pairs.values()]


def _mean(group: list[dict]) -> dict:
    averaged = COLUMNS[COLUMNS.index("auc") : COLUMNS.index("seed")]
    numbers = {name: [row[name] for row in group] for name in averaged}
    found = {name: None if None in of else float(np.mean(of)) for name, of in numbers.items()}
    spread = float(np.std(numbers["auc"], ddof=1)) if len(group) > 1 and None not in numbers["auc"] else None
    return group[0] | found | {"seed": len(group), "spread": spread}


def table(rows: list[dict]) -> tuple[list[dict], dict[str, str]]:
    """(lines, headings) of the matrix: AUC of each kind of fakes, Real called Fake of each collection."""
    judged = sorted(dict.fromkeys(row["judged"] for row in rows), key=lambda kind: not is_fake(kind))
    lines = []
    for left_out in dict.fromkeys(row["left_out"] for row in rows):
        line = {"left_out": left_out}
        for row in rows:
            if row["left_out"] == left_out:
                line[row["judged"]] = _cell(row)
        lines.append(line)
    return lines, {"left_out": "left out", **{kind: kind for kind in judged}}


def _cell(row: dict) -> str:
    text = _number(row)
    if row.get("spread") is not None and is_fake(row["judged"]):
        text += f" (sd {row['spread']:.3f})"
    return f"**{text}**" if row.get("unseen") else text


def is_fake(kind: str) -> bool:
    return kind.partition("/")[0] == CLASSES[FAKE]


def _number(row: dict) -> str:
    value = row["auc"] if is_fake(row["judged"]) else row["called_fake"]
    return "-" if value is None else f"{value:.3f}"


def summary(rows: list[dict]) -> dict[str, float]:
    """Of the kinds of fakes left out: mean and worst AUC, confident mistakes; the worst collection's false alarms."""
    unseen = [row for row in rows if row.get("unseen")]
    fakes = [row for row in unseen if is_fake(row["judged"]) and row["auc"] is not None]
    reals = [row for row in unseen if not is_fake(row["judged"])]
    found = {}
    if fakes:
        areas = [row["auc"] for row in fakes]
        found |= {"mean_auc": float(np.mean(areas)), "worst_auc": min(areas)}
        found["confident_mistakes"] = float(np.mean([row["confident_mistakes"] for row in fakes]))
    if reals:
        found["worst_false_alarms"] = max(row["called_fake"] for row in reals)
    return found
