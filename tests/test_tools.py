"""Every tool from outside: its exit status, and a line that says what was wrong and names what it is about."""

import importlib

import pytest
from conftest import make_set
from test_commands import tiny_run

import dataset
import indexing

MODEL, ONNX, SMALL, NOWHERE, OUT = "{model}", "{onnx}", "{set}", "{tmp}/nowhere", "{tmp}/out"
MISSING = f"{NOWHERE}.safetensors"

# Tool, arguments, status, what it says.
REFUSALS = [
    ("between", (MISSING, MODEL, "--out", OUT), 3, "nowhere.safetensors: model file not found"),
    ("between", (MODEL, MODEL, "--out", f"{NOWHERE}/x.safetensors"), 1, "nowhere"),
    ("calibrate", (MISSING, "--data", SMALL), 3, "nowhere.safetensors: model file not found"),
    ("calibrate", (MODEL, "--data", NOWHERE, "--out", f"{OUT}.safetensors"), 2, "no such folder"),
    ("calibrate", (MODEL, "--data", f"{SMALL}/Test", "--out", f"{OUT}.safetensors"), 2, "is a Test split"),
    ("calibrate", (MODEL, "--data", f"{SMALL}/Train", "--out", f"{OUT}.safetensors"), 2, "was trained on these images"),
    ("calibrate", (MODEL, "--data", SMALL, "--out", f"{NOWHERE}/x.safetensors"), 1, "nowhere"),
    ("calibrate", (MODEL, "--data", SMALL, "--upright"), 2, "judges whole pictures, not faces"),
    ("calibrate", (MODEL, "--data", SMALL, "--out", OUT), 2, "a checkpoint is made; call it .safetensors"),
    ("evidence", (MISSING, "--data", SMALL), 3, "nowhere.safetensors: model file not found"),
    ("evidence", (MODEL, "--data", NOWHERE, "--out", f"{OUT}.safetensors"), 2, "no such folder"),
    ("export", (MISSING,), 3, "nowhere.safetensors: model file not found"),
    ("export", (ONNX, "--out", f"{OUT}.onnx"), 3, "holds no network that torch could run; give the checkpoint"),
    ("export", (MODEL, "--out", f"{OUT}.onnx", "--images", NOWHERE), 1, "nowhere"),
    ("groups", (MISSING, "--data", SMALL), 3, "nowhere.safetensors: model file not found"),
    ("groups", (MODEL, "--data", SMALL), 3, "it judges whole pictures, not faces"),
    ("join", (MISSING, MODEL, "--weights", "1,1", "--out", OUT), 3, "nowhere.safetensors: model file not found"),
    ("join", (ONNX, MODEL, "--weights", "1,1", "--out", OUT), 3, "tiny.onnx: an ONNX file holds no network"),
    ("join", (MODEL, MODEL, "--data", NOWHERE, "--out", f"{OUT}.safetensors"), 2, "no such folder"),
    ("report", (NOWHERE,), 2, "no such folder"),
    ("robustness", (MISSING, "--data", SMALL, "--out", OUT), 3, "no model can be used"),
    ("robustness", (MODEL, "--data", NOWHERE, "--out", OUT), 2, "no such folder"),
    ("robustness", (MODEL, "--data", SMALL, "--out", SMALL), 1, "is not empty"),
    ("screen", (MISSING, "--on", f"x={SMALL}"), 3, "nowhere.safetensors: model file not found"),
    ("screen", (MODEL, "--on", f"x={SMALL}/Test"), 2, "is a Test split"),
    ("frozen_probe", ("tiny", "--weights", MISSING, "--data", SMALL), 1, "nowhere.safetensors: No such file"),
    ("frozen_probe", ("tiny", "--weights", MODEL, "--data", NOWHERE), 2, "no such folder"),
    ("transfer", ("--data", SMALL, "--out", OUT, "--models", MISSING), 3, "nowhere.safetensors: model file not found"),
    ("transfer", ("--data", NOWHERE, "--out", OUT, "--models", MODEL), 2, "no such folder"),
    ("transfer", ("--data", SMALL, "--out", OUT, "--arch", "tiny"), 2, "no class has two kinds"),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "arguments", "status", "says"), REFUSALS)
def test_what_a_tool_refuses(tool, arguments, status, says, trained, exported, small_set, tmp_path, capsys):
    places = {"model": trained / "best.safetensors", "onnx": exported, "set": small_set, "tmp": tmp_path}
    main = importlib.import_module(f"tools.{tool}").main
    assert main([argument.format(**places) for argument in arguments]) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"{tool}: error: ")]
    assert lines and says in lines[-1] and "Traceback" not in lines[-1]


@pytest.mark.parametrize(
    "tool", sorted({tool for tool, *_ in REFUSALS} - {"report", "groups", "transfer", "screen", "frozen_probe"})
)
def test_ctrl_c_ends_a_tool(tool, trained, small_set, tmp_path, capsys, monkeypatch):
    """Pressed while it loads the model."""
    module, model = importlib.import_module(f"tools.{tool}"), str(trained / "best.safetensors")

    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "read_metadata" if tool == "between" else "load", interrupted)
    more = {
        "between": [model], "join": [model, "--weights", "1,1"], "export": [],
        "robustness": ["--data", str(small_set)],
    }.get(tool, ["--data", str(small_set)])  # fmt: skip
    assert module.main([model, *more, "--out", str(tmp_path / "x.safetensors")]) == 130
    assert f"{tool}: error: interrupted; nothing was written" in capsys.readouterr().err


def test_each_tool_uses_what_training_left_of_a_folder_for_it(tmp_path, capsys, unrendered):
    """A flat folder: judged on one tenth, calibrated on another; of neither tenth was an image trained on."""
    root = make_set(tmp_path / "flat", {".": 40})
    assert tiny_run(root, tmp_path / "run", "--epochs", 1, "--seed", 4) == 0
    model, parts = str(tmp_path / "run/best.safetensors"), dataset.split_flat(indexing.index_folder(root), 4)
    used = {}
    for tool, flags in (
        ("robustness", ("--out", str(tmp_path / "stress"), "--only", "mirror")),
        ("calibrate", ("--out", str(tmp_path / "calibrated.safetensors"))),
    ):
        main = importlib.import_module(f"tools.{tool}").main
        assert main([model, "--data", str(root), *flags]) == 0
        used[tool] = capsys.readouterr().err
    assert "only the tenth left for Test is used" in used["robustness"]
    assert "only the tenth left for Validation is used" in used["calibrate"]
    for tool, part in (("robustness", "Test"), ("calibrate", "Validation")):
        assert parts[part].summary() in used[tool] and len(parts[part].samples) == 8


def test_runs_are_compared_on_validation(trained, small_set, capsys):
    run = str(trained)
    main = importlib.import_module("tools.screen").main
    assert main([run, run, "--on", f"small={small_set}"]) == 0
    lines = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 4 and all(len(line) == 3 for line in lines)
    assert lines[0][1:] == lines[1][1:] == lines[2][1:] and lines[3][0].strip() == "standard deviation"
    assert all(0.5 < float(cell) <= 1 for cell in lines[0][1:]) and {float(cell) for cell in lines[3][1:]} == {0.0}
