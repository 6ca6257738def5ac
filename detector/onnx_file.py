"""What an .onnx file says about itself, read without ONNX Runtime: its metadata, and whether it needs other files.

An .onnx file is one protocol-buffers message (github.com/onnx/onnx, onnx.proto). Only the few fields needed are walked;
weights are skipped over, not read. This costs a millisecond where building a session costs up to a second.
"""

import mmap
import os
from collections.abc import Iterator

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_ATTRIBUTE, _ATTRIBUTE_TENSOR = 5, 5
_TENSOR_EXTERNAL_DATA = 13
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_onnx_metadata(path: str | os.PathLike) -> tuple[dict[str, str], bool]:
    """(the file's key-value metadata, whether a weight lies in another file). Raises ValueError on a damaged file."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        model = list(_fields(data, 0, len(data)))
        graphs = [span for field, span in model if field == _MODEL_GRAPH]
        if len(graphs) != 1:
            raise ValueError("no graph")
        entries = (dict(_fields(data, *span)) for field, span in model if field == _MODEL_METADATA)
        metadata = {_text(data, entry[1]): _text(data, entry[2]) for entry in entries if {1, 2} <= entry.keys()}
        return metadata, any(_is_external(data, tensor) for tensor in _tensors(data, graphs[0]))


def _fields(data, at: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """(field number, (start, end) of its bytes) of a message; numbers are passed over."""
    while at < end:
        key, at = _varint(data, at, end)
        field, kind = key >> 3, key & 7
        if kind == _BYTES:
            length, at = _varint(data, at, end)
            if at + length > end:
                raise ValueError("cut short")
            yield field, (at, at + length)
            at += length
        elif kind == _VARINT:
            _, at = _varint(data, at, end)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")


def _varint(data, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            return value, at
    raise ValueError("cut short")


def _tensors(data, graph: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """The weights of a graph, and the constants in its nodes."""
    for field, span in _fields(data, *graph):
        if field == _GRAPH_INITIALIZER:
            yield span
        elif field == _GRAPH_NODE:
            for inner, attribute in _fields(data, *span):
                if inner == _NODE_ATTRIBUTE:
                    yield from (tensor for kind, tensor in _fields(data, *attribute) if kind == _ATTRIBUTE_TENSOR)


def _is_external(data, tensor: tuple[int, int]) -> bool:
    return any(field == _TENSOR_EXTERNAL_DATA for field, _ in _fields(data, *tensor))


def _text(data, span: tuple[int, int]) -> str:
    return data[span[0] : span[1]].decode()
