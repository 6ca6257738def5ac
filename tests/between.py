"""Weights between those of two networks of one architecture: a detector, and another one or its pretrained backbone.

    python tests/between.py DETECTOR.safetensors lite0.safetensors --out between.safetensors
    python train.py --pretrained between.safetensors ...

A network that knows its training images by heart learns little more from them. Half of the way back to the pretrained
weights it has forgotten much of that, and keeps most of what it can do: a better place to train on from. After Wortsman
et al. 2022 (WiSE-FT), who judge with such weights, and Ash and Adams 2020 (shrink and perturb), who train from shrunk
ones. Between two detectors that were trained from one start it is a model soup (Wortsman et al. 2022).
Either way the averages of batch normalisation, mixed too, fit the mixed weights badly: training on counts them anew;
the scores of a soup that is not trained on are off (docs/experiments.md, 2026-11-25).
Where the other file has no two-way head, the head goes towards fresh random weights, those of --seed. The result is a
checkpoint with the detector's metadata, its calibration taken off.
"""

import argparse
import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import torch
from conftest import ROOT

sys.path.insert(0, str(ROOT))
from detector.backend_torch import head_of  # noqa: E402
from detector.calibration import Calibration  # noqa: E402
from detector.checkpoint import read_metadata, read_weights, save_checkpoint  # noqa: E402
from model import create_model, load_backbone  # noqa: E402


def main() -> None:
    args = parse_arguments()
    metadata, trained = read_metadata(args.detector), read_weights(args.detector)
    torch.manual_seed(args.seed)
    network = create_model(metadata.arch, head=head_of(metadata))
    load_backbone(network, read_weights(args.other), metadata.arch)
    mixed = network.state_dict()
    for name, tensor in mixed.items():
        if tensor.is_floating_point():  # not what counts the batches
            mixed[name] = torch.lerp(tensor, trained[name], args.share)
    files = {name: hashlib.sha256(getattr(args, name).read_bytes()).hexdigest() for name in ("detector", "other")}
    facts = {"between": files | {"share": args.share}}
    training = {name: value for name, value in metadata.training.items() if name != "calibrated"}
    save_checkpoint(args.out, mixed, replace(metadata, calibration=Calibration(), training=training | facts))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("detector", type=Path)
    add("other", type=Path)
    add("--share", type=float, default=0.5, help="of the detector in the result, 0 to 1 (default: 0.5)")
    add("--seed", type=int, default=0, help="of a fresh head (default: 0)")
    add("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
