"""The table of networks, and pretrained weights with any head."""

import pytest
import torch
from conftest import side_of

import model
from names import ARCHITECTURES


def test_the_names_without_torch_are_the_table():
    assert tuple(model.MODELS) == ARCHITECTURES


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_row_builds_two_outputs_and_names_its_head(name):
    network = model.create_model(name).eval()
    side = side_of(name, 64)
    assert network(torch.zeros(1, 3, side, side)).shape == (1, 2)
    head = network.get_submodule(model.MODELS[name].head)
    assert isinstance(head, torch.nn.Linear) and head.out_features == 2
    assert model.skeleton(name).state_dict().keys() == network.state_dict().keys()


HEADS = {
    "dense": (model.Head(hidden=16), ["0.weight", "0.bias", "3.weight", "3.bias"]),
    "dense, dropout": (model.Head(hidden=16, dropout=0.5), ["0.weight", "0.bias", "3.weight", "3.bias"]),
    "dropout": (model.Head(dropout=0.5), ["1.weight", "1.bias"]),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("kind", HEADS)
def test_each_row_takes_each_head(name, kind):
    (head, tensors), row = HEADS[kind], model.MODELS[name]
    network, plain = model.skeleton(name, head).eval(), model.skeleton(name)
    side = side_of(name, 64)
    assert network(torch.zeros(3, 3, side, side, device="meta")).shape == (3, 2)
    backbone = [key for key in plain.state_dict() if not key.startswith(f"{row.head}.")]
    assert list(network.state_dict()) == backbone + [f"{row.head}.{tensor}" for tensor in tensors]


def test_a_dense_head_is_dense_relu_dropout_and_the_output():
    torch.manual_seed(0)
    head = model.create_model("tiny", head=model.Head(hidden=400, dropout=0.5)).classifier
    means, weights = torch.randn(5, 96), head.state_dict()
    hidden = (means @ weights["0.weight"].T + weights["0.bias"]).relu()
    with torch.no_grad():
        assert torch.allclose(head.eval()(means), hidden @ weights["3.weight"].T + weights["3.bias"], atol=1e-6)
        share = (head.train()[:3](means)[hidden > 0] == 0).float().mean()
    assert share == pytest.approx(0.5, abs=0.1)


def test_the_default_head_changes_nothing():
    torch.manual_seed(0)
    ours = model.create_model("tiny", head=model.Head())
    torch.manual_seed(0)
    plain = model.Tiny()
    plain.classifier.reset_parameters()
    assert type(ours.classifier) is torch.nn.Linear
    assert all(torch.equal(tensor, plain.state_dict()[key]) for key, tensor in ours.state_dict().items())


@pytest.mark.parametrize("hidden", [-1, 7, 4097, 16.0, True, "16", None])
def test_a_wrong_number_of_units_is_refused(hidden):
    with pytest.raises(model.NetworkError, match="^a head of .* hidden units; choose 0 or a whole number from 8 to"):
        model.Head(hidden=hidden)


@pytest.mark.parametrize("dropout", [-0.1, 0.95, float("nan"), True, "0.5\n", None])
def test_a_wrong_dropout_is_refused(dropout):
    with pytest.raises(model.NetworkError, match="^a head with dropout .*; choose from 0 to 0.9$"):
        model.Head(dropout=dropout)


def test_the_limits_of_a_head_are_allowed():
    for hidden, dropout in ((0, 0), (8, 0.9), (4096, 0.0)):
        model.Head(hidden, dropout)


def learning(network) -> set[str]:
    return {key for key, parameter in network.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_parts_that_learn(name):
    network, row = model.skeleton(name, model.Head(hidden=16)), model.MODELS[name]
    everything = {key for key, _ in network.named_parameters()}
    model.trainable(network, name, "head")
    head = learning(network)
    assert head == {key for key in everything if key.startswith(f"{row.head}.")} and len(head) == 4
    model.trainable(network, name, "top")  # from one part to another: what stood still before must wake
    top = learning(network)
    assert head < top < everything
    assert all(any(key.startswith(f"{part}.") for key in top) for part in row.top)
    assert all(key.startswith(tuple(f"{part}." for part in (*row.top, row.head))) for key in top)
    assert model.trainable(network, name, "all") == [] and learning(network) == everything
    with pytest.raises(model.NetworkError, match="no part of a network is called 'tail' .choose from all, top, head"):
        model.trainable(network, name, "tail")


@pytest.mark.parametrize(
    "name", [name for name in ARCHITECTURES if name not in ("tiny", "clip_vit_b16")]
)  # no statistics
@pytest.mark.parametrize("which", ["top", "head"])
def test_what_stands_still_keeps_its_statistics(name, which):
    """Also timm's batch normalisation, which is a module with children."""
    torch.manual_seed(0)
    network, row = model.create_model(name), model.MODELS[name]
    network.train()
    for module in model.trainable(network, name, which):
        module.eval()
    before = {key: tensor.clone() for key, tensor in network.named_buffers()}
    network(torch.randn(2, 3, *[side_of(name, 64)] * 2))
    moved = {key for key, tensor in network.named_buffers() if not torch.equal(tensor, before[key])}
    learns = tuple(f"{part}." for part in row.top) if which == "top" else ()
    assert moved == {key for key in before if key.startswith(learns)}


def test_a_dropout_before_the_head_learns_with_it():
    network = model.skeleton("efficientnet_b0").train()
    for module in model.trainable(network, "efficientnet_b0", "head"):
        module.eval()
    assert network.classifier[0].training and not network.features[5].training


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(model.NetworkError, match="unknown architecture 'restnet50'.*resnet50, efficientnet_b0"):
        model.create_model("restnet50")


def test_tiny_judges_one_image_as_in_a_batch():
    torch.manual_seed(0)
    network, images = model.create_model("tiny"), torch.randn(4, 3, 48, 48)
    with torch.no_grad():
        together = network.train()(images)
        alone = torch.cat([network.eval()(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_lite2"])
def test_real_pretrained_weights_load(shared, name):
    from detector.checkpoint import read_weights

    network, weights = model.create_model(name), read_weights(shared / f"weights/{name}.safetensors")
    assert model.load_backbone(network, weights, name) is False  # 1,000 classes: a new head
    assert torch.equal(network.state_dict()["conv_stem.weight"], weights["conv_stem.weight"])


def test_a_backbone_with_another_head_loads_and_ours_stays():
    torch.manual_seed(0)
    network, other = model.create_model("tiny"), model.create_model("tiny", outputs=10)
    before = network.classifier.weight.clone()
    assert model.load_backbone(network, other.state_dict(), "tiny") is False
    assert torch.equal(network.classifier.weight, before)
    assert torch.equal(network.features[0].weight, other.features[0].weight)


def test_a_two_way_head_is_kept():
    network, other = model.create_model("tiny"), model.create_model("tiny")
    assert model.load_backbone(network, other.state_dict(), "tiny") is True
    assert torch.equal(network.classifier.weight, other.classifier.weight)


THEIRS = {"plain": model.Head(), "dense": model.Head(16), "wider": model.Head(32), "dropout": model.Head(0, 0.5)}
OURS = {"plain": model.Head(), "dense": model.Head(16, 0.5), "dropout": model.Head(0, 0.2)}


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("theirs", THEIRS)
@pytest.mark.parametrize("ours", OURS)
def test_any_head_loads_into_any_head(name, theirs, ours):
    """By names and shapes; what is copied is looked at below."""
    network, weights = model.skeleton(name, OURS[ours]), model.skeleton(name, THEIRS[theirs]).state_dict()
    assert model.load_backbone(network, weights, name) is (ours == theirs)


def test_a_head_that_fits_in_part_is_left_out_whole():
    """The first dense layer is the same; the outputs are ten."""
    torch.manual_seed(0)
    network, other = (model.create_model("tiny", outputs, head=model.Head(16)) for outputs in (2, 10))
    fresh = {key: tensor.clone() for key, tensor in network.classifier.state_dict().items()}
    assert model.load_backbone(network, other.state_dict(), "tiny") is False
    assert all(torch.equal(tensor, fresh[key]) for key, tensor in network.classifier.state_dict().items())
    assert torch.equal(network.features[0].weight, other.features[0].weight)
    assert model.load_backbone(network, model.create_model("tiny", head=model.Head(16)).state_dict(), "tiny") is True
    assert not torch.equal(network.classifier[0].weight, fresh["0.weight"])


def test_a_head_around_the_networks_own_dropout_is_a_head():
    """The usual way to change torchvision's: network.classifier = Sequential(...), one level above our head."""
    network, weights = model.create_model("efficientnet_b0"), model.create_model("efficientnet_b0").state_dict()
    weights = {key: tensor for key, tensor in weights.items() if not key.startswith("classifier.")}
    other = weights | {"classifier.0.weight": torch.zeros(64, 1280), "classifier.3.bias": torch.zeros(2)}
    assert model.load_backbone(network, other, "efficientnet_b0") is False
    assert torch.equal(network.features[0][0].weight, weights["features.0.0.weight"])


def test_headless_weights_load():
    network, other = model.create_model("tiny"), model.create_model("tiny").state_dict()
    del other["classifier.weight"], other["classifier.bias"]
    assert model.load_backbone(network, other, "tiny") is False
    assert torch.equal(network.features[0].weight, other["features.0.weight"])


def test_another_backbone_is_refused_by_name():
    with pytest.raises(model.NetworkError, match=r"do not fit resnet50 \(first mismatch: conv1.weight missing\)"):
        model.load_backbone(model.create_model("resnet50"), model.create_model("tiny").state_dict(), "resnet50")


def test_imagenet_weights_come_from_their_library_or_say_what_to_bring(monkeypatch):
    """The download itself is the library's; here it is replaced at its outermost call."""
    import torchvision

    weights = torchvision.models.resnet50().state_dict()
    monkeypatch.setattr(torchvision.models.ResNet50_Weights, "get_state_dict", lambda self, **k: weights)
    network = model.create_model("resnet50")
    model.load_backbone(network, model.imagenet_weights("resnet50"), "resnet50")
    assert torch.equal(network.conv1.weight, weights["conv1.weight"])

    def offline(self, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models.ResNet50_Weights, "get_state_dict", offline)
    with pytest.raises(model.NetworkError) as error:
        model.imagenet_weights("resnet50")
    for fragment in ("no route to host", "resnet50-11ad3fa6.pth", "--pretrained FILE", "--pretrained none"):
        assert fragment in str(error.value)
    with pytest.raises(model.NetworkError, match="no ImageNet weights for tiny"):
        model.imagenet_weights("tiny")
