"""Run an exported detector with ONNX Runtime. No torch is imported on this way."""

import os

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as states

from detector.backend import Backend
from detector.checkpoint import ModelError
from names import FAKE, REAL

# What ONNX Runtime raises on a file it cannot run; they share no base but Exception.
_ERRORS = (
    states.Fail, states.InvalidArgument, states.InvalidProtobuf, states.InvalidGraph, states.NoModel,
    states.NotImplemented, states.RuntimeException, states.EPFail, RuntimeError, ValueError,
)  # fmt: skip


class OnnxBackend(Backend):
    """An .onnx file as a function from images to logits. Safe to call from several threads at once.

    threads: of one call. One is best where several images are judged at once, all cores where one is.
    device: "auto" (CUDA where ONNX Runtime has it), "cpu" or "cuda".
    """

    concurrent = True

    def __init__(self, path: str | os.PathLike, *, threads: int, device: str = "auto"):
        options = onnxruntime.SessionOptions()
        self.description = f"ONNX Runtime ({threads} threads)"
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4  # what it logs, it also raises
        # Weights stored as int8 become float32 when the file is loaded. Else ONNX Runtime computes with integers, and
        # in another way on each kind of processor: a score must not depend on that.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        if device.startswith("cuda") and not cuda:
            raise ModelError("no CUDA device is available to ONNX Runtime; use --device cpu")
        providers = ["CUDAExecutionProvider"] if cuda and device != "cpu" else []
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=[*providers, "CPUExecutionProvider"])
        except _ERRORS as error:
            raise ModelError("damaged ONNX file, or one that this ONNX Runtime cannot run") from error
        outputs = {output.name for output in self.session.get_outputs()}
        self.explains = {"features", "head_weight"} <= outputs  # whether class_map can be called: not with a dense head
        if "logits" not in outputs:
            raise ModelError("an ONNX file without the output `logits`; export it with python -m tools.export")

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """(n, 3, h, w) float32 to (n, 2) float32 logits."""
        return self.run(["logits"], batch)[0]

    def class_map(self, batch: np.ndarray) -> np.ndarray:
        """(n, 3, h, w) float32 to (n, h', w') float32: what each place of the last feature map adds to Fake - Real.

        The class activation map (Zhou et al. 2016) of a linear head; the same as TorchBackend.class_map gives.
        """
        features, weight = self.run(["features", "head_weight"], batch)
        if features.ndim != 4 or weight.shape != (2, features.shape[1]):
            raise ModelError("its feature map and its head do not fit; export it again with python -m tools.export")
        places = features.shape[2] * features.shape[3]
        return np.tensordot(weight[FAKE] - weight[REAL], features, (0, 1)) / np.float32(places)

    def run(self, outputs: list[str], batch: np.ndarray) -> list[np.ndarray]:
        """The outputs named: logits (n, 2), features (n, c, h, w), head_weight (2, c), head_bias (2,)."""
        try:
            return self.session.run(outputs, {"images": np.asarray(batch, np.float32)})
        except _ERRORS as error:
            raise ModelError(f"the model could not judge this image ({str(error).splitlines()[0]})") from error
