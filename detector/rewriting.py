"""A model file again, with other metadata: what is chosen after training is stored with the weights."""

import os
from pathlib import Path

from detector.checkpoint import FORMAT, Metadata, kind_of_file, read_weights, save_checkpoint
from files import write_atomically


def with_metadata(source: str | os.PathLike, metadata: Metadata, out: str | os.PathLike) -> None:
    """The weights of one file with other metadata in another of the same kind. Raises OSError, and ModelError.

    They are stored as they were: those of a small checkpoint stay float16.
    """
    kind = kind_of_file(source)
    if kind != "onnx":
        from safetensors.torch import load_file  # here: it imports torch

        weights = read_weights(source)  # whatever is wrong with them is said
        save_checkpoint(out, load_file(source) if kind == "safetensors" else weights, metadata)
        return
    import onnx  # here: judging needs none

    proto = onnx.load(source)
    entry = next(entry for entry in proto.metadata_props if entry.key == FORMAT)
    entry.value = metadata.to_json()
    write_atomically(Path(out), proto.SerializeToString())


def check_name(out: Path, model: Path, *, overwrite: bool) -> None:
    """Raises ValueError where a file would be lost, or get a name that says another kind."""
    if kind_of_file(model) == "onnx" and out.suffix.lower() != ".onnx":
        raise ValueError(f"--out {out}: of an ONNX model another one is made; call it .onnx")
    if kind_of_file(model) != "onnx" and out.suffix.lower() != ".safetensors":
        raise ValueError(f"--out {out}: a checkpoint is made; call it .safetensors")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} is there already; choose another --out, or add --overwrite")


def beside(model: Path, word: str) -> Path:
    """best.onnx to best_calibrated.onnx, weights.pth to weights_calibrated.safetensors."""
    return model.with_name(f"{model.stem}_{word}{'.onnx' if kind_of_file(model) == 'onnx' else '.safetensors'}")
