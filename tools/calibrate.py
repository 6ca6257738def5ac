"""Choose a detector's temperature, offset, thresholds and Unsure band on Validation images, and store them with it.

    python -m tools.calibrate weights.pth --data data/Validation
    python -m tools.calibrate best.onnx --data data --out calibrated.onnx
    python -m tools.calibrate best.safetensors --data data --mirror     # judges mirror images too: better, half as fast
    python -m tools.calibrate best.onnx --data data --prior 0.01        # and what scores mean where 1 in 100 is fake

train.py has done this for its own checkpoints. --data is a folder with Real/ and Fake/, or one with Validation/, which
is then taken: images like those that will be judged, on which the detector was not trained. The result is a new file,
MODEL with _calibrated in its name by default: .onnx of .onnx, and else .safetensors.

Exit status: 0 calibrated; 1 the file cannot be written; 2 usage, or no usable data folder; 3 the model cannot be used;
130 Ctrl-C.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import dataset
from detector import Detector, Metadata, ModelError, load
from detector.calibration import HALF, Calibration
from detector.checkpoint import FORMAT, kind_of_file, read_weights, save_checkpoint, write_atomically
from detector.prior import in_words, prior_share, with_prior
from evaluation import calibrating, metrics, record
from evaluation.scoring import Judged, score_index
from model import MODELS
from names import percent


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        out = Path(args.out) if args.out else default_name(Path(args.model))
        refuse(out, Path(args.model), overwrite=args.overwrite)
        detector = load(args.model, arch=args.arch, device=args.device, mirror=args.mirror)
        index = choose_images(Path(args.data), detector)
        judged = score_index({"model": detector}, index, workers=args.workers)["model"]
        if isinstance(judged, ModelError):
            raise judged
        metadata = calibrated(detector.metadata, index, judged, balance=args.balance)
        save(Path(args.model), metadata, out)
    except dataset.DatasetError as error:
        return fail(2, str(error))
    except ValueError as error:
        return fail(2, str(error))
    except ModelError as error:
        return fail(3, f"{args.model}: {error}")
    except OSError as error:
        return fail(1, f"{error.filename or args.out}: {error.strerror or error}")
    except KeyboardInterrupt:
        return fail(130, "interrupted; nothing was written")
    print_change(detector.metadata, metadata, index, judged.logits, prior=args.prior)
    print(out)
    return 0


def choose_images(data: Path, detector: Detector) -> dataset.Index:
    """Validation images. Raises DatasetError on a Test split, and on the images that the detector was trained on."""
    folders = dataset.split_folders(data)
    if folders and "Validation" not in folders:
        raise dataset.DatasetError(f"no Validation/ in {data}; nothing is chosen on another split")
    folder = folders.get("Validation", data)
    if folder.resolve().name.lower() in dataset.SPLIT_NAMES["Test"]:
        raise dataset.DatasetError(f"{folder} is a Test split; nothing is chosen on it")
    index = dataset.index_folder(folder)
    if record.digest_of(record.training_facts(detector), "Train") == index.digest:
        raise dataset.DatasetError(f"{folder}: the model was trained on these images; give others")
    if detector.metadata.preprocess.frame == "face":
        index = dataset.with_faces(index)
    print(index.summary(), file=sys.stderr)
    return index


def calibrated(metadata: Metadata, index: dataset.Index, judged: Judged, *, balance: str) -> Metadata:
    calibration = calibrating.of_index(index, judged.logits, balance=balance)
    facts = {"calibrated": calibrating.numbers(index.labels, judged, calibration)}
    return dataclasses.replace(metadata, calibration=calibration, training=metadata.training | facts)


def refuse(out: Path, model: Path, *, overwrite: bool) -> None:
    """Raises ValueError where a file would be lost, or get a name that says another kind."""
    if kind_of_file(model) == "onnx" and out.suffix.lower() != ".onnx":
        raise ValueError(f"--out {out}: of an ONNX model another one is made; call it .onnx")
    if kind_of_file(model) != "onnx" and out.suffix.lower() != ".safetensors":
        raise ValueError(f"--out {out}: a checkpoint is made; call it .safetensors")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} is there already; choose another --out, or add --overwrite")


def default_name(path: Path) -> Path:
    return path.with_name(f"{path.stem}_calibrated{'.onnx' if kind_of_file(path) == 'onnx' else '.safetensors'}")


def save(source: Path, metadata: Metadata, out: Path) -> None:
    """The weights of one file with other metadata in another. Raises OSError, and ModelError."""
    if kind_of_file(source) != "onnx":
        save_checkpoint(out, read_weights(source), metadata)
        return
    import onnx

    proto = onnx.load(source)
    entry = next(entry for entry in proto.metadata_props if entry.key == FORMAT)
    entry.value = metadata.to_json()
    write_atomically(out, proto.SerializeToString())


def print_meaning(calibration: Calibration, prior: float) -> None:
    """What some scores mean where another share of the pictures than half is fake."""
    scores = sorted({0.1, HALF, 0.9, 0.99, calibration.lowest_fake})
    print(f"where {in_words(prior)} pictures is fake, a score of")
    for score in scores:
        print(f"  {percent(score):>5} means that {percent(with_prior(score, prior))} of such pictures are")


def print_change(before: Metadata, after: Metadata, index: dataset.Index, logits, *, prior: float | None) -> None:
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
        "--mirror",
        action=argparse.BooleanOptionalAction,
        help="look at each image's mirror image too, and take the mean: twice as long (default: as the model does)",
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


def fail(status: int, message: str) -> int:
    print(f"calibrate: error: {message}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
