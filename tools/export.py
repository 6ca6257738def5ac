"""Export a detector to ONNX, for judging without torch.

    python -m tools.export results/run/best.safetensors
    python -m tools.export results/run/best.safetensors --out detector.onnx --images data/Validation
    python -m tools.export clip.safetensors --out clip.onnx --small       # a quarter of the size

The file carries the same metadata as the checkpoint. Its outputs are `logits` and, unless the head has a dense layer,
the last feature map `features`, `head_weight` and `head_bias`, from which a heat map can be drawn without torch. Before
it is kept, 200 images are judged both ways: those of --images, or generated ones.
--small stores large matrices as int8, one scale a column, and other weights as float16; it computes in float32 all the
same, so scores are the same on every processor. They are those of the network whose weights are rounded so, which
--rounded FILE writes as a checkpoint too; how far they lie from the unrounded one's is said (at most .01, else nothing
is kept). Weights that come from such numbers, CLIP's here, stay what they are. Calibrate after it.

Exit status: 0 exported; 1 the two ways disagree, or the file cannot be written; 2 usage; 3 the model cannot be used.
"""

import argparse
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import model
from detector import Detector, load
from detector.backend_torch import head_of, network_of
from detector.checkpoint import FORMAT, save_checkpoint
from files import write_atomically
from imaging.door import open_image
from imaging.listing import list_pictures
from imaging.preprocess import Preprocess
from tools.ending import ToolError, ended, naming

IMAGES = 200
TOLERANCE = 1e-4  # of a score
ROUNDED = 1e-2  # of a score, where weights are rounded
LARGE = 2**16  # numbers of a matrix, from which on --small stores it as int8
HALVED = 2**12  # numbers of any other weight, from which on it is stored as float16
TINY = 1e-12  # a column of zeros has a scale too


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    return ended("export", lambda: export(args), out=args.out or args.model)


def export(args: argparse.Namespace) -> None:
    """Write the file, and keep it only where it says what the checkpoint says."""
    out = Path(args.out or Path(args.model).with_suffix(".onnx"))
    with naming(args.model):
        detector = load(args.model, arch=args.arch, device="cpu")
        network = network_of(detector)
        moved = round_weights(detector, args.images) if args.small else 0.0
        if moved > ROUNDED:
            raise ToolError(f"rounding the weights moves scores by up to {moved:.2g}; nothing was kept")
        write_atomically(out, packed(to_onnx(detector, optimise=False)) if args.small else to_onnx(detector))
        if args.rounded:
            save_checkpoint(args.rounded, network.state_dict(), detector.metadata)
        worst, count = largest_difference(detector, load(out, device="cpu"), args.images)
    if count == 0:
        raise ToolError(f"no images in {args.images}")
    if not worst <= TOLERANCE:
        out.unlink()
        raise ToolError(f"the scores differ by up to {worst:.2g} over {count} images; nothing was kept")
    size, said = out.stat().st_size / 1e6, f"; rounding moved them by at most {moved:.1e}" if args.small else ""
    print(f"{out}: {size:.1f} MB; over {count} images the scores differ by at most {worst:.1e}{said}")


class Exported(nn.Module):
    """A network whose feature map and head are outputs too, where it averages the map and then is linear."""

    outputs = ("logits", "features", "head_weight", "head_bias")

    def __init__(self, network: nn.Module, row: model.Architecture):
        super().__init__()
        self.network, self.row = network, row
        head = network.get_submodule(row.head)
        self.head = head if isinstance(head, nn.Linear) else head[-1]  # before it stands a dropout: nothing, here

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.row.features(self.network, images)
        return self.head(features.mean((2, 3))), features, self.head.weight.clone(), self.head.bias.clone()


def to_onnx(detector: Detector, *, optimise: bool = True) -> bytes:
    """The bytes of an .onnx file for a detector that runs with torch. With a dense head it gives logits only.

    optimise: False keeps each weight what it is in the network; otherwise batch normalisation may become a part of it.
    """
    network, outputs = network_of(detector).eval(), ["logits"]
    if head_of(detector.metadata).is_linear:
        network = Exported(network, model.architecture(detector.metadata.arch)).eval()
        outputs = list(Exported.outputs)
    size = detector.metadata.preprocess.size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, about itself
        for name in ("torch.onnx", "onnx_ir", "onnxscript"):
            logging.getLogger(name).setLevel(logging.ERROR)
        program = torch.onnx.export(
            network, (torch.zeros(2, 3, size, size),), dynamo=True, optimize=optimise, verbose=False,
            input_names=["images"], output_names=outputs, dynamic_shapes=({0: torch.export.Dim("n")},),
        )  # fmt: skip
    proto = program.model_proto if optimise else without_detours(program.model_proto)
    entry = proto.metadata_props.add()
    entry.key, entry.value = FORMAT, detector.metadata.to_json()
    return proto.SerializeToString()


def without_detours(proto):
    """The same graph with its constants computed and no weight changed: the runtime is fast only with that."""
    import onnx_ir
    from onnxscript import optimizer

    graph = onnx_ir.serde.deserialize_model(proto)
    optimizer.fold_constants(graph, onnx_shape_inference=True)
    optimizer.remove_unused_nodes(graph)
    return onnx_ir.serde.serialize_model(graph)


def round_weights(detector: Detector, folder: str | None) -> float:
    """Round a network's weights to what `packed` can store, in place. Returns by how much a score moves, at most."""
    batches = list(prepared_images(detector.metadata.preprocess, folder))
    before = [detector.scores(batch) for batch in batches]
    with torch.no_grad():
        for module in network_of(detector).modules():
            for weight in module.parameters(recurse=False):
                if weight.ndim < 2 or weight.numel() < HALVED:
                    continue
                if isinstance(module, nn.Linear) and weight.numel() >= LARGE:
                    scale = weight.abs().amax(1, keepdim=True).clamp_min(TINY) / 127
                    weight.copy_((weight / scale).round() * scale)
                else:
                    weight.copy_(weight.half().float())
    after = [detector.scores(batch) for batch in batches]
    return max((float(np.abs(one - other).max()) for one, other in zip(before, after, strict=True)), default=0.0)


def packed(data: bytes) -> bytes:
    """An .onnx file whose large weights are stored in one or two bytes a number, and turned into float32 to run."""
    import onnx
    from onnx import helper, numpy_helper

    proto = onnx.load_model_from_string(data)
    graph, turned = proto.graph, []
    axes = output_axes(graph)
    for tensor in list(graph.initializer):
        name, array = tensor.name, numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.ndim < 2 or array.size < HALVED:
            continue
        if name in axes and array.ndim == 2 and array.size >= LARGE:
            scale = np.maximum(np.abs(array).max(1 - axes[name], keepdims=True), TINY) / np.float32(127)
            stored = {"int8": np.rint(array / scale).astype(np.int8), "scale": scale.ravel()}
            node = helper.make_node("DequantizeLinear", [f"{name}_int8", f"{name}_scale"], [name], axis=axes[name])
        else:
            stored = {"half": array.astype(np.float16)}
            node = helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT)
        graph.initializer.remove(tensor)
        graph.initializer.extend(numpy_helper.from_array(of, f"{name}_{kind}") for kind, of in stored.items())
        turned.append(node)
    for node in graph.node:  # where in the sources it comes from: nearly a megabyte of a large network
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    nodes = [*turned, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return proto.SerializeToString()


def output_axes(graph) -> dict[str, int]:
    """{weight of a matrix product: its axis of outputs}: 1 where it is taken as it is, 0 where it is turned first."""
    factors = {node.input[1] for node in graph.node if node.op_type == "MatMul"}
    turned = {node.input[0]: 0 for node in graph.node if node.op_type == "Transpose" and node.output[0] in factors}
    return dict.fromkeys(factors, 1) | turned


def largest_difference(one: Detector, other: Detector, folder: str | None) -> tuple[float, int]:
    """(largest difference of two detectors' scores, number of images)."""
    preprocess, worst, count = one.metadata.preprocess, 0.0, 0
    for prepared in prepared_images(preprocess, folder):
        worst = max(worst, float(np.abs(one.scores(prepared) - other.scores(prepared)).max()))
        count += len(prepared)
    return worst, count


def prepared_images(preprocess: Preprocess, folder: str | None) -> Iterator[np.ndarray]:
    """IMAGES prepared images in batches of one: spread over a folder, or generated noise of every coarseness."""
    if folder is None:
        draw = np.random.default_rng(0)
        for side in draw.integers(2, preprocess.size, IMAGES):
            coarse = Image.fromarray(draw.integers(0, 256, (side, side, 3), dtype=np.uint8))
            yield preprocess(coarse.resize((preprocess.size, preprocess.size)))[None]
        return
    paths = list_pictures(folder).pictures
    for path in paths[:: max(1, len(paths) // IMAGES)][:IMAGES]:
        yield preprocess(open_image(path).image)[None]


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="checkpoint (.safetensors), or plain weights (.pth)")
    add("--out", metavar="FILE", help="file to write (default: MODEL with .onnx)")
    add("--images", metavar="FOLDER", help="images to compare the two ways on (default: generated ones)")
    add("--small", action="store_true", help="store weights as int8 and float16; computed in float32")
    add("--rounded", metavar="FILE", help="of --small: also write the checkpoint with its weights rounded")
    add("--arch", type=str.lower, choices=list(model.MODELS), help="what plain weights must be")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
