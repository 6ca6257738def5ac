"""How a program is measured: as a whole process, from outside."""

import os
import re
import signal
import subprocess  # noqa: S404
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CORES = len(os.sched_getaffinity(0))


# Starts a program and waits for it. Between us and the program, since Linux counts into a program's peak memory what
# the process that started it had held: this one holds next to nothing.
STARTER = """
import os, sys, time
began = time.perf_counter()
silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
program = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=silent)
_, status, usage = os.wait4(program, 0)
print(time.perf_counter() - began, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status))
"""


def measure(command: list) -> tuple[float, float]:
    """(wall seconds, peak MB) of a process, the memory by the operating system's own account of it."""
    starter = [sys.executable, "-I", "-S", "-c", STARTER]
    done = subprocess.run(  # noqa: S603
        [*starter, *(str(part) for part in command)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seconds, peak, status = done.stdout.split()
    if status != "0":
        raise RuntimeError(done.stderr)
    return float(seconds), float(peak)


class Helper:
    """A process that does a piece of work whenever it is told how much, and stands still in between.

    Two of them can take turns on one machine, each with its program loaded. Their protocol: a line "ready", then for
    each number on stdin a line with the seconds that it took. In between, the system holds it and its workers, which
    would otherwise load ahead in the other one's time.
    """

    def __init__(self, command: list):
        self.process = subprocess.Popen(  # noqa: S603
            [str(part) for part in command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        began = time.perf_counter()
        self.expect("ready")
        self.start = time.perf_counter() - began  # seconds

    def expect(self, word: str) -> list[str]:
        """The rest of the next line, which begins with that word."""
        line = self.process.stdout.readline().split()
        if line[:1] != [word]:
            self.process.kill()
            self.process.communicate()
            raise RuntimeError(f"a benchmarked program said {' '.join(line)!r} instead of {word!r}")
        return line[1:]

    def work(self, amount: int) -> float:
        """Seconds for that much work, by the helper's own clock."""
        os.killpg(self.process.pid, signal.SIGCONT)
        self.process.stdin.write(f"{amount}\n")
        self.process.stdin.flush()
        seconds = float(self.expect("seconds")[0])
        os.killpg(self.process.pid, signal.SIGSTOP)
        return seconds

    def close(self) -> float:
        """End it. Returns its peak memory in MB, files that it has mapped included."""
        peak = peak_mb(self.process.pid)
        os.killpg(self.process.pid, signal.SIGCONT)
        self.process.stdin.close()
        self.process.stdout.close()
        if self.process.wait():
            raise RuntimeError(f"a benchmarked program ended with status {self.process.returncode}")
        return peak


def peak_mb(pid: int) -> float:
    """The most memory that a running process has held so far; unlike its parent's account, nothing of its parent's."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1024
