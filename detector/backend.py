"""What a detector needs of whatever runs its network, and how one stands around another."""

from collections.abc import Callable

import numpy as np

from detector.checkpoint import ModelError


class Backend:
    """A network as a function from images to logits. Those with torch and with ONNX Runtime are of this kind.

    concurrent: whether several threads may judge at once, and gain by it.
    explains: whether class_map can be called.
    on_gpu: whether images that come together should be judged together.
    description: what it runs on, in words.
    """

    concurrent = False
    explains = False
    on_gpu = False
    description = "a function"

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """(n, 3, h, w) float32 to (n, 2) float32 logits. Raises ModelError."""
        raise NotImplementedError

    def class_map(self, batch: np.ndarray) -> np.ndarray:
        """(n, 3, h, w) float32 to (n, h', w') float32: what each place adds to Fake - Real. Raises ModelError."""
        raise ModelError("no heat map can be drawn from this model")

    @property
    def innermost(self) -> "Backend":
        """The one that runs the network."""
        return self


class Function(Backend):
    """Any function from images to logits."""

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]):
        self.function = function

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self.function(batch)


class Around(Backend):
    """A backend around another, like it in all that it does not change."""

    def __init__(self, backend: Backend):
        self.backend = backend

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self.backend(batch)

    def class_map(self, batch: np.ndarray) -> np.ndarray:
        return self.backend.class_map(batch)

    @property
    def concurrent(self) -> bool:
        return self.backend.concurrent

    @property
    def explains(self) -> bool:
        return self.backend.explains

    @property
    def on_gpu(self) -> bool:
        return self.backend.on_gpu

    @property
    def description(self) -> str:
        return self.backend.description

    @property
    def innermost(self) -> Backend:
        return self.backend.innermost


class Mirrored(Around):
    """Looks at each image and at its mirror image, and answers with the mean of both."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return (self.backend(batch) + self.backend(self.turned(batch))) / 2

    def class_map(self, batch: np.ndarray) -> np.ndarray:
        """The mirror image's is turned back."""
        return (self.backend.class_map(batch) + self.backend.class_map(self.turned(batch))[..., ::-1]) / 2

    @staticmethod
    def turned(batch):  # an array or a tensor; torch takes no array whose last axis runs backwards
        return batch[..., ::-1].copy() if isinstance(batch, np.ndarray) else batch.flip(-1)
