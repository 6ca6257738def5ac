"""The benchmark's arithmetic, and that both sides do what is measured."""

import json
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from conftest import make_image, make_set, run
from hostile import encode
from safetensors.torch import load_file

from detector import Detector
from detector.backend_torch import TorchBackend, assumed_metadata
from imaging.door import open_image
from model import create_model, load_backbone
from tools.benchmark import serve, training
from tools.benchmark.__main__ import main
from tools.benchmark.measure import Helper, measure

SLEEPER = """
import sys, time
print("ready", flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    time.sleep(float(line) / 100)
    print("seconds", time.perf_counter() - began, flush=True)
"""


def test_a_helper_works_when_told_to():
    helper = Helper([sys.executable, "-c", SLEEPER])
    try:
        assert 0.05 <= helper.work(5) < 5
        deadline = time.monotonic() + 10
        while state_of(helper.process.pid) not in "Tt":  # stopped, as soon as the system gets round to it
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert helper.work(1) >= 0.01
    finally:
        peak = helper.close()
    assert 1 < peak < 1000  # MB


def state_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0]


def test_a_helper_that_fails_is_an_error():
    with pytest.raises(RuntimeError, match="instead of 'ready'"):
        Helper([sys.executable, "-c", "print('hello')"])
    with pytest.raises(RuntimeError, match="broken"):
        measure([sys.executable, "-c", "raise SystemExit('broken')"])


def test_a_program_is_not_charged_for_what_we_hold_ourselves():
    held = np.ones(40_000_000)  # 320 MB, touched
    _, peak = measure([sys.executable, "-c", "small = bytearray(30_000_000)"])
    assert 30 < peak < 200 < held.nbytes / 1e6


def test_ratios_are_medians_of_pairs():
    times = {"original": [2.0, 8.0, 3.0], "ours": [1.0, 2.0, 3.0]}
    theirs, ours = training.table(times, {"original": 1.0, "ours": 2.0}, 32)
    assert theirs == {"what": "original", "images_per_second": 32 / 3, "ratio": 1.0, "peak_mb": 1.0}
    assert ours["ratio"] == 2.0 and ours["images_per_second"] == 16.0


def test_when_a_curve_gets_there():
    rows = [{"auc": 0.6, "seconds": 10.0}, {"auc": 0.7, "seconds": 20.0}]
    assert training.reached(rows, 0.65) == "0.650 after 20 s"
    assert training.reached(rows, 0.8) == "0.800 never"


def test_a_curve_is_read_from_what_a_program_prints(monkeypatch, tmp_path):
    """Both kinds of lines: train.py's, and the original's JSON."""
    (tmp_path / "train.py").write_text(
        "print('epoch 1/2:  Validation loss 0.6 accuracy 0.5 AUC 0.6116  10 img/s  1 s')"
    )
    monkeypatch.setattr(training, "ROOT", tmp_path)
    [row] = training.curve([sys.executable, "train.py"])
    assert (row["epoch"], row["auc"]) == (1, 0.6116) and row["seconds"] > 0
    (tmp_path / "other.py").write_text('print(\'{"epoch": 2, "auc": 0.7}\')')
    assert training.curve([sys.executable, "other.py"])[0]["auc"] == 0.7


def test_both_sides_load_and_train(small_set):
    """The very helpers that are measured, on a small set."""
    for command in (
        [*training.ORIGINAL, "loader", small_set, 8],
        [*training.OURS, "steps", "efficientnet_b0", small_set, 4, "cpu"],
    ):
        helper = Helper(command)
        assert helper.work(2) > 0
        helper.close()


def test_the_original_is_trained_from_the_weights_given(tmp_path):
    start = training.initial_weights("efficientnet_b0", 1, str(tmp_path))
    weights = load_file(start)
    assert load_backbone(create_model("efficientnet_b0"), weights, "efficientnet_b0")  # ours takes the head along
    torch.manual_seed(1)
    assert all(
        torch.equal(weights[name], tensor) for name, tensor in create_model("efficientnet_b0").state_dict().items()
    )
    few = make_set(tmp_path / "few", {"Train": 4, "Validation": 2})
    done = run("tools/benchmark/original.py", "train", "efficientnet_b0", few, 1, 0, start)
    row = json.loads(done.stdout)
    assert row["epoch"] == 1 and 0 <= row["auc"] <= 1


def test_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--arch", "resnet50"])
    assert stop.value.code == 2 and "train needs --data" in capsys.readouterr().err


def test_percentiles_are_values_that_occurred():
    values = [float(n) for n in range(20, 0, -1)]
    assert [serve.percentile(values, percent) for percent in (5, 50, 95, 96, 99, 100)] == [1, 10, 19, 20, 20, 20]
    assert serve.percentile([3.0], 50) == serve.percentile([3.0], 99) == 3
    assert serve.percentile([1.0, 9.0], 50) == 1  # nothing between the two


def test_an_answer_after_the_end_counts_in_part():
    assert serve.part_before(10, sent=2, answered=9) == 1
    assert serve.part_before(10, sent=8, answered=16) == 0.25
    assert serve.part_before(10, sent=10.1, answered=11) == 0


@contextmanager
def answering(*statuses: int, seconds: float = 0):
    """The port of a server that gives these statuses in turn, then always 200, and what it was sent."""
    left, bodies = list(statuses), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(seconds)
            self.send_response(left.pop(0) if left else 200)
            self.send_header("Retry-After", "0.3")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1], bodies
        server.shutdown()
        thread.join()


def test_being_refused_is_waiting():
    with answering(503, 503) as (port, bodies):
        figures = serve.load(port, 1, [serve.form(b"a"), serve.form(b"b")], 0.2)
    assert (figures["answers"], figures["refused"], len(bodies)) == (1, 2, 3)
    assert figures["p50"] == figures["worst"] > 0.6  # twice as long as Retry-After said
    assert 0 < figures["rate"] < 1 / 0.6 * 1.01  # that one answer took longer than the turn
    assert all(b"\r\n\r\na\r\n--" in body for body in bodies)  # the same image again


def test_a_load_comes_from_all_clients_for_as_long_as_told():
    with answering(seconds=0.05) as (port, bodies):
        figures = serve.load(port, 4, [serve.form(b"a"), serve.form(b"b")], 0.5)
    assert figures["answers"] == len(bodies) > 4 and figures["refused"] == 0
    assert 0.05 <= figures["p50"] <= figures["p95"] <= figures["p99"] <= figures["worst"]
    assert 20 < figures["rate"] <= 80  # four at once, and a margin for a busy machine
    assert sum(b"\r\n\r\na\r\n--" in body for body in bodies) == (len(bodies) + 1) // 2  # in turn


def test_a_server_that_fails_ends_the_benchmark():
    with answering(200, 500) as (port, _), pytest.raises(RuntimeError, match="answered 500"):
        serve.load(port, 2, [serve.form(b"a")], 0.2)
    with (
        pytest.raises(RuntimeError, match="did not start: broken"),
        serve.Server([sys.executable, "-c", "raise SystemExit('broken')"]),
    ):
        pass
    serve.check_agreement({"original": 0.7, "ours": 0.7004})
    with pytest.raises(RuntimeError, match="do not judge alike"):
        serve.check_agreement({"original": 0.7, "ours": 0.71})


def test_the_originals_server_loads_its_weights_at_every_request(tmp_path):
    """The process that is measured. Its score is that of our own detector with the same weights."""
    weights, upload = tmp_path / "model.pth", encode(make_image(True, 1, 256), "JPEG")
    with serve.Server([sys.executable, "tools/benchmark/original_server.py", "efficientnet_b0", weights]) as server:
        for seed in (0, 1):
            torch.manual_seed(seed)
            network = create_model("efficientnet_b0").eval()
            torch.save(network.state_dict(), weights)
            ours = Detector(TorchBackend(network, torch.device("cpu")), assumed_metadata("efficientnet_b0"), "random")
            answer, verdict = server.answer(serve.form(upload)), ours.judge(open_image(upload))
            assert answer["score"] == pytest.approx(verdict.score, abs=1e-5)
            assert answer["message"] == verdict.verdict
        assert server.turn(2, [serve.form(upload)], 0.1)["answers"] >= 2
        assert 100 < server.peak_mb() < 5000
        deadline = time.monotonic() + 10
        while state_of(server.process.pid) not in "Tt":
            assert time.monotonic() < deadline
            time.sleep(0.01)


def turn_of(rate: float, p95: float) -> dict:
    return {"rate": rate, "p50": p95 / 2, "p95": p95, "p99": p95 * 2, "worst": p95 * 3,
            "answers": 10 * rate, "refused": 4, "client_cores": 0.25}  # fmt: skip


def test_the_table_of_servers():
    turns = {
        "original": [turn_of(1, 4), turn_of(2, 8), turn_of(4, 6)],
        "ours": [turn_of(30, 1), turn_of(32, 1), turn_of(40, 0.5)],
    }
    row = {"clients": 8} | serve.summary(turns, {"original": 2000.0, "ours": 300.0})
    assert row["original"]["rate"] == 2 and row["ours"]["p95"] == 1 and row["ours"]["peak_mb"] == 300
    assert (row["rate_ratio"], row["p95_ratio"]) == (16, 8)  # of 30, 16, 10 and 4, 8, 12
    head, theirs, ours = serve.table([row]).splitlines()
    assert head.split("  ")[0] == "clients" and len(head) == len(ours)
    assert theirs.split() == "8 original 2.00 3.000 6.000 12.000 18.000 2000 20 4 0.25".split()
    assert ours.split() == "8 ours 32.00 0.500 1.000 2.000 3.000 300 320 4 0.25 16.0 8.0".split()
