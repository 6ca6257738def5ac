"""The one scoring loop: detectors and an index of images in, logits out.

    score_index(detectors, index)["name"].logits                                   # (n, 2)
    score_changes(detectors, index, {"as it is": None, "grey": grey})["name"]      # the same for each change, by name

Validation during training, evaluation and every later comparison go through it, so each image is opened once, however
many detectors judge it, and prepared once for each distinct Preprocess among them. Where faces are framed, all faces of
an image are judged, and the image's logits are those of the face that looks most like a fake: the same rule as
everywhere else (Detector.judge). An image without a face has no logits (NaN): it is not decided.
"""

import sys
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from dataset import DeepFakeDataset, make_loader
from detector import Detector, ModelError, decisive, large_enough
from detector.calibration import Calibration
from imaging.door import ImageError
from imaging.evidence import Evidence, lacking, measure
from imaging.faces import Face, FaceFinder
from imaging.preprocess import Preprocess
from indexing import DatasetError, Index
from names import CLASSES, FAKE, REAL
from progress import Bar
from ranks import ALONE, Ranks

BATCH_SIZE = 32  # pictures
FAULT = -1
Change = Callable[[Image.Image], Image.Image] | None  # of an upright RGB image, always the same; None: it stays


@dataclass(frozen=True)
class Judged:
    """What a detector says of n images: of each the face that looks most like a fake, and how many there are."""

    logits: np.ndarray  # (n, 2) float32; NaN: nothing could be judged
    faces: np.ndarray  # (n,) int64, how many faces show enough to be judged; 1 where the whole picture does
    passed: np.ndarray  # (n,) int64, how many are too small, or show too little; FAULT: something else went wrong

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.logits, self.faces, self.passed

    def __getitem__(self, chosen) -> "Judged":
        return Judged(*(array[chosen] for array in self.arrays))

    def verdicts(self, calibration: Calibration) -> np.ndarray:
        """(n,) words, as Detector.judge would say them."""
        scores = calibration.scores(self.logits).tolist()
        rows = zip(scores, self.faces.tolist(), self.passed.tolist(), strict=True)
        return np.array([calibration.picture(*row)[0] for row in rows], object)

    @property
    def faulty(self) -> np.ndarray:
        """(n,) bool: which could not be judged for a fault of ours, which is said on stderr when it happens."""
        return self.passed == FAULT

    @classmethod
    def of_whole(cls, logits: np.ndarray) -> "Judged":
        """Each picture as one face: (n, 2) logits."""
        return cls(logits, np.ones(len(logits), np.int64), np.zeros(len(logits), np.int64))


class Prepared(NamedTuple):
    """A picture as a network gets it."""

    views: np.ndarray  # (k, 3, h, w) float32
    evidence: list[Evidence]  # of each view; none where it was not wanted
    small: int  # how many faces are too small to be judged; or FAULT


class Batch(NamedTuple):
    """Several pictures as a network gets them: all their views, one after the other."""

    views: torch.Tensor  # (sum of counts, 3, h, w) float32
    counts: list[int]  # views of each picture
    pictures: list[Prepared]  # the same without their views


class Views(Dataset):
    """Each image of an index, changed in several ways, and each of these prepared in several.

    An item is a list for each Preprocess, with a Prepared for each change. Faces are found anew in a changed picture,
    as they would be in one that a user has saved again. measured: of which Preprocess's views the evidence is wanted.
    """

    def __init__(
        self,
        index: Index,
        specs: Sequence[Preprocess],
        changes: Sequence[Change] = (None,),
        measured: Container[Preprocess] = (),
    ):
        self.images, self.specs, self.changes, self.measured = DeepFakeDataset(index), specs, changes, measured
        self.find_faces = FaceFinder() if any(spec.frame == "face" for spec in specs) else None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> list[list[Prepared]]:
        try:
            return self.views(i)
        except DatasetError:  # the data changed: nothing that follows would be right
            raise
        except Exception as error:  # noqa: BLE001 - one picture's fault is not the end of the others
            print(f"{self.images.samples[i].path}: {ImageError.of_fault(error)}", file=sys.stderr)
            return [[Prepared(spec.no_views(), [], FAULT)] * len(self.changes) for spec in self.specs]

    def views(self, i: int) -> list[list[Prepared]]:
        image, faces = self.images.picture(i).image, self.images.index.found[i]
        views: list[list[Prepared]] = [[] for _ in self.specs]
        for change in self.changes:
            changed, found = (image, faces) if change is None else self.changed(image, change)
            large = [face for face in found if large_enough(face)]
            for of_spec, spec in zip(views, self.specs, strict=True):
                seen, sides = spec.seen(changed, large), spec.sides(changed.size, large)
                evidence = list(map(measure, seen, sides)) if spec in self.measured else []
                small = len(found) - len(large) if spec.frame == "face" else 0
                of_spec.append(Prepared(spec.prepared(seen), evidence, small))
        return views

    def changed(self, image: Image.Image, change: Callable) -> tuple[Image.Image, tuple[Face, ...]]:
        image = change(image)
        return image, self.find_faces(image)[0] if self.find_faces else ()


def join_views(items: list[list[list[Prepared]]]) -> list[Batch]:
    """For each Preprocess: all images and changes as one."""
    batches = []
    for of_spec in zip(*items, strict=True):
        pictures = [one for of_image in of_spec for one in of_image]
        views = [one.views for one in pictures]
        bare = [one._replace(views=None) for one in pictures]
        batches.append(Batch(torch.from_numpy(np.concatenate(views)), list(map(len, views)), bare))
    return batches


def score_index(
    detectors: dict[str, Detector],
    index: Index,
    *,
    workers: int = 0,
    batch_size: int = BATCH_SIZE,
    desc: str = "judging",
    ranks: Ranks = ALONE,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Judged | ModelError]:
    """What each detector says of the images of an index, in its order.

    The index must have its faces (indexing.with_faces) where a detector frames them. A detector that fails has its
    ModelError in its place; the others are not held up by it. Of several processes, each judges its share,
    and all have the whole answer. check: called after each batch; what it raises ends the scoring.
    """
    scored = _score(
        detectors, index, (None,), workers=workers, batch_size=batch_size, desc=desc, ranks=ranks, check=check
    )
    return {name: judged if isinstance(judged, ModelError) else judged[:, 0] for name, judged in scored.items()}


def score_changes(
    detectors: dict[str, Detector],
    index: Index,
    changes: dict[str, Change],
    *,
    workers: int = 0,
    desc: str = "judging",
    ranks: Ranks = ALONE,
) -> dict[str, dict[str, Judged] | ModelError]:
    """What each detector says of every image after each change, by the change's name.

    Each image is decoded once for all of them. As many images make a batch as keep it near BATCH_SIZE pictures, so that
    memory does not grow with the number of changes times that of images. The rest is as with `score_index`. With worker
    processes on a system that does not fork, the changes must be such as can be pickled.
    """
    batch_size = max(1, BATCH_SIZE // len(changes))
    scored = _score(
        detectors, index, tuple(changes.values()), workers=workers, batch_size=batch_size, desc=desc, ranks=ranks
    )
    return {
        name: judged
        if isinstance(judged, ModelError)
        else {change: judged[:, place] for place, change in enumerate(changes)}
        for name, judged in scored.items()
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
) -> dict[str, Judged | ModelError]:
    """What each detector says, of shape (n, number of changes), or its ModelError."""
    places = [share_of(rank, ranks.size, len(index.samples), batch_size) for rank in range(ranks.size)]
    index = index.subset(places[ranks.rank])
    specs = list(dict.fromkeys(detector.metadata.preprocess for detector in detectors.values()))
    measured = {one.metadata.preprocess for one in detectors.values() if one.metadata.calibration.evidence}
    views = Views(index, specs, changes, measured)
    loader = make_loader(views, batch_size=batch_size, workers=workers, collate_fn=join_views)
    found: dict[str, list[np.ndarray]] = {name: [np.empty((0, len(changes), 4))] for name in detectors}
    failed: dict[str, ModelError] = {}
    with Bar(total=len(index.samples), desc=desc, unit="img", disable=not ranks.first) as progress:
        for prepared in loader:
            for name, detector in detectors.items():
                if name in failed:
                    continue
                try:
                    rows = highest(detector, prepared[specs.index(detector.metadata.preprocess)])
                except ModelError as error:
                    failed[name] = error
                    continue
                found[name].append(rows.reshape(-1, len(changes), 4))
            progress.update(len(prepared[0].counts) // len(changes))
            check()
    answers = joined(
        ranks.gather({name: failed.get(name) or np.concatenate(found[name]) for name in detectors}), places
    )
    return {name: rows if isinstance(rows, ModelError) else as_judged(rows) for name, rows in answers.items()}


def highest(detector: Detector, batch: Batch) -> np.ndarray:
    """(n, 4) float64 for as_judged, of n pictures."""
    bounds, rows = detector.metadata.calibration.evidence, []
    parts = in_parts(batch.views) if len(batch.views) else ()
    logits = np.concatenate([np.empty((0, 2), np.float32), *map(detector.logits, parts)])
    of_each = np.split(logits, np.cumsum(batch.counts)[:-1])
    for of_picture, (_, evidence, small) in zip(of_each, batch.pictures, strict=True):
        shows = [lacking(one, bounds) is None for one in evidence] if bounds else [True] * len(of_picture)
        margins = of_picture[:, FAKE] - of_picture[:, REAL]
        best = of_picture[decisive(margins, shows)] if len(shows) else (np.nan, np.nan)
        rows.append((*best, sum(shows), small if small == FAULT else small + len(shows) - sum(shows)))
    return np.array(rows, np.float64)  # every float32 as it is


def as_judged(rows: np.ndarray) -> Judged:
    """(..., 4): two logits, how many faces were judged, and how many were not."""
    return Judged(rows[..., :2].astype(np.float32), rows[..., 2].astype(np.int64), rows[..., 3].astype(np.int64))


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
            answers[name] = np.empty((sum(map(len, places)), *of_detector[0].shape[1:]))
            for where, part in zip(places, of_detector, strict=True):
                answers[name][where] = part
        else:
            answers[name] = error
    return answers


PREDICTION_COLUMNS = ("path", "label", "source", "logit_real", "logit_fake", "score", "verdict", "faces")


def prediction_rows(index: Index, judged: Judged, calibration: Calibration) -> list[dict]:
    """PREDICTION_COLUMNS of each image: everything later analysis needs, without the network.

    Paths are relative to the data folder.

    Logits and score are None where nothing was judged.
    """
    scores, words = calibration.scores(judged.logits), judged.verdicts(calibration)
    numbers = np.column_stack([judged.logits.astype(object), scores.astype(object)])
    numbers[np.isnan(scores)] = None
    return [
        {
            "path": sample.path.relative_to(index.root).as_posix(),
            "label": CLASSES[sample.label],
            "source": sample.source,
            "logit_real": real,
            "logit_fake": fake,
            "score": score,
            "verdict": word,
            "faces": faces,
        }
        for sample, (real, fake, score), word, faces in zip(
            index.samples, numbers.tolist(), words.tolist(), judged.faces.tolist(), strict=True
        )
    ]
