"""The pictures in a folder: what is one by its content, or is called one, whatever its name.

found = list_pictures("holiday/")
found.pictures, found.others_in_words()        # [Path("holiday/a.HEIC"), ...], "3 other files: 2 .txt, 1 .mp4"
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from imaging.kinds import HEAD, READ, UNREAD, called_a_picture, sniff

AT_ONCE = 16  # files looked into at the same time: disks and networks take their time
NAMED = 5  # endings that are named; the others are one number


@dataclass(frozen=True)
class Found:
    """The files below a folder, sorted."""

    pictures: tuple[Path, ...]  # of a kind that can be read or not, and damaged files that are called pictures
    others: tuple[Path, ...]  # anything else

    def others_in_words(self) -> str:
        return others_in_words(self.others)


def others_in_words(paths: Sequence[Path]) -> str:
    """How many files of which endings, the most frequent first; nothing where there are none."""
    if not paths:
        return ""
    counts = Counter(path.suffix.lower() or "without an ending" for path in paths).most_common()
    shown = [f"{count} {ending}" for ending, count in counts[:NAMED]]
    more = sum(count for _, count in counts[NAMED:])
    listed = ", ".join([*shown, *([f"{more} more"] if more else [])])
    return f"{len(paths)} other {'file' if len(paths) == 1 else 'files'}: {listed}"


def list_pictures(folder: str | os.PathLike, *, on_error: Callable[[OSError], None] = lambda error: None) -> Found:
    """Every picture below a folder; of files that are not called so a few bytes are read. on_error: list_files."""
    files = list_files(folder, on_error=on_error)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        is_one = list(pool.map(is_picture, files))
    sides = [tuple(path for path, one in zip(files, is_one, strict=True) if one == wanted) for wanted in (True, False)]
    return Found(*sides)


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its content, or at least called one."""
    if called_a_picture(path):
        return True
    try:
        with open(path, "rb") as file:
            return sniff(file.read(HEAD)) in READ | UNREAD
    except OSError:
        return False


def list_files(folder: str | os.PathLike, *, on_error: Callable[[OSError], None] = lambda error: None) -> list[Path]:
    """Every file below `folder`, sorted. Hidden ones are passed over; links are followed, each folder entered once.

    on_error: called with the error, and the folder in its `filename`, for each folder that cannot be entered.
    """
    found, entered = [], set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=on_error):
        place = os.path.realpath(parent)
        if place in entered:  # a link to a folder above
            folders.clear()
            continue
        entered.add(place)
        try:
            os.stat(os.path.join(parent, os.curdir))  # its names can be read without the right to what they name
        except OSError as error:
            on_error(OSError(error.errno, error.strerror, parent))
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [path for name in files if not name.startswith(".") and (path := Path(parent, name)).is_file()]
    return sorted(found)
