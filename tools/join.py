"""Join several detectors into one network, whose logits are a weighted sum of theirs.

    python -m tools.join clip.safetensors lite0.safetensors --data data --out large.safetensors
    python -m tools.join one.safetensors other.safetensors --weights 1,1 --out both.safetensors

Detectors that were trained otherwise know other things, and err on other pictures: together they are better than each.
How much each counts is found on the Validation images of --data by a logistic regression of their margins (stacking,
Wolpert 1992), or given as --weights. All of them look at what the first is shown: its frame, margin and size. The
result is a checkpoint like any other, not yet calibrated (python -m tools.calibrate).

Exit status: 0 joined; 1 the file cannot be written; 2 usage, or no usable data folder; 3 a model cannot be used;
130 Ctrl-C.
"""

import argparse
import dataclasses
import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import model
from dataset import source_weights
from detector import Detector, Metadata, ModelError, load
from detector.backend_torch import head_of, network_of
from detector.calibration import Calibration
from detector.checkpoint import save_checkpoint
from detector.rewriting import check_name
from evaluation import calibrating, left_out
from evaluation.choosing import validation_images
from evaluation.scoring import Judged, score_index
from files import write_atomically
from indexing import Index
from names import FAKE, REAL
from reports.tables import to_csv
from tools.ending import ended, naming

# What a checkpoint says of its training that the joined one cannot say.
OF_ITS_OWN_SCORES = ("calibrated", "calibrated_on", "left_out", "validation", "epoch", "steps", "joined")


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    return ended("join", lambda: join_files(args), out=args.out)


def join_files(args: argparse.Namespace) -> None:
    """Load the parts, find their weights where none are given, write the joined checkpoint and what it counts."""
    out = Path(args.out)
    parts = [load_part(path, args.device) for path in args.models]
    check_name(out, Path(args.models[0]), overwrite=args.overwrite)
    parts = [looking_alike(part, parts[0]) for part in parts]
    weights, offset = args.weights, 0.0
    if weights is None:
        weights, offset = stack(*judge(Path(args.data), parts, args.workers), balance=args.balance)
    network, metadata = join(parts, weights, offset)
    if args.left_out:
        rows = left_out.read(Path(args.left_out))
        rows = joined_left_out(rows, Path(args.data), parts, weights, offset, args.workers)
        write_atomically(out.with_suffix(".left_out.csv"), to_csv(rows, left_out.COLUMNS))
    save_checkpoint(out, network.state_dict(), metadata)
    for path, weight in zip(args.models, weights, strict=True):
        print(f"{path}: its logits count {weight:.3f} times")
    print(out)


def load_part(path: str, device: str) -> Detector:
    """A detector that can be joined: a checkpoint with one linear layer for a head. Raises ModelError."""
    with naming(path):
        part = load(path, device=device)
        network_of(part)
        if not head_of(part.metadata).is_linear:
            raise ModelError("its head has a dense layer, so its logits are no sum that a joined head could give")
    return part


def looking_alike(part: Detector, first: Detector) -> Detector:
    """The same network, shown what the first one is shown, in its own colours; not calibrated."""
    own, row = first.metadata.preprocess, model.architecture(part.metadata.arch)
    seen = dataclasses.replace(own, mean=row.mean, std=row.std)
    metadata = dataclasses.replace(part.metadata, preprocess=seen, calibration=Calibration())
    return Detector(part.backend.innermost, metadata, part.path)


def judge(
    data: Path, parts: list[Detector], workers: int, wanted: Collection[str] | None = None
) -> tuple[Index, list[Judged]]:
    """What each of them says of the Validation images, of those with some contents (SHA-256) or all.

    Raises DatasetError, and ModelError.
    """
    index = validation_images(data, parts[0])
    if wanted is not None:
        index = index.subset(i for i, content in enumerate(index.hashes) if content in wanted)
    scored = score_index({str(place): part for place, part in enumerate(parts)}, index, workers=workers)
    for judged in scored.values():
        if isinstance(judged, ModelError):
            raise judged
    return index, list(scored.values())


def stack(index: Index, judged: list[Judged], *, balance: str) -> tuple[list[float], float]:
    """(weight of each detector's logits, what is added to the joined margin), by a logistic regression."""
    margins = np.stack([one.logits[:, FAKE] - one.logits[:, REAL] for one in judged], 1)
    known = np.isfinite(margins).all(1)
    counts = source_weights(index, balance)
    counts = np.ones(len(known)) if counts is None else counts / counts.mean()
    even = calibrating.balanced(index.labels[known], counts[known])
    spread = margins[known].std(0)  # the penalty must not depend on how large a network's logits are
    found = LogisticRegression(C=1.0).fit(margins[known] / spread, index.labels[known], sample_weight=even)
    return (found.coef_[0] / spread).tolist(), float(found.intercept_[0])


def join(parts: list[Detector], weights: list[float], offset: float = 0.0) -> tuple[nn.Module, Metadata]:
    """The network whose logits are the weighted sum of theirs, its margin raised by offset, and its metadata.

    Raises NetworkError where no row of MODELS is these networks together.
    """
    arch = model.together([part.metadata.arch for part in parts])
    network = model.create_model(arch)
    heads = [network_of(part).get_submodule(model.architecture(part.metadata.arch).head) for part in parts]
    heads = [head if isinstance(head, nn.Linear) else head[-1] for head in heads]
    tensors = {}
    for place, part in enumerate(parts):
        head = model.architecture(part.metadata.arch).classifier
        own = network_of(part).state_dict()
        tensors |= {f"parts.{place}.{name}": own[name] for name in own if not name.startswith(f"{head}.")}
    shift = torch.tensor([-offset / 2, offset / 2])
    tensors["head.weight"] = torch.cat([w * head.weight for w, head in zip(weights, heads, strict=True)], 1)
    tensors["head.bias"] = sum(w * head.bias for w, head in zip(weights, heads, strict=True)) + shift
    network.load_state_dict(tensors)
    first = parts[0].metadata
    shown_most = max(parts, key=lambda part: shown(part.metadata)).metadata.training
    training = {name: value for name, value in shown_most.items() if name not in OF_ITS_OWN_SCORES}
    training["joined"] = [
        {"arch": part.metadata.arch, "sha256": part.sha256, "weight": weight, "training": part.metadata.training}
        for part, weight in zip(parts, weights, strict=True)
    ]
    return network, Metadata(arch, first.preprocess, training=training)


def joined_left_out(
    rows: list[dict], data: Path, parts: list[Detector], weights: list[float], offset: float, workers: int
) -> list[dict]:
    """Rows of evaluation.left_out for the joined network: what twins of the first part say, with what the others do."""
    index, others = judge(data, parts[1:], workers, {row["sha256"] for row in rows})
    margins = sum(w * (one.logits[:, FAKE] - one.logits[:, REAL]) for w, one in zip(weights[1:], others, strict=True))
    own, joined = dict(zip(index.hashes, margins.tolist(), strict=True)), []
    for row in rows:
        twin = row["logit_fake"] - row["logit_real"]
        margin = weights[0] * twin + own.get(row["sha256"], float("nan")) + offset
        if np.isfinite(margin):
            joined.append(row | {"logit_real": -margin / 2, "logit_fake": margin / 2})
    return joined


def shown(metadata: Metadata) -> tuple[int, int]:
    """(of how many sources, how many images) it was trained on, as far as its file says."""
    facts = metadata.training.get("data")
    train = facts.get("Train") if isinstance(facts, dict) else None
    n, sources = (train.get("n"), train.get("sources")) if isinstance(train, dict) else (0, {})
    return len(sources) if isinstance(sources, dict) else 0, n if isinstance(n, int) else 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.join", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "models", nargs="+", metavar="MODEL", help="two or more checkpoints (.safetensors); all see what the first sees"
    )
    add("--out", required=True, metavar="FILE", help="checkpoint to write")
    add("--overwrite", action="store_true", help="write over a file that is there")
    add("--data", help="folder with Validation/, or with Real/ and Fake/: the weights are found there")
    add("--weights", type=numbers, metavar="1,1", help="how much each detector's logits count")
    add(
        "--left-out",
        metavar="FILE",
        help="left_out.csv of tools.transfer for the first detector: also write the joined network's, beside --out",
    )
    add("--balance", choices=("none", "root", "source"), default="none", help="of the sub-folders there, as elsewhere")
    add("--workers", type=int, choices=range(65), default=0, metavar="N", help="decoding processes (default: 0)")
    add("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1 ...")
    args = parser.parse_args(argv)
    if not (args.data or args.weights):
        parser.error("one of --data and --weights must be given")
    if args.left_out and not args.data:
        parser.error("--left-out needs --data")
    if len(args.models) < 2:
        parser.error("one detector alone cannot be joined; name two or more")
    if args.weights and len(args.weights) != len(args.models):
        parser.error(f"--weights are {len(args.weights)}, the detectors {len(args.models)}")
    return args


def numbers(text: str) -> list[float]:
    found = [float(part) for part in text.split(",")]
    if not all(np.isfinite(found)):
        raise argparse.ArgumentTypeError(f"must be numbers, not {text}")
    return found


if __name__ == "__main__":
    sys.exit(main())
