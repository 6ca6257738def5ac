"""Weights between a trained detector's and those of the pretrained network that it came from, to train on from.

    python tests/between.py DETECTOR.safetensors --backbone FILE.safetensors --share 0.5 --out between.safetensors
    python train.py --pretrained between.safetensors ...

A network that knows its training images by heart learns little more from them. Half of the way back to the pretrained
weights it has forgotten much of that, and keeps most of what it can do. After Wortsman et al. 2022 (WiSE-FT), who judge
with such weights, and Ash and Adams 2020 (shrink and perturb), who train on from shrunk ones.
The head goes half of the way to fresh random weights, those of --seed.
"""

import argparse
import sys
from pathlib import Path

import safetensors.torch
import torch
from conftest import ROOT

sys.path.insert(0, str(ROOT))
from detector.checkpoint import read_metadata, read_weights  # noqa: E402
from model import create_model, load_backbone  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("detector", type=Path)
    add("--backbone", type=Path, required=True, help="the pretrained weights that its training started from")
    add("--share", type=float, default=0.5, help="of the detector in the result, 0 to 1 (default: 0.5)")
    add("--seed", type=int, default=0, help="of the fresh head (default: 0)")
    add("--out", type=Path, required=True)
    args = parser.parse_args()
    arch = read_metadata(args.detector).arch
    torch.manual_seed(args.seed)
    network = create_model(arch)
    load_backbone(network, read_weights(args.backbone), arch)
    trained, mixed = read_weights(args.detector), network.state_dict()
    for name, tensor in mixed.items():
        if tensor.is_floating_point():  # not what counts the batches
            mixed[name] = torch.lerp(tensor, trained[name], args.share)
    safetensors.torch.save_file(mixed, args.out)


if __name__ == "__main__":
    main()
