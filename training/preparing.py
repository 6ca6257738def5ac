"""From the flags of train.py to what a run needs: data, network, preparation of images, soft targets."""

import argparse
import csv
import dataclasses
import os

import numpy as np
import torch
from torch import nn

import dataset
import indexing
import model
from detector.checkpoint import ModelError, read_weights
from imaging.preprocess import Preprocess
from ranks import ALONE, Ranks
from training import engine
from training.engine import TrainingError


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
        ranks.say(f"{arch}: training from scratch, without pretrained weights")
    else:
        with ranks.first_alone():  # it downloads
            weights = model.imagenet_weights(arch) if pretrained == "imagenet" else read_pretrained(pretrained, arch)
        kept = model.load_backbone(network, weights, arch)
        ranks.say(f"{arch}: starting from {pretrained}, {'its two-way head included' if kept else 'with a new head'}")
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
