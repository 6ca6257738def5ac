"""A detector's file: one format, one writer, one reader. Nothing in a model file is ever executed.

The format is a .safetensors file (https://huggingface.co/docs/safetensors: a JSON header, then raw tensors) whose
header carries, under FORMAT, one JSON object: Metadata. Reading it needs no torch.

Plain weights load too: `.safetensors` of others, and `.pth` files that hold a state_dict (the original program's, for
instance). A `.pth` file is a pickle, and a pickle is a program; ours are read by torch's restricted reader, after a
list of what they name has been compared with a short list of what plain weights may name (`_check_pickle`).
"""

import contextlib
import json
import os
import pickle
import pickletools
import sys
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from safetensors import SafetensorError, safe_open

from detector.calibration import Calibration
from detector.onnx_file import read_onnx_metadata
from files import write_atomically
from imaging import faces
from imaging.preprocess import Preprocess
from names import CLASSES

if TYPE_CHECKING:
    import torch

FORMAT = "deepfake-detector"
# Metadata.head came later, under the same version: a file without it means what it always meant, and an older program
# that meets one finds tensors whose names it does not know, and refuses them; it never judges wrongly.
FORMAT_VERSION = 1
MAX_PROTOCOL = 3  # of pickle: what torch's restricted reader knows; torch.save writes 2
MAX_NUMBERS = 500_000_000  # twenty times the largest network here
SUFFIXES = (".safetensors", ".onnx", ".pth", ".pt")


class ModelError(ValueError):
    """A model file that cannot be used; str(error) is a sentence for people."""


@dataclass(frozen=True)
class Metadata:
    """What a checkpoint says about itself, in plain types.

    training: how it came to be: arguments, seed, data digests, git commit, versions, Validation metrics.
    head: of the network, as model.Head(**head) takes it; {} for its own linear layer.
    """

    arch: str
    preprocess: Preprocess
    calibration: Calibration = Calibration()
    training: dict = field(default_factory=dict)
    classes: tuple[str, ...] = CLASSES
    head: dict = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(
            {
                "format_version": FORMAT_VERSION,
                "arch": self.arch,
                "head": self.head,
                "classes": list(self.classes),
                "preprocess": self.preprocess.to_dict(),
                "calibration": self.calibration.to_dict(),
                "training": self.training,
            },
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> "Metadata":
        """Raises ModelError when the text is of another format version, or is not what `to_json` writes."""
        try:
            fields = json.loads(text)
            version = fields["format_version"]
            if version != FORMAT_VERSION:
                raise ModelError(f"made for format version {version!r}; this program reads version {FORMAT_VERSION}")
            if tuple(fields["classes"]) != CLASSES:
                raise ModelError(f"its classes are {fields['classes']}; this program judges {list(CLASSES)}")
            return cls(
                arch=str(fields["arch"]),
                preprocess=Preprocess.from_dict(fields["preprocess"]),
                calibration=Calibration.from_dict(fields["calibration"]),
                training=dict(fields["training"]),
                head={} | fields.get("head", {}),  # a TypeError where it is no JSON object
            )
        except ModelError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ModelError(f"its metadata cannot be read ({type(error).__name__}: {error})") from error


def save_checkpoint(path: str | os.PathLike, weights: "dict[str, torch.Tensor]", metadata: Metadata) -> None:
    """Write a checkpoint: under a temporary name first, so that a file of this name is always whole."""
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_atomically(path, save(plain, metadata={FORMAT: metadata.to_json()}))


def find_models(folder: str | os.PathLike) -> list[Path]:
    """Every model file below a folder, sorted.

    Hidden files are passed over, since a partly written one is hidden, and the face finder, which is no detector.
    """
    return sorted(
        path
        for path in Path(folder).rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not path.name.startswith(".")
        and path.name != faces.MODEL.name
    )


def read_metadata(path: str | os.PathLike) -> Metadata | None:
    """A checkpoint's metadata; None where the file holds plain weights. Imports no torch. Raises ModelError."""
    kind = kind_of_file(path)
    if kind == "onnx":
        header = _onnx_header(path)
    elif kind == "safetensors":
        with _safetensors_errors(), safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
    else:
        return None
    return Metadata.from_json(header[FORMAT]) if FORMAT in header else None


def _onnx_header(path: str | os.PathLike) -> dict[str, str]:
    try:
        header, external = read_onnx_metadata(path)
    except (OSError, ValueError, LookupError) as error:
        raise ModelError("damaged ONNX file") from error
    if external:
        raise ModelError("an ONNX file whose weights lie in other files is not supported; export it as one file")
    if FORMAT not in header:
        raise ModelError("an ONNX file without our metadata; make one with python -m tools.export")
    return header


def read_weights(path: str | os.PathLike) -> "dict[str, torch.Tensor]":
    """The named tensors of a model file, floating point ones as float32, on the CPU. Raises ModelError."""
    kind = kind_of_file(path)
    if kind == "onnx":
        raise ModelError("an ONNX file holds no weights to train or load with PyTorch; give the .safetensors file")
    tensors = _read_safetensors(path) if kind == "safetensors" else _state_dict(_read_pickle(path, kind))
    weights = {_plain_name(name): tensor for name, tensor in tensors.items()}
    if sum(tensor.numel() for tensor in weights.values()) > MAX_NUMBERS:
        raise ModelError(f"holds more than {MAX_NUMBERS:,} numbers")  # a few bytes can claim to be many, with stride 0
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            weights[name] = _as_float32(name, tensor)
    return weights


def _as_float32(name: str, tensor: "torch.Tensor") -> "torch.Tensor":
    try:
        tensor = tensor.float()
    except RuntimeError as error:  # a type of four or six bits, for which torch knows no conversion
        raise ModelError(f"its numbers are of an unsupported type ({name}: {tensor.dtype})") from error
    if not tensor.isfinite().all():
        raise ModelError(f"the weights contain NaN or infinity ({name})")
    return tensor


def kind_of_file(path: str | os.PathLike) -> str:
    """onnx, safetensors, zip or pickle, by content; the name decides only what a damaged file is called."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        raise ModelError("model file not found") from None
    except IsADirectoryError:
        raise ModelError("is a directory; give a model file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise ModelError(f"the model file cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if head == b"version https://":
        raise ModelError("a Git LFS pointer, not the model itself: `git lfs pull` fetches it")
    if head.startswith(b"PK\3\4"):
        return "zip"
    if path.suffix.lower() == ".safetensors" or head[8:9] == b"{":
        return "safetensors"
    if path.suffix.lower() == ".onnx" or head[:1] == b"\x08":  # the first field, ir_version, of every ONNX file
        return "onnx"
    return "pickle"


@contextlib.contextmanager
def _safetensors_errors():
    try:
        yield
    except (SafetensorError, OSError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise ModelError("damaged safetensors file") from error


def _read_safetensors(path) -> "dict[str, torch.Tensor]":
    from safetensors.torch import load_file

    with _safetensors_errors():
        return load_file(path)


def _read_pickle(path, kind: str):
    import torch

    _check_pickle(path, kind)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about storage classes that old files name
            return torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, OSError,
        AssertionError, OverflowError, MemoryError,
    ) as error:  # fmt: skip
        raise _not_weights() from error


def _state_dict(loaded) -> "dict[str, torch.Tensor]":
    """The named tensors of a state_dict, or of the usual wrappers around one."""
    import torch

    if isinstance(loaded, dict):
        for key in ("model", "state_dict", "model_state_dict"):
            if isinstance(loaded.get(key), dict):
                loaded = loaded[key]
                break
        if loaded and all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in loaded.items()):
            return dict(loaded)
    raise ModelError("not plain weights; re-save state_dict()")


def _plain_name(name: str) -> str:
    """Without what DistributedDataParallel and torch.compile put before every name."""
    while name.startswith(("module.", "_orig_mod.")):
        name = name.partition(".")[2]
    return name


# What the pickle of a state_dict names, and nothing else. `None` stands for every name of the module that ends so.
_PLAIN = {
    "collections": {"OrderedDict", "defaultdict", "Counter"},
    "builtins": {"set", "bytearray", "complex"},
    "__builtin__": {"set", "bytearray", "complex"},
    "_codecs": {"encode"},
    "torch": {"Size", "device", "Tensor"},
    "torch._utils": {
        "_rebuild_tensor",
        "_rebuild_tensor_v2",
        "_rebuild_parameter",
        "_rebuild_device_tensor_from_numpy",
    },
    "torch.nn.parameter": {"Parameter"},
    "torch.serialization": {"_get_layout"},
    "torch.storage": {"UntypedStorage", "TypedStorage"},
}
# Standard-library names that whole models and training scripts leave in a pickle: data, if not plain weights.
_DATA = {
    "argparse": {"Namespace"},
    "builtins": {
        "object",
        "int",
        "float",
        "str",
        "bytes",
        "tuple",
        "list",
        "dict",
        "frozenset",
        "slice",
        "range",
        "bool",
    },
    "copyreg": {"_reconstructor"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "pathlib": {"Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"},
    "types": {"SimpleNamespace"},
    "functools": {"partial"},
}
_DATA |= {"__builtin__": _DATA["builtins"], "copy_reg": _DATA["copyreg"]}


def _check_pickle(path, kind: str) -> None:
    """Refuse a file whose pickle names anything but plain weights, without running a step of it."""
    try:
        named, protocol = _names_in_zip(path) if kind == "zip" else _names_in_pickles(path)
    except ModelError:  # a ValueError too, and the better answer
        raise
    except (ValueError, EOFError, OSError, LookupError, ArithmeticError, RuntimeError, zipfile.BadZipFile) as error:
        raise _not_weights() from error
    refused = [pair for pair in named if not _is_plain(*pair)]
    code = [pair for pair in refused if not _is_data(*pair)]
    if code:
        raise ModelError(f"refused: the file contains code ({'.'.join(code[0])}); nothing of it was run")
    if refused:
        raise ModelError(f"not plain weights; re-save state_dict() (it holds {'.'.join(refused[0])})")
    if protocol > MAX_PROTOCOL:
        raise ModelError(
            f"written with pickle protocol {protocol}, and PyTorch's safe reader knows {MAX_PROTOCOL} at most; "
            "save it again with torch.save(state_dict, FILE), without pickle_protocol"
        )


def _is_plain(module: str, name: str) -> bool:
    return name in _PLAIN.get(module, ()) or (module == "torch" and (name.endswith("Storage") or _is_dtype(name)))


def _is_dtype(name: str) -> bool:
    return name.startswith(("float", "bfloat", "int", "uint", "bool", "half", "double", "long", "short", "complex"))


def _is_data(module: str, name: str) -> bool:
    """Plain data or a class of some library's; False for whatever of the standard library can act."""
    return name in _DATA.get(module, ()) or module.split(".")[0] not in {*sys.stdlib_module_names, "__builtin__", "?"}


def _names_in_zip(path) -> tuple[set[tuple[str, str]], int]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(name.endswith(("constants.pkl", "archive_format")) or "/code/" in f"/{name}" for name in names):
            raise ModelError("TorchScript and exported programs are not supported (can run code); save state_dict()")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise _not_weights()  # torch never compresses; a small file must not unfold into a large one
        pickles = [name for name in names if name.endswith("data.pkl")]
        if len(pickles) != 1:
            raise _not_weights()
        with archive.open(pickles[0]) as file:
            return _names_in_pickle(file)


def _names_in_pickles(path) -> tuple[set[tuple[str, str]], int]:
    """torch's file format before 1.6: five pickles in a row (number, version, system, object, keys), then raw data."""
    found, protocol = set(), 0
    with open(path, "rb") as file:
        for _ in range(5):
            names, own_protocol = _names_in_pickle(file)
            found, protocol = found | names, max(protocol, own_protocol)
            if any(not _is_plain(*pair) for pair in found):
                break  # refused already; what follows need not be a pickle
    return found, protocol


def _names_in_pickle(file: BinaryIO) -> tuple[set[tuple[str, str]], int]:
    """The (module, name) pairs that a pickle would import, read from its opcodes, and the protocol it claims.

    ("?", "?") stands for a name that is computed.
    """
    found, protocol, memo, strings = set(), 0, {}, []
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "PROTO":
            protocol = max(protocol, argument)
        if opcode.name in ("GLOBAL", "INST"):
            found.add(tuple(argument.split(" ", 1)))
        elif opcode.name == "STACK_GLOBAL":
            pair = tuple(strings[-2:])
            found.add(pair if len(pair) == 2 and None not in pair else ("?", "?"))
        elif opcode.name.startswith("EXT"):
            found.add(("?", "?"))
        if "UNICODE" in opcode.name or "STRING" in opcode.name:
            strings.append(argument)
        elif opcode.name in ("BINGET", "LONG_BINGET", "GET"):
            strings.append(memo.get(int(argument)))
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = strings[-1] if strings else None
        elif opcode.name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[int(argument)] = strings[-1] if strings else None
        elif opcode.name not in ("PROTO", "FRAME"):
            strings.append(None)
        del strings[:-4]
    return found, protocol


def _not_weights() -> ModelError:
    return ModelError("not a PyTorch weights file, or cut short")
