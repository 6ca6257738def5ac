"""The table of networks, and pretrained weights with any head."""

import pytest
import torch

import model
from names import ARCHITECTURES


def test_the_names_without_torch_are_the_table():
    assert tuple(model.MODELS) == ARCHITECTURES


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_row_builds_two_outputs_and_names_its_head(name):
    network = model.create_model(name).eval()
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 2)
    head = network.get_submodule(model.MODELS[name].head)
    assert isinstance(head, torch.nn.Linear) and head.out_features == 2
    assert model.skeleton(name).state_dict().keys() == network.state_dict().keys()


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
