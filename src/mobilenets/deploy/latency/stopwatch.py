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
_LEAST = 5  # runs of a round
_PATIENCE = 150  # looks, three seconds


class Stopwatch:
    """Milliseconds at batch 1 on `threads` threads, from uint8 input to logits.

    Each file runs in turns with `base`, whose own time was measured at the beginning: the ratio of the two is what
    counts, so that a machine that slows down for a while slows both. On one thread it is the processor's time that is
    counted, on several the clock's, and of a round the lower quartile: what else the machine does counts for little.
    """

    def __init__(self, runtime: Runtime, base: Path, resolution: int, threads: int = 1) -> None:
        self.runtime, self.threads = runtime, threads
        self.clock = time.process_time if threads == 1 else time.perf_counter
        self.image = np.random.default_rng(0).integers(0, 256, (1, resolution, resolution, 3), np.uint8)
        self.base = runtime.open(base, threads)
        self._timed(self.base, BASE_SECONDS / 5)
        self.base_ms = statistics.median(self._timed(self.base, BASE_SECONDS / 5) for _ in range(5))

    def measure(self, path: Path) -> float:
        """Milliseconds of that file."""
        session = self.runtime.open(path, self.threads)
        _wait_for_quiet()
        self._timed(session, ROUND_SECONDS)
        ratios = []
        for _ in range(ROUNDS):
            own = self._timed(session, ROUND_SECONDS)
            ratios.append(own / self._timed(self.base, ROUND_SECONDS))
        return self.base_ms * statistics.median(ratios)

    def _timed(self, session: Session, seconds: float) -> float:
        """The lower quartile of the milliseconds of runs that take so many seconds together, five at least."""
        times: list[float] = []
        end = self.clock() + seconds
        while len(times) < _LEAST or self.clock() < end:
            began = self.clock()
            session.run(self.image)
            times.append(1e3 * (self.clock() - began))
        return float(np.quantile(times, 0.25))


def _wait_for_quiet() -> None:
    """Returns when this process computes nothing else: a loader's threads prepare batches ahead for a moment."""
    for _ in range(_PATIENCE):
        before = time.process_time()
        time.sleep(0.02)
        if time.process_time() - before < 0.002:
            return
