"""How long files of one runtime take, each in turns with one that all are compared with."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np

from ..runtimes import Runtime, Session

ROUNDS = 7
ROUND_SECONDS = 0.015
BASE_SECONDS = 0.5


class Stopwatch:
    """Milliseconds at batch 1 on `threads` threads, from uint8 input to logits.

    Each file runs in turns with `base`, whose own time was measured at the beginning: the ratio of the two is what
    counts, so that a machine that slows down for a while slows both.
    """

    def __init__(self, runtime: Runtime, base: Path, resolution: int, threads: int = 1) -> None:
        self.runtime, self.threads = runtime, threads
        self.image = np.random.default_rng(0).integers(0, 256, (1, resolution, resolution, 3), np.uint8)
        self.base = runtime.open(base, threads)
        self._timed(self.base, BASE_SECONDS / 5)
        self.base_ms = statistics.median(self._timed(self.base, BASE_SECONDS / 5) for _ in range(5))

    def measure(self, path: Path) -> float:
        """Milliseconds of that file."""
        session = self.runtime.open(path, self.threads)
        self._timed(session, ROUND_SECONDS)
        ratios = []
        for _ in range(ROUNDS):
            own = self._timed(session, ROUND_SECONDS)
            ratios.append(own / self._timed(self.base, ROUND_SECONDS))
        return self.base_ms * statistics.median(ratios)

    def _timed(self, session: Session, seconds: float) -> float:
        """The median milliseconds of runs that take so many seconds together, three at least."""
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < 3 or time.perf_counter() < end:
            began = time.perf_counter()
            session.run(self.image)
            times.append(1e3 * (time.perf_counter() - began))
        return statistics.median(times)
