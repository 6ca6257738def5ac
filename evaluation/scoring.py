"""The one scoring loop: detectors and an index of images in, logits out.

Validation during training, evaluation and every later comparison go through it, so each image is opened once,
however many detectors judge it, and prepared once for each distinct Preprocess among them.
"""

import numpy as np
from PIL import Image
from tqdm import tqdm

from dataset import DeepFakeDataset, Index, make_loader
from detector import Detector, ModelError
from imaging.preprocess import Preprocess

BATCH_SIZE = 32


class Preparations:
    """One image prepared in several ways: PIL image -> a tuple of arrays, one for each Preprocess."""

    def __init__(self, specs: list[Preprocess]):
        self.specs = specs

    def __call__(self, image: Image.Image) -> tuple[np.ndarray, ...]:
        return tuple(spec(image) for spec in self.specs)


def score_index(
    detectors: dict[str, Detector],
    index: Index,
    *,
    workers: int = 0,
    batch_size: int = BATCH_SIZE,
    desc: str = "judging",
) -> dict[str, np.ndarray | ModelError]:
    """(n, 2) float32 logits of each detector for the images of an index, in its order.

    A detector that fails has its ModelError in the place of logits; the others are not held up by it.
    """
    specs = list(dict.fromkeys(detector.metadata.preprocess for detector in detectors.values()))
    loader = make_loader(
        DeepFakeDataset(index, Preparations(specs)), batch_size=batch_size, workers=workers, shuffle=False
    )
    logits: dict[str, list[np.ndarray]] = {name: [] for name in detectors}
    failed: dict[str, ModelError] = {}
    with tqdm(total=len(index.samples), desc=desc, unit="img", disable=None, leave=False) as progress:
        for prepared, labels in loader:
            for name, detector in detectors.items():
                if name in failed:
                    continue
                try:
                    logits[name].append(detector.logits(prepared[specs.index(detector.metadata.preprocess)]))
                except ModelError as error:
                    failed[name] = error
            progress.update(len(labels))
    return {name: failed.get(name) or np.concatenate(logits[name]) for name in detectors}
