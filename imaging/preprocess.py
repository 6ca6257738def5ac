"""From an upright RGB image to the array a network sees: one frozen description, one implementation.

    preprocess = Preprocess(size=224, fit="crop", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    array = preprocess(picture.image)        # (3, 224, 224) float32
    arrays = preprocess.views(picture.image, faces)      # (k, 3, 224, 224): one for each face, where `frame` is "face"

The description is written into every checkpoint and read back from it, so how an image is prepared
is never a flag of a program that judges. Pillow and NumPy do the work, whatever runs the network.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from imaging.faces import LEAST_TURNED, Box, Framed, frame_square, turned_square

FITS = ("crop", "resize")
FRAMES = ("whole", "face")
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes the input of a network.

    size: height and width of the input, pixels.
    fit: "crop" takes the centre at its native resolution, where a generator's traces are intact, and enlarges
        the image first only if a side is shorter than `size`; "resize" squeezes the whole image to a square.
    mean, std: per channel (red, green, blue), in units of the pixel range [0, 1].
    interpolation: "bilinear" or "bicubic", antialiased, for every resizing.
    frame: "whole" looks at the picture, as `fit` says; "face" at the square around each face (`frame_square`), resized
        to the input whatever `fit` says, so that all faces come at one scale.
    margin: side of that square, in units of the longer side of the face's box.
    upright: whether that square is turned as the face is, where that is by LEAST_TURNED or more: the network then sees
        every face about upright.
    mirror: whether the network also looks at each view's mirror image; the mean of both answers counts. Takes twice as
        long.
    """

    size: int = 224
    fit: str = "crop"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    interpolation: str = "bilinear"
    frame: str = "whole"
    margin: float = 1.05
    mirror: bool = False
    upright: bool = False

    def __post_init__(self):
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        if not isinstance(self.size, int) or not 16 <= self.size <= 1024:
            raise ValueError(f"size is {self.size!r}; it must be a whole number from 16 to 1024 pixels")
        if self.fit not in FITS:
            raise ValueError(f"fit is {self.fit!r}; choose from {', '.join(FITS)}")
        if self.interpolation not in _RESAMPLING:
            raise ValueError(f"interpolation is {self.interpolation!r}; choose from {', '.join(_RESAMPLING)}")
        if self.frame not in FRAMES:
            raise ValueError(f"frame is {self.frame!r}; choose from {', '.join(FRAMES)}")
        if not 0.5 <= self.margin <= 3:
            raise ValueError(f"margin is {self.margin}; it must be from 0.5 to 3")
        for name in ("mirror", "upright"):
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name} is {value!r}; it must be true or false")
        if len(self.mean) != 3 or not all(abs(value) < 10 for value in self.mean):
            raise ValueError(f"mean is {self.mean}; it must be three numbers")
        if len(self.std) != 3 or not all(0 < value < 10 for value in self.std):
            raise ValueError(f"std is {self.std}; it must be three numbers above 0")

    def __call__(self, image: Image.Image, face: Framed | None = None) -> np.ndarray:
        """An upright RGB image to a (3, size, size) float32 array, normalised. `face`: the one to frame, if any."""
        return self.normalise(np.asarray(self.view(image, face)))

    def views(self, image: Image.Image, faces: Sequence[Framed] = ()) -> np.ndarray:
        """(k, 3, size, size) float32: each of the k faces where `frame` is "face", none without any; else one view."""
        return self.prepared(self.seen(image, faces))

    def seen(self, image: Image.Image, faces: Sequence[Framed] = ()) -> list[Image.Image]:
        """The same as size x size RGB images."""
        return [self.view(image, face) for face in (faces if self.frame == "face" else (None,))]

    def sides(self, size: tuple[int, int], faces: Sequence[Framed] = ()) -> list[float]:
        """The longer side of what each of them shows, in pixels of a picture of this size."""
        return [max(self.region(size, face)[2:]) for face in (faces if self.frame == "face" else (None,))]

    def prepared(self, seen: Sequence[Image.Image]) -> np.ndarray:
        """k size x size RGB images to (k, 3, size, size) float32."""
        return np.stack([self.normalise(np.asarray(view)) for view in seen]) if seen else self.no_views()

    def no_views(self) -> np.ndarray:
        """(0, 3, size, size) float32."""
        return np.empty((0, 3, self.size, self.size), np.float32)

    def view(self, image: Image.Image, face: Framed | None = None) -> Image.Image:
        """The part of the image that the network sees, as a size x size RGB image."""
        if self.frame == "face":
            square, degrees = self._square(image.size, face), self.turn_of(face)
            resampling = _RESAMPLING[self.interpolation]
            if degrees:
                return turned_square(image, square, degrees, size=self.size, resampling=resampling)
            return image.resize((self.size, self.size), resampling, box=square)
        return self.resize(image) if self.fit == "resize" else self.crop(image)

    def _square(self, size: tuple[int, int], face: Framed | None) -> tuple[float, float, float, float]:
        return frame_square(face.box, size, margin=self.margin) if face else (0, 0, *size)

    def turn_of(self, face: Framed | None) -> float:
        """By how many degrees `view` turns this face back, counter-clockwise."""
        turns = face and self.upright and self.frame == "face" and abs(face.turn) >= LEAST_TURNED
        return face.turn if turns else 0.0

    def region(self, size: tuple[int, int], face: Framed | None = None) -> Box:
        """Which part of a picture of this size `view` shows; of a face that it turns, the same square unturned."""
        width, height = size
        if self.frame == "face" and face:
            left, top, right, bottom = self._square(size, face)
            return left, top, right - left, bottom - top
        if not self._crops:
            return 0, 0, width, height
        side = min(self.size, width, height)  # the crop's, before a small picture is enlarged
        return round((width - side) / 2), round((height - side) / 2), side, side

    def base(self, image: Image.Image, face: Framed | None = None) -> Image.Image:
        """What training starts from and its cache keeps: the view, or with fit "crop" the whole picture around it."""
        return image if self._crops else self.view(image, face)

    def base_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of the base of a picture of this size."""
        return tuple(size) if self._crops else (self.size, self.size)

    def base_points(self, points: np.ndarray, size: tuple[int, int], face: Framed | None = None) -> np.ndarray:
        """(k, 2) places in a picture of this size to the same places in its base, pixels."""
        if self._crops:
            return np.asarray(points, float)
        left, top, right, bottom = self._square(size, face if self.frame == "face" else None)
        middle, turn = np.array((left + right, top + bottom)) / 2, math.radians(self.turn_of(face))
        back = np.array(((math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))))
        return (np.asarray(points, float) - middle) @ back.T * self.size / (right - left, bottom - top) + self.size / 2

    def from_base(self, base: Image.Image) -> Image.Image:
        """The view, from the base: view(image, face) == from_base(base(image, face))."""
        return self.crop(base) if self._crops else base

    @property
    def _crops(self) -> bool:
        return self.frame == "whole" and self.fit == "crop"

    def crop(self, image: Image.Image, *, size: int | None = None, where: tuple[float, float] = (0.5, 0.5)):
        """A square of native pixels, `size` wide (the network's by default); `where`: (0, 0) top left to (1, 1)."""
        size = size or self.size
        image = self.enlarge(image, size)
        left, top = (round(at * (side - size)) for at, side in zip(where, image.size, strict=True))
        return image.crop((left, top, left + size, top + size))

    def resize(self, image: Image.Image, *, size: int | None = None) -> Image.Image:
        """The whole image, squeezed to a square `size` wide (the network's by default)."""
        size = size or self.size
        if image.size == (size, size):
            return image
        return image.resize((size, size), _RESAMPLING[self.interpolation])

    def enlarge(self, image: Image.Image, size: int) -> Image.Image:
        """The image itself, or, where its shorter side is below `size`, a copy whose shorter side is `size`."""
        short = min(image.size)
        if short >= size:
            return image
        return image.resize(
            tuple(max(size, round(side * size / short)) for side in image.size), _RESAMPLING[self.interpolation]
        )

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 to (3, h, w) float32: (pixel / 255 - mean) / std."""
        scale = 1 / (255 * np.array(self.std, np.float32))
        shift = np.array(self.mean, np.float32) / np.array(self.std, np.float32)
        return np.ascontiguousarray((pixels.astype(np.float32) * scale - shift).transpose(2, 0, 1))

    def notes(self, width: int, height: int) -> tuple[str, ...]:
        """What a reader of the verdict should know about how an image of this size was looked at."""
        side = min(self.size, width, height)  # of the part that is seen, before a small image is enlarged
        if self.frame == "whole" and self.fit == "crop" and side**2 < 0.5 * width * height:
            return (f"only the central {side}x{side} of {width}x{height} pixels were looked at",)
        return ()

    def to_dict(self) -> dict:
        """Plain types, for JSON."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, fields: dict) -> "Preprocess":
        """The inverse of `to_dict`. Raises ValueError or TypeError on unknown fields and values out of range."""
        return cls(**fields)
