"""Sets of images to judge, in which ways, and what each detector says of them."""

from dataclasses import dataclass, replace

import numpy as np

from detector import Detector, ModelError
from evaluation import stress
from evaluation.scoring import Judged, score_changes, score_index
from indexing import Index
from judging import stability
from progress import say
from ranks import Ranks

DRAW = 0  # seed of the images that are changed


@dataclass(frozen=True)
class Set:
    """Images to judge, and in which ways."""

    name: str
    role: str  # IN_DOMAIN or FOREIGN
    place: str  # its folder, below a model's: "." for the only in-domain set
    index: Index
    drawn: Index  # those of them that are changed
    robustness: bool
    stability: bool

    @property
    def changes(self) -> dict:
        """What is done to each drawn image; stability's by their names, the others by stress's keys."""
        changes = stress.changes_for() if self.robustness else {stress.UNTOUCHED: None}
        return changes | (stability.CHANGES if self.stability else {})

    @property
    def draw(self) -> dict | None:
        """Of how many images those are, that are changed; None where nothing is changed."""
        sizes = {"n": len(self.drawn.samples), "of": len(self.index.samples), "seed": DRAW}
        return sizes if len(self.changes) > 1 else None


@dataclass(frozen=True)
class Said:
    """What a detector says of a set."""

    whole: Judged
    changed: dict[object, Judged]  # of the drawn images, after each of the set's changes


def score(detectors: dict[str, Detector], images: Set, workers: int, ranks: Ranks) -> dict[str, Said | ModelError]:
    """For each detector what it says, or its ModelError."""
    described = f"{images.name}: {len(detectors)} models"
    answers = score_index(detectors, images.index, workers=workers, desc=described, ranks=ranks)
    working = {name: one for name, one in detectors.items() if not isinstance(answers[name], ModelError)}
    changed = dict.fromkeys(working, {})
    if images.draw and working:
        described += f", {images.draw['n']} images changed"
        changed = score_changes(working, images.drawn, images.changes, workers=workers, desc=described, ranks=ranks)
    return answers | {
        name: said if isinstance(said, ModelError) else Said(answers[name], said) for name, said in changed.items()
    }


def without_faults(images: Set, answers: dict[str, Said | ModelError]) -> tuple[Set, dict[str, Said | ModelError]]:
    """The same without images that could not be judged for a fault of ours: they are left out, for every model."""
    said = [one for one in answers.values() if isinstance(one, Said)]
    whole = np.any([one.whole.faulty for one in said], axis=0) if said else np.zeros(len(images.index.samples), bool)
    drawn = np.zeros(len(images.drawn.samples), bool)
    for judged in (judged for one in said for judged in one.changed.values()):
        drawn |= judged.faulty
    if not whole.any() and not drawn.any():
        return images, answers
    reason = "could not be judged (an internal fault; see above)"
    images = replace(
        images,
        index=images.index.without(dict.fromkeys(np.flatnonzero(whole).tolist(), reason)),
        drawn=images.drawn.without(dict.fromkeys(np.flatnonzero(drawn).tolist(), reason)),
    )
    say(f"{images.name}: {whole.sum()} images left out that could not be judged; {drawn.sum()} of those changed")
    return images, {
        name: one
        if isinstance(one, ModelError)
        else Said(one.whole[~whole], {change: judged[~drawn] for change, judged in one.changed.items()})
        for name, one in answers.items()
    }
