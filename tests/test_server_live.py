"""The listening server: bad framing, slow and lost clients, too many at once, signals, files, what it loads."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import hostile
import numpy as np
import pytest
from conftest import ROOT, run
from PIL import Image
from server_world import (
    Live,
    Network,
    Process,
    detector_of,
    form,
    part,
    photo,
    read_all,
    read_answer,
    running,
    upload,
    wait_for,
)

import predict
from bench import Models, model_files
from detector import ModelError
from imaging import faces
from problems import PROBLEMS

SHORT = {"header_seconds": 1.0, "body_seconds": 1.0}
HEAD = "POST /api/predict HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def live(network, tmp_path):
    with Live(detector_of(network, tmp_path)) as server:
        yield server


@pytest.fixture(scope="module")
def large_photo():
    """3 MB of JPEG, with a file name and a place that nobody may repeat."""
    pixels = np.random.default_rng(0).integers(0, 256, (1600, 2000, 3), dtype=np.uint8)
    data = hostile.encode(Image.fromarray(pixels), "JPEG", quality=93, exif=hostile._gps())
    assert 3_000_000 < len(data) < 4_000_000
    return data


def problem(answer: bytes) -> tuple[int, str]:
    """(status, slug) of an answer that closed the connection, with everything an error must have."""
    head, _, body = answer.partition(b"\r\n\r\n")
    found, status = json.loads(body), int(head.split()[1])
    assert b"application/problem+json" in head and b"Connection: close" in head and b"Content-Security-Policy" in head
    assert found["status"] == status and found["instance"].encode() in head and found["error"] == found["detail"]
    assert b"server:" not in head.lower()
    return status, found["type"].removeprefix("/problems/")


# -------------------------------------------------------------------------------------- row 54: bad framing

FRAMINGS = {
    "length-abc": f"{HEAD}Content-Length: abc\r\n\r\n",
    "length-negative": f"{HEAD}Content-Length: -1\r\n\r\n",
    "length-plus": f"{HEAD}Content-Length: +5\r\n\r\nhello",
    "two-lengths": f"{HEAD}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "length-and-chunks": f"{HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks-and-length": f"{HEAD}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "chunks-in-1.0": "POST /api/predict HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad-chunk": f"{HEAD}Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "chunk-without-end": f"{HEAD}Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
    "space-before-colon": "GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "folded-first": "GET /healthz HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "bare-newline": "GET /healthz HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
    "no-http": "hello\r\n\r\n",
    "lower-method": "get /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("name", FRAMINGS)
def test_bad_framing(live, network, name):
    assert problem(live.raw(FRAMINGS[name].encode("latin-1"))) == (400, "bad-request")
    assert live.get("/healthz")[0] == 200 and not network.seen
    assert live.lines[0]["status"] == 400


def test_other_ways_to_frame(live):
    assert problem(live.raw(f"{HEAD}Transfer-Encoding: gzip\r\n\r\n".encode())) == (501, "not-implemented")
    long = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + "X: " + "y" * 40_000 + "\r\n\r\n"
    assert problem(live.raw(long.encode())) == (431, "headers-too-large")
    assert b" 400 " in live.raw(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")  # without Host
    assert b" 405 " in live.raw(b"GET //api/predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    for path in ("/assets/../../x", "/%2e%2e/%2e%2e/etc/passwd", "http://localhost/nope"):
        answer = live.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert b" 404 " in answer and b"/problems/not-found" in answer


def test_chunks_are_taken(live):
    body, headers = form(part(photo()))
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i : i + 999]), body[i : i + 999]) for i in range(0, len(body), 999))
    head = f"{HEAD}Content-Type: {headers['Content-Type']}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert b" 200 " in live.raw(head.encode() + chunks + b"0\r\n\r\n")


def test_several_requests_on_one_connection(live):
    with live.connect() as client:
        for seed in range(3):
            client.sendall(upload(photo(seed)))
            assert read_answer(client)[0] == 200
        client.sendall(upload(photo(1)) + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")  # before the answer
        assert [read_answer(client)[0], read_answer(client)[0]] == [200, 200]


# ------------------------------------------------------------------------------- rows 46 and 47: too large


def test_too_large_a_body_is_refused_and_the_client_hears_why(live, network):
    """Also one that sends all of it before it listens; a connection that is reset would take the answer along."""
    status, _, answer = live.post(bytes(11 * 2**20))
    assert (status, answer["type"], answer["detail"]) == (413, "/problems/too-large", "larger than 10 MiB")
    chunk = b"100000\r\n" + bytes(2**20) + b"\r\n"
    chunks = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode() + 20 * chunk + b"0\r\n\r\n"
    assert problem(live.raw(chunks)) == (413, "too-large")
    assert problem(live.raw(f"{HEAD}Content-Length: {10**30}\r\n\r\n".encode())) == (413, "too-large")
    assert not network.seen and [line["status"] for line in live.lines] == [413] * 3


def test_nobody_is_asked_for_a_body_that_is_too_large(live):
    with live.connect() as client:
        client.sendall(f"{HEAD}Content-Length: 12000000\r\nExpect: 100-continue\r\n\r\n".encode())
        assert problem(read_all(client)) == (413, "too-large")
    body, headers = form(part(photo()))
    with live.connect() as client:
        about = f"Content-Type: {headers['Content-Type']}\r\nContent-Length: {len(body)}\r\n"
        client.sendall(f"{HEAD}{about}Expect: 100-continue\r\n\r\n".encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        client.sendall(body)
        assert read_answer(client)[0] == 200


def test_bodies_in_memory_are_bounded_together(network, tmp_path):
    with Live(detector_of(network, tmp_path), held_bytes=3 * 2**20) as live, ExitStack() as clients:
        whole = upload(photo() + bytes(2**20))
        for _ in range(2):
            client = clients.enter_context(live.connect())
            client.sendall(whole[:-10])
        third = clients.enter_context(live.connect())
        wait_for(lambda: not live.server.has_room(2**20))
        third.sendall(whole)
        assert problem(read_all(third)) == (503, "busy")
        client.sendall(whole[-10:])
        assert read_answer(client)[0] == 200
        assert live.post(photo())[0] == 200


# ------------------------------------------------------------------------------- row 59: too many at once


def test_more_uploads_than_threads(network, tmp_path):
    network.gate.clear()
    with Live(detector_of(network, tmp_path), threads=4) as live, ExitStack() as clients:
        waiting = [clients.enter_context(live.connect()) for _ in range(2)]
        for client in waiting:
            client.sendall(upload(photo()))
        wait_for(lambda: "deepfake_uploads_in_hand 2.0" in live.get("/metrics")[2].decode())
        for _ in range(3):
            began = time.perf_counter()
            status, headers, answer = live.post(photo())
            assert (status, answer["type"], headers["Retry-After"]) == (503, "/problems/busy", "1")
            assert live.get("/healthz")[0] == 200 and time.perf_counter() - began < 1
        network.gate.set()
        assert [read_answer(client)[0] for client in waiting] == [200, 200]
        assert live.post(photo())[0] == 200


# ---------------------------------------------------------------------------------- row 62: slow clients


def trickle(clients: list[socket.socket], stop: threading.Event, data: bytes = b"xx") -> None:
    """Two bytes from each client, again and again."""
    while not stop.wait(0.2):
        for client in clients:
            try:
                client.send(data)
            except OSError:
                pass


def closed(client: socket.socket) -> bool:
    client.settimeout(0)
    try:
        return client.recv(1000) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        client.settimeout(20)


def test_120_slow_clients(network, tmp_path):
    """In their headers, in their bodies, in the second request of a connection, with empty lines only, or silent."""
    starts = [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        f"{HEAD}Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000000\r\n\r\n".encode(),
        f"{HEAD}Transfer-Encoding: chunked\r\n\r\nfffff\r\n".encode(),
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /",
    ]
    stop = threading.Event()
    with Live(detector_of(network, tmp_path), header_seconds=3, body_seconds=2) as live, ExitStack() as clients:
        slow = [clients.enter_context(live.connect()) for _ in range(120)]
        began = time.monotonic()
        for number, client in enumerate(slow):
            client.sendall(starts[number % 4])
        sender = threading.Thread(target=trickle, args=(slow, stop))
        sender.start()
        try:
            times = []
            for _ in range(20):
                at = time.perf_counter()
                assert live.get("/healthz")[0] == 200
                times.append(time.perf_counter() - at)
            assert live.post(photo())[0] == 200
            assert time.monotonic() - began < 3, "too slow a machine: the slow clients may be gone already"
            assert statistics.median(times) < 0.05
            wait_for(lambda: all(map(closed, slow)), 12)
            assert 3 <= time.monotonic() - began < 9
        finally:
            stop.set()
            sender.join()
        wait_for(lambda: not live.server.active_channels)


def test_empty_lines_and_silence_are_no_way_to_stay(network, tmp_path):
    stop = threading.Event()
    with Live(detector_of(network, tmp_path), **SHORT) as live, live.connect() as empty, live.connect() as silent:
        sender = threading.Thread(target=trickle, args=([empty], stop, b"\r\n\r\n"))
        sender.start()
        try:
            wait_for(lambda: closed(empty) and closed(silent), 6)
        finally:
            stop.set()
            sender.join()


def test_a_deadline_is_one_request_s_not_the_connection_s(network, tmp_path):
    with Live(detector_of(network, tmp_path), **SHORT) as live, live.connect() as client:
        began = time.monotonic()
        while time.monotonic() - began < 2.3:  # longer than both deadlines together
            client.sendall(upload(photo()))
            assert read_answer(client)[0] == 200
            time.sleep(0.4)
        time.sleep(2.3)  # between two requests it may be silent for longer
        client.sendall(upload(photo()))
        assert read_answer(client)[0] == 200


def test_a_request_may_take_longer_to_judge_than_to_send(network, tmp_path):
    network.gate.clear()
    with Live(detector_of(network, tmp_path), **SHORT) as live, live.connect() as client:
        client.sendall(upload(photo()))
        time.sleep(2.3)  # longer than both deadlines together
        network.gate.set()
        assert read_answer(client)[0] == 200


def test_idle_connections_end(network, tmp_path):
    with Live(detector_of(network, tmp_path), idle_seconds=1) as live, live.connect() as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_answer(client)[0] == 200
        wait_for(lambda: closed(client), 5)


def test_a_refused_client_that_sends_on_for_ever(network, tmp_path):
    stop = threading.Event()
    with Live(detector_of(network, tmp_path), **SHORT) as live, live.connect() as client:
        client.sendall(f"{HEAD}Content-Length: {10**9}\r\n\r\n".encode())
        sender = threading.Thread(target=trickle, args=([client], stop))
        sender.start()
        try:
            assert problem(read_all(client)) == (413, "too-large")
            assert live.server.active_channels  # it may still hear that
            wait_for(lambda: not live.server.active_channels, 6)
        finally:
            stop.set()
            sender.join()


# ------------------------------------------------------------------------------ row 64: clients that leave


def test_a_client_that_leaves_is_not_judged(network, tmp_path, capfd):
    detector = detector_of(network, tmp_path)
    network.concurrent = False
    network.gate.clear()
    with Live(detector) as live:
        with live.connect() as first:
            first.sendall(upload(photo(1)))
            wait_for(lambda: network.now == 1)
            with live.connect() as second:
                second.sendall(upload(photo(2)))
                wait_for(lambda: "deepfake_queue_depth 1.0" in live.get("/metrics")[2].decode())
            wait_for(lambda: any(line["status"] == 499 for line in live.lines))
            network.gate.set()
            assert read_answer(first)[0] == 200
        for _ in range(20):  # in the middle of an upload, or just before the answer
            with live.connect() as gone:
                gone.sendall(upload(photo())[: -5 if _ % 2 else None])
        assert live.post(photo(3))[0] == 200
    assert len(network.seen) <= 12 and capfd.readouterr() == ("", "")
    assert not any("error" in line for line in live.lines)


# ------------------------------------------------------------------ the process: signals, files, log, modules


def test_sigterm_answers_what_is_in_flight(exported, large_photo):
    with running("--model", exported) as server, ExitStack() as clients:
        judged, half, idle = (clients.enter_context(server.connect()) for _ in range(3))
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_answer(idle)[0] == 200
        half.sendall(upload(photo())[:-100])  # still being sent
        judged.sendall(upload(large_photo, "/api/predict?explain=1"))
        wait_for(lambda: "deepfake_uploads_in_hand 1.0" in server.get("/metrics")[2].decode())
        server.process.send_signal(signal.SIGTERM)
        assert read_answer(judged)[0] == 200
        time.sleep(0.3)
        half.sendall(upload(photo())[-100:])
        assert b" 200 OK" in read_all(half)
        assert read_all(idle) == b""
        assert server.wait() == 0
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_ctrl_c_and_a_second_signal(exported):
    with running("--model", exported) as server:
        assert server.end(signal.SIGINT) == 130
    with running("--model", exported) as server, server.connect() as client:
        client.sendall(upload(photo())[:-100])
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.process.poll() is None
        assert server.end() == 128 + signal.SIGTERM


def files_of(pid: int) -> set[str]:
    """What a process has open, deleted files too; sockets and pipes aside, and /proc, which its allocator reads."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if not target.startswith(("socket:", "pipe:", "anon_inode:", "/dev/", "/proc/")):
            found.add(target)
    return found


def test_a_photo_of_3_mb_is_never_a_file(exported, large_photo):
    whole, seen, stop = upload(large_photo), set(), threading.Event()
    with running("--model", exported) as server:
        assert server.post(photo())[0] == 200
        before = files_of(server.pid)
        assert server.post(large_photo)[0] == 200  # Pillow imports what reads its EXIF, and modules are files too
        assert files_of(server.pid) <= before

        def watch():
            while not stop.is_set():
                seen.update(files_of(server.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        for _ in range(3):
            with server.connect() as client:
                client.sendall(whole[:-1])
                time.sleep(0.2)  # all of it but one byte lies there
                client.sendall(whole[-1:])
                assert read_answer(client)[0] == 200
        stop.set()
        watcher.join()
        assert seen <= before


def test_no_temporary_file_is_asked_for(live, network, large_photo, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a temporary file")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    monkeypatch.setattr("werkzeug.formparser.SpooledTemporaryFile", refuse)
    assert live.post(large_photo)[0] == 200
    network.explains = True
    network.class_map = lambda batch: batch.mean(1)
    status, _, answer = live.post(large_photo, "/api/predict?explain=1")
    assert status == 200 and answer["heatmap"]


def test_its_log_is_json_without_names_places_or_addresses(exported, large_photo):
    body, headers = form(part(large_photo, filename="my-secret-name.jpg"))
    with running("--model", exported) as server:
        assert server.ask("POST", "/api/predict?x=my-secret", body, headers)[0] == 200
        assert server.get("/my-secret-path")[0] == 404
        assert problem(server.raw(b"GET /my-secret HTTP/1.1\r\nMy-Secret\r\n\r\n"))[0] == 400
        assert server.post(large_photo[:3000])[0] in (415, 422)
        assert server.end() == 0
        *_, lost, refused, damaged = server.lines
        [good] = [line for line in server.lines if line.get("verdict")]
        assert (lost["status"], refused["status"], damaged["status"]) == (404, 400, 422)
        assert (good["format"], good["size"], good["bytes"]) == ("JPEG", [2000, 1600], len(large_photo))
        for word in ("secret", hostile.GPS_MARK.decode(), '"127.0.0.1'):
            assert word not in server.text
        plain = [line for line in server.said if not line.startswith("{")]
        assert len(plain) == 2 and plain[0].startswith("listening on") and plain[1].startswith("ready: tiny.onnx, ONNX")
        assert server.process.stdout.read() == ""


ASKING = """
import io, sys
sys.path.insert(0, "deepfake-app")
import server
from appconfig import Config
from bench import Models, model_files
from webapp import create_app
models = Models(model_files(sys.argv[1]))
app = create_app(models, Config(log=lambda line: None))
models.load(app.bench.prepare)
for path in ("/api/predict?explain=1", "/upload"):
    answer = app.test_client().post(path, data={"file": (open(sys.argv[2], "rb"), "x.png")})
    assert answer.status_code == 200, answer.text
for path in ("/", "/metrics", "/api/model", "/api/openapi.json"):
    assert app.test_client().get(path).status_code == 200
print(*sys.modules)
"""


def test_serving_an_onnx_model_loads_only_what_its_image_installs(exported, tmp_path):
    """No torch, no scikit-learn, no matplotlib: nothing but deepfake-app/requirements.txt and what that brings."""
    (tmp_path / "photo.png").write_bytes(photo())
    done = subprocess.run(
        [sys.executable, "-c", ASKING, str(exported), str(tmp_path / "photo.png")],
        cwd=ROOT, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    modules = {name.split(".")[0] for name in done.stdout.split()}
    assert {"onnxruntime", "flask", "waitress"} <= modules
    assert not {"torch", "torchvision", "timm", "onnx", "sklearn", "scipy", "matplotlib", "train", "predict"} & modules
    owners = packages_distributions()
    used = {normal(owner) for name in modules & owners.keys() for owner in owners[name]}
    lines = (ROOT / "deepfake-app/requirements.txt").read_text().splitlines()
    allowed = closure({normal(line.split("==")[0]) for line in lines if line.strip() and not line.startswith("#")})
    assert used <= allowed | {"setuptools"}  # Python's own start-up may load that


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(names: set[str]) -> set[str]:
    """Packages and all that they require."""
    found, new = set(), set(names)
    while new:
        found |= new
        required = [line for name in new for line in distribution(name).requires or () if "extra ==" not in line]
        new = {normal(re.match(r"[\w.-]+", line).group()) for line in required} - found
        new = {name for name in new if any(normal(d) == name for ds in packages_distributions().values() for d in ds)}
    return found


def test_its_answers_are_the_command_line_s(exported, small_set, capsys):
    """Several at once, through the network, against predict.py."""
    images = sorted((small_set / "Test").rglob("*.png"))
    assert predict.main([*map(str, images), "--model", str(exported), "--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    answers = {}

    def ask(server, image):
        while (answer := server.post(image.read_bytes()))[0] == 503:
            time.sleep(0.1)
        answers[image] = answer

    with running("--model", exported, "--threads", 4) as server:
        threads = [threading.Thread(target=ask, args=(server, image)) for image in images]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    for image, expected in zip(images, said, strict=True):
        status, _, answer = answers[image]
        assert status == 200 and answer["verdict"] == expected["verdict"] and answer["model"] == expected["model"]
        assert answer["score"] == pytest.approx(expected["score"], abs=1e-4)


# -------------------------------------------------------------------------- row 66 and on: how it refuses


@pytest.mark.parametrize("name", ["nan.pth", "cut.safetensors", "newer.safetensors"])
def test_model_files_it_refuses(tmp_path, name):
    """The first while it listens already, the others before."""
    case, path = hostile.MODELS[name], tmp_path / name
    case.write(path)
    with Process("--model", path) as server:
        assert server.wait() == 3
        assert server.said[-1].startswith(f"server.py: error: {path}: ") and case.says in server.said[-1]
        assert ("listening on" in server.text) == (name == "nan.pth") and "Traceback" not in server.text


BUSY = """
import runpy, sys, threading, time
import torch
def drop():
    while True:
        [torch.nn.Linear(3, 3) for _ in range(50)]
for _ in range(3):
    threading.Thread(target=drop, daemon=True).start()
time.sleep(0.2)
sys.path.insert(0, "deepfake-app")
sys.argv = ["server.py", "--model", "nowhere.onnx"]
runpy.run_path("deepfake-app/server.py", run_name="__main__")
"""


def test_its_exit_status_is_its_own_whatever_its_threads_do():
    """A thread inside a destructor of torch, while Python ends, aborts the process."""
    done = subprocess.run([sys.executable, "-c", BUSY], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (3, "") and "nowhere.onnx: model file not found" in done.stderr


def test_code_in_a_model_file_is_not_run(tmp_path):
    hostile.MODELS["code-zip.pth"].write(tmp_path / "x.pth")
    with pytest.raises(ModelError, match="x.pth: refused: the file contains code"):
        Models(model_files(str(tmp_path))).load(lambda detector: None)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_what_is_refused_before_it_listens(tmp_path, exported):
    (tmp_path / "empty").mkdir()
    with ExitStack() as taken:
        occupied = taken.enter_context(socket.create_server(("127.0.0.1", 0)))
        for arguments, status, says in (
            (("--model", tmp_path / "nowhere.onnx"), 3, "nowhere.onnx: model file not found"),
            (("--model", tmp_path / "empty"), 3, "is a directory without a model file"),
            (("--model", exported, "--port", occupied.getsockname()[1]), 1, "cannot listen on 127.0.0.1:"),
            (("--model", exported, "--host", "no.such.host.invalid"), 1, "cannot listen on no.such.host.invalid"),
            (("--model", exported, "--threads", 2), 2, "must be from 3 to 64"),
            (("--model", exported, "--port", 70_000), 2, "must be from 0 to 65535"),
        ):
            done = run("deepfake-app/server.py", *arguments)
            assert (done.returncode, done.stdout) == (status, "") and says in done.stderr, done.stderr
            assert "listening" not in done.stderr and "Traceback" not in done.stderr


def test_a_folder_of_models(exported, trained, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/b.onnx").write_bytes(exported.read_bytes())
    (tmp_path / "a.onnx").write_bytes(exported.read_bytes())
    with running("--model", tmp_path, "--rate-limit", 2, "--trusted-host", "Detector.example", cwd=tmp_path,
                 program=str(ROOT / "deepfake-app/server.py")) as server:  # fmt: skip
        assert json.loads(server.get("/api/models")[2]) == {"models": ["a.onnx", "deep/b.onnx"]}
        assert server.post(photo())[2]["model"]["name"] == "a.onnx"
        assert server.post(photo(), "/api/predict?model=deep/b.onnx")[2]["model"]["name"] == "deep/b.onnx"
        assert server.post(photo())[0] == 429
        assert server.ask("GET", "/healthz", headers={"Host": "detector.example:80"})[0] == 200
        assert server.end() == 0
    (tmp_path / "deep/c.onnx").write_bytes(b"no model")
    with Process("--model", tmp_path) as server:
        assert server.wait() == 3 and "c.onnx: damaged ONNX file" in server.text


def test_a_checkpoint_beside_its_onnx_file_is_not_served_too(exported, trained, tmp_path):
    """As in models/: one detector in two files, its card, and the face finder."""
    for name, source in (
        ("default.onnx", exported), ("default.safetensors", trained / "best.safetensors"),
        ("other.safetensors", trained / "last.safetensors"), (faces.MODEL.name, faces.MODEL),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(source.read_bytes())
    (tmp_path / "default.card.json").write_text('{"data": ["faces"]}')
    assert list(model_files(str(tmp_path))) == ["default.onnx", "other.safetensors"]
    (tmp_path / "other.safetensors").unlink()
    with running("--model", tmp_path) as server:
        assert json.loads(server.get("/api/models")[2]) == {"models": ["default.onnx"]}
        assert "ready: default.onnx, ONNX Runtime" in server.text
        assert json.loads(server.get("/api/model")[2])["data_notes"] == ["faces"]
        assert server.end() == 0


WITHOUT_MODEL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv.pop(1))
import server
server.DEFAULT_MODEL = Path(sys.argv.pop(1))
sys.exit(server.main())
"""


def test_without_a_model_the_one_that_ships_is_served(exported, tmp_path):
    """Another file stands for it. Called from anywhere."""
    given = (WITHOUT_MODEL, ROOT / "deepfake-app")
    with running(*given, exported, program="-c", cwd=tmp_path) as server:
        assert server.post(photo())[2]["model"]["name"] == exported.name
        assert server.end() == 0
    missing = tmp_path / "models/default.onnx"
    with Process(*given, missing, program="-c", cwd=tmp_path) as server:
        assert server.wait() == 3
        assert server.said == [f"server.py: error: {missing}: model file not found; name a detector with --model\n"]


def test_reload_starts_it_again(exported, tmp_path):
    """With a copy of the program, whose file then changes."""
    for name in (
        "detector",
        "imaging",
        "judging",
        "models",
        "files.py",
        "memory.py",
        "names.py",
        "quiet.py",
        "deepfake-app",
    ):
        if name == "deepfake-app":
            (tmp_path / name).mkdir()
            for path in (ROOT / name).glob("*.*"):
                (tmp_path / name / path.name).write_bytes(path.read_bytes())
        else:
            (tmp_path / name).symlink_to(ROOT / name)
    with running("--model", exported, "--reload", program="deepfake-app/server.py", cwd=tmp_path) as server:
        assert server.text.count("listening on") == 1
        changed = tmp_path / "deepfake-app/about.py"
        changed.write_text(changed.read_text() + "\n")
        wait_for(lambda: server.text.count("listening on") == 2, 30)
        assert server.end() == 0


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_manual_s_commands_run(exported, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(photo(1, 64, "JPEG"))
    (tmp_path / "default.onnx").write_bytes(exported.read_bytes())
    commands = re.findall(r"^curl .*$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    assert len(commands) >= 11
    with running("--model", tmp_path / "default.onnx") as server:
        for command in commands:
            there = command.replace("127.0.0.1:5000", f"127.0.0.1:{server.port}")
            done = subprocess.run([*shlex.split(there), "-sf"], cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0 and len(done.stdout) > 10, command


def test_the_manual_lists_every_problem():
    text = (ROOT / "docs/api.md").read_text()
    for slug, (status, _) in PROBLEMS.items():
        if slug != "client-gone":  # nobody receives it
            assert re.search(rf"^\| {status} \|.*`{slug}`", text, re.MULTILINE), slug
