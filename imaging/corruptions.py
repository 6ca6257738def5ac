"""What the world does to a picture: it is saved again, resized, blurred, turned, re-coloured.

    jpeg(image, 75)                          # saved once more
    corrupt(image, "blur", 1.5)              # a row of CORRUPTIONS at one of its strengths

Every function takes an upright RGB image and returns a new one, and does the same each time it is called. Training
draws its augmentations from here, and robustness is measured on CORRUPTIONS, so both mean the same by a word.
"""

import io
import math
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

_LUMA = np.array((0.299, 0.587, 0.114))  # of red, green and blue in brightness: ITU-R BT.601, Pillow's mode L
_LONGEST_WEBP = 16383  # pixels
_AROUND_GREY = np.array(((0, -1, 1), (1, 0, -1), (-1, 1, 0)))  # the cross product with (1, 1, 1)


def jpeg(image: Image.Image, quality: int, subsampling: str = "4:2:0") -> Image.Image:
    """Saved as JPEG and read back. quality: 1 to 100; subsampling of colour: "4:4:4", "4:2:2" or "4:2:0"."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=subsampling)
    file.seek(0)
    return JpegImageFile(file).convert("RGB")  # not through the door: our own bytes, and of any size


def webp(image: Image.Image, quality: int, effort: int = 4) -> Image.Image:
    """Saved as lossy WebP and read back. quality: 0 to 100; effort of the encoder: 0 (fast) to 6, 4 by default.

    A picture too long for the format is shrunk to what fits, as someone who wants to save it has to.
    """
    if max(image.size) > _LONGEST_WEBP:
        image = rescale(image, _LONGEST_WEBP / max(image.size))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=effort)
    file.seek(0)
    return WebPImageFile(file).convert("RGB")


def png(image: Image.Image) -> Image.Image:
    """Saved as PNG and read back: another file, the same pixels."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    file.seek(0)
    return PngImageFile(file).convert("RGB")


def blur(image: Image.Image, sigma: float) -> Image.Image:
    """Gaussian blur. sigma: standard deviation, pixels."""
    return image.filter(ImageFilter.GaussianBlur(sigma))


def noise(image: Image.Image, sigma: float, generator: np.random.Generator) -> Image.Image:
    """Independent Gaussian noise on each pixel and channel. sigma: standard deviation, of 255."""
    pixels = generator.standard_normal((image.height, image.width, 3), np.float32)
    pixels *= sigma
    pixels += np.asarray(image)
    return Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))


def rescale(image: Image.Image, factor: float, resampling: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """Both sides `factor` times as long, at least one pixel."""
    return image.resize(tuple(max(1, round(side * factor)) for side in image.size), resampling)


def affine(
    image: Image.Image,
    *,
    degrees: float = 0,
    shift: tuple[float, float] = (0, 0),
    shear: float = 0,
    zoom: float = 1,
) -> Image.Image:
    """Sheared, turned, enlarged and shifted about its centre, with one bilinear interpolation; the size stays.

    degrees: counter-clockwise; shift: right and down, shares of width and height; shear: horizontal, degrees.
    What comes in over the edges is the picture's own mirror image: a black corner would tell a network that the
    picture was turned.
    """
    size, turn = np.array(image.size), math.radians(degrees)
    forward = zoom * np.array(((math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))))
    back = np.linalg.inv(forward @ ((1, math.tan(math.radians(shear))), (0, 1)))
    origin = size / 2 - back @ (size / 2 + size * shift)  # where the result's top left corner comes from
    corners = origin + (size * ((0, 0), (0, 1), (1, 0), (1, 1))) @ back.T
    left, top = np.ceil(-corners.min(0)).clip(0).astype(int)
    right, bottom = np.ceil(corners.max(0) - size).clip(0).astype(int)
    if left or top or right or bottom:
        image = Image.fromarray(np.pad(image, ((top, bottom), (left, right), (0, 0)), "symmetric"))
    (a, b), (c, d) = back.tolist()
    x, y = (origin + (left, top)).tolist()
    return image.transform(tuple(size.tolist()), Image.Transform.AFFINE, (a, b, x, c, d, y), Image.Resampling.BILINEAR)


def centre(image: Image.Image, share: float) -> Image.Image:
    """The middle of the picture. share: of its width and its height."""
    width, height = (max(1, round(side * share)) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def colour(
    image: Image.Image, *, brightness: float = 1, contrast: float = 1, saturation: float = 1, hue: float = 0
) -> Image.Image:
    """Colours changed, rounded and clipped once.

    brightness: factor on all channels; contrast: on the distances from the picture's mean luma; saturation: on each
    pixel's distance from its luma (0 is grey); hue: share of the colour circle, 1/3 makes red green and green blue.
    """
    turn, third = 2 * math.pi * hue, np.full((3, 3), 1 / 3)
    # Rodrigues' rotation about the grey axis.
    rotated = math.cos(turn) * (np.eye(3) - third) + third + math.sin(turn) / math.sqrt(3) * _AROUND_GREY
    saturated = saturation * np.eye(3) + (1 - saturation) * _LUMA
    mean = np.asarray(image.convert("L")).mean() if contrast != 1 else 0
    linear, constant = brightness * contrast * rotated @ saturated, brightness * (1 - contrast) * mean
    return image.convert("RGB", np.column_stack((linear, [constant] * 3)).ravel().tolist())


def grey(image: Image.Image) -> Image.Image:
    """Luma in all three channels."""
    return image.convert("L").convert("RGB")


def challenge(image: Image.Image, strength: float) -> Image.Image:
    """Turned, mirrored, blurred, scaled, cropped and compressed, all at once, as by someone who hides a trace.

    These are the kinds of processing in the test set of the ICIAP challenge (Guarnera et al. 2022, "The Face Deepfake
    Detection Challenge"); the amounts are ours. strength: 0 to 1, the share of the ranges that is drawn from. At 1:
    up to 30 degrees either way, blur up to a standard deviation of 2 pixels, scaled by 0.5 to 1.5, as little as 0.7 of
    each side left, JPEG quality from 90 down to 30. What is drawn depends on the picture alone: at another strength the
    same draws reach as much farther.
    """
    turn, mirrored, blurred, larger, size, left, quality = _draws_of(image).random(7).tolist()
    if mirrored < 0.5:
        image = ImageOps.mirror(image)
    image = affine(image, degrees=strength * 30 * (2 * turn - 1))
    image = blur(image, strength * 2 * blurred)
    image = rescale(image, 1 + strength * size * (0.5 if larger < 0.5 else -0.5))
    image = centre(image, 1 - strength * 0.3 * left)
    return jpeg(image, round(90 - strength * 60 * quality))


def _draws_of(image: Image.Image) -> np.random.Generator:
    """Random numbers that depend on the picture alone: the same in every process, others for every picture."""
    return np.random.default_rng(zlib.crc32(np.asarray(image)))


class Corruption(NamedTuple):
    """One way in which pictures suffer, for curves of a detector's quality over its strength."""

    change: Callable[[Image.Image, float], Image.Image]  # (image, strength) -> image
    strengths: tuple[float, ...]  # mild to severe
    unit: str  # what a strength is


CORRUPTIONS: dict[str, Corruption] = {
    "jpeg": Corruption(jpeg, (95, 85, 75, 60, 45, 30), "quality"),
    "webp": Corruption(webp, (95, 85, 75, 60, 45, 30), "quality"),
    "blur": Corruption(blur, (0.5, 1.0, 1.5, 2.0, 3.0), "standard deviation, pixels"),
    "noise": Corruption(
        lambda image, sigma: noise(image, sigma, _draws_of(image)), (2, 4, 6, 8, 10), "standard deviation, of 255"
    ),
    "downscale": Corruption(rescale, (0.9, 0.75, 0.6, 0.5, 0.35), "factor on both sides"),
    "upscale": Corruption(rescale, (1.1, 1.25, 1.5, 2.0), "factor on both sides"),
    "rotation": Corruption(lambda image, angle: affine(image, degrees=angle), (2, 5, 10, 20, 30), "degrees"),
    "mirror": Corruption(lambda image, _: ImageOps.mirror(image), (1,), "left and right exchanged"),
    "crop": Corruption(centre, (0.95, 0.9, 0.8, 0.7, 0.6), "share of each side left"),
    "darker": Corruption(lambda image, factor: colour(image, brightness=factor), (0.9, 0.75, 0.6, 0.4), "factor"),
    "brighter": Corruption(lambda image, factor: colour(image, brightness=factor), (1.1, 1.25, 1.5, 2.0), "factor"),
    "contrast": Corruption(lambda image, factor: colour(image, contrast=factor), (0.9, 0.75, 0.6, 0.4), "factor"),
    "saturation": Corruption(lambda image, factor: colour(image, saturation=factor), (0.75, 0.5, 0.25, 0.0), "factor"),
    "hue": Corruption(lambda image, share: colour(image, hue=share), (0.02, 0.05, 0.1), "share of the colour circle"),
    "challenge": Corruption(challenge, (0.25, 0.5, 0.75, 1.0), "share of the ranges of all at once"),
}


def corrupt(image: Image.Image, name: str, strength: float) -> Image.Image:
    """The picture changed by a row of CORRUPTIONS."""
    return CORRUPTIONS[name].change(image, strength)
