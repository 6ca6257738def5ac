"""How a tool ends: what went wrong is one line on stderr, and an exit status that scripts can tell apart.

def main(argv=None) -> int:
    args = parse_arguments(argv)
    return ended("calibrate", lambda: calibrate(args), out=args.out)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from detector import ModelError
from imaging.door import ImageError
from model import NetworkError
from progress import say

STATUS = {"done": 0, "failed": 1, "usage": 2, "model": 3, "interrupted": 130}


class ToolError(Exception):
    """The tool could not do what it was asked to; the message says why."""


def ended(
    tool: str,
    work: Callable[[], int | None],
    *,
    out: str | Path | None = None,
    interrupted: str = "nothing was written",
) -> int:
    """Do the work, and give the exit status: what it returns, else 0, or what goes with the error that it raises.

    1: a ToolError, an image that cannot be read, a file that cannot be read or written (`out`, where the error names
    none); 2: data that cannot be used, or flags that contradict each other (ValueError, DatasetError); 3: a ModelError
    or NetworkError; 130: Ctrl-C.
    """
    try:
        return work() or STATUS["done"]
    except (ModelError, NetworkError) as error:  # before ValueError, which they are
        return fail(tool, STATUS["model"], str(error))
    except (ToolError, ImageError) as error:
        return fail(tool, STATUS["failed"], str(error))
    except ValueError as error:
        return fail(tool, STATUS["usage"], str(error))
    except OSError as error:
        return fail(tool, STATUS["failed"], f"{error.filename or out}: {error.strerror or error}")
    except KeyboardInterrupt:
        return fail(tool, STATUS["interrupted"], f"interrupted; {interrupted}")


def fail(tool: str, status: int, message: str) -> int:
    say(f"{tool}: error: {message}")
    return status


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """What is wrong with a model, after the name of its file."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
