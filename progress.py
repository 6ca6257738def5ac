"""How far long work has come: a bar on a terminal, a line now and then elsewhere (a log, a pipe, a batch system).

for item in Bar(items, desc="indexing", unit="img"):
    ...
"""

import sys
from typing import TextIO

from tqdm import tqdm

EVERY = 30.0  # seconds between two lines


class Bar(tqdm):
    """tqdm's bar, or lines such as "indexing: 4,200 of 16,001 img, 1 min 10 s, about 3 min left" on stderr."""

    def __init__(self, *args, file: TextIO | None = None, **options):
        out = file or sys.stderr
        self.lines = not out.isatty()
        if self.lines:
            options |= {"mininterval": EVERY, "maxinterval": EVERY, "miniters": 1}
        super().__init__(*args, file=out, leave=False, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Called by tqdm when it is time."""
        if not self.lines:
            super().display(msg, pos)
        elif self.n > self.initial:
            print(self.line(), file=self.fp, flush=True)

    def line(self) -> str:
        passed = self._time() - self.start_t
        of = f"{self.n:,}" + (f" of {self.total:,}" if self.total else "")
        left = ""
        if self.total:
            left = f", about {duration(passed * (self.total - self.n) / (self.n - self.initial))} left"
        return f"{self.desc.removesuffix(': ') or 'done'}: {of} {self.unit}, {duration(passed)}{left}"

    def close(self) -> None:
        if self.lines and not self.disable:  # tqdm would wipe the bar away that was never drawn
            self.disable = True
            self._decr_instances(self)
        super().close()


def say(message: str) -> None:
    """A line on stderr, at once."""
    print(message, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """70 to "1 min 10 s", 4000 to "1 h 6 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
