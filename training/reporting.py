"""What a run writes and prints: each epoch's row and curves, the first batch, and the end."""

from pathlib import Path

from detector.calibration import Calibration
from evaluation import calibrating, metrics
from evaluation.scoring import PREDICTION_COLUMNS, prediction_rows
from files import write_atomically
from reports import plots, tables
from training import folder, resume
from training.run import Run, Session

CSV_COLUMNS = (
    "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_precision", "val_recall", "val_f1",
    "val_auc", "learning_rate", "crop", "images_per_second", "seconds",
)  # fmt: skip


def report_epoch(run: Run, *, tensorboard: bool) -> None:
    session, row = run.session, run.rows[-1]
    if not session.ranks.first:
        return
    write_atomically(session.out / "metrics.csv", tables.to_csv(run.rows, CSV_COLUMNS))
    plots.curves(run.rows, session.out / "curves.png", title=f"{session.metadata.arch}: {session.out.name}")
    if tensorboard:
        add_to_tensorboard(row, session.out / "tensorboard")
    print(
        f"epoch {row['epoch']}/{session.recipe.epochs}:"
        f"  Train loss {row['train_loss']:.4f} accuracy {row['train_accuracy']:.4f}"
        f"  Validation loss {row['val_loss']:.4f} accuracy {row['val_accuracy']:.4f} AUC {row['val_auc']:.4f}"
        f"  {row['images_per_second']:.0f} img/s  {row['seconds']:.0f} s",
        flush=True,
    )


def report_run(run: Run) -> None:
    """What the best epoch does on Validation. metrics.json comes last: it says that the run is finished."""
    session, rows, (best, judged) = run.session, run.rows, run.best
    if not session.ranks.first:
        return
    index, out = session.data.validation, session.out
    calibration = calibrating.of_index(index, judged.logits)
    scores = calibration.scores(judged.logits)
    low, high = metrics.auc_interval(*metrics.decided(index.labels, scores))
    counts = metrics.confusion(index.labels, scores, calibration.threshold)
    title = f"{session.metadata.arch}, Validation, epoch {best['epoch']}"
    plots.confusion_matrix(counts, out / "confusion_matrix.png", title=title)
    predictions = prediction_rows(index, judged, calibration)
    write_atomically(out / "predictions.csv", tables.to_csv(predictions, PREDICTION_COLUMNS))
    numbers = {
        "best_epoch": best["epoch"],
        "epochs": len(rows),
        "validation": calibrating.numbers(index.labels, judged, calibration) | {"auc_95": [low, high]},
        "calibration": calibration.to_dict(),
        "confusion_matrix": counts.tolist(),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }
    folder.write_json(out / "metrics.json", numbers)
    (out / resume.NAME).unlink(missing_ok=True)
    early = f", stopped after {len(rows)} of {session.recipe.epochs}" if len(rows) < session.recipe.epochs else ""
    auc = f"{best['val_auc']:.4f} (95 % interval {low:.4f} to {high:.4f})"
    print(f"best epoch {best['epoch']}{early}: Validation AUC {auc}")
    print(f"calibrated on Validation: {described(calibration, numbers['validation'])}")
    print(f"checkpoint: {out / 'best.safetensors'}")


def described(calibration: Calibration, validation: dict) -> str:
    """The threshold and the Unsure band, and how many images of Validation are inside it."""
    text = f"threshold {calibration.threshold:.3f}, "
    if calibration.band is None:
        return text + "no score is Unsure"
    low, high = calibration.band
    return text + f"Unsure from {low:.3f} to {high:.3f} ({100 * validation['unsure']:.0f} % of the images)"


def add_to_tensorboard(row: dict, where: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(where, purge_step=row["epoch"]) as writer:
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name.replace("_", "/", 1), value, row["epoch"])


def save_first_batch(session: Session) -> None:
    """batch.png: the first augmented batch, as the network will see it."""
    batches = session.batches(1)[:1]
    if session.ranks.first:
        pixels, labels = next(iter(session.loader(1, batches)))
        title = "the first training batch, augmented, before normalisation"
        plots.batch(pixels.numpy() / 255, labels.round().long().numpy(), session.out / "batch.png", title=title)
