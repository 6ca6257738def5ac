"""What the server may be told, and its limits."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

FORM_BYTES = 64 * 2**10  # of one text field of an upload, which nobody needs
FORM_PARTS = 8
ENVELOPE_BYTES = 128 * 2**10  # what a form may add to the image itself
MEDIA_TYPES = (  # JPEG first: the page's chooser asks for it, and a phone's browser then converts its HEIC
    "image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff", "image/avif", "image/heic",
)  # fmt: skip


def say(line: str) -> None:
    """A line on stderr, in one write: print makes two, and another thread's line could come between them."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def log_to_stderr(line: dict) -> None:
    say(json.dumps(line, ensure_ascii=False))


@dataclass(frozen=True)
class Config:
    """Settings of one server. Those below `log` are for the listener, and are changed by tests only."""

    threads: int = 16  # that answer; two of them are kept free of uploads
    rate: int = 0  # judgements a minute for one address; 0: no limit
    trusted_hosts: tuple[str, ...] = ()  # names it is reached by, besides localhost and plain IP addresses
    cors_origins: tuple[str, ...] = ()  # other origins whose pages may call the API
    page: Path = HERE / "web" / "dist"  # the built page
    log: Callable[[dict], None] = log_to_stderr

    header_seconds: float = 30  # for a request's headers, from its first byte (the first one's: from the connection)
    body_seconds: float = 60  # for its body after that; also to take an answer, and to hear why a body is refused
    idle_seconds: int = 60  # between two requests of a connection
    grace_seconds: float = 20  # for what is in flight when the server is told to stop
    connections: int = 200
    held_bytes: int = 512 * 2**20  # of bodies that are being received or wait, all connections together

    @property
    def uploads(self) -> int:
        """Uploads in hand at once, so that two threads always answer everything else."""
        return max(1, self.threads - 2)
