"""Freed memory kept by the process: a training step asks for the same large blocks again and again."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# mallopt's parameters (malloc.h) and glibc's values for them when nothing is set.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_USUAL_MMAP_MAX, _USUAL_LIMIT = 65536, 32 * 1024 * 1024
_ALL = 2**31 - 1


@contextmanager
def kept_memory() -> Iterator[bool]:
    """Within the block freed memory stays with the process; whether that was possible (glibc alone can).

    glibc gives blocks of 32 MiB and more back to the system at once, so that every activation of a step is zeroed and
    mapped again page by page, which takes several times as long as writing it. The peak does not grow by this, but what
    is free stays in the process until the block ends.
    """
    if platform.libc_ver()[0] != "glibc":
        yield False
        return
    libc = ctypes.CDLL(None)
    done = bool(libc.mallopt(_MMAP_MAX, 0)) and bool(libc.mallopt(_TRIM_THRESHOLD, _ALL))
    try:
        yield done
    finally:
        libc.mallopt(_MMAP_MAX, _USUAL_MMAP_MAX)
        libc.mallopt(_MMAP_THRESHOLD, _USUAL_LIMIT)
        libc.mallopt(_TRIM_THRESHOLD, _USUAL_LIMIT)
        libc.malloc_trim(0)
