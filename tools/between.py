"""Weights between those of two networks of one architecture: a detector, and another one or its pretrained backbone.

    python -m tools.between DETECTOR.safetensors lite0.safetensors --out between.safetensors
    python train.py --pretrained between.safetensors ...

A network that knows its training images by heart learns little more from them. Half of the way back to the pretrained
weights it has forgotten much of that, and keeps most of what it can do: a better place to train on from. After Wortsman
et al. 2022 (WiSE-FT), who judge with such weights, and Ash and Adams 2020 (shrink and perturb), who train from shrunk
ones. Between two detectors that were trained from one start it is a model soup (Wortsman et al. 2022).
Either way the averages of batch normalisation, mixed too, fit the mixed weights badly: training on counts them anew;
the scores of a soup that is not trained on are off (docs/experiments.md, 2026-11-25).
Where the other file has no two-way head, the head goes towards fresh random weights, those of --seed. The result is a
checkpoint with the detector's metadata, its calibration taken off.

Exit status: 0 mixed; 1 the file cannot be written; 2 usage; 3 a model cannot be used.
"""

import argparse
import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import torch

from detector.backend_torch import head_of
from detector.calibration import Calibration
from detector.checkpoint import Metadata, ModelError, read_metadata, read_weights, save_checkpoint
from model import create_model, load_backbone
from tools.ending import ended, naming


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    return ended("between", lambda: mix(args), out=args.out)


def mix(args: argparse.Namespace) -> None:
    weights, metadata = between(args)
    save_checkpoint(args.out, weights, metadata)
    print(args.out)


def between(args: argparse.Namespace) -> tuple[dict[str, torch.Tensor], Metadata]:
    """The mixed weights, and the detector's metadata without its calibration. Raises ModelError and NetworkError."""
    with naming(args.detector):
        metadata, trained = read_metadata(args.detector), read_weights(args.detector)
        if metadata is None:
            raise ModelError("plain weights say nothing of themselves; give a checkpoint")
    with naming(args.other):
        other = read_weights(args.other)
    torch.manual_seed(args.seed)
    network = create_model(metadata.arch, head=head_of(metadata))
    load_backbone(network, other, metadata.arch)
    mixed = network.state_dict()
    for name, tensor in mixed.items():
        if tensor.is_floating_point():  # not what counts the batches
            mixed[name] = torch.lerp(tensor, trained[name], args.share)
    files = {name: hashlib.sha256(getattr(args, name).read_bytes()).hexdigest() for name in ("detector", "other")}
    training = {name: value for name, value in metadata.training.items() if name != "calibrated"}
    facts = training | {"between": files | {"share": args.share}}
    return mixed, replace(metadata, calibration=Calibration(), training=facts)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.between", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("detector", type=Path)
    add("other", type=Path)
    add("--share", type=float, default=0.5, help="of the detector in the result, 0 to 1 (default: 0.5)")
    add("--seed", type=int, default=0, help="of a fresh head (default: 0)")
    add("--out", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
