"""Train a detector on a folder with Train/ and Validation/, each with Real/ and Fake/.

    python train.py --data data --arch resnet50 --pretrained imagenet
    python train.py --data data --arch tf_efficientnet_lite0 --pretrained lite0.safetensors --crop 128,160 --epochs 5
    python train.py --data data --arch efficientnet_b0 --recipe robust --set jpeg=0.3 --out results/b0 --resume
    torchrun --nproc-per-node 2 train.py --data data --arch resnet50 --recipe robust --pretrained imagenet

A run folder under results/ holds config.json, batch.png, metrics.csv and curves.png (after each epoch), the checkpoints
best.safetensors (by Validation AUC) and last.safetensors, and at the end predictions.csv and confusion_matrix.png (of
the best epoch, on Validation) and metrics.json. state.pt is what --resume goes on from, from the exact batch; it goes
when the run is finished. Test is never read here; eval.py is for that.

Exit status: 0 trained; 1 the output folder failed, the loss diverged, a process was lost, or (--strict) an image cannot
be read; 2 usage, or no usable data folder; 3 the pretrained weights cannot be used; 130 Ctrl-C and 143 SIGTERM, with
the state saved.
"""

import argparse
import csv
import dataclasses
import hashlib
import importlib.util
import os
import signal
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

try:
    import numpy as np
    import torch
    from torch import nn

    import dataset
    import indexing
    import model
    from detector import Detector
    from detector.backend_torch import TorchBackend, describe_device, keep_freed_memory, pick_device
    from detector.calibration import Calibration
    from detector.checkpoint import Metadata, ModelError, read_weights
    from evaluation import calibrating, metrics
    from evaluation.scoring import PREDICTION_COLUMNS, Judged, prediction_rows, score_index
    from files import write_atomically
    from imaging.preprocess import FRAMES, Preprocess
    from names import ARCHITECTURES
    from ranks import ALONE, FirstFailedError, Ranks, join, leave, lost
    from reports import plots, tables
    from training import engine, folder, resume
    from training.cache import MODES, CacheError, pictures
    from training.engine import TrainingError
    from training.recipes import RECIPES, Recipe, with_values
    from training.run import Run, Session
except ModuleNotFoundError as absent:  # a sentence with the remedy, instead of a traceback
    from quiet import missing

    missing(absent.name)

CSV_COLUMNS = (
    "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_precision", "val_recall", "val_f1",
    "val_auc", "learning_rate", "crop", "images_per_second", "seconds",
)  # fmt: skip
VALIDATED = ("loss", "accuracy", "precision", "recall", "f1", "auc")


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    ranks = ALONE
    try:
        ranks = join()
        out = args.out or f"results/{args.arch}_{args.recipe}_{datetime.now():%Y%m%d-%H%M%S}"
        args.out = ranks.gather(out)[0]
        return run(args, Path(args.out), ranks) if args.seeds == 1 else run_seeds(args, ranks)
    except indexing.DatasetError as error:
        return fail(1 if isinstance(error, indexing.StrictError) else 2, str(error))
    except (model.NetworkError, ModelError) as error:
        return fail(3, str(error))
    except (TrainingError, CacheError) as error:
        return fail(1, str(error), ranks)  # of several processes, all or the first have it
    except torch.OutOfMemoryError:
        return fail(1, "the memory of the device is full; try half the --batch-size with --set accumulate=2")
    except FirstFailedError:
        return 1
    except RuntimeError as error:
        if not lost(error):
            raise
        return fail(1, "another process of this run is gone; the same command with --resume goes on")
    except OSError as error:
        return fail(1, f"{error.filename or args.out}: {error.strerror or error}")
    except KeyboardInterrupt:
        return fail(130, "interrupted before training began; nothing was saved")
    finally:
        leave()
        if args.out and ranks.first:
            folder.remove_if_empty(Path(args.out))  # one that nothing was written to


def run(args: argparse.Namespace, out: Path, ranks: Ranks) -> int:
    """Prepare everything, then train."""
    device = pick_device(ranks.device if args.device in ("auto", "cuda") and ranks.size > 1 else args.device)
    earlier = folder.read_json(out / "config.json") if args.resume else {}
    if args.threads or earlier:
        torch.set_num_threads(args.threads or earlier["threads"])  # the order of sums depends on it
    keep_freed_memory()
    check_files(args)
    say(f"device: {describe_device(device)}", ranks)
    with ranks.first_alone():  # the others find on the disk what it has made
        if ranks.first:
            folder.prepare_folder(out, overwrite=args.overwrite, resume=args.resume)
        data = load_data(args)
    describe_data(data, ranks)
    config = describe_run(args, data, device, ranks)
    state = resume.load_state(out) if args.resume else None
    with ranks.first_alone():
        if earlier and finished_or_other(out, earlier, config, ranks):
            return 0
    if args.frame == "face":  # a network of faces learns nothing from a picture without one
        data = dataclasses.replace(data, train=data.train.with_a_face())
    network, preprocess = prepare_model(args, device, ranks), make_preprocess(args)
    decoded = None
    with ranks.first_alone():
        if ranks.first:
            decoded = pictures(data.train, preprocess, args.cache)
            say(decoded.description)
            folder.check_space(out, network, checkpoints=2 + len(args.keep_epochs))
            if state is None:
                folder.remove_earlier_run(out)
                folder.write_json(out / "config.json", config)
    decoded = ranks.gather(decoded)[0]  # its path goes to the others, not its pictures
    metadata = Metadata(args.arch, preprocess, training=config, head=dataclasses.asdict(args.head))
    session = Session(
        out, data, decoded, args.values, metadata, device,
        ranks, args.seed, workers=default_workers(device, ranks) if args.workers is None else args.workers,
        precision=engine.pick_precision(args.precision, device), compiled=args.compile, save_every=args.save_every,
        soft=soft_targets(args, data.train),
    )  # fmt: skip
    return train(Run(network, session, state), keep_epochs=args.keep_epochs, tensorboard=args.tensorboard)


def run_seeds(args: argparse.Namespace, ranks: Ranks) -> int:
    """The same run with several seeds, each in a folder of its own, and how far they lie apart."""
    out, found = Path(args.out), {}
    for seed in range(args.seed, args.seed + args.seeds):
        one = out / f"seed_{seed}"
        try:
            status = run(argparse.Namespace(**vars(args) | {"seed": seed, "out": str(one)}), one, ranks)
        finally:
            folder.remove_if_empty(one)
        if status:
            return status
        ranks.wait()
        found[seed] = folder.read_json(one / "metrics.json")["validation"]["auc"]
    mean, spread = statistics.fmean(found.values()), statistics.stdev(found.values())
    if ranks.first:
        folder.write_json(out / "seeds.json", {"validation_auc": found, "mean": mean, "standard_deviation": spread})
        listed = ", ".join(f"{value:.4f}" for value in found.values())
        print(f"{args.seeds} seeds: Validation AUC {mean:.4f}, standard deviation {spread:.4f} ({listed})")
    return 0


def train(run: Run, *, keep_epochs: tuple[int, ...] = (), tensorboard: bool = False) -> int:
    """All epochs, keeping the best by Validation AUC, the last, and those named. Returns the exit status."""
    session, progress = run.session, run.progress
    if not run.rows and not progress.step:
        save_first_batch(session)
    else:
        say(f"going on in epoch {progress.epoch}, after {progress.step} steps of it", session.ranks)
    with engine.Interruption(session.ranks) as interruption:
        try:
            while not run.finished:
                row = run.train_epoch(interruption.check)
                measured, judged = evaluate(run.learner.best_network, session, interruption.check)
                run.keep(row | measured, judged, keep_epochs)
                report_epoch(run, tensorboard=tensorboard)
                run.next_epoch()
                interruption.check()
            report_run(run)
        except KeyboardInterrupt:
            interruption.patient = True
            if not interruption.unsafe:
                run.save_state()
            stopped = interruption.wished == signal.SIGTERM
            word, status = ("stopped by SIGTERM", 143) if stopped else ("interrupted", 130)
            where = f"in epoch {run.progress.epoch} of {session.recipe.epochs}, {run.progress.step} steps done"
            there = "from the last state that was saved" if interruption.unsafe else "there"
            return fail(status, f"{word} {where}; the same command with --resume goes on {there}", session.ranks)
    return 0


def evaluate(network: nn.Module, session: Session, check: Callable[[], None]) -> tuple[dict, Judged]:
    """Validation's part of an epoch's row, as every other door would compute it, and what is said of each image.

    check: called after each batch; what it raises ends the evaluation.
    """
    detector = Detector(TorchBackend(network, session.device), session.metadata, session.out)
    index = session.data.validation
    check = check if session.ranks.size == 1 else nothing  # several processes have different numbers of batches
    scored = score_index(
        {"network": detector}, index, workers=session.workers, desc="Validation", ranks=session.ranks, check=check
    )
    judged = scored["network"]
    if isinstance(judged, ModelError):
        raise TrainingError(f"on Validation {judged}; try a lower --lr")
    calibration = session.metadata.calibration
    row = metrics.summary(index.labels, calibration.scores(judged.logits), calibration.threshold)
    row["precision"] = row["precision"] or 0.0  # no image called Fake: 0 of 0, which a CSV cannot say
    row["loss"] = row["log_loss"]
    return {f"val_{name}": round(row[name], 6) for name in VALIDATED}, judged


def nothing() -> None:
    pass


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


def load_data(args: argparse.Namespace) -> dataset.TrainingData:
    """Train and Validation, with their faces where those are framed, or covered by the recipe."""
    data = dataset.training_data(args.data, seed=args.split_seed, strict=args.strict)
    if args.without:
        data = data.without_sources(args.without)
    if args.frame == "face":
        data = dataclasses.replace(data, validation=indexing.with_faces(data.validation))
    if args.frame == "face" or any((args.values.blackout, args.values.self_blend, args.values.part_swap)):
        data = dataclasses.replace(data, train=indexing.with_faces(data.train))
    return data


def prepare_model(args: argparse.Namespace, device: torch.device, ranks: Ranks = ALONE) -> nn.Module:
    """The network on its device, seeded. --pretrained: "imagenet", "none" (from scratch), or a weights file."""
    arch, pretrained = args.arch, args.pretrained
    engine.seed_everything(args.seed)
    network = model.create_model(arch, head=args.head)
    if pretrained == "none":
        say(f"{arch}: training from scratch, without pretrained weights", ranks)
    else:
        with ranks.first_alone():  # it downloads
            weights = model.imagenet_weights(arch) if pretrained == "imagenet" else read_pretrained(pretrained, arch)
        kept = model.load_backbone(network, weights, arch)
        say(f"{arch}: starting from {pretrained}, {'its two-way head included' if kept else 'with a new head'}", ranks)
    if args.precision == "fp64":
        network = network.double()
    return network.to(device, memory_format=torch.channels_last)


def read_pretrained(path: str, arch: str) -> dict[str, torch.Tensor]:
    try:
        return model.architecture(arch).read_file(path) or read_weights(path)
    except ValueError as error:  # a ModelError too
        raise ModelError(f"{path}: {error}") from error


def make_preprocess(args: argparse.Namespace) -> Preprocess:
    row, recipe = model.architecture(args.arch), args.values
    if recipe.preparation == "imagenet":
        mean, std, interpolation = model.IMAGENET_MEAN, model.IMAGENET_STD, "bilinear"
    else:
        mean, std, interpolation = row.mean, row.std, row.interpolation
    around = args.margin or Preprocess.margin
    size = args.size or row.size
    return Preprocess(size, recipe.fit, mean, std, interpolation, args.frame, around, args.mirror, args.upright)


def default_workers(device: torch.device, ranks: Ranks) -> int:
    """On a CPU the network itself takes all cores; beside a GPU, decoding wants them."""
    return 0 if device.type == "cpu" else min(8, max(1, (os.cpu_count() or 1) // ranks.size))


def check_files(args: argparse.Namespace) -> None:
    """What fails cheaply fails before the data are indexed: the weights to start from, the teacher's table."""
    if args.pretrained not in ("none", "imagenet"):
        model.load_backbone(
            model.create_model(args.arch, head=args.head), read_pretrained(args.pretrained, args.arch), args.arch
        )
    if args.teacher:
        open(args.teacher).close()


def soft_targets(args: argparse.Namespace, index: indexing.Index) -> np.ndarray | None:
    """(n,) float32: between the label and what the teacher says, by --set distil; the label where it says nothing.

    Raises TrainingError where the teacher's file is no such table.
    """
    if not args.teacher:
        return None
    try:
        with open(args.teacher, newline="", encoding="utf-8") as file:
            scores = {row["sha256"]: float(row["score"]) for row in csv.DictReader(file)}
    except (KeyError, ValueError, TypeError) as error:
        raise TrainingError(f"{args.teacher}: not a CSV file with the columns sha256 and score") from error
    if not all(0 <= score <= 1 for score in scores.values()):
        raise TrainingError(f"{args.teacher}: a score is not from 0 to 1")
    labels = index.labels
    said = np.array([scores.get(content, label) for content, label in zip(index.hashes, labels, strict=True)])
    if not scores.keys() & set(index.hashes):
        raise TrainingError(f"{args.teacher} says nothing of the training images")
    return ((1 - args.values.distil) * labels + args.values.distil * said).astype(np.float32)


def describe_data(data: dataset.TrainingData, ranks: Ranks) -> None:
    for index in dict.fromkeys((data.train, data.validation)):
        say(index.summary(), ranks)
        if index.left_out:
            say(indexing.list_left_out(index.left_out), ranks)
    for note in data.notes:
        say(note, ranks)


def describe_run(args: argparse.Namespace, data: dataset.TrainingData, device: torch.device, ranks: Ranks) -> dict:
    """config.json, and what each checkpoint says of how it came to be.

    Its `settings` are what decides on the result: a run goes on only where they are the same.
    """
    parts = (("Train", data.train), ("Validation", data.validation))
    return {
        "arguments": {name: value for name, value in vars(args).items() if name not in ("values", "head")},
        "settings": {
            "arch": args.arch,
            "head": dataclasses.asdict(args.head),
            "pretrained": fingerprint(args.pretrained),
            "recipe": dataclasses.asdict(args.values),
            "preprocess": make_preprocess(args).to_dict(),
            "precision": args.precision,
            "teacher": fingerprint(args.teacher or "none"),
            "seed": args.seed,
            "data": {name: index.digest for name, index in parts},
        },
        "recipe": dataclasses.asdict(args.values),
        "preprocess": make_preprocess(args).to_dict(),
        "split_seed": args.split_seed,
        "data": {
            name: {
                "n": len(index.samples),
                "left_out": len(index.left_out),
                "without_face": None if index.faces is None else len(index.faceless),
                "digest": index.digest,
                "sources": count_sources(index),
            }
            for name, index in parts
        }
        | {"flat_digest": data.flat_digest, "notes": list(data.notes)},
        "device": describe_device(device),
        "precision": str(engine.pick_precision(args.precision, device)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "processes": ranks.size,
        "git_commit": folder.git_commit(),
        "versions": folder.versions(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def count_sources(index: indexing.Index) -> dict[str, int]:
    """Images of each class and source: {"Real/phone": 12, "Fake/swaps": 9, "Fake": 3}, the last three of no source."""
    return dict(Counter(one.name for one in index.samples))


def fingerprint(pretrained: str) -> str:
    """What pretrained weights are, wherever their file lies."""
    if pretrained in ("none", "imagenet") or not os.path.isfile(pretrained):
        return pretrained
    with open(pretrained, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def finished_or_other(out: Path, earlier: dict, config: dict, ranks: Ranks) -> bool:
    """Whether the run in the folder is finished already. Raises TrainingError when it is another run."""
    differing = folder.differences(earlier.get("settings", {}), config["settings"])
    if differing:
        raise TrainingError(f"{out} holds another run ({'; '.join(differing[:5])}); choose another --out")
    for name in ("versions", "device", "precision", "processes"):
        if earlier.get(name) != config[name]:
            text = f"note: {name} {earlier.get(name)} then, {config[name]} now; the last digits may come out otherwise"
            say(text, ranks)
    if (out / "metrics.json").exists():
        say(f"{out} is finished; kept", ranks)
        return True
    return False


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="folder with Train/ and Validation/ (or with Real/ and Fake/: then it is split)")
    add(
        "--without",
        action="append",
        default=[],
        metavar="CLASS/SOURCE",
        help="leave a sub-folder out of Train and Validation: Fake/stylegan2, say; may be given several times",
    )
    add("--arch", "--model_name", type=str.lower, choices=ARCHITECTURES, default="efficientnet_b0")
    add("--pretrained", default="none", metavar="imagenet|none|FILE", help="weights to start from (default: none)")
    add(
        "--head",
        type=int,
        default=0,
        metavar="UNITS",
        help="a dense layer before the last one: 128, say (default: none)",
    )
    add("--teacher", metavar="FILE", help="CSV of sha256,score: what a stronger model says of the training images")
    add("--dropout", type=float, default=0.0, help="of the head, 0 to 0.9 (default: none but the network's own)")
    add("--frame", choices=FRAMES, default="whole", help="whole: the picture; face: the square around its largest face")
    add("--margin", type=margin, help=f"side of that square, in those of the face's box (default: {Preprocess.margin})")
    add("--size", type=side, help="network input, pixels (default: the architecture's)")
    add("--upright", action="store_true", help="with --frame face: each face is turned as if its head were not tilted")
    add("--mirror", action="store_true", help="judge each image and its mirror image, and take the mean: twice as long")

    add("--recipe", choices=list(RECIPES), default="indomain", help="how to train; each flag below changes a value")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="any value of the recipe: jpeg=0.3, ema=0")
    for flag, name, text in RECIPE_FLAGS:
        add(flag, dest=name, metavar=name.split("_")[-1].upper(), help=text)

    add("--out", help="run folder (default: results/<arch>_<recipe>_<time>)")
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument("--overwrite", action="store_true", help="replace an earlier run in --out")
    kept.add_argument("--resume", action="store_true", help="go on with the run in --out; begin it if there is none")
    add("--save-every", type=resume.cadence, default="10m", help="state, in steps (500) or minutes (default: 10m)")
    add("--keep-epochs", type=epoch_list, default=(), metavar="1,3,5,8", help="also keep these epochs' checkpoints")
    add("--seed", type=whole(2**32 - 1), default=0)
    add("--seeds", type=positive(int), default=1, help="so many runs, seeded --seed, --seed + 1 ...; mean and spread")
    add("--cache", choices=MODES, default="auto", help="decoded pictures: in memory, in a file, or decoded each time")
    add("--workers", type=whole(256), help="loading processes (default: 0 on a CPU, up to 8 beside a GPU)")
    add("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1 ...")
    add("--threads", type=positive(int), help="of the CPU (default: all cores, or those of the run that goes on)")
    add("--precision", choices=engine.PRECISIONS, default="auto", help="auto: bf16 or fp16 on CUDA, fp32 on a CPU")
    add("--compile", action="store_true", help="torch.compile: a minute or two to build, then faster steps")
    add("--tensorboard", action="store_true", help="also write the curves for TensorBoard (pip install tensorboard)")
    add("--strict", action="store_true", help="an image that cannot be read is an error")
    args = parser.parse_args(argv)
    args.split_seed = args.seed  # of a folder without splits; --seeds must not change what is trained on
    try:
        args.values, args.head = recipe_of(args), model.Head(hidden=args.head, dropout=args.dropout)
        row = model.architecture(args.arch)
        row.check_sizes(args.arch, args.size or row.size, *args.values.crops)
        if args.keep_epochs and max(args.keep_epochs) > args.values.epochs:
            raise ValueError(f"--keep-epochs names epoch {max(args.keep_epochs)} of {args.values.epochs}")
        if args.margin and args.frame != "face":
            raise ValueError("--margin needs --frame face")
    except ValueError as error:
        parser.error(str(error))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and ":" in args.device:
        parser.error(f"--device {args.device} is one device; under torchrun each process takes its own")
    if args.values.trained == "probe":
        refuse_with_probe(parser, args)
    if args.tensorboard and importlib.util.find_spec("tensorboard") is None:
        parser.error("--tensorboard needs the package tensorboard (pip install tensorboard)")
    return args


def refuse_with_probe(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """What a head that is fitted at one go cannot be combined with."""
    if args.head.hidden or args.head.dropout:
        parser.error("a probe is one linear layer; leave --head and --dropout out")
    if args.teacher:
        parser.error("a probe learns labels; leave --teacher out")
    if args.pretrained == "none":
        parser.error("a probe reads a backbone that has learned something; give --pretrained")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        parser.error("a probe is fitted by one process; start it without torchrun")


RECIPE_FLAGS = (
    ("--epochs", "epochs", "how often each image is seen"),
    ("--batch-size", "batch_size", "images of a batch, over all processes together"),
    ("--lr", "learning_rate", "learning rate"),
    ("--optimiser", "optimiser", "adam or adamw"),
    ("--fit", "fit", "crop: native pixels; resize: the whole image squeezed"),
    ("--crop", "crops", "side of a training image, pixels (default: --size); 128,160,224 grows over the epochs"),
)


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe with the values that were given as flags. Raises ValueError with a sentence for people."""
    given = {name: getattr(args, name) for _, name, _ in RECIPE_FLAGS if getattr(args, name) is not None}
    for text in args.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text}: expected NAME=VALUE")
        given[name] = value
    return with_values(RECIPES[args.recipe], given)


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


def margin(text: str) -> float:
    if not 0.5 <= float(text) <= 3:
        raise argparse.ArgumentTypeError(f"must be from 0.5 to 3, not {text}")
    return float(text)


def epoch_list(text: str) -> tuple[int, ...]:
    return tuple(sorted({positive(int)(part) for part in text.split(",") if part.strip()}))


def say(message: str, ranks: Ranks = ALONE) -> None:
    if ranks.first:
        print(message, file=sys.stderr, flush=True)


def fail(status: int, message: str, ranks: Ranks = ALONE) -> int:
    say(f"train.py: error: {message}", ranks)
    return status


if __name__ == "__main__":
    sys.exit(main())
