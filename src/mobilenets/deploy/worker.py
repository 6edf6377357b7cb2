"""The process in which `bench` runs one file: `python -m mobilenets.deploy.worker RUNTIME FILE SIZE THREADS`.

It imports the runtime and numpy and nothing else, so that its peak memory is that of the file. It answers lines of JSON
on stdout: once when the file is loaded and has run once, then for each line `SECONDS` on stdin the times of one round.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO


def main(name: str, file: str, size: int, threads: int) -> None:
    """Loads, runs once, then one round for each line of stdin until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a runtime prints goes to stderr
    import numpy as np

    from .runtimes import require, runtime

    chosen = runtime(name)
    require(chosen.extra, *chosen.runs_with)
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    before = peak_rss_bytes()
    started = time.perf_counter()
    session = chosen.open(Path(file), threads)
    loaded = time.perf_counter()
    session.run(image)
    ready = time.perf_counter()
    _answer(answers, load_ms=1e3 * (loaded - started), first_run_ms=1e3 * (ready - loaded), start_rss_bytes=before)
    for line in sys.stdin:
        times: list[float] = []
        end = time.perf_counter() + float(line)
        while not times or time.perf_counter() < end:
            begun = time.perf_counter()
            session.run(image)
            times.append(1e3 * (time.perf_counter() - begun))
        _answer(answers, times_ms=times, peak_rss_bytes=peak_rss_bytes())


def peak_rss_bytes() -> int:
    """The most memory this process has held. Linux keeps the parent's peak in getrusage, so /proc is read there."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _answer(stream: TextIO, **values: Any) -> None:
    stream.write(json.dumps(values) + "\n")
    stream.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
