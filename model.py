"""The networks: MODELS, a table one can read, and create_model(name).

network = create_model("resnet50")       # two outputs: the logits of Real and Fake
scores = network(batch).softmax(1)[:, 1]  # (n, 3, h, w) float32 -> (n,) P(fake)
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

import quiet  # noqa: F401 - before timm, which fetches weights through huggingface_hub
from names import CLASSES
from networks import clip
from networks.together import Part, Together

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
LITE_TOP = ("blocks.6", "conv_head", "bn2")  # the last stage of the EfficientNet-Lites


class NetworkError(ValueError):
    """A name that is no network of ours, or weights that do not fit; str(error) is a sentence for people."""


class Tiny(nn.Module):
    """The honest baseline: three convolutions with group normalisation, 53,000 parameters, trained from scratch.

    Meant for whole images of 64 px (--fit resize), where it takes in a face at a glance and trains in a minute.
    Group normalisation has no running statistics, so a batch of one is judged exactly as a batch of many.
    """

    def __init__(self, outputs: int = 2):
        super().__init__()
        layers = []
        for before, after in ((3, 24), (24, 48), (48, 96)):
            convolution = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.GroupNorm(8, after), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)  # (n, 3, h, w) -> (n, 96, h / 8, w / 8)
        self.classifier = nn.Linear(96, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def _torchvision(name: str) -> Callable[[int], nn.Module]:
    def build(outputs: int) -> nn.Module:
        import torchvision  # here, because importing it costs over a second and half of the table does not need it

        return torchvision.models.get_model(name, num_classes=outputs)

    return build


def _timm(name: str) -> Callable[[int], nn.Module]:
    def build(outputs: int) -> nn.Module:
        import timm  # here, because importing it costs over a second and two rows of the table need it

        return timm.create_model(name, num_classes=outputs)

    return build


def _together(*names: str) -> Callable[[int], nn.Module]:
    def build(outputs: int) -> nn.Module:
        rows = [MODELS[name] for name in names]
        return Together([Part(row.build(outputs), row.features, row.head, row.mean, row.std) for row in rows], outputs)

    return build


@dataclass(frozen=True)
class Head:
    """What follows the average over the feature map's places. By default the network's own: one linear layer.

    hidden: units of a dense layer with ReLU before the last one, 8 to 4096, or 0 for none.
    dropout: share of the last layer's inputs that is dropped in training, 0 to 0.9. The network's own dropout, before
        the head, stays.
    Raises NetworkError.
    """

    hidden: int = 0
    dropout: float = 0.0

    def __post_init__(self):
        if type(self.hidden) is not int or not (self.hidden == 0 or 8 <= self.hidden <= 4096):
            raise NetworkError(f"a head of {self.hidden!r} hidden units; choose 0 or a whole number from 8 to 4096")
        if type(self.dropout) not in (int, float) or not 0 <= self.dropout <= 0.9:
            raise NetworkError(f"a head with dropout {self.dropout!r}; choose from 0 to 0.9")

    @property
    def is_linear(self) -> bool:
        """Whether, when judging, it is one linear layer: then a heat map can be drawn from its weights."""
        return self.hidden == 0

    def build(self, linear: nn.Linear) -> nn.Module:
        """What stands in the place of a network's last layer: (n, c) -> (n, outputs). By default `linear` itself."""
        if self == LINEAR:
            return linear
        if self.is_linear:
            return nn.Sequential(nn.Dropout(self.dropout), nn.Linear(linear.in_features, linear.out_features))
        return nn.Sequential(
            nn.Linear(linear.in_features, self.hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(self.dropout),  # also where it is 0: the names of the weights do not depend on it
            nn.Linear(self.hidden, linear.out_features),
        )


LINEAR = Head()
NORMALISATIONS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


@dataclass(frozen=True)
class Architecture:
    """One row of MODELS."""

    build: Callable[[int], nn.Module]  # number of outputs -> the network, freshly initialised
    head: str  # name of the last linear layer; before it the feature map is averaged over its places, in every row
    features: Callable[[nn.Module, torch.Tensor], torch.Tensor]  # network, images -> that feature map (n, c, h', w')
    top: tuple[str, ...]  # names of the last stage's modules: trained with the head where the rest stands still
    mean: tuple[float, float, float] = IMAGENET_MEAN  # what the published weights were trained with
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"
    size: int = 224  # pixels
    imagenet: str | None = None  # the published weights' name in torchvision, or the model's in timm
    sizes: tuple[int, ...] = ()  # of its input, pixels, where it does not take any
    parts: tuple[str, ...] = ()  # the rows that look at the same image in it (networks/together.py)
    # Where the library's network is a part of ours: its names and tensors to ours; and a file of another kind to ours.
    renamed: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] = dict
    read_file: Callable[[str | os.PathLike], dict[str, torch.Tensor] | None] = lambda path: None

    def check_sizes(self, name: str, *sizes: int) -> None:
        """Raises NetworkError where an input of one of these sizes, pixels, is none for the network called `name`."""
        wrong = [size for size in sizes if self.sizes and size not in self.sizes]
        if wrong:
            raise NetworkError(f"{name} takes images of {' or '.join(map(str, self.sizes))} pixels, not of {wrong[0]}")

    @property
    def classifier(self) -> str:
        """Name of the module that holds the head and nothing else that learns: in efficientnet_b0 also a dropout."""
        return self.head.partition(".")[0]


MODELS: dict[str, Architecture] = {
    "resnet50": Architecture(
        build=_torchvision("resnet50"),
        head="fc",
        features=lambda network, images: nn.Sequential(*list(network.children())[:-2])(images),
        top=("layer4.2",),
        imagenet="ResNet50_Weights.IMAGENET1K_V2",
    ),
    "efficientnet_b0": Architecture(
        build=_torchvision("efficientnet_b0"),
        head="classifier.1",
        features=lambda network, images: network.features(images),
        top=("features.7", "features.8"),
        interpolation="bicubic",
        imagenet="EfficientNet_B0_Weights.IMAGENET1K_V1",
    ),
    "tf_efficientnet_lite0": Architecture(
        build=_timm("tf_efficientnet_lite0"),
        head="classifier",
        features=lambda network, images: network.forward_features(images),
        top=LITE_TOP,
        mean=HALF,
        std=HALF,
        interpolation="bicubic",
        imagenet="timm/tf_efficientnet_lite0.in1k",
    ),
    "tf_efficientnet_lite2": Architecture(
        build=_timm("tf_efficientnet_lite2"),
        head="classifier",
        features=lambda network, images: network.forward_features(images),
        top=LITE_TOP,
        mean=HALF,
        std=HALF,
        interpolation="bicubic",
        size=260,
        imagenet="timm/tf_efficientnet_lite2.in1k",
    ),
    "clip_vit_b16": Architecture(
        build=clip.ClipViT,
        head="head",
        features=lambda network, images: network.features(images),
        top=clip.top(),
        mean=clip.MEAN,
        std=clip.STD,
        interpolation="bicubic",
        size=clip.SIZE,
        imagenet=f"timm/{clip.PUBLISHED}",
        sizes=(clip.SIZE,),
        renamed=clip.under_tower,
        read_file=clip.from_file,
    ),
    "clip_vit_b16_lite0": Architecture(
        build=_together("clip_vit_b16", "tf_efficientnet_lite0"),
        head="head",
        features=lambda network, images: network.features(images),
        top=(*(f"parts.0.{of}" for of in clip.top()), *(f"parts.1.{of}" for of in LITE_TOP)),
        mean=clip.MEAN,
        std=clip.STD,
        interpolation="bicubic",
        size=clip.SIZE,
        sizes=(clip.SIZE,),
        parts=("clip_vit_b16", "tf_efficientnet_lite0"),
    ),
    "tf_efficientnet_lite0_pair": Architecture(
        build=_together("tf_efficientnet_lite0", "tf_efficientnet_lite0"),
        head="head",
        features=lambda network, images: network.features(images),
        top=tuple(f"parts.{part}.{of}" for part in (0, 1) for of in LITE_TOP),
        mean=HALF,
        std=HALF,
        interpolation="bicubic",
        parts=("tf_efficientnet_lite0", "tf_efficientnet_lite0"),
    ),
    "tiny": Architecture(
        build=Tiny,
        head="classifier",
        features=lambda network, images: network.features(images),
        top=("features.6", "features.7"),
        mean=HALF,
        std=HALF,
        size=64,
    ),
}


def create_model(name: str, outputs: int = len(CLASSES), *, head: Head = LINEAR) -> nn.Module:
    """A freshly initialised network, (n, 3, h, w) float32 -> (n, outputs) logits. Raises NetworkError.

    With the default head it is the library's own network, down to the names of its weights.
    """
    row = architecture(name)
    network = row.build(outputs)
    # The EfficientNets draw their last layer for many classes: with two, the first loss would be 3 instead of 0.7.
    network.get_submodule(row.head).reset_parameters()
    network.set_submodule(row.head, head.build(network.get_submodule(row.head)))
    return network


def trainable(network: nn.Module, name: str, which: str) -> list[nn.Module]:
    """Let a part of a network learn, in place, and the rest stand still. Returns the modules that stand still.

    which: "all"; "head" or "probe", what follows the average over the feature map; "top", the last stage and the head;
    or "norms", the head and what normalisation layers multiply with and add.
    Those modules hold nothing that learns, and belong in evaluation mode while the others learn: their batch
    normalisation keeps its averages, and nothing in them is dropped by chance. Raises NetworkError.
    """
    row = architecture(name)
    head = (row.classifier,)
    norms = (name for name, module in network.named_modules() if isinstance(module, NORMALISATIONS))
    parts = {"all": ("",), "top": (*row.top, *head), "head": head, "probe": head, "norms": (*norms, *head)}
    if which not in parts:
        raise NetworkError(f"no part of a network is called {which!r} (choose from {', '.join(parts)})")
    learning = {module for part in parts[which] for module in network.get_submodule(part).modules()}
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(module in learning)
    # Not only those without children: timm's batch normalisation has its activation for a child.
    return [module for module in network.modules() if learning.isdisjoint(module.modules())]


def architecture(name: str) -> Architecture:
    """The row of MODELS called `name`. Raises NetworkError on an unknown name."""
    if name not in MODELS:
        raise NetworkError(f"unknown architecture {name!r} (choose from {', '.join(MODELS)})")
    return MODELS[name]


def skeleton(name: str, head: Head = LINEAR) -> nn.Module:
    """The network without memory behind its weights: for names and shapes only."""
    with torch.device("meta"):
        return create_model(name, head=head)


def imagenet_weights(name: str) -> dict[str, torch.Tensor]:
    """The published ImageNet weights of an architecture, fetched by its own library. Raises NetworkError."""
    row = architecture(name)
    if row.imagenet is None:
        raise NetworkError(f"there are no ImageNet weights for {name}; train it from scratch (--pretrained none)")
    where = ""
    try:
        if row.imagenet.startswith("timm/"):
            import timm

            where = f"https://huggingface.co/{row.imagenet} (model.safetensors)"
            published = row.imagenet.removeprefix("timm/")
            return row.renamed(timm.create_model(published, pretrained=True).state_dict())
        import torchvision

        weights = torchvision.models.get_weight(row.imagenet)
        where = weights.url
        return weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError, ValueError) as error:  # no network, a proxy's refusal, a file cut short
        raise NetworkError(
            f"the ImageNet weights of {name} could not be fetched ({_reason(error)}). "
            f"Download {where} on another machine and give it as --pretrained FILE, "
            "or train from scratch with --pretrained none."
        ) from error


def together(names: list[str]) -> str:
    """The row of MODELS that is these networks side by side. Raises NetworkError."""
    found = next((name for name, row in MODELS.items() if row.parts == tuple(names)), None)
    if found is None:
        known = "; ".join(" and ".join(row.parts) for row in MODELS.values() if row.parts)
        raise NetworkError(f"no network here is {' and '.join(names)} together, in this order (there are {known})")
    return found


def load_backbone(network: nn.Module, weights: dict[str, torch.Tensor], name: str) -> bool:
    """Load pretrained weights of the same backbone with any head into `network`, which has any head, in place.

    Their head is loaded too if all its tensors fit ours, and none of them otherwise; returns whether it was.
    Raises NetworkError naming the first tensor that does not fit.
    """
    row, own = architecture(name), network.state_dict()
    if not any(key in weights for key in own if not key.startswith(f"{row.classifier}.")):
        weights = row.renamed(weights)

    def shapes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
        return {key: tensor.shape for key, tensor in tensors.items() if key.startswith(f"{row.classifier}.")}

    ours, theirs = shapes(own), shapes(weights)
    if ours != theirs:
        backbone = {key: tensor for key, tensor in weights.items() if key not in theirs}
        weights = backbone | {key: own[key] for key in ours}
    mismatch = first_mismatch(own, weights)
    if mismatch:
        raise NetworkError(f"the pretrained weights do not fit {name} (first mismatch: {mismatch})")
    network.load_state_dict(weights, strict=False)  # batch counters may be missing; first_mismatch saw the rest
    return ours == theirs


def first_mismatch(own: dict, given: dict) -> str | None:
    """The first difference between two sets of named tensors, in words; None if they fit."""
    for key, tensor in own.items():
        if key not in given:
            if not key.endswith("num_batches_tracked"):  # a counter that no forward pass reads
                return f"{key} missing"
        elif tuple(given[key].shape) != tuple(tensor.shape):
            theirs, ours = tuple(given[key].shape), tuple(tensor.shape)
            if theirs[1:] == ours[1:] and theirs and ours:
                theirs, ours = theirs[:1], ours[:1]
            return f"{key} {_by(theirs)}≠{_by(ours)}"
        elif given[key].is_floating_point() != tensor.is_floating_point() or given[key].is_complex():
            return f"{key} {given[key].dtype}≠{tensor.dtype}"
    extra = next((key for key in given if key not in own), None)
    return None if extra is None else f"{extra} unexpected"


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
