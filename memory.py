"""What becomes of memory that is freed, where the C library is glibc: two opposite policies, for two kinds of programs.

Training needs the same large blocks again at each step, so it keeps them. A server needs them for one large picture and
then for hours no more, so it gives them back.
"""

import ctypes
from contextlib import suppress

# Names of mallopt(3).
_MMAP_THRESHOLD, _MMAP_MAX, _TOP_PAD, _TRIM_THRESHOLD = -3, -4, -2, -1


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for the next step.

    glibc would give each large block back to the system, which then clears the same pages for the next layer: on a CPU
    that took half of the time of a training step (docs/experiments.md).
    """
    _adjust((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 2**27))  # -1: never


def return_freed_memory() -> None:
    """Let every large block go back to the system as soon as it is freed.

    glibc learns from the first large picture to keep such blocks, in a pool for each thread, and never shrinks again.
    """
    _adjust((_MMAP_THRESHOLD, 2**20))


def _adjust(*values: tuple[int, int]) -> None:
    with suppress(AttributeError, OSError):  # another C library
        adjust = ctypes.CDLL(None).mallopt
        for name, value in values:
            adjust(name, value)
