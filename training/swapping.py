"""Fakes made of Real images alone: eyes, nose, mouth or the inner face of another person, put over one's own.

    donors = Donors(samples, points, sizes, sources)                     # once: the Real faces of the training set
    swap = plan(i, points_of_i, size, donors, draw)                      # None where no donor fits
    image = part_swapped(image, swap, pictures[swap.donor], draw)        # the composite, a Fake

Method: Li et al., "Face X-ray for More General Face Forgery Detection", CVPR 2020: blended faces from Real images, the
donor chosen by the likeness of its landmarks, its colours matched inside the mask. Theirs takes the nearest of all
faces by 68 landmarks and changes the hull of them all; ours has the finder's five points, takes the best of forty drawn
from the same source, and changes single parts as well, as people do by hand. Only the part's surroundings are touched.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from imaging import corruptions
from training.blending import rendered_anew

CANDIDATES = 40  # donors among which the best is taken
# Middle and half axes of each part in the face's own axes, from the middle of the eyes: x to the side, in distances
# between the eyes; y downwards, in those from the line of the eyes to that of the mouth.
PARTS = {
    "eyes": ((0.0, -0.05), (0.92, 0.34)),
    "nose": ((0.0, 0.42), (0.4, 0.44)),
    "mouth": ((0.0, 1.02), (0.62, 0.36)),
    "inner": ((0.0, 0.48), (0.92, 0.94)),
}
DRAWN_PARTS = ("eyes", "nose", "mouth", "inner", "inner")
SIZES = (0.88, 1.1)  # factor on each half axis
WAVES = 0.05  # of the outline, each, at most, as a share of its radius
FEATHER = (0.05, 0.14)  # standard deviation of the seam's blur, in distances between the eyes
TURNED, SCALED, SHIFTED = 2.0, 0.03, 0.03  # what careless hands add, at most: degrees, share, distances between eyes
SMALLEST = 12.0  # distance between the eyes below which a part is a few pixels, pixels
ENLARGED = 1.6  # a donor is enlarged by no more, or its softness would tell
SEEN = 0.5  # share of the part that the training image must show
STRETCHED = (0.5, 2.0)  # factor on the part's deviation where colours are matched
MATCHED = (0.6, 1.0)  # how much of the difference in colours is taken away where hands are careless
CARELESS, SMOOTH, HALF, SAVED = 0.25, 0.3, 0.15, 0.4  # how often: see _in_its_colours, _mask and _part
QUALITY = (50, 95)  # of the JPEG that a part is saved as before it is put in
STRENGTHS = (0.6, 0.8, 1.0, 1.0, 1.0)  # of the part inside its mask
GRID = 3  # pixels
CORNERS = np.linspace(0, 2 * np.pi, 48, endpoint=False)  # of an outline


class Donors:
    """The Real faces that parts are taken from, as shapes that can be compared at once.

    samples: (n,) their numbers in the index. points: (n, 5, 2) as in a Face, pixels of their pictures. sizes: (n, 2)
    width and height of those. sources: of each, which says where colours and codec are alike.
    """

    def __init__(self, samples: Sequence[int], points: np.ndarray, sizes: np.ndarray, sources: Sequence[str]):
        self.samples, self.sizes = np.asarray(samples, int), np.asarray(sizes).reshape(-1, 2)
        places = _complex(np.asarray(points, float).reshape(-1, 5, 2))
        self.middles = places.mean(1)
        self.extents = np.maximum(1e-6, np.linalg.norm(places - self.middles[:, None], axis=1))
        self.shapes = (places - self.middles[:, None]) / self.extents[:, None]
        named = np.asarray(sources, dtype=object)
        self.rows = {source: np.flatnonzero(named == source) for source in dict.fromkeys(sources)}
        self.source_of = dict(zip(self.samples.tolist(), sources, strict=True))

    def by_likeness(self, i: int, points: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """Rows of at most CANDIDATES others, the most alike first: of the source of `i` if it has another, else of all.

        Likeness is what a similarity transform onto the points leaves over, by least squares. points: (5,) complex.
        """
        rows = self.rows[self.source_of[i]]
        if len(rows) < 2:
            rows = np.arange(len(self.samples))
        rows = np.unique(rows[draw.integers(len(rows), size=CANDIDATES)])
        shape = points - points.mean()
        extent = np.linalg.norm(shape)
        rows = rows[(self.samples[rows] != i) & (self.extents[rows] * ENLARGED > extent)]
        return rows[np.argsort(-np.abs(self.shapes[rows].conj() @ shape), kind="stable")]


@dataclass(frozen=True)
class Swap:
    """What is put where. A place z of the picture, as a complex number, is the donor's turn * z + start."""

    donor: int  # its number in the index
    part: str
    outline: np.ndarray  # (k, 2) pixels of the picture
    feather: float  # pixels
    turn: complex
    start: complex

    def box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of what a picture of this size shows of the part."""
        beyond = 3 * self.feather + 1
        low, high = np.floor(self.outline.min(0) - beyond), np.ceil(self.outline.max(0) + beyond)
        return *np.clip(low, 0, size).astype(int).tolist(), *np.clip(high, 0, size).astype(int).tolist()


def plan(
    i: int,
    points: np.ndarray,
    size: tuple[int, int],
    donors: Donors,
    draw: np.random.Generator,
    seen: tuple[float, float, float, float] | None = None,
) -> Swap | None:
    """Part, donor and where it goes for sample `i`, one of the donors' samples; None where none fits.

    points: (5, 2) as in a Face, pixels of a picture of this size; they may lie outside it. seen: left, top, right and
    bottom of what the training image will show of it (all by default): a part must lie there, or the label would lie.
    """
    places = _complex(np.asarray(points, float))
    eyes, mouth = places[:2].mean(), places[3:].mean()
    across, down = places[1] - places[0], mouth - eyes
    between = max(abs(across), 0.7 * abs(down))  # of a face seen from the side the eyes are close together
    if min(between, abs(down), 2 * abs(across)) < SMALLEST:
        return None
    part = DRAWN_PARTS[draw.integers(len(DRAWN_PARTS))]
    turned = ((places[2] - eyes) * across.conjugate()).real / abs(across) ** 2  # where the nose points
    outline = eyes + _outline(part, across, down, turned, draw)
    feather = float(draw.uniform(*FEATHER) * between)
    slip = (1 + SCALED * draw.uniform(-1, 1)) * np.exp(1j * np.radians(TURNED) * draw.uniform(-1, 1))
    shift = SHIFTED * between * complex(*draw.uniform(-1, 1, 2))
    if _share_seen(outline, seen or (0, 0, *size)) < SEEN:
        return None
    shape, middle = places - places.mean(), places.mean()
    for row in donors.by_likeness(i, places, draw).tolist():
        # Least squares of turn * shape + the donor's middle = the donor's places, and then the slip about the part.
        turn = donors.extents[row] * np.vdot(shape, donors.shapes[row]) / np.vdot(shape, shape)
        pivot = outline.mean()
        start = donors.middles[row] + turn * (pivot + shift - slip * pivot - middle)
        swap = Swap(int(donors.samples[row]), part, _plane(outline), feather, complex(turn * slip), complex(start))
        if _is_covered(swap, size, donors.sizes[row]):
            return swap
    return None


def part_swapped(
    image: Image.Image,
    swap: Swap,
    donor: np.ndarray,
    draw: np.random.Generator,
    corner: tuple[float, float] = (0, 0),
) -> Image.Image:
    """The image with the donor's part in it. Same size, RGB; outside of the part's seam it is the same to the bit.

    donor: (h, w, 3) uint8, the donor's picture. corner: left and top of the image in the picture that was planned for.
    """
    corner = np.asarray(corner, int)
    low, high = np.reshape(swap.box(tuple(corner + image.size)), (2, 2)).clip(min=corner)
    shown = (low < high).all() and (mask := _mask(swap, low, tuple((high - low).tolist()), draw)).getbbox()
    if not shown:
        return image
    low, high = low + shown[:2], low + shown[2:]  # turning a donor is what takes the time
    box = (*(low - corner).tolist(), *(high - corner).tolist())
    below, mask = image.crop(box), mask.crop(shown)
    part = _part(donor, swap, low, below.size, draw)
    image = image.copy()
    image.paste(_in_its_colours(part, below, mask, draw), box[:2], mask)
    return image


def _outline(part: str, across: complex, down: complex, turned: float, draw: np.random.Generator) -> np.ndarray:
    """(k,) complex, from the middle of the eyes: an ellipse in the face's axes that waves a little.

    turned: the nose's x in the face's axes. On the side that it points to, less of the face is seen.
    """
    middle, axes = np.array(PARTS[part])
    axes = axes * draw.uniform(*SIZES, 2)
    radius = 1 + sum(
        WAVES * draw.uniform(-1, 1) * np.cos(waves * CORNERS + draw.uniform(0, 2 * np.pi)) for waves in (2, 3, 5)
    )
    x, y = middle[:, None] + radius * axes[:, None] * (np.cos(CORNERS), np.sin(CORNERS))
    narrowed = min(1.0, max(0.45, 1.1 - 1.5 * abs(turned)))
    return np.where(x * turned > 0, narrowed, 1.0) * x * across + y * down


def _share_seen(outline: np.ndarray, seen: tuple[float, float, float, float]) -> float:
    """How much of the outline's bounding box lies in that rectangle."""
    low, high = _plane(outline).min(0), _plane(outline).max(0)
    shown = np.minimum(high, seen[2:]) - np.maximum(low, seen[:2])
    return float(np.prod(shown.clip(min=0)) / np.prod(high - low))


def _is_covered(swap: Swap, size: tuple[int, int], donor_size: np.ndarray) -> bool:
    """Whether the donor's picture has all that the picture shows of the part."""
    taken = _plane(swap.turn * _complex(swap.outline.clip(0, size)) + swap.start)
    return bool((taken >= -1).all() and (taken <= donor_size + 1).all())


def _part(donor: np.ndarray, swap: Swap, corner: np.ndarray, size: tuple[int, int], draw: np.random.Generator):
    """The donor as it comes to lie over the rectangle at `corner` of the picture: an image of this size.

    Before it is turned it is one that another camera made, and at times one that was saved as JPEG once more.
    """
    left, top = corner.tolist()
    corners = np.array([complex(left + x, top + y) for x in (0, size[0]) for y in (0, size[1])])
    taken = _plane(swap.turn * corners + swap.start)
    low = np.floor(taken.min(0) - 4).astype(int) // 8 * 8  # where a JPEG's blocks begin
    high = np.ceil(taken.max(0) + 4).astype(int)
    piece = Image.fromarray(_cut(donor, low, high))
    reduced = np.ones(2)
    if abs(swap.turn) > 1.2:  # turning leaves out pixels, resizing takes their mean
        smaller = tuple(max(1, round(side / abs(swap.turn))) for side in piece.size)
        reduced = np.divide(smaller, piece.size)
        piece = piece.resize(smaller, Image.Resampling.BICUBIC)
    piece = rendered_anew(piece, draw)
    if draw.random() < SAVED:
        piece = corruptions.jpeg(piece, int(draw.integers(QUALITY[0], QUALITY[1] + 1)))
    turn, start = swap.turn, swap.turn * complex(left, top) + swap.start - complex(*low.tolist())
    rows = np.array([(turn.real, -turn.imag, start.real), (turn.imag, turn.real, start.imag)]) * reduced[:, None]
    return piece.transform(size, Image.Transform.AFFINE, tuple(rows.ravel().tolist()), Image.Resampling.BICUBIC)


def _cut(picture: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The rectangle from (x, y) to (x, y); where it goes beyond the picture, its outermost pixels are repeated."""
    first, last = low.clip(min=0), high.clip(max=picture.shape[1::-1])
    cut = picture[first[1] : last[1], first[0] : last[0]]
    before, after = first - low, high - last
    if not (before.any() or after.any()):
        return np.ascontiguousarray(cut)
    return np.pad(cut, ((before[1], after[1]), (before[0], after[0]), (0, 0)), mode="edge")


def _mask(swap: Swap, corner: np.ndarray, size: tuple[int, int], draw: np.random.Generator) -> Image.Image:
    """How much of the part is seen: an image of kind L, 0 to 255. At times one half of it fades away."""
    mask = Image.new("L", size)
    outline = swap.outline - corner
    strength = STRENGTHS[draw.integers(len(STRENGTHS))]
    ImageDraw.Draw(mask).polygon([tuple(place) for place in outline.tolist()], fill=round(255 * strength))
    mask = mask.filter(ImageFilter.GaussianBlur(swap.feather))
    if draw.random() < HALF:
        way, middle = np.exp(2j * np.pi * draw.random()), outline.mean(0)
        x, y = (np.arange(side, dtype=np.float32) + 0.5 - at for side, at in zip(size, middle.tolist(), strict=True))
        along = np.float32(way.real) * x + np.float32(way.imag) * y[:, None]
        mask = Image.fromarray((mask * (0.5 + along / (6 * swap.feather)).clip(0, 1)).astype(np.uint8))
    return mask


def _in_its_colours(part: Image.Image, below: Image.Image, mask: Image.Image, draw: np.random.Generator) -> Image.Image:
    """The part in the colours of what lies below it: mean and deviation of each channel inside the mask.

    Careless hands match them half-heartedly. At times the differences along the seam are spread over the whole part as
    well, as gradient-domain blending does. All is measured on every GRID-th pixel of every GRID-th row.
    """
    weights = np.asarray(mask, np.float32)[::GRID, ::GRID] / 255
    pixels = np.stack([np.asarray(image)[::GRID, ::GRID] for image in (below, part)]).astype(np.float32)
    flat, shares = pixels.reshape(2, -1, 3), weights.ravel() / max(1e-6, float(weights.sum()))
    means = shares @ flat
    deviations = np.sqrt((shares @ flat**2 - means**2).clip(min=0))
    gain = (deviations[0] / deviations[1].clip(min=1)).clip(*STRETCHED)
    shift = means[0] - gain * means[1]
    if draw.random() < CARELESS:
        much = np.float32(draw.uniform(*MATCHED))
        gain, shift = 1 + much * (gain - 1), much * shift
    tables = gain[:, None] * np.arange(256, dtype=np.float32) + shift[:, None]
    part = part.point(np.rint(tables.clip(0, 255)).astype(int).ravel().tolist())
    if draw.random() < SMOOTH:
        missing = _membrane(pixels[0] - (gain * pixels[1] + shift), weights)
        missing = Image.fromarray(np.rint(missing + 128).clip(0, 255).astype(np.uint8))
        part = ImageChops.add(part, missing.resize(part.size, Image.Resampling.BILINEAR), offset=-128)
    return part


def _membrane(difference: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(h, w, 3): the differences along the seam, interpolated smoothly over all of the rectangle.

    Added to a part, it makes the part fit at its seam and leaves its gradients nearly as they are. Perez et al.,
    "Poisson Image Editing" (SIGGRAPH 2003), solve for the membrane; here it is a mean weighed by closeness.
    """
    height, width = mask.shape
    seam = 4 * mask * (1 - mask)
    stacked = np.concatenate([difference * seam[:, :, None], seam[:, :, None]], 2).transpose(2, 0, 1)
    total = np.zeros_like(stacked)
    for share in (0.06, 0.3):
        sigma = share * min(height, width) + 1
        total += _closeness(height, sigma) @ stacked @ _closeness(width, sigma) / np.float32(sigma**2)
    return (total[:3] / total[3].clip(min=1e-5)).transpose(1, 2, 0)


def _closeness(n: int, sigma: float) -> np.ndarray:
    """(n, n) float32: a Gaussian of the distance between two rows."""
    places = np.arange(n, dtype=np.float32)
    return np.exp(-((places[:, None] - places) ** 2) / np.float32(2 * sigma**2))


def _complex(points: np.ndarray) -> np.ndarray:
    """(..., 2) to (...), x + iy."""
    return points[..., 0] + 1j * points[..., 1]


def _plane(places: np.ndarray) -> np.ndarray:
    """The inverse of _complex."""
    return np.stack([places.real, places.imag], -1)
