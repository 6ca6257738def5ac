"""Servers to ask: an application with a made-up network, a listening one in this process, and a process of its own."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from conftest import ROOT, make_image
from hostile import encode

sys.path.insert(0, str(ROOT / "deepfake-app"))

import listener  # noqa: E402
from appconfig import Config  # noqa: E402
from detector import Detector, Metadata  # noqa: E402
from detector.backend import Backend  # noqa: E402
from imaging.preprocess import Preprocess  # noqa: E402
from webapp import create_app, refuse  # noqa: E402

BOUNDARY = "----what-browsers-send"


class Network(Backend):
    """Stands in for a network: logits that depend on every pixel. Keeps what it saw; may be held up, or broken."""

    concurrent = True

    def __init__(self):
        self.seen, self.gate, self.error = [], threading.Event(), None
        self.gate.set()
        self.now = self.most = 0  # judging at once
        self.lock = threading.Lock()

    def __call__(self, batch):
        batch = np.asarray(batch)
        with self.lock:
            self.seen += list(batch)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            assert self.gate.wait(20)
            if self.error is not None:
                raise self.error
            return np.stack([batch.mean((1, 2, 3)), batch.std((1, 2, 3))], 1)
        finally:
            with self.lock:
                self.now -= 1


def detector_of(backend, folder: Path, name: str = "fake.onnx", **metadata) -> Detector:
    """A detector around any function from images to logits."""
    path = folder / name
    path.write_bytes(name.encode())
    return Detector(backend, Metadata("tiny", Preprocess(48), **metadata), path)


def photo(seed: int = 1, size: int = 64, kind: str = "PNG", **options) -> bytes:
    return encode(make_image(bool(seed % 2), seed, size), kind, **options)


def part(data: bytes, *, name: str = "file", filename: str | bytes | None = "photo.jpg") -> bytes:
    """One field of a form; without a file name it is text."""
    name, filename = (text.encode() if isinstance(text, str) else text for text in (name, filename))
    about = b'Content-Disposition: form-data; name="%s"' % name
    if filename is not None:
        about += b'; filename="%s"\r\nContent-Type: image/jpeg' % filename
    return about + b"\r\n\r\n" + data


def form(*parts: bytes) -> tuple[bytes, dict[str, str]]:
    """(body, headers) of a multipart/form-data upload."""
    mark = b"--" + BOUNDARY.encode()
    body = b"".join(mark + b"\r\n" + one + b"\r\n" for one in parts) + mark + b"--\r\n"
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def upload(data: bytes, path: str = "/api/predict", *, more: str = "") -> bytes:
    """A whole HTTP request, as bytes."""
    body, headers = form(part(data))
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {headers['Content-Type']}\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Asking:
    """Ways to ask a listening server; `port` is its own."""

    port: int

    def get(self, path: str) -> tuple[int, dict, bytes]:
        return self.ask("GET", path)

    def post(self, data: bytes, path: str = "/api/predict") -> tuple[int, dict, dict]:
        body, headers = form(part(data))
        status, headers, answer = self.ask("POST", path, body, headers)
        return status, headers, json.loads(answer)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict | None = None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def raw(self, data: bytes) -> bytes:
        """Everything that comes back until the server closes the connection."""
        with self.connect() as client:
            client.sendall(data)
            return read_all(client)


def read_all(client: socket.socket) -> bytes:
    found = b""
    while more := client.recv(65536):
        found += more
    return found


def read_answer(client: socket.socket) -> tuple[int, bytes]:
    """(status, body) of one answer with a Content-Length; the connection stays open."""
    found = b""
    while not found.endswith(b"\r\n\r\n"):
        found += _more(client, 1)  # no byte of the next answer
    left = int(re.search(rb"(?i)content-length: (\d+)", found).group(1))
    body = b""
    while len(body) < left:
        body += _more(client, left - len(body))
    return int(found.split()[1]), body


def _more(client: socket.socket, most: int) -> bytes:
    found = client.recv(most)
    if not found:
        raise ConnectionError("closed before its answer was complete")
    return found


class Live(Asking):
    """A listening server in a thread of this process."""

    def __init__(self, detectors, **settings):
        self.lines: list[dict] = []
        self.app = create_app(detectors, Config(log=self.lines.append, **settings))
        listening = listener.listen("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        self.server = listener.Server(self.app, listening, self.app.settings, partial(refuse, self.app))
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()

    def __enter__(self) -> "Live":
        return self

    def __exit__(self, *_error) -> None:
        self.server.stop()
        self.thread.join(30)
        assert not self.thread.is_alive()


class Process(Asking):
    """The real program."""

    def __init__(self, *arguments: object, program: str = "deepfake-app/server.py", cwd: Path = ROOT):
        command = [sys.executable, program, *map(str, arguments), "--port", "0"]
        self.process = subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        self.said: list[str] = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        for line in self.process.stderr:
            self.said.append(line)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def text(self) -> str:
        return "".join(self.said)

    @property
    def lines(self) -> list[dict]:
        """Its log."""
        return [json.loads(line) for line in self.said if line.startswith("{")]

    def ready(self) -> "Process":
        wait_for(lambda: "listening on" in self.text or self.process.poll() is not None, 60)
        self.port = int(re.search(r"listening on http://\S+:(\d+)", self.text).group(1))
        wait_for(lambda: self.get("/readyz")[0] == 200, 60)
        return self

    def end(self, number: int = signal.SIGTERM) -> int:
        """Its exit status after a signal."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        status = self.process.wait(60)
        self.reader.join(10)
        return status

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_error) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)
        self.reader.join(10)
        self.process.stdout.close()
        self.process.stderr.close()


def wait_for(true, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not true after {seconds} seconds"
        time.sleep(0.02)


@contextmanager
def running(*arguments: object, **options):
    """The real program, ready to judge."""
    with Process(*arguments, **options) as process:
        yield process.ready()


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
