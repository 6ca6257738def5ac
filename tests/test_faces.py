"""Faces: the same one at every size and place, as OpenCV finds it; and what a detector makes of several or none."""

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import skimage.data
from conftest import make_image
from PIL import Image

import indexing
import predict
import train
from detector import Detector, load
from detector.calibration import Calibration
from detector.checkpoint import Metadata
from evaluation.scoring import score_index
from evaluation.sets import Said, Set, without_faults
from imaging import faces
from imaging.corruptions import affine
from imaging.door import Picture, open_image
from imaging.faces import Face, FaceFinder, frame_square
from imaging.preprocess import Preprocess

FACE = Preprocess(size=224, frame="face")


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def find() -> FaceFinder:
    return FaceFinder()


def overlap(one, other) -> float:
    one, other = np.array(one), np.array(other)
    sides = np.minimum(one[:2] + one[2:], other[:2] + other[2:]) - np.maximum(one[:2], other[:2])
    shared = np.clip(sides, 0, None).prod()
    return shared / (one[2:].prod() + other[2:].prod() - shared)


def sharpness(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio, dB."""
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other.astype(float)) ** 2))


def larger(image: Image.Image, side: int) -> Image.Image:
    return image.resize((side, side), Image.Resampling.LANCZOS)


def pasted(image: Image.Image, side: int) -> Image.Image:
    canvas = Image.fromarray(skimage.data.coffee()).resize((4000, 3000))
    canvas.paste(larger(image, side), (2300, 1100))
    return canvas


@pytest.mark.parametrize(
    ("make", "back"),
    [
        (lambda image: larger(image, 256), lambda box: box * 2),
        (lambda image: larger(image, 1000), lambda box: box * 0.512),
        (lambda image: larger(image, 4000), lambda box: box * 0.128),
        (lambda image: pasted(image, 600), lambda box: (box - [2300, 1100, 0, 0]) * 512 / 600),
        (lambda image: pasted(image, 250), lambda box: (box - [2300, 1100, 0, 0]) * 512 / 250),
    ],
    ids=["256", "1000", "4000", "600 in 4000x3000", "250 in 4000x3000"],
)
def test_the_same_face_at_every_size(astronaut, find, make, back):
    [expected], picture = find(astronaut)[0], make(astronaut)
    [found], count = find(picture)
    assert count == 1 and found.confidence > 0.8
    assert overlap(back(np.array(found.box)), expected.box) > 0.9
    frames = [np.asarray(FACE.view(image, face)) for image, face in ((astronaut, expected), (picture, found))]
    assert sharpness(*frames) > 28


def test_a_picture_stored_sideways(astronaut, find):
    data, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    astronaut.transpose(Image.Transpose.ROTATE_90).save(data, "PNG", exif=exif)
    [found], [expected] = find(open_image(data.getvalue()).image)[0], find(astronaut)[0]
    assert found == expected


def test_points_lie_where_they_should(astronaut, find):
    [face] = find(astronaut)[0]
    right_eye, left_eye, nose, right_mouth, left_mouth = face.points
    assert right_eye[0] < nose[0] < left_eye[0] and right_mouth[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])


@pytest.mark.parametrize("degrees", [-30, -15, 15, 30])
@pytest.mark.parametrize("side", [256, 3000])
def test_a_tilted_face_is_seen_upright(astronaut, find, degrees, side):
    """Turned about its middle by the picture's; what the network then sees is what it saw of the upright one."""
    upright = replace(FACE, upright=True)
    [before], picture = find(astronaut)[0], larger(affine(astronaut, degrees=-degrees), side)
    [face] = find(picture)[0]
    assert face.turn - before.turn == pytest.approx(degrees, abs=12)
    straight, tilted = upright.view(astronaut, before), upright.view(picture, face)
    assert sharpness(*map(np.asarray, (straight, tilted))) > 3 + sharpness(
        *(np.asarray(FACE.view(*seen)) for seen in ((astronaut, before), (picture, face)))
    )


@pytest.mark.parametrize("box", [(80, 60, 60, 70), (0, 100, 60, 70), (20, 20, 260, 180)])
@pytest.mark.parametrize("degrees", [-40, 9, 25])
def test_where_a_place_of_the_picture_lies_in_a_turned_view(box, degrees):
    """A white dot is where its coordinates say; also near an edge, where corners of the view lie beyond the picture."""
    upright, face = replace(FACE, upright=True), Face(box, (), 0.9, degrees)
    left, top, right, bottom = frame_square(box, (300, 200), margin=FACE.margin)
    dot = (left + 0.6 * (right - left), top + 0.3 * (bottom - top))
    picture = Image.new("RGB", (300, 200))
    picture.paste((255, 255, 255), (round(dot[0]) - 2, round(dot[1]) - 2, round(dot[0]) + 2, round(dot[1]) + 2))
    [place] = upright.base_points([np.rint(dot)], picture.size, face)
    seen = np.asarray(upright.view(picture, face).convert("L"), float)
    found = [(seen * (at + 0.5)).sum() / seen.sum() for at in np.meshgrid(*map(np.arange, seen.shape))]
    assert place == pytest.approx(found, abs=1.5) and seen.max() > 100


def test_an_upright_face_is_not_turned():
    """A turn of 0 is no resampling of its own, and what does not frame faces turns none."""
    picture, face = Image.effect_noise((120, 100), 90).convert("RGB"), Face((20, 20, 50, 50), (), 0.9)
    upright = replace(FACE, upright=True)
    assert np.array_equal(upright(picture, face), FACE(picture, face))
    assert np.array_equal(upright(picture), FACE(picture))
    tilted = replace(face, turn=20.0)
    assert not np.array_equal(upright(picture, tilted), FACE(picture, tilted))
    slightly = replace(face, turn=7.9)  # as much as the measurement errs by
    assert np.array_equal(upright(picture, slightly), FACE(picture, slightly))


@pytest.mark.parametrize("name", ["coffee", "rocket", "wall"])
def test_no_face_where_there_is_none(find, name):
    image = (
        Image.new("RGB", (4000, 3000), "beige") if name == "wall" else Image.fromarray(getattr(skimage.data, name)())
    )
    assert find(image) == ((), 0)


def test_agrees_with_opencv(shared, find):
    """At the same input size, before we look closer: 50 pictures, boxes within 2 px and confidences within .01."""
    import cv2

    theirs, compared = cv2.FaceDetectorYN.create(str(faces.MODEL), "", (320, 320), 0.6, 0.3, 5000), 0
    for path in sorted((shared / "data/stylegan/Validation").rglob("*.jpg"))[::6]:
        image = open_image(path).image
        theirs.setInputSize(image.size)
        expected = theirs.detect(np.asarray(image)[:, :, ::-1].copy())[1]
        found = find.detect(image)
        expected = np.empty((0, 15)) if expected is None else expected
        assert len(found) == len(expected)
        for row in expected:
            near = min(found, key=lambda other: np.abs(other[:4] - row[:4]).max())  # noqa: B023
            assert np.abs(near[:14] - row[:14]).max() <= 2 and abs(near[14] - row[14]) <= 0.01
            compared += 1
    assert compared >= 50


@pytest.mark.parametrize(
    ("box", "square"),
    [
        ((50, 50, 20, 40), (39.0, 49.0, 81.0, 91.0)),  # 42 wide around (60, 70)
        ((-5, 0, 30, 40), (0.0, 0.0, 42.0, 42.0)),  # moved into the picture
        ((0, 0, 300, 200), (100.0, 0.0, 200.0, 100.0)),  # no larger than it
    ],
)
def test_the_frame_lies_inside_the_picture(box, square):
    assert frame_square(box, (200, 100), margin=1.05) == pytest.approx(square)


class Brightness:
    """A backend whose score rises with the brightness of what it sees: .5 at mid-grey."""

    def __call__(self, batch):
        light = np.asarray(batch).mean((1, 2, 3))
        return np.stack([-light, light], 1) * 5


def detector(size: int = 224) -> Detector:
    calibration = Calibration(rarity=((0.0, 1.0), (0.5, 0.05), (0.6, 0.001)))
    return Detector(Brightness(), Metadata("tiny", Preprocess(size=size, frame="face"), calibration), "x")


def montage(astronaut, *sides: int, light: tuple[float, ...] = ()) -> Image.Image:
    canvas, x = Image.new("RGB", (sum(sides) + 40, max(sides) + 20), (90, 100, 110)), 10
    for number, side in enumerate(sides):
        face = larger(astronaut, side)
        canvas.paste(face.point(lambda v, f=(light or (1,) * 9)[number]: min(255, v * f)), (x, 10))
        x += side + 5
    return canvas


def test_three_faces_and_the_rule(astronaut):
    verdict = detector().judge(Picture(montage(astronaut, 480, 300, 240, light=(0.6, 2.2, 0.6)), "PNG"))
    assert [face.verdict for face in verdict.faces] == ["Real", "Fake", "Real"]
    areas = [face.box[2] * face.box[3] for face in verdict.faces]
    assert areas == sorted(areas, reverse=True)
    assert (verdict.verdict, verdict.score) == ("Fake", verdict.faces[1].score)


def test_a_small_face_is_unsure_and_so_is_the_picture_unless_another_is_fake(astronaut):
    one = detector().judge(Picture(montage(astronaut, 480, 160, light=(0.6, 1)), "PNG"))
    assert [face.verdict for face in one.faces] == ["Real", "Unsure"] and one.verdict == "Unsure"
    assert one.notes == ("1 of 2 faces is smaller than 40 pixels: not judged",)
    assert one.faces[1].score is None and one.score == one.faces[0].score
    other = detector().judge(Picture(montage(astronaut, 480, 160, light=(2.2, 1)), "PNG"))
    assert other.verdict == "Fake"
    none = detector().judge(Picture(montage(astronaut, 160), "PNG"))
    assert (none.verdict, none.score) == ("Unsure", None)
    assert none.notes == ("the face is smaller than 40 pixels: not judged",)


@pytest.mark.parametrize(
    "image",
    [Image.new("RGB", (32, 32), "white"), Image.new("RGB", (300, 300), "black"), make_image(False, 1, 224),
     make_image(True, 1, 300), Image.fromarray(skimage.data.rocket()).resize((300, 200)),
     Image.fromarray(skimage.data.coffee())],
    ids=["white", "black", "noise", "checks", "rocket", "coffee"],
)  # fmt: skip
def test_without_a_face_nothing_is_said_whatever_the_size(image):
    verdict = detector().judge(Picture(image, "PNG"))
    assert (verdict.verdict, verdict.score, verdict.faces) == ("Unsure", None, ())
    assert verdict.notes == ("no face found: this detector judges faces",)


def crowd_of(astronaut, count: int, light: dict[int, float]) -> Image.Image:
    """Copies of a face, some of them lighter, on a picture of a megapixel or more."""
    face, columns = astronaut.crop((140, 20, 320, 200)), 6
    crowd = Image.new("RGB", (195 * columns + 10, 195 * -(-count // columns) + 10), (90, 100, 110))
    for number in range(count):
        factor = light.get(number, 0.6)
        lit = face.point([min(255, round(value * factor)) for value in range(256)] * 3)
        crowd.paste(lit, (10 + 195 * (number % columns), 10 + 195 * (number // columns)))
    return crowd


def test_thirty_faces_are_all_judged_and_the_smallest_can_be_the_fake(astronaut):
    verdict = detector().judge(Picture(crowd_of(astronaut, 30, {29: 1.7}), "PNG"))
    assert len(verdict.faces) == 30 and sum(face.verdict == "Fake" for face in verdict.faces) == 1
    assert all(face.score is not None for face in verdict.faces)
    assert verdict.verdict == "Fake" and verdict.rule.faces == 30 and verdict.rule.stands_out


def test_one_of_many_must_stand_out(astronaut):
    """A score that one Real face in twenty has is Fake for one face, and nothing unusual among twelve."""
    judge = detector()
    alone = judge.judge(Picture(crowd_of(astronaut, 1, {0: 1.7}), "PNG"))
    assert alone.verdict == "Fake" and alone.rule is None
    common = replace(judge.metadata.calibration, rarity=((0.0, 1.0), (0.5, 0.05), (1.0, 0.049)))
    judge.metadata = replace(judge.metadata, calibration=common)
    assert judge.judge(Picture(crowd_of(astronaut, 1, {0: 1.7}), "PNG")).verdict == "Fake"
    many = judge.judge(Picture(crowd_of(astronaut, 12, {3: 1.7}), "PNG"))
    assert many.verdict == "Unsure" and sum(face.verdict == "Fake" for face in many.faces) == 1
    assert many.score == pytest.approx(alone.score, abs=0.01) and not many.rule.stands_out and many.rule.faces == 12
    assert many.notes[0].startswith("1 of 12 faces stands out, but among 12 genuine faces a score of")
    assert judge.judge(Picture(crowd_of(astronaut, 12, {}), "PNG")).verdict == "Real"


def test_more_faces_than_are_looked_at_are_not_called_real(astronaut, monkeypatch):
    monkeypatch.setattr(faces, "MAX_FACES", 5)
    verdict = detector().judge(Picture(crowd_of(astronaut, 8, {}), "PNG"))
    assert len(verdict.faces) == 5 and verdict.verdict == "Unsure"
    assert "8 faces found; the 5 largest were looked at" in verdict.notes


@pytest.mark.parametrize(("size", "face"), [((4000, 5333), 2900), ((7000, 7000), 5000)])
def test_a_close_up_of_many_megapixels_is_judged_as_its_half_size_copy(astronaut, find, size, face):
    """Portraits of phones and cameras: three widths of such a face are more pixels than Pillow cuts out at once."""
    head = astronaut.crop((150, 10, 310, 170))  # the box is about .56 of it
    side = round(face / 0.56)
    picture = Image.new("RGB", size, (90, 100, 110))
    picture.paste(head.resize((side, side), Image.Resampling.BICUBIC), ((size[0] - side) // 2, (size[1] - side) // 2))
    half = picture.reduce(2)
    [large], [small] = (find(image)[0] for image in (picture, half))
    assert max(large.box[2:]) > 0.8 * face
    assert np.allclose(np.array(large.box) / 2, small.box, atol=0.01 * face)
    spec = Preprocess(224, frame="face")
    assert np.abs(spec(picture, large) - spec(half, small)).mean() < 0.03


def test_what_goes_wrong_with_one_picture_is_its_answer(face_set, monkeypatch, capsys, tmp_path):
    """Whatever it is: the others are judged, on the command line and in an evaluation."""
    search, seen = FaceFinder.search, []

    def breaks(self, image):
        seen.append(image.size)
        if image.size == (256, 256):
            raise Image.DecompressionBombError("too large")
        return search(self, image)

    monkeypatch.setattr(FaceFinder, "search", breaks)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    judge = detector()
    judge.sha256 = "0" * 64
    monkeypatch.setattr(predict, "load", lambda *args, **options: judge)
    status = predict.main([str(face_set), "--json"])
    said, errors = capsys.readouterr()
    rows = [json.loads(line) for line in said.splitlines()]
    assert status == 1 and len(rows) == 8 and sum("error" in row for row in rows) == 2
    assert {row["error"]["slug"] for row in rows if "error" in row} == {"not-judged"}
    assert "could not be judged (an internal fault: DecompressionBombError)" in errors and "Traceback" not in errors
    index = indexing.with_faces(indexing.index_folder(face_set))
    assert len(index.samples) == 6 and len(index.left_out) == 2
    assert "could not be judged" in index.left_out[0][1]


def test_an_evaluation_goes_on_without_a_picture_that_could_not_be_judged(face_set, monkeypatch, capsys):
    index, view = indexing.with_faces(indexing.index_folder(face_set)), Preprocess.view

    def breaks(self, image, box=None):
        if image.size == (256, 256):
            raise ZeroDivisionError
        return view(self, image, box)

    monkeypatch.setattr(Preprocess, "view", breaks)
    judged = score_index({"x": detector()}, index)["x"]
    assert judged.faulty.sum() == 1 and np.isnan(judged.logits[judged.faulty]).all()
    assert "could not be judged (an internal fault: ZeroDivisionError)" in capsys.readouterr().err
    kept, answers = without_faults(
        Set("x", "in-domain", ".", index, index, robustness=False, stability=False), {"x": Said(judged, {})}
    )
    assert len(kept.index.samples) == 7 == len(answers["x"].whole.logits) and len(kept.index.left_out) == 1


def test_small_faces_beside_larger_ones_are_searched_more_closely(astronaut, find):
    """At 640 px the smaller ones of this picture are some 9 px wide: the finder does not see them there."""
    canvas, face = Image.new("RGB", (4000, 3000), (90, 100, 110)), astronaut.crop((140, 20, 320, 200))
    for x, side in ((200, 400), (1000, 300), (1600, 130), (2000, 130), (2400, 130)):
        canvas.paste(face.resize((side, side)), (x, 1000))
    found, count = find(canvas)
    assert count == len(found) == 5


@pytest.fixture(scope="module")
def face_set(tmp_path_factory, astronaut):
    """Portraits, one of them twice in a picture, and pictures without a face."""
    root = tmp_path_factory.mktemp("faces")
    for number, (label, image) in enumerate(
        [("Real", larger(astronaut, n)) for n in (200, 256, 330)]
        + [("Fake", larger(astronaut, n).point(lambda v: min(255, v * 1.7))) for n in (210, 270)]
        + [("Fake", montage(astronaut, 300, 200, light=(0.6, 1.5))), ("Real", make_image(False, 3, 256))]
        + [("Fake", make_image(True, 4, 900))]
    ):
        (root / label).mkdir(exist_ok=True)
        image.save(root / label / f"{number}.png")
    return root


def test_all_doors_judge_the_same_faces(face_set):
    index, judge = indexing.with_faces(indexing.index_folder(face_set)), detector()
    assert [path.stem for path in index.faceless] == ["6", "7"]
    judged, calibration = score_index({"x": judge}, index)["x"], judge.metadata.calibration
    words, scores = judged.verdicts(calibration), calibration.scores(judged.logits)
    for sample, score, word, number in zip(index.samples, scores, words, judged.faces, strict=True):
        verdict = judge.judge(open_image(sample.path))
        assert verdict.verdict == word, sample.path
        assert number == sum(face.score is not None for face in verdict.faces)
        assert (verdict.score is None) == bool(np.isnan(score)) == (sample.path.stem in "67")
        assert verdict.score is None or verdict.score == pytest.approx(score, abs=1e-6)


def test_faces_are_found_once(face_set, find, monkeypatch):
    index = indexing.index_folder(face_set)
    first = indexing.with_faces(index)
    assert first.faces == tuple(find(open_image(sample.path).image)[0] for sample in index.samples)
    assert [len(faces) for faces in first.found] == [1, 1, 1, 0, 1, 1, 2, 0]
    assert first.found[6] == first.faces[6] and index.found == ((),) * 8
    monkeypatch.setattr(FaceFinder, "__call__", lambda *a, **k: pytest.fail("searched again"))
    assert indexing.with_faces(index) == first
    monkeypatch.setattr(indexing, "FINDER_VERSION", faces.FINDER_VERSION + 1)
    with pytest.raises(pytest.fail.Exception):
        indexing.with_faces(index)


def test_no_faces_of_a_file_that_changed_after_indexing(face_set, tmp_path, astronaut):
    """They would be kept under the name of the picture that was there before."""
    root = tmp_path / "set"
    shutil.copytree(face_set, root)
    index = indexing.index_folder(root)
    larger(astronaut, 222).save(root / "Real/1.png")
    with pytest.raises(indexing.DatasetError, match=r"Real/1\.png changed since it was indexed"):
        indexing.with_faces(index)
    found = indexing.with_faces(indexing.index_folder(root))
    assert found.found[1][0].box[2] * 512 / 222 == pytest.approx(found.found[0][0].box[2] * 512 / 200, rel=0.05)


def test_train_with_faces_then_judge_and_annotate(face_set, tmp_path, astronaut, capsys):
    flags = ("--arch", "tiny", "--size", 64, "--epochs", 1, "--batch-size", 4, "--frame", "face", "--margin", 1.3,
             "--mirror")  # fmt: skip
    (tmp_path / "set").mkdir()
    for split in ("Train", "Validation"):
        (tmp_path / "set" / split).symlink_to(face_set, target_is_directory=True)
    assert train.main(list(map(str, ("--data", tmp_path / "set", *flags, "--out", tmp_path / "run")))) == 0
    assert "no face found in 2 images" in capsys.readouterr().err
    preprocess = load(tmp_path / "run/best.safetensors").metadata.preprocess
    assert (preprocess.frame, preprocess.margin, preprocess.mirror) == ("face", 1.3, True)
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["data"]["Train"]["without_face"] == 2
    montage(astronaut, 480, 300, 160).save(tmp_path / "three.png")
    given = (tmp_path / "three.png", "--model", tmp_path / "run/best.safetensors", "--annotate", tmp_path / "marked")
    assert predict.main(list(map(str, given))) == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines() if " face " in line] == [
        "%",
        "%",
        "face",
    ]  # the smallest is not judged
    [marked] = (tmp_path / "marked").iterdir()
    with Image.open(marked) as picture:
        below = np.asarray(picture.convert("RGB"))[-500:]
        assert picture.width == 980 and tuple(below[5, 5]) == (90, 100, 110)
        assert np.any(below != np.asarray(montage(astronaut, 480, 300, 160)))


def test_json_carries_the_faces(astronaut, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(predict, "load", lambda *a, **k: detector())
    monkeypatch.setattr(Detector, "sha256", "0" * 64)
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "coffee.png")
    astronaut.save(tmp_path / "astronaut.png")
    assert predict.main([str(tmp_path), "--model", "x", "--json"]) == 0
    person, thing = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert person["score"] == person["faces"][0]["score"] and len(person["faces"][0]["box"]) == 4
    assert (thing["verdict"], thing["score"], thing["faces"]) == ("Unsure", None, [])
