"""Train a detector on a folder with Train/ and Validation/, each with Real/ and Fake/.

    python train.py --data data --arch resnet50 --pretrained imagenet
    python train.py --data data --arch tf_efficientnet_lite0 --pretrained lite0.safetensors --crop 160 --epochs 5
    python train.py --data data --arch efficientnet_b0 --recipe original --keep-epochs 1,3,5,8

A run folder under results/ holds config.json, batch.png, metrics.csv and curves.png (after each epoch), the checkpoints
best.safetensors (by Validation AUC) and last.safetensors, and at the end predictions.csv and confusion_matrix.png (of
the best epoch, on Validation) and metrics.json. Test is never read here; eval.py is for that.

Exit status: 0 trained; 1 the output folder failed, the loss diverged, or (--strict) an image cannot be read; 2 usage,
or no usable data folder; 3 the pretrained weights cannot be used; 130 Ctrl-C, with a checkpoint left.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import shutil
import subprocess  # noqa: S404
import sys
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

import dataset
import model
from detector import Detector
from detector.backend_torch import TorchBackend, describe_device, pick_device
from detector.checkpoint import Metadata, ModelError, read_weights, save_checkpoint, write_atomically
from evaluation import metrics, plots, report
from evaluation.scoring import score_index
from imaging.preprocess import FITS, FRAMES, Preprocess
from names import ARCHITECTURES
from training import engine
from training.augment import AugmentedDataset, TrainTransform
from training.recipes import RECIPES, Recipe

CSV_COLUMNS = (
    "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_precision", "val_recall", "val_f1",
    "val_auc", "learning_rate", "images_per_second", "seconds",
)  # fmt: skip
RUN_FILES = ("*.safetensors", "*.png", "*.csv", "config.json", ".*.safetensors.*")


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    out = Path(args.out or f"results/{args.arch}_{args.recipe}_{datetime.now():%Y%m%d-%H%M%S}")
    try:
        return run(args, out)
    except dataset.DatasetError as error:
        return fail(1 if isinstance(error, dataset.StrictError) else 2, str(error))
    except (model.NetworkError, ModelError) as error:
        return fail(3, str(error))
    except engine.TrainingError as error:
        return fail(1, str(error))
    except OSError as error:
        return fail(1, f"{error.filename or out}: {error.strerror or error}")
    except KeyboardInterrupt:
        return fail(130, "interrupted before training began; nothing was saved")
    finally:
        with contextlib.suppress(OSError):
            out.rmdir()  # only an empty folder goes: one that nothing was written to


def run(args: argparse.Namespace, out: Path) -> int:
    """Prepare everything, then train."""
    recipe = override(RECIPES[args.recipe], args)
    device = pick_device(args.device)
    say(f"device: {describe_device(device)}")
    prepare_folder(out, overwrite=args.overwrite)
    data = dataset.training_data(args.data, seed=args.seed, strict=args.strict)
    if args.frame == "face":
        framed = {name: dataset.with_faces(getattr(data, name)) for name in ("train", "validation")}
        data = dataclasses.replace(data, **framed)
    describe_data(data)
    engine.seed_everything(args.seed)
    network = prepare_model(args.arch, args.pretrained, device)
    check_space(out, network, checkpoints=2 + len(args.keep_epochs))
    preprocess = make_preprocess(args.arch, recipe, args.size, args.frame)
    config = describe_run(args, recipe, preprocess, data, device)
    remove_earlier_run(out)
    write_json(out / "config.json", config)
    workers = default_workers(device) if args.workers is None else args.workers
    session = Session(
        out, data, recipe, Metadata(args.arch, preprocess, training=config), device, workers, args.seed,
        crop=args.crop or preprocess.size,
    )  # fmt: skip
    return train(network, session, keep_epochs=args.keep_epochs)


@dataclasses.dataclass(frozen=True)
class Session:
    """What stays the same from one epoch to the next."""

    out: Path
    data: dataset.TrainingData
    recipe: Recipe
    metadata: Metadata  # of the checkpoints
    device: torch.device
    workers: int
    seed: int
    crop: int  # side of a training image, pixels

    def loader(self, epoch: int) -> torch.utils.data.DataLoader:
        """The augmented training images of an epoch, in its random order."""
        images = AugmentedDataset(
            dataset.DeepFakeDataset(self.data.train),
            TrainTransform(self.metadata.preprocess, crop=self.crop, flip=self.recipe.flip),
            seed=self.seed,
            epoch=epoch,
        )
        size = self.recipe.batch_size
        order = engine.epoch_order(len(images), seed=self.seed, epoch=epoch, batch_size=size)
        return dataset.make_loader(images, batch_size=size, workers=self.workers, sampler=order)

    def save(self, name: str, network: nn.Module, facts: dict) -> Path:
        path = self.out / f"{name}.safetensors"
        metadata = dataclasses.replace(self.metadata, training=self.metadata.training | facts)
        save_checkpoint(path, network.state_dict(), metadata)
        return path


def prepare_model(arch: str, pretrained: str, device: torch.device) -> nn.Module:
    """The network on its device. pretrained: "imagenet", "none" (from scratch), or a weights file."""
    network = model.create_model(arch)
    if pretrained == "none":
        say(f"{arch}: training from scratch, without pretrained weights")
    else:
        weights = model.imagenet_weights(arch) if pretrained == "imagenet" else read_pretrained(pretrained)
        kept = model.load_backbone(network, weights, arch)
        say(f"{arch}: starting from {pretrained}, {'its two-way head included' if kept else 'with a new head'}")
    return network.to(device, memory_format=torch.channels_last)


def read_pretrained(path: str) -> dict[str, torch.Tensor]:
    try:
        return read_weights(path)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def train(network: nn.Module, session: Session, *, keep_epochs: tuple[int, ...] = ()) -> int:
    """All epochs, keeping the best by Validation AUC, the last, and those named. Returns the exit status."""
    optimiser = engine.make_optimiser(network, session.recipe)
    save_first_batch(session)
    rows, best = [], None
    with engine.Interruption() as interruption:
        try:
            for epoch in range(1, session.recipe.epochs + 1):
                row, logits = train_epoch(network, optimiser, session, epoch, interruption.check)
                facts = {"epoch": epoch, "validation": row}
                session.save("last", network, facts)
                rows.append(row)
                if best is None or row["val_auc"] > best[0]["val_auc"]:
                    best = row, logits
                    session.save("best", network, facts)
                if epoch in keep_epochs:
                    session.save(f"epoch_{epoch}", network, facts)
                report_epoch(rows, session)
                interruption.check()
            report_run(rows, *best, session)
        except KeyboardInterrupt:
            last = session.out / "last.safetensors"
            if not last.exists():
                session.save("last", network, {"interrupted": True})
            done = f"{len(rows)} of {session.recipe.epochs} epochs"
            return fail(130, f"interrupted after {done}; last checkpoint: {last}")
    return 0


def train_epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    session: Session,
    epoch: int,
    check: Callable[[], None],
) -> tuple[dict, np.ndarray]:
    """One pass over Train, then Validation: the row of metrics.csv, and Validation's logits."""
    loader = session.loader(epoch)
    desc = f"epoch {epoch}/{session.recipe.epochs}"
    result = engine.train_epoch(
        network, loader, optimiser, device=session.device, recipe=session.recipe,
        first_step=(epoch - 1) * len(loader), steps_per_epoch=len(loader), desc=desc, check=check,
    )  # fmt: skip
    row, logits = evaluate(network, session)
    return {
        "epoch": epoch,
        "train_loss": round(result.loss, 6),
        "train_accuracy": round(result.accuracy, 6),
        **{f"val_{name}": round(row[name], 6) for name in ("accuracy", "precision", "recall", "f1", "auc")},
        "val_loss": round(row["log_loss"], 6),
        "learning_rate": float(f"{result.learning_rate:.6g}"),
        "images_per_second": round(result.images_per_second, 1),
        "seconds": round(result.seconds, 1),
    }, logits


def evaluate(network: nn.Module, session: Session) -> tuple[dict, np.ndarray]:
    """Metrics of a network on Validation, as every other door would compute them, and its logits there."""
    detector = Detector(TorchBackend(network, session.device), session.metadata, session.out)
    index = session.data.validation
    logits = score_index({"network": detector}, index, workers=session.workers, desc="Validation")["network"]
    if isinstance(logits, ModelError):
        raise engine.TrainingError(f"on Validation {logits}; try a lower --lr")
    calibration = session.metadata.calibration
    row = metrics.summary(index.labels, calibration.scores(logits), calibration.threshold)
    return row | {"precision": row["precision"] or 0.0}, logits  # no image called Fake: 0 of 0, which a CSV cannot say


def report_epoch(rows: list[dict], session: Session) -> None:
    row = rows[-1]
    write_atomically(session.out / "metrics.csv", report.to_csv(rows, CSV_COLUMNS))
    plots.curves(rows, session.out / "curves.png", title=f"{session.metadata.arch}: {session.out.name}")
    print(
        f"epoch {row['epoch']}/{session.recipe.epochs}:"
        f"  Train loss {row['train_loss']:.4f} accuracy {row['train_accuracy']:.4f}"
        f"  Validation loss {row['val_loss']:.4f} accuracy {row['val_accuracy']:.4f} AUC {row['val_auc']:.4f}"
        f"  {row['images_per_second']:.0f} img/s  {row['seconds']:.0f} s",
        flush=True,
    )


def report_run(rows: list[dict], best: dict, logits: np.ndarray, session: Session) -> None:
    """What the best epoch does on Validation. metrics.json comes last: it says that the run is finished."""
    index, calibration, out = session.data.validation, session.metadata.calibration, session.out
    scores = calibration.scores(logits)
    low, high = metrics.auc_interval(index.labels, scores)
    counts = metrics.confusion(index.labels, scores, calibration.threshold)
    title = f"{session.metadata.arch}, Validation, epoch {best['epoch']}"
    plots.confusion_matrix(counts, out / "confusion_matrix.png", title=title)
    write_atomically(out / "predictions.csv", report.predictions_csv(index, logits, calibration))
    numbers = {
        "best_epoch": best["epoch"],
        "epochs": len(rows),
        "validation": metrics.summary(index.labels, scores, calibration.threshold) | {"auc_95": [low, high]},
        "confusion_matrix": counts.tolist(),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }
    write_json(out / "metrics.json", numbers)
    print(f"best epoch {best['epoch']}: Validation AUC {best['val_auc']:.4f} (95 % interval {low:.4f} to {high:.4f})")
    print(f"checkpoint: {out / 'best.safetensors'}")


def save_first_batch(session: Session) -> None:
    """batch.png: the first augmented batch, as the network will see it."""
    pixels, labels = next(iter(session.loader(epoch=1)))
    preprocess = session.metadata.preprocess
    shown = pixels.permute(0, 2, 3, 1).numpy() * np.array(preprocess.std) + np.array(preprocess.mean)
    title = "the first training batch, augmented, before normalisation"
    plots.batch(shown, labels.numpy(), session.out / "batch.png", title=title)


def make_preprocess(arch: str, recipe: Recipe, size: int | None, frame: str) -> Preprocess:
    row = model.architecture(arch)
    if recipe.preparation == "imagenet":
        mean, std, interpolation = model.IMAGENET_MEAN, model.IMAGENET_STD, "bilinear"
    else:
        mean, std, interpolation = row.mean, row.std, row.interpolation
    return Preprocess(size or row.size, recipe.fit, mean, std, interpolation, frame)


def override(recipe: Recipe, args: argparse.Namespace) -> Recipe:
    """The recipe with the values that were given as flags."""
    given = {
        "epochs": args.epochs,
        "batch_size": args.batch_size,
        "learning_rate": args.lr,
        "optimiser": args.optimiser,
        "fit": args.fit,
    }
    return dataclasses.replace(recipe, **{name: value for name, value in given.items() if value is not None})


def prepare_folder(out: Path, *, overwrite: bool) -> None:
    """Make the run folder and write to it, so that a folder that fails does so before hours of training."""
    if out.is_dir() and any(out.iterdir()):
        if not overwrite:
            raise engine.TrainingError(f"{out} is not empty; choose another --out, or add --overwrite")
        if not (out / "config.json").is_file():
            raise engine.TrainingError(f"{out} holds no earlier run; nothing in it is overwritten")
    out.mkdir(parents=True, exist_ok=True)
    probe = out / "write-test"
    write_atomically(probe, bytes(2**20))
    probe.unlink()


def remove_earlier_run(out: Path) -> None:
    """Called when all that can fail early has not failed. metrics.json goes first: what is left is no finished run."""
    for pattern in ("metrics.json", *RUN_FILES):
        for path in out.glob(pattern):
            path.unlink()


def check_space(out: Path, network: nn.Module, *, checkpoints: int) -> None:
    need = checkpoints * sum(tensor.nbytes for tensor in network.state_dict().values()) + 2**24
    free = shutil.disk_usage(out).free
    if free < need:
        text = f"{out}: the checkpoints need {need / 1e6:.0f} MB; {free / 1e6:.0f} MB are free"
        raise engine.TrainingError(text)


def default_workers(device: torch.device) -> int:
    """On a CPU the network itself takes all cores; beside a GPU, decoding wants them."""
    return 0 if device.type == "cpu" else min(8, os.cpu_count() or 1)


def describe_data(data: dataset.TrainingData) -> None:
    for index in dict.fromkeys((data.train, data.validation)):
        say(index.summary())
        if index.left_out:
            say(dataset.list_left_out(index.left_out))
    for note in data.notes:
        say(note)


def describe_run(
    args: argparse.Namespace, recipe: Recipe, preprocess: Preprocess, data: dataset.TrainingData, device: torch.device
) -> dict:
    """config.json, and what each checkpoint says of how it came to be."""
    packages = ("torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn")
    return {
        "arguments": vars(args),
        "recipe": dataclasses.asdict(recipe),
        "preprocess": preprocess.to_dict(),
        "seed": args.seed,
        "data": {
            name: {
                "n": len(index.samples),
                "left_out": len(index.left_out),
                "without_face": None if index.faces is None else len(index.faceless),
                "digest": index.digest,
            }
            for name, index in (("Train", data.train), ("Validation", data.validation))
        }
        | {"flat_digest": data.flat_digest, "notes": list(data.notes)},
        "device": describe_device(device),
        "threads": torch.get_num_threads(),
        "git_commit": git_commit(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


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


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="folder with Train/ and Validation/ (or with Real/ and Fake/: then it is split)")
    add("--arch", "--model_name", type=str.lower, choices=ARCHITECTURES, default="efficientnet_b0")
    add(
        "--recipe",
        choices=list(RECIPES),
        default="indomain",
        help="how to train; the flags below override single values",
    )
    add("--pretrained", default="none", metavar="imagenet|none|FILE", help="weights to start from (default: none)")
    add("--out", help="run folder (default: results/<arch>_<recipe>_<time>)")
    add("--overwrite", action="store_true", help="replace an earlier run in --out")
    add("--epochs", type=positive(int))
    add("--batch-size", type=positive(int))
    add("--lr", type=positive(float), help="learning rate")
    add("--optimiser", choices=("adam", "adamw"))
    add("--fit", choices=FITS, help="crop: native pixels; resize: the whole image squeezed")
    add("--frame", choices=FRAMES, default="whole", help="whole: the picture; face: the square around its largest face")
    add("--size", type=side, help="network input, pixels (default: the architecture's)")
    add("--crop", type=side, help="side of a training image, pixels (default: --size); a smaller one trains faster")
    add("--keep-epochs", type=epoch_list, default=(), metavar="1,3,5,8", help="also keep these epochs' checkpoints")
    add("--seed", type=whole(2**32 - 1), default=0)
    add("--workers", type=whole(256), help="decoding processes (default: 0 on a CPU, up to 8 beside a GPU)")
    add("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1 ...")
    add("--strict", action="store_true", help="an image that cannot be read is an error")
    return parser.parse_args(argv)


def positive(kind: type):
    def number(text: str):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
        return value

    return number


def whole(most: int):
    def number(text: str) -> int:
        if not 0 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be from 0 to {most}, not {text}")
        return int(text)

    return number


def side(text: str) -> int:
    if not 16 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"must be from 16 to 1024 pixels, not {text}")
    return int(text)


def epoch_list(text: str) -> tuple[int, ...]:
    return tuple(sorted({positive(int)(part) for part in text.split(",") if part.strip()}))


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def fail(status: int, message: str) -> int:
    say(f"train.py: error: {message}")
    return status


if __name__ == "__main__":
    sys.exit(main())
