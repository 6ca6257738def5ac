"""Heat maps: the same with PyTorch and without it, hot where the manipulation is, and no bolder than they may be."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import patch_heat
import pytest
import torch
from conftest import ROOT, leave_unrendered, made_once, make_image, side_of
from PIL import Image
from test_onnx import saved_with

import model
from detector import Detector, FaceVerdict, Metadata, ModelError, Verdict, load
from detector.backend import Backend
from detector.backend_torch import TorchBackend
from imaging.door import Picture, open_image
from imaging.faces import Face
from imaging.preprocess import Preprocess
from judging import explain
from judging.explain import Deletion, can_explain, heat_map
from names import ARCHITECTURES, FAKE, REAL
from tools.export import to_onnx


def noise(n: int, size: int = 96) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 3, size, size)).astype(np.float32)


def exported(detector: Detector, folder) -> Detector:
    (folder / "x.onnx").write_bytes(to_onnx(detector))
    return load(folder / "x.onnx")


def captum_map(detector: Detector, images: np.ndarray) -> np.ndarray:
    """(n, h', w') Grad-CAM of the margin, before its ReLU, as captum draws it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum's, about its own hooks
        from captum.attr import LayerGradCam

        network = detector.backend.network.requires_grad_()
        last = {"resnet50": "layer4", "tiny": "features", "efficientnet_b0": "features"}
        layer = network.get_submodule(last.get(detector.metadata.arch, "bn2"))
        grad_cam = LayerGradCam(lambda x: (lambda y: y[:, FAKE] - y[:, REAL])(network(x)), layer)
        return grad_cam.attribute(torch.from_numpy(images))[:, 0].detach().numpy()


def close(one: np.ndarray, other: np.ndarray) -> bool:
    return np.allclose(one, other, rtol=1e-3, atol=1e-4 * np.abs(one).max())


@pytest.mark.parametrize("name", ARCHITECTURES)  # that the ONNX way agrees, test_onnx.py shows for each of them
def test_our_map_is_captums_and_adds_up_to_the_margin(name, tmp_path):
    detector, _ = saved_with(model.Head(), name, tmp_path)
    side = side_of(name, 96)
    images = noise(3, side)
    ours, logits = detector.backend.class_map(images), detector.logits(images)
    bias = detector.backend.network.get_submodule(model.architecture(name).head).bias.detach().numpy()
    assert np.ptp(ours, (1, 2)).min() > 0  # the agreement is not that of a constant
    if not model.architecture(name).parts and name != "clip_vit_b16":  # several maps as one: captum asks one layer
        assert close(ours, captum_map(detector, images))
    margins = logits[:, FAKE] - logits[:, REAL]
    assert ours.sum((1, 2)) + bias[FAKE] - bias[REAL] == pytest.approx(margins, rel=1e-3, abs=1e-3)
    assert heat_map(detector, images[0]).shape == (side, side) and heat_map(detector, images[0]).dtype == np.float32


@pytest.mark.parametrize("name", ["resnet50", "tf_efficientnet_lite0", "tiny"])
def test_a_dense_head(name, tmp_path):
    detector, _ = saved_with(model.Head(hidden=16, dropout=0.5), name, tmp_path)
    images = noise(3)
    ours = detector.backend.class_map(images)
    assert can_explain(detector) and np.ptp(ours, (1, 2)).min() > 0
    assert close(ours, captum_map(detector, images))
    if name == "tiny":
        other = exported(detector, tmp_path)
        assert not can_explain(other)
        with pytest.raises(ModelError, match="no feature map"):
            heat_map(other, images[0])


def test_a_network_in_training_cannot_be_asked():
    backend = TorchBackend(model.create_model("tiny"), torch.device("cpu"))
    assert not can_explain(Detector(backend, Metadata("tiny", Preprocess(64)), "x"))


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    """(detector, the same without torch, Test split) of images with a patch at a known place."""

    def make(folder: Path) -> None:
        data = patch_heat.make_patches(folder / "data", {"Train": 300, "Validation": 40, "Test": 100}, 64, sigma=60)
        with pytest.MonkeyPatch.context() as patch:
            leave_unrendered(patch)
            path = patch_heat.train(data, folder / "run", "tiny", 64, 8, "--lr", "1e-3", "--batch-size", "16")
        path.replace(folder / "x.safetensors")
        exported(load(folder / "x.safetensors", device="cpu"), folder)

    folder = made_once(tmp_path_factory, "patches", make)
    return load(folder / "x.safetensors", device="cpu"), load(folder / "x.onnx"), folder / "data/Test"


def test_the_heat_lies_in_the_patch(patches):
    detector, other, split = patches
    maps, share = patch_heat.patch_heat(detector, split)
    others, other_share = patch_heat.patch_heat(other, split)
    assert len(maps) == 100 and share >= patch_heat.TIMES / patch_heat.SIDE**2
    assert maps.min() >= 0 and set(np.unique(maps.max((1, 2)))) <= {0, 1}
    assert other_share == pytest.approx(share, abs=1e-3)
    assert np.corrcoef(maps.ravel(), others.ravel())[0, 1] >= patch_heat.AGREEMENT


def test_the_deletion_score_tells_a_true_map_from_a_wrong_one(patches):
    detector, _, split = patches
    draw, right, wrong = np.random.default_rng(1), [], []
    for path in sorted((split / "Fake").iterdir())[:100:4]:
        picture = open_image(path)
        explanation = explain.explain(detector, picture, detector.judge(picture))
        assert explanation.deletion.score == pytest.approx(detector.judge(picture).score, abs=1e-5)
        right.append(explanation.deletion.explains)
        moved = explain.elsewhere(explanation.marked, draw)
        wrong.append(explain.deletion(detector, detector.metadata.preprocess.view(picture.image), moved).explains)
    assert sum(right) >= 18 and sum(wrong) <= 4  # of 25


def test_an_explanation_is_the_same_each_time(patches):
    detector, other, split = patches
    picture = open_image(next((split / "Fake").iterdir()))
    one, two = (explain.explain(detector, picture, detector.judge(picture)) for _ in range(2))
    assert one.deletion == two.deletion and one.overlay.tobytes() == two.overlay.tobytes()
    without = explain.explain(other, picture, other.judge(picture))
    assert without.deletion.drop == pytest.approx(one.deletion.drop, abs=1e-2)
    assert without.sentence.startswith("Hiding the marked area ")


class Spotted(Backend):
    """A backend for which a red place speaks for Fake: its margin is the mean of red over the view."""

    explains = True

    def __call__(self, batch):
        return np.stack([np.zeros(len(batch)), batch[:, 0].mean((1, 2))], 1).astype(np.float32)

    def class_map(self, batch):
        n, _, h, w = batch.shape
        return batch[:, 0].reshape(n, h // 8, 8, w // 8, 8).mean((2, 4)) * 64 / (h * w)


def spotted(**preparation) -> Detector:
    """Red 127 and less counts against Fake, more for it."""
    return Detector(Spotted(), Metadata("tiny", Preprocess(64, mean=(0.5, 0, 0), **preparation)), "spotted")


def black_with_red(size: tuple[int, int], box: tuple[int, int, int, int]) -> Picture:
    image = Image.new("RGB", size)
    image.paste((255, 0, 0), box)
    return Picture(image, "PNG", ())


def test_the_hottest_fifth_is_marked_or_what_has_any_heat():
    heat = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    assert explain.hot_area(heat).sum() == 80 and explain.hot_area(heat)[-4:].all()
    heat[:-2] = 0
    assert explain.hot_area(heat).sum() == 40
    assert not explain.hot_area(np.zeros((20, 20), np.float32)).any()
    assert explain.hot_area(np.ones((20, 20), np.float32)).sum() == 80


def test_random_areas_keep_size_and_shape_and_lie_elsewhere():
    area, draw = np.zeros((64, 64), bool), np.random.default_rng(0)
    area[10:30, 5:45] = True
    areas = [explain.elsewhere(area, draw) for _ in range(20)]
    assert {int(other.sum()) for other in areas} == {800} and len({other.tobytes() for other in areas}) == 20
    assert max((area & other).sum() for other in areas) < 200
    for other in areas:  # rolled back to a corner, each is the rectangle again, lying or standing
        rows, columns = other.any(1).sum(), other.any(0).sum()
        assert (rows, columns) in ((20, 40), (40, 20))


def test_hiding_changes_the_area_and_nothing_else():
    view, area = make_image(True, 3), np.zeros((64, 64), bool)
    area[20:40, 20:40] = True
    changed = np.abs(np.asarray(explain.hidden(view, [area])[0], int) - np.asarray(view)).max(-1)
    assert changed[22:38, 22:38].mean() > 5 and changed[:16].max() == 0 and changed[:, 44:].max() == 0


def test_a_place_that_speaks_for_fake_is_found_marked_and_believed():
    picture = black_with_red((64, 64), (40, 8, 56, 24))
    detector = spotted(fit="resize")
    found = explain.explain(detector, picture, detector.judge(picture))
    y, x = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert 40 <= x < 56 and 8 <= y < 24 and found.heat.max() == 1 and found.marked[12:20, 44:52].all()
    assert found.deletion.explains and found.deletion.rank == 1 and found.deletion.drop > 0
    assert found.box == (0, 0, 64, 64) and found.overlay.size == (448, 448)
    pixels = np.asarray(found.overlay, int)
    assert np.ptp(pixels[300:, :200], -1).max() == 0  # grey where there is no heat
    assert np.ptp(pixels[110, 330]) > 30  # coloured where there is
    white, black = (pixels == 255).all(-1), (pixels == 0).all(-1)
    assert white.any() and black[(np.roll(white, 2, 0) | np.roll(white, -2, 0)) & ~white].any()


def test_where_nothing_speaks_for_fake_nothing_is_marked():
    picture = black_with_red((64, 64), (0, 0, 0, 0))
    found = explain.explain(spotted(fit="resize"), picture, Verdict("Real", 0.3))
    assert found.heat.max() == 0 and not found.marked.any() and found.deletion is None
    assert found.sentence == "No place in this picture speaks for Fake to this detector, so none is marked."


def test_where_nothing_was_judged_there_is_no_explanation():
    picture = black_with_red((64, 64), (40, 8, 56, 24))
    assert explain.explain(spotted(frame="face"), picture, Verdict("Unsure", None)) is None


def test_of_several_faces_the_most_fake_is_explained():
    picture = black_with_red((400, 200), (220, 20, 260, 60))
    boxes = ((10.0, 10.0, 150.0, 150.0), (210.0, 10.0, 100.0, 100.0))
    faces = tuple(FaceVerdict(box, score, "Fake") for box, score in zip(boxes, (0.6, 0.9), strict=True))
    found = explain.explain(spotted(frame="face", margin=1.0), picture, Verdict("Fake", 0.9, (), faces))
    assert found.box == pytest.approx((210, 10, 100, 100), abs=1.5)
    y, x = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert 6 <= x < 32 and 6 <= y < 32  # the red place within that face


def test_the_heat_of_a_tilted_face_lies_where_it_is_in_the_picture():
    """The network sees the red place turned about the middle; the overlay lies on the picture as it is."""
    picture = black_with_red((200, 200), (150, 80, 190, 120))
    faces = (FaceVerdict((0.0, 0.0, 200.0, 200.0), 0.9, "Fake", turn=40.0),)
    verdict, found = Verdict("Fake", 0.9, (), faces), {}
    for upright in (False, True):
        detector = spotted(frame="face", margin=1.0, upright=upright)
        found[upright] = explain.explain(detector, picture, verdict)
    assert found[True].box == found[False].box == (0, 0, 200, 200)
    places = {way: np.unravel_index(one.heat.argmax(), one.heat.shape) for way, one in found.items()}
    assert places[True][0] < places[False][0] - 8  # higher in what the network sees
    colourful = {way: np.ptp(np.asarray(one.overlay, int), axis=2) > 100 for way, one in found.items()}
    middles = {way: np.mean(np.nonzero(hot), axis=1) for way, hot in colourful.items()}
    assert np.abs(middles[True] - middles[False]).max() < 40  # of 448 pixels; the heat is coarse


@pytest.mark.parametrize("size", [(64, 64), (300, 200), (50, 90), (33, 32)])
@pytest.mark.parametrize("fit", ["crop", "resize"])
def test_the_region_is_what_the_view_shows(size, fit):
    preprocess = Preprocess(64, fit)
    draw = np.random.default_rng(0)
    coarse = Image.fromarray(draw.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    x, y, width, height = preprocess.region(coarse.size)
    again = coarse.resize((64, 64), Image.Resampling.BILINEAR, box=(x, y, x + width, y + height))
    off = np.abs(np.asarray(again, int) - np.asarray(preprocess.view(coarse))).mean()
    assert off < 6  # enlarging before or after cutting differs by up to half a pixel; another region by far more
    if min(size) >= 64:
        assert off == 0


def test_the_region_of_a_face_is_its_square():
    face = Face((20.0, 30.0, 50.0, 60.0), (), 0.9)
    x, y, width, height = Preprocess(64, frame="face", margin=1.0).region((200, 150), face)
    assert (
        width == height == pytest.approx(60, abs=1) and x == pytest.approx(15, abs=1) and y == pytest.approx(30, abs=1)
    )
    assert Preprocess(64, frame="face").region((200, 150)) == (0, 0, 200, 150)


def test_colours_grow_brighter_with_the_heat():
    luma = explain.colours(np.linspace(0, 1, 101)[None])[0] @ (0.299, 0.587, 0.114)
    assert (np.diff(luma) > 0).all()


SENTENCES = {
    "clear": (Deletion(0.87, 0.41, 0.8, 2.3, 0.5, 1.0), "from 87 % to 41 %; hiding random areas of the same size else"),
    "no better": (Deletion(0.87, 0.41, 0.4, 2.3, 2.4, 0.4), "so this map explains little."),
    "wrong way": (Deletion(0.5, 0.7, 0.9, -0.8, -2.2, 1.0), "so this map explains little."),
    "saturated": (
        Deletion(0.9999, 0.998, 0.9999, 3.0, 0.0, 1.0),
        "leaves the score at >99 %; hiding random areas of the",
    ),
    "little": (Deletion(0.5, 0.48, 0.5, 0.1, 0.0, 1.0), "50 % on average: the score does not hang on this area."),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_one_honest_sentence(name):
    result, says = SENTENCES[name]
    said = explain.sentence(result)
    assert says in said and said.endswith(".") and said.count(". ") == 0
    assert not {"manipulated", "edited", "proof", "because"} & set(said.replace(".", " ").split())


def test_it_needs_no_torch_and_no_matplotlib(patches, tmp_path):
    _, other, _ = patches
    make_image(True, 1).save(tmp_path / "photo.png")
    code = "import predict, sys; s = predict.main(sys.argv[1:]); print(s, *sys.modules)"
    flags = ["--model", str(other.path), "--json", "--stability", "--explain", str(tmp_path / "heat")]
    command = [sys.executable, "-c", code, str(tmp_path / "photo.png"), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    answer, modules = done.stdout.splitlines()
    assert {"explanation", "stability"} <= json.loads(answer).keys()
    assert modules.startswith("0 ") and "judging.explain" in modules.split()
    assert not {"torch", "torchvision", "timm", "onnx", "sklearn", "matplotlib", "captum"} & set(modules.split())


def test_an_onnx_file_whose_parts_do_not_fit(patches, monkeypatch):
    _, other, _ = patches
    monkeypatch.setattr(other.backend, "run", lambda names, batch: [np.zeros((1, 5, 4, 4)), np.zeros((2, 6))])
    with pytest.raises(ModelError, match="do not fit"):
        heat_map(other, noise(1, 64)[0])


def test_a_feature_map_that_is_not_finite(monkeypatch):
    detector = spotted()
    monkeypatch.setattr(detector.backend, "class_map", lambda batch: np.full((1, 8, 8), np.nan))
    with pytest.raises(ModelError, match="not finite"):
        heat_map(detector, noise(1, 64)[0])
