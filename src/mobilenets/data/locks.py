"""Locks between processes. The system gives them back when a process ends, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def lock(file: int, *, shared: bool = False, wait: bool = True) -> None:
    """Locks an open file until it is closed.

    Raises BlockingIOError without `wait` when somebody else holds it, another OSError where the file system has no
    locks, ImportError where the operating system has none.
    """
    import fcntl

    fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))


@contextmanager
def locked(file: int) -> Iterator[None]:
    """Holds the lock of an open file inside the block."""
    import fcntl

    lock(file)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def locked_path(path: Path) -> Iterator[None]:
    """Holds the lock of the file at `path`, made where it is missing, inside the block."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        lock(file)
        yield
    finally:
        os.close(file)
