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
import dataclasses
import signal
import statistics
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

try:
    import torch
    from torch import nn

    import indexing
    import model
    from detector import Detector
    from detector.backend_torch import TorchBackend, describe_device, pick_device
    from detector.checkpoint import Metadata, ModelError
    from evaluation import metrics
    from evaluation.scoring import Judged, score_index
    from memory import keep_freed_memory
    from names import VALIDATED
    from ranks import ALONE, FirstFailedError, Ranks, join, leave, lost
    from training import engine, folder, resume
    from training.cache import CacheError, pictures
    from training.describing import describe_data, describe_run, finished_or_other
    from training.engine import TrainingError
    from training.flags import parse_arguments
    from training.preparing import check_files, default_workers, load_data, make_preprocess, prepare_model, soft_targets
    from training.reporting import report_epoch, report_run, save_first_batch
    from training.run import Run, Session
except ModuleNotFoundError as absent:  # a sentence with the remedy, instead of a traceback
    from quiet import missing

    missing(absent.name)


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv, __doc__)
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
    ranks.say(f"device: {describe_device(device)}")
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
            ranks.say(decoded.description)
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
        session.ranks.say(f"going on in epoch {progress.epoch}, after {progress.step} steps of it")
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


def fail(status: int, message: str, ranks: Ranks = ALONE) -> int:
    ranks.say(f"train.py: error: {message}")
    return status


if __name__ == "__main__":
    sys.exit(main())
