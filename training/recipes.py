"""Named recipes: how to train, as data in one table. A flag of train.py overrides a single value."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """One way to train.

    optimiser: "adam" or "adamw"; weight decay touches no normalisation and no bias.
    schedule: "constant", or "cosine": a linear rise over `warmup_epochs`, then a cosine down to 1 % of the learning
        rate, stepped each iteration (Loshchilov and Hutter 2017).
    fit: how Validation prepares an image (imaging.preprocess). Training does the same, except that with "crop" the
        place of the crop is random.
    preparation: "library", the mean, deviation and interpolation that the architecture's published weights were trained
        with, or "imagenet", the usual ImageNet figures with bilinear resizing.
    clip: upper bound of the gradient's norm, None for none.
    """

    optimiser: str = "adamw"
    learning_rate: float = 3e-4
    weight_decay: float = 0.02
    batch_size: int = 32
    epochs: int = 8
    schedule: str = "cosine"
    warmup_epochs: float = 0.25
    clip: float | None = 1.0
    fit: str = "crop"
    preparation: str = "library"
    flip: float = 0.5  # probability of a horizontal mirror image


RECIPES: dict[str, Recipe] = {
    # The original program's choices, so that anyone can check its numbers.
    "original": Recipe(
        optimiser="adam",
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule="constant",
        warmup_epochs=0.0,
        clip=None,
        fit="resize",
        preparation="imagenet",
        flip=0.0,
    ),
    # For test images that come from where the training images come from.
    "indomain": Recipe(),
}
