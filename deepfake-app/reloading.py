"""Start the server again whenever one of its source files changes. For developing."""

import signal
import subprocess  # noqa: S404
import sys
import time
from collections.abc import Iterator
from pathlib import Path

WATCHED = (".", "deepfake-app", "detector", "evaluation", "imaging")  # below the project's root
PAUSE = 0.5  # seconds between two looks


def run_again_on_changes(root: Path, arguments: list[str]) -> int:
    """Run server.py with these arguments until SIGTERM or Ctrl-C. Returns the exit status of the last one."""
    command = [sys.executable, str(root / "deepfake-app/server.py"), *arguments]
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stopped.append(number))
    while True:
        before = dict(changed_times(root))
        server = subprocess.Popen(command)  # noqa: S603
        while not stopped and dict(changed_times(root)) == before:
            time.sleep(PAUSE)  # also when it has failed: the next change may mend it
        server.send_signal(stopped[0] if stopped else signal.SIGTERM)
        status = server.wait()
        if stopped:
            return status


def changed_times(root: Path) -> Iterator[tuple[Path, float]]:
    for folder in WATCHED:
        for path in (root / folder).glob("*.py"):
            yield path, path.stat().st_mtime
