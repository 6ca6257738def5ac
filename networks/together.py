"""Several networks that look at the same image, and one linear layer over what all of them see.

    network = Together([clip_part, lite0_part])
    logits = network(images)         # (n, 3, h, w) float32, prepared for the first of them -> (n, 2)

With the right weights its logits are a weighted sum of theirs (tools/join.py finds them): an ensemble that is one
network with one feature map and one head, so that heat maps, calibration and export need not know of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

Colours = tuple[float, float, float]


@dataclass(frozen=True)
class Part:
    """One of the networks, and what of its row of model.MODELS is needed to run it."""

    network: nn.Module
    features: Callable[[nn.Module, torch.Tensor], torch.Tensor]  # network, images -> (n, c, h', w')
    head: str  # name of its last linear layer
    mean: Colours
    std: Colours


class Together(nn.Module):
    """Networks side by side under one linear head, which reads the averages over the places of their feature maps.

    parts: two or more. Their own heads are taken off. Images come with the mean and deviation of the first; a part with
    others gets its own.
    """

    def __init__(self, parts: list[Part], outputs: int = 2):
        super().__init__()
        self.widths = tuple(part.network.get_submodule(part.head).in_features for part in parts)
        for part in parts:
            part.network.set_submodule(part.head, nn.Identity())
        self.parts = nn.ModuleList(part.network for part in parts)
        self._features = [part.features for part in parts]
        self._changes = [_change(parts[0], part) for part in parts]
        self.head = nn.Linear(sum(self.widths), outputs)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) to (n, c1 + c2 + ..., h', w'), on the places of the finest map; coarser ones are repeated.

        The sides of a coarser map go into the finest's, so repeating its places leaves their average as it is.
        """
        maps = self._maps(images)
        height, width = (max(sides) for sides in zip(*(one.shape[2:] for one in maps), strict=True))
        return torch.cat([_finer(one, height, width) for one in maps], 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([one.mean((2, 3)) for one in self._maps(images)], 1))

    def _maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        found = []
        for network, features, change in zip(self.parts, self._features, self._changes, strict=True):
            found.append(features(network, images if change is None else _recoloured(images, *change)))
        return found


def _change(first: Part, part: Part) -> tuple[Colours, Colours] | None:
    """(factor, shift) of each channel from the first part's preparation to this part's; None: they are the same."""
    if (first.mean, first.std) == (part.mean, part.std):
        return None
    factor = tuple(theirs / ours for theirs, ours in zip(first.std, part.std, strict=True))
    shift = tuple((a - b) / c for a, b, c in zip(first.mean, part.mean, part.std, strict=True))
    return factor, shift


def _recoloured(images: torch.Tensor, factor: Colours, shift: Colours) -> torch.Tensor:
    factor, shift = (torch.tensor(of, dtype=images.dtype, device=images.device).view(3, 1, 1) for of in (factor, shift))
    return images * factor + shift


def _finer(features: torch.Tensor, height: int, width: int) -> torch.Tensor:
    rows, columns = height // features.shape[2], width // features.shape[3]
    return features.repeat_interleave(rows, 2).repeat_interleave(columns, 3)
