"""One training at a time for each Run: two in one folder would take each other's checkpoints."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..cachefolder import cache_folder
from ..data.locks import lock
from ..errors import UserError


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Holds the Run for this process inside the block, however the process ends; the folder need not exist.

    The lock is a file of the cache folder, so it binds the processes of one machine and user; where there can be none,
    nothing is held. Raises UserError where another training holds the Run.
    """
    path = cache_folder() / "runs" / f"{hashlib.sha256(os.fsencode(run.resolve())).hexdigest()[:32]}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        yield
        return
    try:
        with suppress(OSError, ImportError):  # a file system or an operating system without locks
            try:
                lock(file, wait=False)
            except BlockingIOError:
                raise UserError(f"{run}: another training is at work in it; wait, or choose another --out") from None
        yield
    finally:
        os.close(file)
