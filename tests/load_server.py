"""Many requests from many clients against the real server: is one lost, is one answer off, does memory grow?

    python tests/load_server.py --model best.onnx --images data/Test --requests 10000 --clients 32

Each client keeps one connection and sends one image after the other; when the server is busy (503) it waits as told
and sends it again. At the end stdout gets one line of JSON. Status 1 when a request was lost, an answer differs from
predict.py's by more than 1e-4, or memory grew by more than a twentieth from the first thousand requests to the last.
"""

import argparse
import http.client
import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

TESTS = Path(__file__).parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from server_world import resident, running  # noqa: E402

from imaging.listing import list_pictures  # noqa: E402
from tools.benchmark.serve import ask, form, percentile  # noqa: E402

TOLERANCE = 1e-4
GROWTH = 1.05
SAMPLE = 20  # requests between two looks at the memory


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    images = list(list_pictures(args.images).pictures)[: args.different]
    expected = scores_of(images, args.model)
    with running("--model", args.model, "--threads", args.threads) as server:
        load = Load(server, [(image.read_bytes(), expected[str(image)]) for image in images], args.requests)
        began = time.monotonic()
        clients = [threading.Thread(target=load.client) for _ in range(args.clients)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        found = load.summary(time.monotonic() - began)
        found["exit_status"] = server.end()
    print(json.dumps(found))
    grown = found["memory_mb_last"] > GROWTH * found["memory_mb_first"]
    return int(bool(found["lost"] or found["worst_difference"] > TOLERANCE or grown or found["exit_status"]))


def scores_of(images: list[Path], model: str) -> dict[str, float]:
    """predict.py's scores, by path."""
    command = [sys.executable, str(TESTS.parent / "predict.py"), "--model", model, "--json", *map(str, images)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {answer["file"]: answer["score"] for answer in map(json.loads, lines)}


class Load:
    """What all clients share."""

    def __init__(self, server, images: list[tuple[bytes, float]], requests: int):
        self.server, self.total = server, requests
        self.bodies = [(*form(data), score) for data, score in images]
        self.numbers, self.lock = itertools.count(), threading.Lock()
        self.seconds, self.differences, self.lost, self.busy = [], [], [], 0
        self.memory: list[tuple[int, int]] = []  # (requests answered, bytes)

    def client(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        while (number := next(self.numbers)) < self.total:
            body, headers, score = self.bodies[number % len(self.bodies)]
            try:
                self.send(connection, body, headers, score)
            except (OSError, http.client.HTTPException, RuntimeError, ValueError, KeyError) as error:
                self.lost.append(f"{type(error).__name__}: {error}")
                connection.close()
        connection.close()

    def send(self, connection: http.client.HTTPConnection, body: bytes, headers: dict, score: float) -> None:
        began = time.perf_counter()
        answer, busy = ask(connection, body, headers, hurry=10)
        with self.lock:
            self.busy += busy
            self.seconds.append(time.perf_counter() - began)
            self.differences.append(abs(answer["score"] - score))
            if len(self.seconds) % SAMPLE == 0:
                self.memory.append((len(self.seconds), resident(self.server.pid)))

    def summary(self, wall: float) -> dict:
        part_size = min(1000, self.total // 4)
        first = [size for at, size in self.memory if at <= part_size]
        last = [size for at, size in self.memory if at > self.total - part_size]
        return {
            "requests": self.total,
            "answered": len(self.seconds),
            "lost": len(self.lost),
            "reasons": sorted(set(self.lost))[:5],
            "busy_and_sent_again": self.busy,
            "worst_difference": max(self.differences, default=None),
            "requests_per_second": round(len(self.seconds) / wall, 1),
            **{f"p{percent}_ms": round(1000 * percentile(self.seconds, percent), 1) for percent in (50, 95, 99)},
            "memory_mb_first": round(statistics.median(first) / 1e6, 1),
            "memory_mb_last": round(statistics.median(last) / 1e6, 1),
        }


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", required=True)
    add("--images", required=True, help="folder")
    add("--requests", type=int, default=10_000)
    add("--clients", type=int, default=32)
    add("--different", type=int, default=50, help="images that are taken in turn")
    add("--threads", type=int, default=8, help="of the server")
    return parser.parse_args(argv)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.exit(main())
