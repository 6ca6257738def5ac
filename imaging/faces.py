"""Where the faces of a picture are, and the square that frames each: YuNet through ONNX Runtime, decoded in NumPy.

    find = FaceFinder()
    faces, count = find(picture.image)     # largest first: (Face(box=(x, y, w, h), confidence=0.94, ...), ...)
    frame_square(faces[0].box, picture.image.size, margin=1.05)   # (left, top, right, bottom)
    turned_square(picture.image, square, faces[0].turn, size=224, resampling=...)   # the same with its eyes level

Method: Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research, 2023.
The network and its licence lie in models/.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

FINDER_VERSION = 4  # raise it when a box changes for any picture: it keys stored boxes
MODEL = Path(__file__).parent.parent / "models" / "yunet_n_dynamic.onnx"

CONFIDENCE = 0.6
OVERLAP = 0.3  # intersection over union above which two boxes are one face
SEARCH_SIDES = (96, 640)  # long side of the searched copies, pixels; the small one finds faces that fill the picture
LAST_SIDE = 1024  # searched only if nothing was found, or faces so small that smaller ones may be there
SMALL = 40  # pixels of the copy of SEARCH_SIDES
MAX_FACES = 100  # the largest; more are counted, not looked at

# The network's boxes jump by a few hundredths of a face as it moves against the network's grid. So each face is looked
# at again in close-ups of one fixed scale: (how many boxes wide, shift in widths), each row of them averaged, and the
# next row taken around the average. The box then hardly depends on how large the picture is.
CLOSE_UP = 128  # pixels
LOOKS = (
    ((2.0, 0.0, 0.0),),
    ((1.7, 0.03, 0.0), (1.9, -0.022, 0.02), (2.1, 0.003, -0.03), (2.3, 0.018, 0.024)),
    ((1.7, 0.03, 0.0), (1.9, -0.022, 0.02), (2.1, 0.003, -0.03), (2.3, 0.018, 0.024)),
)

# How far a face is turned: the five points of an upright one, and how much farther it is turned than its points say.
# The network knows upright faces, and moves the points of others towards where those of an upright one would be: of 40
# photographs turned by 10, 20 and 30 degrees, the points turned by 3.8, 7.0 and 9.8. A second look, at the face turned
# back by then, finds what is left: 10.7, 18.0 and 28.4 in all (docs/experiments.md, 2026-11-27).
UPRIGHT = np.array(((-0.2, -0.116), (0.136, -0.121), (-0.048, 0.083), (-0.164, 0.24), (0.118, 0.235)))
TURNED_FARTHER = 2.5
MOST_TURNED = 45.0  # degrees; beyond, the points say nothing
LEAST_TURNED = 8.0  # degrees; below, the measurement errs by as much, and a face is left as it is

# The network's three maps: stride in pixels. One row of a map is one cell, row-major.
_STRIDES = (8, 16, 32)
# A row of detections: x, y, width, height, ten coordinates of five points, confidence.
_X, _Y, _W, _H, _POINTS, _CONFIDENCE = 0, 1, 2, 3, slice(4, 14), 14

Box = tuple[float, float, float, float]  # x, y, width, height, pixels


class Framed(Protocol):
    """What framing needs to know of a face."""

    @property
    def box(self) -> Box: ...

    @property
    def turn(self) -> float: ...


@dataclass(frozen=True)
class Face:
    """A face in a picture; lengths in pixels of that picture."""

    box: Box  # may reach beyond the picture's edge
    points: tuple[tuple[float, float], ...]  # right eye, left eye, tip of the nose, right and left corner of the mouth
    confidence: float  # 0 to 1
    turn: float = 0.0  # degrees clockwise, -MOST_TURNED to MOST_TURNED; 0 is upright

    @property
    def row(self) -> list[float]:
        """Its 16 numbers: box, points, confidence, turn."""
        return [*self.box, *(place for point in self.points for place in point), self.confidence, self.turn]

    @classmethod
    def from_row(cls, row: Sequence[float]) -> "Face":
        """The inverse of `row`."""
        return cls(tuple(row[:4]), tuple(zip(row[4:14:2], row[5:14:2], strict=True)), *row[_CONFIDENCE:])


class FaceFinder:
    """Finds faces. Made once, used for many pictures, safe to share between threads.

    threads: of one inference; with more than one picture at work, 1 is best.
    """

    def __init__(self, *, threads: int = 1):
        self.threads = threads

    @cached_property
    def session(self):
        import onnxruntime  # here: a detector of whole pictures needs none

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        return onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])

    def __call__(self, image: Image.Image) -> tuple[tuple[Face, ...], int]:
        """(faces of an upright RGB image, largest first and at most MAX_FACES, how many there are)."""
        rows = _largest_first(self.search(image))
        looked_at = [self.look_closer(image, row) for row in rows[:MAX_FACES]]
        faces = _largest_first(_distinct(np.array(looked_at).reshape(-1, 16)))
        found = tuple(map(Face.from_row, faces.tolist()))
        return found, len(found) + max(0, len(rows) - MAX_FACES)

    def search(self, image: Image.Image) -> np.ndarray:
        """(n, 15) detections, in pixels of the image, from copies reduced to SEARCH_SIDES, else to LAST_SIDE."""
        copies = [_reduced(image, SEARCH_SIDES[1])]
        copies.append(_reduced(copies[0], SEARCH_SIDES[0]))
        rows = _distinct(np.concatenate([_scaled(self.detect(copy), image.width / copy.width) for copy in copies]))
        smallest = rows[:, _W : _H + 1].max(1).min(initial=np.inf) * copies[0].width / image.width
        if max(image.size) > SEARCH_SIDES[1] and (not len(rows) or smallest < SMALL):
            copy = _reduced(image, LAST_SIDE)
            rows = _distinct(np.concatenate([rows, _scaled(self.detect(copy), image.width / copy.width)]))
        return rows

    def look_closer(self, image: Image.Image, row: np.ndarray) -> np.ndarray:
        """(15,) to (16,): the same face, found again in close-ups, and its turn.

        Where the close-ups do not show it, the first finding stands.
        """
        around = _Surroundings(image, row)
        for looks in LOOKS:
            squares = [_square(row, *look) for look in looks]
            close_ups = np.stack([_pixels(around.close_up(*square)) for square in squares])
            found = []
            for (left, top, side), again in zip(squares, self.detect_all(close_ups), strict=True):
                again = _scaled(again, side / CLOSE_UP)
                again[:, :_CONFIDENCE] += np.tile((left, top), 7) * _IS_PLACE
                shares = _overlaps(row, again)
                if len(again) and shares.max() > 0.5:
                    found.append(again[np.argmax(shares)])
            if not found:
                break
            row = np.mean(found, axis=0)
        return np.append(row, self.turn(around, row))

    def turn(self, around: "_Surroundings", row: np.ndarray) -> float:
        """Degrees clockwise by which a face is turned, from its points and from those of a look at it turned back."""
        degrees = float(np.clip(TURNED_FARTHER * _turn_of(row[_POINTS]), -MOST_TURNED, MOST_TURNED))
        side = LOOKS[0][0][0] * max(row[_W], row[_H])
        again = self.detect(around.turned_back(row[_X] + row[_W] / 2, row[_Y] + row[_H] / 2, side, degrees))
        if len(again):
            off = np.abs(again[:, [_X, _Y]] + again[:, [_W, _H]] / 2 - CLOSE_UP / 2).sum(1)
            degrees += _turn_of(again[np.argmin(off), _POINTS])
        return float(np.clip(degrees, -MOST_TURNED, MOST_TURNED))

    def detect(self, image: Image.Image) -> np.ndarray:
        """(n, 15) detections in an image at its own size, most confident first, in its pixels."""
        return self.detect_all(_pixels(image)[None])[0]

    def detect_all(self, batch: np.ndarray) -> list[np.ndarray]:
        """(b, 3, h, w) float32 BGR, 0 to 255, sides multiples of 32, to the (n, 15) detections in each image."""
        names = [f"{kind}_{stride}" for stride in _STRIDES for kind in ("cls", "obj", "bbox", "kps")]
        maps = self.session.run(names, {self.session.get_inputs()[0].name: batch})
        columns = [batch.shape[3] // stride for stride in _STRIDES]
        return [
            _distinct(
                np.concatenate(
                    [
                        _decode(*(values[i] for values in maps[4 * k : 4 * k + 4]), stride, columns[k])
                        for k, stride in enumerate(_STRIDES)
                    ]
                )
            )
            for i in range(len(batch))
        ]


_IS_PLACE = np.array([1, 1, 0, 0] + [1] * 10)  # which of a row's lengths are places, and move with the origin


class _Surroundings:
    """A face and what lies around it, cut out and reduced once for all close-ups. Black beyond the picture."""

    def __init__(self, image: Image.Image, row: np.ndarray):
        side = 3 * max(row[_W], row[_H])
        self.factor = max(1, int(side / (1.7 * CLOSE_UP)))  # still finer than any close-up
        self.left, self.top = int(row[_X] + row[_W] / 2 - side / 2), int(row[_Y] + row[_H] / 2 - side / 2)
        # The picture's edge lies between two pixels of the reduced copy.
        self.left, self.top = (at // self.factor * self.factor if at < 0 else at for at in (self.left, self.top))
        span = int(side / self.factor) + 2  # pixels of the reduced copy
        if self.factor == 1:
            self.image = image.crop((self.left, self.top, self.left + span, self.top + span))
        else:
            self.image = self._reduced(image, span)

    def _reduced(self, image: Image.Image, span: int) -> Image.Image:
        """What lies inside the picture, reduced where it is, on black.

        To cut three widths of a face out first would take nine close-ups of it at full size: more than Pillow allows.
        """
        copy, factor = Image.new("RGB", (span, span)), self.factor
        left, top = max(0, self.left), max(0, self.top)
        right, bottom = min(image.width, self.left + span * factor), min(image.height, self.top + span * factor)
        if left < right and top < bottom:
            inside = image.reduce(factor, (left, top, right, bottom))
            copy.paste(inside, ((left - self.left) // factor, (top - self.top) // factor))
        return copy

    def close_up(self, left: float, top: float, side: float) -> Image.Image:
        """A square of the picture at CLOSE_UP pixels."""
        x, y, width = (left - self.left) / self.factor, (top - self.top) / self.factor, side / self.factor
        box = (x, y, x + width, y + width)
        if min(x, y) < 0 or max(x, y) + width > self.image.width:  # the box has moved far: rare, and a little slower
            box = tuple(round(edge) for edge in box)
            return self.image.crop(box).resize((CLOSE_UP, CLOSE_UP), Image.Resampling.BILINEAR)
        return self.image.resize((CLOSE_UP, CLOSE_UP), Image.Resampling.BILINEAR, box=box)

    def turned_back(self, x: float, y: float, side: float, degrees: float) -> Image.Image:
        """A square of the picture around a place, turned counter-clockwise, at CLOSE_UP pixels."""
        x, y, scale = (x - self.left) / self.factor, (y - self.top) / self.factor, side / self.factor / CLOSE_UP
        return _turned(self.image, x, y, scale, degrees, CLOSE_UP, Image.Resampling.BILINEAR)


def _turn_of(points: np.ndarray) -> float:
    """Degrees clockwise by which five points, (10,), are turned against UPRIGHT, whatever their size and place.

    Source: the rotation of a similarity transform, by least squares (Umeyama, 1991).
    """
    found, upright = (places.reshape(5, 2) - places.reshape(5, 2).mean(0) for places in (points, UPRIGHT))
    across = upright[:, 0] * found[:, 1] - upright[:, 1] * found[:, 0]
    return math.degrees(math.atan2(across.sum(), (upright * found).sum()))


def _turned(image: Image.Image, x: float, y: float, scale: float, degrees: float, size: int, resampling) -> Image.Image:
    """A square around (x, y), turned counter-clockwise, at size x size pixels of `scale` of the image's each."""
    cosine, sine = (scale * of(math.radians(degrees)) for of in (math.cos, math.sin))
    left, top = x - size / 2 * (cosine - sine), y - size / 2 * (sine + cosine)
    back = (cosine, -sine, left, sine, cosine, top)
    return image.transform((size, size), Image.Transform.AFFINE, back, resampling)


def _square(row: np.ndarray, zoom: float, right: float, down: float) -> tuple[float, float, float]:
    """(left, top, side) of a close-up: `zoom` boxes wide, shifted in units of its side."""
    side = zoom * max(row[_W], row[_H])
    return (
        row[_X] + row[_W] / 2 + (right - 0.5) * side,
        row[_Y] + row[_H] / 2 + (down - 0.5) * side,
        side,
    )


def _pixels(image: Image.Image) -> np.ndarray:
    """An RGB image to what the network reads: (3, h, w) float32 BGR, 0 to 255, padded to multiples of 32."""
    width, height = image.size
    padded = np.zeros((3, -(-height // 32) * 32, -(-width // 32) * 32), np.float32)
    padded[:, :height, :width] = np.asarray(image)[:, :, ::-1].transpose(2, 0, 1)
    return padded


def frame_square(box: Box, size: tuple[int, int], *, margin: float) -> tuple[float, float, float, float]:
    """The square around a face as (left, top, right, bottom), in fractions of pixels.

    Its side is the box's longer one times `margin`; it is moved, and if need be shrunk, to lie inside the picture, so
    that no frame ever has an invented border.
    """
    x, y, width, height = box
    side = min(margin * max(width, height), *size)
    left = min(max(0.0, x + width / 2 - side / 2), size[0] - side)
    top = min(max(0.0, y + height / 2 - side / 2), size[1] - side)
    return left, top, left + side, top + side


def turned_square(
    image: Image.Image, square: tuple[float, float, float, float], degrees: float, *, size: int, resampling
) -> Image.Image:
    """A square (left, top, right, bottom) of the picture, turned about its middle: what is turned clockwise is upright.

    size: of the result, pixels. The picture is reduced or enlarged first, where its pixels lie, then turned: so large
    faces cost no more, and nothing is aliased. What the corners show beyond the picture is its own mirror image.
    """
    left, top, right, bottom = square
    x, y, scale = (left + right) / 2, (top + bottom) / 2, (right - left) / size
    reach = (right - left) / 2 * (abs(math.cos(math.radians(degrees))) + abs(math.sin(math.radians(degrees))))
    low, high = np.array((x - reach, y - reach)), np.array((x + reach, y + reach))
    inside = np.concatenate([low.clip(0), np.minimum(high, image.size)])
    pixels = np.maximum(1, np.rint((inside[2:] - inside[:2]) / scale)).astype(int)
    part = image.resize(tuple(pixels.tolist()), resampling, box=tuple(inside.tolist()))
    before, after = (np.ceil(lack.clip(0) / scale).astype(int) + 2 for lack in (-low, high - image.size))
    part = Image.fromarray(np.pad(part, ((before[1], after[1]), (before[0], after[0]), (0, 0)), "symmetric"))
    middle = (np.array((x, y)) - inside[:2]) * pixels / (inside[2:] - inside[:2]) + before
    return _turned(part, *middle.tolist(), 1, degrees, size, resampling)


def _decode(cls, obj, boxes, points, stride: int, columns: int) -> np.ndarray:
    """The confident cells of one map as rows. cls, obj: (n, 1); boxes: (n, 4); points: (n, 10)."""
    confidence = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
    chosen = np.flatnonzero(confidence >= CONFIDENCE)
    cells = np.stack([chosen % columns, chosen // columns], 1)
    middle, size = (cells + boxes[chosen, :2]) * stride, np.exp(boxes[chosen, 2:]) * stride
    places = (np.tile(cells, 5) + points[chosen]) * stride
    return np.concatenate([middle - size / 2, size, places, confidence[chosen, None]], 1).astype(np.float64)


def _largest_first(rows: np.ndarray) -> np.ndarray:
    return rows[np.argsort(-rows[:, _W] * rows[:, _H], kind="stable")]


def _distinct(rows: np.ndarray) -> np.ndarray:
    """Non-maximum suppression: of boxes that overlap, the most confident."""
    rows, kept = rows[np.argsort(-rows[:, _CONFIDENCE], kind="stable")], []
    while len(rows):
        kept.append(rows[0])
        rows = rows[1:][_overlaps(rows[0], rows[1:]) <= OVERLAP]
    return np.array(kept).reshape(-1, rows.shape[1])


def _overlaps(row: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with each of the others."""
    low = np.maximum(row[:2], rows[:, :2])
    high = np.minimum(row[:2] + row[2:4], rows[:, :2] + rows[:, 2:4])
    shared = np.clip(high - low, 0, None).prod(1)
    return shared / (row[2:4].prod() + rows[:, 2:4].prod(1) - shared)


def _scaled(rows: np.ndarray, factor: float) -> np.ndarray:
    return np.concatenate([rows[:, :_CONFIDENCE] * factor, rows[:, _CONFIDENCE:]], 1)


def _reduced(image: Image.Image, side: int) -> Image.Image:
    """The image, or a copy of which the longer side is `side`.

    A large one is thinned out first, to twice the side: averaging all of twelve megapixels would take as long as
    searching the copy, which only says where to look closer.
    """
    if max(image.size) <= side:
        return image
    width, height = (max(1, round(length * side / max(image.size))) for length in image.size)
    if max(image.size) >= 4 * side:
        return image.resize((2 * width, 2 * height), Image.Resampling.NEAREST).reduce(2)
    return image.resize((width, height), Image.Resampling.BILINEAR)
