"""samples/: the pictures are what samples/make.py makes; the detector that ships says of them what the README says."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from imaging.door import open_image
from imaging.faces import FaceFinder
from samples import make

SAMPLES = ROOT / "samples"
FILES = sorted(path.relative_to(SAMPLES).as_posix() for path in SAMPLES.glob("*/*.*") if path.suffix != ".pyc")
ROWS = re.findall(r"^\| `(.+?/.+?)` \| (.+?) \| (.+?) \| (.+?) \|$", (SAMPLES / "README.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("samples")
    assert make.main(["--out", str(out)]) == 0
    return out


def difference(path, other) -> float:
    """PSNR, in decibels: 40 and more is invisible."""
    pictures = [np.asarray(open_image(one).image, np.float64) for one in (path, other)]
    return 10 * np.log10(255**2 / max(1e-9, float(((pictures[0] - pictures[1]) ** 2).mean())))


def test_the_readme_names_each_file_once():
    assert sorted(row[0] for row in ROWS) == FILES and len(FILES) >= 14
    assert sum((SAMPLES / name).stat().st_size for name in FILES) < 3e6


@pytest.mark.parametrize("name", FILES)
def test_it_is_what_the_program_makes(made, name):
    assert difference(SAMPLES / name, made / name) > 40  # another JPEG library may round differently


def test_the_program_makes_nothing_else(made):
    assert sorted(path.relative_to(made).as_posix() for path in made.rglob("*.*")) == FILES


@pytest.mark.parametrize("name", FILES)
def test_faces_are_where_they_should_be(name):
    picture = open_image(SAMPLES / name)
    faces, count = FaceFinder()(picture.image)
    assert not picture.notes
    assert count == (0 if name.startswith("no-face/") else 2 if name.endswith("/both.jpg") else 1)
    assert all(face.confidence > 0.8 for face in faces)


def test_a_manipulation_changes_the_face_and_nothing_else():
    """Before JPEG. The face: its box and a fifth of it to all sides."""
    collins = make.portrait(make.astronaut())
    hopper = make.portrait(open_image(make.grace_hopper()).image)
    found = [(name, picture) for name, picture in make.pictures(collins, hopper) if name.startswith("manipulated/")]
    assert len(found) == len([name for name in FILES if name.startswith("manipulated/")])
    for name, picture in found:
        of = collins if name.endswith("-astronaut.jpg") else hopper
        changed = np.abs(np.asarray(picture, float) - np.asarray(of.image, float)).max(2)
        x, y, width, height = map(round, of.face.box)
        around = np.s_[y - height // 5 : y + height + height // 5, x - width // 5 : x + width + width // 5]
        assert (changed > 0).sum() > 0.1 * width * height and changed[around].max() > 40, name
        changed[around] = 0
        assert not changed.any(), name


def test_a_package_that_is_missing_is_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    assert make.main(["--out", str(tmp_path)]) == 1
    assert "scikit-image is missing: pip install" in capsys.readouterr().err and not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    assert make.main(["--out", str(tmp_path / "taken")]) == 1
    assert "taken" in capsys.readouterr().err


@pytest.fixture(scope="module")
def judged():
    """What `python predict.py samples/` says: (answers by file, modules loaded)."""
    code = "import predict, sys; s = predict.main(sys.argv[1:]); print(s, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "samples/", "--json"], cwd=ROOT, capture_output=True, text=True)
    *answers, last = done.stdout.splitlines()
    status, *modules = last.split()
    assert (status, done.stderr) == ("0", "samples/: passed over: 2 other files: 1 .md, 1 .py\n")
    return {answer["file"].removeprefix("samples/"): answer for answer in map(json.loads, answers)}, set(modules)


def test_the_detector_that_ships_judges_all_of_them(judged):
    answers, modules = judged
    assert sorted(answers) == FILES
    assert not {"torch", "torchvision", "timm", "onnx", "sklearn", "matplotlib"} & modules and "onnxruntime" in modules
    assert {answer["model"]["name"] for answer in answers.values()} == {"default.onnx"}


def test_it_accuses_no_untouched_photograph(judged):
    for name, answer in judged[0].items():
        if name.startswith("untouched/"):
            assert answer["verdict"] != "Fake", (name, answer["score"])
        if name.startswith("no-face/"):
            assert (answer["verdict"], answer["score"]) == ("Unsure", None)


def test_the_readme_says_what_it_says(judged):
    """The last column begins with the verdict; more words may follow."""
    said = {name: re.match(r"[\w-]+", last).group() for name, _, _, last in ROWS}
    assert said == {name: answer["verdict"] for name, answer in judged[0].items()}
