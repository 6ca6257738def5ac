"""What a run says of itself: config.json, which each checkpoint carries, and whether a folder holds the same run."""

import argparse
import dataclasses
import hashlib
import os
from collections import Counter
from datetime import datetime
from pathlib import Path

import torch

import dataset
import indexing
from detector.backend_torch import describe_device
from ranks import Ranks
from training import engine, folder
from training.engine import TrainingError
from training.preparing import make_preprocess


def describe_data(data: dataset.TrainingData, ranks: Ranks) -> None:
    for index in dict.fromkeys((data.train, data.validation)):
        ranks.say(index.summary())
        if index.left_out:
            ranks.say(indexing.list_left_out(index.left_out))
    for note in data.notes:
        ranks.say(note)


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
            ranks.say(text)
    if (out / "metrics.json").exists():
        ranks.say(f"{out} is finished; kept")
        return True
    return False
