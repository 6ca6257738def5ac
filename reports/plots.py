"""Pictures of numbers, and of batches: PNG files from rows and arrays. Knows no model."""

import io
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only; a machine without a screen is the usual one
matplotlib.rcParams["text.parse_math"] = False  # a folder may be called a$b

import numpy as np  # noqa: E402
import seaborn  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import Rectangle  # noqa: E402
from PIL import Image  # noqa: E402
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve  # noqa: E402

from evaluation import metrics  # noqa: E402
from files import write_atomically  # noqa: E402
from names import CLASSES, FAKE, REAL  # noqa: E402

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
    axes.set(xlabel="side of the threshold", ylabel="label")
    axes.set_title(title, fontsize=10)
    _save(figure, path, dpi=150)


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
    _save(figure, path, dpi=150)


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
    _save(figure, path, dpi=120)


ROBUSTNESS_LINES = {"auc": "AUC", "recall_real": "recall of Real", "recall_fake": "recall of Fake"}
# Told apart by people who see no red or green (Okabe and Ito 2008), and by the markers.
SERIES_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SERIES_MARKERS = "os^Dvp*"


def robustness_curves(rows_by_model: dict[str, list[dict]], path: Path, *, title: str) -> None:
    """AUC and both recalls against the strength of each corruption, mild to severe, with 95 % bands.

    Rows as in evaluation.stress; the first of each model is that of the untouched images, where each curve begins. One
    model: a panel a corruption. Several: three, one for each number, and a colour for each model.
    """
    several = len(rows_by_model) > 1
    names = list(dict.fromkeys(row["corruption"] for rows in rows_by_model.values() for row in rows[1:]))
    panels = [(name, [line]) for name in names for line in ROBUSTNESS_LINES] if several else None
    panels = panels or [(name, list(ROBUSTNESS_LINES)) for name in names]
    columns = min(len(panels), 6 if several else 4)
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(2.9 * columns, 2.5 * lines + 0.9), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True).flatten()
    for axes, (name, drawn) in zip(grid, panels, strict=False):
        series = [(model, line) for model in rows_by_model for line in drawn]
        for number, (model, line) in enumerate(series):
            _robustness_line(axes, rows_by_model[model], name, line, number, model if several else None)
        axes.set_title(f"{name}: {ROBUSTNESS_LINES[drawn[0]]}" if several else name, fontsize=10)
    for axes in grid[len(panels) :]:
        axes.axis("off")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), fontsize=9)
    figure.suptitle(f"{title}\nat each strength, from the untouched images on; bands: 95 % intervals", fontsize=10)
    _save(figure, path, dpi=110)


def _robustness_line(axes, rows: list[dict], corruption: str, line: str, number: int, model: str | None) -> None:
    shown = [rows[0], *(row for row in rows if row["corruption"] == corruption)]
    values, low, high = (
        np.array([row[f"{line}{end}"] for row in shown], float) for end in ("", "_low", "_high")
    )  # None becomes NaN, which is not drawn
    colour = SERIES_COLOURS[number % len(SERIES_COLOURS)]
    marker = SERIES_MARKERS[number % len(SERIES_MARKERS)]
    axes.axhline(values[0], color=colour, linewidth=0.8, linestyle=":")
    axes.fill_between(range(len(shown)), low, high, color=colour, alpha=0.13, linewidth=0)
    axes.plot(values, color=colour, marker=marker, markersize=4, linewidth=1.4, label=model or ROBUSTNESS_LINES[line])
    axes.set_xticks(range(len(shown)), ["none", *(f"{row['strength']:g}" for row in shown[1:])], fontsize=8)
    axes.set_xlabel(shown[-1]["unit"], fontsize=8)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.25)


def roc(labels: np.ndarray, scores: np.ndarray, threshold: float, path: Path, *, title: str) -> None:
    """Share of Fake found against share of Real called Fake; a dot where the threshold stands. Both classes needed."""
    false, true, _ = roc_curve(labels, scores)
    axes = _square()
    axes.plot(false, true, color=TRAIN_COLOUR, label=f"AUC {auc(false, true):.3f}")
    axes.plot([0, 1], [0, 1], "--", color="grey", linewidth=1, label="chance")
    says = scores >= threshold
    at = says[labels == REAL].mean(), says[labels == FAKE].mean()
    axes.plot(*at, "o", color=VALIDATION_COLOUR, label=f"threshold {threshold:.3f}")
    axes.set(xlabel="share of Real called Fake", ylabel="share of Fake called Fake", xlim=(-0.01, 1.01), ylim=(0, 1.01))
    _finish(axes, path, title, "lower right")


def precision_recall(labels: np.ndarray, scores: np.ndarray, threshold: float, path: Path, *, title: str) -> None:
    """Share of those called Fake that are, against share of Fake found. Both classes needed."""
    precision, recall, _ = precision_recall_curve(labels, scores)
    axes = _square()
    area = average_precision_score(labels, scores)
    axes.step(recall, precision, where="post", color=TRAIN_COLOUR, label=f"average precision {area:.3f}")
    chance = (labels == FAKE).mean()
    axes.axhline(chance, linestyle="--", color="grey", linewidth=1, label=f"chance {chance:.2f}")
    says = scores >= threshold
    if says.any():
        at = says[labels == FAKE].mean(), (labels[says] == FAKE).mean()
        axes.plot(*at, "o", color=VALIDATION_COLOUR, label=f"threshold {threshold:.3f}")
    axes.set(xlabel="recall of Fake", ylabel="precision of Fake", xlim=(-0.01, 1.01), ylim=(0, 1.01))
    _finish(axes, path, title, "lower left")


def reliability(labels: np.ndarray, scores: np.ndarray, path: Path, *, title: str) -> None:
    """In each bin of the calibration error: the share of Fake, with Wilson's interval, against the mean score."""
    bins, axes = metrics.ece_bin(scores), _square()
    rows = []
    for number in np.unique(bins):
        here = bins == number
        hits, n = int((labels[here] == FAKE).sum()), int(here.sum())
        rows.append((scores[here].mean(), hits / n, *metrics.proportion_interval(hits, n), n))
    mean, share, low, high, n = np.array(rows).T
    axes.plot([0, 1], [0, 1], "--", color="grey", linewidth=1, label="as it should be")
    axes.vlines(mean, low, high, color=TRAIN_COLOUR, alpha=0.5, label="95 % interval")
    axes.scatter(mean, share, s=12 + 200 * n / n.sum(), color=TRAIN_COLOUR, label="a bin; larger: more images")
    error = metrics.calibration_error(labels, scores)
    axes.set(
        xlabel="mean score, P(fake)", ylabel="share of Fake", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02),
        title=f"calibration error {error:.3f}",
    )  # fmt: skip
    _finish(axes, path, title, "upper left")


def histogram(
    labels: np.ndarray, scores: np.ndarray, threshold: float, unsure: tuple[float, float] | None, path: Path, *,
    title: str,
) -> None:  # fmt: skip
    """How many images of each class have which score; the threshold, and the Unsure band in grey."""
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(0, 1, 26)
    for label, colour, hatch in ((REAL, TRAIN_COLOUR, ""), (FAKE, VALIDATION_COLOUR, "//")):
        axes.hist(
            scores[labels == label], edges, color=colour, alpha=0.55, hatch=hatch, edgecolor="white",
            label=f"{CLASSES[label]} (n = {(labels == label).sum()})",
        )  # fmt: skip
    if unsure is not None:
        axes.axvspan(*unsure, color="grey", alpha=0.25, zorder=0, label=f"Unsure, {unsure[0]:.3f} to {unsure[1]:.3f}")
    axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label=f"threshold {threshold:.3f}")
    axes.set(xlabel="score, P(fake)", ylabel="images", xlim=(0, 1))
    axes.legend(fontsize=8)
    axes.set_title(title, fontsize=10)
    _save(figure, path, dpi=120)


def sources(rows: list[dict], path: Path, *, title: str) -> None:
    """Accuracy of each class and source, from the rows of record.of_sources, with intervals."""
    shown = rows[:40]
    figure = Figure(figsize=(6, 1.1 + 0.32 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(shown):
        fake = row["class"] == CLASSES[FAKE]
        share, low, high = ((v if fake else 1 - v) for v in (row["called_fake"], row["low"], row["high"]))
        axes.barh(place, share, color=VALIDATION_COLOUR if fake else TRAIN_COLOUR, alpha=0.7)
        axes.hlines(place, min(low, high), max(low, high), color="black", linewidth=1)
    names = [f"{row['class']}{'/' * bool(row['source'])}{row['source']} (n = {row['n']})" for row in shown]
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="Fake: share called Fake; Real: share not called Fake; 95 % intervals", xlim=(0, 1))
    more = f" (the first 40 of {len(rows)})" if len(rows) > 40 else ""
    axes.set_title(title + more, fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    _save(figure, path, dpi=120)


def transfer(
    values: np.ndarray, framed: np.ndarray, rows: list[str], columns: list[str], path: Path, *, title: str
) -> None:
    """(r, c) numbers from 0 to 1, NaN for none, as a heat map; framed (r, c) bool: the kinds that were left out."""
    figure = Figure(figsize=(1.1 * len(columns) + 2.6, 0.5 * len(rows) + 2.2), layout="constrained")
    axes = figure.subplots()
    text = [["" if np.isnan(value) else f"{value:.2f}" for value in line] for line in values]
    seaborn.heatmap(
        values, annot=text, fmt="", vmin=0, vmax=1, cmap="Blues", ax=axes, xticklabels=columns, yticklabels=rows,
        linewidths=0.5, linecolor="white", cbar=False,
    )  # fmt: skip
    for row, column in np.argwhere(framed):
        axes.add_patch(Rectangle((column, row), 1, 1, fill=False, edgecolor="black", linewidth=2.5, clip_on=False))
    axes.tick_params(axis="y", rotation=0)
    axes.tick_params(axis="x", rotation=30)
    axes.set(xlabel="judged", ylabel="left out of training")
    axes.set_title(title, fontsize=10)
    _save(figure, path, dpi=150)


def mistakes(pictures: list[tuple[Image.Image, str]], path: Path, *, title: str) -> None:
    """Pictures, each with a caption, as a grid."""
    columns = min(6, len(pictures))
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(columns * 1.9, rows * 2.2 + 0.4), layout="constrained")
    for place, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.axis("off")
        if place < len(pictures):
            picture, caption = pictures[place]
            axes.imshow(picture)
            axes.set_title(caption, fontsize=7)
    figure.suptitle(title, fontsize=10)
    _save(figure, path, dpi=120)


def _square() -> Axes:
    return Figure(figsize=(4.4, 4.2), layout="constrained").subplots()


def _finish(axes: Axes, path: Path, title: str, where: str) -> None:
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc=where)
    axes.figure.suptitle(title, fontsize=10)
    _save(axes.figure, path, dpi=120)


def _save(figure: Figure, path: Path, *, dpi: int) -> None:
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # of a name; it is shown as a box
        figure.savefig(data, dpi=dpi, format="png")
    write_atomically(path, data.getvalue())
