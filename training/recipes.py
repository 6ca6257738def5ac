"""Named recipes: how to train, as data in one table. A flag of train.py overrides a single value."""

from dataclasses import dataclass, fields, replace

PROBABILITIES = (
    "flip", "vertical_flip", "geometry", "colour", "jpeg", "webp", "blur", "noise", "rescale", "grey", "erase",
    "blackout", "self_blend", "part_swap", "distil",
)  # fmt: skip
CHOICES = {
    "optimiser": ("adam", "adamw"),
    "schedule": ("constant", "cosine", "plateau"),
    "balance": ("none", "loss", "class", "root", "source"),
    "trained": ("all", "top", "norms", "probe"),
    "fit": ("crop", "resize"),
    "preparation": ("library", "imagenet"),
}


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
        "source": and within a class each source with equal chance; "root": each by the square root of its size, so that
        a small source is seen more often and yet is not learned by heart.

    Frozen, then unfrozen
    head_epochs: the first epochs train the head alone, at head_learning_rate; the rest of the network stands still.
    trained: of the epochs after them, "all"; "top": the last stage and the head (model.Architecture.top); "norms": what
        the normalisation layers multiply with and add, and the head (as GenD does: Yermakov et al., WACV 2026); or
        "probe": the head alone, fitted to frozen features (training/probe.py).
    views: of "probe", how often each image is looked at: once as it is, then augmented.
    strength: of "probe", C of the logistic regression: the inverse of the penalty on its weights.

    The image
    fit: how Validation prepares an image (imaging.preprocess). Training does the same, except that with "crop" the
        place of the crop is random. A framed face is judged whole in either case; trained on are, with "crop", random
        parts of it, where `crops` are smaller than the network's input, and with "resize" all of it.
    preparation: "library", the mean, deviation and interpolation that the architecture's published weights were trained
        with, or "imagenet", the usual ImageNet figures with bilinear resizing.
    crops: side of a training image in pixels, one after the other over the epochs in equal shares; (): the network's
        input. Smaller ones train faster.

    Augmentation: the same draws for both classes, always
    flip, vertical_flip, jpeg, webp, blur, noise, rescale, grey, erase, blackout: probability of each.
    geometry: probability of rotating by up to `rotate` degrees, shifting by up to `shift` of a side, shearing by up to
        `shear` degrees and zooming by a factor of up to 1 + `zoom`, in one go.
    self_blend: probability that a Real image becomes a Fake one: a copy of its face, changed a little, is blended into
        it (training/blending.py). Needs faces.
    part_swap: probability that a Real image becomes a Fake one: eyes, nose, mouth or inner face of another Real image,
        of the same source if it can be, are put over its own (training/swapping.py). Needs faces; self_blend yields.
    distil: with train.py --teacher, how much of the target is the teacher's score, the rest being the label (Hinton,
        Vinyals and Dean 2015).
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
    views: int = 2
    strength: float = 0.002

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
    self_blend: float = 0.0
    part_swap: float = 0.0
    distil: float = 0.5

    def __post_init__(self):
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose from {', '.join(choices)}")
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), _range(field.name)
            numbers = value if isinstance(value, tuple) else () if isinstance(value, str | None) else (value,)
            if not all(low <= number <= high for number in numbers):
                raise ValueError(f"{field.name} is {value}; it must be from {low:g} to {high:g}")
        if self.trained == "probe" and (self.epochs > 1 or self.ema or self.accumulate > 1):
            raise ValueError("a probe is fitted at one go: epochs=1, ema=0, accumulate=1")
        if self.head_epochs >= self.epochs:
            raise ValueError(
                f"head_epochs is {self.head_epochs}; it must be less than the {self.epochs} epochs"
                f" (--set head_epochs={max(0, self.epochs - 1)}, or more --epochs)"
            )

    @property
    def augmentation(self) -> dict[str, float]:
        """What is done to an image, by name: the values from `flip` to `part_swap`."""
        names = [field.name for field in fields(self)]
        return {name: getattr(self, name) for name in names[names.index("flip") : names.index("part_swap") + 1]}

    def crop(self, epoch: int, size: int) -> int:
        """Side of a training image in epoch 1, 2, ..., pixels. size: of the network's input."""
        if not self.crops:
            return size
        return self.crops[min(len(self.crops) - 1, (epoch - 1) * len(self.crops) // self.epochs)]


def with_values(recipe: Recipe, values: dict[str, str]) -> Recipe:
    """The recipe with values given as text: {"jpeg": "0.5"}. Raises ValueError with a sentence for people."""
    kinds = {field.name: type(field.default) for field in fields(Recipe)} | {"clip": float}
    given = {}
    for name, text in values.items():
        if name not in kinds:
            raise ValueError(f"no recipe has a {name!r}; choose from {', '.join(kinds)}")
        try:
            if kinds[name] is tuple:
                given[name] = tuple(int(part) for part in text.split(",") if part)
            else:
                given[name] = None if (name, text) == ("clip", "none") else kinds[name](text)
        except ValueError:
            raise ValueError(f"{name}={text}: not {'whole numbers' if kinds[name] is tuple else 'a number'}") from None
    return replace(recipe, **given)


def _range(name: str) -> tuple[float, float]:
    """What the value may be, both ends included."""
    if name in PROBABILITIES:
        return 0, 1
    return {
        "learning_rate": (1e-12, 10), "head_learning_rate": (1e-12, 10), "weight_decay": (0, 1), "clip": (1e-6, 1e6),
        "batch_size": (1, 65536), "accumulate": (1, 1024), "epochs": (1, 100_000), "warmup_epochs": (0, 1000),
        "ema": (0, 0.99999), "crops": (16, 1024), "rotate": (0, 180), "shift": (0, 0.5), "shear": (0, 45),
        "views": (1, 100), "strength": (1e-9, 1e9),
        "zoom": (0, 1), "brightness": (0, 0.9), "contrast": (0, 0.9), "saturation": (0, 1), "hue": (0, 0.5),
    }.get(name, (0, 1_000_000))  # fmt: skip


# What happens to pictures on their way, for detectors that are to judge any. Both classes get all of it alike.
WILD = {
    "fit": "resize", "balance": "root", "jpeg": 0.5, "webp": 0.1, "rescale": 0.5, "blur": 0.15, "noise": 0.15,
    "colour": 0.4, "brightness": 0.4, "contrast": 0.3, "geometry": 0.4, "rotate": 30.0, "part_swap": 0.15,
}  # fmt: skip

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
    # For kinds of fakes that nobody has shown it: a strong backbone stands still, its head is fitted in minutes.
    "probe": Recipe(epochs=1, trained="probe", **WILD),
    # The same backbone, moved a little: its normalisation layers learn.
    "lntune": Recipe(epochs=5, trained="norms", weight_decay=0.0, **WILD),
}
