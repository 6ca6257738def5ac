"""What the world does to a picture: it is saved again, resized, blurred, turned, re-coloured.

    jpeg(image, 75)                          # saved once more
    CORRUPTIONS["blur"]                      # (function of (image, strength), strengths from mild to severe)

Every function takes an upright RGB image and returns a new one, and does the same each time it is called. Training
draws its augmentations from here, and robustness is measured on CORRUPTIONS, so both mean the same by a word.
"""

import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.WebPImagePlugin import WebPImageFile

_LUMA = np.array((0.299, 0.587, 0.114))  # of red, green and blue in brightness: ITU-R BT.601, Pillow's mode L
_AROUND_GREY = np.array(((0, -1, 1), (1, 0, -1), (-1, 1, 0)))  # the cross product with (1, 1, 1)


def jpeg(image: Image.Image, quality: int, subsampling: str = "4:2:0") -> Image.Image:
    """Saved as JPEG and read back. quality: 1 to 100; subsampling of colour: "4:4:4", "4:2:2" or "4:2:0"."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=subsampling)
    file.seek(0)
    return JpegImageFile(file).convert("RGB")  # not through the door: our own bytes, and of any size


def webp(image: Image.Image, quality: int, effort: int = 4) -> Image.Image:
    """Saved as lossy WebP and read back. quality: 0 to 100; effort of the encoder: 0 (fast) to 6, 4 by default."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=effort)
    file.seek(0)
    return WebPImageFile(file).convert("RGB")


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


def _fixed_noise(image: Image.Image, sigma: float) -> Image.Image:
    return noise(image, sigma, np.random.default_rng(0))


# For curves of a detector's quality over strength: name -> (function of (image, strength), strengths, mild to severe).
CORRUPTIONS: dict[str, tuple[Callable[[Image.Image, float], Image.Image], tuple[float, ...]]] = {
    "jpeg": (jpeg, (95, 85, 75, 60, 45, 30)),  # quality
    "webp": (webp, (95, 85, 75, 60, 45, 30)),  # quality
    "blur": (blur, (0.5, 1.0, 1.5, 2.0, 3.0)),  # standard deviation, pixels
    "noise": (_fixed_noise, (2, 4, 6, 8, 10)),  # standard deviation, of 255
    "downscale": (rescale, (0.9, 0.75, 0.6, 0.5, 0.35)),  # factor
    "upscale": (rescale, (1.1, 1.25, 1.5, 2.0)),  # factor
    "rotation": (lambda image, degrees: affine(image, degrees=degrees), (2, 5, 10, 20, 30)),
    "mirror": (lambda image, _: ImageOps.mirror(image), (1,)),
    "crop": (centre, (0.95, 0.9, 0.8, 0.7, 0.6)),  # share of each side that is left
    "darker": (lambda image, factor: colour(image, brightness=factor), (0.9, 0.75, 0.6, 0.4)),
    "brighter": (lambda image, factor: colour(image, brightness=factor), (1.1, 1.25, 1.5, 2.0)),
    "contrast": (lambda image, factor: colour(image, contrast=factor), (0.9, 0.75, 0.6, 0.4)),
    "saturation": (lambda image, factor: colour(image, saturation=factor), (0.75, 0.5, 0.25, 0.0)),
    "hue": (lambda image, share: colour(image, hue=share), (0.02, 0.05, 0.1)),
}
