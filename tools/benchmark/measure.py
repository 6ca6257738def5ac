"""How a program is measured: as a whole process, from outside."""

import os
import re
import signal
import subprocess  # noqa: S404
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CORES = len(os.sched_getaffinity(0))


def measure(command: list) -> tuple[float, float]:
    """(wall seconds, peak MB) of a process, the memory by the operating system's own account of it."""
    began = time.perf_counter()
    program = subprocess.Popen(  # noqa: S603
        [str(part) for part in command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with program.stderr:
        said = program.stderr.read()
    _, status, usage = os.wait4(program.pid, 0)
    program.returncode = os.waitstatus_to_exitcode(status)
    if program.returncode:
        raise RuntimeError(said.decode())
    return time.perf_counter() - began, usage.ru_maxrss / 1024


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
