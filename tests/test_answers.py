"""What predict.py writes beside stdout: drawn verdicts, heat maps with a title, rows for a spreadsheet."""

import csv
import json
import os
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from conftest import make_image
from PIL import Image, ImageDraw

import predict
from detector import Detector, FaceVerdict, Metadata, Verdict
from detector.backend import Backend
from detector.calibration import Calibration
from imaging.preprocess import Preprocess
from judging import drawing

BAND = Calibration(threshold=0.5, unsure=(0.4, 0.6), fitted_on="x", n=300)
NO_FACE = Verdict("Unsure", None, ("no face found: this detector judges faces",))
ONE = Verdict("Real", 0.01, (), (FaceVerdict((10.0, 8.0, 30.0, 40.0), 0.01, "Real"),))
TWO = Verdict(
    "Fake",
    0.97,
    ("a note",),
    (FaceVerdict((5.5, 5.0, 50.0, 50.0), 0.03, "Real"), FaceVerdict((70.0, 60.0, 45.0, 42.0), 0.97, "Fake")),
)


class Spots(Backend):
    """A backend whose last feature map is bright in one corner; the score is 0.5 whatever it sees."""

    explains = concurrent = True

    def __call__(self, batch):
        return np.zeros((len(batch), 2), np.float32)

    def class_map(self, batch):
        return np.pad(np.ones((len(batch), 2, 2), np.float32), ((0, 0), (0, 6), (0, 6)))


@pytest.fixture
def judge(monkeypatch, capsys, tmp_path):
    """predict.main where each picture gets the verdict of its name: (status, stdout, lines of stderr)."""
    detector = Detector(Spots(), Metadata("tiny", Preprocess(64, frame="face"), calibration=BAND), "=m.onnx")
    monkeypatch.setattr(predict, "load", lambda *_, **__: detector)
    monkeypatch.setattr(Detector, "sha256", "ab" * 32)
    monkeypatch.chdir(tmp_path)

    def call(verdict, *arguments):
        monkeypatch.setattr(Detector, "judge", lambda self, picture: verdict)
        status = predict.main(["--model", "x", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return call


@pytest.fixture
def drawn(monkeypatch):
    """The words that are drawn, in order."""
    words, draw = [], ImageDraw.ImageDraw.text

    def text(self, xy, text, *arguments, **options):
        words.append(text)
        return draw(self, xy, text, *arguments, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return words


def photo(path, size=(120, 110)):
    path.parent.mkdir(exist_ok=True, parents=True)
    make_image(True, len(str(path)), max(size)).crop((0, 0, *size)).save(path, "PNG")
    return path


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_drawn_verdict_cannot_be_read_the_other_way(judge, drawn, tmp_path):
    photo(tmp_path / "x.png")
    assert judge(ONE, "x.png", "--annotate", "marked")[0] == 0
    assert "Likely real (1 % fake)" in drawn and "likely real (1 % fake)" in drawn
    assert not any(text.startswith("Real") for text in drawn)


def test_a_picture_without_a_face_says_so(judge, drawn, tmp_path):
    photo(tmp_path / "x.png")
    judge(NO_FACE, "x.png", "--annotate", "marked")
    assert "Unsure (no score)" in drawn and "no face found: this detector judges faces" in drawn and "x.png" in drawn
    with Image.open(tmp_path / "marked/x.png.png") as marked:
        assert marked.width >= 480


def test_faces_have_the_numbers_of_the_table(judge, drawn, tmp_path):
    photo(tmp_path / "x.png")
    _, out, _ = judge(TWO, "x.png", "--annotate", "marked")
    assert "face 1, 50x50" in out and "face 2, 45x42" in out
    assert "Likely fake (97 % fake)" in drawn and "a note" in drawn
    for text in ("1 likely real (3 % fake)", "2 likely fake (97 % fake)"):
        assert " ".join(drawn).replace("\n", " ").count(text) >= 1


@pytest.mark.parametrize("name", ["사진.png", "zdjęcie.png", "\U0001f600.png", "n\n.png", os.fsdecode(b"\xff.png")])
def test_a_name_in_any_script_is_drawn_or_escaped(judge, drawn, tmp_path, name):
    photo(tmp_path / name)
    assert judge(NO_FACE, name, "--annotate", "marked")[0] == 0
    assert any(text.endswith(".png") and text.isascii() and text.isprintable() for text in drawn)


def test_what_was_written_is_said_at_the_end(judge, tmp_path):
    for name in ("a.png", "b.png"):
        photo(tmp_path / "in" / name)
    (tmp_path / "in/c.png").write_bytes(b"")
    wanted = ("--annotate", "marked", "--explain", "heat/", "--csv", "v.csv", "--json")
    status, out, said = judge(TWO, "in", *wanted)
    assert status == 1 and len(out.splitlines()) == 3
    assert sorted(said[1:]) == ["heat/: 2 heat maps", "marked/: 2 pictures", "v.csv: 7 rows"]
    assert len(os.listdir("heat")) == len(os.listdir("marked")) == 2 and len(rows("v.csv")) == 7
    _, _, said = judge(NO_FACE, "in/a.png", "--annotate", "marked", "--explain", "heat")
    assert sorted(said) == ["heat/: 0 heat maps", "marked/: 1 picture, 1 in place of older ones"]


def test_nothing_is_written_over_what_this_run_wrote(judge, tmp_path):
    for name in ("a/x.png", "a_x.png"):
        photo(tmp_path / name)
    _, out, said = judge(TWO, "a/x.png", "a_x.png", "a_x.png", "--annotate", "m", "--explain", "h", "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert sorted(os.listdir("m")) == ["a_x.png-2.png", "a_x.png-3.png", "a_x.png.png"]
    assert {answer["annotated"] for answer in answers} == {f"m/{name}" for name in os.listdir("m")}
    assert len({answer["explanation"]["file"] for answer in answers}) == len(os.listdir("h")) == 3
    assert "note: m/a_x.png.png is taken; that of a_x.png is m/a_x.png-2.png" in said and said[-1] == "m/: 3 pictures"


def test_nothing_is_written_over_an_input(judge, tmp_path):
    before = photo(tmp_path / "x.png").read_bytes(), photo(tmp_path / "x.png.png").read_bytes()
    judge(ONE, "x.png", "x.png.png", "--annotate", ".")
    assert ((tmp_path / "x.png").read_bytes(), (tmp_path / "x.png.png").read_bytes()) == before
    (tmp_path / "in").mkdir()
    photo(tmp_path / "in/y.png")
    status, _, said = judge(ONE, "in", "--csv", "in/y.png")
    assert status == 2 and said == ["predict.py: error: --csv in/y.png is one of the inputs; it would be overwritten"]


def test_long_and_hidden_names_become_plain_ones(judge, tmp_path):
    deep = photo(tmp_path / ("d" * 150) / ("e" * 150) / "x.png")
    photo(tmp_path / ".h.png")
    status, _, said = judge(ONE, deep, "./.h.png", "--annotate", "m")
    assert (status, said) == (0, ["m/: 2 pictures"])
    assert all(len(name) <= 210 and name[0] != "." and name.endswith(".png.png") for name in os.listdir("m"))


@pytest.mark.parametrize("flag", ["--annotate", "--explain"])
def test_a_folder_that_cannot_be_written_to_is_said_before_judging(judge, tmp_path, monkeypatch, flag):
    photo(tmp_path / "x.png")

    def full(*_, **options):
        raise PermissionError(13, "Permission denied", str(options.get("dir")))

    monkeypatch.setattr("tempfile.TemporaryFile", full)  # a folder's mode does not keep root out
    status, out, said = judge(ONE, "x.png", flag, "m")
    assert (status, out, said) == (1, "", ["predict.py: error: m: Permission denied"])


def test_a_full_disk_is_said_of_the_file(judge, tmp_path, monkeypatch):
    photo(tmp_path / "x.png")
    if os.path.exists("/dev/full"):
        status, out, said = judge(ONE, "x.png", "--csv", "/dev/full")
        assert (status, said) == (1, ["predict.py: error: /dev/full: No space left on device"]) and "x.png" in out

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    status, out, said = judge(ONE, "x.png", "--annotate", "m")
    path = os.path.join("m", "x.png.png")
    assert (status, said) == (1, [f"predict.py: error: {path}: No space left on device"]) and "x.png" in out


def test_the_rows_of_a_picture_and_its_faces(judge, tmp_path):
    photo(tmp_path / "x.png")
    (tmp_path / "y.png").write_bytes(b"")
    judge(TWO, "x.png", "y.png", "--csv", "v.csv", "--annotate", "m")
    picture, one, two, failed = rows("v.csv")
    assert [row["face"] for row in (picture, one, two, failed)] == ["", "1", "2", ""]
    assert (picture["verdict"], picture["score"], picture["notes"]) == ("Fake", "0.97", "a note")
    assert [picture[side] for side in ("x", "y", "width", "height")] == ["0", "0", "120", "110"]
    assert (one["verdict"], one["score"], one["x"], one["height"]) == ("Real", "0.03", "5.5", "50.0")
    assert (two["verdict"], two["score"], two["notes"]) == ("Fake", "0.97", "")
    for row in (picture, one, two):
        assert (row["file"], row["threshold"], row["unsure_low"], row["unsure_high"]) == ("x.png", "0.5", "0.4", "0.6")
        assert (row["arch"], row["model"], row["model_sha256"]) == ("tiny", "./=m.onnx", "ab" * 32)
        assert row["error"] == row["error_slug"] == ""
    assert picture["annotated"] == os.path.join("m", "x.png.png")
    assert failed["file"] == "y.png" and failed["error_slug"] == "empty-file" and "0 bytes" in failed["error"]
    assert failed["verdict"] == failed["score"] == ""


def test_a_face_that_was_not_judged(judge, drawn, tmp_path):
    photo(tmp_path / "x.png")
    small = FaceVerdict((90.0, 4.0, 20.0, 20.0), None, "Unsure")
    _, out, _ = judge(
        replace(TWO, faces=(small, *TWO.faces)), "x.png", *"--csv v.csv --annotate m --explain h --json".split()
    )
    assert json.loads(out)["explanation"]["face"] == 3 and "1 unsure (no score)" in drawn
    assert (rows("v.csv")[1]["verdict"], rows("v.csv")[1]["score"]) == ("Unsure", "")


def test_a_picture_without_a_score_has_one_row(judge, tmp_path):
    photo(tmp_path / "x.png")
    judge(NO_FACE, "x.png", "--csv", "v.csv")
    [row] = rows("v.csv")
    assert (row["verdict"], row["score"], row["face"], row["threshold"]) == ("Unsure", "", "", "0.5")


@pytest.mark.parametrize("name", ["=1+1.png", "+1.png", "@SUM(A1).png", "-2.png", "＝1.png"])
def test_no_file_name_is_a_formula(judge, tmp_path, name):
    photo(tmp_path / name)
    judge(ONE, "--csv", "v.csv", "--", name)
    picture, face = rows("v.csv")
    assert picture["file"] == face["file"] == f"./{name}" and os.path.samefile(picture["file"], name)


def test_a_semicolon_in_a_name_opens_no_cell(judge, tmp_path):
    photo(tmp_path / "x;=1+1.png")
    judge(NO_FACE, "x;=1+1.png", "--csv", "v.csv")
    assert (tmp_path / "v.csv").read_text().splitlines()[1].startswith('"x;=1+1.png",')


def test_a_heat_map_says_of_what_it_is_and_what_it_means(judge, drawn, tmp_path):
    photo(tmp_path / "x.png")
    _, out, _ = judge(TWO, "x.png", "--explain", "heat", "--json")
    said, about = " ".join(drawn), json.loads(out)["explanation"]
    assert about["face"] == 2
    for text in (
        "x.png",
        "Likely fake (97 % fake)",
        "Face 2 of 2, the one that looks most fake: likely fake (97 % fake)",
        "What speaks for Fake to this detector, not a proof.",
        "grey: nothing for Fake",
        "bright: most in this view",
        about["sentence"],
    ):
        assert text in said
    with Image.open(tmp_path / "heat/x.png.heat.png") as heat:
        assert heat.width == 448 and heat.height > 448 + 100


def faces(*corners, side=40.0, score=0.2):
    return tuple(FaceVerdict((float(x), float(y), side, side), score, "Real") for x, y in corners)


CROWDS = {
    "an edge on each side": ((4000, 3000), faces((-5, -5), (3970, -5), (-5, 2970), (3970, 2970))),
    "close together": ((4000, 3000), faces(*((1500 + 50 * i, 1500 + 60 * (i % 2)) for i in range(8)))),
    "a crowd": ((1200, 800), faces(*((20 + 115 * (i % 10), 20 + 75 * (i // 10)) for i in range(100)))),
    "a small picture": ((64, 64), faces((2, 2), (22, 22))),
    "all of it": ((64, 64), (FaceVerdict((-4.0, -3.0, 70.0, 70.0), 0.8, "Fake"),)),
    "one band": ((700, 40), faces((300, 2), (660, 2), side=36.0)),
    "one column": ((40, 700), faces((2, 300), side=36.0)),
}


@pytest.mark.parametrize("name", CROWDS)
def test_labels_stay_inside_and_hide_no_other(monkeypatch, name):
    size, found = CROWDS[name]
    done, lay = [], drawing.lay

    def noted(draw, texts, height, boxes, room, **options):
        done.append((lay(draw, texts, height, boxes, room, **options), height, room))
        return done[-1][0]

    monkeypatch.setattr(drawing, "lay", noted)
    sheet = drawing.marked(Image.new("RGB", size), Verdict("Real", 0.2, (), found), "x.png")
    labels, height, room = done[-1]
    assert len(labels) == len(found) and room[2:] == sheet.size
    assert height >= 15 and height >= max(size) / 90  # as large as a word on a screen that shows the whole picture
    for number, (text, (left, top, right, bottom)) in enumerate(labels, 1):
        assert room[0] <= left <= right <= room[2] and room[1] <= top <= bottom <= room[3]
        assert len(found) == 1 or text.split()[0] == str(number)
    for (_, one), (_, other) in combinations(labels, 2):
        assert not drawing.hides([one], [other]).any()


def test_an_annotated_picture_keeps_its_pixels_below_the_strip(judge, tmp_path):
    photo(tmp_path / "x.png", (600, 500))
    judge(NO_FACE, "x.png", "--annotate", "m")
    with Image.open(tmp_path / "x.png") as before, Image.open(tmp_path / "m/x.png.png") as marked:
        assert marked.width == 600
        assert np.array_equal(np.asarray(before), np.asarray(marked)[-500:])
