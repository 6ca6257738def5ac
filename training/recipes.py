"""Named recipes: how to train, as data in one table. A flag of train.py overrides a single value."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """One way to train. Every value lands in config.json; `--set NAME=VALUE` changes any one of them.

    The step
    optimiser: "adam" or "adamw"; weight decay touches no normalisation and no bias.
    schedule: "constant"; "cosine": a linear rise over `warmup_epochs`, then a cosine down to 1 % of the learning rate,
        stepped each iteration (Loshchilov and Hutter 2017); or "plateau": a tenth of the learning rate after each
        `plateau_patience` epochs in which the Validation loss did not fall.
    clip: upper bound of the gradient's norm, None for none.
    accumulate: batches whose gradients make one step together; batch_size is that of each of them.
    ema: decay of the exponential moving average of the weights, which is then what is validated and kept (with a
        warm-up: at step t at most (1 + t) / (10 + t)); 0 for none.
    patience: epochs without a better Validation AUC after which training stops; 0: never early.
    balance: "none"; "loss": each class weighs the same in the loss; "class": drawn with equal chance, with replacement;
        "source": and within a class each source with equal chance.

    Frozen, then unfrozen
    head_epochs: the first epochs train the head alone, at head_learning_rate; the rest of the network stands still.
    trained: of the epochs after them, "all", or "top": the last stage and the head (model.Architecture.top).

    The image
    fit: how Validation prepares an image (imaging.preprocess). Training does the same, except that with "crop" the
        place of the crop is random.
    preparation: "library", the mean, deviation and interpolation that the architecture's published weights were trained
        with, or "imagenet", the usual ImageNet figures with bilinear resizing.
    crops: side of a training image in pixels, one after the other over the epochs in equal shares; (): the network's
        input. Smaller ones train faster.

    Augmentation: the same draws for both classes, always
    flip, vertical_flip, jpeg, webp, blur, noise, rescale, grey, erase, blackout: probability of each.
    geometry: probability of rotating by up to `rotate` degrees, shifting by up to `shift` of a side, shearing by up to
        `shear` degrees and zooming by a factor of up to 1 + `zoom`, in one go.
    colour: probability of changing brightness, contrast and saturation by up to those shares, and hue by up to that
        share of the colour circle.
    """

    optimiser: str = "adamw"
    learning_rate: float = 3e-4
    weight_decay: float = 0.02
    batch_size: int = 32
    accumulate: int = 1
    epochs: int = 8
    schedule: str = "cosine"
    warmup_epochs: float = 0.25
    plateau_patience: int = 2
    clip: float | None = 1.0
    ema: float = 0.0
    patience: int = 0
    balance: str = "none"

    head_epochs: int = 0
    head_learning_rate: float = 1e-3
    trained: str = "all"

    fit: str = "crop"
    preparation: str = "library"
    crops: tuple[int, ...] = ()

    flip: float = 0.5
    vertical_flip: float = 0.0
    geometry: float = 0.0
    rotate: float = 10.0
    shift: float = 0.06
    shear: float = 5.0
    zoom: float = 0.1
    colour: float = 0.0
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.03
    jpeg: float = 0.0
    webp: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    rescale: float = 0.0
    grey: float = 0.0
    erase: float = 0.0
    blackout: float = 0.0


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
    # The Keras studies' choices: pretrained layers stand still at first, then the last of them learn slowly.
    "transfer": Recipe(
        optimiser="adam",
        learning_rate=1e-4,
        weight_decay=0.0,
        epochs=20,
        schedule="plateau",
        warmup_epochs=0.0,
        clip=None,
        patience=5,
        head_epochs=3,
        trained="top",
        fit="resize",
        colour=0.5,
    ),
    # For test images that come from where the training images come from.
    "indomain": Recipe(ema=0.999, jpeg=0.1, webp=0.05, blur=0.1),
    # For images that were saved again, resized or blurred on their way, as most are.
    "robust": Recipe(
        ema=0.999,
        jpeg=0.5,
        webp=0.2,
        blur=0.3,
        noise=0.15,
        rescale=0.4,
        grey=0.1,
        colour=0.25,
        geometry=0.1,
        erase=0.1,
    ),
}
