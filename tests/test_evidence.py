"""A face that shows too little is Unsure, and the reason is said."""

from dataclasses import replace

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageEnhance

import indexing
from detector import DEFAULT_MODEL, Detector, load
from detector.backend import Backend
from detector.calibration import Calibration
from detector.checkpoint import Metadata, read_metadata, read_weights, save_checkpoint
from evaluation import bounds
from evaluation.scoring import score_index
from imaging import corruptions
from imaging.door import Picture
from imaging.evidence import Evidence, lacking, measure
from imaging.preprocess import Preprocess
from tools import evidence

BOUNDS = {"sharpness": -41.0, "noise": 9.0, "light": 40.0}
NOISE = np.random.default_rng(0)


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def view(astronaut) -> Image.Image:
    return astronaut.crop((150, 10, 310, 170)).resize((224, 224), Image.Resampling.BICUBIC)


def enlarged(image: Image.Image, side: int) -> Image.Image:
    return image.resize((side, side), Image.Resampling.BICUBIC).resize(image.size, Image.Resampling.BICUBIC)


def test_each_measure_follows_its_damage(view):
    plain = measure(view)
    blurred = [measure(corruptions.blur(view, sigma)).sharpness for sigma in (0.5, 1, 2, 3)]
    smaller = [measure(enlarged(view, side)).sharpness for side in (150, 80, 48, 30)]
    noisy = [measure(corruptions.noise(view, sigma, NOISE)).noise for sigma in (3, 8, 20)]
    darker = [measure(ImageEnhance.Brightness(view).enhance(factor)).light for factor in (0.7, 0.4, 0.1)]
    for falling in (blurred, smaller, darker):
        assert falling == sorted(falling, reverse=True)
    assert plain.sharpness > blurred[0] and plain.light > darker[0]
    small = (
        measure(view.resize((80, 80)), 80).noise,
        measure(corruptions.noise(view.resize((80, 80)), 20, NOISE), 80).noise,
    )
    assert small[1] > small[0] + 8  # enlarged noise is smooth, and seen all the same
    assert noisy == pytest.approx([3, 8, 20], rel=0.35)  # standard deviation, grey levels; grey averages the channels


def test_brightness_contrast_mirror_and_a_small_crop_change_sharpness_little(view):
    plain = measure(view).sharpness
    same = {
        "darker": ImageEnhance.Brightness(view).enhance(0.6),
        "flatter": ImageEnhance.Contrast(view).enhance(0.6),
        "mirror": view.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "larger": view.resize((448, 448), Image.Resampling.BICUBIC),
        "crop": view.crop((5, 5, 219, 219)).resize((224, 224), Image.Resampling.BICUBIC),
    }
    for name, image in same.items():
        assert measure(image).sharpness == pytest.approx(plain, abs=2.5), name


def test_a_plain_view_is_measured_and_lacks_sharpness():
    found = measure(Image.new("RGB", (224, 224), (9, 9, 9)))
    assert np.isfinite([found.sharpness, found.noise, found.light]).all()
    assert lacking(found, {"light": 40.0}) == "too dark to judge"
    assert lacking(found, None) is None and lacking(found, {}) is None
    assert lacking(Evidence(-50, 0, 200), BOUNDS).startswith("too blurred")
    assert lacking(Evidence(-30, 20, 200), BOUNDS) == "too noisy to judge"
    with pytest.raises(ValueError, match="evidence smell"):
        Calibration(evidence={"smell": 1.0})


class Certain(Backend):
    """Always Fake."""

    concurrent = True

    def __call__(self, batch) -> np.ndarray:
        return np.tile(np.float32([-5, 5]), (len(batch), 1))


def certain(**more) -> Detector:
    calibration = Calibration(evidence=BOUNDS, rarity=((0.0, 1.0), (0.5, 0.05), (0.6, 0.0001)), **more)
    return Detector(Certain(), Metadata("tiny", Preprocess(size=224, frame="face"), calibration), "x")


DAMAGED = {
    "blurred": (lambda image: corruptions.blur(image, 6), "too blurred, or enlarged"),
    "enlarged": (lambda image: image.resize((160, 160)).resize((512, 512), Image.Resampling.BICUBIC), "too blurred"),
    "noisy": (lambda image: corruptions.noise(image, 70, np.random.default_rng(1)), "too noisy to judge"),
    "dark": (
        lambda image: corruptions.noise(ImageEnhance.Brightness(image).enhance(0.12), 2, NOISE),
        "too dark to judge",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_face_that_shows_too_little_is_unsure_and_says_why(astronaut, name, tmp_path):
    change, words = DAMAGED[name]
    judge = certain()
    assert judge.judge(Picture(astronaut, "PNG")).verdict == "Fake"
    verdict = judge.judge(Picture(change(astronaut), "PNG"))
    assert verdict.verdict == "Unsure" and verdict.score > 0.9 and verdict.faces[0].verdict == "Unsure"
    assert verdict.notes[0].startswith(words)
    for label in ("Real", "Fake"):
        (tmp_path / label).mkdir()
        change(astronaut).save(tmp_path / label / "0.png")
        astronaut.save(tmp_path / label / "1.png")
    judged = score_index({"x": judge}, indexing.with_faces(indexing.index_folder(tmp_path)))["x"]
    assert judged.verdicts(judge.metadata.calibration).tolist() == ["Unsure", "Fake"] * 2
    assert judged.faces.tolist() == [0, 1] * 2 and judged.passed.tolist() == [1, 0] * 2


def test_a_clear_face_decides_beside_a_blurred_one(astronaut):
    """Though the blurred one has the higher score: that means nothing."""
    both = Image.new("RGB", (1024, 512))
    both.paste(corruptions.blur(astronaut, 6), (0, 0))
    both.paste(astronaut, (512, 0))
    judge = certain()
    verdict = judge.judge(Picture(both, "PNG"))
    assert verdict.verdict == "Fake" and sorted(face.verdict for face in verdict.faces) == ["Fake", "Unsure"]
    place = next(place for place, face in enumerate(verdict.faces, 1) if face.verdict == "Unsure")
    assert any(note.startswith(f"face {place}: too blurred") for note in verdict.notes)
    real = replace(judge.metadata.calibration, offset=-30.0)  # now every face is called Real
    judge.metadata = replace(judge.metadata, calibration=real)
    assert judge.judge(Picture(both, "PNG")).verdict == "Unsure"  # one of them was not judged


def test_bounds_lie_where_verdicts_fail():
    """A detector that calls blurred Real faces Fake gets a bound on sharpness; what does no harm gets none."""
    draw, n = np.random.default_rng(0), 4000
    labels, sharpness = draw.integers(0, 2, n), draw.uniform(-60, -25, n)
    ways = (sharpness < -36).astype(int)  # half of them are damaged
    said = np.where(labels == 1, "Fake", "Real").astype(object)
    fails = (sharpness < -45) & (draw.random(n) < 0.5)
    said[fails] = "Fake"
    said[(draw.random(n) < 0.04) & ~fails] = "Unsure"
    measures = np.stack([sharpness, draw.uniform(0, 3, n), draw.uniform(100, 250, n)], 1)
    looks = bounds.Looks(ways, labels, np.where(draw.random(n) < 0.5, "a", "b").astype(object), measures, labels, said)
    found = bounds.bounds(looks)
    assert set(found) == {"sharpness"} and -46 < found["sharpness"] <= -36
    clean = ways == 0
    assert bounds.beyond(looks, found)[clean].mean() <= bounds.LOST
    said[fails] = np.where(labels[fails] == 1, "Fake", "Real")
    assert bounds.bounds(looks) == {}


def test_the_tool_measures_and_stores(trained, small_set, tmp_path, capsys):
    out, table = tmp_path / "bounded.safetensors", tmp_path / "table.csv"
    command = [
        str(trained / "best.safetensors"),
        "--data",
        str(small_set),
        "--out",
        str(out),
        "--csv",
        str(table),
    ]
    assert evidence.main(command) == 0
    said = capsys.readouterr().out
    assert "enlarged from, pixels" in said and "untouched ones lie beyond" in said
    assert read_metadata(out).calibration.evidence is not None
    assert len(table.read_text().splitlines()) == len(bounds.DAMAGE) + 1
    assert evidence.main(command) == 2 and "is there already" in capsys.readouterr().err
    assert evidence.main([str(tmp_path / "none.onnx"), "--data", str(small_set)]) == 3
    wrong = tmp_path / "x.safetensors"
    save_checkpoint(wrong, read_weights(out), read_metadata(out))
    assert evidence.main([str(wrong), "--data", str(small_set / "Test")]) == 2


def test_the_detector_that_ships_knows_its_bounds():
    assert set(load(DEFAULT_MODEL, threads=1).metadata.calibration.evidence) <= {"sharpness", "noise", "light"}
