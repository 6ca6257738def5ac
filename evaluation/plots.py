"""Pictures of numbers, and of batches: PNG files from rows and arrays. Knows no model."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only; a machine without a screen is the usual one

import numpy as np  # noqa: E402
import seaborn  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from names import CLASSES  # noqa: E402

TRAIN_COLOUR, VALIDATION_COLOUR = "#4878a8", "#c8553d"


def confusion_matrix(counts: np.ndarray, path: Path, *, title: str) -> None:
    """(2, 2) counts, row: label, column: verdict. Each cell shows its count and its share of the row."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    text = [[f"{counts[i, j]}\n{shares[i, j]:.1%}" for j in (0, 1)] for i in (0, 1)]
    figure = Figure(figsize=(4.4, 3.8), layout="constrained")
    axes = figure.subplots()
    seaborn.heatmap(
        shares, annot=text, fmt="", vmin=0, vmax=1, cmap="Blues", square=True, ax=axes,
        xticklabels=CLASSES, yticklabels=CLASSES, cbar_kws={"label": "share of the row"},
    )  # fmt: skip
    axes.set(xlabel="verdict", ylabel="label")
    axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=150)


def curves(rows: list[dict], path: Path, *, title: str) -> None:
    """Loss and accuracy of both splits by epoch, and Validation's AUC with the best epoch marked."""
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for axes, quantity in ((loss, "loss"), (accuracy, "accuracy")):
        axes.plot(epochs, [row[f"train_{quantity}"] for row in rows], "o-", color=TRAIN_COLOUR, label="Train")
        axes.plot(epochs, [row[f"val_{quantity}"] for row in rows], "s-", color=VALIDATION_COLOUR, label="Validation")
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    accuracy.plot(epochs, [row["val_auc"] for row in rows], "^--", color="grey", label="Validation AUC")
    best = max(rows, key=lambda row: row["val_auc"])
    accuracy.axvline(best["epoch"], color="grey", alpha=0.4, label=f"best epoch ({best['epoch']})")
    loss.legend()
    accuracy.legend()
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=150)


def batch(pixels: np.ndarray, labels: np.ndarray, path: Path, *, title: str) -> None:
    """(n, h, w, 3) floats in [0, 1] and their labels, at most the first 32, as a grid."""
    shown = min(len(pixels), 32)
    columns = min(8, shown)
    rows = -(-shown // columns)
    figure = Figure(figsize=(columns * 1.3, rows * 1.45 + 0.4), layout="constrained")
    for place, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.axis("off")
        if place < shown:
            axes.imshow(np.clip(pixels[place], 0, 1))
            axes.set_title(CLASSES[labels[place]], fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=120)
