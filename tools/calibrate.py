"""Choose a detector's temperature, offset, thresholds and Unsure band on Validation images, and store them with it.

    python -m tools.calibrate weights.pth --data data/Validation
    python -m tools.calibrate best.onnx --data data --out calibrated.onnx
    python -m tools.calibrate best.safetensors --data data --mirror     # judges mirror images too: better, half as fast
    python -m tools.calibrate best.onnx --data data --prior 0.01        # and what scores mean where 1 in 100 is fake
    python -m tools.calibrate best.onnx --data data --left-out results/transfer/left_out.csv

train.py has done this for its own checkpoints. --data is a folder with Real/ and Fake/, or one with Validation/, which
is then taken: images like those that will be judged, on which the detector was not trained. The result is a new file,
MODEL with _calibrated in its name by default: .onnx of .onnx, and else .safetensors.

Exit status: 0 calibrated; 1 the file cannot be written; 2 usage, or no usable data folder; 3 the model cannot be used;
130 Ctrl-C.
"""

import argparse
import dataclasses
import sys
from collections import Counter
from pathlib import Path

import indexing
from detector import Metadata, ModelError, load
from detector.calibration import HALF, Calibration
from detector.prior import in_words, prior_share, with_prior
from detector.rewriting import beside, check_name, with_metadata
from evaluation import calibrating, metrics
from evaluation.choosing import validation_images
from evaluation.left_out import CONFIDENT, LeftOut, read
from evaluation.scoring import Judged, score_index
from model import MODELS
from names import percent
from tools.ending import ended, naming


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    return ended("calibrate", lambda: calibrate(args), out=args.out or args.model)


def calibrate(args: argparse.Namespace) -> None:
    """Load, judge Validation, fit, write the file and print what changed."""
    with naming(args.model):
        out = Path(args.out) if args.out else beside(Path(args.model), "calibrated")
        check_name(out, Path(args.model), overwrite=args.overwrite)
        detector = load(args.model, arch=args.arch, device=args.device, mirror=args.mirror, upright=args.upright)
        if args.upright and detector.metadata.preprocess.frame != "face":
            raise ValueError(f"--upright: {args.model} judges whole pictures, not faces")
        index = validation_images(Path(args.data), detector)
        judged = score_index({"model": detector}, index, workers=args.workers)["model"]
        if isinstance(judged, ModelError):
            raise judged
        left_out = LeftOut.of_fakes(read(Path(args.left_out))) if args.left_out else None
        metadata = calibrated(detector.metadata, index, judged, balance=args.balance, left_out=left_out)
        with_metadata(args.model, metadata, out)
    print_change(detector.metadata, metadata, index, judged.logits, prior=args.prior)
    print(out)


def calibrated(
    metadata: Metadata,
    index: indexing.Index,
    judged: Judged,
    *,
    balance: str,
    left_out: LeftOut | None = None,
) -> Metadata:
    calibration = calibrating.of_index(index, judged.logits, balance=balance, left_out=left_out)
    calibration = dataclasses.replace(calibration, evidence=metadata.calibration.evidence)
    counts = Counter(one.name for one in index.samples)
    facts = {
        "calibrated": calibrating.numbers(index.labels, judged, calibration),
        "calibrated_on": {"n": len(index.samples), "digest": index.digest, "sources": dict(counts)},
    }
    facts["left_out"] = {} if left_out is None else left_out.told(calibration)  # not those of an earlier band
    return dataclasses.replace(metadata, calibration=calibration, training=metadata.training | facts)


def print_meaning(calibration: Calibration, prior: float) -> None:
    """What some scores mean where another share of the pictures than half is fake."""
    scores = {percent(score): score for score in sorted({0.1, HALF, 0.9, 0.99, calibration.lowest_fake})}
    print(f"where {in_words(prior)} pictures is fake, a score of")
    for told, score in scores.items():
        print(f"  {told:>5} means that {percent(with_prior(score, prior))} of such pictures are")


def print_change(before: Metadata, after: Metadata, index: indexing.Index, logits, *, prior: float | None) -> None:
    """What is stored now, and what it does to these images."""
    errors = [
        metrics.calibration_error(*metrics.decided(index.labels, metadata.calibration.scores(logits)))
        for metadata in (before, after)
    ]
    found, numbers = after.calibration, after.training["calibrated"]
    print(f"temperature {found.temperature:.3f}, offset {found.offset:+.3f}")
    print(f"calibration error here {errors[0]:.3f} before, {errors[1]:.3f} after")
    print(f"one half divides Fake from Real: balanced accuracy {numbers['balanced_accuracy']:.3f} here")
    best, accuracy = numbers["best_threshold"], numbers["best_balanced_accuracy"]
    print(f"balanced accuracy alone would have chosen {best:.3f}, with {accuracy:.3f}")
    for rate, threshold in ((1, found.threshold_fpr_1), (5, found.threshold_fpr_5)):
        told = "no threshold" if threshold is None else f"threshold {threshold:.3f}"
        print(f"{rate} % of Real called Fake: {told}")
    if found.band is None:
        print("no score is Unsure")
    else:
        low, high = found.band
        print(f"Unsure from {low:.3f} to {high:.3f}: {100 * numbers['unsure']:.0f} % of these images")
    for group, told in after.training["left_out"].items():
        print(
            f"{group}, left out of training (n = {told['n']}): {told['confident_mistakes']:.0%} score below"
            f" {CONFIDENT}, {told['called_real']:.0%} called Real, {told['called_fake']:.0%} Fake"
        )
    if prior is not None:
        print_meaning(found, prior)
    for note in (*found.notes(), *calibrating.doubts(index.labels, logits)):
        print(f"note: {note}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.calibrate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="checkpoint (.safetensors), exported model (.onnx), or plain weights (.pth)")
    add("--data", required=True, help="folder with Real/ and Fake/, or with Validation/")
    add("--out", metavar="FILE", help="file to write (default: MODEL with _calibrated in its name)")
    add("--overwrite", action="store_true", help="write over a file that is there")
    add(
        "--balance",
        choices=("none", "root", "source"),
        default="none",
        help="of sub-folders of Real/ and Fake/: each image counts the same (none), each folder (source), or between",
    )
    add(
        "--left-out",
        metavar="FILE",
        help="left_out.csv of tools.transfer: the Unsure band heeds fakes of kinds that were not shown",
    )
    add(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        help="look at each image's mirror image too, and take the mean: twice as long (default: as the model does)",
    )
    add(
        "--upright",
        action=argparse.BooleanOptionalAction,
        help="look at each face as if its head were not tilted (default: as the model does)",
    )
    add(
        "--prior",
        type=prior_share,
        metavar="SHARE",
        help="say what scores mean where this share of the pictures is fake, 0.01 say",
    )
    add("--arch", type=str.lower, choices=list(MODELS), help="what plain weights must be")
    add("--workers", type=int, choices=range(65), default=0, metavar="N", help="decoding processes (default: 0)")
    add("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1 ...")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
