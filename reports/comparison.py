"""The models of one evaluation side by side: a table for each set, and what stands below it in words."""

from pathlib import Path

from evaluation.stress import Stress
from files import write_atomically
from names import CLASSES
from reports import pages, tables
from reports.pages import IN_DOMAIN

TABLE = {
    "model": "model",
    "arch": "architecture",
    "n": "n",
    "accuracy": "accuracy",
    "accuracy_interval": "95 % interval",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "recall_real": "recall of Real",
    "auc": "AUC",
    "auc_interval": "95 % interval of AUC",
    "ece": "ECE",
    "unsure": "Unsure",
    "found": "called Fake of Fake",
    "false_alarms": "called Fake of Real",
    "status": "status",
}
CSV_COLUMNS = (
    "model", "set", "role", "arch", "status", "n", "n_real", "n_fake", "threshold", "accuracy", "accuracy_low",
    "accuracy_high", "balanced_accuracy", "precision", "recall", "recall_real", "f1", "auc", "auc_low", "auc_high",
    "ap", "eer", "recall_at_fpr_1", "recall_at_fpr_5", "brier", "rmse", "ece", "log_loss", "unsure", "accuracy_sure",
    "found", "false_alarms", "undecided", "unstable", "reads_codec", "fragile",
)  # fmt: skip


def row_of(facts: dict, stressed: Stress | None) -> dict[str, object]:
    """Of comparison.csv."""
    model, data = facts["model"], facts["data"]
    row = {"model": model["name"], "set": data["name"], "role": data["role"], "status": "ok", "arch": model["arch"],
           "threshold": facts["calibration"]["threshold"], **facts["metrics"]}  # fmt: skip
    for quantity in ("accuracy", "auc"):
        low, high = facts["intervals"][quantity] or (None, None)
        row |= {f"{quantity}_low": low, f"{quantity}_high": high}
        row[f"{quantity}_interval"] = None if low is None else f"{low:.4f} to {high:.4f}"
    row["unstable"] = facts["stability"] and facts["stability"]["unstable"]
    return row | ({"reads_codec": stressed.reads_codec, "fragile": stressed.fragile} if stressed else {})


def write_comparison(rows: list[dict], out: Path) -> None:
    """A table for each set: in-domain first, then each foreign one by itself."""
    keys = {(row["role"] != IN_DOMAIN, row.get("set", "")) for row in rows if row["status"] == "ok"}
    texts, pages_ = [], []
    for foreign, name in sorted(keys) or [(False, "")]:
        here = [row for row in rows if (row["role"] != IN_DOMAIN) == foreign and row.get("set", name) == name]
        columns = {key: heading for key, heading in TABLE.items() if any(row.get(key) is not None for row in here)}
        head = f"foreign set {name}:" if foreign else f"set {name}:" if sum(not key[0] for key in keys) > 1 else ""
        texts.append((head and f"{head}\n") + tables.to_text(here, columns))
        pages_.append((head and f"{head[0].upper()}{head[1:]}\n\n") + tables.to_markdown(here, columns))
    write_atomically(out / "comparison.txt", "\n\n".join(texts) + "\n")
    write_atomically(out / "comparison.md", "\n\n".join(pages_) + "\n")
    write_atomically(out / "comparison.csv", tables.to_csv(rows, CSV_COLUMNS))
    print("\n\n".join(texts))


def print_findings(found: list[pages.Found]) -> None:
    """Below the tables: the gap from Validation, the worst sources, what was found about robustness."""
    lines = []
    for name in dict.fromkeys(one.name for one in found):
        mine = [one for one in found if one.name == name]
        for one in mine:
            told = pages.gap_sentences(one.facts) if one.role == IN_DOMAIN else []
            told += [pages.stability_sentence(one.facts["stability"])] if one.facts["stability"] else []
            told += one.stress["findings"] if one.stress else []
            lines += [f"{name} on {one.set_name}: {sentence}" for sentence in told]
        lines += [
            f"{name}: {sentence}"
            for of in CLASSES
            for sentence in pages.worst_sentences(pages.source_rows(mine, of), of)
        ]
    if lines:
        print("\n" + "\n".join(lines))
