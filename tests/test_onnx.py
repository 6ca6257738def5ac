"""An exported detector says what the checkpoint says, without torch; bad .onnx files get a sentence."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import ROOT, make_image, side_of

import model
import predict
from detector import Detector, ModelError, load
from detector.checkpoint import FORMAT, Metadata, read_metadata, read_weights, save_checkpoint
from imaging.preprocess import Preprocess
from names import ARCHITECTURES
from tools import export


def saved_with(head: model.Head, name: str, folder: Path) -> tuple[Detector, Path]:
    """A detector of 96 px with random weights, and its file x.safetensors."""
    torch.manual_seed(1)
    network, row = model.create_model(name, head=head), model.architecture(name)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the statistics of the one batch below, and nothing of the fresh ones
    with torch.no_grad():  # statistics as after training: without them every logit of a fresh network is the same
        network.train()(torch.randn(4, 3, *[side_of(name, 64)] * 2))
    metadata = Metadata(name, Preprocess(side_of(name, 96), "crop", row.mean, row.std), head=asdict(head))
    save_checkpoint(folder / "x.safetensors", network.state_dict(), metadata)
    return load(folder / "x.safetensors", device="cpu"), folder / "x.safetensors"


# Not the pair: tests/test_default_model.py compares its file, which ships, with its checkpoint, the heat maps too.
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "tf_efficientnet_lite0_pair"])
def test_each_architecture_agrees(name, tmp_path, monkeypatch, capsys):
    (one, path), out, row = saved_with(model.Head(), name, tmp_path), tmp_path / "x.onnx", model.architecture(name)
    monkeypatch.setattr(export, "IMAGES", 12)
    assert export.main([str(path)]) == 0
    assert "over 12 images" in capsys.readouterr().out
    assert read_metadata(out) == read_metadata(path)
    other = load(out)
    images = np.random.default_rng(0).normal(size=(3, 3, *[side_of(name, 96)] * 2)).astype(np.float32)
    assert one.scores(images) == pytest.approx(other.scores(images), abs=1e-4)
    assert np.ptp(one.logits(images)[:, 0]) > 0  # the agreement is not that of a constant
    logits, features, weight, bias = other.backend.run(["logits", "features", "head_weight", "head_bias"], images)
    assert features.mean((2, 3)) @ weight.T + bias == pytest.approx(logits, rel=1e-3, abs=1e-3)
    assert np.array_equal(weight, read_weights(path)[f"{row.head}.weight"].numpy())
    maps = [detector.backend.class_map(images).ravel() for detector in (one, other)]  # what a heat map is drawn from
    assert np.ptp(maps[0]) > 0 and np.corrcoef(*maps)[0, 1] >= 0.99


def test_a_mirroring_detector_takes_the_mean_of_both_ways_round(tmp_path, monkeypatch):
    plain, path = saved_with(model.Head(), "tiny", tmp_path)
    mirrored = replace(plain.metadata, preprocess=replace(plain.metadata.preprocess, mirror=True))
    save_checkpoint(path, read_weights(path), mirrored)
    monkeypatch.setattr(export, "IMAGES", 4)
    assert export.main([str(path)]) == 0
    images = np.random.default_rng(0).normal(size=(3, 3, 96, 96)).astype(np.float32)
    turned = images[..., ::-1].copy()
    logits = (plain.logits(images) + plain.logits(turned)) / 2
    heat = (plain.backend.class_map(images) + plain.backend.class_map(turned)[..., ::-1]) / 2
    assert not np.allclose(plain.logits(images), logits, atol=1e-3)  # else this would show nothing
    for file in (path, tmp_path / "x.onnx"):
        detector = load(file, device="cpu")
        assert detector.logits(images) == pytest.approx(logits, abs=1e-4)
        assert detector.logits(turned) == pytest.approx(logits, abs=1e-4)
        assert detector.backend.class_map(images) == pytest.approx(heat, abs=1e-4)
        assert detector.concurrent == (file.suffix == ".onnx")
    assert load(path, device="cpu").logits(torch.from_numpy(images)) == pytest.approx(logits, abs=1e-5)


# The first row of each name of a head: what follows it is built and exported alike.
HEADS = {model.MODELS[name].head: name for name in reversed(ARCHITECTURES)}


@pytest.mark.parametrize("name", HEADS.values())
def test_a_dense_head_of_each_kind_gives_logits_only(name, tmp_path, monkeypatch):
    detector, path = saved_with(model.Head(hidden=128, dropout=0.5), name, tmp_path)
    monkeypatch.setattr(export, "IMAGES", 4)
    assert export.main([str(path)]) == 0
    other = load(tmp_path / "x.onnx")
    assert [output.name for output in other.backend.session.get_outputs()] == ["logits"]
    assert other.metadata == detector.metadata and other.metadata.head == {"hidden": 128, "dropout": 0.5}
    images = np.random.default_rng(0).normal(size=(3, 3, *[side_of(name, 96)] * 2)).astype(np.float32)
    assert detector.scores(images) == pytest.approx(other.scores(images), abs=1e-4)
    assert np.ptp(detector.logits(images)[:, 0]) > 0


def test_a_head_with_dropout_alone_keeps_all_outputs(tmp_path, monkeypatch):
    detector, path = saved_with(model.Head(dropout=0.5), "tiny", tmp_path)
    monkeypatch.setattr(export, "IMAGES", 4)
    assert export.main([str(path)]) == 0
    images = np.random.default_rng(0).normal(size=(3, 3, 96, 96)).astype(np.float32)
    _, features, weight, bias = load(tmp_path / "x.onnx").backend.run(list(export.Exported.outputs), images)
    logits = detector.logits(images)
    assert np.ptp(logits[:, 0]) > 0
    assert features.mean((2, 3)) @ weight.T + bias == pytest.approx(logits, rel=1e-3, abs=1e-3)


def test_a_bad_head_is_a_bad_model_file(tmp_path, capsys):
    _, path = saved_with(model.Head(hidden=16), "tiny", tmp_path)
    save_checkpoint(path, read_weights(path), replace(read_metadata(path), head={"hidden": 3}))
    assert export.main([str(path)]) == 3
    said = capsys.readouterr().err
    assert "a head of 3 hidden units" in said and len(said.splitlines()) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.safetensors"]


def test_judging_imports_no_torch(exported, tmp_path):
    make_image(True, 1).save(tmp_path / "photo.png")
    code = "import predict, sys; s = predict.main(sys.argv[1:]); print(s, *sys.modules)"
    command = [sys.executable, "-c", code, str(tmp_path / "photo.png"), "--model", str(exported), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    answer, modules = done.stdout.splitlines()
    assert "score" in json.loads(answer)
    assert modules.startswith("0 ") and "onnxruntime" in modules.split()
    assert not {"torch", "torchvision", "timm", "onnx", "sklearn", "matplotlib"} & set(modules.split())


def test_predict_gives_one_score_through_both_files(exported, trained, small_set, capsys):
    answers = []
    for path in (exported, trained / "best.safetensors"):
        assert predict.main([str(small_set / "Test"), "--model", str(path), "--json"]) == 0
        answers.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert [a["file"] for a in answers[0]] == [a["file"] for a in answers[1]]
    assert [a["score"] for a in answers[0]] == pytest.approx([a["score"] for a in answers[1]], abs=1e-4)


def test_a_difference_is_not_kept(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    monkeypatch.setattr(export, "IMAGES", 3)
    assert export.main([str(trained / "best.safetensors"), "--out", str(tmp_path / "x.onnx")]) == 1
    assert "the scores differ" in capsys.readouterr().err and not list(tmp_path.iterdir())


def rewritten(change):
    def write(exported, path):
        proto = onnx.load(exported)
        change(proto)
        path.write_bytes(proto.SerializeToString())

    return write


def _external(proto):
    tensor = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"


def _newer(proto):
    proto.metadata_props[0].value = proto.metadata_props[0].value.replace('"format_version": 1', '"format_version": 2')


BAD = {
    "other-version": (rewritten(_newer), "made for format version 2; this program reads version 1"),
    "no-metadata": (rewritten(lambda proto: proto.ClearField("metadata_props")), "without our metadata"),
    "other-metadata": (rewritten(lambda proto: setattr(proto.metadata_props[0], "key", "x")), "without our metadata"),
    "external": (rewritten(_external), "whose weights lie in other files"),
    "bad-metadata": (
        rewritten(lambda proto: setattr(proto.metadata_props[0], "value", "{}")),
        "metadata cannot be read",
    ),
    "no-logits": (rewritten(lambda proto: setattr(proto.graph.output[0], "name", "x")), "ONNX"),
    "cut": (lambda good, path: path.write_bytes(good.read_bytes()[:-5000]), "damaged ONNX file"),
    "cut-early": (lambda good, path: path.write_bytes(good.read_bytes()[:100]), "damaged ONNX file"),
    "empty": (lambda good, path: path.write_bytes(b""), "damaged ONNX file"),
    "text": (lambda good, path: path.write_bytes(b"no model at all"), "damaged ONNX file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(exported, tmp_path, name, capsys):
    write, says = BAD[name]
    path = tmp_path / "x.onnx"
    write(exported, path)
    make_image(True, 1).save(tmp_path / "photo.png")
    assert predict.main([str(tmp_path / "photo.png"), "--model", str(path)]) == 3
    said = capsys.readouterr().err
    assert says in said and len(said.splitlines()) == 1


def test_random_damage_is_a_model_error_or_a_model(exported, tmp_path):
    data, draw = exported.read_bytes(), np.random.default_rng(0)
    image = np.zeros((1, 3, 48, 48), np.float32)
    for _ in range(60):
        broken = bytearray(data)
        for at in draw.integers(0, len(data) if draw.random() < 0.5 else 3000, 8):
            broken[at] = draw.integers(256)
        (tmp_path / "x.onnx").write_bytes(broken)
        try:
            assert load(tmp_path / "x.onnx").scores(image).shape == (1,)
        except ModelError as error:
            assert str(error)


def test_an_onnx_file_is_no_start_for_training(exported):
    with pytest.raises(ModelError, match="no weights to train"):
        read_weights(exported)


def test_the_metadata_key_is_the_same_in_both_formats(exported):
    assert [entry.key for entry in onnx.load(exported).metadata_props] == [FORMAT]
