"""Run a detector with PyTorch: the only file of this package that needs torch."""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

import model
from detector.backend import Backend
from detector.checkpoint import Metadata, ModelError, read_weights
from imaging.preprocess import Preprocess
from memory import keep_freed_memory
from names import FAKE, REAL

if TYPE_CHECKING:
    from detector import Detector

# Of tensor names. A resnet18 shares 0.38 with resnet50; to hear which tensor does not fit helps more than "none fits".
MIN_SHARE = 0.3


class TorchBackend(Backend):
    """A network as a function from images to logits; also for a network in training, between its epochs.

    arch: its row of model.MODELS. Without it there are no class maps.
    """

    def __init__(self, network: nn.Module, device: torch.device, arch: str | None = None):
        self.network = network
        self.device, self.on_gpu = device, device.type != "cpu"
        self.explains = arch is not None  # whether class_map can be called
        self.arch = arch
        self.dtype = next(network.parameters()).dtype  # float64 in a training that asked for it

    @property
    def description(self) -> str:
        return describe_device(self.device)

    @torch.inference_mode()
    def __call__(self, batch: np.ndarray | torch.Tensor) -> np.ndarray:
        """(n, 3, h, w) float32 to (n, 2) float32 logits. The network is left in evaluation mode."""
        self.network.eval()
        with self._exact():
            return self.network(self._images(batch)).float().cpu().numpy()

    def class_map(self, batch: np.ndarray | torch.Tensor) -> np.ndarray:
        """(n, 3, h, w) float32 to (n, h', w') float32: what each place of the last feature map adds to Fake - Real.

        Grad-CAM (Selvaraju et al. 2017) before its ReLU: each channel weighs as much as the mean of the margin's
        gradient over it. All that follows the feature map is an average over its places and the head, so the gradient
        goes through these alone. With a linear head, the map's sum and the head's bias are the margin.
        """
        row, network = model.architecture(self.arch), self.network.eval()
        with torch.no_grad(), self._exact():
            features = row.features(network, self._images(batch))
        with torch.enable_grad():
            features.requires_grad_()
            logits = network.get_submodule(row.head)(features.mean((2, 3)))
            (gradient,) = torch.autograd.grad((logits[:, FAKE] - logits[:, REAL]).sum(), features)
        return (gradient.mean((2, 3), keepdim=True) * features.detach()).sum(1).float().cpu().numpy()

    def _images(self, batch: np.ndarray | torch.Tensor) -> torch.Tensor:
        images = torch.as_tensor(batch)
        return images.to(self.device, self.dtype, non_blocking=True, memory_format=torch.channels_last)

    def _exact(self) -> AbstractContextManager:
        """TF32 would move scores by up to a thousandth between one device and another."""
        if self.device.type != "cuda":
            return nullcontext()
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def network_of(detector: "Detector") -> nn.Module:
    """The network that a detector runs with torch. Raises ModelError where its file is an ONNX file."""
    backend = detector.backend.innermost
    if not isinstance(backend, TorchBackend):
        raise ModelError("an ONNX file holds no network that torch could run; give the checkpoint it came from")
    return backend.network


def load(
    path: str | os.PathLike, metadata: Metadata | None, *, arch: str | None, device: torch.device
) -> tuple[TorchBackend, Metadata]:
    """The network of a model file, ready to judge, and its metadata (assumed ones for plain weights).

    arch: what plain weights must be; by default it is recognised from the names and shapes of the tensors.
    Raises ModelError.
    """
    if device.type == "cpu":
        keep_freed_memory()
    weights = read_weights(path)
    try:
        name = metadata.arch if metadata else arch or recognise(weights)
        if metadata and arch and arch != name:
            raise ModelError(f"the file holds {name}, not {arch}")
        head = head_of(metadata) if metadata else recognise_head(weights, name)
        network = model.skeleton(name, head)
        if metadata:
            model.architecture(name).check_sizes(name, metadata.preprocess.size)
    except model.NetworkError as error:
        raise ModelError(str(error)) from error
    mismatch = model.first_mismatch(network.state_dict(), weights)
    if mismatch:
        raise ModelError(f"the weights do not fit {name} (first mismatch: {mismatch})")
    counters = {key: torch.zeros((), dtype=torch.long) for key in network.state_dict() if key not in weights}
    network.load_state_dict(weights | counters, assign=True)
    network.to(device, memory_format=torch.channels_last).requires_grad_(False)
    return TorchBackend(network, device, name), metadata or assumed_metadata(name, head)


def head_of(metadata: Metadata) -> model.Head:
    """The head that a checkpoint says its network has. Raises ModelError on a field or a value that none has."""
    try:
        return model.Head(**metadata.head)
    except (TypeError, RecursionError, model.NetworkError) as error:  # RecursionError: to say a value of many brackets
        raise ModelError(f"its metadata cannot be read ({error})") from error


def recognise(weights: dict[str, torch.Tensor]) -> str:
    """The architecture that shares most tensor names with these weights. Raises ModelError below MIN_SHARE."""
    best, best_share = None, 0.0
    for name in model.MODELS:
        own = model.skeleton(name).state_dict()
        share = len(own.keys() & weights.keys()) / max(len(own), len(weights))
        fits = model.first_mismatch(own, weights) is None
        if fits or share > best_share:
            best, best_share = name, share
        if fits:
            break
    if best_share < MIN_SHARE:
        raise ModelError(f"the weights do not fit any architecture here ({', '.join(model.MODELS)})")
    return best


def recognise_head(weights: dict[str, torch.Tensor], name: str) -> model.Head:
    """The head of plain weights: Head.build's where its layers have the same places and names, else the plain one.

    A dense layer is followed by ReLU, it is assumed. Weights do not tell a share of dropout, and judging needs none:
    0.5 stands for it, as in PyTorch. Raises NetworkError on a dense layer too small or too large.
    """
    at = model.architecture(name).head
    if f"{at}.0.weight" in weights and f"{at}.3.weight" in weights:
        return model.Head(weights[f"{at}.0.weight"].shape[:1].numel(), 0.5)
    return model.Head(dropout=0.5) if f"{at}.1.weight" in weights else model.LINEAR


def assumed_metadata(name: str, head: model.Head = model.LINEAR) -> Metadata:
    """For plain weights, which say nothing: the original program's preparation of an image. head: as recognised."""
    row = model.architecture(name)
    preprocess = Preprocess(size=row.size, fit="resize", mean=row.mean, std=row.std, interpolation="bilinear")
    assumed = (
        "plain weights: the whole image resized, its architecture's mean and deviation, labels Real = 0 and Fake = 1"
        + (f", ReLU after the head's {head.hidden} units" if head.hidden else "")
    )
    return Metadata(name, preprocess, training={"assumed": assumed}, head=asdict(head))


def pick_device(name: str = "auto") -> torch.device:
    """CUDA where there is one, else the CPU; or the device called `name`. Raises ModelError where that is missing."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError("no CUDA device is available; use --device cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"device {name} cannot be used; choose auto, cpu or cuda") from error
    return device


def describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"CUDA ({torch.cuda.get_device_name(device)})"
    return f"CPU ({torch.get_num_threads()} threads)"
