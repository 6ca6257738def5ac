"""Programs of the project in processes forked from one that has imported PyTorch already: it takes some four seconds.

For tests of what a process does: that it is killed, asked to stop, one of several. That a program starts as a user
starts it is what conftest.run shows. Such processes draw one hash seed, another than that of the tests.
"""

import multiprocessing
import os
import runpy
import socket
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

from conftest import ROOT

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["train", "onnxruntime"])


def start(said: Path, program: str, *arguments: object, **environment: str) -> BaseProcess:
    """What it says goes to the file `said`, stdout and stderr. `exitcode` after join() is its status."""
    process = CONTEXT.Process(target=_be, args=(said, [program, *map(str, arguments)], environment))
    process.start()
    return process


def start_ranks(said: Path, size: int, program: str, *arguments: object) -> list[BaseProcess]:
    """Processes that work as one, with what torchrun tells each. What rank n says goes to `said`.n."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        start(said.with_suffix(f".{n}"), program, *arguments, **told, RANK=str(n), LOCAL_RANK=str(n))
        for n in range(size)
    ]


def end(*processes: BaseProcess, seconds: float = 150) -> list[int]:
    """Their exit statuses; a negative one is the signal that ended it."""
    for process in processes:
        process.join(seconds)
        assert process.exitcode is not None, f"not ended after {seconds} seconds"
    return [process.exitcode for process in processes]


def _be(said: Path, command: list[str], environment: dict[str, str]) -> None:
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(ROOT)
    os.environ.update(environment)
    multiprocessing.set_start_method(None, force=True)  # of its own children: the usual one, not that of this process
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")
