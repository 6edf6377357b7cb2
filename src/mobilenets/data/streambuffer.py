"""Encoded images fetched ahead of their use, in whole runs of bytes, never more than a stated number of bytes."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from .shardfiles import ShardFiles

FETCHERS = 4  # requests side by side
_Images = dict[int, bytes]  # row of the index -> encoded image


class StreamBuffer:
    """What was fetched and not yet taken. `limit` bounds it in bytes, but for runs that somebody waits for.

    `held` counts the encoded bytes of images that are fetched or being fetched, `most` is the largest that it was.
    """

    def __init__(self, files: ShardFiles, limit: int) -> None:
        self.files, self.limit = files, limit
        self.held = self.most = 0
        self._sizes = files.index.rows["size"]
        self._waiting: deque[tuple[int, np.ndarray]] = deque()  # (run, rows), not yet asked for
        self._runs: dict[int, Future[_Images]] = {}
        self._left: dict[int, int] = {}  # images of a run that were not taken
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(FETCHERS, thread_name_prefix="shards")

    def want(self, run: int, rows: np.ndarray) -> None:
        """Says that these rows of the index, ascending but for one turn, will be taken, after those said before."""
        self._waiting.append((run, rows))

    def fetch(self, until: int = -1) -> None:
        """Asks for what is wanted: up to and including the run `until` in any case, the rest as far as it fits."""
        while self._waiting:
            run, rows = self._waiting[0]
            size = int(self._sizes[rows].sum(dtype=np.int64))
            with self._lock:
                if run > until and self.held and self.held + size > self.limit:
                    return
                self.held += size
                self.most = max(self.most, self.held)
            self._waiting.popleft()
            self._left[run] = len(rows)
            self._runs[run] = self._pool.submit(self._read, rows, size)

    def take(self, run: int, row: int) -> bytes:
        """The encoded image of a row that was wanted in that run; waits for it. Raises ShardError naming the shard."""
        image = self._runs[run].result().pop(row)
        with self._lock:
            self.held -= len(image)
            self._left[run] -= 1
            if not self._left[run]:
                del self._left[run], self._runs[run]
        return image

    def _read(self, rows: np.ndarray, stated: int) -> _Images:
        """The images, of which the index has `stated` bytes; what they have counts from now on."""
        found = self.files.read_rows(rows)
        with self._lock:
            self.held += sum(map(len, found.values())) - stated
            self.most = max(self.most, self.held)
        return found

    def close(self) -> None:
        """Ends the requests that have not begun, and waits for those that have."""
        self._pool.shutdown(wait=True, cancel_futures=True)
