"""Serving: requests per second, waiting and memory, against a server that loads its weights at every request.

Both servers are real processes; the clients are threads of this one, on the same cores, and what they take is told.
Each client sends one image after the other over a connection that it keeps (the original's development server closes
it after each answer). Refused as busy (503), it waits as told by Retry-After and sends the image again: all of that is
waiting. When a turn's time is up no client sends anything new, but what is in flight is waited for: its waiting counts
in full, and in the rate it counts by the part of its waiting that lay within the turn.
"""

import itertools
import json
import math
import os
import re
import signal
import statistics
import subprocess  # noqa: S404
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path

from progress import Bar
from tools.benchmark.measure import CORES, ROOT, peak_mb
from tools.benchmark.predict import make_images, make_models

CLIENTS = (1, 8, 32)
IMAGES = 50
WARM_UP = 1  # seconds, an image for each client at least
PATIENCE = 600  # seconds; an answer that takes longer ends the benchmark
AGREEMENT = 1e-3  # of the two scores of one image
TARGET = {"arch": "resnet50", "clients": 8, "rate_ratio": 15, "p95_ratio": 10}
BOUNDARY = "an-image-between"


def benchmark(arch: str, repeats: int, seconds: float) -> dict:
    """All figures, and what people read of them on stdout. seconds: of a turn."""
    print(
        f"{arch}; {CORES} cores; {repeats} pairs of turns of {seconds:g} s; medians of turns, ratios medians of pairs\n"
        f"original: eager PyTorch, {CORES} threads a request. ours: ONNX Runtime, {CORES} at once, one thread each\n"
        f"{IMAGES} JPEG images of 256x256, crops of a photograph; clients on the same cores",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        folder = Path(folder)
        weights, model, _ = make_models(arch, folder)
        uploads = [form(path.read_bytes()) for path in make_images(folder / "images", IMAGES)]
        commands = {
            "original": [sys.executable, "tools/benchmark/original_server.py", arch, weights],
            "ours": [sys.executable, "deepfake-app/server.py", "--model", model, "--port", 0],
        }
        rows = [compare(clients, commands, uploads, repeats, seconds) for clients in CLIENTS]
    print(table(rows))
    print(
        f"target, {TARGET['arch']}, {TARGET['clients']} clients, two cores: at least {TARGET['rate_ratio']} times the"
        f" requests per second, p95 at least {TARGET['p95_ratio']} times lower"
    )
    return {"arch": arch, "repeats": repeats, "seconds": seconds, "cores": CORES,
            "threads": {"original": CORES, "ours": f"{CORES} images at once, one each"},
            "images": IMAGES, "target": TARGET, "rows": rows}  # fmt: skip


def compare(clients: int, commands: dict[str, list], uploads: list, repeats: int, seconds: float) -> dict:
    """One row of the table: fresh servers, a warm-up, then turns."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(Server(command)) for name, command in commands.items()}
        check_agreement({name: server.answer(uploads[0])["score"] for name, server in servers.items()})
        for server in servers.values():
            server.turn(clients, uploads, WARM_UP)
        turns: dict[str, list[dict]] = {name: [] for name in servers}
        for _ in Bar(range(repeats), desc=f"{clients} clients"):
            for name, server in servers.items():
                turns[name].append(server.turn(clients, uploads, seconds))
        return {"clients": clients} | summary(turns, {name: server.peak_mb() for name, server in servers.items()})


def check_agreement(scores: dict[str, float]) -> None:
    """Both sides have the same weights. Raises RuntimeError where they do not do the same work."""
    if max(scores.values()) - min(scores.values()) > AGREEMENT:
        raise RuntimeError(f"the two servers do not judge alike: {scores}")


class Server:
    """A server's process, from where it listens. Between its turns the system holds it."""

    def __init__(self, command: list):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(  # noqa: S603
            [str(part) for part in command],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=self.log,
            env=os.environ | {"OMP_NUM_THREADS": str(CORES)},
        )

    def __enter__(self) -> "Server":
        try:
            self.port = self.find_port()
        except BaseException:
            self.__exit__()
            raise
        self.process.send_signal(signal.SIGSTOP)
        return self

    def __exit__(self, *_error) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()

    def find_port(self) -> int:
        """From what it says once it listens. Raises RuntimeError if it ends, or says nothing for two minutes."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", self.said()):
                return int(found[1])
            time.sleep(0.05)
        raise RuntimeError(f"a benchmarked server did not start: {self.said()}")

    def said(self) -> str:
        size = os.fstat(self.log.fileno()).st_size
        return os.pread(self.log.fileno(), size, 0).decode(errors="replace")

    def answer(self, upload: tuple[bytes, dict]) -> dict:
        """To one image; the first one waits until the server is ready."""
        self.process.send_signal(signal.SIGCONT)
        with closing(connect(self.port)) as connection:
            answer, _ = ask(connection, *upload)
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def turn(self, clients: int, uploads: list, seconds: float) -> dict:
        """The figures of one turn (see `load`)."""
        self.process.send_signal(signal.SIGCONT)
        figures = load(self.port, clients, uploads, seconds)
        self.process.send_signal(signal.SIGSTOP)
        return figures

    def peak_mb(self) -> float:
        return peak_mb(self.process.pid)


def load(port: int, clients: int, uploads: list, seconds: float) -> dict:
    """Let clients send images for that long, each at least one. Returns a rate (1/s), waiting times (s) and counts."""
    numbers, waited, counted, refused = itertools.count(), [], [], []
    worked, began = time.process_time(), time.perf_counter()

    def client(_) -> None:
        with closing(connect(port)) as connection:
            while True:
                sent = time.perf_counter()
                _, times = ask(connection, *uploads[next(numbers) % len(uploads)])
                answered = time.perf_counter()
                waited.append(answered - sent)
                counted.append(part_before(began + seconds, sent, answered))
                refused.append(times)
                if answered - began >= seconds:
                    return

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))  # the first error is raised here
    wall, worked = time.perf_counter() - began, time.process_time() - worked
    return {
        "rate": sum(counted) / seconds, "p50": percentile(waited, 50), "p95": percentile(waited, 95),
        "p99": percentile(waited, 99), "worst": max(waited), "answers": len(waited), "refused": sum(refused),
        "client_cores": worked / wall,
    }  # fmt: skip


def part_before(end: float, sent: float, answered: float) -> float:
    """How much of a request's time, from 0 to 1, lay before the end of the turn."""
    return min(1.0, max(0.0, (end - sent) / (answered - sent)))


def connect(port: int) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", port, timeout=PATIENCE)


def ask(connection: HTTPConnection, body: bytes, headers: dict, *, hurry: float = 1) -> tuple[dict, int]:
    """(the answer to an image, how often it was refused as busy and sent again).

    hurry: times sooner than Retry-After says. Raises RuntimeError for any other answer, OSError and HTTPException.
    """
    for refused in itertools.count():
        connection.request("POST", "/upload", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status == 200:
            return json.loads(content), refused
        if answer.status != 503:
            raise RuntimeError(f"a server answered {answer.status}: {content[:200].decode(errors='replace')}")
        time.sleep(float(answer.headers["Retry-After"]) / hurry)


def form(image: bytes) -> tuple[bytes, dict[str, str]]:
    """(body, headers) of an upload as a browser sends it."""
    head = 'Content-Disposition: form-data; name="file"; filename="photo.jpg"\r\nContent-Type: image/jpeg'
    body = f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def percentile(values: list[float], percent: int) -> float:
    """The smallest value that at least so many percent do not exceed: one that occurred, never an average."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def summary(turns: dict[str, list[dict]], peaks: dict[str, float]) -> dict:
    """Medians of each side's turns, and of the ratios of pairs: above 1 ours is better."""
    sides = {
        name: {figure: statistics.median(turn[figure] for turn in its) for figure in its[0]} | {"peak_mb": peaks[name]}
        for name, its in turns.items()
    }
    pairs = list(zip(turns["original"], turns["ours"], strict=True))
    return sides | {
        "rate_ratio": statistics.median(mine["rate"] / theirs["rate"] for theirs, mine in pairs),
        "p95_ratio": statistics.median(theirs["p95"] / mine["p95"] for theirs, mine in pairs),
    }


def table(rows: list[dict]) -> str:
    """For people; waiting in seconds. Answers, refusals (503) and the clients' own share of the cores are of a turn."""
    lines = [
        "clients  server      req/s   p50 s   p95 s   p99 s   worst  peak MB  answers  refused  clients' cores"
        "  times req/s  times p95"
    ]
    for row in rows:
        for name in ("original", "ours"):
            side = row[name]
            waits = "".join(f"  {side[wait]:6.3f}" for wait in ("p50", "p95", "p99", "worst"))
            lines.append(
                f"{row['clients']:7}  {name:8}  {side['rate']:7.2f}{waits}  {side['peak_mb']:7.0f}"
                f"  {side['answers']:7.0f}  {side['refused']:7.0f}  {side['client_cores']:14.2f}"
            )
        lines[-1] += f"  {row['rate_ratio']:11.1f}  {row['p95_ratio']:9.1f}"
    return "\n".join(lines)
