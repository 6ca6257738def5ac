"""The one scoring loop: detectors and an index of images in, logits out.

    score_index(detectors, index)["name"]                                          # (n, 2) logits
    score_changes(detectors, index, {"as it is": None, "grey": grey})["name"]      # the same for each change, by name

Validation during training, evaluation and every later comparison go through it, so each image is opened once, however
many detectors judge it, and prepared once for each distinct Preprocess among them. Where faces are framed, all faces of
an image are judged, and the image's logits are those of the face that looks most like a fake: the same rule as
everywhere else (Detector.judge).
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from tqdm import tqdm

from dataset import DeepFakeDataset, Index, make_loader
from detector import Detector, ModelError, most_fake
from evaluation.ranks import ALONE, Ranks
from imaging.faces import FaceFinder
from imaging.preprocess import Box, Preprocess

BATCH_SIZE = 32  # pictures
Change = Callable[[Image.Image], Image.Image] | None  # of an upright RGB image, always the same; None: it stays


class Views(Dataset):
    """Each image of an index, changed in several ways, and each of these prepared in several.

    An item is a list for each Preprocess, with (k, 3, h, w) float32 for each change. Faces are found anew in a changed
    picture, as they would be in one that a user has saved again; in one without any, the whole picture counts.
    """

    def __init__(self, index: Index, specs: Sequence[Preprocess], changes: Sequence[Change] = (None,)):
        self.images, self.specs, self.changes = DeepFakeDataset(index), specs, changes
        self.find_faces = FaceFinder() if any(spec.frame == "face" for spec in specs) else None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> list[list[np.ndarray]]:
        image, boxes = self.images.picture(i).image, self.images.index.boxes[i]
        views: list[list[np.ndarray]] = [[] for _ in self.specs]
        for change in self.changes:
            changed, found = (image, boxes) if change is None else self.changed(image, change)
            for of_spec, spec in zip(views, self.specs, strict=True):
                of_spec.append(spec.views(changed, found))
        return views

    def changed(self, image: Image.Image, change: Callable) -> tuple[Image.Image, tuple[Box, ...]]:
        image = change(image)
        return image, tuple(face.box for face in self.find_faces(image)[0]) if self.find_faces else ()


def join_views(items: list[list[list[np.ndarray]]]) -> list[tuple[torch.Tensor, list[int]]]:
    """For each Preprocess: the views of all images and changes in one tensor, and how many belong to each of these."""
    flat = ([views for of_image in of_spec for views in of_image] for of_spec in zip(*items, strict=True))
    return [(torch.from_numpy(np.concatenate(views)), [len(v) for v in views]) for views in flat]


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
    scored = _score(
        detectors, index, (None,), workers=workers, batch_size=batch_size, desc=desc, ranks=ranks, check=check
    )
    return {name: logits if isinstance(logits, ModelError) else logits[:, 0] for name, logits in scored.items()}


def score_changes(
    detectors: dict[str, Detector],
    index: Index,
    changes: dict[str, Change],
    *,
    workers: int = 0,
    desc: str = "judging",
    ranks: Ranks = ALONE,
) -> dict[str, dict[str, np.ndarray] | ModelError]:
    """For each detector the (n, 2) float32 logits of every image after each change, by the change's name.

    Each image is decoded once for all of them. As many images make a batch as keep it near BATCH_SIZE pictures, so that
    memory does not grow with the number of changes times that of images. The rest is as with `score_index`. With worker
    processes on a system that does not fork, the changes must be such as can be pickled.
    """
    batch_size = max(1, BATCH_SIZE // len(changes))
    scored = _score(
        detectors, index, tuple(changes.values()), workers=workers, batch_size=batch_size, desc=desc, ranks=ranks
    )
    return {
        name: logits
        if isinstance(logits, ModelError)
        else {change: logits[:, place] for place, change in enumerate(changes)}
        for name, logits in scored.items()
    }


def _score(
    detectors: dict[str, Detector],
    index: Index,
    changes: Sequence[Change],
    *,
    workers: int,
    batch_size: int,
    desc: str,
    ranks: Ranks,
    check: Callable[[], None] = lambda: None,
) -> dict[str, np.ndarray | ModelError]:
    """(n, number of changes, 2) float32 logits of each detector, or its ModelError."""
    places = [share_of(rank, ranks.size, len(index.samples), batch_size) for rank in range(ranks.size)]
    index = index.subset(places[ranks.rank])
    specs = list(dict.fromkeys(detector.metadata.preprocess for detector in detectors.values()))
    loader = make_loader(Views(index, specs, changes), batch_size=batch_size, workers=workers, collate_fn=join_views)
    none = np.empty((0, len(changes), 2), np.float32)
    logits: dict[str, list[np.ndarray]] = {name: [none] for name in detectors}
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
                    of_views = np.concatenate([detector.logits(part) for part in in_parts(views)])
                except ModelError as error:
                    failed[name] = error
                    continue
                parts = np.split(of_views, np.cumsum(counts)[:-1])
                chosen = np.stack([part[most_fake(part)] for part in parts])
                logits[name].append(chosen.reshape(-1, len(changes), 2))
            progress.update(len(prepared[0][1]) // len(changes))
            check()
    return joined(ranks.gather({name: failed.get(name) or np.concatenate(logits[name]) for name in detectors}), places)


def in_parts(views: torch.Tensor) -> Iterator[torch.Tensor]:
    """Views in batches for a network, whose own memory grows with them: the many of one image, or of many faces."""
    return iter(views.split(2 * BATCH_SIZE))


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
            answers[name] = np.empty((sum(map(len, places)), *of_detector[0].shape[1:]), np.float32)
            for where, part in zip(places, of_detector, strict=True):
                answers[name][where] = part
        else:
            answers[name] = error
    return answers
