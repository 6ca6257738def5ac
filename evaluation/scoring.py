"""The one scoring loop: detectors and an index of images in, logits out.

Validation during training, evaluation and every later comparison go through it, so each image is opened once,
however many detectors judge it, and prepared once for each distinct Preprocess among them. Where faces are framed, all
faces of an image are judged, and the image's logits are those of the face that looks most like a fake: the same rule as
everywhere else (Detector.judge).
"""

from collections.abc import Callable

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from dataset import DeepFakeDataset, Index, make_loader
from detector import Detector, ModelError, most_fake
from evaluation.ranks import ALONE, Ranks
from imaging.preprocess import Preprocess

BATCH_SIZE = 32


class Views(Dataset):
    """Each image of an index prepared in several ways: a list with (k, 3, h, w) float32 for each Preprocess."""

    def __init__(self, index: Index, specs: list[Preprocess]):
        self.images, self.specs = DeepFakeDataset(index), specs

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> list[np.ndarray]:
        image, boxes = self.images.picture(i).image, self.images.index.boxes[i]
        return [spec.views(image, boxes) for spec in self.specs]


def join_views(items: list[list[np.ndarray]]) -> list[tuple[torch.Tensor, list[int]]]:
    """For each Preprocess: the views of all images in one tensor, and how many belong to each image."""
    return [(torch.from_numpy(np.concatenate(views)), [len(v) for v in views]) for views in zip(*items, strict=True)]


def score_index(
    detectors: dict[str, Detector],
    index: Index,
    *,
    workers: int = 0,
    batch_size: int = BATCH_SIZE,
    desc: str = "judging",
    ranks: Ranks = ALONE,
    check: Callable[[], None] = lambda: None,
) -> dict[str, np.ndarray | ModelError]:
    """(n, 2) float32 logits of each detector for the images of an index, in its order.

    The index must have its faces (dataset.with_faces) where a detector frames them. A detector that fails has its
    ModelError in the place of logits; the others are not held up by it. Of several processes, each judges its share,
    and all have the whole answer. check: called after each batch; what it raises ends the scoring.
    """
    places = [share_of(rank, ranks.size, len(index.samples), batch_size) for rank in range(ranks.size)]
    index = index.subset(places[ranks.rank])
    specs = list(dict.fromkeys(detector.metadata.preprocess for detector in detectors.values()))
    loader = make_loader(Views(index, specs), batch_size=batch_size, workers=workers, collate_fn=join_views)
    logits: dict[str, list[np.ndarray]] = {name: [] for name in detectors}
    failed: dict[str, ModelError] = {}
    with tqdm(
        total=len(index.samples), desc=desc, unit="img", disable=None if ranks.first else True, leave=False
    ) as progress:
        for prepared in loader:
            for name, detector in detectors.items():
                if name in failed:
                    continue
                views, counts = prepared[specs.index(detector.metadata.preprocess)]
                try:
                    of_views = detector.logits(views)
                except ModelError as error:
                    failed[name] = error
                    continue
                parts = np.split(of_views, np.cumsum(counts)[:-1])
                logits[name].append(np.stack([part[most_fake(part)] for part in parts]))
            progress.update(len(prepared[0][1]))
            check()
    mine = {
        name: failed.get(name) or np.concatenate([np.empty((0, 2), np.float32), *logits[name]]) for name in detectors
    }
    return joined(ranks.gather(mine), places)


def share_of(rank: int, size: int, n: int, batch_size: int) -> list[int]:
    """The images that a process judges: whole batches, so that each image is judged in the same company as ever."""
    return [i for i in range(n) if i // batch_size % size == rank]


def joined(
    parts: list[dict[str, np.ndarray | ModelError]], places: list[list[int]]
) -> dict[str, np.ndarray | ModelError]:
    """The answers of all processes in the order of the index, from each one's places in it."""
    answers: dict[str, np.ndarray | ModelError] = {}
    for name in parts[0]:
        of_detector = [part[name] for part in parts]
        error = next((part for part in of_detector if isinstance(part, ModelError)), None)
        if error is None:
            answers[name] = np.empty((sum(map(len, places)), 2), np.float32)
            for where, part in zip(places, of_detector, strict=True):
                answers[name][where] = part
        else:
            answers[name] = error
    return answers
