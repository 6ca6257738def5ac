"""Nothing of ours calls home or writes to the home folder; what is not installed is a sentence."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, make_image, make_set

import quiet

COMMANDS = """
import sys
from importlib import import_module
data, out = sys.argv[1:]
run = import_module("train").main
assert run(["--data", data, "--arch", "tiny", "--size", "32", "--epochs", "1", "--out", out + "/run"]) == 0
model = out + "/run/best.safetensors"
assert import_module("tools.calibrate").main([model, "--data", data, "--out", out + "/calibrated.safetensors"]) == 0
assert import_module("tools.export").main([model]) == 0
test = ["--data", data + "/Test"]
assert import_module("tools.robustness").main([model, *test, "--out", out + "/stress", "--only", "mirror"]) == 0
assert import_module("eval").main_eval(["--models", out + "/run/best.onnx", *test, "--out", out + "/evaluation"]) == 0
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[dict, Path]:
    """An environment as a newcomer has it: an empty home, nothing that says CI. And data to work on."""
    place = tmp_path_factory.mktemp("quiet")
    (place / "home").mkdir()
    make_set(place / "set", {"Train": 8, "Validation": 8, "Test": 8})
    make_image(False, 1, 64).save(place / "photo.png")
    taken = re.compile("CI|XDG_.*|ORT_.*|HF_.*|DO_NOT_TRACK|MPLCONFIGDIR")
    kept = {name: value for name, value in os.environ.items() if not taken.fullmatch(name)}
    return kept | {"HOME": str(place / "home"), "OMP_NUM_THREADS": "1"}, place


def watched(command: list, place: Path) -> list:
    """The command, with a list of the sockets that it opens in place/calls, where strace is there."""
    if not shutil.which("strace"):
        return command
    return ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", place / "calls", *command]


def check(place: Path) -> None:
    left = [str(path.relative_to(place)) for path in (place / "home").rglob("*")]
    assert not left, left
    calls = (place / "calls").read_text() if (place / "calls").exists() else ""
    assert not re.findall(r".*(?:connect|sendto|sendmsg)\(.*AF_INET6?,.*", calls)


def test_commands_leave_the_home_empty_and_call_nobody(world):
    environment, place = world
    command = [sys.executable, "-c", COMMANDS, place / "set", place]
    done = subprocess.run(
        watched(command, place), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=160
    )
    assert done.returncode == 0, done.stderr
    check(place)
    command = [sys.executable, "predict.py", place / "photo.png", "--annotate", place / "marked"]
    done = subprocess.run(
        watched(command, place), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    check(place)


def test_the_server_leaves_the_home_empty_and_calls_nobody(world):
    environment, place = world
    command = [sys.executable, "deepfake-app/server.py", "--port", "0"]
    with subprocess.Popen(
        watched(command, place), cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        said = ""
        for line in server.stderr:
            said += line
            if line.startswith("ready:"):
                break
        os.killpg(server.pid, signal.SIGTERM)
        said += server.stderr.read()
    assert "ready:" in said, said
    check(place)


def test_whoever_imports_what_calls_home_has_been_told_not_to():
    """The variables are set by `quiet`, which imaging and model import; detector imports imaging."""
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0]
        if room in (".venv", "tests", "deepfake-app") or "node_modules" in path.parts:
            continue
        names = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
        }
        if names & {"onnxruntime", "timm", "huggingface_hub"}:
            assert room in ("imaging", "networks", "detector", "model.py"), path
    code = "import imaging, os; assert os.environ['ORT_DISABLE_TELEMETRY'] == os.environ['DO_NOT_TRACK'] == '1'"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert all(
        "import quiet" in (ROOT / name).read_text() for name in ("imaging/__init__.py", "model.py", "networks/clip.py")
    )


@pytest.mark.parametrize("program", ["predict.py", "eval.py", "train.py", "deepfake-app/server.py", "tools/report.py"])
def test_what_is_not_installed_is_a_sentence(program, tmp_path):
    """A Python without the requirements: -S takes the installed packages away; --help too says what is missing."""
    command = ["-m", "tools.report"] if program.startswith("tools") else [program]
    done = subprocess.run([sys.executable, "-S", *command, "--help"], cwd=ROOT, capture_output=True, text=True)
    wanted = "deepfake-app/requirements.txt" if "server" in program else "requirements.txt"
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "is not installed for" in done.stderr and f"-m pip install -r {wanted}" in done.stderr


def test_the_cache_is_where_it_was_told_to_be(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert quiet.cache_folder() == Path("/somewhere/deepfake-detector")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert quiet.cache_folder() == ROOT / "results/.cache"
