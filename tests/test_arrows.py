"""Which module may import which (docs/design.md), and what a process has loaded when it judges nothing yet."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Each room may import the rooms before it, and itself. The last ones import no other of the last ones.
ORDER = [
    "quiet", "progress", "files", "memory", "ranks", "names", "imaging", "indexing", "networks", "model",
    "dataset", "detector", "judging", "evaluation", "reports", "training",
]  # fmt: skip
LAST = {"train", "eval", "predict", "tools", "samples"}
ALLOWED = {room: set(ORDER[: place + 1]) for place, room in enumerate(ORDER)} | {room: {*ORDER, room} for room in LAST}
ALLOWED["tools"] |= {"train"}  # tools.transfer trains one recipe many times
ALLOWED["imaging"] -= {"networks", "model"}
ALLOWED["indexing"] -= {"ranks"}  # and without torch
ALLOWED["model"] -= {"imaging", "indexing"}
ALLOWED["networks"] -= {"imaging", "indexing"}
ALLOWED["detector"] -= {"dataset", "indexing"}  # a detector judges images; it knows no labelled folders
ALLOWED["judging"] -= {"dataset", "indexing", "networks", "model", "ranks"}  # one verdict at a time, and without torch
ALLOWED["reports"] -= {"imaging", "networks", "model"}  # from rows and JSON
FILES = [
    path
    for path in ROOT.rglob("*.py")
    if not {".venv", "tests", "node_modules"} & set(path.relative_to(ROOT).parts)
    and path.relative_to(ROOT).parts[0] != "deepfake-app"
]


def imported(path: Path) -> set[str]:
    """First names of all modules that a file imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_what_stands_before(path):
    room = room_of(path)
    assert room in ALLOWED, f"{room} has no place in the order of rooms"
    assert imported(path) & set(ALLOWED) <= ALLOWED[room]


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def drawn() -> str:
    """The arrows from room to room as a Mermaid graph, less the ground floor and those that others imply."""
    ground = set(ORDER[: ORDER.index("imaging")])
    to = {room: set() for room in [*ORDER, *sorted(LAST)] if room not in ground}
    for path in FILES:
        if (room := room_of(path)) in to:
            to[room] |= imported(path) & set(to) - {room}

    def reached(room: str) -> set[str]:
        return to[room].union(*map(reached, to[room]))

    lines = [
        f"    {room} --> {other}"
        for room, others in to.items()
        for other in sorted(others, key=list(to).index)
        if not any(other in reached(between) for between in others - {other})
    ]
    return "\n".join(["```mermaid", "graph RL", *lines, "```"])


def test_the_map_shows_the_arrows_as_they_are():
    """python tests/test_arrows.py prints them."""
    assert drawn() in (ROOT / "docs/code.md").read_text()


def called(path: Path) -> set[str]:
    """`module.function` of every call in a file."""
    calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return {
        f"{call.value.id}.{call.attr}"
        for call in calls
        if isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name)
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_job_has_one_place(path):
    """No torch in imaging; torch.load in the checkpoint's reader alone; images are opened by the door alone."""
    name = str(path.relative_to(ROOT))
    if name.startswith("imaging/"):
        assert not imported(path) & {"torch", "torchvision", "timm"}
    if name not in ("detector/checkpoint.py", "training/resume.py", "tools/benchmark/original_server.py"):
        assert "torch.load" not in called(path)
    if name != "imaging/door.py" and not name.startswith("tools/benchmark/original"):  # they do what another did
        assert "Image.open" not in called(path)


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import imaging.door, imaging.preprocess", {"torch", "torchvision", "timm"}),
        ("import detector, detector.checkpoint, predict", {"torch", "torchvision", "timm", "sklearn", "matplotlib"}),
        ("import detector.backend_torch", {"torchvision", "timm", "sklearn", "matplotlib", "seaborn"}),
    ],
)
def test_modules_loaded(code, absent):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not absent & set(done.stdout.split())


def test_entry_files_have_a_main_guard():
    """Spawned workers import the main file again."""
    for name in ("train.py", "eval.py", "predict.py", "tools/samples.py"):
        assert 'if __name__ == "__main__":' in (ROOT / name).read_text(), name


if __name__ == "__main__":
    print(drawn())
