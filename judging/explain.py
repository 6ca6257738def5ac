"""Where a detector sees something that speaks for Fake, and whether that can be believed.

    explanation = explain(detector, picture, detector.judge(picture))
    explanation.overlay.save("heat.png")     # what the network saw, with the heat on it
    explanation.sentence                     # "Hiding the marked area moves the score from 87 % to 41 %; hiding ..."

The heat is that of the margin, the logit of Fake minus that of Real, because the score depends on nothing else: a place
that raises both logits alike is hot for the Fake logit, and changes no score. Needs NumPy and Pillow only; torch does
the work where the detector runs on torch.
"""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageFilter

from detector import Detector, ModelError, Verdict
from imaging.door import Picture
from imaging.preprocess import Box
from names import FAKE, REAL, percent

HOT = 0.2  # share of the view that is marked, and hidden by the deletion score; less where less has any heat
DRAWS = 20  # random areas of the same shape that are hidden for comparison
TRIES = 10  # places tried for each of them
BEYOND = 0.95  # at least this share of the random areas must lower the margin less than the marked one does
SHIFT = 0.05  # so much lower must the score be without it, than as it is and than theirs, for the score to hang on it
BATCH = 4  # views judged at once: a bound on memory, since a network's input may be 1024 pixels wide
OVERLAY_SIDE = 448  # pixels, at least

# From no heat to most: dark violet, purple, red, orange, pale yellow. Each is brighter than the one before, so that
# the order also survives a grey print and colour-blind eyes.
ANCHORS = (
    (0.0, (30, 12, 70)),
    (0.3, (115, 25, 115)),
    (0.6, (215, 60, 65)),
    (0.8, (250, 150, 35)),
    (1.0, (255, 250, 170)),
)
OPACITY = 0.65  # of the hottest places; places without heat are shown as they are


@dataclass(frozen=True)
class Deletion:
    """What became of the verdict when the hot area was hidden, and when random areas of the same shape were."""

    score: float  # P(fake) of the view as it is, 0 to 1
    hidden: float  # with the hot area hidden
    random: float  # with a random area hidden, on average
    drop: float  # of the margin (logit of Fake minus that of Real) with the hot area hidden; below 0, it rose
    random_drop: float  # with a random area hidden, on average
    rank: float  # share of the random areas that lower the margin less than the hot one, 0 to 1

    @property
    def explains(self) -> bool:
        """Whether the hot area matters more to the network than areas in general do."""
        return self.rank >= BEYOND and self.drop > 0


@dataclass(frozen=True)
class Explanation:
    """Why a detector gave an image its score, as far as a heat map can say."""

    heat: np.ndarray  # (h, w) float32 in [0, 1], in the pixels of the judged view
    marked: np.ndarray  # (h, w) bool, the hot area
    overlay: Image.Image  # a part of the picture in grey, the heat in colours, and a line around the hot area
    box: Box  # that part, which the view shows: x, y, width, height, pixels
    deletion: Deletion | None  # None where nothing is hot
    sentence: str
    face: int | None = None  # which of the verdict's faces this is; None where the whole picture was judged


def can_explain(detector: Detector) -> bool:
    """Whether heat maps can be drawn: with torch always, from an .onnx file unless its head has a dense layer."""
    return detector.backend.explains


def heat_map(detector: Detector, prepared: np.ndarray) -> np.ndarray:
    """(3, h, w) float32, a prepared image, to (h, w) float32 in [0, 1]: where something speaks for Fake.

    The hottest place is 1; all is 0 where nothing speaks for Fake. A place of the last feature map covers 8 pixels
    (tiny) or 32 (the others), so the map is that coarse. Raises ModelError.
    """
    if not can_explain(detector):
        raise ModelError("no heat map can be drawn from this file: it gives no feature map; use the checkpoint")
    places = np.clip(detector.backend.class_map(prepared[None])[0], 0, None)  # Grad-CAM's ReLU
    if not np.isfinite(places).all():
        raise ModelError("the model returned a feature map that is not finite")
    height, width = prepared.shape[1:]
    heat = np.asarray(Image.fromarray(places.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
    return heat / heat.max() if heat.max() > 0 else np.zeros_like(heat)


def explain(detector: Detector, picture: Picture, verdict: Verdict) -> Explanation | None:
    """The heat map of what was judged, of several faces the one that looks most fake; None where nothing was judged.

    verdict: what `detector` says of the picture. Raises ModelError.
    """
    if verdict.score is None:
        return None
    preprocess = detector.metadata.preprocess
    judged = [at for at, face in enumerate(verdict.faces) if face.score is not None]
    face = max(judged, key=lambda at: verdict.faces[at].score, default=None)
    framed = None if face is None else verdict.faces[face]
    view = preprocess.view(picture.image, framed)
    heat = heat_map(detector, preprocess.normalise(np.asarray(view)))
    marked = hot_area(heat)
    result = deletion(detector, view, marked) if marked.any() else None
    region, shown = preprocess.region(picture.image.size, framed), overlay(view, heat, marked)
    if degrees := preprocess.turn_of(framed):  # in the picture the face is not upright
        unturned = replace(preprocess, upright=False).view(picture.image, framed)
        shown = overlay(unturned, turned(heat, degrees), turned(marked, degrees))
    return Explanation(heat, marked, shown, region, result, sentence(result), face)


def turned(values: np.ndarray, degrees: float) -> np.ndarray:
    """(n, n) float32 or bool, turned clockwise about its middle; 0 and False come in at the corners."""
    kind = Image.Resampling.NEAREST if values.dtype == bool else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(values).rotate(-degrees, kind))


def hot_area(heat: np.ndarray, share: float = HOT) -> np.ndarray:
    """(h, w) bool: the hottest `share` of a heat map; fewer places where fewer have any heat."""
    order = np.argsort(-heat, axis=None, kind="stable")
    marked = np.zeros(heat.size, bool)
    marked[order[: round(share * heat.size)]] = True
    return marked.reshape(heat.shape) & (heat > 0)


def deletion(detector: Detector, view: Image.Image, marked: np.ndarray, *, draws: int = DRAWS) -> Deletion:
    """Hide an area (h, w) of a view, then random areas of its shape, one at a time, and see what becomes of the margin.

    The same picture gets the same draws each time. Raises ModelError.
    """
    draw, preprocess = np.random.default_rng(0), detector.metadata.preprocess
    areas = [marked, *(elsewhere(marked, draw) for _ in range(draws))]
    prepared = [preprocess.normalise(np.asarray(one)) for one in [view, *hidden(view, areas)]]
    batches = (np.stack(prepared[at : at + BATCH]) for at in range(0, len(prepared), BATCH))
    logits = np.concatenate([detector.logits(batch) for batch in batches]).astype(np.float64)
    margins, scores = logits[:, FAKE] - logits[:, REAL], detector.metadata.calibration.scores(logits)
    drops = margins[0] - margins[1:]
    return Deletion(
        score=float(scores[0]),
        hidden=float(scores[1]),
        random=float(scores[2:].mean()),
        drop=float(drops[0]),
        random_drop=float(drops[1:].mean()),
        rank=float((drops[1:] < drops[0]).mean()),
    )


def elsewhere(area: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """An area (n, n) of the same size and shape at a random place: turned or mirrored, and shifted around the edges.

    Of TRIES places the one with the least in common with the area itself: an area that hides half of the same evidence
    is no comparison.
    """
    return min((_moved(area, draw) for _ in range(TRIES)), key=lambda other: np.count_nonzero(area & other))


def _moved(area: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    shift = draw.integers(0, area.shape)
    turned = np.rot90(area, draw.integers(4))
    return np.roll(turned if draw.random() < 0.5 else turned.T, shift, (0, 1))


def hidden(view: Image.Image, areas: list[np.ndarray]) -> list[Image.Image]:
    """For each area (h, w) bool, the view with a blurred copy of itself there, through a soft edge.

    Blurred beyond recognition rather than painted over: colours and brightness stay, what is fine enough to tell a
    fake goes, and no hard edge comes in that the network might take for the edge of a paste.
    """
    blurred = view.filter(ImageFilter.GaussianBlur(view.width / 10))
    soft = ImageFilter.GaussianBlur(view.width / 100)
    return [Image.composite(blurred, view, Image.fromarray(area).convert("L").filter(soft)) for area in areas]


def sentence(result: Deletion | None) -> str:
    """What the deletion score says of the heat map, for people. Never that the marked area was manipulated."""
    if result is None:
        return "No place in this picture speaks for Fake to this detector, so none is marked."
    before, after, others = map(percent, (result.score, result.hidden, result.random))
    moves, to = f"moves the score from {before} to {after}", "to"
    if after == before:
        moves, to = f"leaves the score at {before}", "at"
    compared = (
        f"Hiding the marked area {moves}; hiding random areas of the same size elsewhere, {to} {others} on average"
    )
    if not result.explains:
        return f"{compared}: the marked area does not stand out among them, so this map explains little."
    if min(result.score, result.random) - result.hidden < SHIFT:
        return f"{compared}: the score does not hang on this area."
    return f"{compared}."


def overlay(view: Image.Image, heat: np.ndarray, marked: np.ndarray) -> Image.Image:
    """The view in grey, enlarged to at least OVERLAY_SIDE, its heat in colours and a line around the hot area."""
    factor = -(-OVERLAY_SIDE // view.width)
    size = (factor * view.width, factor * view.height)
    # The very pixels the network saw, but grey: then every colour in the overlay is heat.
    pixels = np.asarray(view.convert("L").resize(size, Image.Resampling.NEAREST), np.float32)[..., None]
    smooth = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR))
    opacity = OPACITY * smooth[..., None]
    mixed = np.rint(pixels + opacity * (colours(smooth) - pixels)).astype(np.uint8)
    area = np.kron(marked, np.ones((factor, factor), bool))
    mixed[outline(area, 3)], mixed[outline(area, 1)] = 0, 255  # white within black: seen on any picture
    return Image.fromarray(mixed)


def colours(heat: np.ndarray) -> np.ndarray:
    """(h, w) in [0, 1] to (h, w, 3) float32, 0 to 255: between the ANCHORS, straight lines."""
    at, anchors = [place for place, _ in ANCHORS], np.array([colour for _, colour in ANCHORS], np.float32)
    return np.stack([np.interp(heat, at, anchors[:, c]) for c in range(3)], -1).astype(np.float32)


def outline(area: np.ndarray, reach: int) -> np.ndarray:
    """(h, w) bool to (h, w) bool: the pixels within `reach` of a border between the area and the rest."""
    image, size = Image.fromarray(area).convert("L"), 2 * reach + 1
    most, least = image.filter(ImageFilter.MaxFilter(size)), image.filter(ImageFilter.MinFilter(size))
    return np.asarray(most) != np.asarray(least)
