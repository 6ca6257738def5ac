"""Model files: what is written is read back, what is bad is refused in a sentence, and nothing in a file ever runs."""

import contextlib
import errno
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import hostile
import numpy as np
import pytest
import torch
import torchvision
from conftest import make_image
from hostile import MODELS
from safetensors.torch import save as safetensors_bytes

import model
import predict
from detector import Metadata, ModelError, checkpoint, find_models, load, read_metadata
from detector.backend_torch import head_of, recognise, recognise_head
from detector.calibration import Calibration
from detector.checkpoint import FORMAT, FORMAT_VERSION, read_weights, save_checkpoint
from files import write_atomically
from imaging import faces
from imaging.preprocess import Preprocess
from tools import between

ROOT = Path(__file__).parent.parent
METADATA = Metadata(
    arch="tiny",
    preprocess=Preprocess(size=64, fit="resize", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), interpolation="bicubic"),
    calibration=Calibration(temperature=1.7, threshold=0.25, unsure=(0.2, 0.4), fitted_on="abc"),
    training={"seed": 3, "arguments": {"lr": 1e-3, "data": "a/ü"}, "metrics": [0.5, None, True]},
)


def tiny(seed: int = 0) -> model.Tiny:
    torch.manual_seed(seed)
    return model.create_model("tiny").eval()


# ------------------------------------------------------------------------------------- the round trip


def test_metadata_and_weights_come_back(tmp_path):
    path = tmp_path / "own.safetensors"
    given = tiny().state_dict()
    save_checkpoint(path, given, METADATA)
    assert read_metadata(path) == METADATA
    found = read_weights(path)
    assert found.keys() == given.keys()
    assert all(torch.equal(found[name], given[name]) for name in given)
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_loaded_detector_gives_the_scores_of_the_network(tmp_path):
    network = tiny(5)
    save_checkpoint(tmp_path / "own.safetensors", network.state_dict(), METADATA)
    detector = load(tmp_path / "own.safetensors", device="cpu")
    batch = torch.randn(3, 3, 64, 64)
    assert detector.metadata == METADATA
    with torch.no_grad():
        logits = network(batch)
    assert np.allclose(detector.logits(batch.numpy()), logits.numpy(), atol=1e-6)
    assert np.allclose(detector.scores(batch.numpy()), (logits / 1.7).softmax(1)[:, 1].numpy(), atol=1e-6)


def test_metadata_is_plain_json():
    fields = json.loads(METADATA.to_json())
    assert fields["format_version"] == FORMAT_VERSION and fields["classes"] == ["Real", "Fake"]
    assert Metadata.from_json(METADATA.to_json()) == METADATA
    with pytest.raises(ValueError, match="JSON"):
        Metadata("tiny", Preprocess(), training={"loss": float("nan")}).to_json()


def test_half_precision_and_strided_weights_are_stored_as_they_are_meant(tmp_path):
    """Weights in channels_last or half precision come from training; a detector computes in float32."""
    given = {"a": torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last), "b": torch.randn(6).half()}
    save_checkpoint(tmp_path / "x.safetensors", given | {"n": torch.tensor(7)}, METADATA)
    found = read_weights(tmp_path / "x.safetensors")
    assert torch.equal(found["a"], given["a"]) and found["b"].dtype == torch.float32
    assert torch.equal(found["b"], given["b"].float()) and found["n"].item() == 7


@pytest.mark.parametrize("wrong", ["arch", "classes", "preprocess", "calibration", "training", "format_version"])
def test_metadata_without_a_field_is_refused(wrong):
    fields = json.loads(METADATA.to_json())
    del fields[wrong]
    with pytest.raises(ModelError, match=f"^its metadata cannot be read .*{wrong}"):
        Metadata.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("format_version", FORMAT_VERSION + 1, f"version {FORMAT_VERSION + 1}; this program reads version"),
        ("classes", ["Fake", "Real"], "its classes are"),
        ("preprocess", {"size": 10**9}, "size is 1000000000"),
        ("preprocess", {"surprise": 1}, "cannot be read"),
        ("calibration", {"temperature": 0}, "temperature is 0"),
        ("calibration", {"threshold": float("nan")}, "threshold is nan"),
        ("calibration", {"unsure": [0.9, 0.1]}, "band"),
        ("training", [1], "cannot be read"),
        ("head", [], "^its metadata cannot be read"),
        ("head", None, "^its metadata cannot be read"),
        ("head", "", "^its metadata cannot be read"),
    ],
)
def test_metadata_with_a_wrong_value_is_refused(field, value, says):
    with pytest.raises(ModelError, match=says):
        Metadata.from_json(json.dumps(json.loads(METADATA.to_json()) | {field: value}))


@pytest.mark.parametrize("head", [{"hidden": 16, "dropout": 0.5}, {"hidden": 16}, {"dropout": 0.5}, {}], ids=str)
def test_the_head_travels_in_the_file(head, tmp_path):
    torch.manual_seed(0)
    network = model.create_model("tiny", head=model.Head(**head)).eval()
    save_checkpoint(tmp_path / "own.safetensors", network.state_dict(), replace(METADATA, head=head))
    detector = load(tmp_path / "own.safetensors", device="cpu")
    assert read_metadata(tmp_path / "own.safetensors").head == detector.metadata.head == head
    assert head_of(detector.metadata) == model.Head(**head)
    batch = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        assert np.allclose(detector.logits(batch.numpy()), network(batch).numpy(), atol=1e-6)


def test_a_file_from_before_heads_has_the_default_one():
    fields = json.loads(METADATA.to_json())
    del fields["head"]
    assert fields["format_version"] == FORMAT_VERSION == 1
    assert Metadata.from_json(json.dumps(fields)) == METADATA and head_of(METADATA) == model.Head()


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ({"hidden": 7}, "a head of 7 hidden units; choose 0 or a whole number from 8 to 4096"),
        ({"hidden": 10**9}, "a head of 1000000000 hidden units"),
        ({"hidden": 16.0}, "a head of 16.0 hidden units"),
        ({"hidden": "a\nb"}, "a head of 'a\\nb' hidden units"),
        ({"dropout": 1}, "a head with dropout 1; choose from 0 to 0.9"),
        ({"units": 16}, "'units'"),
        ({"hidden": 16}, "do not fit tiny (first mismatch: classifier.0.weight missing)"),
        ([["hidden", 16]], "TypeError"),
    ],
    ids=str,
)
def test_a_file_with_a_bad_head_is_refused(head, says, tmp_path, capsys):
    """Also on the command line, with the exit status of bad model files."""
    fields = json.loads(METADATA.to_json()) | {"head": head}
    path, photo = tmp_path / "x.safetensors", tmp_path / "photo.png"
    make_image(True, 1).save(photo)
    path.write_bytes(safetensors_bytes(tiny().state_dict(), metadata={FORMAT: json.dumps(fields)}))
    with pytest.raises(ModelError) as caught:
        load(path, device="cpu")
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert predict.main([str(photo), "--model", str(path)]) == 3
    assert says in capsys.readouterr().err


def test_reading_metadata_imports_no_torch(tmp_path):
    """The command line refuses a bad file before it pays seconds for torch."""
    save_checkpoint(tmp_path / "own.safetensors", tiny().state_dict(), METADATA)
    torch.save(tiny().state_dict(), tmp_path / "plain.pth")
    program = (
        "import sys; from detector import read_metadata\n"
        "print([getattr(read_metadata(path), 'arch', None) for path in sys.argv[1:]], 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, tmp_path / "own.safetensors", tmp_path / "plain.pth"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "['tiny', None] False\n", done.stderr


# -------------------------------------------------------------------------------------- bad model files


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Each in a folder of its own, because code would leave its marker beside the file."""
    folder = tmp_path_factory.mktemp("models")
    paths = {name: folder / str(number) / name for number, name in enumerate(MODELS)}
    for name, path in paths.items():
        path.parent.mkdir()
        MODELS[name].write(path)
    return paths


@pytest.mark.parametrize("name", MODELS)
def test_each_model_file_gets_its_answer(name, files):
    path, says = files[name], MODELS[name].says
    assert not (path.parent / hostile.MARKER).exists()
    if says is None:
        assert load(path, device="cpu").metadata.arch == "tiny"
    else:
        with pytest.raises(ModelError) as caught:
            load(path, device="cpu")
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
    assert os.listdir(path.parent) == [name]  # no marker, nothing unpacked


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("code-")])
def test_the_files_with_code_are_as_bad_as_they_say(name, tmp_path):
    """Without our reader their code runs; otherwise a marker's absence would prove nothing."""
    MODELS[name].write(tmp_path / name)
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.load(tmp_path / name, weights_only=False)
    assert (tmp_path / hostile.MARKER).exists()


@pytest.mark.parametrize("name", [name for name, case in MODELS.items() if case.row == 71])
def test_wrapped_weights_are_the_same_weights(name, files):
    given, found = hostile.tiny(), read_weights(files[name])
    assert found.keys() == given.keys() and all(torch.equal(found[key], given[key]) for key in given)


def test_a_file_of_another_name_is_known_by_its_content(tmp_path):
    MODELS["checkpoint.safetensors"].write(tmp_path / "renamed.pth")
    assert load(tmp_path / "renamed.pth", device="cpu").metadata.preprocess.size == 64
    MODELS["code-2.pth"].write(tmp_path / "renamed.safetensors")
    with pytest.raises(ModelError, match="^damaged safetensors file$"):
        load(tmp_path / "renamed.safetensors", device="cpu")
    assert not (tmp_path / hostile.MARKER).exists()


def test_paths_that_are_no_model_file(tmp_path):
    for path, says in [
        (tmp_path / "none.pth", "^model file not found$"),
        (tmp_path, "^is a directory"),
        (tmp_path / ("x" * 300), "^the model file cannot be read"),
    ]:
        for read in (load, read_metadata, read_weights):
            with pytest.raises(ModelError, match=says):
                read(path)


def test_an_unreadable_model_file(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ModelError, match=r"^the model file cannot be read \(Permission denied\)$"):
        read_metadata(tmp_path / "closed.pth")


COMPUTED_NAMES = {  # pickles that give the name of what they call in ways that a plain reader of names might miss
    b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94h\x00h\x01\x93.": "posix.system",  # from the memo
    b"\x80\x04\x8c\x05posixq\x05\x8c\x06systemq\x060h\x05h\x06\x93.": "posix.system",  # from a numbered memo
    b"\x80\x04\x8c\x05torch\x8c\x06Tensor0\x8c\x05posix0\x8c\x06system\x93.": "?.?",  # popped after a harmless one
    b"\x80\x02\x82\x01.": "?.?",  # from copyreg's table of extensions
    b"S'posix'\nS'system'\n\x93.": "posix.system",
    b"cposix\nsystem\n.": "posix.system",
}


@pytest.mark.parametrize(("data", "name"), COMPUTED_NAMES.items())
def test_a_name_however_written_is_refused(data, name, tmp_path):
    (tmp_path / "x.pth").write_bytes(data)
    with pytest.raises(ModelError, match=rf"^refused: the file contains code \({re.escape(name)}\)"):
        read_weights(tmp_path / "x.pth")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_plain_weights_in_each_protocol(protocol, zipped, tmp_path):
    """torch's restricted reader knows no newer one than 3: such a file is whole and plain, and hears the remedy."""
    given, path = hostile.tiny(), tmp_path / "x.pth"
    torch.save(given, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    if protocol <= 3:
        assert all(torch.equal(tensor, given[name]) for name, tensor in read_weights(path).items())
        return
    with pytest.raises(ModelError, match=rf"^written with pickle protocol {protocol}.*torch.save.state_dict, FILE"):
        read_weights(path)


def test_our_list_of_names_is_a_lock_of_its_own(tmp_path, monkeypatch):
    """Even a torch that runs whatever it is given never sees the file."""

    def never(*args, **options):
        pytest.fail("the file reached torch.load")

    monkeypatch.setattr(torch, "load", never)
    for name in (name for name in MODELS if name.startswith(("code-", "network", "namespace", "script", "exported"))):
        MODELS[name].write(tmp_path / name)
        with pytest.raises(ModelError):
            read_weights(tmp_path / name)
    assert not (tmp_path / hostile.MARKER).exists()


def test_torch_has_a_lock_of_its_own(tmp_path, monkeypatch):
    """Were a name missing from our list, nothing would run all the same."""
    monkeypatch.setattr(checkpoint, "_check_pickle", lambda path, kind: None)
    for name in (name for name in MODELS if name.startswith(("code-", "network", "namespace"))):
        MODELS[name].write(tmp_path / name)
        with pytest.raises(ModelError, match="^not a PyTorch weights file"):
            read_weights(tmp_path / name)
    assert not (tmp_path / hostile.MARKER).exists()


def saved(tensors: Callable[[], object]) -> Callable[[Path], object]:
    return lambda path: torch.save(tensors(), path)


def safetensors(header: dict, data: bytes = b"") -> Callable[[Path], object]:
    text = json.dumps(header).encode()
    return lambda path: path.write_bytes(struct.pack("<Q", len(text)) + text + data)


ODD = {
    "one number that unfolds to 400 TB": saved(lambda: {"a": torch.zeros(()).expand(10**7, 10**7)}),
    "the same in half precision": saved(lambda: {"a": torch.zeros((), dtype=torch.half).expand(10**7, 10**7)}),
    "whole numbers for weights": saved(lambda: {key: value.long() for key, value in hostile.tiny().items()}),
    "a length of 2^63": lambda path: path.write_bytes(b"\x8d" + b"\xff" * 7 + b"\x7f"),
    "metadata of 100,000 brackets": safetensors({"__metadata__": {FORMAT: "[" * 100_000}}),
    "four-bit floats": safetensors({"a": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}}, bytes(4)),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_model_files_are_refused_in_a_sentence(name, tmp_path):
    path = tmp_path / ("x.safetensors" if name.startswith(("metadata", "four")) else "x.pth")
    ODD[name](path)
    with pytest.raises(ModelError):
        load(path, device="cpu")


def test_complex_weights_are_refused(tmp_path):
    torch.save({key: value.to(torch.complex64) for key, value in hostile.tiny().items()}, tmp_path / "x.pth")
    with pytest.raises(ModelError):
        load(tmp_path / "x.pth", device="cpu")


def test_a_null_byte_in_the_path(tmp_path):
    with pytest.raises(ModelError):
        read_metadata(f"{tmp_path}/a\0b.pth")


# ----------------------------------------------------------------------------------------- plain weights


def test_a_model_of_the_original_program(tmp_path):
    """As it was made there: torchvision's network with a new last layer, and torch.save of its state_dict."""
    network = torchvision.models.resnet50()
    network.fc = torch.nn.Linear(2048, 2)
    torch.save(network.state_dict(), tmp_path / "resnet50_epoch_3.pth")
    detector = load(tmp_path / "resnet50_epoch_3.pth", device="cpu")
    found = detector.metadata
    assert (found.arch, found.preprocess.fit, found.preprocess.size) == ("resnet50", "resize", 224)
    assert found.preprocess.mean == (0.485, 0.456, 0.406) and found.calibration == Calibration()
    batch = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network.eval()(batch).numpy()
    assert np.allclose(detector.logits(batch.numpy()), expected, atol=1e-4)
    assert "assumed" in found.training


@pytest.mark.parametrize("name", model.MODELS)
def test_each_architecture_is_recognised(name):
    assert recognise(model.skeleton(name).state_dict()) == name


@pytest.mark.parametrize("name", model.MODELS)
@pytest.mark.parametrize("head", [model.Head(16, 0.5), model.Head(dropout=0.5), model.Head()], ids=str)
def test_each_head_is_recognised(name, head):
    weights = model.skeleton(name, head).state_dict()
    assert (recognise(weights), recognise_head(weights, name)) == (name, head)


def test_plain_weights_with_a_dense_head(tmp_path):
    """As transfer learning usually leaves them. What they do not tell is assumed, and said."""
    network = torchvision.models.resnet50()
    dense = torch.nn.Linear(2048, 128), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(128, 2)
    network.fc = torch.nn.Sequential(*dense)
    torch.save(network.state_dict(), tmp_path / "resnet50.pth")
    detector = load(tmp_path / "resnet50.pth", device="cpu")
    assert detector.metadata.head["hidden"] == 128
    assert "ReLU after the head's 128 units" in detector.metadata.training["assumed"]
    batch = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert np.allclose(detector.logits(batch.numpy()), network.eval()(batch).numpy(), atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 96), (5000, 96), ()])
def test_plain_weights_with_an_impossible_dense_layer(shape, tmp_path):
    weights = {key: tensor for key, tensor in hostile.tiny().items() if not key.startswith("classifier.")}
    torch.save(
        weights | {"classifier.0.weight": torch.zeros(shape), "classifier.3.weight": torch.zeros(2, 3)},
        tmp_path / "x.pth",
    )
    with pytest.raises(ModelError, match="^a head of .* hidden units; choose"):
        load(tmp_path / "x.pth", device="cpu")


def test_weights_of_no_architecture_are_refused():
    with pytest.raises(ModelError, match="^the weights do not fit any architecture here .*resnet50.*tiny"):
        recognise({"encoder.weight": torch.zeros(3, 3), "decoder.weight": torch.zeros(3, 3)})


def test_a_share_of_the_names_decides_whether_weights_are_recognised():
    own = model.skeleton("tiny").state_dict()
    for kept, known in ((4, True), (3, False)):  # of 11: 0.36 and 0.27
        some = dict(list(own.items())[:kept])
        with contextlib.nullcontext() if known else pytest.raises(ModelError, match="do not fit any architecture"):
            assert recognise(some) == "tiny"


def test_the_asked_architecture_must_be_the_one_in_the_file(files):
    assert load(files["legacy.pth"], arch="tiny", device="cpu").metadata.arch == "tiny"
    for name, says in [("legacy.pth", "do not fit resnet50"), ("checkpoint.safetensors", "holds tiny, not resnet50")]:
        with pytest.raises(ModelError, match=says):
            load(files[name], arch="resnet50", device="cpu")
    with pytest.raises(ModelError, match="unknown architecture 'RESNET50' .choose from resnet50"):
        load(files["legacy.pth"], arch="RESNET50", device="cpu")


def test_model_files_of_a_folder(tmp_path):
    for name in ("b.PTH", "a.safetensors", "run/best.pt", "run/.best.pth.x1", ".a.pth", "notes.txt", "x.pth.part",
                 f"run/{faces.MODEL.name}"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "folder.pth").mkdir()
    assert [path.relative_to(tmp_path).as_posix() for path in find_models(tmp_path)] == [
        "a.safetensors", "b.PTH", "run/best.pt",
    ]  # fmt: skip


# --------------------------------------------------------------------------------------- whole or not at all


def test_a_file_is_replaced(tmp_path):
    for data in (b"first", b"second"):
        write_atomically(tmp_path / "best.safetensors", data)
        assert (tmp_path / "best.safetensors").read_bytes() == data
    assert os.listdir(tmp_path) == ["best.safetensors"]


@pytest.mark.parametrize("where", ["replace", "fsync", "chmod"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_whole(where, error, tmp_path, monkeypatch):
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, tiny().state_dict(), METADATA)
    before = path.read_bytes()

    def fail(*args):
        assert path.read_bytes() == before  # nothing has touched it so far
        raise error

    monkeypatch.setattr(os, where, fail)
    with pytest.raises(type(error)):
        save_checkpoint(path, tiny(1).state_dict(), METADATA)
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]


def test_a_full_disk_leaves_the_old_file_whole(tmp_path):
    """The write itself fails: the system is asked to let no file grow beyond a kilobyte."""
    import resource

    path = tmp_path / "best.safetensors"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            write_atomically(path, bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == [path.name]


def test_a_folder_that_cannot_be_written_is_an_oserror(tmp_path):
    with pytest.raises(OSError):
        write_atomically(tmp_path / "none" / "best.safetensors", b"new")


def test_weights_between_two_files(trained, tmp_path, capsys):
    """tools.between: towards another detector, and towards a backbone that has another head."""
    best, last, out = trained / "best.safetensors", trained / "last.safetensors", tmp_path / "between.safetensors"
    one, other = read_weights(best), read_weights(last)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert between.main(list(map(str, (best, last, "--share", 0.25, "--out", out)))) == 0
    for name, tensor in read_weights(out).items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, 0.25 * one[name] + 0.75 * other[name], atol=1e-5), name
    found, before = read_metadata(out), read_metadata(best)
    assert found.preprocess == before.preprocess and found.calibration == Calibration() != before.calibration
    assert load(out, device="cpu").logits(np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 2)

    heads = {name for name in other if name.startswith(f"{model.architecture(before.arch).classifier}.")}
    thousand = {name: tensor.repeat(500, *[1] * (tensor.ndim - 1)) for name, tensor in other.items() if name in heads}
    backbone = {name: tensor for name, tensor in other.items() if name not in heads}
    (tmp_path / "backbone.safetensors").write_bytes(safetensors_bytes(backbone | thousand))
    assert between.main(list(map(str, (best, tmp_path / "backbone.safetensors", "--out", out)))) == 0
    for name, tensor in read_weights(out).items():
        if tensor.is_floating_point() and name not in heads:
            assert torch.allclose(tensor, (one[name] + other[name]) / 2, atol=1e-5), name

    assert between.main([str(tmp_path / "backbone.safetensors"), str(last), "--out", str(out)]) == 3
    assert "give a checkpoint" in capsys.readouterr().err
    assert between.main([str(best), str(tmp_path / "none.safetensors"), "--out", str(out)]) == 3
    assert between.main([str(best), str(last), "--out", str(tmp_path / "none" / "out.safetensors")]) == 1
